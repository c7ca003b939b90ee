"""Hold the operator's poll decisions against those of ContextForge's own class, on one Redis.

Run with the Python of an environment that has the released ContextForge (package mcp-contextforge-gateway) in it:

    python integrations/contextforge/dev/compare_decisions.py [--plan] target/debug/mcpgateway-operator [COUNT] [SEED]

It starts a redis-server of its own, makes COUNT (default 600) random combinations of tier, stamp, type and gateway id,
asks both for each, and has each read what the other has marked. Exits with 1 on the first difference.

With --plan, most servers also have a field in a refresh plan, and the release has the plugin of this folder. That needs
an operator that reads refresh plans.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

INTERVAL = 60
HOT = "mcpgateway:server_classification:hot"
COLD = "mcpgateway:server_classification:cold"
INTERVALS = "mcpgateway:server_classification:intervals"
SOURCES = Path(__file__).resolve().parents[1] / "src"
TYPES = ("health", "tool_discovery")

# Read by the release when it is imported; it refuses its placeholders for secrets, though nothing here uses any.
os.environ |= {
    "HOT_COLD_CLASSIFICATION_ENABLED": "true",
    "GATEWAY_AUTO_REFRESH_INTERVAL": str(INTERVAL),
    "JWT_SECRET_KEY": secrets.token_hex(32),
    "AUTH_ENCRYPTION_SECRET": secrets.token_hex(32),
    "BASIC_AUTH_PASSWORD": secrets.token_hex(32),
    "PLATFORM_ADMIN_PASSWORD": secrets.token_hex(32),
    "DEFAULT_USER_PASSWORD": secrets.token_hex(32),
}


def stamps(chance: random.Random) -> str | None:
    """Make a value as it may stand in Redis: none, a time around the edges, or garbage."""
    now = time.time()
    edges = [0, INTERVAL, 3 * INTERVAL, -60]
    return chance.choice(
        [
            None,
            str(now - chance.uniform(-300, 1000)),
            str(now - chance.choice(edges) + chance.uniform(-5, 5)),
            str(int(now - chance.uniform(0, 400))),
            f" {now - chance.uniform(0, 400)}\n",
            str(now * 1000),
            chance.choice(["0", "-1", "-0.0", "nan", "inf", "-inf", "1e308", "", "soon", "0x10", "1e999", "0.001"]),
        ]
    )


def fields(chance: random.Random) -> str | None:
    """Make a value of a refresh plan: none, one that is shorter or longer than an interval, a recheck, or garbage."""
    now = int(time.time())
    seconds = chance.choice([1, INTERVAL - 1, INTERVAL, 2 * INTERVAL, 3 * INTERVAL, 480, 960, 2_592_000])
    before = chance.choice([1, now - chance.randint(0, 400), now, now + 90, 9_999_999_999])
    odd = ["", "0", "060", "+60", " 60", "60 ", "60.0", "2592001", "60,", "60,0", "60,01", "60,10000000000", "60,1,1"]
    return chance.choice([None, str(seconds), str(seconds), f"{seconds},{before}", chance.choice(odd)])


def install_plugin() -> None:
    """Have the release read refresh plans; hot servers stay the release's own, as in the operator's rule."""
    sys.path.insert(0, str(SOURCES))
    import mcpgateway.services.gateway_service  # noqa: F401, PLC0415

    from mcpgateway_usage.polling import Polling  # noqa: PLC0415
    from mcpgateway_usage.settings import load  # noqa: PLC0415

    polling = Polling(load({"hot_at_full_rate": False}, {}))
    polling.install(lambda: polling)
    if polling.planned.name != "Active":
        sys.exit(f"the plugin does not fit this release: {polling.planned.reason}")


class Operator:
    """The operator's command line."""

    def __init__(self, binary: str, redis_url: str) -> None:
        """Of this program, on this Redis."""
        self._head = [binary, "poll"]
        self._tail = ["--redis-url", redis_url, "--hot-poll-interval", f"{INTERVAL}s"]

    def due(self, url: str, kind: str, gateway: str) -> bool:
        """Ask whether to poll; 1 is no, everything else is yes."""
        code = self._call("due", url, kind, gateway)
        if code not in (0, 1):
            sys.exit(f"poll due ended with {code}")
        return code == 0

    def completed(self, url: str, kind: str, gateway: str) -> None:
        """Mark a poll."""
        if self._call("completed", url, kind, gateway) != 0:
            sys.exit("poll completed failed")

    def _call(self, what: str, url: str, kind: str, gateway: str) -> int:
        asked = ["--url", url, "--type", kind, *(["--gateway-id", gateway] if gateway else [])]
        done = subprocess.run([*self._head, what, *asked, *self._tail], check=False, stdout=subprocess.DEVNULL)
        return done.returncode


