"""The real classes of the release with both methods replaced: run by test_polling.py in a process of its own.

Its database is real, its Redis is a dict, its servers are one HTTP server on loopback that counts. Exits with 0 if all
is as it should be.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from mcpgateway import db
from mcpgateway.services.gateway_service import GatewayService
from mcpgateway.services.server_classification_service import ServerClassificationService

from mcpgateway_usage.polling import Polling
from mcpgateway_usage.settings import load

TIERS = {"hot": "hot", "cold": "cold", "plain": None, "own": "cold"}


class Redis:
    """Two sets and some stamps."""

    def __init__(self) -> None:
        self.tiers: dict[str, str] = {}
        self.stamps: dict[str, str] = {}
        self.is_down = False

    def _check(self) -> None:
        if self.is_down:
            raise ConnectionError("down")

    async def sismember(self, key: str, url: str) -> bool:
        self._check()
        return self.tiers.get(url) == key.rpartition(":")[2]

    async def get(self, key: str) -> str | None:
        self._check()
        return self.stamps.get(key)


class Servers(BaseHTTPRequestHandler):
    """Answers a health check, unless it is told not to."""

    requests: ClassVar[Counter[str]] = Counter()
    broken: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.requests[name] += 1
        self.send_response(500 if name in self.broken else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Scene:
    """The release's service, its gateways, and rounds of its health checks."""

    def __init__(self, base: str) -> None:
        db.Base.metadata.create_all(db.engine)
        self.redis = Redis()
        self.service = GatewayService()
        self.tiers = ServerClassificationService(redis_client=self.redis)
        self.service._classification_service = self.tiers
        now = datetime.now(UTC)
        self.urls = {name: f"{base}/{name}" for name in TIERS}
        with db.SessionLocal() as session:
            for name, url in self.urls.items():
                gateway = db.Gateway(id=name, name=name, slug=name, url=url, transport="SSE", capabilities={})
                gateway.last_refresh_at, gateway.visibility = now, "public"
                gateway.refresh_interval_seconds = 300 if name == "own" else None
                session.add(gateway)
            session.commit()
        self.redis.tiers = {self.urls[name]: tier for name, tier in TIERS.items() if tier}
        self.stamp(0.0)

    def stamp(self, age: float) -> None:
        """Every server was polled so long ago."""
        for name, url in self.urls.items():
            key = self.tiers._poll_state_key(url, "tool_discovery", name)
            self.redis.stamps[key] = str(time.time() - age)

    async def change(self, name: str, **values: Any) -> None:
        with db.SessionLocal() as session:
            for key, value in values.items():
                setattr(session.get(db.Gateway, name), key, value)
            session.commit()

    async def round(self) -> list[str]:
        """One cycle of the release: who was asked."""
        before = Servers.requests.copy()
        await self.service.check_health_of_gateways(self.service._get_gateways(), "admin@example.com")
        return sorted((Servers.requests - before).elements())

    async def due(self, name: str) -> Any:
        return await self.tiers.should_poll_server(self.urls[name], "tool_discovery", gateway_id=name)


def same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise SystemExit(f"{what}: {found}, expected {wanted}")


async def play(scene: Scene, polling: Polling) -> None:
    everybody = sorted(TIERS)
    but_cold = [name for name in everybody if name != "cold"]
    # A hot server that was polled a moment ago is due; the others are as the release says.
    same("due", [await scene.due(name) for name in TIERS], [True, False, True, False])
    scene.stamp(301.0)
    same("due after one interval", [await scene.due(name) for name in TIERS], [True, False, True, False])
    scene.stamp(901.0)
    same("due after three", [await scene.due(name) for name in TIERS], [True] * 4)
    scene.stamp(0.0)

    same("the first round", await scene.round(), everybody)
    same("the second", await scene.round(), but_cold)
    same("the third", await scene.round(), but_cold)
    pacing = polling.pacing
    assert pacing is not None
    same("counted", (pacing.run, pacing.skipped), (10, 2))

    scene.redis.is_down = True
    same("Redis is down", await scene.round(), everybody)
    scene.redis.is_down = False
    same("and back", await scene.round(), but_cold)

    # A refresh is due by both rules; by one of them it is not.
    scene.stamp(901.0)
    same("due by the tiers alone", await scene.round(), but_cold)
    await scene.change("cold", last_refresh_at=datetime.now(UTC) - timedelta(seconds=301))
    assert "cold" in await scene.round()
    scene.stamp(0.0)
    same("due by the throttle alone", await scene.round(), but_cold)
    await scene.change("cold", last_refresh_at=datetime.now(UTC))

    # It fails when its time has come: then it is checked until the release gives it up, and after that.
    Servers.broken.add("cold")
    pacing._checked.clear()
    for failures in (1, 2):
        same("a failing one", await scene.round(), everybody)
        same("failures", scene.service._gateway_failure_counts["cold"], failures)
    Servers.broken.clear()
    same("it is well again", await scene.round(), everybody)
    same("no failures", scene.service._gateway_failure_counts["cold"], 0)
    same("then it is skipped", await scene.round(), but_cold)
    await scene.change("cold", reachable=False)
    assert "cold" in await scene.round()

    # A child of a fork, or a plugin that is loaded again, has its own.
    skipped = pacing.skipped
    again = Polling(load({"hot_at_full_rate": False}, {}))
    Current.polling = again
    again.install(lambda: Current.polling)
    same("hot, switched off", await scene.due("hot"), False)
    await scene.change("cold", enabled=True, reachable=True)
    for _ in range(2):
        assert "cold" in await scene.round()
    same("nothing more is counted", pacing.skipped, skipped)


class Current:
    """The polling of this process."""

    polling: Polling


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Servers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scene = Scene(f"http://127.0.0.1:{server.server_port}")
    polling = Polling(load({"cold_health_interval": "5m"}, {}))
    Current.polling = polling
    # Twice: one wrapper.
    for _ in range(2):
        polling.install(lambda: Current.polling)
    same("states", (polling.hot.name, polling.cold.name), ("Active", "Active"))
    asyncio.run(play(scene, polling))
    os._exit(0)


if __name__ == "__main__":
    main()
