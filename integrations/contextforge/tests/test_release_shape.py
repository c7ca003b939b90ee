from __future__ import annotations

import functools
from typing import Any

import pytest

from mcpgateway_usage import wrapping
from mcpgateway_usage.release_shape import LONGEST_REASON, Method, fault, shortened


class Service:
    """As the release has it."""

    redis: Any = None

    async def decide(self, url: str, kind: str = "") -> Any:
        return await self.redis.sismember(url, kind)


DECIDE = Method(__name__, "Service", "decide", ("self", "url", "kind"), frozenset({"sismember"}))


def other(name: str, method: Any) -> type:
    """A class of the same name whose method is another one."""
    made = type("Service", (), {name: method})
    if hasattr(method, "__qualname__"):
        method.__qualname__ = f"Service.{name}"
    return made


def test_what_fits() -> None:
    assert fault(Service, DECIDE) is None
    assert fault(Service, Method(__name__, "Service", "decide", ("self", "url"), has_more_parameters=True)) is None


def test_a_wrapper_of_ours_is_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "decide", vars(Service)["decide"])
    for _ in range(2):
        wrapping.replace(Service, "decide", lambda _: lambda self: self)
    assert fault(Service, DECIDE) is None


async def _renamed(self: Any, address: str, kind: str = "") -> Any:
    return await self.redis.sismember(address, kind)


async def _more(self: Any, url: str, kind: str, at: float) -> Any:
    return await self.redis.sismember(url, kind, at)


async def _otherwise(self: Any, url: str, kind: str = "") -> Any:
    return await self.redis.zscore(url, kind)


async def _required(self: Any, url: str, *, at: float) -> Any:
    return await self.redis.sismember(url, at)


def _blocking(self: Any, url: str, kind: str = "") -> Any:
    return self.redis.sismember(url, kind)


@functools.wraps(vars(Service)["decide"])
async def _traced(self: Any, *args: Any) -> Any:
    return await Service.decide(self, *args)


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        (None, "no class"),
        (type("Service", (), {}), "no method of its own class"),
        (type("Service", (Service,), {}), "no method of its own class"),
        (other("decide", staticmethod(_renamed)), "no method of its own class"),
        (other("decide", _renamed), "other parameters: self, address, kind"),
        (other("decide", _more), "other parameters"),
        (other("decide", _otherwise), "does not use sismember"),
        (other("decide", _blocking), "no coroutine function"),
        (other("decide", _traced), "replaced by something else"),
        (other("decide", lambda self: self), "no coroutine function"),
    ],
)
def test_what_does_not(owner: Any, said: str) -> None:
    found = fault(owner, DECIDE)
    assert found is not None
    assert said in found


def test_a_plain_function() -> None:
    plain = Method(__name__, "Service", "decide", ("self", "url", "kind"), is_coroutine=False)
    assert fault(other("decide", _blocking), plain) is None
    assert fault(Service, plain) == "Service.decide is a coroutine function"


def test_further_parameters_must_be_optional() -> None:
    method = Method(__name__, "Service", "decide", ("self", "url"), has_more_parameters=True)
    found = fault(other("decide", _required), method)
    assert found is not None
    assert "other parameters" in found


def test_of_another_module() -> None:
    assert fault(Service, Method("elsewhere", "Service", "decide", ("self", "url", "kind"))) is not None


def test_a_reason_is_short_and_plain() -> None:
    assert shortened("a\nb\u00e9") == "a?b?"
    assert len(shortened("x" * 1000)) == LONGEST_REASON