async def compare(binary: str, port: int, count: int, chance: random.Random, *, has_plan: bool) -> None:
    """Ask both about everything."""
    if has_plan:
        install_plugin()
    # Not at the top: the release reads the environment that is set there.
    from mcpgateway.services.server_classification_service import ServerClassificationService  # noqa: PLC0415
    from redis.asyncio import Redis  # noqa: PLC0415

    url = f"redis://127.0.0.1:{port}"
    redis = Redis.from_url(url, decode_responses=True)
    theirs = ServerClassificationService(redis)
    ours = Operator(binary, url)
    seen: Counter[tuple[str, bool]] = Counter()
    moved = 0
    for number in range(count):
        server = f"http://server-{number}.example:{chance.randint(1, 65535)}/mcp?n={number}&x=%20"
        kind, gateway = chance.choice(TYPES), chance.choice(["", "gw-123", f"{number:032x}"])
        tier = chance.choice([HOT, COLD, None])
        stamp = stamps(chance)
        field = fields(chance) if has_plan else None
        if tier:
            await redis.sadd(tier, server)
        if field is not None:
            await redis.hset(INTERVALS, server, field)
        key = theirs._poll_state_key(server, kind, gateway)
        if stamp is not None:
            await redis.set(key, stamp)
        # Asked before and after: time passes, and at the very edge it may matter.
        before = await theirs.should_poll_server(server, kind, gateway)
        our = ours.due(server, kind, gateway)
        after = await theirs.should_poll_server(server, kind, gateway)
        case = f"tier {tier} field {field!r} stamp {stamp!r} at {time.time()} type {kind} gateway {gateway!r}"
        if before != after:
            moved += 1
        elif our != before:
            sys.exit(f"different: the release says {before}, the operator {our}: {case}")
        seen[str(tier).rpartition(":")[2], our] += 1

        # Marks: each has to read what the other one wrote, and to keep it as long.
        await redis.delete(key)
        await theirs.mark_poll_completed(server, kind, gateway)
        due = await theirs.should_poll_server(server, kind, gateway)
        if not has_plan and due != (tier is None):
            sys.exit(f"the release does not read its own mark: {case}")
        theirs_ttl = await redis.ttl(key)
        if ours.due(server, kind, gateway) != due:
            sys.exit(f"the operator does not read the release's mark: {case}")
        await redis.delete(key)
        ours.completed(server, kind, gateway)
        ours_ttl = await redis.ttl(key)
        if await theirs.should_poll_server(server, kind, gateway) != due:
            sys.exit(f"the release does not read the operator's mark: {case}")
        # Under a plan the plugin keeps a mark for a minute longer than it must, and the operator as long as it must.
        if theirs_ttl - ours_ttl > (65 if field else 5) or (field is None and ours_ttl - theirs_ttl > 5):
            sys.exit(f"a mark is kept for {ours_ttl} s and not {theirs_ttl} s: {case}")
    await redis.aclose()
    for (tier_name, due), times in sorted(seen.items()):
        print(f"{tier_name:5} {'due' if due else 'not due':8} {times}")
    print(f"{count} combinations, no difference ({moved} moved over the edge meanwhile); marks of both read by both")


def main() -> None:
    """Start Redis, compare, end Redis."""
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plan", action="store_true", help="with a refresh plan, which the operator has to know")
    parser.add_argument("operator", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=600)
    parser.add_argument("seed", type=int, nargs="?", default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    binary, seed = str(arguments.operator.resolve()), arguments.seed
    print(f"seed {seed}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(port)
            asyncio.run(compare(binary, port, arguments.count, random.Random(seed), has_plan=arguments.plan))
        finally:
            server.terminate()
            server.wait()
            os.chdir("/")


def wait_for(port: int) -> None:
    """Wait until something listens there."""
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                sys.exit("redis-server does not start")
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    main()
