"""Each rule by itself: a check is skipped only if all of them hold."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from mcpgateway_usage import health_pacing
from mcpgateway_usage.health_pacing import Checked, Pacing, is_throttled

INTERVAL, TICK = 300.0, 60


@dataclass
class Gateway:
    id: str = "g"
    url: str = "http://a.example/mcp"
    enabled: Any = True
    reachable: Any = True
    refresh_interval_seconds: Any = None
    last_seen: Any = None
    last_refresh_at: Any = None


@dataclass
class Tiers:
    tier: Any = "cold"
    due: Any = False
    delay: float = 0.0

    async def get_server_classification(self, url: str) -> Any:  # noqa: ARG002
        await asyncio.sleep(self.delay)
        return self.tier

    async def should_poll_server(self, url: str, poll_type: str, gateway_id: str = "") -> Any:
        assert (url, poll_type, gateway_id) == ("http://a.example/mcp", "tool_discovery", "g")
        if isinstance(self.due, Exception):
            raise self.due
        return self.due


@dataclass
class Service:
    """The release's service as far as it is looked at; its check takes the answer that it is told."""

    _classification_service: Any = field(default_factory=Tiers)
    _gateway_failure_counts: Any = field(default_factory=lambda: {"g": 0})
    checked: int = 0
    ends: Any = "well"

    async def check(self, gateway: Gateway, user_email: str | None = None, *, cycle_started_at: Any = None) -> str:  # noqa: ARG002
        self.checked += 1
        if self.ends == "well":
            gateway.last_seen = datetime.now(UTC)
        elif isinstance(self.ends, BaseException):
            raise self.ends
        return "the release's answer"


@dataclass
class Scene:
    """A cold server that was checked well a moment ago."""

    gateway: Gateway = field(default_factory=Gateway)
    service: Service = field(default_factory=Service)
    pacing: Pacing = field(default_factory=lambda: Pacing(INTERVAL))
    settings: Any = field(
        default_factory=lambda: SimpleNamespace(
            health_check_interval=TICK,
            gateway_auto_refresh_interval=300,
            auto_refresh_servers=True,
            gateway_health_check_timeout=30.0,
        )
    )

    def check(self) -> Any:
        wrapped = health_pacing.wrap(Service.check, lambda: self.pacing, {"settings": self.settings})
        return asyncio.run(wrapped(self.service, self.gateway, "admin@example.com", cycle_started_at=None))

    def is_skipped(self) -> bool:
        before, skipped = self.service.checked, self.pacing.skipped
        answer = self.check()
        assert (self.service.checked - before) + (self.pacing.skipped - skipped) == 1
        assert answer == ("the release's answer" if self.service.checked > before else None)
        return self.service.checked == before

    def age(self, seconds: float) -> None:
        """The last check was so long ago."""
        known = self.pacing._checked["g"]
        self.pacing._checked["g"] = Checked(known.gateway_id, known.url, known.at - seconds, known.wall - seconds)


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    assert not scene.is_skipped()
    return scene


def test_a_cold_server_is_skipped_again_and_again(scene: Scene) -> None:
    assert [scene.is_skipped() for _ in range(3)] == [True, True, True]
    assert (scene.pacing.run, scene.pacing.skipped) == (1, 3)


@pytest.mark.parametrize("value", [False, None, 0])
def test_disabled(scene: Scene, value: Any) -> None:
    scene.gateway.enabled = value
    assert not scene.is_skipped()


@pytest.mark.parametrize("value", [False, None, 0])
def test_unreachable(scene: Scene, value: Any) -> None:
    scene.gateway.reachable = value
    assert not scene.is_skipped()


def test_a_failure_is_counted(scene: Scene) -> None:
    scene.service._gateway_failure_counts["g"] = 1
    assert not scene.is_skipped()


@pytest.mark.parametrize("counts", [None, [], {"g": None}, {"g": "1"}])
def test_failures_that_are_not_known(scene: Scene, counts: Any) -> None:
    scene.service._gateway_failure_counts = counts
    assert not scene.is_skipped()


def test_no_entry_is_no_failure(scene: Scene) -> None:
    scene.service._gateway_failure_counts.clear()
    assert scene.is_skipped()


@pytest.mark.parametrize("tier", ["hot", None, "warm", b"cold", ""])
def test_not_cold(scene: Scene, tier: Any) -> None:
    scene.service._classification_service.tier = tier
    assert not scene.is_skipped()


def test_without_a_classification(scene: Scene) -> None:
    scene.service._classification_service = None
    assert not scene.is_skipped()


def test_an_interval_of_its_own(scene: Scene) -> None:
    scene.gateway.refresh_interval_seconds = 3600
    assert not scene.is_skipped()


