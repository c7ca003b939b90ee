"""Every HTTP request that upstream MCP servers receive: with the release alone, with tiers, with paced health checks.

Three fleets side by side, at the same time, of the same make, for each release that is named: one that is the release
as it is, in which nobody publishes, one with the operator, and one with the operator and the plugin's
``cold_health_interval``. If a longest interval is named, a fourth one has a refresh plan as well; then the counting
begins when that plan has not changed for two minutes. Each has two processes of the release, ten real MCP servers, the
same clients with the same traffic, and HOT_COLD_CLASSIFICATION_ENABLED on. All are counted over the same minutes, by
what their MCP servers received. Then all MCP servers are killed, right after a health check of one that is not in use,
until each is found to be dead.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from . import counting
from .checks import check, check_calls, note, step, watch
from .contextforge import NAMES, UPSTREAMS, Fleet, Polling, Release
from .measured import USED, Measured, Mode, Outcome
from .operators import Cluster, Operators
from .page import section
from .processes import wait_until
from .scene import ending, folder, parser

CALL_SECONDS = 5.0
UNHEALTHY_THRESHOLD = 3
_SETTLED_SECONDS = 120.0
_IDLE = next(name for name in NAMES if name not in USED)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the fleets."""

    fleet: Fleet
    mode: Mode
    operators: Operators

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.fleet.release.version} {self.mode}"

    def has_tiers(self) -> bool:
        """Whether the two that are used are published as hot; or nothing, if nobody is to publish."""
        if self.mode is Mode.ALONE:
            return not self.fleet.keys()
        return self.fleet.members("hot") == sorted(self.fleet.gateways[name]["url"] for name in USED)

    def plan(self) -> str:
        """The refresh plan, "" where there is none."""
        words = self.fleet.key("intervals", "HGETALL").split()
        return "\n".join(sorted(f"{url}: {field}" for url, field in zip(words[::2], words[1::2], strict=True)))


def start(sides: list[Side]) -> None:
    """Raise all, and let them settle."""
    step(f"{len(sides)} fleets")
    for side in sides:
        # One after the other: together they would only wait for each other's start-up.
        side.fleet.start()
        note(f"{side.name} runs")
    for side in sides:
        side.fleet.start_clients(every=CALL_SECONDS)
        if side.mode is not Mode.ALONE:
            side.operators.apply()
            side.operators.start("a")
    for side in sides:
        wait_until(f"{side.name}: the tiers are as they should be", side.has_tiers, 300.0)
    # A refresh that was decided just before the publication may still be on its way.
    time.sleep(10)
    for side in sides:
        if side.mode is Mode.PLANNED:
            settle(side)


def settle(side: Side) -> None:
    """Wait until the plan has not changed for two minutes."""
    last, since = "", time.monotonic()

    def is_settled() -> bool:
        nonlocal last, since
        if (plan := side.plan()) != last:
            last, since = plan, time.monotonic()
        return bool(last) and time.monotonic() - since >= _SETTLED_SECONDS

    wait_until(f"{side.name}: the plan has settled", is_settled, 900.0, every=1.0)
    note(f"{side.name}: the plan has settled:\n{last}")


def count(sides: list[Side], minutes: float) -> tuple[float, float]:
    """Let the time pass; its begin and end."""
    step(f"Counting for {minutes:g} minutes")
    begin = time.time()

    def alive() -> None:
        for side in sides:
            side.fleet.processes.check()

    watch("counting", minutes * 60, alive)
    end = time.time()
    for side in sides:
        check(f"{side.name}: the tiers are as they should be", side.has_tiers())
        for kind in ("stateful", "stateless"):
            check_calls(f"{side.name}: the {kind} client", *side.fleet.calls(kind))
    return begin, end


def outcome(side: Side, begin: float, end: float) -> Outcome:
    """What was received by the servers of one fleet."""
    requests = side.fleet.requests()
    received = {server: dict(kinds) for server, kinds in counting.received(requests, begin, end).items()}
    refreshes, checks = counting.refreshes(requests), counting.health_checks(requests)
    return Outcome(side.fleet.release.version, side.mode, refreshes, checks, received, {})


