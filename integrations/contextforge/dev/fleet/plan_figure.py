"""Three fleets side by side: the release alone, with tiers, and with a refresh plan. Then the operator is killed.

Each has one process of the release, a Redis of its own, and real MCP servers. Real clients use some of these, each at a
rate of its own, in all fleets at the same instants. What Redis holds of each server is recorded all the time, and each
refresh of the plan's fleet is compared with it. At the end the operator of that fleet is killed for good, until every
server must be back at the full rate.
"""

from __future__ import annotations

import time
from pathlib import Path

from . import plan_acts, planned
from .checks import check, note, step
from .contextforge import Fleet as Gateways
from .contextforge import Polling, Release
from .operators import Cluster, Operators
from .plan_fleet import EVERY, Side, observe
from .planned import Mode, Planned, Settings
from .processes import wait_until
from .scene import ending, folder, parser

_STORE_SECONDS = 600.0
"""How often the measurements so far are stored, in case the run ends early."""


def main() -> None:
    """Read the arguments, measure, store, and judge."""
    made = parser(__doc__)
    made.add_argument("--release", required=True, help="a Python with the release")
    made.add_argument("--servers", type=int, default=30)
    made.add_argument("--minutes", type=float, default=90, help="how long to count")
    made.add_argument("--settle", type=float, default=5, help="minutes of calls before the counting")
    made.add_argument("--refresh", type=int, default=60, help="GATEWAY_AUTO_REFRESH_INTERVAL, s")
    made.add_argument("--health", type=int, default=10, help="HEALTH_CHECK_INTERVAL, s")
    made.add_argument("--cold-health", type=int, help="the plugin's cold_health_interval, s; default: not paced")
    made.add_argument("--classification", type=int, default=10, help="--classification-interval of the operators, s")
    made.add_argument("--longest", type=int, default=960, help="--longest-refresh-interval, s")
    made.add_argument("--budget", type=float, default=0.33, help="--refresh-budget")
    made.add_argument("--hot-fraction", type=float, default=0.1)
    made.add_argument(
        "--first-use", type=int, default=0, help="only so many first uses of servers at the longest interval"
    )
    made.add_argument("--objects", action="store_true", help="only the pin, the bound and the recheck of an object")
    made.add_argument("--output", required=True, type=Path, help="the file for what was measured; tables go beside it")
    arguments = made.parse_args()
    release = Release.installed(arguments.release)
    names = tuple(f"server-{number:02}" for number in range(arguments.servers))
    used = names[: len(EVERY)]
    settings = Settings(
        refresh=arguments.refresh,
        health=arguments.health,
        cold_health=arguments.cold_health,
        classification=arguments.classification,
        longest=arguments.longest,
        budget=arguments.budget,
        uses=dict(zip(used, map(float, EVERY), strict=True)),
    )
    flags = ["--classification-interval", f"{settings.classification}s", "--hot-fraction", str(arguments.hot_fraction)]
    plan = ["--refresh-plan", "usage", "--refresh-budget", str(settings.budget)]
    plan += ["--longest-refresh-interval", f"{settings.longest}s"]
    with folder(arguments.keep) as place:
        cluster = Cluster(place, arguments.operator)
        sides = []
        acts = arguments.objects or arguments.first_use
        for mode in [Mode.PLAN] if acts else Mode:
            polling = Polling(
                settings.refresh, settings.health, settings.cold_health if mode is not Mode.ALONE else None
            )
            gateways = Gateways(
                place / mode,
                release,
                arguments.fastmcp,
                arguments.fastmcp_older,
                polling,
                instances=("a",),
                workers=1,
                modern=names,
                older=(),
            )
            more = flags + (plan if mode is Mode.PLAN else [])
            sides.append(Side(gateways, mode, Operators(gateways, cluster, arguments.operator, f"plan-{mode}", more)))
        with ending([side.gateways for side in sides], cluster):
            cluster.start()
            begin(sides, settings)
            if acts:
                plan_acts.play(sides[0], settings, arguments.first_use, has_objects=arguments.objects)
                return
            measure(sides, settings, arguments.settle, arguments.minutes, arguments.output)


def begin(sides: list[Side], settings: Settings) -> None:
    """Start all fleets. The clients make their first calls a few seconds later."""
    step(f"{len(sides)} fleets")
    for side in sides:
        side.start()
    tools = [side.tools(list(settings.uses)) for side in sides]
    begin = time.time() + 10
    for side, offered in zip(sides, tools, strict=True):
        side.start_clients(begin, offered)
    # Without any use nothing is published.
    for side in sides:
        wait_until(f"{side.mode}: published", side.is_published)


def measure(sides: list[Side], settings: Settings, settle: float, minutes: float, output: Path) -> None:
    """Count, kill the operator, and store and judge what was measured."""
    step(f"{settle:g} minutes of calls, then {minutes:g} minutes of counting")
    observe("settling", settle * 60, sides)
    begin = time.time()
    end = begin + minutes * 60

    def store(killed: float | None = None) -> Planned:
        counted = min(end, time.time())
        fleets = [side.outcome(begin, counted) for side in sides]
        found = Planned(settings, begin, counted, killed, time.time(), fleets)
        found.write(output)
        output.with_suffix(".md").write_text(planned.page(found))
        return found

    while (left := end - time.time()) > 0:
        observe("counting", min(left, _STORE_SECONDS), sides)
        store()
    step("The operator of the plan's fleet is killed for good")
    killed = time.time()
    sides[-1].operators.kill("a")
    observe("without an operator", settings.promised + 3 * settings.refresh, sides)
    found = store(killed)
    step(f"Written to {output}")
    print(planned.page(found))
    for side in sides:
        lines = side.gateways.processes.log("clients").read_text().splitlines()
        bad = sum(not line.endswith(" ok") for line in lines)
        check(f"{side.mode}: the clients were served", 20 * bad <= len(lines), f"{len(lines)} calls, {bad} failed")
    wrong = planned.problems(found)
    note("\n".join(wrong))
    check(
        "all refreshes of the plan's fleet as planned, three rungs, back in time", not wrong, f"{len(wrong)} problems"
    )


if __name__ == "__main__":
    main()
