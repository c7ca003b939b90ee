"""A session of an MCP client, with the client library that either release brings: mcp 1 or mcp 2."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client


@contextlib.asynccontextmanager
async def mcp_session(url: str, token: str) -> AsyncIterator[ClientSession]:
    """A session that is initialized."""
    async with (
        create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http,
        # mcp 1 also gives a function for the session's id.
        streamable_http_client(url, http_client=http) as (read, write, *_),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def failed(result: Any) -> bool:
    """Whether the result of a tool call says that the tool failed."""
    return bool(result.is_error if hasattr(result, "is_error") else result.isError)
