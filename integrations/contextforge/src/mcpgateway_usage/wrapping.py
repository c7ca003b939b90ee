"""Replacing a method of a class, once per process however often it is asked for.

In: a class, a method's name, what to put in its place. Out: the class with it. Must not: put a wrapper around a wrapper
of ours: plugins are loaded several times in the life of a process, and a fork inherits the class as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]
_ORIGINAL = "_mcpgateway_usage_original"


def original(function: Any) -> Any:  # noqa: ANN401
    """What was there before this module replaced it; anything else comes back as it is."""
    return getattr(function, _ORIGINAL, function)


def replace(owner: type, name: str, wrap: Callable[[Function], Function]) -> None:
    """Put ``wrap(original)`` in the place of the method, which keeps its name and its signature."""
    before = original(vars(owner)[name])
    wrapper = functools.wraps(before)(wrap(before))
    setattr(wrapper, _ORIGINAL, before)
    setattr(owner, name, wrapper)
