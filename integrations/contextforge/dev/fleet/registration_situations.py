"""The situations in which the registration of a server changes: for each the requests made and the condition seen.

In: a stage with an operator. Each situation has objects of its own. The number of requests is that between the change
and two rounds in step.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from .checks import check, note
from .registered import ACCOUNT, NAMESPACE, Stage
from .relay import changes, summary

ADOPTING = "adopting"
"""The namespace of --adoption-namespace."""


def requests(stage: Stage, mark: int, *expected: dict[str, int]) -> None:
    """Wait for two rounds in step, then check that the requests since a mark are one of those expected.

    Raises:
        SystemExit: they are not.
    """
    stage.wait_rounds(2)
    made = stage.relay.calls(mark)
    note(f"requests: {summary(made)}")
    check("no other request than needed", dict(changes(made)) in expected, dict(changes(made)))


def registered(stage: Stage, name: str, registration: dict[str, Any] | None = None, **spec: Any) -> str:
    """An object whose server is registered; the id of its entry."""
    stage.apply(stage.manifest(name, registration, **spec))
    stage.wait_condition(name, "Registered")
    stage.wait_rounds(1)
    return str(stage.registration(name)["id"])


def shown(stage: Stage, name: str, reason: str, status: str | None = None, **more: Any) -> None:
    """Wait for a condition and print it."""
    found = stage.wait_condition(name, reason, status, **more)
    check(f"{name}: Registered is {found.status}", True, f"{found.reason}: {found.message}")


def drift_event(stage: Stage, name: str) -> None:
    """The Event of a foreign change."""
    found = stage.wait("the Event", lambda: stage.events(name, "DriftCorrected"), 30.0)
    check("an Event says so", True, found[-1])


def edit(stage: Stage) -> None:
    """The object is edited: one update. With another URL: at most two, and the answer decides."""
    registered(stage, "edit", {"description": "old"})
    mark = stage.relay.mark()
    stage.apply(stage.manifest("edit", {"description": "new", "tags": ["search"]}))
    stage.wait("the entry follows", lambda: _description(stage, "edit") == "new")
    shown(stage, "edit", "Registered")
    requests(stage, mark, {"update": 1})
    stage.set_server("edit-2", tools=["other"])
    mark = stage.relay.mark()
    stage.apply(stage.manifest("edit", {"description": "newest"}, url=stage.url("edit-2")))
    stage.wait("the entry follows", lambda: _description(stage, "edit") == "newest")
    shown(stage, "edit", "Registered")
    requests(stage, mark, {"update": 1}, {"update": 2})
    entry = stage.entry(f"{NAMESPACE}-edit")
    check("the entry has the new URL", entry is not None and entry.url.endswith("/edit-2/mcp"), entry and entry.url)
    check("the status has the URL as stored", entry is not None and stage.registration("edit")["url"] == entry.url)


def rename(stage: Stage) -> None:
    """Another name is refused by the API server."""
    registered(stage, "rename")
    mark = stage.relay.mark()
    try:
        stage.kubectl("patch", "mcpgateway", "rename", "--type=merge", "-p", _registration(name="other"))
    except SystemExit as refusal:
        check("refused", "cannot be changed" in str(refusal), str(refusal).strip().rpartition("Invalid value: ")[2])
    else:
        check("refused", False)
    requests(stage, mark, {})


def rotate(stage: Stage) -> None:
    """The Secret changes: two updates, because the first may lose the credentials. ContextForge then sends the new."""
    stage.set_server("rotate", header=["Authorization", "Bearer first"])
    stage.apply(stage.secret("rotate", {"token": "first"}))
    entry = registered(stage, "rotate", {"auth": {"bearer": {"secretName": "rotate"}}})
    stage.wait("a call with the first", lambda: stage.call_tool(entry), 60.0)
    before = stage.registration("rotate")["credentials"]
    stage.set_server("rotate", header=["Authorization", "Bearer second"])
    mark = stage.relay.mark()
    stage.apply(stage.secret("rotate", {"token": "second"}))
    stage.wait("the status names the new Secret", lambda: stage.registration("rotate")["credentials"] != before)
    shown(stage, "rotate", "Registered")
    requests(stage, mark, {"update": 2})
    answer = stage.wait("a call with the second", lambda: stage.call_tool(entry), 60.0)
    check("a tool answers with the new credentials", "answers hello" in answer, answer)


def foreign_edit(stage: Stage) -> None:
    """An administrator edits the entry: it is put right, and an Event says so."""
    entry = registered(stage, "foreign-edit", {"description": "ours"})
    mark = stage.relay.mark()
    stage.ask("PUT", f"/v1/gateways/{entry}", {"description": "theirs"})
    stage.wait("the entry is put right", lambda: _description(stage, "foreign-edit") == "ours")
    shown(stage, "foreign-edit", "Registered")
    drift_event(stage, "foreign-edit")
    requests(stage, mark, {"update": 1}, {"update": 2})


def foreign_disable(stage: Stage) -> None:
    """An administrator disables the entry: it is enabled."""
    entry = registered(stage, "foreign-disable")
    mark = stage.relay.mark()
    stage.ask("POST", f"/v1/gateways/{entry}/state?activate=false")
    check("disabled by hand", not _is_enabled(stage, "foreign-disable"))
    stage.wait("it is enabled", lambda: _is_enabled(stage, "foreign-disable"))
    shown(stage, "foreign-disable", "Registered")
    drift_event(stage, "foreign-disable")
    requests(stage, mark, {"state": 1})


def foreign_delete(stage: Stage) -> None:
    """An administrator deletes the entry: a 404 by id proves it, and it is created again."""
    entry = registered(stage, "foreign-delete")
    mark = stage.relay.mark()
    stage.ask("DELETE", f"/v1/gateways/{entry}")
    stage.wait("there is another entry", lambda: stage.registration("foreign-delete").get("id") not in (None, entry))
    shown(stage, "foreign-delete", "Registered")
    drift_event(stage, "foreign-delete")
    requests(stage, mark, {"get": 1, "create": 1})


def adopt(stage: Stage) -> None:
    """spec.gatewayId takes an entry over: in an adoption namespace, and if the token's user owns it."""
    entry = stage.register_by_hand("adopted", stage.url("adopt"))
    # An entry that is younger than the last list is asked for by id.
    stage.wait_rounds(1)
    mark = stage.relay.mark()
    stage.apply(stage.manifest("adopt", {"name": "adopted", "description": "from Git"}, gatewayId=entry))
    shown(stage, "adopt", "NotOwner")
    requests(stage, mark, {})
    stage.kubectl("delete", "mcpgateway", "adopt")
    adopting = stage.manifest(
        "adopt", {"name": "adopted", "description": "from Git"}, namespace=ADOPTING, gatewayId=entry
    )
    stage.apply(adopting)
    shown(stage, "adopt", "NotOwner", namespace=ADOPTING)
    try:
        stage.ask("POST", f"/v1/admin/gateways/{entry}/transfer-ownership", {"target_owner_email": ACCOUNT})
    except OSError as error:
        # Releases before 1.1.0.
        note(f"this release does not transfer entries: {error}")
        # It would try once in each round.
        stage.kubectl("delete", "mcpgateway", "adopt", namespace=ADOPTING)
        return
    stage.wait("the entry follows", lambda: _description(stage, "", "adopted") == "from Git", 180.0)
    shown(stage, "adopt", "Registered", namespace=ADOPTING)
    found = stage.registration("adopt", namespace=ADOPTING)
    check("it is the same entry", found["id"] == entry, found["id"])
    check("there is no other", len([e for e in stage.entries() if e.url.endswith("/adopt/mcp")]) == 1)


