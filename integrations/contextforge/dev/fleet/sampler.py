"""Looks at the lock and the publication in Redis all the time, so that nothing happens unseen between two checks.

In: a port. Out: samples. Must not: write anything.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import redis

from .contextforge import KEYS

_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """One instant."""

    at: float
    holder: str
    """"" when the lock is free."""
    published: bool


class Sampler:
    """Samples from its start to its end."""

    def __init__(self, port: int) -> None:
        """Begin."""
        self.samples: list[Sample] = []
        self._client = redis.Redis(port=port, decode_responses=True)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="sampler", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            pipe = self._client.pipeline(transaction=True)
            pipe.get(f"{KEYS}:leader")
            pipe.exists(f"{KEYS}:timestamp")
            holder, published = pipe.execute()
            self.samples.append(Sample(time.time(), holder or "", bool(published)))

    def end(self) -> list[Sample]:
        """Stop, and what was seen."""
        self._over.set()
        self._thread.join()
        self._client.close()
        return self.samples


def holders(samples: list[Sample]) -> list[str]:
    """Who held the lock, one after the other; "(free)" where nobody did."""
    found: list[str] = []
    for sample in samples:
        holder = sample.holder or "(free)"
        if not found or found[-1] != holder:
            found.append(holder)
    return found
