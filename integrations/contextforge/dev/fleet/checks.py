"""What is said to people: steps, tables, and what was asserted."""

from __future__ import annotations

import time

_BEGUN = time.monotonic()


def step(text: str) -> None:
    """A headline, with the seconds since the start."""
    print(f"\n==> [{time.monotonic() - _BEGUN:4.0f} s] {text}", flush=True)


def note(text: str) -> None:
    """A line, or several, below a headline."""
    for line in text.splitlines():
        print(f"    {line}", flush=True)


def check(what: str, right: bool, found: object = "") -> None:
    """Say it, and end if it is not so.

    Raises:
        SystemExit: it is not so.
    """
    detail = f": {found}" if found != "" else ""
    print(f"{'ok  ' if right else 'FAIL'} {what}{detail}", flush=True)
    if not right:
        raise SystemExit(1)


def watch(what: str, seconds: float, look: object = None) -> None:
    """Let time pass, with a sign of life every minute; ``look`` is called each second and may end it all."""
    begun = time.monotonic()
    said = 0
    while (passed := time.monotonic() - begun) < seconds:
        if callable(look):
            look()
        if passed // 60 > said:
            said = int(passed // 60)
            note(f"{what}: {passed:.0f} of {seconds:.0f} s")
        time.sleep(min(1.0, max(seconds - passed, 0.01)))


def check_calls(who: str, answered: int, failed: int) -> None:
    """That a client was served all the time; on a busy machine one call in twenty may fail.

    Raises:
        SystemExit: it was not.
    """
    check(f"{who} was served", answered > 0 and answered >= 20 * failed, f"{answered} calls, {failed} failed")