def deaths(sides: list[Side], polling: Polling) -> list[dict[str, float]]:
    """Kill all MCP servers of each fleet right after a health check, and wait until each is found to be dead.

    Returns:
        For each fleet, the seconds until then by server.
    """
    step("All MCP servers are killed")
    last = [len(_checks(side)) for side in sides]
    killed: list[float | None] = [None] * len(sides)
    noticed: list[dict[str, float]] = [{} for _ in sides]

    def look() -> bool:
        for number, side in enumerate(sides):
            since = killed[number]
            if since is None and len(_checks(side)) > last[number]:
                time.sleep(1.0)
                for upstream in UPSTREAMS:
                    side.fleet.processes.end(upstream, kill=True)
                killed[number] = time.monotonic()
            elif since is not None and len(noticed[number]) < len(NAMES):
                for server in side.fleet.unreachable():
                    noticed[number].setdefault(server, time.monotonic() - since)
        return all(len(found) == len(NAMES) for found in noticed)

    paced = polling.cold_health or polling.health
    limit = 2 * paced + (UNHEALTHY_THRESHOLD + 2) * polling.health + 60
    wait_until("all dead servers are unreachable", look, limit, every=0.5)
    return noticed


def _checks(side: Side) -> list[float]:
    return counting.health_checks(side.fleet.requests()).get(_IDLE, [])


def main() -> None:
    """Read the arguments, measure, and store what was measured."""
    made = parser(__doc__)
    made.add_argument("--release", action="append", required=True, help="a Python with a release; may be repeated")
    made.add_argument("--refresh", type=int, required=True, help="GATEWAY_AUTO_REFRESH_INTERVAL")
    made.add_argument("--health", type=int, required=True, help="HEALTH_CHECK_INTERVAL")
    made.add_argument("--cold-health", type=int, required=True, help="the plugin's cold_health_interval, in seconds")
    made.add_argument(
        "--longest", type=int, help="--longest-refresh-interval of a fleet with a refresh plan, in seconds"
    )
    made.add_argument("--budget", type=float, default=0.33, help="--refresh-budget of that fleet")
    made.add_argument("--minutes", type=float, required=True, help="how long to count")
    made.add_argument("--output", required=True, type=Path, help="the file for what was measured")
    arguments = made.parse_args()
    paced = Polling(arguments.refresh, arguments.health, arguments.cold_health)
    plan = ["--refresh-plan", "usage", "--refresh-budget", str(arguments.budget)]
    plan += ["--longest-refresh-interval", f"{arguments.longest}s"]
    with folder(arguments.keep) as place:
        cluster = Cluster(place, arguments.operator)
        sides = []
        for release in map(Release.installed, arguments.release):
            for mode in Mode:
                if mode is Mode.PLANNED and not arguments.longest:
                    continue
                polling = paced if mode in {Mode.PACED, Mode.PLANNED} else replace(paced, cold_health=None)
                name = f"{release.version}-{mode}".replace(".", "-")
                fleet = Fleet(place / name, release, arguments.fastmcp, arguments.fastmcp_older, polling, ("a",))
                operators = Operators(fleet, cluster, arguments.operator, name, plan if mode is Mode.PLANNED else [])
                sides.append(Side(fleet, mode, operators))
        with ending([side.fleet for side in sides], cluster):
            cluster.start()
            start(sides)
            begin, end = count(sides, arguments.minutes)
            outcomes = [outcome(side, begin, end) for side in sides]
            measured = Measured(paced, CALL_SECONDS, begin, end, outcomes)
            measured.write(arguments.output)
            for number, noticed in enumerate(deaths(sides, paced)):
                outcomes[number] = replace(outcomes[number], noticed=noticed)
            measured.write(arguments.output)
    arguments.output.with_suffix(".md").write_text(section([measured]) + "\n")
    step(f"Written to {arguments.output}")


if __name__ == "__main__":
    main()
