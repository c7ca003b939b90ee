"""What this process has seen used: one entry per gateway, in memory.

In: a use, from whichever thread; what a look at the open sessions found. Out: rows as JSON text. Must not: block a
caller for longer than one assignment, or do I/O.

A use costs the caller one lock that nobody holds for longer than a swap of two names, and one tuple.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass

from . import urls

LONGEST_ID = 64
LARGEST_COUNT = 2**53


@dataclass(frozen=True, slots=True)
class Sessions:
    """The open upstream sessions of one gateway."""

    active: int = 0
    """With a request in flight."""
    idle: int = 0
    last_used: float = 0.0
    """Unix seconds; 0 = unknown."""
    url: str | None = None
    """Without any query."""


_NO_SESSIONS = Sessions()


class _Entry:
    __slots__ = ("gateway_id", "row", "sessions", "url", "use")

    def __init__(self, gateway_id: str, url: str | None) -> None:
        self.gateway_id = gateway_id
        self.url = url
        # Count and time in one tuple, so that a reader without the lock never sees the one without the other.
        self.use: tuple[int, float] = (0, 0.0)
        self.sessions = _NO_SESSIONS
        self.row = ""

    def encode(self) -> str:
        count, last_used = self.use
        row: dict[str, str | float | int] = {"gatewayId": self.gateway_id}
        url = self.url or self.sessions.url
        if url:
            row["url"] = url
        last_used = max(last_used, self.sessions.last_used)
        if last_used > 0.0:
            row["lastUsed"] = round(last_used, 3)
        row["active"] = self.sessions.active
        row["idle"] = self.sessions.idle
        row["useCount"] = min(count, LARGEST_COUNT)
        return json.dumps(row, separators=(",", ":"))


class Counts:
    """The entries of one process."""

    def __init__(self) -> None:
        """Nothing used yet."""
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._changed: set[_Entry] = set()
        self._with_sessions: set[str] = set()

    def used(self, gateway_id: str, url: object = None, uses: int = 1, at: float | None = None) -> None:
        """A request to this gateway has begun: now, or ``at`` (Unix seconds).

        ``url`` is looked at only at the first use, and may be any object whose text is the URL.
        """
        entry = self._entries.get(gateway_id)
        if entry is None:
            entry = self._new(gateway_id, url)
            if entry is None:
                return
        if at is None:
            at = time.time()
        with self._lock:
            count, last_used = entry.use
            entry.use = (count + uses, at if at > last_used else last_used)
            self._changed.add(entry)

    def _new(self, gateway_id: str, url: object) -> _Entry | None:
        if not gateway_id or len(gateway_id) > LONGEST_ID or not gateway_id.isascii():
            return None
        shown = urls.public(str(url)) if url is not None else None
        with self._lock:
            return self._entries.setdefault(gateway_id, _Entry(gateway_id, shown))

    def set_url(self, gateway_id: str, url: str) -> None:
        """The URL as the gateway's database holds it, which may be written otherwise than what a hook was shown."""
        entry = self._entries.get(gateway_id)
        shown = urls.public(url)
        if entry is not None and shown and shown != entry.url:
            with self._lock:
                entry.url = shown
                self._changed.add(entry)

    def set_sessions(self, sessions: dict[str, Sessions]) -> None:
        """All gateways that have open sessions; those that had some before and are not named have none now."""
        for gateway_id in self._with_sessions - sessions.keys():
            self._replace_sessions(self._entries[gateway_id], _closed(self._entries[gateway_id].sessions))
        with_sessions = set()
        for gateway_id, found in sessions.items():
            entry = self._entries.get(gateway_id) or self._new(gateway_id, None)
            if entry is not None:
                self._replace_sessions(entry, found)
                with_sessions.add(gateway_id)
        self._with_sessions = with_sessions

    def _replace_sessions(self, entry: _Entry, found: Sessions) -> None:
        # A session that was closed takes its time with it, and the use it tells of is no less true for that.
        if entry.sessions.last_used > found.last_used:
            found = Sessions(found.active, found.idle, entry.sessions.last_used, found.url or entry.sessions.url)
        if found != entry.sessions:
            with self._lock:
                entry.sessions = found
                self._changed.add(entry)

    def gateway_ids(self) -> list[str]:
        """Of every entry."""
        return list(self._entries)

    def rows(self) -> str | None:
        """Every row as a JSON array, or None if nothing has changed since the last call. For one thread only."""
        with self._lock:
            changed, self._changed = self._changed, set()
        if not changed:
            return None
        for entry in changed:
            entry.row = entry.encode()
        # An entry that was made a moment ago and not yet counted has no text; the next call has it.
        return "[" + ",".join(entry.row for entry in list(self._entries.values()) if entry.row) + "]"

    def changed_again(self) -> None:
        """The rows of the last call got nowhere: the next call returns all again."""
        with self._lock:
            self._changed.update(self._entries.values())


def _closed(sessions: Sessions) -> Sessions:
    return Sessions(0, 0, sessions.last_used, sessions.url)
