"""What was measured of a refresh plan, and whether the refreshes were as planned. Pure but for writing it.

In: the times of refreshes and calls, and the recorded plan. Out: a judgement of each gap between two refreshes, and the
tables. All times are in Unix seconds, all intervals in seconds.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from statistics import median

from .counting import gaps, within

Times = dict[str, list[float]]
SLACK = 5.0
"""How late a refresh may be in the middle of its tick on a busy machine, and how old a recorded state."""


class Mode(StrEnum):
    """How a fleet polls."""

    ALONE = "alone"
    TIERS = "tiers"
    PLAN = "plan"


MODES = {Mode.ALONE: "the release alone", Mode.TIERS: "tiers", Mode.PLAN: "plan"}
"""For people."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What all fleets have in common."""

    refresh: int
    """GATEWAY_AUTO_REFRESH_INTERVAL, and the hot interval."""
    health: int
    """HEALTH_CHECK_INTERVAL: a tick."""
    cold_health: int | None
    """The plugin's cold_health_interval in the fleets with an operator."""
    classification: int
    longest: int
    budget: float
    uses: dict[str, float]
    """Seconds between two calls by server, of those that are used."""

    @property
    def rungs(self) -> list[int]:
        """I, 2I, 4I, … and the longest interval."""
        found = [self.refresh]
        while found[-1] * 2 < self.longest:
            found.append(found[-1] * 2)
        return [*found, self.longest]

    def rung(self, seconds: float) -> int:
        """The rung of a planned interval, which is up to 10 % shorter."""
        return next(rung for rung in self.rungs if seconds <= rung)

    @property
    def promised(self) -> float:
        """Within how many seconds the full rate is back when the operator is gone."""
        return 2 * self.classification + 3 * self.refresh


@dataclass(frozen=True, slots=True)
class State:
    """What Redis holds of a server, from an instant on."""

    at: float
    tier: str
    """hot, cold, or "" for neither."""
    planned: int | None
    """The field of the plan."""

    def interval(self, refresh: int) -> int:
        """What decides."""
        return self.planned or 3 * refresh if self.tier == "cold" else refresh


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the servers of one fleet received, and what was published of them."""

    release: str
    mode: Mode
    refreshes: Times
    """Also before the counting."""
    health_checks: Times
    calls: Times
    states: dict[str, list[State]]
    """By server, in the order of time; only changes."""
    requests: dict[str, int]
    """HTTP requests while it was counted, by what they were for."""

    def refreshed(self, begin: float, end: float) -> int:
        """How many refreshes all servers received in that time."""
        return sum(len(within(times, begin, end)) for times in self.refreshes.values())

    def ages(self, begin: float, end: float, server: str | None = None) -> list[float]:
        """How old the tool list was at each call of that time, of one server or of all."""
        found = []
        for name in [server] if server else self.calls:
            for call in within(self.calls.get(name, []), begin, end):
                earlier = [time for time in self.refreshes[name] if time <= call]
                found += [call - max(earlier)] if earlier else []
        return found


@dataclass(frozen=True, slots=True)
class Gap:
    """From one refresh of a server to the next."""

    server: str
    begin: float
    end: float
    interval: int
    """That was in force at its end."""
    late: float
    """For how many seconds it had been due; negative: it was not due yet."""
    is_moved: bool
    """Whether another interval was in force earlier in it."""

    def is_early(self) -> bool:
        """More than can be explained."""
        return self.late < -SLACK


def judge(server: str, refreshes: Sequence[float], states: Sequence[State], settings: Settings) -> Iterator[Gap]:
    """Each gap that begins after the first recorded state."""
    for begin, end in pairwise(refreshes):
        known = [state for state in states if state.at <= begin][-1:]
        if not known:
            continue
        known += [state for state in states if begin < state.at < end + SLACK]
        intervals = [state.interval(settings.refresh) for state in known]
        due = _due(begin, end + SLACK, known, settings.refresh)
        # The one in which it was refreshed, unless it should have been in an earlier one.
        mine = [since for since, until in due if until - since > settings.health + SLACK or until >= end - SLACK]
        late = end - mine[0] if mine else min(end - begin - intervals[-1], -SLACK - 1)
        yield Gap(server, begin, end, intervals[-1], late, len(set(intervals)) > 1)


def _due(begin: float, end: float, known: Sequence[State], refresh: int) -> list[tuple[float, float]]:
    """From when to when a server was due that was refreshed at ``begin``, by the states until ``end``."""
    found: list[tuple[float, float]] = []
    for number, state in enumerate(known):
        since = max(begin + state.interval(refresh), state.at)
        until = known[number + 1].at if number + 1 < len(known) else end
        if since < until and found and found[-1][1] == since:
            found[-1] = found[-1][0], until
        elif since < until:
            found.append((since, until))
    return found


@dataclass(frozen=True, slots=True)
class Planned:
    """All fleets over the same time, and what the plan's did after its operator was killed."""

    settings: Settings
    begin: float
    end: float
    killed: float | None
    over: float
    """When the record ends."""
    fleets: list[Fleet]

    def fleet(self, mode: Mode) -> Fleet:
        """The one of that mode."""
        return next(fleet for fleet in self.fleets if fleet.mode is mode)

    @property
    def servers(self) -> list[str]:
        """Those in use first, in the order of their rates."""
        return list(self.fleets[0].refreshes)

    def gaps(self) -> list[Gap]:
        """All of the plan's fleet that end while the operator runs, and after the plan was seen for the first time."""
        fleet = self.fleet(Mode.PLAN)
        last = self.killed or self.over
        found: list[Gap] = []
        for server in self.servers:
            times = [time for time in fleet.refreshes[server] if time < last]
            found += judge(server, times, fleet.states.get(server, []), self.settings)
        return found

    def tick(self, mode: Mode, at: float) -> float:
        """How long the tick at that time took: on a busy machine, longer than HEALTH_CHECK_INTERVAL.

        By the health checks of the server that has the most; those of a cold one may be paced.
        """
        checks = max(self.fleet(mode).health_checks.values(), key=len)
        later = bisect(checks, at)
        between = checks[later] - checks[later - 1] if 0 < later < len(checks) else 0.0
        return max(between, float(self.settings.health))

    def is_late(self, gap: Gap) -> bool:
        """Whether the refresh came more than a tick after it was due."""
        return gap.late > self.tick(Mode.PLAN, gap.end - gap.late) + SLACK

    def in_rungs(self, server: str) -> Counter[int | str]:
        """For how many seconds of the counting a server was on each rung; "hot" and "" are the others."""
        states = self.fleet(Mode.PLAN).states.get(server, [])
        found: Counter[int | str] = Counter()
        for number, state in enumerate(states):
            until = states[number + 1].at if number + 1 < len(states) else self.end
            seconds = min(until, self.end) - max(state.at, self.begin)
            if seconds > 0:
                is_planned = state.tier == "cold" and state.planned is not None
                found[self.settings.rung(state.planned or 0) if is_planned else state.tier or "-"] += round(seconds)
        return found

    def back(self) -> dict[str, float | None]:
        """Seconds from the death of the operator until each server is polled at the full rate for good.

        That is its first refresh after which all gaps are of one interval and a tick at most, until the record ends.
        """
        killed = self.killed or self.over
        found: dict[str, float | None] = {}
        for server, times in self.fleet(Mode.PLAN).refreshes.items():
            back: float | None = None
            later: float = self.over
            for time in reversed([time for time in times if time >= killed]):
                if later - time > self.settings.refresh + self.tick(Mode.PLAN, later - SLACK) + SLACK:
                    break
                back, later = time - killed, time
            found[server] = back
        return found

    def write(self, file: Path) -> None:
        """Store it."""
        file.write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, file: Path) -> Planned:
        """What was stored."""
        content = json.loads(file.read_text())
        content["settings"] = Settings(**content["settings"])
        for fleet in content["fleets"]:
            fleet["mode"] = Mode(fleet["mode"])
            fleet["states"] = {name: [State(**state) for state in states] for name, states in fleet["states"].items()}
        return cls(**{**content, "fleets": [Fleet(**fleet) for fleet in content["fleets"]]})


# --- For people --------------------------------------------------------------------------------------------------


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    return "\n".join([_row(*head), "|" + "---|" * len(head), *(_row(*row) for row in rows)])


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.0f}" if values else "-"


def totals(planned: Planned) -> str:
    """A row a fleet."""
    settings = planned.settings
    uniform = len(planned.servers) * (planned.end - planned.begin) / settings.refresh
    alone = max(planned.fleet(Mode.ALONE).refreshed(planned.begin, planned.end), 1)
    rows = []
    for fleet in planned.fleets:
        count, ages = fleet.refreshed(planned.begin, planned.end), fleet.ages(planned.begin, planned.end)
        old = sum(age > 2 * settings.refresh for age in ages)
        row = [MODES[fleet.mode], count, f"{count / uniform:.3f}", f"{count / alone:.3f}", len(ages), _mean(ages)]
        row += [f"{max(ages, default=0):.0f}", f"{100 * old / max(len(ages), 1):.1f}%"]
        found = sorted(gaps(max(fleet.health_checks.values(), key=len), planned.begin, planned.end))
        ticks = f"{median(found):.0f} ({found[-1]:.0f})" if found else "-"
        rows.append([*row, ticks, fleet.requests.get("health", 0)])
    head = ["fleet", "refreshes", "share of uniform", "share of the release alone", "calls", "mean age at call, s"]
    return _table(
        [
            *head,
            "highest",
            "calls on a list older than 2·I",
            "tick, median (longest), s",
            "HTTP requests of health checks",
        ],
        rows,
    )


