"""Refreshes of cold servers at the interval that the operator has planned for each, where it publishes a refresh plan.

The plan is a hash beside the release's two sets. Its field for a server is ``SECONDS`` or ``SECONDS,BEFORE``: the
refresh interval, and a moment before which a refresh does not count. One read answers for most servers.

In: the release's methods, and what Redis holds. Out: one that answers by the field of a member of the cold set that is
not one of the hot set, and as before in any other case; and one that lets the stamp of a refresh live for as long as
the plan needs it. Must not: write a stamp, shorten the life of one, use up the time that the release allows for a
check, or let out an exception that the release would not have raised.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import hot_polls
from .hot_polls import MODULE, OWNER, POLL_TYPE
from .release_shape import Method
from .wrapping import Function

_LOG = logging.getLogger("mcpgateway_usage")

DECISION = replace(
    hot_polls.DECISION,
    uses=hot_polls.DECISION.uses | {"hot_cold_classification_enabled", "_redis", "_poll_state_key", "get", "time"},
)
TIER = replace(hot_polls.TIER, uses=hot_polls.TIER.uses | {"_redis"})
STAMP_KEY = Method(
    module=MODULE,
    owner=OWNER,
    name="_poll_state_key",
    parameters=("self", "url", "poll_type", "gateway_id"),
    uses=frozenset({"sha256", "POLL_STATE_KEY_TEMPLATE"}),
    is_coroutine=False,
)
COMPLETED = replace(DECISION, name="mark_poll_completed", uses=frozenset({"_redis", "_poll_state_key", "set", "time"}))
METHODS = (DECISION, TIER, STAMP_KEY, COMPLETED)

_FIELD = re.compile(r"([1-9][0-9]{0,6})(?:,([1-9][0-9]{0,9}))?")
LONGEST_SECONDS = 2_592_000
AHEAD_SECONDS = 60.0
"""The release ignores a stamp that is further in the future, in seconds."""
_HOT = ":hot"
_INTERVALS = ":intervals"

_DECISION_SHARE = 8
"""The plan gets one part in so many of the time that the release allows for a check. If Redis hangs, the release waits
for it in the same check. And where a paced health check asks, it allows for a quarter."""
_SPARE_MS = 60_000
"""The margin of a stamp's expiry, so that it is not extended again at the next health check."""
_KEEP = """
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left >= tonumber(ARGV[2]) or redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""Another process may write a newer stamp at any moment, so its life is compared where it is set. PEXPIRE with GT would
need Redis 7."""
_MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Field:
    """What the plan has for one server."""

    seconds: int
    """The refresh interval."""
    before: int = 0
    """Unix seconds: an earlier refresh does not count."""

    def is_due(self, last: float, now: float) -> bool:
        """Whether a refresh is due, after one at ``last``."""
        return now - last >= self.seconds or last < self.before


