from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mcpgateway_usage.counts import Counts
from mcpgateway_usage.lookup import Kind, Lookup


class Source:
    """Answers from two tables, and counts the questions."""

    def __init__(self) -> None:
        self.owners: dict[tuple[Kind, str], list[str]] = {}
        self.urls: dict[str, str] = {}
        self.asked: list[tuple[str, list[str]]] = []
        self.down = False

    def gateways_of(self, kind: Kind, keys: Sequence[str]) -> list[tuple[str, str]]:
        self.asked.append((kind, list(keys)))
        if self.down:
            raise ConnectionError("down")
        return [(key, gateway) for key in keys for gateway in self.owners.get((kind, key), [])]

    def urls_of(self, gateway_ids: Sequence[str]) -> list[tuple[str, str]]:
        self.asked.append(("urls", list(gateway_ids)))
        return [(gateway, self.urls[gateway]) for gateway in gateway_ids if gateway in self.urls]


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


def test_without_a_database_nothing_is_asked() -> None:
    counts = Counts()
    lookup = Lookup(counts)
    lookup.note("prompt", "p")
    lookup.tick()
    assert rows(counts) == {}
