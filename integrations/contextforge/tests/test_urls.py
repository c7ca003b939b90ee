from __future__ import annotations

import pytest

from mcpgateway_usage.urls import public


@pytest.mark.parametrize(
    "url",
    [
        "https://mcp.example.com/mcp",
        "http://mcp.example.com",
        "http://localhost:8000/mcp/?tenant=a&x=",
        "HTTP://[::1]:80/A?q=token",
    ],
)
def test_nothing_to_hide_comes_back_byte_for_byte(url: str) -> None:
    assert public(url) == url


@pytest.mark.parametrize(
    "name", ["key", "API_KEY", "tavilyApiKey", "access_token", "x-secret", "myToken", "sig", "%6Bey"]
)
def test_a_query_with_a_credential_goes(name: str) -> None:
    assert public(f"https://a.example/mcp?tenant=1&{name}=hunter2") == "https://a.example/mcp"


def test_user_info_and_fragment_go() -> None:
    assert public("https://me:hunter2@a.example/mcp?x=1#hunter2") == "https://a.example/mcp?x=1"
    assert public("https://a.example/mcp#") == "https://a.example/mcp"


def test_any_query_goes_where_one_may_have_been_added() -> None:
    assert public("https://a.example/mcp?x=hunter2", keep_query=False) == "https://a.example/mcp"


@pytest.mark.parametrize("url", ["", "mcp", "ftp://a/b", "https://", "http://[::1", "javascript:alert(1)"])
def test_what_is_no_http_url_is_nothing(url: str) -> None:
    assert public(url) is None
