from __future__ import annotations

import json
from typing import Any

from mcpgateway_usage.folder import Process
from mcpgateway_usage.report import build, expected_workers

ROWS = b'[{"gatewayId":"a","lastUsed":90.0,"active":1,"idle":2,"useCount":3}]'


def process(
    name: str = "a",
    *,
    alive: bool = True,
    at: float = 99.5,
    expects: int = 0,
    rows: bytes = ROWS,
    polling: bytes = b"",
) -> Process:
    return Process(name, alive, at, expects, rows, polling)


def decoded(processes: list[Process], expected: int = 0, now: float = 100.0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(build(processes, expected, now).body)
    return answer


def test_the_document() -> None:
    assert decoded([process()]) == {
        "apiVersion": "usage.mcpgateway.io/v1alpha1",
        "kind": "UsageReport",
        "generatedAt": 100.0,
        "expectedWorkers": 1,
        "workers": [{"id": "a", "observedAt": 99.5, "servers": json.loads(ROWS)}],
    }


def test_what_a_process_says_of_its_polling() -> None:
    polling = b'{"hotAtFullRate":"Active","coldHealth":"Off"}'
    for alive in (True, False):
        entry = decoded([process(polling=polling, alive=alive)])["workers"][0]
        assert list(entry) == ["id", "observedAt", "polling", "servers"]
        assert entry["polling"] == {"hotAtFullRate": "Active", "coldHealth": "Off"}


def test_nobody() -> None:
    assert decoded([]) == {
        "apiVersion": "usage.mcpgateway.io/v1alpha1",
        "kind": "UsageReport",
        "generatedAt": 100.0,
        "expectedWorkers": 0,
        "workers": [],
    }


def test_one_that_ended_has_no_sessions_and_is_true_now() -> None:
    entry = decoded([process(alive=False, at=1.0)])["workers"][0]
    assert entry["observedAt"] == 100.0
    row = entry["servers"][0]
    assert (row["active"], row["idle"], row["useCount"], row["lastUsed"]) == (0, 0, 3, 90.0)


def test_one_that_ended_hides_no_missing_one() -> None:
    answer = decoded([process("a"), process("b", alive=False)], expected=2)
    assert (answer["expectedWorkers"], len(answer["workers"])) == (3, 2)
    # More live than anybody expected: the number was wrong, not the processes.
    assert decoded([process("a"), process("b")], expected=1)["expectedWorkers"] == 2


def test_how_many_are_expected() -> None:
    processes = [process(expects=2), process(expects=0), process(expects=9, alive=False)]
    assert expected_workers(processes, "auto") == 2
    assert expected_workers(processes, 5) == 5
    assert expected_workers([], "auto") == 0


def test_the_tag_covers_all_but_the_times() -> None:
    def tag(processes: list[Process], expected: int = 1, now: float = 100.0) -> str | None:
        return build(processes, expected, now).tag

    first = tag([process()])
    assert first is not None
    assert first == tag([process(at=100.5)], now=101.0)
    others = [
        tag([process("b")]),
        tag([process(rows=ROWS.replace(b"3", b"4"))]),
        tag([process()], expected=2),
        tag([process(alive=False)]),
        tag([process(polling=b'{"coldHealth":"Off"}')]),
        tag([process(), process("b", rows=b"[]")], expected=2),
    ]
    assert len({first, *others}) == 7


def test_no_tag_while_a_process_hangs() -> None:
    assert build([process(), process("b", at=90.0)], 2, 100.0).tag is None
    assert build([process(), process("b", at=90.0, alive=False)], 2, 100.0).tag is not None
