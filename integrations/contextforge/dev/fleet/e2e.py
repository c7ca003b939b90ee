"""The whole line on the real thing: ContextForge 1.0.7 polls its MCP servers as the operator says.

Two instances of two processes each, ten real MCP servers, real clients that use two of them, a real API server, two
replicas of the operator. Four acts: the release alone; the operator installed into the running fleet; its tiers at
work, through the death of the leading replica; the operator stopped for good. What is asserted is what the MCP servers
really received. Some nine minutes, because the release refreshes no oftener than once a minute.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from . import counting
from .checks import check, check_calls, note, step, watch
from .contextforge import KEYS, REFRESH_SECONDS, STATEFUL, STATELESS, Fleet
from .operators import INTERVAL, Operators
from .processes import wait_until
from .sampler import Sampler, holders
from .scene import ending, folder, parser

COLD_SECONDS = 3 * REFRESH_SECONDS
SLACK = 45.0
"""Health checks come every five seconds, and a busy machine is late: a refresh may be late by this, and never early."""
WINDOW = COLD_SECONDS + SLACK
LOCK_SECONDS = 3 * INTERVAL
USED = {STATEFUL, STATELESS}
WORKER = re.compile(r"classifier_\d+")
OURS = re.compile(r"mcpgateway-operator/.+/\d+")


def play(fleet: Fleet, operators: Operators) -> None:
    """All acts."""
    step("ContextForge alone, as a fleet that has the flag on: two instances of two processes, ten MCP servers")
    fleet.start()
    operators.start_cluster()
    fleet.start_clients(every=4.0)
    note(f"clients use {STATEFUL} with a session and {STATELESS} without one")
    alone(fleet)
    step("The operator is installed into the running fleet: two replicas")
    install(fleet, operators)
    step(f"The tiers at work, for {WINDOW:.0f} s; the leading replica is killed meanwhile")
    at_work(fleet, operators)
    step("The operator is stopped for good")
    stopped(fleet, operators)
    step("All is well")


def alone(fleet: Fleet) -> None:
    """A worker holds the lock, purges what it finds, and everything is polled at full rate."""
    holder = wait_until("a worker holds the lock", lambda: fleet.key("leader"))
    check("a worker of ContextForge holds the lock", bool(WORKER.fullmatch(holder)), holder)
    planted = time.time()
    fleet.plant("hot", fleet.gateways["server-0"]["url"])
    wait_until("what was planted is purged", lambda: not fleet.keys(), REFRESH_SECONDS + SLACK)
    check("the worker purged a planted publication", True, f"after {time.time() - planted:.0f} s")
    gaps = full_rate(fleet, planted)
    check("all ten servers are refreshed every interval", True, spread(gaps))


def full_rate(fleet: Fleet, since: float) -> list[float]:
    """The times between two refreshes of each server, when all have had two since then and none was late."""

    def look() -> list[float] | None:
        fleet.processes.check()
        found = {name: counting.within(times, since, time.time()) for name, times in fleet.refreshes().items()}
        if any(len(times) < 2 for times in found.values()):
            return None
        return [later - earlier for earlier, later in (times[:2] for times in found.values())]

    # The first may be a whole interval away, the second another one.
    gaps: list[float] = wait_until("two refreshes of all servers", look, 2 * (REFRESH_SECONDS + SLACK), every=1.0)
    check("none came late", max(gaps) <= REFRESH_SECONDS + SLACK, spread(gaps))
    return gaps


def install(fleet: Fleet, operators: Operators) -> None:
    """It takes the idle lock over from the live worker, and the two that are used become hot."""
    begun = time.monotonic()
    for name in ("a", "b"):
        operators.start(name)
    wait_until("the operator takes the lock", lambda: OURS.fullmatch(fleet.key("leader")), 180.0)
    check("the operator took the idle lock over", True, f"{fleet.key('leader')} after {time.monotonic() - begun:.0f} s")
    leader = operators.wait_leader()
    taken = operators.metric(leader, "redis_lock_takeovers_total")
    check("its metrics count one take-over", taken == 1, taken)
    hot = sorted(fleet.gateways[name]["url"] for name in USED)
    cold = sorted(gateway["url"] for name, gateway in fleet.gateways.items() if name not in USED)
    wait_until("the two that are used are hot", lambda: fleet.members("hot") == hot, 120.0)
    check("hot in Redis", fleet.members("hot") == hot, " ".join(hot))
    check("cold in Redis: the other eight", fleet.members("cold") == cold, f"{len(cold)} URLs")
    wanted = {name: "Hot" if name in USED else "Cold" for name in fleet.gateways}
    wait_until("the statuses say the same", lambda: operators.tiers() == wanted, 60.0)


def at_work(fleet: Fleet, operators: Operators) -> None:
    """Hot every interval, cold every third; the lock never theirs."""
    # A refresh that was decided just before the publication may still be on its way.
    time.sleep(10)
    begin = time.time()
    sampler = Sampler(fleet.redis_port)
    watch("watching", WINDOW / 3, fleet.processes.check)
    dead = operators.wait_leader()
    operators.kill(dead)
    killed = time.monotonic()
    successor = operators.wait_leader()
    note(f"replica {dead} was killed; {successor} leads after {time.monotonic() - killed:.1f} s")
    operators.start(dead)
    watch("watching", WINDOW - (time.time() - begin), fleet.processes.check)
    end = time.time()
    samples = sampler.end()

    print()
    note(operators.table())
    print()
    for name in ("hot", "cold"):
        note(f"{KEYS}:{name}  {' '.join(fleet.members(name))}")
    note(f"{KEYS}:metadata  {fleet.key('metadata')}")
    note(f"{KEYS}:leader  {fleet.key('leader')}")
    print()
    wanted = {name: "Hot" if name in USED else "Cold" for name in fleet.gateways}
    check("the table: exactly the two in use are hot", operators.tiers() == wanted, " ".join(sorted(USED)))
    theirs = [sample for sample in samples if not OURS.fullmatch(sample.holder)]
    check("the lock was ours at every look", not theirs, f"{len(samples)} looks: {' then '.join(holders(samples))}")
    bare = [sample for sample in samples if not sample.published]
    check("the publication was there at every look", not bare, f"{len(samples)} looks")
    received(fleet, begin, end)
    for kind in ("stateful", "stateless"):
        check_calls(f"the {kind} client", *fleet.calls(kind))


def received(fleet: Fleet, begin: float, end: float) -> None:
    """What each upstream server got in that time."""
    refreshes = fleet.refreshes()
    calls = counting.calls(fleet.requests(), begin, end)
    health = counting.health_checks(fleet.requests(), begin, end)
    print()
    note(f"{'SERVER':<10} {'TIER':<5} {'REFRESHES':>9}  {'SECONDS BETWEEN':<24} {'CALLS':>5} {'HEALTH CHECKS':>13}")
    every: dict[bool, list[float]] = {True: [], False: []}
    for name in sorted(refreshes):
        hot = name in USED
        gaps = counting.gaps(refreshes[name], begin, end)
        every[hot] += gaps
        count = len(counting.within(refreshes[name], begin, end))
        shown = " ".join(f"{gap:.0f}" for gap in gaps)
        tier = "Hot" if hot else "Cold"
        note(f"{name:<10} {tier:<5} {count:>9}  {shown:<24} {calls[name]:>5} {health[name]:>13}")
        check_gaps(name, gaps, REFRESH_SECONDS if hot else COLD_SECONDS, 3 if hot else 1)
    print()
    check("hot servers were refreshed every interval", True, spread(every[True]))
    check("cold servers were refreshed every third", True, spread(every[False]))


def check_gaps(name: str, gaps: list[float], interval: int, least: int) -> None:
    """That a server was refreshed at this interval.

    Raises:
        SystemExit: it was not.
    """
    # The stamp is made when the refresh has ended, and the list is asked for a little before that.
    wrong = [gap for gap in gaps if not interval - 2 <= gap <= interval + SLACK]
    if wrong or len(gaps) < least:
        check(f"{name} is refreshed every {interval} s", False, gaps)


def stopped(fleet: Fleet, operators: Operators) -> None:
    """A worker takes the lock when it has expired, and everything is polled at full rate again."""
    for name in ("a", "b"):
        operators.stop(name)
    begun = time.time()
    # Each process tries once in an interval.
    limit = LOCK_SECONDS + REFRESH_SECONDS + SLACK
    wait_until("a worker takes the lock", lambda: WORKER.fullmatch(fleet.key("leader")), limit)
    check("a worker took the lock", True, f"{fleet.key('leader')} after {time.time() - begun:.0f} s")
    check("nothing is published any more", not fleet.keys(), fleet.keys() or "no keys")
    gaps = full_rate(fleet, begun)
    check("all ten servers are refreshed every interval again", True, spread(gaps))


def spread(gaps: list[float]) -> str:
    """For people."""
    return f"{len(gaps)} times between two refreshes, {min(gaps):.0f} to {max(gaps):.0f} s" if gaps else "none"


def main() -> None:
    """Read the arguments and play."""
    arguments = parser(__doc__).parse_args()
    with folder(arguments.keep) as place:
        fleet = Fleet(Path(place) / "fleet", arguments.fastmcp, arguments.fastmcp_older)
        operators = Operators(fleet, arguments.operator)
        with ending([fleet], operators):
            play(fleet, operators)


if __name__ == "__main__":
    main()
