"""What dev/plan-figure makes of the refreshes of a server and the recorded plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleet import planned
from fleet.planned import Fleet, Mode, Planned, Settings, State

SETTINGS = Settings(
    refresh=60, health=10, cold_health=None, classification=10, longest=960, budget=0.33, uses={"a": 20.0}
)


CHECKS = [0.0, 12.0, 24.0, 44.0]


def late(end: float, *states: State) -> float:
    """How late a refresh is that follows one at 1000."""
    (gap,) = planned.judge("a", [1000.0, 1000.0 + end], states, SETTINGS)
    return gap.late


def cold(at: float, seconds: int | None) -> State:
    return State(at, "cold", seconds)


@pytest.mark.parametrize(
    ("state", "interval"),
    [
        (State(0, "hot", None), 60),
        (State(0, "hot", 230), 60),
        (State(0, "", 230), 60),
        (cold(0, None), 180),
        (cold(0, 230), 230),
    ],
)
def test_a_refresh_is_due_after_the_interval_that_decides(state: State, interval: int) -> None:
    assert late(interval + 8, state) == 8
    assert late(interval - 20, state) < -planned.SLACK


def test_a_shorter_interval_makes_it_due_and_a_longer_one_does_not() -> None:
    assert late(305, cold(0, 470), cold(1300, 230)) == 5
    assert late(475, cold(0, 230), cold(1200, 470)) == 5
    # Recorded a moment after it decided.
    assert late(300, cold(0, 470), State(1301, "hot", None)) == -1
    # Due for less than a tick, and not refreshed meanwhile.
    assert late(475, cold(0, 230), cold(1235, 470)) == 5
    assert late(300, cold(0, 470)) == -170


def test_a_refresh_that_was_due_for_long_is_late_though_the_interval_grew_meanwhile() -> None:
    assert late(475, cold(0, 230), cold(1330, 470)) == 245


def test_gaps_before_the_first_state_are_not_judged() -> None:
    assert not list(planned.judge("a", [1000.0, 1060.0], [cold(1001, 230)], SETTINGS))


def test_rungs_are_named_by_their_longest_interval() -> None:
    assert SETTINGS.rungs == [60, 120, 240, 480, 960]
    assert [SETTINGS.rung(seconds) for seconds in (60, 109, 120, 217, 433, 865, 960)] == [
        60,
        120,
        120,
        240,
        480,
        960,
        960,
    ]


def fleet(mode: Mode, times: list[float]) -> Fleet:
    states = {"a": [cold(0, 110), State(200, "", None)]}
    return Fleet("1.1.0", mode, {"a": times}, {"a": CHECKS}, {"a": [70.0, 130.0]}, states, {"health": 3})


def test_the_way_back_ends_with_the_first_refresh_after_which_all_come_at_the_full_rate(tmp_path: Path) -> None:
    times = [0.0, 118.0, 240.0, 300.0, 360.0]
    made = Planned(SETTINGS, 0.0, 200.0, 200.0, 400.0, [fleet(mode, times) for mode in Mode])
    assert made.back() == {"a": 40.0}
    assert made.in_rungs("a") == {120: 200}
    assert [(gap.late, gap.is_early(), made.is_late(gap)) for gap in made.gaps()] == [(8.0, False, False)]
    assert planned.problems(made) == ["fewer than three rungs in use: [120]"]
    assert [made.tick(Mode.PLAN, at) for at in (-1.0, 13.0, 30.0, 44.0)] == [10.0, 12.0, 20.0, 10.0]
    made.write(tmp_path / "made.json")
    assert Planned.read(tmp_path / "made.json") == made
    text = planned.page(made)
    assert "| plan | 2 | 0.600 | 1.000 | 2 | 41 | 70 | 0.0% | 12 (20) | 3 |" in text
    assert "the last after 40 s (promised: 200 s)" in text


def test_a_server_that_is_not_back_at_the_full_rate_is_a_problem() -> None:
    made = Planned(SETTINGS, 0.0, 200.0, 200.0, 600.0, [fleet(mode, [0.0, 118.0, 240.0, 360.0]) for mode in Mode])
    assert made.back() == {"a": None}
    assert "a: back at the full rate after None s" in planned.problems(made)
