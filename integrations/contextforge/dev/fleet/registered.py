"""A ContextForge, MCP servers, a cluster and operators that register the servers of objects.

In: the programs. Out: everything runs; objects, entries, conditions, requests. Must not: judge.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contextforge import Fleet, Polling, Release
from .mcp_session import failed, mcp_session
from .operators import Cluster, Operators
from .processes import free_port, wait_until
from .relay import Relay

PERMISSIONS = ("gateways.read", "gateways.create", "gateways.update", "gateways.delete")
ACCOUNT = "operator@example.com"
NAMESPACE = "servers"
_HERE = Path(__file__).resolve().parent
_COLUMNS = ("id", "name", "slug", "url", "description", "enabled", "reachable", "version", "owner_email")


@dataclass(frozen=True, slots=True)
class Programs:
    """What is run."""

    release: Release
    fastmcp: str
    operator: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A gateway of ContextForge, as its database has it."""

    id: str
    name: str
    slug: str
    url: str
    description: str | None
    enabled: bool
    reachable: bool
    version: int
    owner_email: str | None
    user_agent: str


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition Registered of an object, of its newest generation."""

    status: str
    reason: str
    message: str


class Stage:
    """All processes of a play."""

    def __init__(
        self,
        folder: Path,
        programs: Programs,
        *,
        resync: int = 5,
        health: int = 5,
        flags: tuple[str, ...] = (),
    ) -> None:
        """Nothing runs yet. ``flags``: more flags of the operator. ``resync``, ``health``: seconds."""
        self.resync = resync
        self.gateways = Fleet(
            folder,
            programs.release,
            programs.fastmcp,
            programs.fastmcp,
            Polling(refresh=60, health=health),
            instances=("a",),
            workers=1,
            modern=(),
            older=(),
            settings={
                "INSECURE_ALLOW_QUERYPARAM_AUTH": "true",
                # It has the transfer of entries.
                "MCPGATEWAY_ADMIN_API_ENABLED": "true",
                "PASSWORD_CHANGE_ENFORCEMENT_ENABLED": "false",
                "ADMIN_REQUIRE_PASSWORD_CHANGE_ON_BOOTSTRAP": "false",
            },
        )
        self.folder, self.processes = self.gateways.folder, self.gateways.processes
        self.cluster = Cluster(folder, programs.operator)
        self.token_file = folder / "operator-token"
        self._relay_port, self._upstream_port = free_port(), free_port()
        registration = [f"--contextforge-url=http://127.0.0.1:{self._relay_port}"]
        registration += [f"--contextforge-token-file={self.token_file}", f"--contextforge-resync={resync}s"]
        registration += ["--contextforge-owner-id=e2e", "--classification-interval=5s", "--status-usage-interval=5s"]
        self.operators = Operators(self.gateways, self.cluster, programs.operator, NAMESPACE, [*registration, *flags])
        self._fastmcp = programs.fastmcp
        self.relay: Relay

    # --- Start and end -------------------------------------------------------------------------------------------

    def start(self, *namespaces: str) -> None:
        """Everything but the operators."""
        self.gateways.start()
        self.processes.start("upstream", [self._fastmcp, str(_HERE / "many_upstreams.py"), str(self._upstream_port)])
        wait_until("the MCP servers are up", lambda: self.set_server("probe"))
        self.token_file.write_text(self._make_account() + "\n")
        self.relay = Relay(self._relay_port, self.gateways.ports["a"])
        self.cluster.start()
        self.apply(
            *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in (NAMESPACE, *namespaces))
        )

    def _make_account(self) -> str:
        """The service account with the four permissions; its token."""
        # Neither sequences nor repetitions of characters, which releases refuse.
        word = "aA1!" + "".join(secrets.SystemRandom().sample("bdfhjlnprtvxzBDFHJLNPRTVXZ", 20))
        ask = self.gateways.ask
        user = {"email": ACCOUNT, "password": word, "full_name": "mcpgateway-operator", "is_admin": False}
        ask("POST", "/v1/auth/email/admin/users", user)
        role = {"name": "registrar", "description": "Registers servers", "scope": "global", "permissions": PERMISSIONS}
        role_id = ask("POST", "/v1/rbac/roles", role)["id"]
        ask("POST", f"/v1/rbac/users/{ACCOUNT}/roles", {"role_id": role_id, "scope": "global"})
        wanted = {
            "name": "operator",
            "user_email": ACCOUNT,
            "expires_in_days": 1,
            "scope": {"permissions": PERMISSIONS},
        }
        return str(ask("POST", "/v1/tokens", wanted)["access_token"])

    def restart_contextforge(self, *, kill: bool = False) -> None:
        """End it, and start it with the same database."""
        self.stop_contextforge(kill=kill)
        self.start_contextforge()

    def stop_contextforge(self, *, kill: bool = False) -> None:
        """End it."""
        self.processes.end("gateway-a", kill=kill)

    def start_contextforge(self) -> None:
        """Start it again."""
        self.gateways.start_instance("a")

    @contextmanager
    def ending(self) -> Iterator[None]:
        """End all processes at the end."""
        try:
            yield
        finally:
            self.processes.end_all()
            if hasattr(self, "relay"):
                self.relay.close()
            self.cluster.stop()

    # --- MCP servers ---------------------------------------------------------------------------------------------

    def url(self, name: str) -> str:
        """The URL of a server, as an object has it."""
        return f"http://127.0.0.1:{self._upstream_port}/{name}/mcp"

    def origin(self) -> str:
        """That of all servers."""
        return f"http://127.0.0.1:{self._upstream_port}"

    def set_server(self, name: str, **settings: Any) -> bool:
        """Set what a server does: see many_upstreams.py."""
        url, body = f"http://127.0.0.1:{self._upstream_port}/{name}", json.dumps(settings).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=10) as response:
            return bool(response.status == 200)

    # --- ContextForge --------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request of the administrator, past the relay."""
        return self.gateways.ask(method, path, body)

    def register_by_hand(self, name: str, url: str, **more: Any) -> str:
        """A gateway that the administrator registers; its id."""
        body = {"name": name, "url": url, "transport": "STREAMABLEHTTP", "visibility": "public", **more}
        return str(self.ask("POST", "/v1/gateways", body)["id"])

    def entries(self) -> list[Entry]:
        """All gateways. Read from the database, so that looking costs no request."""
        columns = ", ".join(_COLUMNS)
        database = sqlite3.connect(f"file:{self.folder}/gateway.db?mode=ro", uri=True, timeout=60)
        with closing(database):
            rows = database.execute(f"SELECT {columns}, created_user_agent FROM gateways").fetchall()
        return [
            Entry(row[0], row[1], row[2], row[3], row[4], bool(row[5]), bool(row[6]), row[7], row[8], row[9] or "")
            for row in rows
        ]

    def entry(self, name: str) -> Entry | None:
        """The gateway of that name."""
        return next((entry for entry in self.entries() if entry.name == name), None)

    def call_tool(self, gateway_id: str) -> str:
        """Call the first tool of a gateway with a real MCP client, through ContextForge; what it answers."""
        tools = [t for t in self.ask("GET", "/v1/tools?limit=0") if t.get("gatewayId") == gateway_id]
        if not tools:
            raise OSError(f"no tools of {gateway_id}")

        async def call() -> str:
            token = self.gateways.token_file.read_text().strip()
            async with mcp_session(f"http://127.0.0.1:{self.gateways.ports['a']}/mcp/", token) as session:
                result = await session.call_tool(tools[0]["name"], {"text": "hello"})
                text = " ".join(str(getattr(part, "text", "")) for part in result.content)
                if failed(result):
                    raise OSError(text)
                return text

        return asyncio.run(call())

    # --- Objects -------------------------------------------------------------------------------------------------

    def manifest(
        self, name: str, registration: Mapping[str, Any] | None = None, *, namespace: str = NAMESPACE, **spec: Any
    ) -> dict[str, Any]:
        """An McpGateway with ``spec.registration``."""
        return {
            "apiVersion": "mcpgateway.io/v1alpha1",
            "kind": "McpGateway",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"url": self.url(name), "registration": dict(registration or {}), **spec},
        }

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Apply them with kubectl."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def secret(self, name: str, values: Mapping[str, str], *, origins: str | None = None) -> dict[str, Any]:
        """A Secret that the operator may use for the MCP servers."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": {"mcpgateway.io/registration": "true"},
                "annotations": {"mcpgateway.io/allowed-origins": origins or self.origin()},
            },
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }

    def kubectl(self, *arguments: str, namespace: str = NAMESPACE, stdin: str | None = None) -> str:
        """What kubectl prints."""
        return self.cluster.kubectl("-n", namespace, *arguments, stdin=stdin)

    def items(self, kind: str = "mcpgateways", *more: str) -> list[dict[str, Any]]:
        """All objects of a kind, in all namespaces."""
        found: list[dict[str, Any]] = json.loads(self.cluster.kubectl("get", kind, "-A", "-o", "json", *more))["items"]
        return found

    def object(self, name: str, *, namespace: str = NAMESPACE) -> dict[str, Any]:
        """One object; empty if there is none."""
        text = self.kubectl("get", "mcpgateway", name, "-o", "json", "--ignore-not-found", namespace=namespace)
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def registration(self, name: str, *, namespace: str = NAMESPACE) -> dict[str, Any]:
        """``status.registration`` of an object."""
        found: dict[str, Any] = self.object(name, namespace=namespace).get("status", {}).get("registration", {})
        return found

    def wait_condition(
        self, name: str, reason: str, status: str | None = None, *, namespace: str = NAMESPACE, limit: float = 90.0
    ) -> Condition:
        """The condition Registered, once it has that reason for the newest generation."""
        status = status or ("True" if reason == "Registered" else "False")

        def look() -> Condition | None:
            self.processes.check()
            found = condition(self.object(name, namespace=namespace))
            if found is None or (found.reason, found.status) != (reason, status):
                raise OSError(f"found {found}")
            return found

        found: Condition = wait_until(f"{name} is {status} {reason}", look, limit, every=0.5)
        return found

    def failure(self, name: str) -> str | None:
        """Reason and message of the condition Registered, if it is false."""
        found = condition(self.object(name))
        return f"{found.reason}: {found.message}" if found and found.status == "False" else None

    def events(self, name: str, reason: str) -> list[str]:
        """The messages of an object's Events of that reason, in the order of time."""
        found = [e for e in self.items("events") if (e["involvedObject"]["name"], e["reason"]) == (name, reason)]
        return [event.get("message", "") for event in found]

    # --- Rounds --------------------------------------------------------------------------------------------------

    def wait_rounds(self, rounds: int = 2, limit: float = 90.0) -> None:
        """Until so many more lists have been answered."""
        begun = self.relay.mark()

        def look() -> bool:
            self.processes.check()
            return sum(c.kind == "list" and c.status == 200 for c in self.relay.calls(begun)) > rounds

        wait_until(f"{rounds} more rounds", look, limit)

    def wait(self, what: str, look: Callable[[], Any], limit: float = 90.0) -> Any:
        """Until it is so, as long as all processes run."""

        def alive() -> Any:
            self.processes.check()
            return look()

        return wait_until(what, alive, limit, every=0.5)


def condition(item: Mapping[str, Any]) -> Condition | None:
    """The condition Registered of an object, if it is of the newest generation."""
    conditions = item.get("status", {}).get("conditions", [])
    return next(
        (
            Condition(c["status"], c["reason"], c["message"])
            for c in conditions
            if c["type"] == "Registered" and c.get("observedGeneration") == item["metadata"]["generation"]
        ),
        None,
    )
