"""How many gateway processes this pod should have, from what started this one. Reads /proc and the environment only.

A process that never registers (its folder is not writable, its plugin failed) would go unnoticed if only those that did
were counted. So the command line of the server that started this process is asked, and its environment. What is not
known for certain is 0, "no opinion": a number that is too high makes every report partial, for ever.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

_SERVERS = ("gunicorn", "uvicorn", "hypercorn", "granian", "mcpgateway")
_FLAG = re.compile(r"(?:--workers|-w)(?:=|)(\d+)")
_MOST_WORKERS = 10_000


def workers(environ: Mapping[str, str] = os.environ) -> int:
    """How many processes the server that started this one keeps; 0 = unknown."""
    return from_parent(_command_line(os.getppid()), environ)


def from_parent(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """The same, from the parent's command line."""
    server = _server(arguments)
    if server is None:
        return 0
    given = _flag(arguments)
    if given is None and server == "gunicorn":
        given = _flag(_split(environ.get("GUNICORN_CMD_ARGS", "")))
    if given is None:
        # GUNICORN_WORKERS is what ContextForge's own start script turns into --workers.
        names = {"gunicorn": ("GUNICORN_WORKERS", "WEB_CONCURRENCY"), "granian": ("GRANIAN_WORKERS",)}
        given = _first_number([environ.get(name, "") for name in names.get(server, ("WEB_CONCURRENCY",))])
    return given if given is not None and given <= _MOST_WORKERS else 0


def _server(arguments: Sequence[str]) -> str | None:
    # Only the first words: a path further on may well contain one of these names.
    for argument in arguments[:3]:
        # gunicorn with setproctitle: one word, "gunicorn: master [app]".
        name = argument.split(":")[0].rsplit("/", 1)[-1]
        if name in _SERVERS:
            return name
    return None


def _flag(arguments: Sequence[str]) -> int | None:
    found = None
    for place, argument in enumerate(arguments):
        match = _FLAG.fullmatch(argument)
        if match:
            found = int(match[1])
        elif argument in ("--workers", "-w") and place + 1 < len(arguments) and arguments[place + 1].isdigit():
            found = int(arguments[place + 1])
    return found


def _first_number(values: Sequence[str]) -> int | None:
    return next((int(value) for value in values if value.isdecimal()), None)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _command_line(pid: int) -> list[str]:
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [part.decode(errors="replace") for part in content.split(b"\0") if part]
