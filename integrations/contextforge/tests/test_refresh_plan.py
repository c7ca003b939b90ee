"""Each rule of the plan by itself, on a Redis that is a dict; and all of them in the real classes of the release."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import run_in_release
from plan_reference import BAD_FIELDS, COLD_INTERVAL, HOT_INTERVAL, UNREADABLE, State, due, obeys, states

from mcpgateway_usage import hot_polls, refresh_plan
from mcpgateway_usage.refresh_plan import Field, Plan, read_field

RELEASE = Path(__file__).with_name("release_plan.py")
URL = "http://a.example/mcp"
NOW = 1_800_000_000.0


@dataclass
class Redis:
    """Answers one pipeline, in the order of the questions, and notes what it was asked."""

    tier: str | None = "cold"
    field: Any = None
    stamp: Any = None
    left: int = 1000 * 6 * HOT_INTERVAL
    fault: Exception | None = None
    delay: float = 0.0
    asked: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    kept: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    keep_fault: Exception | None = None

    def pipeline(self, *, transaction: bool) -> Redis:
        assert transaction is False
        return self

    async def __aenter__(self) -> Redis:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def sismember(self, *arguments: Any) -> None:
        self.asked.append(("sismember", *arguments))

    def hget(self, *arguments: Any) -> None:
        self.asked.append(("hget", *arguments))

    def get(self, *arguments: Any) -> None:
        self.asked.append(("get", *arguments))

    def pttl(self, *arguments: Any) -> None:
        self.asked.append(("pttl", *arguments))

    async def execute(self) -> list[Any]:
        await asyncio.sleep(self.delay)
        if self.fault is not None:
            raise self.fault
        return [
            int(self.tier in ("hot", "both")),
            int(self.tier in ("cold", "both")),
            self.field,
            self.stamp,
            -2 if self.stamp is None else self.left,
        ]

    async def eval(self, script: str, keys: int, *arguments: Any) -> int:
        assert (script, keys) == (refresh_plan._KEEP, 1)
        self.kept.append(arguments)
        if self.keep_fault is not None:
            raise self.keep_fault
        return 1


@dataclass
class Service:
    """The release's own answer is a word, so that it cannot be taken for the plan's."""

    _redis: Any = dataclasses.field(default_factory=Redis)
    CLASSIFICATION_HOT_KEY: Any = "mcpgateway:server_classification:hot"
    CLASSIFICATION_COLD_KEY: Any = "mcpgateway:server_classification:cold"

    def _poll_state_key(self, url: str, poll_type: str, gateway_id: str) -> str:
        return f"{url} {poll_type} {gateway_id}"

    async def should_poll_server(self, url: str, poll_type: str, gateway_id: str = "") -> Any:
        assert (url, gateway_id) == (URL, "g")
        return f"the release's answer, {poll_type}"


class Scene:
    """The wrapped method and what it looks at."""

    def __init__(self, **redis: Any) -> None:
        self.redis = Redis(**redis)
        self.service = Service(self.redis)
        self.plan: Any = Plan()
        self.settings: Any = SimpleNamespace(
            hot_cold_classification_enabled=True,
            gateway_health_check_timeout=30.0,
            hot_server_check_interval=float(HOT_INTERVAL),
            cold_server_check_interval=float(COLD_INTERVAL),
        )

    def decide(self, poll_type: str = "tool_discovery") -> Any:
        wrapped = refresh_plan.wrap_decision(Service.should_poll_server, lambda: self.plan, {"settings": self.settings})
        return asyncio.run(wrapped(self.service, URL, poll_type, gateway_id="g"))


RELEASE_DECIDES = "the release's answer, tool_discovery"


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def age(seconds: float) -> str:
    return repr(NOW - seconds)


def test_one_round_trip_reads_what_decides() -> None:
    scene = Scene(field="3600", stamp=age(3599.0), left=10_000_000)
    assert scene.decide() is False
    key = f"{URL} tool_discovery g"
    assert scene.redis.asked == [
        ("sismember", "mcpgateway:server_classification:hot", URL),
        ("sismember", "mcpgateway:server_classification:cold", URL),
        ("hget", "mcpgateway:server_classification:intervals", URL),
        ("get", key),
        ("pttl", key),
    ]
    assert scene.redis.kept == []


@pytest.mark.parametrize(
    ("value", "stamp", "wanted"),
    [
        ("3600", age(3600.0), True),
        ("3600", age(3599.9), False),
        # Shorter than the cold tier's, and as short as a hot server's.
        ("600", age(600.0), True),
        ("600", age(599.9), False),
        ("300", age(299.9), False),
        # Never polled, or not to be believed.
        ("3600", None, True),
        ("3600", age(-60.0), False),
        ("3600", age(-60.1), True),
        *(("3600", stamp, True) for stamp in (*UNREADABLE, "0", "-1", "inf", "-inf")),
        # A recheck: what came before does not count, what came at that moment does.
        (f"3600,{int(NOW) - 10}", age(10.1), True),
        (f"3600,{int(NOW) - 10}", age(10.0), False),
        (f"3600,{int(NOW) + 5}", age(-5.0), False),
        ("2592000", age(2_591_999.0), False),
    ],
)
def test_the_field_decides(value: str, stamp: str | None, wanted: object) -> None:
    for known in (value, value.encode()):
        scene = Scene(field=known, stamp=stamp if isinstance(known, str) else stamp and stamp.encode())
        assert scene.decide() is wanted


def test_no_valid_field_is_the_answer_without_a_plan() -> None:
    for value in (None, 3600, *BAD_FIELDS, b"\xff", "299", "1", f"299,{int(NOW)}"):
        assert Scene(field=value, stamp=age(10.0)).decide() == RELEASE_DECIDES, value


NOT_COLD = ("hot", "both", None)


@pytest.mark.parametrize("tier", NOT_COLD)
def test_a_field_counts_for_cold_servers_only(tier: str | None) -> None:
    for stamp in (None, age(10.0), age(1e6)):
        assert Scene(tier=tier, field="3600", stamp=stamp).decide() == RELEASE_DECIDES


@pytest.mark.parametrize("fault", [ConnectionError("down"), TimeoutError(), ValueError("WRONGTYPE"), KeyError()])
def test_redis_that_does_not_answer(fault: Exception) -> None:
    assert Scene(field="3600", stamp=age(10.0), fault=fault).decide() == RELEASE_DECIDES


def test_redis_that_hangs_costs_an_eighth_of_the_time_of_a_check() -> None:
    scene = Scene(field="3600", stamp=age(10.0), delay=60.0)
    scene.settings.gateway_health_check_timeout = 0.8
    begun = time.monotonic()
    assert scene.decide() == RELEASE_DECIDES
    assert 0.1 <= time.monotonic() - begun < 30.0


def test_what_is_not_for_the_plan_is_not_read() -> None:
    scene = Scene(field="3600", stamp=age(10.0))
    assert scene.decide("health") == "the release's answer, health"
    scene.settings.hot_cold_classification_enabled = False
    assert scene.decide() == RELEASE_DECIDES
    scene.settings.hot_cold_classification_enabled = True
    scene.plan = None
    assert scene.decide() == RELEASE_DECIDES
    assert scene.redis.asked == []


def test_a_release_that_is_not_as_known() -> None:
    broken: list[Any] = [None, SimpleNamespace(), SimpleNamespace(hot_cold_classification_enabled=True)]
    for settings in broken:
        scene = Scene(field="3600", stamp=age(10.0))
        scene.settings = settings
        assert scene.decide() == RELEASE_DECIDES
    for redis in (None, object()):
        scene = Scene()
        scene.service._redis = redis
        assert scene.decide() == RELEASE_DECIDES
    for key in (None, "", "mcpgateway:tiers"):
        scene = Scene(field="3600", stamp=age(10.0))
        scene.service.CLASSIFICATION_HOT_KEY = key
        assert scene.decide() == RELEASE_DECIDES


def test_a_doubt_whether_it_is_on_is_a_no() -> None:
    def find() -> Plan:
        raise OSError

    wrapped = refresh_plan.wrap_decision(Service.should_poll_server, find, {})
    assert asyncio.run(wrapped(Service(), URL, "tool_discovery", "g")) == RELEASE_DECIDES


def test_what_the_release_raises_it_raises() -> None:
    async def broken(*_: object) -> Any:
        raise RuntimeError("its own")

    scene = Scene()
    wrapped = refresh_plan.wrap_decision(broken, lambda: scene.plan, {"settings": scene.settings})
    with pytest.raises(RuntimeError, match="its own"):
        asyncio.run(wrapped(scene.service, URL, "tool_discovery"))


def test_a_stamp_lives_for_two_intervals() -> None:
    # The release gave it 1800 s: enough for 900 s, too short for an hour.
    assert Scene(field="900", stamp=age(100.0), left=1_700_000).decide() is False
    scene = Scene(field="3600", stamp=age(100.0), left=1_700_000)
    assert scene.decide() is False
    ((key, stamp, life),) = scene.redis.kept
    assert (key, stamp) == (f"{URL} tool_discovery g", age(100.0))
    assert life == 7_100_000 + refresh_plan._SPARE_MS
    # A minute later it has enough.
    scene = Scene(field="3600", stamp=age(160.0), left=life - 60_000)
    assert scene.decide() is False
    assert scene.redis.kept == []


@pytest.mark.parametrize(
    ("stamp", "left"),
    [
        # It lives for ever; it has just expired; its poll is due, and will leave another.
        (age(100.0), -1),
        (age(100.0), -2),
        (age(3600.0), 1000),
        (None, -2),
    ],
)
def test_a_stamp_that_is_left_alone(stamp: str | None, left: int) -> None:
    scene = Scene(field="3600", stamp=stamp, left=left)
    scene.decide()
    assert scene.redis.kept == []


def test_a_stamp_that_may_not_be_touched_decides_all_the_same() -> None:
    scene = Scene(field="3600", stamp=age(100.0), left=1000, keep_fault=PermissionError("NOPERM"))
    assert scene.decide() is False
    assert len(scene.redis.kept) == 1


def completed(scene: Scene, poll_type: str = "tool_discovery") -> Any:
    async def mark_poll_completed(self: Service, url: str, poll_type: str, gateway_id: str = "") -> Any:
        assert (url, gateway_id) == (URL, "g")
        self._redis.stamp, self._redis.left = age(0.0), 1_800_000
        return f"marked, {poll_type}"

    wrapped = refresh_plan.wrap_completed(mark_poll_completed, lambda: scene.plan, {"settings": scene.settings})
    return asyncio.run(wrapped(scene.service, URL, poll_type, gateway_id="g"))


def test_the_stamp_of_a_refresh_lives_for_two_intervals() -> None:
    scene = Scene(field=f"3600,{int(NOW)}")
    assert completed(scene) == "marked, tool_discovery"
    assert scene.redis.kept == [(f"{URL} tool_discovery g", age(0.0), 7_200_000 + refresh_plan._SPARE_MS)]
    for unchanged in (
        Scene(field="900"),
        Scene(field="299"),
        Scene(),
        *(Scene(tier=t, field="3600") for t in NOT_COLD),
    ):
        assert completed(unchanged) == "marked, tool_discovery"
        assert unchanged.redis.kept == []
    scene = Scene(field="3600")
    assert completed(scene, "health") == "marked, health"
    scene.plan = None
    assert completed(scene) == "marked, tool_discovery"
    assert scene.redis.asked == []


def test_a_refresh_is_marked_whatever_becomes_of_its_stamp() -> None:
    for redis in ({"fault": ConnectionError("down")}, {"keep_fault": PermissionError("NOPERM")}, {"delay": 60.0}):
        scene = Scene(field="3600", **redis)
        scene.settings.gateway_health_check_timeout = 0.1
        assert completed(scene) == "marked, tool_discovery"

    async def broken(*_: object) -> Any:
        raise RuntimeError("its own")

    wrapped = refresh_plan.wrap_completed(broken, lambda: scene.plan, {"settings": scene.settings})
    with pytest.raises(RuntimeError, match="its own"):
        asyncio.run(wrapped(scene.service, URL, "tool_discovery"))


def test_refreshes_that_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh_plan, "_MOST_COUNTED", 1)
    scene = Scene(field="14400", stamp=age(0.0), left=10**9)

    def after(seconds: float) -> int:
        monkeypatch.setattr(time, "time", lambda: NOW + seconds)
        # However often it is asked.
        for _ in range(2):
            scene.decide()
        skipped: int = scene.plan.skipped
        return skipped

    assert [after(seconds) for seconds in (0, 60, 899, 900, 960, 1799, 1800, 4500)] == [0, 0, 0, 1, 1, 1, 2, 5]
    # A clock that goes back and forth again counts nothing twice.
    assert [after(seconds) for seconds in (1000, 4500, 14399, 14400)] == [5, 5, 15, 15]
    # The next refresh begins anew.
    scene.redis.stamp = repr(NOW + 14410)
    assert [after(seconds) for seconds in (14460, 14410 + 950, 14410 + 1900)] == [15, 16, 17]
    # What came before the first look is another process'; with more servers than are remembered, too few are counted.
    scene.plan = Plan()
    assert after(14410 + 1900) == 0
    scene.plan._missed = {"another": (NOW, 3)}
    assert after(14410 + 2800) == 0
    assert after(14410 + 3700) == 1


def test_by_the_contract_on_a_thousand_states(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = 20_261_127
    tried = {True: 0, False: 0}
    for state in states(seed, 1000):
        monkeypatch.setattr(time, "time", lambda now=state.now: now)
        fault = ValueError("WRONGTYPE") if state.wrong_type is not None else None
        scene = Scene(tier=state.tier, field=state.field, stamp=state.stamp, fault=fault)
        wanted = due(state) if obeys(state) else RELEASE_DECIDES
        assert scene.decide() == wanted, (seed, state)
        tried[obeys(state)] += 1
    assert min(tried.values()) > 200, tried


def test_the_hot_rule_beside_it() -> None:
    """As it is installed: the plan around the rule for hot servers around the release's own."""

    class Both(Service):
        async def get_server_classification(self, url: str) -> Any:
            assert url == URL
            return self._redis.tier

        async def should_poll_server(self, *_: object) -> Any:
            return False

    scene = Scene()
    both = hot_polls.wrap(Both.should_poll_server, lambda: True)
    wrapped = refresh_plan.wrap_decision(both, lambda: scene.plan, {"settings": scene.settings})

    def decide(tier: str | None, value: str | None, stamp: str) -> Any:
        redis = Redis(tier=tier, field=value, stamp=stamp)
        return asyncio.run(wrapped(Both(redis), URL, "tool_discovery"))

    assert decide("hot", "3600", age(10.0)) is True
    assert decide("cold", "3600", age(10.0)) is False
    assert decide("cold", "3600", age(3600.0)) is True
    assert decide("cold", None, age(3600.0)) is False


def test_reading_a_field() -> None:
    assert read_field("300") == Field(300)
    assert read_field(b"2592000,9999999999") == Field(2_592_000, 9_999_999_999)
    assert [value for value in BAD_FIELDS if read_field(value) is not None] == []
    assert not obeys(State("cold", "299", None, NOW))


def test_in_the_real_release(tmp_path: Path) -> None:
    """A thousand states on a real Redis, its faults, and the life of stamps."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is missing")
    run_in_release(RELEASE, tmp_path)