def read_field(value: object) -> Field | None:
    """A value of the hash; None if the contract does not allow it."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    match = _FIELD.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[1]) > LONGEST_SECONDS:
        return None
    return Field(int(match[1]), int(match[2] or 0))


def last_poll(stamp: Any, now: float) -> float | None:  # noqa: ANN401
    """The time of the last poll by its stamp; None if the release ignores the stamp."""
    try:
        last = float(stamp)
    except (TypeError, ValueError):
        return None
    return last if 0 < last <= now + AHEAD_SECONDS else None


@dataclass(frozen=True, slots=True)
class Planned:
    """What Redis holds for a server whose field counts."""

    field: Field
    key: str
    """Of the stamp."""
    stamp: Any
    left: int
    """Milliseconds that the stamp has to live; negative if it lives for ever, or there is none."""
    now: float

    @property
    def last(self) -> float | None:
        """When the server was refreshed last."""
        return last_poll(self.stamp, self.now)


class Plan:
    """What one process decides by the plan, and what it has skipped."""

    def __init__(self) -> None:
        """Nothing is skipped yet."""
        self.skipped = 0
        self._missed: dict[str, tuple[float, int]] = {}

    async def decide(self, service: Any, url: str, gateway_id: str, settings: Any) -> bool | None:  # noqa: ANN401
        """Whether a refresh is due by the plan; None if the plan does not decide. Raises an exception if in doubt."""
        async with asyncio.timeout(float(settings.gateway_health_check_timeout) / _DECISION_SHARE):
            planned = await _read(service, url, gateway_id, settings)
            if planned is None:
                return None
            last, now = planned.last, planned.now
            if last is None or planned.field.is_due(last, now):
                return True
            self._count(planned.key, last, int(max(now - last, 0.0) // settings.cold_server_check_interval))
            # Beside what :meth:`keep` does after a refresh: the plan may since have become longer, or a process without
            # this plugin may have refreshed the server.
            await _keep(service._redis, planned)
            return False

    async def keep(self, service: Any, url: str, gateway_id: str, settings: Any) -> None:  # noqa: ANN401
        """Let the stamp live for as long as the plan needs it. In doubt it raises an exception.

        The release lets it expire after two intervals of the tier. Where the next question comes later, as after a
        pause of the gateway, the server would count as never refreshed.
        """
        async with asyncio.timeout(float(settings.gateway_health_check_timeout) / _DECISION_SHARE):
            planned = await _read(service, url, gateway_id, settings)
            if planned is not None:
                await _keep(service._redis, planned)

    def _count(self, key: str, last: float, missed: int) -> None:
        """So many refreshes by the tiers alone would have come since the last one.

        Those before this process first saw the server are another's.
        """
        if key not in self._missed and len(self._missed) >= _MOST_COUNTED:
            self._missed.clear()
        known_last, known = self._missed.get(key, (last, missed))
        if known_last != last:
            known = 0
        self.skipped += max(missed - known, 0)
        self._missed[key] = (last, max(missed, known))


async def _read(service: Any, url: str, gateway_id: str, settings: Any) -> Planned | None:  # noqa: ANN401
    if settings.hot_cold_classification_enabled is not True or not service._redis:
        return None
    hot_key = service.CLASSIFICATION_HOT_KEY
    if not hot_key.endswith(_HOT):
        return None
    key = service._poll_state_key(url, POLL_TYPE, gateway_id)
    # No transaction: a proxy may refuse one, and nothing here needs it. The first error is raised.
    async with service._redis.pipeline(transaction=False) as pipeline:
        pipeline.sismember(hot_key, url)
        pipeline.sismember(service.CLASSIFICATION_COLD_KEY, url)
        pipeline.hget(hot_key.removesuffix(_HOT) + _INTERVALS, url)
        pipeline.get(key)
        pipeline.pttl(key)
        is_hot, is_cold, value, stamp, left = await pipeline.execute()
    field = read_field(value)
    if is_hot or not is_cold or field is None or field.seconds < settings.hot_server_check_interval:
        return None
    return Planned(field, key, stamp, left, time.time())


async def _keep(redis: Any, planned: Planned) -> None:  # noqa: ANN401
    """Let the stamp live for two planned intervals after the refresh.

    If that is refused, the stamp expires early, and the server is polled early.
    """
    last = planned.last
    if last is None:
        return
    wanted = math.ceil(1000 * (last + 2 * planned.field.seconds - planned.now))
    if not 0 <= planned.left < wanted:
        return
    try:
        await redis.eval(_KEEP, 1, planned.key, planned.stamp, wanted + _SPARE_MS)
    except Exception:  # noqa: BLE001 - the answer does not depend on it
        _LOG.debug("a stamp is not kept for longer", exc_info=True)


def wrap_decision(original: Function, find: Callable[[], Plan | None], namespace: Mapping[str, Any]) -> Function:
    """The method that obeys; ``find`` gives the plan of this process, ``namespace`` has the release's settings."""

    async def should_poll_server(self: Any, url: str, poll_type: str, gateway_id: str = "") -> Any:  # noqa: ANN401
        if poll_type == POLL_TYPE:
            try:
                plan = find()
                due = None if plan is None else await plan.decide(self, url, gateway_id, namespace.get("settings"))
            except Exception:  # noqa: BLE001 - whatever it is, the answer is that without a plan
                _LOG.debug("what the plan says of a server is not known", exc_info=True)
                due = None
            if due is not None:
                return due
        return await original(self, url, poll_type, gateway_id)

    return should_poll_server


def wrap_completed(original: Function, find: Callable[[], Plan | None], namespace: Mapping[str, Any]) -> Function:
    """The method that writes a stamp, which then lives for as long as the plan needs it."""

    async def mark_poll_completed(self: Any, url: str, poll_type: str, gateway_id: str = "") -> Any:  # noqa: ANN401
        answer = await original(self, url, poll_type, gateway_id)
        if poll_type == POLL_TYPE:
            try:
                plan = find()
                if plan is not None:
                    await plan.keep(self, url, gateway_id, namespace.get("settings"))
            except Exception:  # noqa: BLE001 - the stamp is written, and lives as long as the release lets it
                _LOG.debug("whether a stamp has to live longer is not known", exc_info=True)
        return answer

    return mark_poll_completed
