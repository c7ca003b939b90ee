"""What the upstream servers received, by what it was for, and how old a tool list got. Pure but for reading the record.

A conversation is a session, where the protocol has them. Where it has none, it is a connection from one
``server/discover`` to the next: a client uses one connection and starts with that request, and a later client may get
the same port. A server of an older protocol refuses ``server/discover``; then a session is opened over the same
connection.

A conversation in which a tool was called is a call; one in which tools were only listed is a refresh; one in which
nothing was asked is a health check. (A client library may list the tools of a server that it calls, to check an answer
against its schema: that is part of the price of the call.)
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

_DISCOVER = "server/discover"
_INITIALIZE = "initialize"


class Kind(StrEnum):
    """What a conversation was for."""

    HEALTH = "health"
    REFRESH = "refresh"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the record: an HTTP request."""

    at: float
    server: str
    method: str
    session: str | None
    peer: str = ""
    """The connection's other end."""


STORED = 1.0
"""Seconds in which the release has stored the time of a refresh, after its last request."""


def read(file: Path) -> list[Request]:
    """All requests so far; a last line that is only half written waits."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [Request(**json.loads(line)) for line in lines if line.endswith("\n")]


def conversations(requests: Iterable[Request]) -> list[list[Request]]:
    """The requests by conversation, each in the order of time."""
    found: dict[tuple[str, str], list[Request]] = defaultdict(list)
    # The one without a session that began last on a connection.
    latest: dict[tuple[str, str], tuple[str, str]] = {}
    for number, request in enumerate(sorted(requests, key=lambda request: request.at)):
        connection = request.server, request.peer
        if request.session is not None:
            key = request.server, f"session {request.session}"
            if request.method == _INITIALIZE and connection in latest:
                found[key] += found.pop(latest.pop(connection))
        else:
            if request.method == _DISCOVER or connection not in latest:
                latest[connection] = request.server, f"connection {number}"
            key = latest[connection]
        found[key].append(request)
    return list(found.values())


def kind(conversation: Iterable[Request]) -> Kind:
    """What it was for."""
    methods = {request.method for request in conversation}
    if "tools/call" in methods:
        return Kind.CALL
    return Kind.REFRESH if "tools/list" in methods else Kind.HEALTH


def refreshes(requests: Iterable[Request]) -> dict[str, list[float]]:
    """When each server's tools were refreshed, in order."""
    found: dict[str, list[float]] = defaultdict(list)
    for conversation in conversations(requests):
        if kind(conversation) is Kind.REFRESH:
            found[conversation[0].server] += [r.at for r in conversation if r.method == "tools/list"]
    return {server: sorted(times) for server, times in found.items()}


def health_checks(requests: Iterable[Request]) -> dict[str, list[float]]:
    """When each server's health was checked, in order."""
    found: dict[str, list[float]] = defaultdict(list)
    for conversation in conversations(requests):
        if kind(conversation) is Kind.HEALTH:
            found[conversation[0].server].append(conversation[0].at)
    return {server: sorted(times) for server, times in found.items()}


def calls(requests: Iterable[Request], begin: float, end: float) -> Counter[str]:
    """Tool calls by server in that time."""
    return Counter(r.server for r in requests if r.method == "tools/call" and begin <= r.at < end)


def received(requests: Iterable[Request], begin: float, end: float) -> dict[str, Counter[Kind]]:
    """The HTTP requests that each server received in that time, by what they were for."""
    found: dict[str, Counter[Kind]] = defaultdict(Counter)
    for conversation in conversations(requests):
        count = sum(begin <= request.at < end for request in conversation)
        found[conversation[0].server][kind(conversation)] += count
    return dict(found)


def missed(gap: tuple[float, float], checks: Sequence[float], due: float) -> int:
    """How many health checks passed, at which the refresh that ended a gap was due.

    A refresh comes with a health check, right after it. So this tells a late refresh from late health checks of a busy
    machine. ``gap``: two refreshes of a server. ``checks``: its health checks. ``due``: when the second one was.
    """
    return max(sum(due <= check < gap[1] for check in checks) - 1, 0)


def due_after_beginning(refresh: float, checks: Sequence[float], interval: float, tick: float) -> float:
    """When the next refresh is due if the interval counts from the health check that the refresh came with."""
    return max((check for check in checks if check < refresh), default=refresh) + interval - tick / 2


def due_after_end(refresh: float, requests: Iterable[Request], server: str, interval: float) -> float:
    """When the next refresh is due if the interval counts from the end of the refresh, when it has been stored."""
    ends = [c[-1].at for c in conversations(requests) if c[0].server == server and kind(c) is Kind.REFRESH]
    return min((end for end in ends if end >= refresh), default=refresh) + STORED + interval


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
