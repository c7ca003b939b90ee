"""The fleets of dev/plan-figure: each with what Redis holds of its servers, over time, and regular clients."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import redis

from . import counting
from .checks import note, watch
from .contextforge import KEYS
from .contextforge import Fleet as Gateways
from .operators import Operators
from .planned import Fleet, Mode, State
from .processes import wait_until

EVERY = (20, 45, 90, 180, 360, 720, 1500, 2700)
"""Seconds between two calls of each server that is used."""
_PHASES = (3, 11, 29, 67, 131, 277, 541, 1087)
"""When the first of each is, in seconds after the beginning."""
_RECORD_SECONDS = 2.0


class Recorder:
    """What Redis holds of each server, over time. In: a port, names by URL. Must not: write anything."""

    def __init__(self, port: int, names: dict[str, str]) -> None:
        """Nothing is recorded yet."""
        self.states: dict[str, list[State]] = {name: [] for name in names.values()}
        self._names = names
        self._client = redis.Redis(port=port, decode_responses=True)

    def look(self) -> None:
        """Record what has changed."""
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.smembers(f"{KEYS}:hot")
            pipeline.smembers(f"{KEYS}:cold")
            pipeline.hgetall(f"{KEYS}:intervals")
            hot, cold, plan = pipeline.execute()
        now = time.time()
        for url, name in self._names.items():
            tier = "hot" if url in hot else "cold" if url in cold else ""
            text = plan.get(url)
            state = State(now, tier, None if text is None else int(text.partition(",")[0]))
            states = self.states[name]
            if not states or replace(states[-1], at=now) != state:
                states.append(state)


@dataclass
class Side:
    """One of the fleets."""

    gateways: Gateways
    mode: Mode
    operators: Operators
    recorder: Recorder = field(init=False)

    def start(self) -> None:
        """Raise it, and its operator."""
        self.gateways.start()
        names = {gateway["url"]: name for name, gateway in self.gateways.gateways.items()}
        self.recorder = Recorder(self.gateways.redis_port, names)
        if self.mode is not Mode.ALONE:
            self.operators.apply()
            self.operators.start("a")
        note(f"{self.mode} runs: {self.gateways.folder}")

    def tools(self, servers: list[str]) -> list[str]:
        """The names under which ContextForge offers a tool of each of these servers."""

        def find() -> list[str]:
            offered = self.gateways.tools("greet")
            return [offered[name] for name in servers] if set(servers) <= set(offered) else []

        return list(wait_until(f"{self.mode}: the tools of the servers in use", find))

    def start_clients(self, begin: float, tools: list[str]) -> None:
        """The same calls in every fleet."""
        command = [self.gateways.release.python, "-m", "fleet.regular_clients", str(self.gateways.token_file)]
        command += [f"http://127.0.0.1:{self.gateways.ports['a']}/mcp/", str(begin)]
        command += [f"{tool}={every}={phase}" for tool, every, phase in zip(tools, EVERY, _PHASES, strict=True)]
        self.gateways.processes.start("clients", command, {"PYTHONPATH": str(Path(__file__).resolve().parents[1])})

    def is_published(self) -> bool:
        """Whether tiers, and a plan if there is one, are published; or nothing in a fleet without an operator."""
        keys = set(self.gateways.keys())
        if self.mode is Mode.ALONE:
            return not keys
        has_plan = self.gateways.redis("EXISTS", f"{KEYS}:intervals") == "1"
        return "timestamp" in keys and has_plan == (self.mode is Mode.PLAN)

    def outcome(self, begin: float, end: float) -> Fleet:
        """What was received and recorded."""
        requests = self.gateways.requests()
        names = sorted(self.gateways.gateways)
        refreshes, checks = counting.refreshes(requests), counting.health_checks(requests)
        calls = {
            name: sorted(r.at for r in requests if r.server == name and r.method == "tools/call") for name in names
        }
        kinds: Counter[str] = Counter()
        for found in counting.received(requests, begin, end).values():
            kinds.update({str(kind): count for kind, count in found.items()})
        return Fleet(
            release=self.gateways.release.version,
            mode=self.mode,
            refreshes={name: refreshes.get(name, []) for name in names},
            health_checks={name: checks.get(name, []) for name in names},
            calls=calls,
            states=self.recorder.states,
            requests=dict(kinds),
        )


def observe(what: str, seconds: float, sides: list[Side]) -> None:
    """Let time pass, and record."""
    looked = 0.0

    def look() -> None:
        nonlocal looked
        if time.monotonic() - looked < _RECORD_SECONDS:
            return
        looked = time.monotonic()
        for side in sides:
            side.gateways.processes.check()
            side.recorder.look()

    watch(what, seconds, look)
