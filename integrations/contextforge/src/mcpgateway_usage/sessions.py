"""A look at the upstream sessions that ContextForge keeps open in this process.

In: its session registry, which is its own and not an interface: whatever does not look as in release 1.0.x counts as
"no sessions". Out: sessions by gateway. Must not: import ContextForge (where it runs, it is loaded), change anything,
or take a session's URL as it is, for ContextForge adds credentials to its query.

Only user requests go through these sessions: neither health checks nor tool refreshes do.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from . import urls
from .counts import Sessions

_LOG = logging.getLogger("mcpgateway_usage")
_MODULE = "mcpgateway.services.upstream_session_registry"


class Look:
    """Looks, and says once what it cannot make sense of."""

    def __init__(self) -> None:
        """Nothing was wrong yet."""
        self._warned = False

    def sessions(self) -> dict[str, Sessions]:
        """The open sessions of this process by gateway id."""
        module = sys.modules.get(_MODULE)
        registry = getattr(module, "_registry", None) if module is not None else None
        if registry is None:
            return {}
        try:
            # One call that runs to its end in C: the event loop's thread may be changing the dict.
            return group(list(registry._sessions.values()))
        except Exception as error:  # noqa: BLE001
            if not self._warned:
                self._warned = True
                _LOG.warning("upstream sessions are not counted, this ContextForge keeps them otherwise: %r", error)
            return {}


def group(sessions: list[Any]) -> dict[str, Sessions]:
    """Sessions of ContextForge by gateway."""
    found: dict[str, Sessions] = {}
    for session in sessions:
        if session.is_closed:
            continue
        before = found.get(session.gateway_id) or Sessions(url=urls.public(session.url, keep_query=False))
        busy = bool(session.operation_lock.locked())
        found[session.gateway_id] = Sessions(
            active=before.active + busy,
            idle=before.idle + (not busy),
            last_used=max(before.last_used, float(session.last_used)),
            url=before.url,
        )
    return found
