"""The age of the list of tools at each call.

In: the second of each call; once a minute, when the list of a called server was fetched last, as the database says.
Out: two counts. Must not: ask anything itself, or hold up a caller for longer than a few assignments.

The count of a call waits for the first reading after it. If the fetch that is read came after the call, the call met
the list of the reading before.
"""

from __future__ import annotations

import threading
import time

_MOST_SECONDS = 600
"""Calls of one server wait for the database in at most so many different seconds."""


class ListAges:
    """What one process has counted."""

    def __init__(self) -> None:
        """No call yet."""
        self.counted: tuple[int, int] | None = None
        """Calls of which the age of the list is known, and those of them that met an old one; None before the first
        reading. In one tuple, so that a reader without the lock never sees the one without the other."""
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[int, int]] = {}
        self._fetched_at: dict[str, float] = {}

    def called(self, gateway_id: str) -> None:
        """A tool of this gateway is called now."""
        # The end of this second: a list that was fetched within it is taken for the newer one.
        at = int(time.time()) + 1
        with self._lock:
            waiting = self._waiting.get(gateway_id)
            if waiting is None:
                waiting = self._waiting[gateway_id] = {}
            if at in waiting or len(waiting) < _MOST_SECONDS:
                waiting[at] = waiting.get(at, 0) + 1

    def fetched(self, gateway_id: str, fetched_at: float, *, read_at: float, old_after: float) -> None:
        """The gateway's list was fetched last at ``fetched_at``, as read at ``read_at`` (Unix seconds).

        ``old_after``: the age in seconds beyond which a list is old.
        """
        with self._lock:
            before, self._fetched_at[gateway_id] = self._fetched_at.get(gateway_id), fetched_at
            later: dict[int, int] = {}
            calls, on_old_lists = self.counted or (0, 0)
            for at, number in self._waiting.pop(gateway_id, {}).items():
                last = fetched_at if fetched_at <= at else before
                if at > read_at:
                    later[at] = number
                elif last is not None:
                    calls += number
                    on_old_lists += number if at - last > old_after else 0
            if later:
                self._waiting[gateway_id] = later
            self.counted = (calls, on_old_lists)
