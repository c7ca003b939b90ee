"""The whole line on the real thing: a release of ContextForge polls its MCP servers as the operator says.

Two instances of two processes each, ten real MCP servers (five of either protocol generation), real clients that use
one of each, a real API server, two replicas of the operator. Four acts: the release alone; the operator installed into
the running fleet; its tiers at work, through the death of the leading replica; the operator stopped for good. What is
asserted is what the MCP servers really received. Some nine minutes, because the release refreshes no oftener than once
a minute.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from . import counting
from .checks import check, check_calls, note, step, watch
from .contextforge import KEYS, OLDER, STATEFUL, STATELESS, Fleet, Polling, Release
from .operators import Cluster, Operators
from .processes import wait_until
from .sampler import Sampler, holders
from .scene import ending, folder, parser

REFRESH_SECONDS, HEALTH_SECONDS = 60, 5
COLD_SECONDS = 3 * REFRESH_SECONDS
INTERVAL = 15
"""--classification-interval in seconds. Short, so that the lock (three of them) expires within the play."""
EARLY = 2.0
"""The throttle counts from the end of a refresh, and the list is asked for a little before that."""
MISSED = 1
"""A refresh may miss one health check after its interval, because stamp and throttle are set when a refresh has ended:
the median of a tier, and at most one more at any time. Counted in health checks, so that a busy machine is no fault."""
SLACK = 45.0
"""For waiting: a busy machine is late."""
WINDOW = COLD_SECONDS + SLACK
LOCK_SECONDS = 3 * INTERVAL
USED = {STATEFUL, STATELESS}
WORKER = re.compile(r"classifier_\d+")
OURS = re.compile(r"mcpgateway-operator/.+/\d+")


def play(fleet: Fleet, operators: Operators) -> None:
    """All acts."""
    step(f"ContextForge {fleet.release.version} alone, flag on: two instances of two processes, ten MCP servers")
    fleet.start()
    operators.apply()
    fleet.start_clients(every=4.0)
    note(f"clients use {STATEFUL} with a session and {STATELESS} without one")
    unclassified = alone(fleet)
    step("The operator is installed into the running fleet: two replicas")
    install(fleet, operators)
    step(f"The tiers at work, for {WINDOW:.0f} s; the leading replica is killed meanwhile")
    at_work(fleet, operators, unclassified)
    step("The operator is stopped for good")
    stopped(fleet, operators)
    step("All is well")


def alone(fleet: Fleet) -> float:
    """A worker holds the lock, purges what it finds, and everything is polled at full rate.

    Returns:
        The median of the health checks that the refreshes of unclassified servers missed.
    """
    holder = wait_until("a worker holds the lock", lambda: fleet.key("leader"))
    check("a worker of ContextForge holds the lock", bool(WORKER.fullmatch(holder)), holder)
    planted = time.time()
    fleet.plant("hot", fleet.gateways["server-0"]["url"])
    wait_until("what was planted is purged", lambda: not fleet.keys(), REFRESH_SECONDS + SLACK)
    check("the worker purged a planted publication", True, f"after {time.time() - planted:.0f} s")
    return full_rate(fleet, planted)


@dataclass(frozen=True, slots=True)
class Gap:
    """The time between two refreshes of a server."""

    seconds: float
    missed: int


def full_rate(fleet: Fleet, since: float) -> float:
    """That all servers are refreshed every interval, from their first two refreshes since then.

    Returns:
        The median of the missed health checks.
    """

    def look() -> list[Gap] | None:
        fleet.processes.check()
        found = {name: counting.within(times, since, time.time()) for name, times in fleet.refreshes().items()}
        if any(len(times) < 2 for times in found.values()):
            return None
        return [gap(fleet, name, times[:2], REFRESH_SECONDS) for name, times in found.items()]

    # The first may be a whole interval away, the second another one.
    gaps: list[Gap] = wait_until("two refreshes of all servers", look, 2 * (REFRESH_SECONDS + SLACK), every=1.0)
    return check_spacing("all ten servers are refreshed every interval", gaps, REFRESH_SECONDS)


def gap(fleet: Fleet, server: str, times: Sequence[float], interval: int) -> Gap:
    """Between two refreshes of a server."""
    earlier, later = times
    requests = fleet.requests()
    checks = counting.health_checks(requests)[server]
    if fleet.release.throttle_counts_from_end and interval == REFRESH_SECONDS:
        due = counting.due_after_end(earlier, requests, server, interval)
    else:
        due = counting.due_after_beginning(earlier, checks, interval, HEALTH_SECONDS)
    return Gap(later - earlier, counting.missed((earlier, later), checks, due))


def check_spacing(what: str, gaps: list[Gap], interval: int) -> float:
    """That there is this interval between two refreshes.

    Returns:
        The median of the missed health checks.

    Raises:
        SystemExit: it is not so.
    """
    middle = median(gap.missed for gap in gaps)
    late = middle > MISSED or max(gap.missed for gap in gaps) > MISSED + 1
    check(what, not late and min(gap.seconds for gap in gaps) >= interval - EARLY, spread(gaps))
    return middle


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


def at_work(fleet: Fleet, operators: Operators, unclassified: float) -> None:
    """Hot every interval, cold every third; the lock never theirs. ``unclassified``: what was missed without tiers."""
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
    received(fleet, begin, end, unclassified)
    for kind in ("stateful", "stateless"):
        check_calls(f"the {kind} client", *fleet.calls(kind))


def received(fleet: Fleet, begin: float, end: float, unclassified: float) -> None:
    """What each upstream server got in that time."""
    refreshes = fleet.refreshes()
    calls = counting.calls(fleet.requests(), begin, end)
    checks = counting.health_checks(fleet.requests())
    print()
    titles = f"{'SERVER':<10} {'PROTOCOL':<8} {'TIER':<5} {'REFRESHES':>9}  {'SECONDS BETWEEN':<24}"
    note(f"{titles} {'CALLS':>5} {'HEALTH CHECKS':>13}")
    every: dict[bool, list[Gap]] = {True: [], False: []}
    for name in sorted(refreshes):
        hot = name in USED
        interval = REFRESH_SECONDS if hot else COLD_SECONDS
        ended = [pair for pair in pairwise(refreshes[name]) if begin <= pair[1] < end]
        gaps = [gap(fleet, name, pair, interval) for pair in ended]
        every[hot] += gaps
        count = len(counting.within(refreshes[name], begin, end))
        shown = " ".join(f"{gap.seconds:.0f}" for gap in gaps)
        tier = "Hot" if hot else "Cold"
        kind = "older" if name in OLDER else "modern"
        health = len(counting.within(checks[name], begin, end))
        note(f"{name:<10} {kind:<8} {tier:<5} {count:>9}  {shown:<24} {calls[name]:>5} {health:>13}")
        if len(gaps) < (3 if hot else 1):
            check(f"{name} was refreshed often enough", False, count)
    print()
    misses = check_spacing("hot servers were refreshed every interval", every[True], REFRESH_SECONDS)
    check_spacing("cold servers were refreshed every third", every[False], COLD_SECONDS)
    more = f"{misses:g} and {unclassified:g} health checks missed, medians"
    check("hot servers were refreshed no later than unclassified ones", misses <= unclassified, more)


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
    full_rate(fleet, begun)


def spread(gaps: list[Gap]) -> str:
    """For people."""
    seconds, missed = [gap.seconds for gap in gaps], [gap.missed for gap in gaps]
    times = f"{min(seconds):.1f} to {max(seconds):.1f} s, median {median(seconds):.1f} s"
    return f"{len(gaps)} times between two refreshes, {times}; missed health checks {min(missed)} to {max(missed)}"


def main() -> None:
    """Read the arguments and play."""
    arguments = parser(__doc__).parse_args()
    with folder(arguments.keep) as place:
        polling = Polling(REFRESH_SECONDS, HEALTH_SECONDS)
        release = Release.installed(sys.executable)
        fleet = Fleet(Path(place) / "fleet", release, arguments.fastmcp, arguments.fastmcp_older, polling)
        cluster = Cluster(place, arguments.operator)
        flags = ["--classification-interval", f"{INTERVAL}s", "--status-usage-interval", "10s"]
        operators = Operators(fleet, cluster, arguments.operator, "e2e", flags)
        with ending([fleet], cluster):
            cluster.start()
            play(fleet, operators)


if __name__ == "__main__":
    main()
