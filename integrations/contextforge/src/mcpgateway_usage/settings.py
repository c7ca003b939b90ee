"""The settings: from the plugin's ``config:`` block and from the environment, which wins. Pure but for reading both.

In: a mapping and the environment. Out: :class:`Settings`, or a :class:`ValueError` that names the setting, the value
and what is allowed. Must not: touch files or the network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ENV_PREFIX = "MCPGATEWAY_USAGE_"
DEFAULT_PORT = 9180
DEFAULT_PATH = "/mcpgateway/usage"
_LARGEST_PORT = 65535
_MOST_WORKERS = 10_000
_LONGEST_GRACE = 86_400.0
_SHORTEST_HEALTH, _LONGEST_HEALTH = 1.0, 3600.0
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set. The names of the ``config:`` block; in the environment ``MCPGATEWAY_USAGE_`` and upper case."""

    enabled: bool = True
    host: str = ""
    """Where the endpoint listens; empty = every address if there is a token, loopback if there is none."""
    port: int = DEFAULT_PORT
    path: str = DEFAULT_PATH
    token_file: Path | None = None
    """Bearer tokens, one a line; read again for every request."""
    allow_without_token: bool = False
    """Serve anybody who reaches the port, on any address."""
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    directory: Path | None = None
    """The folder that the processes of one pod share; None = one in /dev/shm, named by user and port."""
    expected_workers: int | str = "auto"
    """How many processes there should be: a number, ``live`` or ``auto``."""
    ended_grace: float = 300.0
    """Seconds for which a process that ended stays in the report: more than two intervals of the operator."""
    prompts_and_resources: bool = True
    """Look up in ContextForge's database which gateway a prompt or resource belongs to, and the stored URLs."""
    hot_at_full_rate: bool = True
    """Refresh a hot server as often as an unclassified one: only ContextForge's throttle decides."""
    refresh_plan: bool = True
    """Refresh a cold server at the interval of the operator's refresh plan, where the operator publishes one."""
    cold_health_interval: float | None = None
    """Seconds between two health checks of a cold server; None = at every tick, as the release does."""

    @property
    def listen_host(self) -> str | None:
        """The address to listen at, None for every one."""
        if self.host:
            return self.host
        return None if self.token_file or self.allow_without_token else "127.0.0.1"


def load(config: Mapping[str, Any] | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a ``config:`` block and an environment.

    Raises:
        ValueError: a name that does not exist, or a value that is not allowed.
    """
    readers: dict[str, Callable[[str, Any], Any]] = {
        "enabled": _flag,
        "host": _text,
        "port": _port,
        "path": _url_path,
        "token_file": _file,
        "allow_without_token": _flag,
        "tls_cert_file": _file,
        "tls_key_file": _file,
        "directory": _file,
        "expected_workers": _workers,
        "ended_grace": _seconds,
        "prompts_and_resources": _flag,
        "hot_at_full_rate": _flag,
        "refresh_plan": _flag,
        "cold_health_interval": _duration,
    }
    known = [field.name for field in fields(Settings)]
    given: dict[str, Any] = {}
    for name, value in (config or {}).items():
        if name not in readers:
            raise ValueError(f"config.{name}: no such setting; there are {', '.join(known)}")
        if value is not None:
            given[name] = readers[name](f"config.{name}", value)
    for variable, value in environ.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name not in readers:
            raise ValueError(f"{variable}: no such setting; there are {', '.join(known)} (upper case)")
        if value != "":
            given[name] = readers[name](variable, value)
    settings = Settings(**given)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        raise ValueError("tls_cert_file and tls_key_file: set both or none")
    open_to_all = settings.token_file is None and not settings.allow_without_token
    if open_to_all and settings.host and settings.host not in _LOOPBACK:
        raise ValueError(
            f"host {settings.host!r} without a token: set token_file, or allow_without_token if only the operator"
            " gets there"
        )


def _text(where: str, value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise ValueError(f"{where}: {value!r} is no text")  # noqa: TRY004
    return value


def _flag(where: str, value: Any) -> bool:  # noqa: ANN401
    word = str(value).strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"{where}: {value!r} is neither true nor false")


def _whole(where: str, value: Any, lowest: int, highest: int) -> int:  # noqa: ANN401
    try:
        number = int(str(value).strip())
    except ValueError:
        number = lowest - 1
    if isinstance(value, bool) or not lowest <= number <= highest:
        raise ValueError(f"{where}: {value!r} is no whole number from {lowest} to {highest}")
    return number


def _port(where: str, value: Any) -> int:  # noqa: ANN401
    return _whole(where, value, 1, _LARGEST_PORT)


def _url_path(where: str, value: Any) -> str:  # noqa: ANN401
    path = _text(where, value)
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or any(c in path for c in " ?#"):
        raise ValueError(f"{where}: {value!r} is no path such as {DEFAULT_PATH}")
    return path


def _file(where: str, value: Any) -> Path:  # noqa: ANN401
    path = Path(_text(where, value))
    if not path.is_absolute():
        raise ValueError(f"{where}: {value!r} is no absolute path")
    return path


def _workers(where: str, value: Any) -> int | str:  # noqa: ANN401
    if isinstance(value, str) and value.strip().lower() in ("auto", "live"):
        return value.strip().lower()
    try:
        return _whole(where, value, 1, _MOST_WORKERS)
    except ValueError:
        raise ValueError(f"{where}: {value!r} is neither auto, live nor a number from 1 to {_MOST_WORKERS}") from None


def _seconds(where: str, value: Any) -> float:  # noqa: ANN401
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if isinstance(value, bool) or not 0.0 <= seconds <= _LONGEST_GRACE:
        raise ValueError(f"{where}: {value!r} is no number of seconds from 0 to {_LONGEST_GRACE:.0f}")
    return seconds


def _duration(where: str, value: Any) -> float:  # noqa: ANN401
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    seconds = 0.0
    if match is not None:
        hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = 3600.0 * hours + 60.0 * minutes + rest
    if not _SHORTEST_HEALTH <= seconds <= _LONGEST_HEALTH:
        raise ValueError(
            f"{where}: {value!r} is no duration from 1s to 1h; write it with its unit, such as 5m, 90s or 1m30s,"
            " or leave it out to check every server at each HEALTH_CHECK_INTERVAL"
        )
    return seconds
