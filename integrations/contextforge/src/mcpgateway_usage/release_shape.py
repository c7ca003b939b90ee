"""Whether a method of the release looks as it does in the releases that were read. Pure.

In: a class and a description. Out: what does not fit, in words, or None. Must not: call anything of the release.

A method of a release is not an interface. So it is replaced only if everything that the replacement relies on can be
seen: where it is defined, whether it is a coroutine function, its parameters, and the names that its code uses.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import FunctionType

from . import wrapping

LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Method:
    """What is relied on."""

    module: str
    owner: str
    """The name of the class."""
    name: str
    parameters: tuple[str, ...]
    """The first positional parameters, ``self`` included."""
    uses: frozenset[str] = frozenset()
    """Names of attributes, methods and globals that its code uses."""
    has_more_parameters: bool = False
    """Whether others may follow, as long as the caller may leave them out."""
    is_coroutine: bool = True

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.owner}.{self.name}"


def fault(owner: object, method: Method) -> str | None:
    """Why the class does not have this method as described; None if it has. It looks through a wrapper of ours."""
    if not isinstance(owner, type):
        return f"{method.owner} is no class"
    found = wrapping.original(vars(owner).get(method.name))
    # A plain function and nothing around it: another wrapper has a code object that is not the release's.
    if not isinstance(found, FunctionType):
        return f"{method} is no method of its own class"
    if found.__module__ != method.module or found.__qualname__ != str(method) or hasattr(found, "__wrapped__"):
        return f"{method} is replaced by something else"
    if inspect.iscoroutinefunction(found) is not method.is_coroutine:
        return f"{method} is {'no' if method.is_coroutine else 'a'} coroutine function"
    missing = sorted(method.uses - set(found.__code__.co_names))
    return _parameters_fault(found, method) or (f"{method} does not use {', '.join(missing)}" if missing else None)


def _parameters_fault(found: FunctionType, method: Method) -> str | None:
    parameters = list(inspect.signature(found).parameters.values())
    count = len(method.parameters)
    first, rest = parameters[:count], parameters[count:]
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    is_known = tuple(p.name for p in first) == method.parameters and all(p.kind is positional for p in first)
    is_rest_known = all(p.default is not inspect.Parameter.empty for p in rest)
    if is_known and (not rest or (method.has_more_parameters and is_rest_known)):
        return None
    return f"{method} has other parameters: {', '.join(p.name for p in parameters)}"


def shortened(reason: str) -> str:
    """A reason as the report has it: printable ASCII, and not long."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in reason)
    return plain if len(plain) <= LONGEST_REASON else plain[: LONGEST_REASON - 3] + "..."
