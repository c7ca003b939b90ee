"""Health checks of cold servers at an interval of their own instead of at every tick.

In: the release's method that checks one gateway. Out: one that skips the check if all of :meth:`Pacing.skips` holds.
Must not: change anything of the release, or use up the time that the release allows for a check.

A check is skipped only on evidence. Whatever is unknown, is missing or raises an exception lets the release check.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .hot_polls import POLL_TYPE
from .release_shape import Method
from .wrapping import Function

_LOG = logging.getLogger("mcpgateway_usage")
MODULE = "mcpgateway.services.gateway_service"
OWNER = "GatewayService"

CHECK = Method(
    module=MODULE,
    owner=OWNER,
    name="_check_single_gateway_health",
    parameters=("self", "gateway"),
    has_more_parameters=True,
    uses=frozenset(
        {
            "_classification_service",
            "_gateway_failure_counts",
            "_mark_gateway_reachable",
            "auto_refresh_servers",
            "enabled",
            "last_refresh_at",
            "reachable",
            "refresh_interval_seconds",
            "should_poll_server",
        }
    ),
)

_DECISION_SHARE = 4
"""Redis may hang, and the time that the release allows for a check includes the decision. So the decision gets one part
in so many of that time. A fixed short time would not do: it also waits for the other checks in the same event loop."""
_WRITTEN_SECONDS = 1.0
"""A database may store a time in whole seconds."""
_MOST_CHECKED = 10_000


@dataclass(frozen=True, slots=True)
class Checked:
    """The last check that this process has made of a gateway, and that ended without an exception."""

    gateway_id: str
    url: str
    at: float
    """When it began, on the clock that never steps."""
    wall: float
    """The same in Unix seconds."""


class Pacing:
    """What one process has checked and skipped."""

    def __init__(self, interval: float) -> None:
        """``interval``: seconds between two checks of a cold server."""
        self.interval = interval
        self.run = 0
        self.skipped = 0
        self._checked: dict[str, Checked] = {}

    def begin(self, gateway: Any) -> Checked | None:  # noqa: ANN401
        """A check begins. Nothing is known of the gateway before it has ended."""
        self.run += 1
        try:
            self._checked.pop(gateway.id, None)
            return Checked(gateway.id, gateway.url, time.monotonic(), time.time())
        except Exception:  # noqa: BLE001 - whatever it is, the release checks
            _LOG.debug("a health check is not noted", exc_info=True)
            return None

    def end(self, checked: Checked) -> None:
        """It ended without an exception. Whether it went well, only the database tells: see :meth:`is_recent`."""
        if len(self._checked) >= _MOST_CHECKED:
            oldest = time.monotonic() - self.interval
            self._checked = {key: known for key, known in self._checked.items() if known.at > oldest}
        if len(self._checked) < _MOST_CHECKED:
            self._checked[checked.gateway_id] = checked

    def is_recent(self, gateway: Any, tick: float) -> bool:  # noqa: ANN401
        """Whether this process has checked the gateway within the interval, and the check went well.

        Checks come once a tick, so one that comes half a tick early is allowed: it would otherwise come half a tick
        late or more. The release writes ``last_seen`` at each good check, and only then.
        """
        known = self._checked.get(gateway.id)
        if known is None or known.url != gateway.url or time.monotonic() - known.at >= self.interval - tick / 2:
            return False
        return unix(gateway.last_seen) >= known.wall - _WRITTEN_SECONDS

    async def skips(self, service: Any, gateway: Any, settings: Any, cycle_started_at: object) -> bool:  # noqa: ANN401
        """Whether the check of this gateway is left out now. It is counted if so."""
        try:
            is_skipped = await self._may_skip(service, gateway, settings, cycle_started_at)
        except Exception:  # noqa: BLE001 - whatever it is, the release checks
            _LOG.debug("whether a health check can be left out is not known", exc_info=True)
            return False
        self.skipped += is_skipped
        return is_skipped

    async def _may_skip(self, service: Any, gateway: Any, settings: Any, cycle_started_at: object) -> bool:  # noqa: ANN401
        # First what is known here, then what Redis knows.
        if not is_well(service, gateway) or not self.is_recent(gateway, float(settings.health_check_interval)):
            return False
        tiers = service._classification_service
        async with asyncio.timeout(float(settings.gateway_health_check_timeout) / _DECISION_SHARE):
            if await tiers.get_server_classification(gateway.url) != "cold":
                return False
            if settings.auto_refresh_servers is False or is_throttled(gateway, settings, cycle_started_at):
                return True
            due = await tiers.should_poll_server(gateway.url, POLL_TYPE, gateway_id=str(gateway.id))
        return due is False


def is_well(service: Any, gateway: Any) -> bool:  # noqa: ANN401
    """Whether the release has nothing against the gateway, and its owner has given it no interval of its own."""
    return (
        gateway.enabled is True
        and gateway.reachable is True
        and service._gateway_failure_counts.get(gateway.id, 0) == 0
        and gateway.refresh_interval_seconds is None
    )


def is_throttled(gateway: Any, settings: Any, cycle_started_at: object) -> bool:  # noqa: ANN401
    """Whether the release's throttle on the time of the last refresh refuses one now."""
    if gateway.last_refresh_at is None:
        return False
    # 1.1.0 counts from the beginning of the cycle, 1.0.7 from now.
    now = cycle_started_at.timestamp() if isinstance(cycle_started_at, datetime) else time.time()
    return now - unix(gateway.last_refresh_at) < float(settings.gateway_auto_refresh_interval)


def unix(at: datetime) -> float:
    """Unix seconds of a time in the release's database."""
    # SQLite gives times without a zone. The release writes UTC.
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def wrap(original: Function, find: Callable[[], Pacing | None], namespace: Mapping[str, Any]) -> Function:
    """The method that skips; ``find`` gives the pacing of this process, ``namespace`` has the release's settings."""

    async def _check_single_gateway_health(self: Any, gateway: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        pacing = find()
        if pacing is None:
            return await original(self, gateway, *args, **kwargs)
        if await pacing.skips(self, gateway, namespace.get("settings"), kwargs.get("cycle_started_at")):
            return None
        checked = pacing.begin(gateway)
        answer = await original(self, gateway, *args, **kwargs)
        if checked is not None:
            pacing.end(checked)
        return answer

    return _check_single_gateway_health
