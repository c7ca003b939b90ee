from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import run_in_release

from mcpgateway_usage.counts import Counts
from mcpgateway_usage.lookup import Kind, Lookup, Stored


class Source:
    """Answers from two tables, and counts the questions."""

    def __init__(self) -> None:
        self.owners: dict[tuple[Kind, str], list[str]] = {}
        self.urls: dict[str, str] = {}
        self.fetched_at: dict[str, float] = {}
        self.interval: float | None = 60.0
        self.asked: list[tuple[str, list[str]]] = []
        self.down = False

    def gateways_of(self, kind: Kind, keys: Sequence[str]) -> list[tuple[str, str]]:
        self.asked.append((kind, list(keys)))
        if self.down:
            raise ConnectionError("down")
        return [(key, gateway) for key in keys for gateway in self.owners.get((kind, key), [])]

    def stored(self, gateway_ids: Sequence[str]) -> list[Stored]:
        self.asked.append(("stored", list(gateway_ids)))
        known = [gateway for gateway in gateway_ids if gateway in self.urls]
        return [Stored(gateway, self.urls[gateway], self.fetched_at.get(gateway)) for gateway in known]

    def refresh_interval(self) -> float | None:
        return self.interval


NOW = 1_800_000_000.0


def rows(counts: Counts) -> dict[str, dict[str, Any]]:
    return {row["gatewayId"]: row for row in json.loads(counts.rows() or "[]")}


def test_prompts_and_resources_count_for_their_gateways() -> None:
    counts, source = Counts(), Source()
    source.owners = {("prompt", "p"): ["a"], ("resource", "r://x"): ["a", "b"]}
    source.urls = {"a": "http://a.example"}
    lookup = Lookup(counts, source)
    for _ in range(3):
        lookup.note("prompt", "p")
    lookup.note("resource", "r://x")
    lookup.note("resource", "local://x")
    lookup.ask()
    found = rows(counts)
    assert {gateway: row["useCount"] for gateway, row in found.items()} == {"a": 4, "b": 1}
    assert found["a"]["url"] == "http://a.example"
    assert found["a"]["lastUsed"] > 0


def test_one_question_a_minute() -> None:
    counts, source = Counts(), Source()
    source.owners = {("prompt", "p"): ["a"]}
    lookup = Lookup(counts, source)
    lookup.note("prompt", "p")
    lookup.ask()
    asked = len(source.asked)
    for _ in range(10):
        lookup.note("prompt", "p")
        lookup.ask()
    assert len(source.asked) == asked
    assert rows(counts)["a"]["useCount"] == 11


def test_a_database_that_is_down_loses_nothing() -> None:
    counts, source = Counts(), Source()
    source.owners = {("prompt", "p"): ["a"]}
    source.down = True
    lookup = Lookup(counts, source)
    lookup.note("prompt", "p")
    lookup.ask()
    assert rows(counts) == {}
    lookup.note("prompt", "p")
    source.down = False
    lookup.ask()
    assert rows(counts)["a"]["useCount"] == 2


def test_tools_get_the_stored_url() -> None:
    counts, source = Counts(), Source()
    source.urls = {"a": "http://a.example"}
    counts.used("a", "http://a.example/")
    Lookup(counts, source).ask()
    assert rows(counts)["a"]["url"] == "http://a.example"


def test_the_ages_of_lists_are_read_with_the_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, source = Counts(), Source()
    source.urls = {"a": "http://a.example", "b": "http://b.example"}
    lookup = Lookup(counts, source)

    def asked_at(seconds: float) -> tuple[int, int] | None:
        monkeypatch.setattr(time, "time", lambda: NOW + seconds)
        monkeypatch.setattr(time, "monotonic", lambda: seconds)
        lookup.ask()
        return lookup.ages.counted

    def call(gateway: str, seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: NOW + seconds)
        counts.used(gateway)
        lookup.ages.called(gateway)

    # When b's list was fetched is not known.
    source.fetched_at = {"a": NOW - 100}
    for gateway in ("a", "b", "a"):
        call(gateway, 19.0)
    # Asked within the second of the call, and once a minute.
    assert asked_at(19.5) == (0, 0)
    assert asked_at(40.0) == (0, 0)
    call("a", 21.0)
    assert asked_at(80.0) == (3, 1)
    source.interval = None
    call("a", 90.0)
    assert asked_at(200.0) == (3, 1)


def test_in_the_real_release(tmp_path: Path) -> None:
    run_in_release(Path(__file__).with_name("release_lookup.py"), tmp_path)


def test_without_a_database_nothing_is_asked() -> None:
    counts = Counts()
    lookup = Lookup(counts)
    lookup.note("prompt", "p")
    lookup.tick()
    assert rows(counts) == {}