def name_conflict(stage: Stage) -> None:
    """Somebody else has the name: said, without a request. When it is free, the server is registered."""
    entry = stage.register_by_hand("taken", stage.url("taken"))
    stage.wait_rounds(1)
    mark = stage.relay.mark()
    stage.apply(stage.manifest("name-conflict", {"name": "taken"}))
    shown(stage, "name-conflict", "NameConflict")
    requests(stage, mark, {})
    stage.ask("DELETE", f"/v1/gateways/{entry}")
    shown(stage, "name-conflict", "Registered")
    check("one entry has it", len([e for e in stage.entries() if e.name == "taken"]) == 1)


def upstream_down(stage: Stage) -> None:
    """The server does not answer: nothing is stored, and it is tried again. One that dies later stays registered."""
    stage.set_server("down", status=503)
    mark = stage.relay.mark()
    stage.apply(stage.manifest("down"))
    shown(stage, "down", "UpstreamUnreachable")
    note(f"requests: {summary(stage.relay.calls(mark))}")
    stage.set_server("down", status=401)
    shown(stage, "down", "UpstreamUnauthorized", limit=180.0)
    stage.set_server("down")
    shown(stage, "down", "Registered", limit=180.0)
    note(f"requests: {summary(stage.relay.calls(mark))}")
    mark = stage.relay.mark()
    stage.set_server("down", status=503)
    stage.wait("it is unreachable", lambda: stage.registration("down").get("reachable") is False, 300.0)
    shown(stage, "down", "Registered")
    note(f"lastError: {stage.registration('down').get('lastError')}")
    stage.set_server("down")
    stage.wait("it is reachable", lambda: stage.registration("down").get("reachable") is True, 300.0)
    requests(stage, mark, {})


