"""Each worker registers when it has started, as the plugin's ``initialize`` does in ContextForge."""

from __future__ import annotations

from typing import Any

from mcpgateway_usage import process
from mcpgateway_usage.settings import load


def post_worker_init(worker: Any) -> None:  # noqa: ARG001
    process.configure(load(None))
    process.current()
