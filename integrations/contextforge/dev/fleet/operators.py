"""A real API server, the servers of fleets as McpGateway objects, and replicas of the operator.

In: fleets that run, the operator's binary. Out: replicas that run, kubectl. Must not: touch ContextForge.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .contextforge import Fleet
from .processes import free_port, wait_until

_ROOT = Path(__file__).resolve().parents[4]


class Cluster:
    """The control plane."""

    def __init__(self, folder: Path, binary: str) -> None:
        """Nothing runs yet."""
        self._folder, self._binary = folder, binary
        self._name = f"contextforge-{os.getpid()}"
        self.kubeconfig = ""

    def start(self) -> None:
        """The API server and the resource definitions."""
        up = [str(_ROOT / "dev" / "cluster"), "up", "--name", self._name, "--while-pid", str(os.getpid())]
        self.kubeconfig = self._run(up).strip()
        self.kubectl("apply", "-f", "-", stdin=self._run([self._binary, "crd"]))
        # kubectl wait fails on a definition that has no conditions yet.
        wait_until("McpGateway objects can be listed", self._serves)

    def _serves(self) -> bool:
        try:
            self.kubectl("get", "mcpgateways,mcpgatewayfleets")
        except SystemExit as error:
            raise OSError(str(error)) from error
        return True

    def stop(self) -> None:
        """End it and remove its folder."""
        self._run([str(_ROOT / "dev" / "cluster"), "down", "--name", self._name])

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints.

        Raises:
            SystemExit: it failed.
        """
        return self._run([self._kubectl(), *arguments], stdin)

    @contextmanager
    def watching(self, path: str) -> Iterator[Callable[[], bool]]:
        """A watch of the objects of that path, which has begun; whether the API server has ended it."""
        initial = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        command = [self._kubectl(), "get", "--raw", f"{path}?{initial}"]
        events = self._folder / "events"
        with events.open("wb") as output:
            watch = subprocess.Popen(command, env=self._environ(), stdout=output, stderr=subprocess.DEVNULL)
        try:
            # The first event, or the mark that there is no object.
            wait_until("the watch has begun", lambda: events.stat().st_size > 0)
            yield lambda: watch.poll() is not None
        finally:
            watch.kill()
            watch.wait()

    def _kubectl(self) -> str:
        return f"{self._run([str(_ROOT / 'dev' / 'cluster'), 'binaries']).strip()}/kubectl"

    def _environ(self) -> dict[str, str]:
        kubeconfig = {"KUBECONFIG": self.kubeconfig} if self.kubeconfig else {}
        return {**os.environ, **kubeconfig, "KUBECACHEDIR": str(self._folder / "kubectl-cache")}

    def _run(self, command: list[str], stdin: str | None = None) -> str:
        environ = self._environ()
        done = subprocess.run(command, input=stdin, env=environ, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-800:]}")
        return done.stdout


class Operators:
    """The replicas of one fleet, whose objects are in a namespace of their own."""

    def __init__(self, fleet: Fleet, cluster: Cluster, binary: str, namespace: str, flags: Sequence[str] = ()) -> None:
        """Nothing runs yet."""
        self._fleet, self._cluster, self._binary = fleet, cluster, binary
        self._namespace, self._flags = namespace, flags
        self._metrics: dict[str, int] = {}

    def apply(self) -> None:
        """The namespace, and one object for each gateway, with its id and its stored URL."""
        items: list[dict[str, Any]] = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace}},
            *(
                {
                    "apiVersion": "mcpgateway.io/v1alpha1",
                    "kind": "McpGateway",
                    "metadata": {"name": name, "namespace": self._namespace},
                    "spec": {"url": gateway["url"], "gatewayId": gateway["id"]},
                }
                for name, gateway in self._fleet.gateways.items()
            ),
        ]
        manifest = {"apiVersion": "v1", "kind": "List", "items": items}
        self._cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def start(self, name: str) -> None:
        """One replica, without waiting for it."""
        self._metrics[name] = free_port()
        command = [self._binary, "run", "--worker-token-file", str(self._fleet.usage_token)]
        for instance in self._fleet.instances:
            command += ["--worker-endpoint", self._fleet.usage_url(instance)]
        command += ["--redis-url", f"redis://127.0.0.1:{self._fleet.redis_port}/0"]
        command += ["--hot-poll-interval", f"{self._fleet.polling.refresh}s", "--watch-namespace", self._namespace]
        command += ["--leader-elect-resource-namespace", self._namespace, *self._flags]
        command += ["--metrics-bind-address", f"127.0.0.1:{self._metrics[name]}", "--health-probe-bind-address", "0"]
        environ = {"KUBECONFIG": self._cluster.kubeconfig, "NO_COLOR": "1"}
        self._fleet.processes.start(f"operator-{name}", command, environ)

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

    def metrics(self, name: str) -> str:
        """All metrics of a replica."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics[name]}/metrics", timeout=10) as response:
            return str(response.read().decode())

    def metric(self, name: str, metric: str) -> float:
        """One of the metrics of a replica; 0 when it has none of that name."""
        found = re.search(rf"^mcpgateway_operator_{metric} (\S+)$", self.metrics(name), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints in the namespace of these replicas."""
        return self._cluster.kubectl("-n", self._namespace, *arguments)

    def table(self) -> str:
        """What people see."""
        return self._cluster.kubectl("get", "mcpgateways", "-n", self._namespace, "-o", "wide")

    def tiers(self) -> dict[str, str]:
        """Tier by name, "" where there is none."""
        items = json.loads(self._cluster.kubectl("get", "mcpgateways", "-n", self._namespace, "-o", "json"))["items"]
        return {item["metadata"]["name"]: item.get("status", {}).get("tier", "") for item in items}
