"""The report of a pod, from the entries of its processes. Pure.

In: processes, the moment of the answer. Out: the body, and a tag that covers all of it but its two kinds of times.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from .folder import Process

STALE_SECONDS = 5.0
"""A living process whose rows are older hangs, or cannot write."""


@dataclass(frozen=True, slots=True)
class Report:
    """One answer."""

    body: bytes
    tag: str | None
    """None while a process is stale: an answer "not modified" would say that its rows were true until now."""


def build(processes: list[Process], expected: int, now: float) -> Report:
    """The report of these processes at this moment.

    ``expected`` is how many *living* processes there should be. Those that ended stay in the report for a while with
    what they have seen, so that a use in their last moments is not lost; they count as expected, or else they would
    hide a living one that is missing. Their rows cannot change any more, so they are true now; their sessions are gone.
    """
    digest = hashlib.sha256()
    entries: list[bytes] = []
    stale = False
    for process in processes:
        rows = process.rows if process.alive else without_sessions(process.rows)
        observed_at = min(process.observed_at, now) if process.alive else now
        stale = stale or now - observed_at > STALE_SECONDS
        polling = b'"polling":%s,' % process.polling if process.polling else b""
        name = process.id.encode()
        entries.append(b'{"id":"%s","observedAt":%.3f,%s"servers":%s}' % (name, observed_at, polling, rows))
        digest.update(b"%s\n%d\n%d\n" % (name, len(polling), len(rows)))
        digest.update(polling)
        digest.update(rows)
    living = sum(process.alive for process in processes)
    expected = max(expected, living) + len(processes) - living
    digest.update(b"expected %d" % expected)
    head = (
        b'{"apiVersion":"usage.mcpgateway.io/v1alpha1","kind":"UsageReport",'
        b'"generatedAt":%.3f,"expectedWorkers":%d,"workers":[' % (now, expected)
    )
    tag = None if stale else f'W/"{digest.hexdigest()[:32]}"'
    return Report(head + b",".join(entries) + b"]}", tag)


def expected_workers(processes: list[Process], setting: int | str) -> int:
    """How many living processes there should be: the setting, or the most that one of them expects."""
    if isinstance(setting, int):
        return setting
    return max((process.expects for process in processes if process.alive), default=0)


def without_sessions(rows: bytes) -> bytes:
    """The rows of a process that ended, which has no sessions any more."""
    decoded = json.loads(rows)
    for row in decoded:
        row["active"] = row["idle"] = 0
    return json.dumps(decoded, separators=(",", ":")).encode()
