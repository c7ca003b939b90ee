"""Hold the operator's poll decisions against those of ContextForge's own class, on one Redis.

Run with the Python of an environment that has the released ContextForge (package mcp-contextforge-gateway) in it:

    python integrations/contextforge/dev/compare_decisions.py target/debug/mcpgateway-operator [COUNT] [SEED]

It starts a redis-server of its own, makes COUNT (default 600) random combinations of tier, stamp, type and gateway id,
asks both for each, and has each read what the other has marked. Exits with 1 on the first difference.
"""

from __future__ import annotations

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


async def compare(binary: str, port: int, count: int, chance: random.Random) -> None:
    """Ask both about everything."""
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
        if tier:
            await redis.sadd(tier, server)
        key = theirs._poll_state_key(server, kind, gateway)
        if stamp is not None:
            await redis.set(key, stamp)
        # Asked before and after: time passes, and at the very edge it may matter.
        before = await theirs.should_poll_server(server, kind, gateway)
        our = ours.due(server, kind, gateway)
        after = await theirs.should_poll_server(server, kind, gateway)
        case = f"tier {tier} stamp {stamp!r} at {time.time()} type {kind} gateway {gateway!r}"
        if before != after:
            moved += 1
        elif our != before:
            sys.exit(f"different: the release says {before}, the operator {our}: {case}")
        seen[str(tier).rpartition(":")[2], our] += 1

        # Marks: each has to read what the other one wrote, and to keep it as long.
        await redis.delete(key)
        await theirs.mark_poll_completed(server, kind, gateway)
        theirs_ttl = await redis.ttl(key)
        if ours.due(server, kind, gateway) != (tier is None):
            sys.exit(f"the operator does not read the release's mark: {case}")
        await redis.delete(key)
        ours.completed(server, kind, gateway)
        ours_ttl = await redis.ttl(key)
        if await theirs.should_poll_server(server, kind, gateway) != (tier is None):
            sys.exit(f"the release does not read the operator's mark: {case}")
        if abs(theirs_ttl - ours_ttl) > 5:
            sys.exit(f"a mark is kept for {ours_ttl} s and not {theirs_ttl} s: {case}")
    await redis.aclose()
    for (tier_name, due), times in sorted(seen.items()):
        print(f"{tier_name:5} {'due' if due else 'not due':8} {times}")
    print(f"{count} combinations, no difference ({moved} moved over the edge meanwhile); marks of both read by both")


def main() -> None:
    """Start Redis, compare, end Redis."""
    logging.disable(logging.CRITICAL)
    binary = str(Path(sys.argv[1]).resolve())
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
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
            asyncio.run(compare(binary, port, count, random.Random(seed)))
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
