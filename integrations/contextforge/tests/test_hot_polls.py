from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from mcpgateway_usage import hot_polls


@dataclass
class Service:
    """Answers as it is told, and notes what it was asked."""

    due: Any = False
    tier: Any = "hot"
    asked: list[str] = field(default_factory=list)

    async def should_poll_server(self, url: str, poll_type: str, gateway_id: str = "") -> Any:
        self.asked.append(f"{url} {poll_type} {gateway_id}")
        if isinstance(self.due, Exception):
            raise self.due
        return self.due

    async def get_server_classification(self, url: str) -> Any:
        self.asked.append(url)
        if isinstance(self.tier, Exception):
            raise self.tier
        return self.tier


def decide(service: Service, poll_type: str = "tool_discovery", *, is_on: bool = True) -> Any:
    wrapped = hot_polls.wrap(Service.should_poll_server, lambda: is_on)
    return asyncio.run(wrapped(service, "u", poll_type, gateway_id="g"))


def test_a_hot_server_is_always_due() -> None:
    service = Service()
    assert decide(service) is True
    assert service.asked == ["u tool_discovery g", "u"]


@pytest.mark.parametrize("tier", ["cold", None, "warm", ConnectionError("down")])
def test_for_any_other_the_release_decides(tier: Any) -> None:
    assert decide(Service(tier=tier)) is False
    service = Service(due=True, tier=tier)
    assert decide(service) is True
    # Then nothing more is asked.
    assert service.asked == ["u tool_discovery g"]


def test_switched_off() -> None:
    service = Service()
    assert decide(service, is_on=False) is False
    assert service.asked == ["u tool_discovery g"]


@pytest.mark.parametrize("due", [None, 0, "no"])
def test_an_answer_that_is_no_plain_no_stands(due: Any) -> None:
    assert decide(Service(due=due)) is due


def test_another_type_of_poll_stands() -> None:
    assert decide(Service(), "health") is False


def test_what_the_release_raises_it_raises() -> None:
    with pytest.raises(RuntimeError, match="its own"):
        decide(Service(due=RuntimeError("its own")))


def test_a_doubt_whether_it_is_on_is_a_no() -> None:
    def is_on() -> bool:
        raise OSError

    wrapped = hot_polls.wrap(Service.should_poll_server, is_on)
    assert asyncio.run(wrapped(Service(), "u", "tool_discovery")) is False
