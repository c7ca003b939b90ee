"""Real MCP servers (fastmcp), each on a port of its own, that write down every request they receive.

    PYTHON upstream.py FILE NAME=PORT…

PYTHON is one with fastmcp, of either protocol generation. FILE gets a line of JSON for each HTTP request: ``at`` (Unix
seconds), ``server``, ``method`` (of the JSON-RPC message, or of HTTP if there is none), ``session`` (which the request
named, or which was opened by it) and ``peer`` (the connection's other end). Must not: import anything of this package.
"""

# fastmcp is in an environment of its own.
# mypy: disable-error-code="import-not-found,untyped-decorator"
from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import uvicorn
from fastmcp import FastMCP


def make(name: str) -> Any:
    """One server: two tools, a prompt and a resource."""
    server = FastMCP(name)

    @server.tool
    def greet(name: str) -> str:
        """Greets."""
        return f"hello {name}"

    @server.tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    @server.prompt
    def ask(topic: str) -> str:
        """Asks."""
        return f"what is {topic}?"

    @server.resource(f"data://{name}")
    def fact() -> str:
        """A fact."""
        return "water is wet"

    return server.http_app(path="/mcp")


class Record:
    """An ASGI application around another one, which looks at what comes in and changes nothing."""

    def __init__(self, name: str, app: Any, file: TextIO) -> None:
        """Requests of ``app`` are written as those of ``name``."""
        self._name, self._app, self._file = name, app, file

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass it on, and write it down once: when the answer begins, or at the end if there is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        line = {"at": time.time(), "server": self._name, "method": scope["method"]}
        line |= {"session": _session(scope["headers"]), "peer": "{}:{}".format(*scope["client"])}
        body = bytearray()
        is_written = False

        def write() -> None:
            nonlocal is_written
            if not is_written:
                self._file.write(json.dumps(line) + "\n")
                is_written = True

        async def look() -> Any:
            message = await receive()
            if message["type"] == "http.request":
                body.extend(message.get("body", b""))
            return message

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                line["method"] = _method(bytes(body)) or line["method"]
                # An older server also names a session when it refuses another request; nobody uses that one.
                if line["method"] == "initialize":
                    line["session"] = _session(message["headers"])
                write()
            await send(message)

        try:
            await self._app(scope, look, answer)
        finally:
            write()


def _method(body: bytes) -> str | None:
    content = json.loads(body) if body else None
    return content.get("method") if isinstance(content, dict) else None


def _session(headers: Any) -> str | None:
    return next((value.decode() for key, value in headers if key.lower() == b"mcp-session-id"), None)


async def main(file: str, servers: list[str]) -> None:
    """Serve all until the end."""
    with Path(file).open("a", buffering=1) as record:
        running = []
        for server in servers:
            name, _, port = server.partition("=")
            app = Record(name, make(name), record)
            config = uvicorn.Config(app, host="127.0.0.1", port=int(port), log_level="warning", lifespan="on")
            running.append(uvicorn.Server(config).serve())
        await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
