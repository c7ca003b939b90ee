"""Gateways that are registered by REST become objects, and these go with them, but never most of them at once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from .checks import check, note
from .registered import NAMESPACE, Stage
from .relay import Answer, Call, changes, summary

MIRROR = "mirrored"
"""The namespace of --mirror-namespace."""
_COUNT, _REMOVED = 120, 10
_PAUSE = 0.75
"""Between two requests by hand: 80 a minute are below the release's limit."""


def mirrored(stage: Stage) -> dict[str, dict[str, Any]]:
    """The mirrored objects by gateway id."""
    found = stage.items("mcpgateways", "-l", "mcpgateway.io/mirrored=true")
    return {item["spec"]["gatewayId"]: item for item in found}


def nothing_there(call: Call, forward: Callable[[], Answer]) -> Answer | None:
    """A rule: the list is empty, and no entry exists."""
    answer = forward()
    if call.kind == "list":
        content = json.loads(answer.body)
        empty: Any = {**content, "gateways": []} if isinstance(content, dict) else []
        return Answer(answer.status, answer.headers, json.dumps(empty).encode())
    if call.kind == "get":
        return Answer(404, (("Content-Type", "application/json"),), b'{"detail":"Gateway not found"}')
    return answer


def empty_list(call: Call, forward: Callable[[], Answer]) -> Answer | None:
    """A rule: only the list is empty."""
    return nothing_there(call, forward) if call.kind == "list" else forward()


def mirror(stage: Stage) -> None:
    """All of it."""
    names = [f"by-hand-{number:03}" for number in range(_COUNT)]
    ids = {}
    for name in names:
        ids[name] = stage.register_by_hand(name, stage.url(name))
        time.sleep(_PAUSE)
    note(f"{_COUNT} gateways registered by REST")
    stage.operators.start("a")
    stage.operators.wait_leader()
    mark, begun = stage.relay.mark(), time.monotonic()
    stage.wait("each gateway has an object", lambda: set(mirrored(stage)) == set(ids.values()), 180.0)
    check("each gateway has an object", True, f"after {time.monotonic() - begun:.1f} s")
    urls = {entry.id: entry.url for entry in stage.entries()}
    objects = mirrored(stage)
    check("all in the mirror namespace", {o["metadata"]["namespace"] for o in objects.values()} == {MIRROR})
    check("with the URL as stored", all(item["spec"]["url"] == urls[i] for i, item in objects.items()))
    note(f"requests: {summary(stage.relay.calls(mark))}")
    answer = stage.wait("a tool is offered", lambda: stage.call_tool(ids[names[3]]), 60.0)
    note(f"a real MCP client called a tool: {answer}")

    def tiers() -> Counter[str]:
        return Counter(item.get("status", {}).get("tier", "") for item in mirrored(stage).values())

    stage.wait("all have a tier", lambda: tiers() == {"Hot": 1, "Cold": _COUNT - 1}, 60.0)
    check("tiers: the one in use is hot", mirrored(stage)[ids[names[3]]]["status"]["tier"] == "Hot", dict(tiers()))
    removal(stage, [ids[name] for name in names[-_REMOVED:]])
    follows(stage, ids[names[0]])
    guard(stage)
    yields(stage, ids[names[1]])


def removal(stage: Stage, gone: list[str]) -> None:
    """Gateways are removed by REST."""
    before = set(mirrored(stage))
    mark, begun = stage.relay.mark(), time.monotonic()
    for gateway_id in gone:
        stage.ask("DELETE", f"/v1/gateways/{gateway_id}")
        time.sleep(_PAUSE)
    stage.wait("their objects are gone", lambda: set(mirrored(stage)) == before - set(gone), 120.0)
    check(f"{len(gone)} removed by REST: their objects are gone", True, f"after {time.monotonic() - begun:.1f} s")
    calls = stage.relay.calls(mark)
    note(f"requests: {summary(calls)}")
    check("each was asked for by id", changes(calls)["get"] >= len(gone), dict(changes(calls)))


def follows(stage: Stage, gateway_id: str) -> None:
    """A gateway that is disabled by REST."""
    stage.ask("POST", f"/v1/gateways/{gateway_id}/state?activate=false")
    stage.wait("the object follows", lambda: mirrored(stage)[gateway_id]["spec"].get("enabled") is False, 60.0)
    stage.ask("POST", f"/v1/gateways/{gateway_id}/state?activate=true")
    stage.wait("the object follows", lambda: mirrored(stage)[gateway_id]["spec"].get("enabled") is not False, 60.0)
    check("disabled and enabled by REST: the object follows", True)


def guard(stage: Stage) -> None:
    """A ContextForge that claims to be empty takes nothing away."""
    before = {i: item["metadata"]["uid"] for i, item in mirrored(stage).items()}
    for what, rule in (("an empty list", empty_list), ("an empty list and 404 by id", nothing_there)):
        mark = stage.relay.mark()
        stage.relay.rule = rule
        # Each object may be asked for by id once, at the rate of the operator.
        time.sleep(5 * stage.resync)
        after = {i: item["metadata"]["uid"] for i, item in mirrored(stage).items()}
        note(f"{what}: {summary(stage.relay.calls(mark))}")
        check(f"{what}: no object goes", after == before, f"{len(after)} of {len(before)}")
    stage.wait(
        "the fleet says so",
        lambda: any((f.get("status", {}).get("mirror") or {}).get("held") for f in stage.items("mcpgatewayfleets")),
        240.0,
    )
    shown = [item.get("status", {}).get("mirror") for item in stage.items("mcpgatewayfleets")]
    check("the fleet's status says so", True, shown)
    after = {i: item["metadata"]["uid"] for i, item in mirrored(stage).items()}
    check("still no object goes", after == before, f"{len(after)} of {len(before)}")
    stage.relay.rule = None
    stage.wait_rounds(2)
    after = {i: item["metadata"]["uid"] for i, item in mirrored(stage).items()}
    check("they are still there afterwards", after == before)


def yields(stage: Stage, gateway_id: str) -> None:
    """An object from Git for the same gateway takes its place."""
    url = mirrored(stage)[gateway_id]["spec"]["url"]
    own = stage.manifest("from-git", namespace=NAMESPACE, url=url, gatewayId=gateway_id)
    del own["spec"]["registration"]
    stage.apply(own)
    stage.wait("the mirrored object goes", lambda: gateway_id not in mirrored(stage), 60.0)
    check("a mirrored object yields to one from Git", True)
