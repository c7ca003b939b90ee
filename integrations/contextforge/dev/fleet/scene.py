"""What the plays share: the command line, a folder, and that everything ends however the play ends."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from .checks import note
from .contextforge import Fleet
from .operators import Cluster


def parser(description: str | None) -> argparse.ArgumentParser:
    """What every play is told."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--fastmcp", required=True, help="a Python with fastmcp that speaks the protocol of 2026-07-28")
    made.add_argument("--fastmcp-older", required=True, help="a Python with an older fastmcp")
    made.add_argument("--operator", required=True, help="the binary mcpgateway-operator")
    made.add_argument("--keep", help="a folder for all files and logs, which stays")
    return made


@contextlib.contextmanager
def folder(keep: str | None) -> Iterator[Path]:
    """A folder that goes with the play, or the one that was named. A TERM from here on ends the play in good order."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    for tool in ("redis-server", "redis-cli"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is missing")
    if keep:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="mcpgateway-e2e-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def ending(fleets: list[Fleet], cluster: Cluster) -> Iterator[None]:
    """End all processes of these at the end; when it was a bad one, show the ends of the logs first."""
    try:
        yield
    except BaseException:
        for fleet in fleets:
            for log in sorted(fleet.folder.glob("*.log")):
                if log.stem.startswith(("gateway-", "operator-", "upstream", "clients")):
                    note(f"the last lines of {log.name}:\n{fleet.processes.tail(log.stem, 12)}")
        raise
    finally:
        for fleet in fleets:
            fleet.processes.end_all()
        cluster.stop()
