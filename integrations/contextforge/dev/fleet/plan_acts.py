"""What a server at the longest interval gets when it is used, pinned, bounded, or to be checked again.

Each act begins at a server that nobody uses, at a moment at which it is not due: more than a refresh interval after its
last refresh, and well before its next one. So a refresh right after the act is due to the act.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

from . import clients
from .checks import check, note, step
from .plan_fleet import Side, observe
from .planned import SLACK, Settings
from .processes import wait_until

_CYCLE_SECONDS = 5.0
"""How long a cycle may take beside the interval on a busy machine, with the writes of statuses."""


def play(side: Side, settings: Settings, first_uses: int, *, has_objects: bool) -> None:
    """Both, as asked for."""
    idle = iter([name for name in side.gateways.gateways if name not in settings.uses])
    if first_uses:
        _first_uses(side, settings, first_uses, idle)
    if has_objects:
        _objects(side, settings, idle)


def _at_once(settings: Settings) -> float:
    """One cycle and one tick."""
    return settings.classification + _CYCLE_SECONDS + settings.health + SLACK


def _first_uses(side: Side, settings: Settings, count: int, idle: Iterator[str]) -> None:
    step(f"The first use of {count} servers at the longest interval")
    token = side.gateways.token_file.read_text().strip()
    url = f"http://127.0.0.1:{side.gateways.ports['a']}/rpc"
    found: dict[str, float] = {}
    servers = [next(idle) for _ in range(count)]
    tools = side.gateways.tools("greet")
    while len(found) < count:
        server = _idle_one(side, settings, [server for server in servers if server not in found])
        found[server] = _refreshed_after(side, settings, server, partial(clients.call, url, tools[server], token))
    late = {server: round(seconds) for server, seconds in found.items() if seconds > _at_once(settings)}
    note(f"seconds from the call to the refresh: {sorted(round(seconds, 1) for seconds in found.values())}")
    check(f"refreshed within {_at_once(settings):.0f} s of the first call", not late, f"{count - len(late)} of {count}")


def _objects(side: Side, settings: Settings, idle: Iterator[str]) -> None:
    step("What objects ask for")
    pinned, bounded, again = (next(idle) for _ in range(3))
    tick = settings.health + SLACK

    seconds = _refreshed_after(side, settings, pinned, lambda: _patch(side, pinned, {"tier": "Hot"}))
    check(f"refreshed within {_at_once(settings):.0f} s of the pin", seconds <= _at_once(settings), f"{seconds:.1f} s")
    bound = 2 * settings.refresh
    _patch(side, bounded, {"maxInterval": f"{bound}s"})
    begin = time.time() + _at_once(settings)
    observe("pinned and bounded", 8 * settings.refresh, [side])
    for server, most in ((pinned, settings.refresh + tick), (bounded, bound + tick)):
        times = [time for time in side.gateways.refreshes()[server] if time >= begin]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        check(f"{server}: refreshed every {most:.0f} s at most", bool(gaps) and max(gaps) <= most, _rounded(gaps))

    seconds = _refreshed_after(side, settings, again, lambda: _request(side, again))
    check(
        f"refreshed within {_at_once(settings):.0f} s of the request", seconds <= _at_once(settings), f"{seconds:.1f} s"
    )
    begin = side.gateways.refreshes()[again][-1]
    observe("after the recheck", settings.longest / 2, [side])
    more = [time - begin for time in side.gateways.refreshes()[again] if time > begin]
    check("a recheck is one refresh", not more, _rounded(more))


def _patch(side: Side, server: str, polling: dict[str, str]) -> None:
    patch = json.dumps({"spec": {"polling": polling}})
    side.operators.kubectl("patch", "mcpgateway", server, "--type", "merge", "-p", patch)


def _request(side: Side, server: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    side.operators.kubectl("annotate", "mcpgateway", server, f"mcpgateway.io/refresh-requested={now}")


def _idle_one(side: Side, settings: Settings, servers: list[str]) -> str:
    """One of these, as soon as it is at the longest interval and not due."""

    def find() -> str | None:
        side.gateways.processes.check()
        side.recorder.look()
        refreshes = side.gateways.refreshes()
        for server in servers:
            state = side.recorder.states[server][-1]
            planned = state.planned or 0
            is_longest = state.tier == "cold" and planned > 0 and settings.rung(planned) == settings.longest
            since = time.time() - refreshes[server][-1]
            if is_longest and settings.refresh + settings.health <= since <= planned - 2 * _at_once(settings):
                return server
        return None

    limit = 2.0 * settings.longest + 300
    return str(wait_until(f"one of {', '.join(servers)} is at the longest interval, not due", find, limit, every=1.0))


def _refreshed_after(side: Side, settings: Settings, server: str, act: Callable[[], object]) -> float:
    """Act when the server is at the longest interval and not due; the seconds until its next refresh."""
    _idle_one(side, settings, [server])
    planned = side.recorder.states[server][-1].planned
    begin = time.time()
    act()

    def refreshed() -> list[float]:
        side.gateways.processes.check()
        return [time for time in side.gateways.refreshes()[server] if time > begin]

    seconds = float(wait_until(f"{server} is refreshed", refreshed, settings.longest + 60.0, every=0.5)[0] - begin)
    note(f"{server}: planned every {planned} s, refreshed after {seconds:.1f} s")
    return seconds


def _rounded(values: list[float]) -> list[int]:
    return [round(value) for value in values]
