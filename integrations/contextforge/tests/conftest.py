"""What the tests share: ports of their own, waiting with a limit, and workers that are real processes."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from servers import free_port

T = TypeVar("T")
PATH = "/mcpgateway/usage"
WORKER = Path(__file__).with_name("worker.py")
SOURCES = Path(__file__).parents[1] / "src"


SECRETS = (
    "JWT_SECRET_KEY",
    "AUTH_ENCRYPTION_SECRET",
    "PLATFORM_ADMIN_PASSWORD",
    "DEFAULT_USER_PASSWORD",
    "BASIC_AUTH_PASSWORD",
)


def run_in_release(script: Path, folder: Path, package: Path = SOURCES) -> None:
    """Run a program that needs ContextForge in a process of its own; the test is skipped where that is missing."""
    if importlib.util.find_spec("mcpgateway") is None:
        pytest.skip("ContextForge is not installed")
    environ = {name: secrets.token_urlsafe(32) + "aA1!" for name in SECRETS}
    environ |= {"DATABASE_URL": f"sqlite:///{folder}/gateway.db", "PYTHONPATH": str(package)}
    environ |= {"SSRF_ALLOW_LOCALHOST": "true", "SSRF_ALLOW_PRIVATE_NETWORKS": "true"}
    environ |= {"HOT_COLD_CLASSIFICATION_ENABLED": "true", "AUTO_REFRESH_SERVERS": "true"}
    environ |= {"GATEWAY_AUTO_REFRESH_INTERVAL": "300", "HEALTH_CHECK_INTERVAL": "60", "LOG_LEVEL": "INFO"}
    command = [sys.executable, str(script)]
    asked = subprocess.run(command, env=os.environ | environ, cwd=folder, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stdout[-3000:] + asked.stderr[-3000:]


def wait_until(what: str, look: Callable[[], T | None], limit: float = 30.0) -> T:
    """The first answer of ``look`` that is true."""
    deadline = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.02)


def get(
    port: int, headers: dict[str, str] | None = None, method: str = "GET", path: str = PATH
) -> tuple[int, Any, bytes]:
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def report(port: int) -> dict[str, Any] | None:
    """The report, or None while nobody serves it."""
    try:
        status, _, body = get(port)
    except (OSError, http.client.HTTPException):
        return None
    assert status == 200, body
    answer: dict[str, Any] = json.loads(body)
    return answer


def uses(answer: dict[str, Any] | None) -> dict[str, int]:
    """Uses of each gateway over all processes."""
    total: dict[str, int] = {}
    for entry in (answer or {}).get("workers", []):
        for row in entry["servers"]:
            total[row["gatewayId"]] = total.get(row["gatewayId"], 0) + row["useCount"]
    return total


@dataclass
class Worker:
    """A process that takes orders, one a line; see worker.py."""

    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def order(self, *words: object) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer, f"the worker ended at {words}"
        return answer

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def finish(self) -> None:
        """Let it end in the usual way."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(timeout=30) == 0


@dataclass
class Pod:
    """A folder, a port, and workers."""

    directory: Path
    port: int = field(default_factory=free_port)
    workers: list[Worker] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)

    def start(self) -> Worker:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MCPGATEWAY_USAGE_")}
        environ["PYTHONPATH"] = str(SOURCES)
        environ |= {"MCPGATEWAY_USAGE_DIRECTORY": str(self.directory), "MCPGATEWAY_USAGE_PORT": str(self.port)}
        process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ | self.environ,
        )
        worker = Worker(process)
        self.workers.append(worker)
        worker.order("id")
        return worker

    def report(self) -> dict[str, Any] | None:
        return report(self.port)

    def until(self, what: str, look: Callable[[dict[str, Any]], object], limit: float = 30.0) -> dict[str, Any]:
        """The first report that is as wanted."""

        def wanted() -> dict[str, Any] | None:
            answer = self.report()
            return answer if answer is not None and look(answer) else None

        return wait_until(what, wanted, limit)

    def server(self) -> Worker:
        """The one that serves the endpoint."""
        return wait_until(
            "somebody serves",
            lambda: next((w for w in self.workers if w.process.poll() is None and w.order("serves") == "yes"), None),
        )


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    pod = Pod(tmp_path / "pod")
    yield pod
    for worker in pod.workers:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()
        for stream in (worker.process.stdin, worker.process.stdout):
            if stream is not None:
                stream.close()
