from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcpgateway_usage.settings import Settings, load


def test_defaults_serve_loopback_only() -> None:
    settings = load(None, {})
    assert settings == Settings()
    assert settings.listen_host == "127.0.0.1"


@pytest.mark.parametrize("config", [{"token_file": "/run/token"}, {"allow_without_token": True}])
def test_every_address_with_a_token_or_on_purpose(config: dict[str, Any]) -> None:
    assert load(config, {}).listen_host is None


def test_the_environment_wins() -> None:
    settings = load(
        {"port": 1000, "ended_grace": 5, "token_file": "/a"},
        {
            "MCPGATEWAY_USAGE_PORT": "2000",
            "MCPGATEWAY_USAGE_EXPECTED_WORKERS": "4",
            "MCPGATEWAY_USAGE_HOST": "",
            "X": "1",
        },
    )
    assert (settings.port, settings.ended_grace, settings.expected_workers) == (2000, 5.0, 4)
    assert settings.token_file == Path("/a")


@pytest.mark.parametrize(
    ("config", "environ", "said"),
    [
        ({"prot": 1}, {}, "config.prot"),
        ({}, {"MCPGATEWAY_USAGE_PROT": "1"}, "MCPGATEWAY_USAGE_PROT"),
        ({"port": 0}, {}, "from 1 to 65535"),
        ({"port": "http"}, {}, "config.port: 'http'"),
        ({"port": True}, {}, "config.port"),
        ({"path": "usage"}, {}, "no path"),
        ({"path": "/a b"}, {}, "no path"),
        ({"token_file": "token"}, {}, "no absolute path"),
        ({"token_file": 3}, {}, "no text"),
        ({"enabled": "maybe"}, {}, "neither true nor false"),
        ({"expected_workers": "some"}, {}, "neither auto, live nor a number"),
        ({"expected_workers": 0}, {}, "neither auto, live nor a number"),
        ({"ended_grace": -1}, {}, "number of seconds"),
        ({"ended_grace": "nan"}, {}, "number of seconds"),
        ({"host": "0.0.0.0"}, {}, "without a token"),
        ({"tls_cert_file": "/a"}, {}, "both or none"),
    ],
)
def test_refused_with_a_reason(config: dict[str, Any], environ: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=r"config|MCPGATEWAY|host|tls") as caught:
        load(config, environ)
    assert said in str(caught.value)
