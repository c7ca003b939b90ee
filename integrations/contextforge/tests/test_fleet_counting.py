"""What dev/e2e and dev/polls-figure make of the record of the upstream servers."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fleet import chart, counting
from fleet.counting import Age, Request
from fleet.page import USED, Measured, render

OPENED = "notifications/initialized"


def test_a_list_in_a_session_that_calls_is_no_refresh() -> None:
    requests = [
        Request(1.0, "a", "tools/list", "s1"),
        Request(2.0, "a", "tools/call", "s2"),
        Request(3.0, "a", "tools/list", "s2"),
        # The same session id at another server is another session.
        Request(4.0, "b", "tools/list", "s2"),
        Request(5.0, "a", "tools/list", None),
    ]
    assert counting.refreshes(requests) == {"a": [1.0, 5.0], "b": [4.0]}
    assert counting.calls(requests, 0.0, 9.0) == {"a": 1}


def test_a_session_in_which_nothing_is_asked_is_a_health_check() -> None:
    requests = [
        Request(1.0, "a", "initialize", None),
        Request(1.1, "a", OPENED, "s1"),
        Request(2.0, "a", OPENED, "s2"),
        Request(2.1, "a", "tools/list", "s2"),
        Request(9.0, "a", OPENED, "s3"),
    ]
    assert counting.health_checks(requests) == {"a": [1.1, 9.0]}


def test_without_sessions_a_connection_tells_conversations_apart() -> None:
    def asked(at: float, peer: str, *methods: str) -> list[Request]:
        return [Request(at + number, "a", method, None, peer) for number, method in enumerate(methods)]

    found = [
        *asked(0.0, "h:1", "server/discover"),
        *asked(10.0, "h:2", "server/discover", "tools/list", "resources/list", "prompts/list"),
        *asked(20.0, "h:3", "server/discover", "tools/call", "tools/list", "tools/call"),
        # The port of the one that called, and later another refresh.
        *asked(30.0, "h:3", "server/discover", "tools/list", "prompts/list"),
        *asked(40.0, "h:3", "server/discover"),
        # An older server refuses the first one; its session is a health check, or a refresh.
        *asked(50.0, "h:4", "server/discover", "initialize"),
        Request(52.0, "a", OPENED, "s1", "h:5"),
        *asked(60.0, "h:6", "server/discover", "initialize"),
        Request(62.0, "a", OPENED, "s2", "h:7"),
        Request(63.0, "a", "tools/list", "s2", "h:8"),
    ]
    assert counting.refreshes(found) == {"a": [11.0, 31.0, 63.0]}
    assert counting.health_checks(found) == {"a": [0.0, 40.0, 52.0]}
    assert counting.calls(found, 0.0, 99.0) == {"a": 2}


def test_a_late_refresh_is_told_from_late_health_checks() -> None:
    checks = [float(time) for time in range(0, 100, 5)]
    assert counting.missed((0.2, 60.2), checks, 60.0, 5.0) == 0
    assert counting.missed((0.2, 65.2), checks, 60.0, 5.0) == 1
    assert counting.missed((0.2, 75.2), checks, 60.0, 5.0) == 3
    # At 70 s with the first health check after the interval: the machine was busy.
    assert counting.missed((0.2, 70.2), [0.0, 50.0, 70.0], 60.0, 5.0) == 0
    # Health checks of other moments do not count, nor does one that is a little early.
    assert counting.missed((0.2, 59.9), [0.0, 59.8, 64.8], 60.0, 5.0) == 0
    assert counting.missed((0.2, 64.9), [0.0, 59.8, 64.8], 60.0, 5.0) == 1


def test_gaps_count_by_their_later_end() -> None:
    assert counting.gaps([0.0, 60.0, 125.0, 190.0], 100.0, 190.0) == [65.0]


def test_age_grows_and_falls_to_zero() -> None:
    # From 10 on: 10 s old; 0 at 20, then up to 10 at 30.
    assert counting.age([0.0, 20.0], 10.0, 30.0) == Age((10 * 15 + 10 * 5) / 20, 20.0)
    assert counting.age([0.0], 10.0, 20.0) == Age(15.0, 20.0)


def test_age_wants_a_refresh_before() -> None:
    with pytest.raises(ValueError, match="before"):
        counting.age([20.0], 10.0, 30.0)


def test_a_half_written_line_waits(tmp_path: Path) -> None:
    file = tmp_path / "record"
    line = json.dumps({"at": 1.0, "server": "a", "method": "tools/list", "session": "s"})
    file.write_text(line + "\n" + line[:9])
    assert counting.read(file) == [Request(1.0, "a", "tools/list", "s")]
    assert counting.read(tmp_path / "none") == []


def fleets() -> Measured:
    names = [f"server-{number}" for number in range(10)]
    every = {name: [float(t) for t in range(-60, 720, 60)] for name in names}
    third = {name: every[name] if name in USED else every[name][::3] for name in names}
    return Measured(every, third, 0.0, 720.0)


def test_the_page_says_what_was_counted() -> None:
    page = render(fleets(), "make polls-figure")
    assert "**120 tool refreshes without the operator, 56 with it, in 12 minutes: 53% fewer.**" in page
    assert "| time between two refreshes of a server in use, mean | 60 s | 60 s |" in page
    assert "| time between two refreshes of a server not in use, mean | 60 s | 180 s |" in page
    assert "| the same, highest | 60 s | 180 s |" in page
    assert "$" not in page


def test_the_picture_has_a_mark_for_each_refresh() -> None:
    root = ElementTree.fromstring(chart.draw(fleets(), USED))
    marks = [mark for mark in root.iter("{http://www.w3.org/2000/svg}rect") if mark.get("rx")]
    legend = 3
    assert len(marks) == 120 + 56 + legend
    assert "with the operator: 56" in "".join(root.itertext())
