"""Real MCP servers (fastmcp) for a pod: all on one port, each at /NAME/mcp, and what they have received at /record.

    PYTHON pod_upstreams.py PORT NAME…

PYTHON is one with fastmcp. ``GET /record`` answers the record of upstream.py, which counting.py reads. Must not: import
anything of this package but that file.
"""

# fastmcp is in an environment of its own.
# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from upstream import Record, make


def main(port: int, names: list[str]) -> None:
    """Serve all until the end."""
    apps = {name: make(name) for name in names}

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for app in apps.values():
                await stack.enter_async_context(app.lifespan(app))
            yield

    with tempfile.NamedTemporaryFile("a", buffering=1, suffix=".jsonl") as file:

        async def record(_: Request) -> FileResponse:
            return FileResponse(file.name)

        routes: list[Route | Mount] = [Route("/record", record)]
        routes += [Mount(f"/{name}", Record(name, app, file)) for name, app in apps.items()]
        uvicorn.run(Starlette(routes=routes, lifespan=lifespan), host="0.0.0.0", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
