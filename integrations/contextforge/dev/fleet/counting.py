"""What the upstream servers received: tool refreshes, and how old a tool list got. Pure but for reading the record.

A refresh is a conversation in which tools were listed and none was called. (A client library may list the tools of a
server that it calls, to check an answer against its schema: that is the price of the call and no refresh.) A
conversation is a session, where the protocol has them. Where it has none, it is a connection from one
``server/discover`` to the next: a client uses one connection and starts with that request, and a later client may get
the same port.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_DISCOVER = "server/discover"
_INITIALIZED = "notifications/initialized"


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the record."""

    at: float
    server: str
    method: str
    session: str | None
    peer: str = ""
    """The connection's other end."""


def read(file: Path) -> list[Request]:
    """All requests so far; a last line that is only half written waits."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [Request(**json.loads(line)) for line in lines if line.endswith("\n")]


def conversations(requests: Iterable[Request]) -> list[list[Request]]:
    """The requests by conversation. Those that open a session are a conversation of their own."""
    found: dict[tuple[str, str | None, str, int], list[Request]] = defaultdict(list)
    discovered: Counter[tuple[str, str]] = Counter()
    for request in requests:
        connection = request.server, request.peer
        if request.session is not None:
            found[request.server, request.session, "", 0].append(request)
            continue
        discovered[connection] += request.method == _DISCOVER
        found[request.server, None, request.peer, discovered[connection]].append(request)
    return list(found.values())


def refreshes(requests: Iterable[Request]) -> dict[str, list[float]]:
    """When each server's tools were refreshed, in order."""
    found: dict[str, list[float]] = defaultdict(list)
    for conversation in conversations(requests):
        if not any(request.method == "tools/call" for request in conversation):
            listed = [request for request in conversation if request.method == "tools/list"]
            found[conversation[0].server] += [request.at for request in listed]
    return {server: sorted(times) for server, times in found.items() if times}


def calls(requests: Iterable[Request], begin: float, end: float) -> Counter[str]:
    """Tool calls by server in that time."""
    return Counter(r.server for r in requests if r.method == "tools/call" and begin <= r.at < end)


def health_checks(requests: Iterable[Request]) -> dict[str, list[float]]:
    """When each server's health was checked, in order: conversations in which nothing was asked."""
    found: dict[str, list[float]] = defaultdict(list)
    for conversation in conversations(requests):
        # A server of an older protocol refuses server/discover, and a session is opened over the same connection.
        if len(conversation) == 1 and conversation[0].method in (_DISCOVER, _INITIALIZED):
            found[conversation[0].server].append(conversation[0].at)
    return {server: sorted(times) for server, times in found.items()}


def missed(gap: tuple[float, float], checks: Sequence[float], interval: float, tick: float) -> int:
    """How many health checks after the interval passed without the refresh that ended a gap.

    A refresh comes with a health check, right after it. So this tells a late refresh from late health checks of a busy
    machine. ``gap``: two refreshes of a server. ``checks``: its health checks, which come every ``tick``.
    """
    begin, end = gap
    own = max((check for check in checks if check < begin), default=begin)
    due = [check for check in checks if own + interval - tick / 2 <= check < end]
    return max(len(due) - 1, 0)


def within(times: Sequence[float], begin: float, end: float) -> list[float]:
    """Those in that time."""
    return [time for time in times if begin <= time < end]


def gaps(times: Sequence[float], begin: float, end: float) -> list[float]:
    """The seconds between each two that follow each other, of which the later lies in that time."""
    return [later - earlier for earlier, later in pairwise(times) if begin <= later < end]


@dataclass(frozen=True, slots=True)
class Age:
    """How old a tool list was over some time: seconds."""

    mean: float
    worst: float


def age(times: Sequence[float], begin: float, end: float) -> Age:
    """The age of the list at every instant of that time: it grows by a second a second, and a refresh makes it 0.

    Raises:
        ValueError: there was no refresh before that time, so the age at its beginning is not known.
    """
    earlier = [time for time in times if time <= begin]
    if not earlier or end <= begin:
        raise ValueError("no refresh before the beginning")
    last, area, worst = earlier[-1], 0.0, 0.0
    since = begin
    for time in [*within(times, begin, end), end]:
        area += ((time - last) ** 2 - (since - last) ** 2) / 2
        worst = max(worst, time - last)
        last = since = time
    return Age(area / (end - begin), worst)
