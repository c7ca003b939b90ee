"""How the two are installed: without ContextForge, beside another one, and in the real classes of the release."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conftest import run_in_release

from mcpgateway_usage import health_pacing, hot_polls
from mcpgateway_usage.polling import Polling
from mcpgateway_usage.settings import load

RELEASE = Path(__file__).with_name("release_polling.py")


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
        "refreshPlan": "Unsupported",
        "refreshPlanReason": "there is no ServerClassificationService in this process",
        "coldHealth": "Unsupported",
        "coldHealthReason": "there is no GatewayService in this process",
    }


def test_another_contextforge_is_left_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    another(monkeypatch)
    with caplog.at_level(logging.WARNING):
        found = said(polling(cold_health_interval="5m"))
    assert {found[name] for name in ("hotAtFullRate", "refreshPlan", "coldHealth")} == {"Unsupported"}
    assert "ServerClassificationService.should_poll_server" in found["hotAtFullRateReason"]
    assert "ServerClassificationService.should_poll_server" in found["refreshPlanReason"]
    assert "GatewayService._check_single_gateway_health" in found["coldHealthReason"]
    assert len(caplog.records) == 3


def test_switched_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    another(monkeypatch)
    with caplog.at_level(logging.INFO):
        found = said(polling(hot_at_full_rate=False, refresh_plan=False))
    assert found == {"hotAtFullRate": "Off", "refreshPlan": "Off", "coldHealth": "Off"}
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
    run_in_release(RELEASE, tmp_path)
