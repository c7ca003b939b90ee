"""The figure this project stands on: tool refreshes per MCP server, with the operator and without it.

Two fleets side by side, at the same time, of the same make: two instances of two processes of the release, ten real MCP
servers, the same clients with the same traffic, HOT_COLD_CLASSIFICATION_ENABLED on in both. One has two replicas of the
operator; the other is the release as it is, in which nobody publishes, so that it polls everything at full rate. Both
are counted over the same minutes, by what their MCP servers received.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from . import chart
from .checks import check, check_calls, note, step, watch
from .contextforge import Fleet
from .operators import Operators
from .page import CALL_SECONDS, USED, Measured, render
from .processes import wait_until
from .scene import ending, folder, parser


def measure(bare: Fleet, led: Fleet, operators: Operators, minutes: float) -> tuple[float, float]:
    """Raise both, let them settle, and let the time pass; its begin and end."""
    step("Two fleets: one as the release is, one with the operator")
    # One after the other: together they would only wait for each other's start-up.
    for fleet in (bare, led):
        fleet.start()
    operators.start_cluster()
    for fleet in (bare, led):
        fleet.start_clients(every=CALL_SECONDS)
    for name in ("a", "b"):
        operators.start(name)
    hot = sorted(led.gateways[name]["url"] for name in USED)
    wait_until("the operator has published the two that are used as hot", lambda: led.members("hot") == hot, 300.0)

    def settled() -> bool:
        for fleet in (bare, led):
            fleet.processes.check()
        return all(times for fleet in (bare, led) for times in fleet.refreshes().values())

    wait_until("every server has been refreshed", settled)
    # A refresh that was decided just before the publication may still be on its way.
    time.sleep(10)
    step(f"Counting for {minutes:.0f} minutes")
    begin = time.time()

    def alive() -> None:
        for fleet in (bare, led):
            fleet.processes.check()

    watch("counting", minutes * 60, alive)
    end = time.time()
    check("nothing is published without the operator", not bare.keys(), bare.keys() or "no keys")
    check("the same two are still hot with it", led.members("hot") == hot, " ".join(USED))
    for name, fleet in (("without", bare), ("with", led)):
        for kind in ("stateful", "stateless"):
            check_calls(f"{name} the operator, the {kind} client", *fleet.calls(kind))
    note(operators.table())
    return begin, end


def main() -> None:
    """Read the arguments, measure, write the page and the picture."""
    made = parser(__doc__)
    made.add_argument("minutes", nargs="?", type=float, default=12.0, help="how long to count (default: 12)")
    made.add_argument("--docs", required=True, help="the folder for polls.md and img/polls.svg")
    made.add_argument("--command", default="make polls-figure", help="what the page says it was made with")
    arguments = made.parse_args()
    with folder(arguments.keep) as place:
        bare, led = (
            Fleet(Path(place) / name, arguments.fastmcp, arguments.fastmcp_older) for name in ("without", "with")
        )
        operators = Operators(led, arguments.operator)
        with ending([bare, led], operators):
            begin, end = measure(bare, led, operators, arguments.minutes)
            without, withal = bare.refreshes(), led.refreshes()
        measured = Measured(without, withal, begin, end)
        (place / "measured.json").write_text(json.dumps(asdict(measured)))
        write(measured, Path(arguments.docs), arguments.command)


def write(measured: Measured, docs: Path, command: str) -> None:
    """The page and the picture."""
    (docs / "img").mkdir(parents=True, exist_ok=True)
    page = render(measured, command)
    (docs / "contextforge-polls.md").write_text(page)
    (docs / "img" / "polls.svg").write_text(chart.draw(measured, USED))
    step(f"Written to {docs}")
    print(page)


if __name__ == "__main__":
    main()
