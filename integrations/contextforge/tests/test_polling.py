"""How the two are installed: without ContextForge, beside another one, and in the real classes of the release."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import secrets
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mcpgateway_usage import health_pacing, hot_polls
from mcpgateway_usage.polling import Polling
from mcpgateway_usage.settings import load

RELEASE = Path(__file__).with_name("release_polling.py")
SOURCES = Path(__file__).parents[1] / "src"


def polling(**config: Any) -> Polling:
    made = Polling(load(config, {}))
    made.install(lambda: made)
    return made


def said(made: Polling) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.encode())
    return found


def another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ContextForge whose classes have the names and nothing else."""
    for name, owner in ((hot_polls.MODULE, hot_polls.OWNER), (health_pacing.MODULE, health_pacing.OWNER)):
        module = ModuleType(name)
        module.__dict__[owner] = type(owner, (), {"__module__": name})
        module.__dict__["settings"] = SimpleNamespace(health_check_interval=60)
        monkeypatch.setitem(sys.modules, name, module)


def test_without_contextforge(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (hot_polls.MODULE, health_pacing.MODULE):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert said(polling(cold_health_interval="5m")) == {
        "hotAtFullRate": "Unsupported",
        "hotAtFullRateReason": "there is no ServerClassificationService in this process",
        "coldHealth": "Unsupported",
        "coldHealthReason": "there is no GatewayService in this process",
    }


def test_another_contextforge_is_left_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    another(monkeypatch)
    with caplog.at_level(logging.WARNING):
        found = said(polling(cold_health_interval="5m"))
    assert (found["hotAtFullRate"], found["coldHealth"]) == ("Unsupported", "Unsupported")
    assert "ServerClassificationService.should_poll_server" in found["hotAtFullRateReason"]
    assert "GatewayService._check_single_gateway_health" in found["coldHealthReason"]
    assert len(caplog.records) == 2


def test_switched_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    another(monkeypatch)
    with caplog.at_level(logging.INFO):
        found = said(polling(hot_at_full_rate=False))
    assert found == {"hotAtFullRate": "Off", "coldHealth": "Off"}
    assert caplog.records == []


def test_a_module_that_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    another(monkeypatch)

    class Broken(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("no")

    monkeypatch.setitem(sys.modules, hot_polls.MODULE, Broken(hot_polls.MODULE))
    assert said(polling())["hotAtFullRateReason"] == "RuntimeError: no"


def test_in_the_real_release(tmp_path: Path) -> None:
    """In a process of its own: the other tests are of a process without ContextForge."""
    if importlib.util.find_spec("mcpgateway") is None:
        pytest.skip("ContextForge is not installed")
    environ = {name: secrets.token_urlsafe(32) + "aA1!" for name in SECRETS}
    environ |= {"DATABASE_URL": f"sqlite:///{tmp_path}/gateway.db", "PYTHONPATH": str(SOURCES)}
    environ |= {"SSRF_ALLOW_LOCALHOST": "true", "SSRF_ALLOW_PRIVATE_NETWORKS": "true"}
    environ |= {"HOT_COLD_CLASSIFICATION_ENABLED": "true", "AUTO_REFRESH_SERVERS": "true"}
    environ |= {"GATEWAY_AUTO_REFRESH_INTERVAL": "300", "HEALTH_CHECK_INTERVAL": "60", "LOG_LEVEL": "INFO"}
    command = [sys.executable, str(RELEASE)]
    asked = subprocess.run(command, env=os.environ | environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stdout[-3000:] + asked.stderr[-3000:]


SECRETS = (
    "JWT_SECRET_KEY",
    "AUTH_ENCRYPTION_SECRET",
    "PLATFORM_ADMIN_PASSWORD",
    "DEFAULT_USER_PASSWORD",
    "BASIC_AUTH_PASSWORD",
)
