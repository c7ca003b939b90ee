"""Instances of a released ContextForge with what they need: Redis, a database, MCP servers.

In: a folder, the Pythons with the release and with fastmcp. Out: a fleet that runs, the requests to it, the record of
its upstream servers. Must not: change the release, or know the operator.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .counting import Request, read, refreshes
from .processes import Processes, free_port, listens, wait_until

_SOURCES = Path(__file__).resolve().parents[2] / "src"
_HERE = Path(__file__).resolve().parent
PROCESSES = 2
SERVERS = 10
NAMES = tuple(f"server-{number}" for number in range(SERVERS))
MODERN, OLDER = NAMES[: SERVERS // 2], NAMES[SERVERS // 2 :]
"""Those of the protocol of 2026-07-28, which has no sessions, and those of an older one."""
UPSTREAMS = ("upstream", "upstream-older")
"""The processes in which they run."""
STATEFUL, STATELESS = "server-3", "server-7"
"""The two that clients use, with a session and without one; one of either protocol."""
KEYS = "mcpgateway:server_classification"

_PLUGINS = """\
plugins:
  - name: Usage
    kind: mcpgateway_usage.plugin.UsagePlugin
    hooks: [tool_pre_invoke, prompt_post_fetch, resource_post_fetch]
    mode: audit
    on_error: ignore
    config:
      port: {port}
      token_file: {token_file}
      directory: {directory}
{more}plugin_dirs: []
"""


@dataclass(frozen=True, slots=True)
class Release:
    """An installed release of ContextForge."""

    python: str
    version: str

    @classmethod
    def installed(cls, python: str) -> Release:
        """The one that this Python imports."""
        code = "from importlib.metadata import version; print(version('mcp-contextforge-gateway'))"
        found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
        return cls(python, found.stdout.strip())

    @property
    def throttle_counts_from_end(self) -> bool:
        """Whether it counts an interval from the end of a refresh; since 1.1.0 from the beginning of the cycle."""
        return tuple(int(number) for number in self.version.split(".")[:2]) < (1, 1)


@dataclass(frozen=True, slots=True)
class Polling:
    """How often the release polls: seconds."""

    refresh: int
    """GATEWAY_AUTO_REFRESH_INTERVAL: the release allows no less than 60, and its default is 300."""
    health: int
    """HEALTH_CHECK_INTERVAL: a server is refreshed together with a health check. The default is 60."""
    cold_health: int | None = None
    """The plugin's cold_health_interval."""


