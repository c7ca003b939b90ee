"""Which gateway a prompt or resource belongs to, and how its URL is stored: asked of ContextForge's own database.

Hooks of prompts and resources name no gateway. Without this a server of which only those are used would look unused,
and be polled as a cold one. Hooks of tools name it, with a URL that the framework may have written otherwise than it is
stored (a slash after a bare host); the operator compares stored URLs. When a list of tools was fetched last is read
with them.

In: what hooks noted, the ids of counted gateways. Out: uses and URLs into the counts, times into the ages of lists.
Must not: ask within a hook, ask about one thing twice within a minute, hold up the publisher (a database that hangs
holds up this thread alone), or write.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .counts import Counts
from .health_pacing import unix
from .list_ages import ListAges

_LOG = logging.getLogger("mcpgateway_usage")
_MODULE = "mcpgateway.db"
_FRESH_SECONDS = 60.0
_RETRY_SECONDS = 10.0
_MOST_NAMES = 10_000
_BATCH = 200

Kind = Literal["prompt", "resource"]
Name = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database has of one gateway."""

    gateway_id: str
    url: str
    fetched_at: float | None = None
    """Unix seconds of the last fetch of its list of tools: a refresh, or else its registration."""


class Source(Protocol):
    """Where the answers come from."""

    def gateways_of(self, kind: Kind, keys: Sequence[str]) -> list[tuple[str, str]]:
        """Pairs of a key (the name, URI or id of a prompt or resource) and the id of a gateway that has it."""

    def stored(self, gateway_ids: Sequence[str]) -> list[Stored]:
        """What is known of these gateways."""

    def refresh_interval(self) -> float | None:
        """The refresh interval of hot servers, in seconds."""


class Database:
    """ContextForge's database through its own models, which this process has loaded."""

    def gateways_of(self, kind: Kind, keys: Sequence[str]) -> list[tuple[str, str]]:
        """See :class:`Source`. A name that several have counts for each: better one too many than one starved."""
        db = sys.modules[_MODULE]
        model = db.Prompt if kind == "prompt" else db.Resource
        name = model.name if kind == "prompt" else model.uri
        found: list[tuple[str, str]] = []
        for column in (model.id, name):
            rows = self._rows(column, model.gateway_id, where=[column.in_(keys), model.gateway_id.is_not(None)])
            found += [(str(key), str(gateway_id)) for key, gateway_id in rows]
        return found

    def stored(self, gateway_ids: Sequence[str]) -> list[Stored]:
        """See :class:`Source`. A release that does not write the times of refreshes leaves them unknown."""
        gateway = sys.modules[_MODULE].Gateway
        times = (gateway.last_refresh_at, gateway.created_at) if hasattr(gateway, "last_refresh_at") else ()
        rows = self._rows(gateway.id, gateway.url, *times, where=[gateway.id.in_(gateway_ids)])
        return [Stored(str(i), str(url), next((unix(at) for at in known if at), None)) for i, url, *known in rows]

    def refresh_interval(self) -> float | None:
        """See :class:`Source`."""
        settings = getattr(sys.modules[_MODULE], "settings", None)
        return getattr(settings, "gateway_auto_refresh_interval", None)

    @staticmethod
    def _rows(*columns: Any, where: Sequence[Any]) -> Any:  # noqa: ANN401
        with sys.modules[_MODULE].SessionLocal() as session:
            return session.query(*columns).filter(*where).all()


class Lookup:
    """What waits for an answer, and the answers of the last minute."""

    def __init__(self, counts: Counts, source: Source | None = None) -> None:
        """Nothing noted; without a source it is ContextForge's database, where that is loaded."""
        self.ages = ListAges()
        self._counts = counts
        self._source = source
        self._lock = threading.Lock()
        self._waiting: dict[Name, tuple[int, float]] = {}
        self._known: dict[Name, tuple[float, list[str]]] = {}
        self._urls_at: dict[str, float] = {}
        self._not_before = 0.0
        self._warned = False
        self._thread: threading.Thread | None = None

    def note(self, kind: Kind, key: str) -> None:
        """A prompt or resource has been used, now."""
        now = time.time()
        known = self._known.get((kind, key))
        if known is not None and time.monotonic() < known[0]:
            for gateway_id in known[1]:
                self._counts.used(gateway_id)
            return
        with self._lock:
            if len(self._waiting) < _MOST_NAMES:
                uses, _ = self._waiting.get((kind, key), (0, 0.0))
                self._waiting[kind, key] = (uses + 1, now)

    def tick(self) -> None:
        """Begin to ask if there is something to ask, in a thread that ends with the answers."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._source is None:
            if not hasattr(sys.modules.get(_MODULE), "SessionLocal"):
                return
            self._source = Database()
        if time.monotonic() >= self._not_before and (self._waiting or self._urls_due()):
            self._thread = threading.Thread(target=self.ask, name="mcpgateway-usage-lookup", daemon=True)
            self._thread.start()

    def ask(self) -> None:
        """Ask all that waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        try:
            self._ask_names(waiting)
            self._ask_urls()
            self._warned = False
        except Exception as error:  # noqa: BLE001
            self._not_before = time.monotonic() + _RETRY_SECONDS
            if not self._warned:
                self._warned = True
                _LOG.warning(
                    "prompts and resources are counted later, the database does not answer: %s", type(error).__name__
                )
        with self._lock:
            # What was answered is no longer in it.
            for name, (uses, at) in waiting.items():
                more, later = self._waiting.get(name, (0, 0.0))
                self._waiting[name] = (uses + more, max(at, later))

    def _ask_names(self, waiting: dict[Name, tuple[int, float]]) -> None:
        now = time.monotonic()
        self._known = {name: known for name, known in self._known.items() if now < known[0]}
        kinds: tuple[Kind, ...] = ("prompt", "resource")
        for kind in kinds:
            for keys in _batches(key for of, key in list(waiting) if of == kind):
                found: dict[str, list[str]] = {key: [] for key in keys}
                for key, gateway_id in self._get().gateways_of(kind, keys):
                    if gateway_id not in found.setdefault(key, []):
                        found[key].append(gateway_id)
                for key, gateway_ids in found.items():
                    self._known[kind, key] = (now + _FRESH_SECONDS, gateway_ids)
                    uses, at = waiting.pop((kind, key), (0, 0.0))
                    for gateway_id in gateway_ids if uses else ():
                        self._counts.used(gateway_id, None, uses, at)

    def _urls_due(self) -> list[str]:
        now = time.monotonic()
        return [gateway_id for gateway_id in self._counts.gateway_ids() if self._urls_at.get(gateway_id, 0.0) <= now]

    def _ask_urls(self) -> None:
        for gateway_ids in _batches(self._urls_due()):
            read_at, interval = time.time(), self._get().refresh_interval()
            for stored in self._get().stored(gateway_ids):
                self._counts.set_url(stored.gateway_id, stored.url)
                if stored.fetched_at is not None and interval is not None:
                    self.ages.fetched(stored.gateway_id, stored.fetched_at, read_at=read_at, old_after=2 * interval)
            self._urls_at.update(dict.fromkeys(gateway_ids, time.monotonic() + _FRESH_SECONDS))

    def _get(self) -> Source:
        if self._source is None:
            raise RuntimeError("no database is loaded")
        return self._source


def _batches(keys: Iterable[str]) -> list[list[str]]:
    every = list(keys)
    return [every[start : start + _BATCH] for start in range(0, len(every), _BATCH)]
