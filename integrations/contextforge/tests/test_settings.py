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
        ({"hot_at_full_rate": "maybe"}, {}, "neither true nor false"),
        ({"refresh_plan": "usage"}, {}, "neither true nor false"),
        ({"cold_health_interval": 300}, {}, "write it with its unit, such as 5m"),
        ({"cold_health_interval": "300"}, {}, "write it with its unit"),
        ({"cold_health_interval": "5 minutes"}, {}, "write it with its unit"),
        ({"cold_health_interval": "-5m"}, {}, "no duration from 1s to 1h"),
        ({"cold_health_interval": "0s"}, {}, "or leave it out"),
        ({"cold_health_interval": "2h"}, {}, "no duration from 1s to 1h"),
        ({"cold_health_interval": ""}, {}, "no duration"),
        ({"cold_health_interval": True}, {}, "no duration"),
        ({}, {"MCPGATEWAY_USAGE_COLD_HEALTH_INTERVAL": "5"}, "MCPGATEWAY_USAGE_COLD_HEALTH_INTERVAL: '5'"),
    ],
)
def test_refused_with_a_reason(config: dict[str, Any], environ: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=r"config|MCPGATEWAY|host|tls") as caught:
        load(config, environ)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("written", "seconds"), [("5m", 300.0), ("90s", 90.0), ("1m30s", 90.0), ("1h", 3600.0), (" 1s ", 1.0)]
)
def test_durations(written: str, seconds: float) -> None:
    assert load({"cold_health_interval": written}, {}).cold_health_interval == seconds
    assert load({}, {"MCPGATEWAY_USAGE_COLD_HEALTH_INTERVAL": written}).cold_health_interval == seconds


def test_polling_by_default() -> None:
    settings = load({"cold_health_interval": None}, {})
    assert (settings.hot_at_full_rate, settings.cold_health_interval) == (True, None)
    assert settings.refresh_plan
    assert not load({}, {"MCPGATEWAY_USAGE_REFRESH_PLAN": "false"}).refresh_plan
    assert not load({}, {"MCPGATEWAY_USAGE_HOT_AT_FULL_RATE": "false"}).hot_at_full_rate
