from __future__ import annotations

import json
import threading
from typing import Any

from mcpgateway_usage.counts import Counts, Sessions


def rows(counts: Counts) -> list[dict[str, Any]]:
    text = counts.rows()
    assert text is not None
    decoded: list[dict[str, Any]] = json.loads(text)
    return decoded


def test_a_row_has_what_the_operator_reads() -> None:
    counts = Counts()
    counts.used("a", "https://a.example/mcp?token=hunter2", at=10.0)
    counts.used("a", at=12.5)
    counts.used("a", at=11.0)
    assert rows(counts) == [
        {"gatewayId": "a", "url": "https://a.example/mcp", "lastUsed": 12.5, "active": 0, "idle": 0, "useCount": 3}
    ]


def test_rows_only_when_something_changed() -> None:
    counts = Counts()
    assert counts.rows() is None
    counts.used("a")
    assert counts.rows() is not None
    assert counts.rows() is None
    counts.changed_again()
    assert len(rows(counts)) == 1


def test_no_use_is_lost_between_threads() -> None:
    counts = Counts()
    found: list[str | None] = []

    def use() -> None:
        for _ in range(5000):
            counts.used("a")

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found.append(counts.rows())
    found.append(counts.rows())
    seen = [json.loads(text)[0]["useCount"] for text in found if text is not None and text != "[]"]
    assert seen == sorted(seen)
    assert seen[-1] == 20_000


def test_sessions_come_and_go() -> None:
    counts = Counts()
    counts.used("a", "https://a.example/mcp", at=10.0)
    counts.set_sessions(
        {"a": Sessions(active=1, idle=2, last_used=20.0), "b": Sessions(idle=1, last_used=5.0, url="http://b/")}
    )
    assert rows(counts) == [
        {"gatewayId": "a", "url": "https://a.example/mcp", "lastUsed": 20.0, "active": 1, "idle": 2, "useCount": 1},
        {"gatewayId": "b", "url": "http://b/", "lastUsed": 5.0, "active": 0, "idle": 1, "useCount": 0},
    ]
    counts.set_sessions({})
    # The session has gone, and that it was used at 20 is no less true.
    assert [(r["lastUsed"], r["active"], r["idle"]) for r in rows(counts)] == [(20.0, 0, 0), (5.0, 0, 0)]
    counts.set_sessions({})
    assert counts.rows() is None


def test_the_stored_url_replaces_the_one_of_the_hook() -> None:
    counts = Counts()
    counts.used("a", "https://a.example/")
    counts.set_url("a", "https://a.example")
    counts.set_url("unknown", "https://b.example")
    assert [r["url"] for r in rows(counts)] == ["https://a.example"]


def test_odd_ids_are_not_counted() -> None:
    counts = Counts()
    for gateway_id in ("", "x" * 65, "ü"):
        counts.used(gateway_id)
    assert counts.rows() is None