@dataclass
class Fleet:
    """Everything of one fleet but the operator."""

    folder: Path
    release: Release
    fastmcp: str
    fastmcp_older: str
    polling: Polling
    instances: tuple[str, ...] = ("a", "b")
    workers: int = PROCESSES
    """Processes of each instance."""
    modern: tuple[str, ...] = MODERN
    older: tuple[str, ...] = OLDER
    """The servers of either protocol, each generation in one process."""
    settings: dict[str, str] = field(default_factory=dict)
    """More settings of the release."""
    processes: Processes = field(init=False)
    ports: dict[str, int] = field(init=False)
    usage_ports: dict[str, int] = field(init=False)
    gateways: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the name of the server, as ContextForge's API gives them."""

    def __post_init__(self) -> None:
        """Folders and secrets; nothing runs yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.processes = Processes(self.folder)
        self.redis_port = free_port()
        self.ports = {name: free_port() for name in self.instances}
        self.usage_ports = {name: free_port() for name in self.instances}
        self.usage_token = self.folder / "usage-token"
        self.usage_token.write_text(secrets.token_urlsafe(32) + "\n")
        self.token_file = self.folder / "token"
        self._secrets = {
            "JWT_SECRET_KEY": secrets.token_hex(32),
            "AUTH_ENCRYPTION_SECRET": secrets.token_hex(32),
            "PLATFORM_ADMIN_PASSWORD": secrets.token_urlsafe(16) + "aA1!",
            "DEFAULT_USER_PASSWORD": secrets.token_urlsafe(16) + "aA1!",
            "BASIC_AUTH_PASSWORD": secrets.token_urlsafe(16) + "aA1!",
        }
        self.record = self.folder / "received.jsonl"

    # --- Start ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Redis, the MCP servers, and the instances: the second when the first has made the database."""
        redis = ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", ""]
        self.processes.start("redis", redis)
        ports = {name: free_port() for name in self.modern + self.older}
        for log, python, names in (
            (UPSTREAMS[0], self.fastmcp, self.modern),
            (UPSTREAMS[1], self.fastmcp_older, self.older),
        ):
            if not names:
                continue
            servers = [f"{name}={ports[name]}" for name in names]
            self.processes.start(log, [python, str(_HERE / "upstream.py"), str(self.record), *servers])
        for instance in self.instances:
            self.start_instance(instance)
            self._wait(f"instance {instance} answers", lambda i=instance: self.ask("GET", "/health", instance=i))
        self._make_token()
        for name, port in ports.items():
            self._wait(f"{name} listens", lambda p=port: listens(p))
            body = {"name": name, "url": f"http://127.0.0.1:{port}/mcp", "transport": "STREAMABLEHTTP"}
            self.ask("POST", "/gateways", body)
        self.gateways = {gateway["name"]: gateway for gateway in self.ask("GET", "/gateways?limit=0")}
        for instance in self.instances:
            self._wait(f"all processes of instance {instance} report", lambda i=instance: self._all_report(i))

    def start_instance(self, name: str) -> None:
        """One instance, without waiting for it."""
        plugins = self.folder / f"plugins-{name}.yaml"
        directory = self.folder / f"pod-{name}"
        paced = self.polling.cold_health
        more = "" if paced is None else f"      cold_health_interval: {paced}s\n"
        port = self.usage_ports[name]
        plugins.write_text(_PLUGINS.format(port=port, token_file=self.usage_token, directory=directory, more=more))
        command = [self.release.python, "-m", "gunicorn", "mcpgateway.main:app", "-k", "uvicorn.workers.UvicornWorker"]
        command += ["--preload", "--bind", f"127.0.0.1:{self.ports[name]}", "--timeout", "600"]
        command += ["--workers", str(self.workers), "--graceful-timeout", "10"]
        self.processes.start(f"gateway-{name}", command, {**self._environ(), "PLUGINS_CONFIG_FILE": str(plugins)})

    def _environ(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(_SOURCES),
            "DATABASE_URL": f"sqlite:///{self.folder}/gateway.db",
            "CACHE_TYPE": "redis",
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "PLATFORM_ADMIN_EMAIL": "admin@example.com",
            **self._secrets,
            "SSRF_ALLOW_LOCALHOST": "true",
            "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
            "HOT_COLD_CLASSIFICATION_ENABLED": "true",
            "AUTO_REFRESH_SERVERS": "true",
            "GATEWAY_AUTO_REFRESH_INTERVAL": str(self.polling.refresh),
            "HEALTH_CHECK_INTERVAL": str(self.polling.health),
            "USE_STATEFUL_SESSIONS": "true",
            "MCPGATEWAY_SESSION_AFFINITY_ENABLED": "true",
            "MCPGATEWAY_UI_ENABLED": "false",
            "MCPGATEWAY_ADMIN_API_ENABLED": "false",
            "OBSERVABILITY_ENABLED": "false",
            "LOG_LEVEL": "WARNING",
            "PLUGINS_ENABLED": "true",
            **self.settings,
        }

    def _make_token(self) -> None:
        """A token of the administrator, made with the release's own tool."""
        command = [self.release.python, "-m", "mcpgateway.utils.create_jwt_token", "--username", "admin@example.com"]
        command += ["--exp", "600", "--secret", self._secrets["JWT_SECRET_KEY"], "--admin"]
        environ = {**os.environ, **self._environ(), "PLUGINS_ENABLED": "false"}
        made = subprocess.run(command, env=environ, cwd=self.folder, check=True, capture_output=True, text=True)
        self.token_file.write_text(made.stdout.split()[-1] + "\n")

    def start_clients(self, every: float) -> None:
        """The traffic: both clients, each at an instance of its own if there are two."""
        tools = {}
        for server in (STATEFUL, STATELESS):
            tools[server] = self._wait(f"the tools of {server}", lambda s=server: self.tools("greet").get(s))
        command = [self.release.python, "-m", "fleet.clients", str(self.token_file), str(every)]
        command += [f"http://127.0.0.1:{self.ports[self.instances[0]]}/mcp/", tools[STATEFUL]]
        command += [f"http://127.0.0.1:{self.ports[self.instances[-1]]}/rpc", tools[STATELESS]]
        self.processes.start("clients", command, {"PYTHONPATH": str(_HERE.parent)})
        for kind in ("stateful", "stateless"):
            self._wait(f"a call of the {kind} client", lambda k=kind: self.calls(k)[0] > 0)

    def tools(self, name: str) -> dict[str, str]:
        """The names under which ContextForge offers a tool of that name, by server."""
        servers = {gateway["id"]: server for server, gateway in self.gateways.items()}
        offered = self.ask("GET", "/tools?limit=0")
        return {
            servers[t["gatewayId"]]: t["name"] for t in offered if t.get("gatewayId") in servers and name in t["name"]
        }

    # --- Questions -----------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, *, instance: str = "a") -> Any:
        """A request to an instance's REST API.

        Raises:
            OSError: it did not answer, or not with 2xx.
        """
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[instance]}{path}", method=method)
        if self.token_file.exists():
            request.add_header("Authorization", f"Bearer {self.token_file.read_text().strip()}")
        data = None
        if body is not None:
            request.add_header("Content-Type", "application/json")
            data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=120) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise OSError(f"{method} {path}: {error.code} {error.read()[:300]!r}") from error

    def usage_url(self, instance: str) -> str:
        """Where an instance's usage is reported."""
        return f"http://127.0.0.1:{self.usage_ports[instance]}/mcpgateway/usage"

    def report(self, instance: str) -> dict[str, Any]:
        """The usage report of an instance."""
        request = urllib.request.Request(self.usage_url(instance))
        request.add_header("Authorization", f"Bearer {self.usage_token.read_text().strip()}")
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.loads(response.read())
            return answer

    def _all_report(self, instance: str) -> bool:
        report = self.report(instance)
        return (len(report["workers"]), int(report["expectedWorkers"])) == (self.workers, self.workers)

    def calls(self, kind: str) -> tuple[int, int]:
        """How many calls of one of the clients were answered, and how many failed."""
        lines = self.processes.log("clients").read_text().splitlines()
        mine = [line for line in lines if line.startswith(f"{kind} ")]
        good = sum(line == f"{kind} ok" for line in mine)
        return good, len(mine) - good

    def redis(self, *command: str) -> str:
        """What Redis answers."""
        tool = shutil.which("redis-cli") or "redis-cli"
        asked = [tool, "-p", str(self.redis_port), "--raw", *command]
        return subprocess.run(asked, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def key(self, name: str, command: str = "GET") -> str:
        """One of the keys of the contract."""
        return self.redis(command, f"{KEYS}:{name}")

    def plant(self, name: str, member: str) -> None:
        """Plant a member in one of the sets, and a timestamp, as another classifier would."""
        self.redis("SADD", f"{KEYS}:{name}", member)
        self.redis("SET", f"{KEYS}:timestamp", "1.0")

    def keys(self) -> list[str]:
        """Which parts of a publication are there."""
        names = ("hot", "cold", "metadata", "timestamp")
        return [name for name in names if self.redis("EXISTS", f"{KEYS}:{name}") == "1"]

    def members(self, name: str) -> list[str]:
        """A set, sorted."""
        return sorted(self.key(name, "SMEMBERS").split())

    def requests(self) -> list[Request]:
        """What the upstream servers have received."""
        return read(self.record)

    def refreshes(self) -> dict[str, list[float]]:
        """When each server's tools were refreshed; all servers are in it."""
        found = refreshes(self.requests())
        return {name: found.get(name, []) for name in self.gateways}

    def unreachable(self) -> list[str]:
        """The servers that the release has found to be dead, as its database has it."""
        with sqlite3.connect(f"file:{self.folder}/gateway.db?mode=ro", uri=True, timeout=60) as database:
            return [name for (name,) in database.execute("SELECT name FROM gateways WHERE NOT reachable")]

    def _wait(self, what: str, look: Any) -> Any:
        def alive() -> Any:
            self.processes.check()
            return look()

        return wait_until(what, alive)