def servers(planned: Planned) -> str:
    """A row a server."""
    rows = []
    begin, end = planned.begin, planned.end
    for server in planned.servers:
        every = planned.settings.uses.get(server)
        counts = [len(within(fleet.refreshes[server], begin, end)) for fleet in planned.fleets]
        ages = [_mean(fleet.ages(begin, end, server)) for fleet in planned.fleets]
        rungs = planned.in_rungs(server)
        shares = [(rung, seconds / max(rungs.total(), 1)) for rung, seconds in sorted(rungs.items(), key=str)]
        shares.sort(key=lambda pair: (isinstance(pair[0], int), pair[0] if isinstance(pair[0], int) else 0))
        where = ", ".join(f"{rung} {100 * share:.0f}%" for rung, share in shares if share >= 0.005)
        own = gaps(planned.fleet(Mode.PLAN).refreshes[server], begin, end)
        longest = f"{max(own):.0f}" if own else "-"
        row = [server, f"{every:g} s" if every else "never", *counts, *ages, where, longest]
        rows.append(row)
    names = [MODES[fleet.mode] for fleet in planned.fleets]
    head = ["server", "called every", *(f"refreshes, {name}" for name in names)]
    head += [f"mean age at call, {name}" for name in names]
    return _table([*head, "time on rungs of the plan, s", "longest gap, plan"], rows)


def as_planned(planned: Planned) -> str:
    """How the refreshes of the plan's fleet match the recorded plan, by rung."""
    rows = []
    found = planned.gaps()
    for rung in planned.settings.rungs:
        mine = [gap for gap in found if planned.settings.rung(gap.interval) == rung]
        if not mine:
            continue
        still = sorted(gap.end - gap.begin for gap in mine if not gap.is_moved)
        spread = f"{still[0]:.0f} to {still[-1]:.0f}" if still else "-"
        early, late = sum(gap.is_early() for gap in mine), sum(planned.is_late(gap) for gap in mine)
        used = len({gap.server for gap in mine})
        rows.append(
            [f"{rung} s", used, len(mine), len(mine) - len(still), spread, len(mine) - early - late, early, late]
        )
    head = ["interval in force", "servers", "gaps", "interval changed meanwhile", "seconds of the others"]
    return _table([*head, "as planned", "early", "late"], rows)


def after_death(planned: Planned) -> str:
    """A sentence that says when the full rate was back."""
    back = planned.back()
    missing = [server for server, seconds in back.items() if seconds is None]
    known = [seconds for seconds in back.values() if seconds is not None]
    text = f"The operator was killed. {len(known)} of {len(back)} servers were back at the full rate, "
    text += f"the last after {max(known, default=0):.0f} s (promised: {planned.settings.promised:.0f} s)."
    return text + (f" Not back: {', '.join(missing)}." if missing else "")


def problems(planned: Planned) -> list[str]:
    """The problems found; empty if there are none."""
    found = []
    for gap in planned.gaps():
        if gap.is_early() or planned.is_late(gap):
            text = (
                f"{gap.server}: refreshed {gap.end - gap.begin:.0f} s after the last time, {gap.late:+.0f} s from due"
            )
            found.append(f"{text} (interval {gap.interval} s, at {gap.end - planned.begin:.0f} s)")
    used = {rung for server in planned.servers for rung in planned.in_rungs(server) if isinstance(rung, int)}
    if len(used) < 3:
        found.append(f"fewer than three rungs in use: {sorted(used)}")
    if planned.killed is not None:
        for server, seconds in planned.back().items():
            if seconds is None or seconds > planned.settings.promised:
                found.append(f"{server}: back at the full rate after {seconds} s")
    return found


def page(planned: Planned) -> str:
    """All tables."""
    settings = planned.settings
    minutes = (planned.end - planned.begin) / 60
    paced = f", health checks of cold servers every {settings.cold_health} s" if settings.cold_health else ""
    text = [
        f"ContextForge {planned.fleets[0].release}, {len(planned.servers)} servers, {minutes:.0f} minutes; refresh "
        f"{settings.refresh} s, ticks of {settings.health} s{paced}, classification every {settings.classification} s, "
        f"longest interval {settings.longest} s, budget {settings.budget:g}.",
        totals(planned),
        servers(planned),
        as_planned(planned),
    ]
    if planned.killed is not None:
        text.append(after_death(planned))
    return "\n\n".join(text) + "\n"
