"""What goes wrong between the operator and ContextForge, and around it. Each fault has objects of its own."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from .checks import check, note
from .registered import NAMESPACE, Stage, condition
from .registration_situations import registered, requests, shown
from .relay import Answer, Call, Rule, summary

_MOST_429 = 4
"""The fifth within 15 minutes locks out."""


def away(stage: Stage) -> None:
    """ContextForge is gone: statuses say so, Ready stays, and everything follows when it is back."""
    registered(stage, "away")
    ready = _ready(stage, "away")
    stage.stop_contextforge(kill=True)
    mark = stage.relay.mark()
    stage.apply(stage.manifest("away-new"))
    shown(stage, "away-new", "ContextForgeUnreachable", "Unknown")
    shown(stage, "away", "ContextForgeUnreachable", "Unknown")
    check("Ready of the registered one stays", _ready(stage, "away") == ready, _ready(stage, "away"))
    note(f"requests: {summary(stage.relay.calls(mark))}")
    stage.start_contextforge()
    shown(stage, "away-new", "Registered", limit=240.0)
    shown(stage, "away", "Registered")


def slow(stage: Stage) -> None:
    """A create is answered after its time-out: nothing is created until a later list, and the entry is found there."""
    _one_entry(stage, "slow", Once("create", _after(40.0)))


def restarted(stage: Stage) -> None:
    """ContextForge is killed when it has stored an entry, before it answers."""

    def kill(forward: Callable[[], Answer]) -> Answer | None:
        forward()
        killed.set()
        return None

    killed = threading.Event()
    rule = Once("create", kill)
    stage.relay.rule = rule
    mark = stage.relay.mark()
    stage.apply(stage.manifest("restarted"))
    stage.wait("the create", killed.is_set)
    stage.restart_contextforge(kill=True)
    shown(stage, "restarted", "Registered", limit=240.0)
    stage.relay.rule = None
    made = stage.relay.calls(mark)
    note(f"requests: {summary(made)}")
    check("one create", sum(call.kind == "create" for call in made) == 1)
    check_one(stage, "restarted")


def duplicate_url(stage: Stage) -> None:
    """An object gets the URL of another: ContextForge says 500, and the condition names the reason."""
    registered(stage, "first")
    registered(stage, "second")
    mark = stage.relay.mark()
    stage.apply(stage.manifest("second", url=stage.url("first")))
    shown(stage, "second", "UrlConflict")
    stage.wait_rounds(3)
    note(f"requests in three rounds: {summary(stage.relay.calls(mark))}")
    stage.apply(stage.manifest("second"))
    shown(stage, "second", "Registered", limit=180.0)


def lost_update(stage: Stage) -> None:
    """ContextForge loses an update, because the server has fewer tools: it is sent again. One that always loses."""
    stage.set_server("lost", tools=["one", "two"])
    registered(stage, "lost", {"description": "old"})
    stage.set_server("lost", tools=["one"])
    mark = stage.relay.mark()
    stage.apply(stage.manifest("lost", {"description": "new"}))
    shown(stage, "lost", "Registered")
    entry = stage.entry(f"{NAMESPACE}-lost")
    check("it took effect", entry is not None and entry.description == "new", entry and entry.description)
    requests(stage, mark, {"update": 1}, {"update": 2})
    gateway = stage.registration("lost")["id"]

    def ignore(_: Callable[[], Answer]) -> Answer | None:
        body = json.dumps(stage.ask("GET", f"/v1/gateways/{gateway}")).encode()
        return Answer(200, (("Content-Type", "application/json"),), body)

    stage.relay.rule = only("update", ignore)
    mark = stage.relay.mark()
    stage.apply(stage.manifest("lost", {"description": "ignored"}))
    shown(stage, "lost", "UpdateNotApplied")
    stage.wait_rounds(3)
    made = Counter(call.kind for call in stage.relay.calls(mark))
    check("at most two updates a round", made["update"] <= 2 * made["list"], dict(made))
    stage.relay.rule = None
    shown(stage, "lost", "Registered", limit=180.0)


def foreign_writer(stage: Stage) -> None:
    """Somebody edits an entry all the time: one write a round at most, and an end when the other one ends."""
    entry = registered(stage, "fought", {"description": "ours"})
    mark, end = stage.relay.mark(), time.monotonic() + 8 * stage.resync
    writes = 0
    while time.monotonic() < end:
        stage.ask("PUT", f"/v1/gateways/{entry}", {"description": f"theirs {writes}"})
        writes += 1
        time.sleep(1.0)
    made = Counter(call.kind for call in stage.relay.calls(mark))
    check("it fights", made["update"] >= 2, f"{writes} foreign writes, {dict(made)}")
    check("one write a round at most", made["update"] <= made["list"], dict(made))
    found = stage.wait("it settles", lambda: stage.entry(f"{NAMESPACE}-fought"))
    stage.wait("it settles", lambda: _description(stage, "fought") == "ours", 180.0)
    shown(stage, "fought", "Registered")
    check("the same entry", found.id == entry)
    said = stage.events("fought", "DriftCorrected")
    check("Events say so", bool(said), said[-1] if said else "")
    requests(stage, stage.relay.mark(), {})


def secret_deleted(stage: Stage) -> None:
    """The Secret goes: the entry stays as it is. It comes back: the credentials are sent again."""
    stage.set_server("secretive", header=["Authorization", "Bearer word"])
    secret = stage.secret("secretive", {"token": "word"})
    stage.apply(secret)
    entry = registered(stage, "secretive", {"auth": {"bearer": {"secretName": "secretive"}}})
    mark = stage.relay.mark()
    stage.kubectl("delete", "secret", "secretive")
    shown(stage, "secretive", "SecretMissing")
    requests(stage, mark, {})
    check("the entry is still used", "answers" in stage.wait("a tool", lambda: stage.call_tool(entry), 60.0))
    mark = stage.relay.mark()
    stage.apply(secret)
    shown(stage, "secretive", "Registered")
    requests(stage, mark, {"update": 1}, {"update": 2})
    for changed, said in (
        ({"labels": {}}, "give it the label"),
        ({"annotations": {"mcpgateway.io/allowed-origins": "https://other.example"}}, "may not be sent to"),
    ):
        stage.apply({**secret, "metadata": {**secret["metadata"], **changed}})
        stage.wait(said, partial(_says, stage, "secretive", said))
        shown(stage, "secretive", "CredentialsInvalid")
    stage.apply(secret)
    shown(stage, "secretive", "Registered")


def namespace_deleted(stage: Stage) -> None:
    """A namespace goes with its objects and their Secret: the finalizers do not hold it up."""
    stage.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": DOOMED}})
    secret = stage.secret("doomed", {"token": "word"})
    stage.apply({**secret, "metadata": {**secret["metadata"], "namespace": DOOMED}})
    names = [f"doomed-{number}" for number in range(5)]
    registration = {"deletionPolicy": "Delete", "auth": {"bearer": {"secretName": "doomed"}}}
    stage.apply(*(stage.manifest(name, registration, namespace=DOOMED) for name in names))
    for name in names:
        stage.wait_condition(name, "Registered", namespace=DOOMED)
    begun = time.monotonic()
    stage.cluster.kubectl("delete", "namespace", DOOMED, "--wait=false")
    # There is no controller of namespaces here: this is what it does.
    stage.kubectl("delete", "secrets", "--all", "--wait=false", namespace=DOOMED)
    stage.kubectl("delete", "mcpgateways", "--all", "--wait=false", namespace=DOOMED)
    left = f"{DOOMED}-"
    stage.wait("the objects are gone", lambda: not stage.kubectl("get", "mcpgateways", "-o", "name", namespace=DOOMED))
    check("the objects are gone", True, f"after {time.monotonic() - begun:.1f} s")
    check("the entries too", not [entry for entry in stage.entries() if entry.name.startswith(left)])
    found = json.loads(stage.cluster.kubectl("get", "namespace", DOOMED, "-o", "json"))
    found["spec"]["finalizers"] = []
    path = f"/api/v1/namespaces/{DOOMED}/finalize"
    stage.cluster.kubectl("replace", "--raw", path, "-f", "-", stdin=json.dumps(found))
    stage.wait("the namespace is gone", lambda: DOOMED not in stage.cluster.kubectl("get", "namespaces", "-o", "name"))


def crd_upgraded(stage: Stage) -> None:
    """The definition of the resource becomes a newer one, one without registration, and the first one again."""
    wanted = {f"crd-{number}": {"deletionPolicy": "Delete" if number == 0 else "Retain"} for number in range(5)}
    ids = {name: registered(stage, name, registration) for name, registration in wanted.items()}
    definition = json.loads(stage.cluster.kubectl("get", "crd", "mcpgateways.mcpgateway.io", "-o", "json"))
    del definition["metadata"]["resourceVersion"]
    mark = stage.relay.mark()
    newer = copy.deepcopy(definition)
    _properties(newer, "spec")["registration"]["properties"]["addedLater"] = {"type": "string"}
    _replace(stage, newer)
    stage.apply(*(stage.manifest(name, {**made, "addedLater": "word"}) for name, made in wanted.items()))
    for name in wanted:
        stage.wait_condition(name, "Registered")
    requests(stage, mark, {})
    mark = stage.relay.mark()
    stage.apply(stage.manifest("crd-1", {"description": "edited"}))
    stage.wait("the entry follows an edit", lambda: _description(stage, "crd-1") == "edited")
    requests(stage, mark, {"update": 1})
    mark = stage.relay.mark()
    older = copy.deepcopy(definition)
    for part in ("spec", "status"):
        del _properties(older, part)["registration"]
    _drop_rules(older, "registration")
    _replace(stage, older)
    stage.wait("the operator lets go", lambda: not any(condition(stage.object(name)) for name in wanted))
    requests(stage, mark, {})
    check("every entry stays", ids.items() <= _entries(stage).items())
    mark = stage.relay.mark()
    _replace(stage, definition)
    stage.apply(*(stage.manifest(name, {**made, "description": "again"}) for name, made in wanted.items()))
    for name in wanted:
        stage.wait_condition(name, "Registered")
    stage.wait("the entries follow", lambda: all(_description(stage, name) == "again" for name in wanted))
    check("they are the same entries", ids.items() <= _entries(stage).items())
    check("each status names its entry", all(stage.registration(name)["id"] == ids[name] for name in wanted))
    requests(stage, mark, {"update": len(wanted)})


def limited(stage: Stage) -> None:
    """A 429 stops all requests for as long as it says. However often it comes, there is never a fifth one."""
    registered(stage, "limited")
    ready = _ready(stage, "limited")
    seconds = 20

    def refuse(after: int) -> Answer:
        headers = (("Content-Type", "application/json"), ("Retry-After", str(after)))
        return Answer(429, headers, b'{"detail":"Rate limit exceeded"}')

    stage.relay.rule = Once(None, lambda _: refuse(seconds))
    mark = stage.relay.mark()
    stage.apply(stage.manifest("limited-new"))
    stage.wait("the 429", lambda: any(call.status == 429 for call in stage.relay.calls(mark)))
    shown(stage, "limited-new", "RateLimited", "Unknown")
    check("Ready of the registered one stays", _ready(stage, "limited") == ready, _ready(stage, "limited"))
    shown(stage, "limited-new", "Registered", limit=120.0)
    made = stage.relay.calls(mark)
    refused = next(call for call in made if call.status == 429)
    next_one = next(call.at for call in made if call.at > refused.at + refused.seconds)
    paused = next_one - refused.at
    check("no request in the meantime", paused >= seconds, f"{paused:.1f} s after the 429, Retry-After {seconds} s")
    stage.relay.rule = lambda *_: refuse(2)
    begun = time.monotonic()
    stage.apply(*(stage.manifest(f"limited-{number}") for number in range(10)))
    stage.wait("time passes", lambda: time.monotonic() - begun > 120, 150.0)
    made = stage.relay.calls(mark)
    stage.relay.rule = None
    count = sum(call.status == 429 for call in made)
    check("never a fifth 429", count <= _MOST_429, f"{count} in {time.monotonic() - begun:.0f} s")
    note(f"requests: {summary(made)}")


DOOMED = "doomed"
"""A namespace that is deleted."""
ALL_FAULTS: tuple[Callable[[Stage], None], ...] = (
    away,
    slow,
    restarted,
    duplicate_url,
    lost_update,
    foreign_writer,
    secret_deleted,
    namespace_deleted,
    crd_upgraded,
    # The last one: after it, the operator may make no request for 15 minutes.
    limited,
)


class Once:
    """A rule for the first request of a kind, or of any."""

    def __init__(self, kind: str | None, answer: Callable[[Callable[[], Answer]], Answer | None]) -> None:
        """Nothing has been answered yet."""
        self._kind, self._answer = kind, answer
        self._lock, self._is_done = threading.Lock(), False

    def __call__(self, call: Call, forward: Callable[[], Answer]) -> Answer | None:
        """The rule."""
        with self._lock:
            first = self._kind in (None, call.kind) and not self._is_done
            self._is_done |= first
        return self._answer(forward) if first else forward()


def only(kind: str, answer: Callable[[Callable[[], Answer]], Answer | None]) -> Rule:
    """A rule for all requests of a kind."""
    return lambda call, forward: answer(forward) if call.kind == kind else forward()


def check_one(stage: Stage, name: str) -> None:
    """That an object has one entry, which its status names.

    Raises:
        SystemExit: it is not so.
    """
    found = [entry.id for entry in stage.entries() if entry.name == f"{NAMESPACE}-{name}"]
    check("one entry", found == [stage.registration(name).get("id")], found)


def _one_entry(stage: Stage, name: str, rule: Rule) -> None:
    stage.relay.rule = rule
    mark = stage.relay.mark()
    stage.apply(stage.manifest(name))
    shown(stage, name, "Registered", limit=240.0)
    stage.relay.rule = None
    made = stage.relay.calls(mark)
    note(f"requests: {summary(made)}")
    check("one create", sum(call.kind == "create" for call in made) == 1)
    check_one(stage, name)


def _after(seconds: float) -> Callable[[Callable[[], Answer]], Answer]:
    def answer(forward: Callable[[], Answer]) -> Answer:
        found = forward()
        time.sleep(seconds)
        return found

    return answer


def _says(stage: Stage, name: str, text: str) -> bool:
    return text in (stage.failure(name) or "")


def _ready(stage: Stage, name: str) -> Any:
    conditions = stage.object(name).get("status", {}).get("conditions", [])
    return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "Ready"), None)


def _description(stage: Stage, name: str) -> str | None:
    entry = stage.entry(f"{NAMESPACE}-{name}")
    return entry.description if entry else None


def _entries(stage: Stage) -> dict[str, str]:
    """The ids of the entries by the name of the object."""
    return {entry.name.removeprefix(f"{NAMESPACE}-"): entry.id for entry in stage.entries()}


def _properties(definition: dict[str, Any], part: str) -> dict[str, Any]:
    """The fields of spec or status in a definition."""
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: dict[str, Any] = schema["properties"][part]["properties"]
    return found


def _drop_rules(node: Any, word: str) -> None:
    """Drop the validation rules with that word, which would not compile without the field."""
    if isinstance(node, list):
        for item in node:
            _drop_rules(item, word)
    elif isinstance(node, dict):
        if rules := node.get("x-kubernetes-validations"):
            node["x-kubernetes-validations"] = [rule for rule in rules if word not in rule["rule"]]
        for item in node.values():
            _drop_rules(item, word)


def _replace(stage: Stage, definition: dict[str, Any]) -> None:
    """Replace the definition, as an upgrade does, and wait until the API server has ended the watches of the old one.

    What is written before that is shown to them without the fields that are new.
    """
    with stage.cluster.watching(f"/apis/mcpgateway.io/v1alpha1/namespaces/{NAMESPACE}/mcpgateways") as ended:
        stage.cluster.kubectl("replace", "-f", "-", stdin=json.dumps(definition))
        stage.wait("the watches of the former definition end", ended, 180.0)
