"""An application for gunicorn: each request to /use/GATEWAY is one use, and is answered with the id of the process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from mcpgateway_usage import process
from mcpgateway_usage.settings import load

# At import: with --preload that is in the master, before the fork.
process.configure(load(None))


def app(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]) -> Iterable[bytes]:
    here = process.current()
    assert here is not None
    gateway = environ["PATH_INFO"].removeprefix("/use/")
    if gateway.isalnum():
        here.counts.used(gateway)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
