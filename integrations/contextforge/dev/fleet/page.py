"""The page with the figure: Markdown from a template. In: times of refreshes. Out: text. Pure but for the template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from string import Template

from . import counting
from .contextforge import REFRESH_SECONDS, RELEASE, SERVERS, STATEFUL, STATELESS
from .operators import INTERVAL

USED = (STATEFUL, STATELESS)
CALL_SECONDS = 5.0
Times = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Both fleets over the same time."""

    without: Times
    withal: Times
    begin: float
    end: float

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Refreshes by server, without the operator and with it."""
        bare, led = (
            {server: len(counting.within(times, self.begin, self.end)) for server, times in fleet.items()}
            for fleet in (self.without, self.withal)
        )
        return bare, led


def render(measured: Measured, command: str) -> str:
    """The whole page."""
    bare, led = measured.counts()
    totals = sum(bare.values()), sum(led.values())
    template = Template(Path(__file__).with_name("polls.md.template").read_text())
    return template.substitute(
        without=totals[0],
        withal=totals[1],
        release=RELEASE,
        minutes=f"{(measured.end - measured.begin) / 60:.0f}",
        saved=f"{1 - totals[1] / totals[0]:.0%}",
        servers=SERVERS,
        summary="\n".join(_summary(measured)),
        each="\n".join(_each(bare, led)),
        command=command,
        call_seconds=f"{CALL_SECONDS:.0f}",
        refresh_seconds=REFRESH_SECONDS,
        cold_seconds=3 * REFRESH_SECONDS,
        interval=INTERVAL,
    )


def _summary(measured: Measured) -> list[str]:
    begin, end = measured.begin, measured.end
    fleets = (measured.without, measured.withal)
    counts = measured.counts()
    lines = ["| | without | with |", "|---|---|---|"]
    lines.append(_row("tool refreshes that all servers received", [str(sum(count.values())) for count in counts]))
    groups = (("in use", USED), ("not in use", [name for name in measured.without if name not in USED]))
    for what, names in groups:
        each = [_between([fleet[name] for name in names], begin, end) for fleet in fleets]
        lines.append(_row(f"time between two refreshes of a server {what}, mean", [f"{mean:.0f} s" for mean in each]))
    for what, names in groups:
        ages = [[counting.age(fleet[name], begin, end) for name in names] for fleet in fleets]
        mean = [f"{fmean(age.mean for age in of):.0f} s" for of in ages]
        worst = [f"{max(age.worst for age in of):.0f} s" for of in ages]
        lines.append(_row(f"age of the tool list of a server {what}, mean", mean))
        lines.append(_row("the same, highest", worst))
    return lines


def _between(times: list[list[float]], begin: float, end: float) -> float:
    return fmean(gap for each in times for gap in counting.gaps(each, begin, end))


def _each(bare: dict[str, int], led: dict[str, int]) -> list[str]:
    users = {STATEFUL: "a client with a session", STATELESS: "a client without a session"}
    lines = ["| server | used by | refreshes without | with |", "|---|---|---|---|"]
    return [
        *lines,
        *(f"| {server} | {users.get(server, 'nobody')} | {bare[server]} | {led[server]} |" for server in sorted(bare)),
    ]


def _row(what: str, values: list[str]) -> str:
    return f"| {what} | {' | '.join(values)} |"
