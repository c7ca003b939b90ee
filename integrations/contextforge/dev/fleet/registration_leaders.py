"""Leaders that are killed while they register servers: in the middle of a fill, and at each step of every request."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

from .checks import check, note
from .registered import NAMESPACE, Stage
from .registration_faults import check_one
from .registration_fills import check_no_429, check_one_entry_each, kustomization, names, wait_registered
from .registration_situations import registered, shown
from .relay import Answer, Call, summary

KILLS = 20
FLAGS = (
    "--leader-elect-lease-duration=6s",
    "--leader-elect-renew-deadline=4s",
    "--leader-elect-retry-period=1s",
)


class CreateWatch:
    """A rule of the relay that says when a create is in flight, and holds its answer for a while."""

    def __init__(self, seed: int) -> None:
        """No create is in flight yet."""
        self.begun = threading.Event()
        self._random = random.Random(seed)

    def __call__(self, call: Call, forward: Callable[[], Answer]) -> Answer | None:
        """Hold a create before or after ContextForge has it, so that kills happen in both situations."""
        if call.kind != "create":
            return forward()
        before = self._random.random() < 0.5
        if before:
            self.begun.set()
            time.sleep(self._random.uniform(0, 1))
        answer = forward()
        if not before:
            self.begun.set()
            time.sleep(self._random.uniform(0, 1))
        return answer


def during_a_fill(stage: Stage) -> None:
    """Two replicas; the one that leads is killed while a create is in flight, again and again."""
    seed = random.SystemRandom().randrange(1 << 16)
    note(f"seed {seed}")
    chance = random.Random(seed)
    watch = CreateWatch(seed)
    stage.relay.rule = watch
    _start_two(stage)
    wanted = names(150)
    mark = stage.relay.mark()
    stage.cluster.kubectl("apply", "-k", str(kustomization(stage, wanted)))
    for number in range(KILLS):
        watch.begun.clear()
        stage.wait("a create is in flight", lambda: watch.begun.wait(0.1), 180.0)
        time.sleep(chance.uniform(0, 1.5))
        leader = stage.operators.wait_leader()
        stage.operators.kill(leader)
        stage.operators.start(leader)
        note(f"kill {number + 1}: {leader}, {len(stage.entries())} of {len(wanted)} entries")
        check("in the middle of the fill", len(stage.entries()) < len(wanted))
    wait_registered(stage, len(wanted), 900.0)
    stage.wait_rounds(2)
    calls = stage.relay.calls(mark)
    note(f"requests: {summary(calls)}")
    check_one_entry_each(stage, wanted)
    check_no_429(calls)
    deletes = [call for call in calls if call.kind == "delete"]
    note(f"entries that were created twice and deleted: {len(deletes)}")


class Moment(Enum):
    """When in a request the leader is killed."""

    SENT = "sent, and never arrives"
    STORED = "carried out, and not answered"
    ANSWERED = "answered"


class Kill:
    """A rule of the relay: the leader is killed at its first request of a kind."""

    def __init__(self, stage: Stage, kind: str, moment: Moment, leader: str) -> None:
        """The leader has sent no such request yet."""
        self._stage, self._kind, self._moment, self._leader = stage, kind, moment, leader
        self._lock, self._is_begun = threading.Lock(), False
        self.done = threading.Event()

    def __call__(self, call: Call, forward: Callable[[], Answer]) -> Answer | None:
        """Kill the leader at its first request of the kind, and forward all other requests."""
        with self._lock:
            first = call.kind == self._kind and not self._is_begun
            self._is_begun |= first
        if not first:
            return forward()
        if self._moment is Moment.SENT:
            self._kill()
            return None
        answer = forward()
        if self._moment is Moment.STORED:
            self._kill()
            return None
        # The process has the answer, and may be at any point of handling it.
        threading.Timer(0.02, self._kill).start()
        return answer

    def _kill(self) -> None:
        self._stage.operators.kill(self._leader)
        self.done.set()


@dataclass(frozen=True, slots=True)
class Change:
    """A change for which the leader sends a request of one kind."""

    kind: str
    before: Callable[[Stage, str], None]
    """Brings about the situation in which the change can be made."""
    make: Callable[[Stage, str], None]
    check: Callable[[Stage, str], None]
    """Checks that the new leader has completed it."""


def at_each_step(stage: Stage) -> None:
    """The leader is killed when a request is sent, carried out, and answered, for each kind of request."""
    _start_two(stage)
    mark = stage.relay.mark()
    for change in CHANGES:
        for moment in Moment:
            name = f"{change.kind}-{moment.name.lower()}"
            change.before(stage, name)
            leader = stage.operators.wait_leader()
            kill = Kill(stage, change.kind, moment, leader)
            stage.relay.rule = kill
            change.make(stage, name)
            stage.wait(f"{leader} is killed", partial(kill.done.wait, 0.1))
            stage.relay.rule = None
            stage.operators.start(leader)
            begun = time.monotonic()
            change.check(stage, name)
            check(f"{change.kind}, {moment.value}", True, f"completed {time.monotonic() - begun:.0f} s after the kill")
    stage.wait_rounds(2)
    calls = stage.relay.calls(mark)
    note(f"requests: {summary(calls)}")
    check_no_429(calls)


def _start_two(stage: Stage) -> None:
    if stage.operators.leader() is None:
        for name in ("a", "b"):
            stage.operators.start(name)
    stage.operators.wait_leader()


def _nothing(_: Stage, __: str) -> None:
    pass


def _one_is_registered(stage: Stage, name: str) -> None:
    shown(stage, name, "Registered", limit=180.0)
    check_one(stage, name)


def _registered(stage: Stage, name: str) -> None:
    registered(stage, name, {"description": "old", "deletionPolicy": "Delete"})


def _is_described_as_new(stage: Stage, name: str) -> None:
    shown(stage, name, "Registered", limit=180.0)
    entry = stage.wait("the entry follows", lambda: stage.entry(f"{NAMESPACE}-{name}"))
    check("the edit took effect", entry.description == "new", entry.description)
    check_one(stage, name)


def _disable(stage: Stage, name: str) -> None:
    stage.apply(stage.manifest(name, {"description": "old"}, enabled=False))


def _is_disabled(stage: Stage, name: str) -> None:
    shown(stage, name, "Disabled", limit=180.0)
    entry = stage.wait("there is an entry", lambda: stage.entry(f"{NAMESPACE}-{name}"))
    check("the entry is disabled", not entry.enabled)
    check_one(stage, name)


def _delete_by_hand(stage: Stage, name: str) -> None:
    stage.ask("DELETE", f"/v1/gateways/{stage.registration(name)['id']}")


def _is_created_again(stage: Stage, name: str) -> None:
    def names_the_new_entry() -> bool:
        entry = stage.entry(f"{NAMESPACE}-{name}")
        return entry is not None and entry.id == stage.registration(name).get("id")

    stage.wait("there is an entry again, which the status names", names_the_new_entry, 180.0)
    _one_is_registered(stage, name)


def _delete(stage: Stage, name: str) -> None:
    stage.kubectl("delete", "mcpgateway", name, "--wait=false")


def _is_gone(stage: Stage, name: str) -> None:
    stage.wait("the object is gone", lambda: not stage.object(name), 180.0)
    check("and its entry", stage.entry(f"{NAMESPACE}-{name}") is None)


CHANGES = (
    Change("list", _nothing, lambda stage, name: stage.apply(stage.manifest(name)), _one_is_registered),
    Change("create", _nothing, lambda stage, name: stage.apply(stage.manifest(name)), _one_is_registered),
    Change(
        "update",
        _registered,
        lambda stage, name: stage.apply(stage.manifest(name, {"description": "new"})),
        _is_described_as_new,
    ),
    Change("state", _registered, _disable, _is_disabled),
    Change("get", _registered, _delete_by_hand, _is_created_again),
    Change("delete", _registered, _delete, _is_gone),
)
