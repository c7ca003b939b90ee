"""The release's own database, as the lookup reads it: run by test_lookup.py in a process of its own.

Exits with 0 if all is as it should be.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from mcpgateway import db

from mcpgateway_usage.counts import Counts
from mcpgateway_usage.lookup import Database, Lookup, Stored


def same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise SystemExit(f"{what}: {found}, expected {wanted}")


def gateway(name: str, created_at: int, refreshed_at: int | None) -> Any:
    def moment(seconds: int) -> datetime:
        return datetime.fromtimestamp(seconds, UTC)

    return db.Gateway(
        id=name,
        name=name,
        slug=name,
        url=f"http://{name}.example/mcp",
        capabilities={},
        created_at=moment(created_at),
        last_refresh_at=moment(refreshed_at) if refreshed_at else None,
    )


def main() -> None:
    now = int(time.time())
    db.Base.metadata.create_all(db.engine)
    with db.SessionLocal() as session:
        session.add_all([gateway("old", now - 9000, now - 700), gateway("new", now - 9000, now - 500)])
        session.add(gateway("unrefreshed", now - 50, None))
        session.commit()
    stored = Database().stored(["old", "new", "unrefreshed", "unknown"])
    times = {"old": now - 700, "new": now - 500, "unrefreshed": now - 50}
    wanted = [Stored(name, f"http://{name}.example/mcp", float(at)) for name, at in times.items()]
    same("what is stored", sorted(stored, key=str), sorted(wanted, key=str))
    same("the refresh interval", Database().refresh_interval(), 300)
    lookup = Lookup(counts := Counts(), Database())
    time.time = lambda: float(now)
    for name in ("old", "new", "unrefreshed", "unknown"):
        counts.used(name)
        lookup.ages.called(name)
    # The next second: what is read within that of the call may be older than the call.
    time.time = lambda: now + 2.0
    lookup.ask()
    same("calls, and those on old lists", lookup.ages.counted, (3, 1))


if __name__ == "__main__":
    main()
