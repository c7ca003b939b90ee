"""Hold the operator's poll decisions against those of ContextForge's own class, on one Redis.

Run with the Python of an environment that has the released ContextForge (package mcp-contextforge-gateway) in it:

    python integrations/contextforge/dev/compare_decisions.py [--plan] target/debug/mcpgateway-operator [COUNT] [SEED]

It starts a redis-server of its own, and an operator that serves the HTTP API, without a cluster. It makes COUNT
(default 600) random states of Redis for a server: tier, stamp, type of poll, gateway id. For each it asks the release,
the operator's command line and its API, and compares their answers with the rule as tests/plan_reference.py words it.
It also has each read what the other has marked. Exits with 1 on the first difference.

With --plan, the states have a refresh plan, and the release has the plugin of this folder. Where the plan does not
decide, the release's own method is asked too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "src"), str(ROOT / "tests")]
from plan_reference import COLD_INTERVAL, HOT_INTERVAL, KEYS, State, by_tiers, due, obeys, put, some_state  # noqa: E402
from servers import free_port, wait_for  # noqa: E402

POLL_TYPES = ("health", "tool_discovery", "tool_discovery", "tool_discovery")
ATTEMPTS = 3
"""On a busy machine a reader may time out, and then answers that a poll is due."""
KUBECONFIG = """
{apiVersion: v1, kind: Config, current-context: none, contexts: [{name: none, context: {cluster: none, user: none}}],
 clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}], users: [{name: none, user: {}}]}
"""
"""Nobody listens there."""

# Read by the release when it is imported; it refuses its placeholders for secrets, though nothing here uses any.
os.environ |= {
    "HOT_COLD_CLASSIFICATION_ENABLED": "true",
    "GATEWAY_AUTO_REFRESH_INTERVAL": str(HOT_INTERVAL),
    "JWT_SECRET_KEY": secrets.token_hex(32),
    "AUTH_ENCRYPTION_SECRET": secrets.token_hex(32),
    "BASIC_AUTH_PASSWORD": secrets.token_hex(32),
    "PLATFORM_ADMIN_PASSWORD": secrets.token_hex(32),
    "DEFAULT_USER_PASSWORD": secrets.token_hex(32),
}


def install_plugin() -> None:
    """Have the release read refresh plans; hot servers stay the release's own, as in the operator's rule."""
    import mcpgateway.services.gateway_service  # noqa: F401, PLC0415

    from mcpgateway_usage.polling import Polling  # noqa: PLC0415
    from mcpgateway_usage.settings import load  # noqa: PLC0415

    polling = Polling(load({"hot_at_full_rate": False}, {}))
    polling.install(lambda: polling)
    if polling.planned.name != "Active":
        sys.exit(f"the plugin does not fit this release: {polling.planned.reason}")


class Operator:
    """The operator's command line and its HTTP API."""

    def __init__(self, binary: str, redis_url: str, port: int) -> None:
        """Of this program, on this Redis; the API is served at the port."""
        settings = ["--redis-url", redis_url, "--hot-poll-interval", f"{HOT_INTERVAL}s"]
        self._head, self._tail = [binary, "poll"], settings
        self._port = port
        Path("kubeconfig").write_text(KUBECONFIG)
        command = [binary, "run", *settings, "--api-bind-address", f"127.0.0.1:{port}", "--redis-owner-id", "compare"]
        command += ["--worker-endpoint", "http://127.0.0.1:1"]
        command += ["--metrics-bind-address", "0", "--health-probe-bind-address", "0"]
        environ = {**os.environ, "KUBECONFIG": str(Path("kubeconfig").resolve())}
        self.process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def due(self, url: str, kind: str, gateway: str) -> bool:
        """Ask the command line whether to poll; 1 is no, everything else is yes."""
        code = self._call("due", url, kind, gateway)
        if code not in (0, 1):
            sys.exit(f"poll due ended with {code}")
        return code == 0

    async def due_over_http(self, url: str, kind: str, gateway: str) -> bool:
        """Ask the API."""
        asked = {"url": url, "type": kind, **({"gatewayId": gateway} if gateway else {})}
        address = f"http://127.0.0.1:{self._port}/v1/polls/due?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(address, timeout=10) as response:
            return json.load(response)["due"] is not False

    def completed(self, url: str, kind: str, gateway: str) -> None:
        """Mark a poll."""
        if not any(self._call("completed", url, kind, gateway) == 0 for _ in range(ATTEMPTS)):
            sys.exit("poll completed failed")

    def _call(self, what: str, url: str, kind: str, gateway: str) -> int:
        asked = ["--url", url, "--type", kind, *(["--gateway-id", gateway] if gateway else [])]
        command = [*self._head, what, *asked, *self._tail]
        return subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


