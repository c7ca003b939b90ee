"""Processes that end with us, free ports, and waiting. In: commands. Out: what runs. Must not: know what it runs."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LIMIT = 300.0
_END_SECONDS = 20.0
_PORTS = (15000, 30000)
"""Below those of outgoing connections."""


def free_port() -> int:
    """A free port that the kernel does not use for outgoing connections."""
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    """Whether somebody listens there; else an OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return True


def wait_until(what: str, look: Callable[[], Any], limit: float = _LIMIT, every: float = 0.2) -> Any:
    """The first answer that is true. What a server says while it starts (nothing, or nonsense) counts as false.

    Raises:
        SystemExit: there was none within the limit.
    """
    deadline = time.monotonic() + limit
    last = "no answer"
    while True:
        try:
            found = look()
            if found:
                return found
            last = f"found {found!r}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            last = str(error)
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {limit:.0f} s: {what} ({last[:300]})")
        time.sleep(every)


class Processes:
    """What was started, each with its output in a file of one folder."""

    def __init__(self, folder: Path) -> None:
        """Nothing runs yet."""
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str], environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A process that is also ended when we are killed: the kernel tells it.

        Call it from the main thread: the kernel does so when the thread ends that started it.
        """
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [*_with_our_end(), *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**os.environ, **(environ or {})},
                # A group of its own, so that it can be ended with its children.
                start_new_session=True,
            )
        self._running[name] = process
        return process

    def log(self, name: str) -> Path:
        """Where that process writes."""
        return self.folder / f"{name}.log"

    def check(self) -> None:
        """That nothing has ended by itself.

        Raises:
            SystemExit: something has; with the last lines of its log.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                raise SystemExit(f"{name} ended by itself with {process.returncode}:\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 30) -> str:
        """The end of a log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        return ""

    def end(self, name: str, *, kill: bool = False) -> None:
        """End one and wait for it; what does not end in time is killed, and so are children that outlive it."""
        process = self._running.pop(name)
        if not kill:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def end_all(self) -> None:
        """All, the last one first. The signals go out before anybody is waited for."""
        for process in reversed(list(self._running.values())):
            process.terminate()
        for name in reversed(list(self._running)):
            self.end(name)


@functools.cache
def _with_our_end() -> tuple[str, ...]:
    tool = shutil.which("setpriv")
    return (tool, "--pdeathsig", "TERM", "--") if tool else ()
