"""The page with the figures: Markdown from a template, and the picture. In: what was measured. Out: text.

    PYTHON -m fleet.page --defaults FILE... --fastest FILE... --docs FOLDER --command COMMAND

Pure but for reading and writing files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from string import Template

from . import chart, counting
from .contextforge import MODERN, NAMES, OLDER
from .counting import Kind
from .measured import MODES, USED, Measured, Mode, Outcome, releases

IDLE = tuple(name for name in NAMES if name not in USED)


def render(defaults: Sequence[Measured], fastest: Sequence[Measured], command: str) -> str:
    """The whole page. The first release that was measured is the newest."""
    template = Template(Path(__file__).with_name("polls.md.template").read_text())
    (first, newest), (last, oldest) = releases(defaults)
    saved = {
        f"{mode}_{age}": f"{measured.saved(release, mode, NAMES):.0%}"
        for mode in (Mode.TIERS, Mode.PACED)
        for age, measured, release in (("newest", first, newest), ("oldest", last, oldest))
    }
    return template.substitute(
        saved,
        newest=newest,
        oldest=oldest,
        command=command,
        call_seconds=f"{first.call_seconds:g}",
        servers=len(NAMES),
        defaults=section(defaults),
        fastest=section(fastest) if fastest else "Not measured in this run.",
    )


def section(runs: Sequence[Measured]) -> str:
    """The tables of one setting."""
    measured = runs[0]
    polling = measured.polling
    settings = (
        f"`HEALTH_CHECK_INTERVAL={polling.health}`, `GATEWAY_AUTO_REFRESH_INTERVAL={polling.refresh}`, with paced\n"
        f"health checks `cold_health_interval: {polling.cold_health}s`; "
        f"{(measured.end - measured.begin) / 60:.0f} minutes."
    )
    tables = (_requests(runs), _generations(runs), _spacing(runs), _age(runs))
    return "\n\n".join("\n".join(table) for table in ([settings], *tables))


def _requests(runs: Sequence[Measured]) -> list[str]:
    lines = _head("HTTP requests an hour", "health checks", "refreshes", "**all polling**", "**saved**", "calls")
    for measured, outcome in _outcomes(runs):
        health, refresh, call = (measured.hourly(outcome.requests(kind, NAMES)) for kind in Kind)
        saved = measured.saved(outcome.release, outcome.mode, NAMES)
        values = [f"{health:.0f}", f"{refresh:.0f}", f"**{health + refresh:.0f}**", _share(outcome, saved)]
        lines.append(_row(_name(outcome), [*values, f"{call:.0f}"]))
    return lines


def _generations(runs: Sequence[Measured]) -> list[str]:
    lines = _head(
        "share of all polling that is saved", "servers of the 2026-07-28 protocol", "servers of an older protocol"
    )
    for measured, outcome in _outcomes(runs):
        if outcome.mode is not Mode.ALONE:
            saved = (measured.saved(outcome.release, outcome.mode, servers) for servers in (MODERN, OLDER))
            lines.append(_row(_name(outcome), [f"{share:.0%}" for share in saved]))
    return lines


def _spacing(runs: Sequence[Measured]) -> list[str]:
    lines = _head(
        "seconds between, median (lowest to highest)",
        "refreshes of a server in use",
        "refreshes of another one",
        "health checks of a server in use",
        "health checks of another one",
    )
    for measured, outcome in _outcomes(runs):
        both = (outcome.refreshes, outcome.health_checks)
        found = [measured.gaps(times, servers) for times in both for servers in (USED, IDLE)]
        lines.append(_row(_name(outcome), [_spread(gaps) for gaps in found]))
    return lines


def _age(runs: Sequence[Measured]) -> list[str]:
    lines = _head(
        "seconds",
        "age of a tool list in use, mean",
        "highest",
        "age of another one, mean",
        "highest",
        "dead server in use noticed after",
        "another one",
    )
    for measured, outcome in _outcomes(runs):
        values = []
        for servers in (USED, IDLE):
            ages = [counting.age(outcome.refreshes[name], measured.begin, measured.end) for name in servers]
            values += [f"{fmean(age.mean for age in ages):.0f}", f"{max(age.worst for age in ages):.0f}"]
        for servers in (USED, IDLE):
            noticed = [outcome.noticed[name] for name in servers if name in outcome.noticed]
            values.append(f"{max(noticed):.0f}" if noticed else "not measured")
        lines.append(_row(_name(outcome), values))
    return lines


def _outcomes(runs: Sequence[Measured]) -> list[tuple[Measured, Outcome]]:
    return [(measured, outcome) for measured in runs for outcome in measured.outcomes]


def _name(outcome: Outcome) -> str:
    return f"{outcome.release}, {MODES[outcome.mode]}"


def _share(outcome: Outcome, saved: float) -> str:
    return "" if outcome.mode is Mode.ALONE else f"**{saved:.0%}**"


def _spread(gaps: list[float]) -> str:
    return f"{median(gaps):.1f} ({min(gaps):.0f} to {max(gaps):.0f})" if gaps else "none"


def _head(*titles: str) -> list[str]:
    return [_row(titles[0], list(titles[1:])), f"|{'---|' * len(titles)}"]


def _row(what: str, values: list[str]) -> str:
    return f"| {what} | {' | '.join(values)} |"


def main() -> None:
    """Read the arguments, and write the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--defaults", type=Path, nargs="+", required=True, help="measured at the default settings")
    parser.add_argument("--fastest", type=Path, nargs="*", default=[], help="measured at the fastest ones")
    parser.add_argument("--docs", type=Path, required=True, help="the folder for the page and img/polls.svg")
    parser.add_argument("--command", required=True, help="what the page says it was made with")
    arguments = parser.parse_args()
    defaults, fastest = (list(map(Measured.read, files)) for files in (arguments.defaults, arguments.fastest))
    page = render(defaults, fastest, arguments.command)
    (arguments.docs / "img").mkdir(parents=True, exist_ok=True)
    (arguments.docs / "contextforge-polls.md").write_text(page)
    (arguments.docs / "img" / "polls.svg").write_text(chart.draw(defaults))
    print(page)


if __name__ == "__main__":
    main()
