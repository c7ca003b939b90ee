from __future__ import annotations

import importlib.util
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mcpgateway_usage.counts import Sessions
from mcpgateway_usage.sessions import Look

MODULE = "mcpgateway.services.upstream_session_registry"


@dataclass
class Lock:
    is_held: bool = False

    def locked(self) -> bool:
        return self.is_held


@dataclass
class Session:
    """What of ContextForge's UpstreamSession is looked at."""

    gateway_id: str = "a"
    url: str = "https://a.example/mcp?x=hunter2"
    last_used: float = 10.0
    is_closed: bool = False
    operation_lock: Lock = field(default_factory=Lock)


def look(monkeypatch: pytest.MonkeyPatch, registry: Any) -> dict[str, Sessions]:
    module = ModuleType(MODULE)
    module.__dict__["_registry"] = registry
    monkeypatch.setitem(sys.modules, MODULE, module)
    return Look().sessions()


def test_without_contextforge_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    assert Look().sessions() == {}


def test_grouped_by_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [
        Session(last_used=10.0),
        Session(last_used=30.0, operation_lock=Lock(is_held=True)),
        Session(last_used=20.0),
        Session(last_used=99.0, is_closed=True),
        Session(gateway_id="b", url="nonsense"),
    ]
    assert look(monkeypatch, SimpleNamespace(_sessions=dict(enumerate(sessions)))) == {
        "a": Sessions(active=1, idle=2, last_used=30.0, url="https://a.example/mcp"),
        "b": Sessions(active=0, idle=1, last_used=10.0, url=None),
    }


@pytest.mark.parametrize("registry", [None, SimpleNamespace(), SimpleNamespace(_sessions={1: object()}), 7])
def test_another_contextforge_counts_as_none(monkeypatch: pytest.MonkeyPatch, registry: Any) -> None:
    assert look(monkeypatch, registry) == {}


RELEASE = """
from mcpgateway import db
from mcpgateway.services import upstream_session_registry as registry
assert registry._registry is None
assert registry.UpstreamSessionRegistry()._sessions == {}
fields = registry.UpstreamSession.__dataclass_fields__
assert {"gateway_id", "url", "last_used", "operation_lock"} <= fields.keys()
assert isinstance(registry.UpstreamSession.is_closed, property)
for column in (db.Prompt.id, db.Prompt.name, db.Resource.id, db.Resource.uri, db.Gateway.id, db.Gateway.url):
    column.in_(["x"])
for model in (db.Prompt, db.Resource):
    model.gateway_id.is_not(None)
db.SessionLocal
"""


def test_the_release_has_what_is_looked_at(tmp_path: Path) -> None:
    """Fails where what the adapter looks into has changed; the adapter itself goes on without it."""
    if importlib.util.find_spec("mcpgateway") is None:
        pytest.skip("ContextForge is not installed")
    # It does not start with its own defaults of these.
    names = ("JWT_SECRET_KEY", "AUTH_ENCRYPTION_SECRET", "PLATFORM_ADMIN_PASSWORD", "BASIC_AUTH_PASSWORD")
    environ = {name: secrets.token_hex(32) for name in (*names, "DEFAULT_USER_PASSWORD")}
    environ["DATABASE_URL"] = f"sqlite:///{tmp_path}/gateway.db"
    # In a process of its own: the other tests are of a process without ContextForge.
    command = [sys.executable, "-c", RELEASE]
    asked = subprocess.run(command, env=os.environ | environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr
