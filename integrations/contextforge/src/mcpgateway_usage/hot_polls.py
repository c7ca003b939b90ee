"""A hot server is always due for a refresh, so that the release's throttle alone decides, as for an unclassified one.

The release asks twice before a refresh: its classification, and a throttle on the time of the last refresh in its
database. Both compare with the same interval. The classification counts from the *end* of a refresh, the throttle of
1.1.0 from the beginning of the cycle. A hot server is therefore refused at the tick at which an unclassified one is
refreshed, and comes a tick later. The classification also knows nothing of a gateway's own interval.

In: the release's method. Out: one that gives its answer, but "due" for a hot server. Must not: write a stamp, or let
out an exception that the release would not have raised.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .release_shape import Method
from .wrapping import Function

_LOG = logging.getLogger("mcpgateway_usage")
MODULE = "mcpgateway.services.server_classification_service"
OWNER = "ServerClassificationService"
POLL_TYPE = "tool_discovery"
"""The only type that the release asks for."""

DECISION = Method(
    module=MODULE,
    owner=OWNER,
    name="should_poll_server",
    parameters=("self", "url", "poll_type", "gateway_id"),
    uses=frozenset({"get_server_classification", "hot_server_check_interval", "cold_server_check_interval"}),
)
TIER = Method(
    module=MODULE,
    owner=OWNER,
    name="get_server_classification",
    parameters=("self", "url"),
    uses=frozenset({"sismember", "CLASSIFICATION_HOT_KEY", "CLASSIFICATION_COLD_KEY"}),
)


def wrap(original: Function, is_on: Callable[[], bool]) -> Function:
    """The method with that change; ``is_on`` is asked each time."""

    async def should_poll_server(self: Any, url: str, poll_type: str, gateway_id: str = "") -> Any:  # noqa: ANN401
        due = await original(self, url, poll_type, gateway_id)
        # Whatever is not plainly "no" is the release's own.
        if due is not False or poll_type != POLL_TYPE:
            return due
        try:
            return is_on() and await self.get_server_classification(url) == "hot"
        except Exception:  # noqa: BLE001 - whatever it is, the release's answer stands
            _LOG.debug("the tier of a server is not known", exc_info=True)
            return due

    return should_poll_server
