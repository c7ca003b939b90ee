"""What dev/e2e and dev/polls-figure make of the record of the upstream servers."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fleet import chart, counting
from fleet.contextforge import NAMES, Polling
from fleet.counting import Age, Kind, Request
from fleet.measured import USED, Measured, Mode, Outcome
from fleet.page import render

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
        Request(1.0, "a", "initialize", "s1"),
        Request(1.1, "a", OPENED, "s1"),
        Request(2.0, "a", "initialize", "s2"),
        Request(2.1, "a", "tools/list", "s2"),
        Request(9.0, "a", "initialize", "s3"),
        Request(9.1, "a", "GET", "s3"),
        Request(9.2, "a", "DELETE", "s3"),
    ]
    assert counting.health_checks(requests) == {"a": [1.0, 9.0]}


def asked(at: float, peer: str, *methods: str, session: str | None = None) -> list[Request]:
    return [Request(at + number, "a", method, session, peer) for number, method in enumerate(methods)]


CONVERSATIONS = [
    *asked(0.0, "h:1", "server/discover"),
    *asked(10.0, "h:2", "server/discover", "tools/list", "resources/list", "prompts/list"),
    *asked(20.0, "h:3", "server/discover", "tools/call", "tools/list", "tools/call"),
    # The port of the one that called, and later another refresh.
    *asked(30.0, "h:3", "server/discover", "tools/list", "prompts/list"),
    *asked(40.0, "h:3", "server/discover"),
    # An older server refuses the first one, and a session is opened over the same connection.
    *asked(50.0, "h:4", "server/discover"),
    *asked(51.0, "h:4", "initialize", session="s1"),
    *asked(52.0, "h:5", OPENED, "DELETE", session="s1"),
    *asked(60.0, "h:6", "server/discover"),
    *asked(61.0, "h:6", "initialize", session="s2"),
    *asked(62.0, "h:8", "tools/list", session="s2"),
    # Calls without a session that ask for nothing else first.
    *asked(70.0, "h:9", "tools/call"),
]


def test_without_sessions_a_connection_tells_conversations_apart() -> None:
    # A file has them in the order of their answers.
    found = CONVERSATIONS[::-1]
    assert counting.refreshes(found) == {"a": [11.0, 31.0, 62.0]}
    assert counting.health_checks(found) == {"a": [0.0, 40.0, 50.0]}
    assert counting.calls(found, 0.0, 99.0) == {"a": 3}


def test_every_request_is_counted_by_what_it_was_for() -> None:
    assert counting.received(CONVERSATIONS, 0.0, 99.0) == {"a": {Kind.HEALTH: 6, Kind.REFRESH: 10, Kind.CALL: 5}}
    assert sum(counting.received(CONVERSATIONS, 0.0, 99.0)["a"].values()) == len(CONVERSATIONS)
    # Of a conversation that lasts longer, only those in that time.
    assert counting.received(CONVERSATIONS, 12.0, 22.0) == {"a": {Kind.HEALTH: 0, Kind.REFRESH: 2, Kind.CALL: 2}}


def test_a_late_refresh_is_told_from_late_health_checks() -> None:
    def missed(gap: tuple[float, float], checks: list[float]) -> int:
        return counting.missed(gap, checks, counting.due_after_beginning(gap[0], checks, 60.0, 5.0))

    checks = [float(time) for time in range(0, 100, 5)]
    assert missed((0.2, 60.2), checks) == 0
    assert missed((0.2, 65.2), checks) == 1
    assert missed((0.2, 75.2), checks) == 3
    # At 70 s with the first health check after the interval: the machine was busy.
    assert missed((0.2, 70.2), [0.0, 50.0, 70.0]) == 0
    # Health checks of other moments do not count, nor does one that is a little early.
    assert missed((0.2, 59.9), [0.0, 59.8, 64.8]) == 0
    assert missed((0.2, 64.9), [0.0, 59.8, 64.8]) == 1


def test_an_interval_may_count_from_the_end_of_a_refresh() -> None:
    refresh = [Request(0.2, "a", "tools/list", "s"), Request(3.0, "a", "DELETE", "s")]
    due = counting.due_after_end(0.2, [*refresh, Request(30.0, "a", "tools/list", "t")], "a", 60.0)
    assert due == 3.0 + counting.STORED + 60.0
    checks = [0.0, 60.0, 63.9, 68.9, 73.9]
    assert counting.missed((0.2, 69.0), checks, due) == 0
    assert counting.missed((0.2, 74.0), checks, due) == 1


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


def measured(health: int, refresh: int, cold_health: int) -> Measured:
    """An hour in which everything happens exactly when it is due, and costs one request."""
    end = 3600

    def outcome(release: str, mode: Mode) -> Outcome:
        def every(name: str, interval: int, other: int) -> list[float]:
            return [float(time) for time in range(-other, end, interval if name in USED else other)]

        checks = {name: every(name, health, cold_health if mode is Mode.PACED else health) for name in NAMES}
        lists = {name: every(name, refresh, refresh if mode is Mode.ALONE else 3 * refresh) for name in NAMES}
        received = {
            name: {
                Kind.HEALTH: len(counting.within(checks[name], 0.0, end)),
                Kind.REFRESH: len(counting.within(lists[name], 0.0, end)),
                Kind.CALL: 5,
            }
            for name in NAMES
        }
        noticed = dict.fromkeys(NAMES, 3.0 * health + (cold_health if mode is Mode.PACED else 0))
        return Outcome(release, mode, lists, checks, received, noticed)

    outcomes = [outcome(release, mode) for release in ("1.1.0", "1.0.7") for mode in Mode]
    return Measured(Polling(refresh, health, cold_health), 5.0, 0.0, float(end), outcomes)


DEFAULTS = measured(60, 300, 300)


def test_the_page_says_what_was_counted() -> None:
    page = render([DEFAULTS], [measured(10, 60, 60)], "make polls-figure")
    # 10 * 60 checks and 10 * 12 refreshes; 2 * 60 + 8 * 12 and 2 * 12 + 8 * 4.
    assert "| 1.1.0, the release alone | 600 | 120 | **720** |  | 50 |" in page
    assert "| 1.1.0, tiers | 600 | 56 | **656** | **9%** | 50 |" in page
    assert "| 1.0.7, tiers, paced health checks | 216 | 56 | **272** | **62%** | 50 |" in page
    assert (
        "health checks save 62% of all polling requests on\n1.1.0 and 62% on 1.0.7. Tiers alone save 9% and 9%.**"
        in page
    )
    assert "| 1.1.0, tiers | 300.0 (300 to 300) | 900.0 (900 to 900) | 60.0 (60 to 60) | 60.0 (60 to 60) |" in page
    assert "| 1.1.0, tiers, paced health checks | 150 | 300 | 450 | 900 | 480 | 480 |" in page
    assert "`cold_health_interval: 60s`; 60 minutes." in page
    assert "$" not in page


def test_what_was_measured_is_read_as_it_was_written(tmp_path: Path) -> None:
    DEFAULTS.write(tmp_path / "measured.json")
    assert Measured.read(tmp_path / "measured.json") == DEFAULTS


def test_the_picture_has_two_bars_for_each_fleet() -> None:
    root = ElementTree.fromstring(chart.draw([DEFAULTS]))
    bars = [bar for bar in root.iter("{http://www.w3.org/2000/svg}rect") if bar.get("height") == "20"]
    assert len(bars) == 2 * len(DEFAULTS.outcomes)
    text = "".join(root.itertext())
    assert "720" in text
    assert "272 (62% saved)" in text
