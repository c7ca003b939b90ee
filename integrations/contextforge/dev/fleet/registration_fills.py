"""Many objects at once: the first registration of a fleet."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

from .checks import check, note
from .registered import NAMESPACE, Stage, condition
from .relay import Call, summary

FILL40_SECONDS = 90.0


def names(count: int) -> list[str]:
    """The names of objects."""
    return [f"server-{number:03}" for number in range(count)]


def kustomization(stage: Stage, wanted: list[str]) -> Path:
    """A folder for ``kubectl apply -k`` with a file for each object."""
    folder = stage.folder / "kustomization"
    folder.mkdir()
    for name in wanted:
        (folder / f"{name}.yaml").write_text(json.dumps(stage.manifest(name, {"description": f"Server {name}"})))
    content = {"kind": "Kustomization", "apiVersion": "kustomize.config.k8s.io/v1beta1", "namespace": NAMESPACE}
    (folder / "kustomization.yaml").write_text(json.dumps({**content, "resources": [f"{n}.yaml" for n in wanted]}))
    return folder


def fill(stage: Stage, count: int, limit: float) -> float:
    """Apply so many objects; the seconds until all are registered."""
    folder = kustomization(stage, names(count))
    begun = time.monotonic()
    stage.cluster.kubectl("apply", "-k", str(folder))
    note(f"kubectl apply -k with {count} objects took {time.monotonic() - begun:.1f} s")
    wait_registered(stage, count, limit)
    return time.monotonic() - begun


def wait_registered(stage: Stage, count: int, limit: float) -> None:
    """Until so many objects are registered, in ContextForge and according to their conditions."""
    said = time.monotonic()

    def look() -> bool:
        nonlocal said
        found = [condition(item) for item in stage.items()]
        done = sum(c is not None and c.reason == "Registered" for c in found)
        if time.monotonic() - said > 30:
            said = time.monotonic()
            reasons = Counter(c.reason if c else "none" for c in found)
            note(f"registered: {done}; entries: {len(stage.entries())}; {dict(reasons)}")
        return done == count == len(stage.entries())

    stage.wait(f"{count} objects are registered", look, limit)


def check_one_entry_each(stage: Stage, wanted: list[str]) -> None:
    """That each object has one entry, which its status names.

    Raises:
        SystemExit: it is not so.
    """
    entries = Counter(entry.name for entry in stage.entries())
    twice = sorted(name for name, count in entries.items() if count > 1)
    missing = sorted({f"{NAMESPACE}-{name}" for name in wanted} - set(entries))
    check("no entry twice", not twice, " ".join(twice))
    check("none missing", not missing, " ".join(missing))
    check("nothing else", entries.total() == len(wanted), entries.total())
    ids = {item["metadata"]["name"]: item["status"]["registration"]["id"] for item in stage.items()}
    by_name = {entry.name: entry.id for entry in stage.entries()}
    wrong = [name for name in wanted if ids.get(name) != by_name[f"{NAMESPACE}-{name}"]]
    check("each status names its entry", not wrong, " ".join(wrong))


def check_no_429(calls: list[Call]) -> None:
    """That the rate limit was never met.

    Raises:
        SystemExit: it was.
    """
    check("no 429", all(call.status != 429 for call in calls))


def fill40(stage: Stage) -> None:
    """40 objects with one command; a tool of one is called, and that one is hot."""
    stage.operators.start("a")
    stage.operators.wait_leader()
    mark = stage.relay.mark()
    took = fill(stage, 40, 3 * FILL40_SECONDS)
    calls = stage.relay.calls(mark)
    first = next(call.at for call in calls if call.kind == "create")
    last = max(call.at + call.seconds for call in calls if call.kind == "create")
    note(f"requests: {summary(calls)}; first to last create {last - first:.1f} s")
    check(f"all registered within {FILL40_SECONDS:.0f} s", took <= FILL40_SECONDS, f"{took:.1f} s")
    check_no_429(calls)
    check_one_entry_each(stage, names(40))
    begun = time.monotonic()
    entry = stage.registration("server-007")["id"]
    answer = stage.wait("a tool is offered", lambda: stage.call_tool(entry), 60.0)
    check("a real MCP client calls a tool through ContextForge", answer == "server-007 answers hello", answer)
    stage.wait("it is hot", lambda: stage.operators.tiers()["server-007"] == "Hot", 60.0)
    others = Counter(tier for name, tier in stage.operators.tiers().items() if name != "server-007")
    took = time.monotonic() - begun
    check("that object is hot", True, f"after {took:.1f} s; the others: {dict(others)}")
    check("no other is", others["Hot"] == 0)


def fill300(stage: Stage) -> None:
    """300 objects; then one request a round."""
    stage.operators.start("a")
    stage.operators.wait_leader()
    mark = stage.relay.mark()
    took = fill(stage, 300, 1200.0)
    calls = stage.relay.calls(mark)
    note(f"requests: {summary(calls)}")
    check("300 objects are registered", True, f"after {took:.0f} s")
    check_no_429(calls)
    check_one_entry_each(stage, names(300))
    stage.wait_rounds(2)
    mark, begun = stage.relay.mark(), time.monotonic()
    stage.wait_rounds(6, 12 * stage.resync)
    calls, took = stage.relay.calls(mark), time.monotonic() - begun
    note(f"in step for {took:.0f} s, a round every {stage.resync} s: {summary(calls)}")
    check("in step: nothing but lists", all(call.kind == "list" for call in calls))
    rounds = took / stage.resync
    check("one request a round", rounds - 1.5 <= len(calls) <= rounds + 1.5, f"{len(calls)} in {rounds:.1f} rounds")
    check_no_429(calls)
