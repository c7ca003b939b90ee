from __future__ import annotations

import time

import pytest

from mcpgateway_usage import list_ages
from mcpgateway_usage.list_ages import ListAges

NOW = 1_800_000_000


class Scene:
    """One gateway whose lists are old after two minutes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ages = ListAges()
        self.monkeypatch = monkeypatch

    def call(self, *moments: float) -> None:
        for moment in moments:
            self.monkeypatch.setattr(time, "time", lambda moment=moment: NOW + moment)
            self.ages.called("g")

    def read(self, moment: float, fetched_at: float) -> tuple[int, int] | None:
        self.ages.fetched("g", NOW + fetched_at, read_at=NOW + moment, old_after=120.0)
        return self.ages.counted


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_the_age_is_that_since_the_last_fetch(scene: Scene) -> None:
    scene.call(0.0, 118.9, 119.0, 119.9, 120.0, 500.0)
    assert scene.ages.counted is None
    assert scene.read(600.0, 0.0) == (6, 2)
    assert scene.read(660.0, 0.0) == (6, 2)


def test_a_fetch_after_the_call_is_not_the_one_it_met(scene: Scene) -> None:
    scene.call(10.0)
    # Nothing is known of the list before.
    assert scene.read(60.0, 50.0) == (0, 0)
    scene.call(100.0, 200.0, 230.0, 240.5)
    assert scene.read(260.0, 240.0) == (4, 2)


def test_a_call_waits_for_a_reading_after_it(scene: Scene) -> None:
    scene.call(10.0, 60.2)
    assert scene.read(60.5, 0.0) == (1, 0)
    assert scene.read(120.0, 0.0) == (2, 0)


def test_without_readings_little_is_held(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_ages, "_MOST_SECONDS", 2)
    scene.call(1.0, 2.0, 3.0, 2.5)
    assert scene.read(60.0, 0.0) == (3, 0)


def test_another_gateway_is_counted_for_itself(scene: Scene) -> None:
    scene.call(10.0)
    scene.ages.fetched("other", NOW, read_at=NOW + 60.0, old_after=120.0)
    assert scene.ages.counted == (0, 0)
