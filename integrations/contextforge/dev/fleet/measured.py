"""What was measured, as it is stored: one file for each setting of the release. Pure but for reading and writing it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from . import counting
from .contextforge import STATEFUL, STATELESS, Polling
from .counting import Kind

USED = (STATEFUL, STATELESS)
Times = dict[str, list[float]]


class Mode(StrEnum):
    """How a fleet polls."""

    ALONE = "alone"
    TIERS = "tiers"
    PACED = "paced"
    PLANNED = "planned"


MODES = {
    Mode.ALONE: "the release alone",
    Mode.TIERS: "tiers",
    Mode.PACED: "tiers, paced health checks",
    Mode.PLANNED: "a refresh plan, paced health checks",
}
"""For people."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One fleet."""

    release: str
    mode: Mode
    refreshes: Times
    """When each server's tools were refreshed, also before the counting."""
    health_checks: Times
    received: dict[str, dict[Kind, int]]
    """HTTP requests that each server received while it was counted."""
    noticed: dict[str, float]
    """Seconds from the death of each server until the release called it unreachable."""

    def requests(self, kind: Kind, servers: tuple[str, ...]) -> int:
        """How many of a kind these servers received."""
        return sum(self.received[server].get(kind, 0) for server in servers)

    def polling(self, servers: tuple[str, ...]) -> int:
        """How many requests these servers received that nobody's call caused."""
        return self.requests(Kind.HEALTH, servers) + self.requests(Kind.REFRESH, servers)


@dataclass(frozen=True, slots=True)
class Measured:
    """All fleets over the same time."""

    polling: Polling
    call_seconds: float
    begin: float
    end: float
    outcomes: list[Outcome]

    @property
    def releases(self) -> list[str]:
        """In the order of their fleets."""
        return list(dict.fromkeys(outcome.release for outcome in self.outcomes))

    def outcome(self, release: str, mode: Mode) -> Outcome:
        """The fleet of that release and mode."""
        return next(o for o in self.outcomes if (o.release, o.mode) == (release, mode))

    def outcomes_of(self, release: str) -> list[Outcome]:
        """The fleets of that release."""
        return [outcome for outcome in self.outcomes if outcome.release == release]

    def saved(self, release: str, mode: Mode, servers: tuple[str, ...]) -> float:
        """The share of the polling requests of the release alone that these servers did not receive."""
        alone, other = (self.outcome(release, m).polling(servers) for m in (Mode.ALONE, mode))
        return 1 - other / alone

    def hourly(self, count: int) -> float:
        """That many in the time of counting, as a number for each hour."""
        return count / (self.end - self.begin) * 3600

    def gaps(self, times: Times, servers: tuple[str, ...]) -> list[float]:
        """Seconds between each two events of a server, over these servers."""
        return [gap for server in servers for gap in counting.gaps(times[server], self.begin, self.end)]

    def write(self, file: Path) -> None:
        """Store it."""
        file.write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, file: Path) -> Measured:
        """What was stored."""
        content = json.loads(file.read_text())
        outcomes = [Outcome(**{**outcome, "mode": Mode(outcome["mode"])}) for outcome in content.pop("outcomes")]
        return cls(**{**content, "polling": Polling(**content["polling"]), "outcomes": outcomes})


def releases(runs: Sequence[Measured]) -> list[tuple[Measured, str]]:
    """The releases of these runs, each with the run in which it was measured."""
    return [(measured, release) for measured in runs for release in measured.releases]
