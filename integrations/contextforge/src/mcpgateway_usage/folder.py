"""The folder in which the processes of one pod meet: who lives, and what each has seen.

In: the rows of this process. Out: the entries of all of them. Must not: trust a file of another user, or wait for
another process.

Each process has two files, named by its id, a UUID made after the fork:

* ``<id>.lock``, locked (flock) from before it can be seen until the kernel closes it. So a lock that is free means that
  the process has ended, however it died. The file says how many processes that one expects; its modification time is
  the last moment for which the rows are known to be true, so a process that hangs shows by a time that stands still.
* ``<id>.rows``, a JSON array, replaced as a whole by rename.

And a third one, ``<id>.polling``, where there is something to say: a JSON object, replaced in the same way.

``serving.lock`` belongs to the process that serves the endpoint. Nothing is synced to a disk: what must survive is the
death of a process, not that of the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

_LOCK_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.lock")
_LEFTOVER_NAME = re.compile(r"[0-9a-f-]{36}\.(rows|lock|polling|rows\.new|lock\.new|polling\.new)")
_MOST_ENDED = 256
_LEFTOVER_SECONDS = 60.0
_NO_ROWS = b"[]"


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the pod, as its files tell."""

    id: str
    alive: bool
    observed_at: float
    """Unix seconds: until when the rows are known to be true."""
    expects: int
    """How many processes this one expects in the pod; 0 = no opinion."""
    rows: bytes
    """A JSON array."""
    polling: bytes = b""
    """A JSON object, or nothing."""


def default_path(port: int) -> Path:
    """A folder in memory, or else the folder for temporary files, that no other user and no other endpoint has."""
    memory = Path("/dev/shm")  # noqa: S108
    base = memory if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    return base / f"mcpgateway-usage-{os.geteuid()}-{port}"


def prepare(path: Path) -> None:
    """Make the folder, for this user alone.

    Raises:
        OSError: it cannot be made, or it belongs to somebody else.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    state = path.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        raise PermissionError(f"{path} is no folder of this user")
    if state.st_mode & 0o077:
        path.chmod(0o700)


class Membership:
    """This process in the folder. Used by one thread; ``rows`` go in as they stand."""

    def __init__(self, path: Path, expects: int) -> None:
        """Under a new id; nothing is written before the first :meth:`publish`."""
        self.id = str(uuid.uuid4())
        self._path = path
        self._expects = expects
        self._lock = -1
        self._rows = _NO_ROWS.decode()
        self._polling = ""

    def publish(self, rows: str | None, at: float, polling: str = "") -> None:
        """State that at that moment (Unix seconds) these were the rows; None = the same as before.

        ``polling`` is written if it differs from the last time.

        Raises:
            OSError: it could not be written; others see a time that stands still until a later call succeeds.
        """
        missing = not self._is_visible()
        if rows is not None:
            self._rows = rows
        if rows is not None or missing:
            prepare(self._path)
            self._replace(f"{self.id}.rows", self._rows.encode(), at)
        if polling != self._polling or (polling and missing):
            self._replace(f"{self.id}.polling", polling.encode(), at)
            self._polling = polling
        if missing:
            self._register()
        os.utime(self._lock, (at, at))

    def _is_visible(self) -> bool:
        if self._lock < 0:
            return False
        try:
            here, there = os.fstat(self._lock), (self._path / f"{self.id}.lock").lstat()
        except OSError:
            return False
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def _register(self) -> None:
        self._close_lock()
        temporary = self._path / f"{self.id}.lock.new"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        # Remembered before it is locked: a child that is forked in between must know what to close.
        self._lock = os.open(temporary, flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._lock, json.dumps({"expects": self._expects, "pid": os.getpid()}).encode())
            temporary.rename(self._path / f"{self.id}.lock")
        except OSError:
            self._close_lock()
            raise

    def _replace(self, name: str, content: bytes, at: float) -> None:
        temporary = self._path / f"{name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, 0o600)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.utime(descriptor, (at, at))
        finally:
            os.close(descriptor)
        temporary.rename(self._path / name)

    def _close_lock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def close(self) -> None:
        """Let go of the lock. After a fork the child must: its copy would keep a dead parent alive."""
        self._close_lock()


class Serving:
    """The right to serve the endpoint of the pod, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Not held yet."""
        self._path = path
        self._lock = -1

    def try_take(self) -> bool:
        """Whether this process holds it now."""
        if self._lock >= 0:
            return True
        prepare(self._path)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        # Remembered before it is locked: a child that is forked in between must know what to close.
        self._lock = os.open(self._path / "serving.lock", flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            return False
        return True

    def close(self) -> None:
        """Leave it to another process."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def read(path: Path, grace: float, now: float) -> list[Process]:
    """Every process that lives, and those that ended less than ``grace`` seconds ago, in the order of their ids.

    Files of older ones are removed, and so are those that no process will come back for.
    """
    living: list[Process] = []
    ended: list[Process] = []
    names = sorted(os.listdir(path))  # noqa: PTH208
    for name in names:
        match = _LOCK_NAME.fullmatch(name)
        process = _read_process(path, match[1]) if match else None
        if process is None:
            continue
        if process.alive:
            living.append(process)
        elif process.rows == _NO_ROWS or now - process.observed_at > grace:
            _remove(path, process.id)
        else:
            ended.append(process)
    ended.sort(key=lambda process: process.observed_at, reverse=True)
    for process in ended[_MOST_ENDED:]:
        _remove(path, process.id)
    _sweep(path, names, now)
    return sorted(living + ended[:_MOST_ENDED], key=lambda process: process.id)


def _read_process(path: Path, process_id: str) -> Process | None:
    try:
        descriptor = os.open(path / f"{process_id}.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        state = os.fstat(descriptor)
        if not _is_ours(state):
            return None
        # The lock first, the rows after it: those of a process that is found dead are its last.
        alive = _is_locked(descriptor)
        expects = _expects(os.read(descriptor, 4096))
    finally:
        os.close(descriptor)
    rows, written_at = _read_ours(path / f"{process_id}.rows")
    polling, _ = _read_ours(path / f"{process_id}.polling")
    return Process(process_id, alive, max(state.st_mtime, written_at), expects, rows or _NO_ROWS, polling)


def _is_ours(state: os.stat_result) -> bool:
    return stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid()


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _expects(text: bytes) -> int:
    try:
        value = json.loads(text)["expects"]
    except (ValueError, KeyError, TypeError):
        return 0
    return value if isinstance(value, int) else 0


def _read_ours(path: Path) -> tuple[bytes, float]:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:  # noqa: PTH123
            state = os.fstat(file.fileno())
            if _is_ours(state):
                return file.read(), state.st_mtime
    except OSError:
        pass
    return b"", 0.0


def _remove(path: Path, process_id: str) -> None:
    # The lock last: while it stands, the next reader finds the rest again.
    for suffix in ("rows.new", "rows", "polling.new", "polling", "lock"):
        with contextlib.suppress(OSError):
            (path / f"{process_id}.{suffix}").unlink()


def _sweep(path: Path, names: list[str], now: float) -> None:
    """Remove what a process left that died in the middle of writing."""
    present = set(names)
    for name in names:
        if not _LEFTOVER_NAME.fullmatch(name) or f"{name[:36]}.lock" in present:
            continue
        with contextlib.suppress(OSError):
            if now - (path / name).lstat().st_mtime > _LEFTOVER_SECONDS:
                (path / name).unlink()


def now() -> float:
    """The clock that all times of a report are in: Unix seconds."""
    return time.time()
