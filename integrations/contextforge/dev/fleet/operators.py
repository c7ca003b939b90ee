"""A real API server, the fleet's servers as McpGateway objects, and replicas of the operator.

In: a fleet that runs, the operator's binary. Out: replicas that run, kubectl. Must not: touch ContextForge.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from .contextforge import INSTANCES, REFRESH_SECONDS, Fleet
from .processes import free_port, wait_until

_ROOT = Path(__file__).resolve().parents[4]
INTERVAL = 15
"""--classification-interval in seconds. Short, so that the lock (three of them) expires within the play."""


class Operators:
    """The control plane and the replicas."""

    def __init__(self, fleet: Fleet, binary: str) -> None:
        """Nothing runs yet."""
        self._fleet, self._binary = fleet, binary
        self._cluster = f"e2e-{os.getpid()}"
        self._kubeconfig = ""
        self._metrics: dict[str, int] = {}

    def start_cluster(self) -> None:
        """The API server, the resource definition, and one object for each gateway, with its id and its stored URL."""
        up = [str(_ROOT / "dev" / "cluster"), "up", "--name", self._cluster, "--while-pid", str(os.getpid())]
        self._kubeconfig = self._run(up).strip()
        self.kubectl("apply", "-f", "-", stdin=self._run([self._binary, "crd"]))
        self.kubectl("wait", "--for=condition=Established", "crd/mcpgateways.mcpgateway.io", "--timeout=60s")
        items = [
            {
                "apiVersion": "mcpgateway.io/v1alpha1",
                "kind": "McpGateway",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"url": gateway["url"], "gatewayId": gateway["id"]},
            }
            for name, gateway in self._fleet.gateways.items()
        ]
        manifest = {"apiVersion": "v1", "kind": "List", "items": items}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def stop_cluster(self) -> None:
        """End it and remove its folder."""
        self._run([str(_ROOT / "dev" / "cluster"), "down", "--name", self._cluster])

    def start(self, name: str) -> None:
        """One replica, without waiting for it."""
        self._metrics[name] = free_port()
        command = [self._binary, "run", "--worker-token-file", str(self._fleet.usage_token)]
        for instance in INSTANCES:
            command += ["--worker-endpoint", self._fleet.usage_url(instance)]
        command += ["--redis-url", f"redis://127.0.0.1:{self._fleet.redis_port}/0"]
        command += ["--classification-interval", f"{INTERVAL}s", "--status-usage-interval", "10s"]
        command += ["--hot-poll-interval", f"{REFRESH_SECONDS}s", "--leader-elect-resource-namespace", "default"]
        command += ["--metrics-bind-address", f"127.0.0.1:{self._metrics[name]}", "--health-probe-bind-address", "0"]
        self._fleet.processes.start(f"operator-{name}", command, {"KUBECONFIG": self._kubeconfig, "NO_COLOR": "1"})

    def kill(self, name: str) -> None:
        """Kill -9."""
        self._fleet.processes.end(f"operator-{name}", kill=True)
        del self._metrics[name]

    def stop(self, name: str) -> None:
        """SIGTERM, and wait."""
        self._fleet.processes.end(f"operator-{name}")
        del self._metrics[name]

    def leader(self) -> str | None:
        """The replica that says so, if there is one."""
        return next((name for name in self._metrics if self.metric(name, "leader") == 1), None)

    def wait_leader(self) -> str:
        """The same, when there is one."""
        return str(wait_until("a replica leads", self.leader, 120.0))

    def metric(self, name: str, metric: str) -> float:
        """One of the metrics of a replica; 0 when it has none of that name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics[name]}/metrics", timeout=10) as response:
            text = response.read().decode()
        found = re.search(rf"^mcpgateway_operator_{metric} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints."""
        programs = self._run([str(_ROOT / "dev" / "cluster"), "binaries"]).strip()
        return self._run([f"{programs}/kubectl", *arguments], stdin)

    def table(self) -> str:
        """What people see."""
        return self.kubectl("get", "mcpgateways", "-o", "wide")

    def tiers(self) -> dict[str, str]:
        """Tier by name, "" where there is none."""
        items = json.loads(self.kubectl("get", "mcpgateways", "-o", "json"))["items"]
        return {item["metadata"]["name"]: item.get("status", {}).get("tier", "") for item in items}

    def _run(self, command: list[str], stdin: str | None = None) -> str:
        environ: dict[str, Any] = {**os.environ, "KUBECACHEDIR": str(self._fleet.folder / "kubectl-cache")}
        if self._kubeconfig:
            environ["KUBECONFIG"] = self._kubeconfig
        done = subprocess.run(command, input=stdin, env=environ, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-800:]}")
        return done.stdout
