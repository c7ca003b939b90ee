"""What of ContextForge the plugin replaces: two modules whose classes have the release's shape."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

from mcpgateway_usage import health_pacing, hot_polls

_TIERS = """
class Redis:
    async def sismember(self, key, url):
        return key in url

    async def get(self, key):
        return None

    async def set(self, key, value, ex):
        pass

class ServerClassificationService:
    CLASSIFICATION_HOT_KEY, CLASSIFICATION_COLD_KEY = "hot", "cold"
    POLL_STATE_KEY_TEMPLATE = "{}"

    def __init__(self):
        self._redis = Redis()

    async def get_server_classification(self, url):
        for key in (self.CLASSIFICATION_HOT_KEY, self.CLASSIFICATION_COLD_KEY):
            if await self._redis.sismember(key, url):
                return key

    def _poll_state_key(self, url, poll_type, gateway_id=""):
        return self.POLL_STATE_KEY_TEMPLATE.format(hashlib.sha256(url.encode()).hexdigest())

    async def should_poll_server(self, url, poll_type, gateway_id=""):
        if not settings.hot_cold_classification_enabled:
            return True
        classification = await self.get_server_classification(url)
        await self._redis.get(self._poll_state_key(url, poll_type, gateway_id))
        time.time()
        settings.hot_server_check_interval if classification == "hot" else settings.cold_server_check_interval
        return False

    async def mark_poll_completed(self, url, poll_type, gateway_id=""):
        is_hot = await self.get_server_classification(url) == "hot"
        interval = settings.hot_server_check_interval if is_hot else settings.cold_server_check_interval
        await self._redis.set(self._poll_state_key(url, poll_type, gateway_id), time.time(), ex=int(2 * interval))
"""
_GATEWAYS = """
class GatewayService:
    def __init__(self, tiers):
        self._classification_service = tiers
        self._gateway_failure_counts = {}

    async def _check_single_gateway_health(self, gateway, user_email=None):
        if gateway.enabled and gateway.reachable and settings.auto_refresh_servers:
            self._gateway_failure_counts[gateway.id] = 0
            await self._mark_gateway_reachable(gateway)
            await self._classification_service.should_poll_server(gateway.url, "tool_discovery")
            gateway.last_refresh_at, gateway.refresh_interval_seconds

    async def _mark_gateway_reachable(self, gateway):
        gateway.last_seen = now()
"""


def plant() -> None:
    """As if ContextForge were loaded."""
    settings = SimpleNamespace(
        auto_refresh_servers=True,
        hot_cold_classification_enabled=True,
        gateway_auto_refresh_interval=300,
        gateway_health_check_timeout=30.0,
        health_check_interval=60,
        hot_server_check_interval=300.0,
        cold_server_check_interval=900.0,
    )
    for name, source in ((hot_polls.MODULE, _TIERS), (health_pacing.MODULE, _GATEWAYS)):
        module = ModuleType(name)
        module.__dict__.update(settings=settings, now=lambda: datetime.now(UTC), time=time, hashlib=hashlib)
        exec(source, module.__dict__)
        sys.modules[name] = module


class Scene:
    """A service of it, with a cold gateway and a hot URL."""

    def __init__(self) -> None:
        self.tiers: Any = vars(sys.modules[hot_polls.MODULE])[hot_polls.OWNER]()
        self.service: Any = vars(sys.modules[health_pacing.MODULE])[health_pacing.OWNER](self.tiers)
        self.gateway: Any = SimpleNamespace(
            id="g",
            url="http://cold.example/mcp",
            enabled=True,
            reachable=True,
            last_seen=None,
            last_refresh_at=None,
            refresh_interval_seconds=None,
        )

    def check(self) -> None:
        """One health check of the cold gateway."""
        asyncio.run(self.service._check_single_gateway_health(self.gateway, "admin@example.com"))

    def is_due(self, url: str) -> bool:
        """Whether it is, by the tiers."""
        due: bool = asyncio.run(self.tiers.should_poll_server(url, "tool_discovery"))
        return due
