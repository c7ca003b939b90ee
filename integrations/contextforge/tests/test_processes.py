"""Real processes: whatever happens to one of them, no use is lost or counted twice beyond one second."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SOURCES, Pod, get, report, uses, wait_until
from servers import free_port

from mcpgateway_usage import folder

GATEWAY = "e6b7" * 8


def ids(answer: dict[str, Any]) -> set[str]:
    return {entry["id"] for entry in answer["workers"]}


def living(pod: Pod) -> list[str]:
    return [process.id for process in folder.read(pod.directory, 3600.0, time.time()) if process.alive]


def test_one_endpoint_speaks_for_all_processes(pod: Pod) -> None:
    for uses_of_it in (3, 4, 5):
        pod.start().order("use", GATEWAY, uses_of_it)
    answer = pod.until("three with 12 uses", lambda a: uses(a) == {GATEWAY: 12})
    assert len(answer["workers"]) == 3
    assert answer["expectedWorkers"] == 3
    assert [w.order("serves") for w in pod.workers].count("yes") == 1
    row = answer["workers"][0]["servers"][0]
    assert row["url"] == "https://mcp.example.com/mcp"
    assert row["lastUsed"] <= answer["generatedAt"]


def test_kill_of_the_serving_process(pod: Pod) -> None:
    for _ in range(3):
        pod.start().order("use", GATEWAY, 100)
    pod.until("300 uses", lambda a: uses(a) == {GATEWAY: 300})
    killed = pod.server()
    killed_id = killed.order("id")
    killed.kill()
    begun = time.monotonic()
    wait_until("another serves", pod.report)
    print(f"served again after {time.monotonic() - begun:.3f} s")
    # Nobody's uses are lost, and those of the dead one are not counted twice.
    answer = pod.report()
    assert uses(answer) == {GATEWAY: 300}
    assert killed_id in ids(answer or {})
    assert answer is not None
    assert answer["expectedWorkers"] == len(answer["workers"]) == 3
    for worker in pod.workers:
        if worker is not killed:
            worker.order("use", GATEWAY, 1)
    pod.until("two more", lambda a: uses(a) == {GATEWAY: 302})


def test_a_killed_process_loses_at_most_one_second(pod: Pod) -> None:
    pod.start()
    worker = pod.start()
    worker.order("run", GATEWAY)
    pod.until("it is used", lambda a: uses(a).get(GATEWAY, 0) > 1500)
    worker.process.send_signal(signal.SIGKILL)
    killed_at = time.time()
    worker.process.wait()
    assert worker.process.stdout is not None
    lines = [line.split() for line in worker.process.stdout.read().splitlines() if len(line.split()) == 2]
    by_time = [(float(at), int(count)) for at, count in lines]
    answer = wait_until("a report", pod.report)
    counted = uses(answer)[GATEWAY]
    before = max(count for at, count in by_time if at <= killed_at - 1.0)
    assert before <= counted <= by_time[-1][1] + 1


def test_a_clean_end_loses_nothing(pod: Pod) -> None:
    stays = pod.start()
    worker = pod.start()
    worker.order("use", GATEWAY, 7)
    worker.finish()
    answer = pod.until("7 uses", lambda a: uses(a) == {GATEWAY: 7})
    # One that ended is in the report for a while, and hides no living one that is missing.
    assert answer["expectedWorkers"] == len(answer["workers"]) == 2
    assert living(pod) == [stays.order("id")]


def test_a_process_that_ended_unused_leaves_at_once(pod: Pod) -> None:
    stays = pod.start()
    worker = pod.start()
    pod.until("two", lambda a: len(a["workers"]) == 2)
    worker.finish()
    pod.until("one", lambda a: ids(a) == {stays.order("id")})


def test_the_ended_leave_after_their_grace(pod: Pod) -> None:
    pod.environ["MCPGATEWAY_USAGE_ENDED_GRACE"] = "0.5"
    stays = pod.start()
    worker = pod.start()
    worker.order("use", GATEWAY, 7)
    worker.finish()
    pod.until("gone", lambda a: ids(a) == {stays.order("id")})
    names = [name for name in os.listdir(pod.directory) if name != "serving.lock"]
    assert all(name.startswith(stays.order("id")) for name in names)


def test_a_forked_process_begins_anew(pod: Pod) -> None:
    parent = pod.start()
    parent.order("use", GATEWAY, 10)
    child = int(parent.order("fork", GATEWAY, 5))
    try:
        answer = pod.until("15 uses", lambda a: uses(a) == {GATEWAY: 15})
        assert sorted(entry["servers"][0]["useCount"] for entry in answer["workers"]) == [5, 10]
        # The child holds copies of its parent's files, and must not keep it alive or its port taken.
        parent_id = parent.order("id")
        assert len(living(pod)) == 2
        os.kill(parent.pid, signal.SIGKILL)
        parent.process.wait()
        answer = wait_until("the child serves", pod.report)
        assert uses(answer) == {GATEWAY: 15}
        assert parent_id not in living(pod)
        assert len(living(pod)) == 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_a_forked_process_counts_its_own_health_checks(pod: Pod) -> None:
    pod.environ |= {"PLANT": "1", "MCPGATEWAY_USAGE_COLD_HEALTH_INTERVAL": "5m"}
    parent = pod.start()

    def counted(checks: int, skipped: int) -> dict[str, Any]:
        return {
            "hotAtFullRate": "Active",
            "refreshPlan": "Active",
            "refreshesSkipped": 0,
            "coldHealth": "Active",
            "coldHealthInterval": 300.0,
            "healthChecksRun": checks,
            "healthChecksSkipped": skipped,
        }

    assert json.loads(parent.order("check", 4)) == counted(1, 3)
    child, _, told = parent.order("fork-check", 3).partition(" ")
    try:
        # It inherits the replaced methods, and neither the counters nor what the parent has checked.
        assert json.loads(told) == counted(1, 2)
        answer = pod.until("both", lambda a: len(a["workers"]) == 2)
        found = {entry["id"]: entry["polling"] for entry in answer["workers"]}
        assert found.pop(parent.order("id")) == counted(1, 3)
        assert list(found.values()) == [counted(1, 2)]
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_without_contextforge_a_process_says_so(pod: Pod) -> None:
    pod.start()
    (entry,) = pod.until("one", lambda a: a["workers"])["workers"]
    assert entry["polling"]["hotAtFullRate"] == "Unsupported"
    assert entry["polling"]["refreshPlan"] == "Unsupported"
    assert entry["polling"]["coldHealth"] == "Off"


def test_a_program_started_by_a_worker_holds_nothing(pod: Pod) -> None:
    worker = pod.start()
    worker.order("use", GATEWAY, 1)
    wait_until("it serves", pod.report)
    program = int(worker.order("spawn"))
    try:
        worker.kill()
        assert living(pod) == []
        pod.start()
        pod.until("the next one serves", lambda a: uses(a) == {GATEWAY: 1})
    finally:
        os.kill(program, signal.SIGKILL)


def test_a_frozen_process_shows(pod: Pod) -> None:
    frozen = pod.start()
    frozen.order("use", GATEWAY, 1)
    pod.start()
    server = pod.server()
    other = next(w for w in pod.workers if w is not server)
    other_id = other.order("id")
    os.kill(other.pid, signal.SIGSTOP)
    try:

        def behind(answer: dict[str, Any]) -> bool:
            entry = next(e for e in answer["workers"] if e["id"] == other_id)
            return bool(answer["generatedAt"] - entry["observedAt"] > 5.5)

        pod.until("its rows grow old", behind)
        # "Not modified" would say that they are true until now.
        assert get(pod.port)[1]["ETag"] is None
    finally:
        os.kill(other.pid, signal.SIGCONT)
    wait_until("it is back", lambda: get(pod.port)[1]["ETag"])


def test_the_folder_is_made_again(pod: Pod) -> None:
    worker = pod.start()
    worker.order("use", GATEWAY, 2)
    pod.until("2 uses", lambda a: uses(a) == {GATEWAY: 2})
    for name in os.listdir(pod.directory):
        (pod.directory / name).unlink()
    pod.until("2 uses again", lambda a: uses(a) == {GATEWAY: 2} and ids(a) == {worker.order("id")})


def test_a_taken_port_is_waited_for(pod: Pod) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", pod.port))
        taken.listen()
        worker = pod.start()
        worker.order("use", GATEWAY, 1)
        assert worker.order("serves") == "no"
    pod.until("1 use", lambda a: uses(a) == {GATEWAY: 1})


def test_missing_processes_make_it_partial(pod: Pod) -> None:
    pod.environ["MCPGATEWAY_USAGE_EXPECTED_WORKERS"] = "3"
    pod.start()
    worker = pod.start()
    worker.order("use", GATEWAY, 1)
    pod.until("2 of 3", lambda a: (len(a["workers"]), a["expectedWorkers"]) == (2, 3))
    worker.finish()
    pod.until("1 of 3, and one that ended", lambda a: (len(a["workers"]), a["expectedWorkers"]) == (2, 4))


@pytest.fixture(params=["preload", "no preload"])
def gunicorn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two workers, each recycled after about 20 requests; (port, port of the report)."""
    pytest.importorskip("gunicorn")
    port, usage_port = free_port(), free_port()
    environ = dict(os.environ) | {
        "MCPGATEWAY_USAGE_DIRECTORY": str(tmp_path / "pod"),
        "MCPGATEWAY_USAGE_PORT": str(usage_port),
        "PYTHONPATH": f"{SOURCES}:{Path(__file__).parent}",
    }
    command = [sys.executable, "-m", "gunicorn", "app:app", "--bind", f"127.0.0.1:{port}", "--workers", "2"]
    command += ["--config", str(Path(__file__).with_name("gunicorn_conf.py"))]
    command += ["--max-requests", "20", "--log-level", "warning", "--worker-tmp-dir", str(tmp_path)]
    if request.param == "preload":
        command.append("--preload")
    master = subprocess.Popen(command, env=environ, cwd=tmp_path)
    try:
        yield port, usage_port
    finally:
        master.terminate()
        master.wait(timeout=30)


def test_gunicorn_recycles_its_workers(gunicorn: tuple[int, int]) -> None:
    port, usage_port = gunicorn
    wait_until("both workers", lambda: len((report(usage_port) or {}).get("workers", [])) == 2)
    answered, pids = 0, set()
    deadline = time.monotonic() + 60
    while answered < 100:
        assert time.monotonic() < deadline
        try:
            status, _, body = get(port, path=f"/use/{GATEWAY}")
        except (OSError, http.client.HTTPException):
            # The worker was just ending: this request has not been taken.
            continue
        assert status == 200
        pids.add(body)
        answered += 1
    # The recycled ones are dead, and what they saw is not.
    assert len(pids) >= 5
    answer = wait_until("100 uses", lambda: a if uses(a := report(usage_port)) == {GATEWAY: answered} else None)
    assert len(answer["workers"]) >= 5
    wait_until("complete", lambda: (a := report(usage_port)) and a["expectedWorkers"] == len(a["workers"]))
