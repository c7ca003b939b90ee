"""How this process changes ContextForge's polling: which methods are replaced, since when it has skipped what.

In: the settings; ContextForge, where this process has loaded it. Out: replaced methods, and an object for the report.
Must not: replace a method that does not look as in the releases that were read (1.0.7 to 1.1.0).

The methods belong to the process; their classes are inherited by a fork. What is counted belongs to one process, so the
replaced methods ask for it each time.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from . import health_pacing, hot_polls, refresh_plan, release_shape, wrapping
from .release_shape import Method
from .settings import Settings

_LOG = logging.getLogger("mcpgateway_usage")
Name = Literal["Active", "Off", "Unsupported"]


@dataclass(frozen=True, slots=True)
class State:
    """Whether one of the changes is at work in this process."""

    name: Name
    reason: str = ""
    """Why it is unsupported."""


_OFF = State("Off")
_ACTIVE = State("Active")


class Polling:
    """The part of one process."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is replaced before :meth:`install`."""
        interval = settings.cold_health_interval
        self._is_hot_wanted = settings.hot_at_full_rate
        self.plan = refresh_plan.Plan() if settings.refresh_plan else None
        self.pacing = health_pacing.Pacing(interval) if interval is not None else None
        self.hot, self.planned, self.cold = _OFF, _OFF, _OFF

    def install(self, find: Callable[[], Polling | None]) -> None:
        """Replace what is wanted and fits; ``find`` gives the polling of the process that asks. Said once in the log.

        Where all are off, nothing of ContextForge is looked at.
        """
        if self._is_hot_wanted:
            self.hot = _attempt(lambda: _install_decision(find, hot_polls.DECISION, hot_polls.TIER))
            if self.hot.reason:
                _LOG.warning("hot servers may be refreshed later than unclassified ones: %s", self.hot.reason)
        if self.plan is not None:
            self.planned = _attempt(lambda: _install_plan(find))
            if self.planned.reason:
                _LOG.warning("a refresh plan of the operator is not obeyed: %s", self.planned.reason)
        if self.pacing is not None:
            interval = self.pacing.interval
            self.cold = _attempt(lambda: _install_cold(find, interval))
            if self.cold.reason:
                _LOG.warning("cold servers are checked at every tick, cold_health_interval: %s", self.cold.reason)
            else:
                _LOG.info("the health of cold servers is checked every %.0f s", interval)

    def encode(self, calls: tuple[int, int] | None = None) -> str:
        """The object of the report: ``workers[].polling``. ``calls``: tool calls, and those that met an old list."""
        found: dict[str, str | float | int] = {"hotAtFullRate": self.hot.name}
        if self.hot.reason:
            found["hotAtFullRateReason"] = self.hot.reason
        found["refreshPlan"] = self.planned.name
        if self.planned.reason:
            found["refreshPlanReason"] = self.planned.reason
        if self.plan is not None and self.planned.name == "Active":
            found["refreshesSkipped"] = self.plan.skipped
        if calls is not None:
            found["calls"], found["callsOnOldLists"] = calls
        found["coldHealth"] = self.cold.name
        if self.cold.reason:
            found["coldHealthReason"] = self.cold.reason
        if self.pacing is not None and self.cold.name == "Active":
            found["coldHealthInterval"] = self.pacing.interval
            found["healthChecksRun"] = self.pacing.run
            found["healthChecksSkipped"] = self.pacing.skipped
        return json.dumps(found, separators=(",", ":"))


def _attempt(install: Callable[[], str | None]) -> State:
    try:
        reason = install()
    except Exception as error:  # noqa: BLE001 - a release that cannot be looked at is one that does not fit
        reason = f"{type(error).__name__}: {error}"
    return _ACTIVE if reason is None else State("Unsupported", release_shape.shortened(reason))


def _module(name: str) -> Any:  # noqa: ANN401
    """A module of ContextForge, or None in a process that has not loaded ContextForge.

    One of the two modules is imported by the release no sooner than it is needed, which is after the plugin's start.
    """
    if health_pacing.MODULE not in sys.modules:
        return None
    return importlib.import_module(name)


def _install_decision(find: Callable[[], Polling | None], *methods: Method) -> str | None:
    """One method is replaced for hot servers and for the plan, so each time with both."""
    module = _module(hot_polls.MODULE)
    owner = getattr(module, hot_polls.OWNER, None)
    if owner is None:
        return f"there is no {hot_polls.OWNER} in this process"
    for method in methods:
        fault = release_shape.fault(owner, method)
        if fault is not None:
            return fault

    def is_hot_on() -> bool:
        here = find()
        return here is not None and here.hot.name == "Active"

    find_plan, namespace = _plan_of(find), vars(module)
    wrapping.replace(
        owner,
        hot_polls.DECISION.name,
        lambda original: refresh_plan.wrap_decision(hot_polls.wrap(original, is_hot_on), find_plan, namespace),
    )
    return None


def _install_plan(find: Callable[[], Polling | None]) -> str | None:
    """Both methods or none: without the second one, the stamp that a plan relies on may expire early."""
    fault = _install_decision(find, *refresh_plan.METHODS)
    if fault is None:
        module = _module(hot_polls.MODULE)
        wrapping.replace(
            getattr(module, hot_polls.OWNER),
            refresh_plan.COMPLETED.name,
            lambda original: refresh_plan.wrap_completed(original, _plan_of(find), vars(module)),
        )
    return fault


def _plan_of(find: Callable[[], Polling | None]) -> Callable[[], refresh_plan.Plan | None]:
    def find_plan() -> refresh_plan.Plan | None:
        here = find()
        return here.plan if here is not None and here.planned.name == "Active" else None

    return find_plan


def _install_cold(find: Callable[[], Polling | None], interval: float) -> str | None:
    module = _module(health_pacing.MODULE)
    owner = getattr(module, health_pacing.OWNER, None)
    if owner is None:
        return f"there is no {health_pacing.OWNER} in this process"
    tiers = getattr(_module(hot_polls.MODULE), hot_polls.OWNER, None)
    for place, method in ((owner, health_pacing.CHECK), (tiers, hot_polls.TIER), (tiers, hot_polls.DECISION)):
        fault = release_shape.fault(place, method)
        if fault is not None:
            return fault
    tick = float(module.settings.health_check_interval)
    if interval < 1.5 * tick:
        _LOG.warning("cold_health_interval %.0fs has no effect, HEALTH_CHECK_INTERVAL is %.0f s", interval, tick)

    def find_pacing() -> health_pacing.Pacing | None:
        here = find()
        return here.pacing if here is not None and here.cold.name == "Active" else None

    namespace = vars(module)
    wrapping.replace(
        owner, health_pacing.CHECK.name, lambda original: health_pacing.wrap(original, find_pacing, namespace)
    )
    return None