def retain(stage: Stage) -> None:
    """The object is deleted with Retain: the entry stays. Applied again, the object gets it back."""
    entry = registered(stage, "retain")
    mark = stage.relay.mark()
    stage.kubectl("delete", "mcpgateway", "retain", "--timeout=60s")
    requests(stage, mark, {})
    check("the entry stays", any(found.id == entry for found in stage.entries()))
    mark = stage.relay.mark()
    stage.apply(stage.manifest("retain", {"description": "again"}))
    shown(stage, "retain", "Registered")
    requests(stage, mark, {"update": 1}, {"update": 2})
    check("it is the same entry", stage.registration("retain")["id"] == entry)


def delete(stage: Stage) -> None:
    """The object is deleted with Delete: the entry goes, and then the finalizer."""
    entry = registered(stage, "delete", {"deletionPolicy": "Delete"})
    finalizers = stage.object("delete")["metadata"].get("finalizers")
    check("the object has the finalizer", finalizers == ["mcpgateway.io/registration"], finalizers)
    mark = stage.relay.mark()
    stage.kubectl("delete", "mcpgateway", "delete", "--timeout=60s")
    check("the entry is gone", all(found.id != entry for found in stage.entries()))
    requests(stage, mark, {"delete": 1})


def disable(stage: Stage) -> None:
    """The object is disabled and enabled: the entry too."""
    registered(stage, "disable")
    for enabled, reason in ((False, "Disabled"), (True, "Registered")):
        mark = stage.relay.mark()
        stage.apply(stage.manifest("disable", enabled=enabled))
        shown(stage, "disable", reason)
        stage.wait("the entry follows", partial(_is_enabled_as, stage, "disable", enabled))
        requests(stage, mark, {"state": 1})


SITUATIONS: tuple[Callable[[Stage], None], ...] = (
    edit,
    rename,
    rotate,
    foreign_edit,
    foreign_disable,
    foreign_delete,
    adopt,
    name_conflict,
    upstream_down,
    retain,
    delete,
    disable,
)


def _registration(**fields: Any) -> str:
    return json.dumps({"spec": {"registration": fields}})


def _description(stage: Stage, name: str, entry_name: str = "") -> str | None:
    entry = stage.entry(entry_name or f"{NAMESPACE}-{name}")
    return entry.description if entry else None


def _is_enabled_as(stage: Stage, name: str, enabled: bool) -> bool:
    return _is_enabled(stage, name) is enabled


def _is_enabled(stage: Stage, name: str) -> bool:
    entry = stage.entry(f"{NAMESPACE}-{name}")
    return bool(entry and entry.enabled)