Reader = Callable[[str, str, str], Awaitable[bool]]


def rule(state: State, kind: str) -> bool:
    """What the contract says, now."""
    now = replace(state, now=time.time())
    return due(now) if kind == "tool_discovery" else by_tiers(now)


async def agreed(state: State, poll: tuple[str, str, str], readers: dict[str, Reader]) -> bool | None:
    """What all of them answer; None if time has moved the state over an edge meanwhile."""
    for _ in range(ATTEMPTS):
        wanted = rule(state, poll[1])
        found = {name: await reader(*poll) for name, reader in readers.items()}
        if rule(state, poll[1]) != wanted:
            return None
        if set(found.values()) == {wanted}:
            return wanted
    sys.exit(f"different: {found}, by the contract {wanted}: {state} {poll} at {time.time()}")


async def compare(operator: Operator, redis_url: str, count: int, chance: random.Random, *, has_plan: bool) -> None:
    """Compare all answers for all states."""
    if has_plan:
        install_plugin()
    # Not at the top: the release reads the environment that is set there.
    from mcpgateway.services.server_classification_service import ServerClassificationService  # noqa: PLC0415
    from redis.asyncio import Redis  # noqa: PLC0415

    from mcpgateway_usage import wrapping  # noqa: PLC0415

    redis = Redis.from_url(redis_url, decode_responses=True)
    theirs = ServerClassificationService(redis)
    own = wrapping.original(ServerClassificationService.should_poll_server)
    everyone: dict[str, Reader] = {
        "release": theirs.should_poll_server,
        "command line": operator.due,
        "HTTP": operator.due_over_http,
    }
    seen: Counter[tuple[str, str, bool | None]] = Counter()
    for number in range(count):
        url = f"http://server-{number}.example:{chance.randint(1, 65535)}/mcp?n={number}&x=%20"
        kind, gateway = chance.choice(POLL_TYPES), chance.choice(["", "gw-123", f"{number:032x}"])
        poll = (url, kind, gateway)
        state = some_state(chance, time.time())
        if not has_plan:
            state = replace(state, field=None, wrong_type="stamp" if state.wrong_type == "stamp" else None)
        key = theirs._poll_state_key(url, kind, gateway)
        await redis.delete(f"{KEYS}:intervals")
        await put(redis, state, url, key, 2 * COLD_INTERVAL)
        by_plan = obeys(state) and kind == "tool_discovery"
        readers = dict(everyone)
        if not by_plan:
            readers["the release's own method"] = lambda *poll: own(theirs, *poll)
        answer = await agreed(state, poll, readers)
        seen["plan" if by_plan else kind, str(state.tier), answer] += 1

        # Marks: each has to read what the other one wrote, and to keep it as long.
        ttls = []
        for mark in (theirs.mark_poll_completed, operator.completed):
            await redis.delete(key)
            done: Any = mark(*poll)
            if done is not None:
                await done
            ttls.append(await redis.ttl(key))
            stamp = await redis.get(key)
            kept = replace(state, stamp=stamp, wrong_type="plan" if state.wrong_type == "plan" else None)
            # The command line has the decision of HTTP, and takes a process for each.
            await agreed(kept, poll, {name: ask for name, ask in everyone.items() if name != "command line"})
        # The plugin keeps a mark for up to a minute longer than it must, and the operator as long as it must.
        if not -5 <= ttls[0] - ttls[1] <= (65 if has_plan else 5):
            sys.exit(f"a mark is kept for {ttls[1]} s and not {ttls[0]} s: {state} {poll}")
    await redis.aclose()
    for (decided_by, tier, answer), times in sorted(seen.items(), key=str):
        said = {None: "moved over an edge meanwhile", True: "due", False: "not due"}[answer]
        print(f"{decided_by:15} {tier:5} {said:8} {times}")
    print(f"{count} states, no difference; marks of both read by both")


def main() -> None:
    """Start Redis, compare, end Redis."""
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plan", action="store_true", help="with a refresh plan")
    parser.add_argument("operator", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=600)
    parser.add_argument("seed", type=int, nargs="?", default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    binary, seed = str(arguments.operator.resolve()), arguments.seed
    print(f"seed {seed}")
    port, api_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        redis_url = f"redis://127.0.0.1:{port}"
        operator = Operator(binary, redis_url, api_port)
        try:
            wait_for(port)
            wait_for(api_port)
            chance = random.Random(seed)
            asyncio.run(compare(operator, redis_url, arguments.count, chance, has_plan=arguments.plan))
        finally:
            for process in (operator.process, server):
                process.terminate()
                process.wait()
            os.chdir("/")


if __name__ == "__main__":
    main()
