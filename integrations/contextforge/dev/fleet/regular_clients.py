"""A real MCP client for each tool, which calls it at a fixed interval: every call in a session of its own.

    PYTHON -m fleet.regular_clients TOKENFILE MCP-URL BEGIN TOOL=EVERY=PHASE…

BEGIN is in Unix seconds. The calls of a tool are PHASE, PHASE + EVERY, PHASE + 2 EVERY, … seconds after it. So the same
arguments make the same calls in every fleet. Out: a line a call. Must not: end because a call failed.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path

from .mcp_session import failed, mcp_session


async def use(url: str, token: str, tool: str, begin: float, every: float) -> None:
    """Call a tool again and again. A call that is late does not move the next one."""
    for number in itertools.count():
        await asyncio.sleep(begin + number * every - time.time())
        try:
            async with mcp_session(url, token) as session:
                result = await session.call_tool(tool, {"name": "client"})
            print(tool, "error" if failed(result) else "ok", flush=True)
        except Exception as error:
            print(tool, "error", repr(error), flush=True)


async def main(arguments: list[str]) -> None:
    """All of them, for ever."""
    token_file, url, begin, *tools = arguments
    token = Path(token_file).read_text().strip()
    uses = []
    for word in tools:
        tool, every, phase = word.rsplit("=", 2)
        uses.append(use(url, token, tool, float(begin) + float(phase), float(every)))
    await asyncio.gather(*uses)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
