"""Many real MCP servers (fastmcp) in one process: each name has one, at /NAME/mcp, from the first request on.

    PYTHON many_upstreams.py PORT

PYTHON is one with fastmcp. ``PUT /NAME`` with a JSON object sets what a server does: ``tools`` (their names),
``header`` and ``query`` (name and value that it asks for), ``status`` (which it answers instead of speaking MCP),
``echo`` (true: it refuses everything with an error that repeats the headers and the query). Must not: import
anything of this package.
"""

# fastmcp is in an environment of its own.
# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from fastmcp import FastMCP
from starlette.responses import JSONResponse, PlainTextResponse


class Server:
    """A server with the tools of these names. It lives in a task, which enters and leaves its lifespan."""

    def __init__(self, name: str, tools: list[str]) -> None:
        """Not ready yet."""
        server = FastMCP(name)
        for tool in tools:

            def answer(text: str) -> str:
                return f"{name} answers {text}"

            server.tool(answer, name=tool, description="Answers.")
        self.app = server.http_app(path="/mcp", stateless_http=True)
        self.is_ready = asyncio.Event()
        self.task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        async with self.app.lifespan(self.app):
            self.is_ready.set()
            await asyncio.Event().wait()


class Servers:
    """All of them, as one ASGI application."""

    def __init__(self) -> None:
        """None yet."""
        self._servers: dict[str, Server] = {}
        self._settings: dict[str, dict[str, Any]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """A setting, or a request to a server."""
        name, _, rest = scope["path"].removeprefix("/").partition("/")
        if scope["method"] == "PUT" and not rest:
            await self._set(name, receive)
            await PlainTextResponse("set")(scope, receive, send)
            return
        settings = self._settings.get(name, {})
        if settings.get("echo"):
            sent = {name.decode(): value.decode() for name, value in scope["headers"]}
            error = {"code": -32000, "message": f"refused {sent} {scope['query_string'].decode()}"}
            await JSONResponse({"jsonrpc": "2.0", "id": 0, "error": error}, 400)(scope, receive, send)
            return
        status = settings.get("status") or (None if _is_admitted(settings, scope) else 401)
        if status:
            await PlainTextResponse("no", status_code=status)(scope, receive, send)
            return
        if name not in self._servers:
            self._servers[name] = Server(name, settings.get("tools", ["greet"]))
        server = self._servers[name]
        await server.is_ready.wait()
        await server.app({**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}, receive, send)

    async def _set(self, name: str, receive: Any) -> None:
        body = bytearray()
        more = True
        while more:
            message = await receive()
            body.extend(message.get("body", b""))
            more = message.get("more_body", False)
        self._settings[name] = json.loads(bytes(body))
        # A server with other tools is another one.
        if server := self._servers.pop(name, None):
            server.task.cancel()


def _is_admitted(settings: dict[str, Any], scope: Any) -> bool:
    if header := settings.get("header"):
        name, value = header
        return bool(dict(scope["headers"]).get(name.lower().encode()) == value.encode())
    if query := settings.get("query"):
        name, value = query
        return parse_qs(scope["query_string"].decode()).get(name) == [value]
    return True


if __name__ == "__main__":
    uvicorn.run(Servers(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off")