@pytest.mark.parametrize(
    ("seconds", "is_skipped"), [(0, True), (240, True), (269, True), (271, False), (10_000, False)]
)
def test_the_interval_less_half_a_tick(scene: Scene, seconds: float, is_skipped: bool) -> None:
    scene.age(seconds)
    assert scene.is_skipped() == is_skipped
    # If it was checked, the interval begins again.
    assert scene.is_skipped()


def test_never_checked_by_this_process() -> None:
    scene = Scene(gateway=Gateway(last_seen=datetime.now(UTC)))
    assert not scene.is_skipped()


def test_another_address(scene: Scene) -> None:
    scene.gateway.url = "http://b.example/mcp"
    assert not scene.is_skipped()


@pytest.mark.parametrize("seen", [None, "yesterday", datetime.now(UTC) - timedelta(minutes=1)])
def test_the_last_check_did_not_go_well(scene: Scene, seen: Any) -> None:
    """Where failures are not counted (a threshold of -1), only this tells of one."""
    scene.gateway.last_seen = seen
    assert not scene.is_skipped()


def test_a_check_that_fails_is_followed_by_one(scene: Scene) -> None:
    scene.age(INTERVAL)
    scene.gateway.last_seen = datetime.now(UTC) - timedelta(seconds=INTERVAL)
    scene.service.ends = "badly"
    assert [scene.is_skipped() for _ in range(3)] == [False, False, False]


@pytest.mark.parametrize("error", [RuntimeError("its own"), asyncio.CancelledError()])
def test_what_the_release_raises_it_raises(scene: Scene, error: BaseException) -> None:
    scene.service._classification_service.tier = "hot"
    scene.service.ends = error
    with pytest.raises(type(error)):
        scene.check()
    # What was known before that check counts no more.
    scene.service._classification_service.tier = "cold"
    scene.service.ends = "well"
    assert not scene.is_skipped()


def test_a_time_without_a_zone_is_utc(scene: Scene) -> None:
    scene.gateway.last_seen = scene.gateway.last_seen.replace(tzinfo=None)
    assert scene.is_skipped()


@pytest.mark.parametrize("due", [True, None, 1, ConnectionError("down")])
def test_a_refresh_is_due(scene: Scene, due: Any) -> None:
    scene.service._classification_service.due = due
    assert not scene.is_skipped()
    scene.gateway.last_refresh_at = datetime.now(UTC) - timedelta(seconds=301)
    assert not scene.is_skipped()


def test_the_throttle_refuses_the_refresh(scene: Scene) -> None:
    scene.service._classification_service.due = True
    scene.gateway.last_refresh_at = datetime.now(UTC) - timedelta(seconds=200)
    assert scene.is_skipped()


def test_nothing_is_refreshed(scene: Scene) -> None:
    scene.service._classification_service.due = True
    scene.settings.auto_refresh_servers = False
    assert scene.is_skipped()
    scene.settings.auto_refresh_servers = None
    assert not scene.is_skipped()


def test_the_throttle_counts_as_the_release_does() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    settings = SimpleNamespace(gateway_auto_refresh_interval=300)
    for zone in (UTC, None):
        gateway = Gateway(last_refresh_at=at.replace(tzinfo=zone))
        assert is_throttled(gateway, settings, at + timedelta(seconds=299.9))
        assert not is_throttled(gateway, settings, at + timedelta(seconds=300))
        assert not is_throttled(gateway, settings, None)
    assert not is_throttled(Gateway(), settings, at)


def test_redis_that_hangs_costs_a_quarter_of_the_time_of_a_check(scene: Scene) -> None:
    scene.settings.gateway_health_check_timeout = 0.4
    scene.service._classification_service.delay = 60.0
    begun = time.monotonic()
    assert not scene.is_skipped()
    assert 0.1 <= time.monotonic() - begun < 30.0


@pytest.mark.parametrize("settings", [None, SimpleNamespace(), SimpleNamespace(health_check_interval="often")])
def test_settings_that_are_not_known(scene: Scene, settings: Any) -> None:
    scene.settings = settings
    assert not scene.is_skipped()


def test_a_gateway_of_another_kind(scene: Scene) -> None:
    """What the release makes of it is the release's."""
    odd: Any = SimpleNamespace()
    scene.gateway = odd
    assert scene.check() == "the release's answer"


def test_without_pacing_nothing_is_looked_at() -> None:
    service = Service()
    wrapped = health_pacing.wrap(Service.check, lambda: None, {})
    assert asyncio.run(wrapped(service, Gateway())) == "the release's answer"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_pacing, "_MOST_CHECKED", 3)
    pacing = Pacing(INTERVAL)
    now = time.monotonic()
    for number, age in enumerate((INTERVAL + 1, 0, 0, 0, 0)):
        pacing.end(Checked(str(number), "u", now - age, 0.0))
    assert list(pacing._checked) == ["1", "2", "3"]
