"""Real MCP clients that use two servers for as long as they run: one with a session, one without.

    PYTHON -m fleet.clients TOKENFILE SECONDS MCP-URL TOOL RPC-URL TOOL

Every SECONDS both call their tool. The one with a session makes a new one every two minutes. Out: a line a call. Must
not: end because a call failed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from .mcp_session import failed, mcp_session

# The release ends a session of its own accord after five minutes ("Session terminated").
_SESSION_SECONDS = 120.0


def say(text: str) -> None:
    """A line of the log, at once."""
    print(text, flush=True)


async def stateful(url: str, tool: str, token: str, every: float) -> None:
    """One session after the other, many calls in each."""
    while True:
        try:
            async with mcp_session(url, token) as session:
                end = time.monotonic() + _SESSION_SECONDS
                while time.monotonic() < end:
                    result = await session.call_tool(tool, {"name": "stateful"})
                    say(f"stateful {'error' if failed(result) else 'ok'}")
                    await asyncio.sleep(every)
        except Exception as error:
            say(f"stateful error {error!r}")
            await asyncio.sleep(every)


def call(url: str, tool: str, token: str) -> Any:
    """One call without a session."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"name": "me"}}}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


async def stateless(url: str, tool: str, token: str, every: float) -> None:
    """Many calls."""
    while True:
        try:
            answer = await asyncio.to_thread(call, url, tool, token)
            say(f"stateless {'ok' if 'result' in answer else f'error {answer}'}")
        except Exception as error:
            say(f"stateless error {error!r}")
        await asyncio.sleep(every)


async def main(arguments: list[str]) -> None:
    """Both, for ever."""
    token_file, every, mcp_url, stateful_tool, rpc_url, stateless_tool = arguments
    token = Path(token_file).read_text().strip()
    await asyncio.gather(
        stateful(mcp_url, stateful_tool, token, float(every)),
        stateless(rpc_url, stateless_tool, token, float(every)),
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
