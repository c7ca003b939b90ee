"""This process' part: one set of counts, one thread that publishes them, and the endpoint if it is this one's turn.

In: settings at the first start. Out: :func:`counts` and :func:`lookup` for the hooks. Must not: share anything with a
parent or a child but the folder.

The state belongs to the process and not to a plugin instance, because ContextForge makes and drops several of those in
the life of a process. After a fork the child begins anew, under a new id, when it first counts something: it lets go of
every file and socket that it inherited, because a copy of a lock would keep a dead parent alive.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable

from . import endpoint, expected, folder, report
from .counts import Counts
from .lookup import Lookup
from .polling import Polling
from .sessions import Look
from .settings import Settings

_LOG = logging.getLogger("mcpgateway_usage")
TICK_SECONDS = 0.25
_EVERY_TICKS = 2
"""Rows are published, and the heart beats, every second tick; whether the endpoint is free is seen at each."""
_LOOK_SHARE = 200
"""A look at the sessions is taken so seldom that it costs at most one part in so many of one core."""


class Process:
    """One process of the pod."""

    def __init__(self, settings: Settings) -> None:
        """Nothing runs before :meth:`start`."""
        self.pid = os.getpid()
        self.counts = Counts()
        self.lookup = Lookup(self.counts) if settings.prompts_and_resources else None
        self.polling = Polling(settings)
        self._settings = settings
        self._path = settings.directory or folder.default_path(settings.port)
        expects = expected.workers() if settings.expected_workers == "auto" else 0
        self._membership = folder.Membership(self._path, expects)
        self._serving = folder.Serving(self._path)
        self._endpoint: endpoint.Endpoint | None = None
        self._look = Look()
        self._look_at = 0.0
        # Publishing happens in the thread, at a request to the endpoint, and at the end.
        self._publishing = threading.Lock()
        self._stop = threading.Event()
        self._faults: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="mcpgateway-usage", daemon=True)

    @property
    def id(self) -> str:
        """The id of this process in the report."""
        return self._membership.id

    def start(self) -> None:
        """Be seen by the others at once, then publish on."""
        self._guard("polling", lambda: self.polling.install(_polling))
        self.flush()
        self._thread.start()

    def flush(self) -> None:
        """Publish what has been counted so far."""
        with self._publishing:
            self._guard("publish", self._publish)

    def close(self) -> None:
        """The process is about to end: publish the last counts and leave the endpoint to another."""
        self._stop.set()
        if self._endpoint is not None:
            self._endpoint.close()
        self._serving.close()
        self.flush()

    def abandon(self) -> None:
        """In a child: let go of what belongs to the parent."""
        if self._endpoint is not None:
            self._endpoint.close_after_fork()
        self._serving.close()
        self._membership.close()

    def _run(self) -> None:
        tick = 0
        while not self._stop.wait(TICK_SECONDS):
            tick += 1
            self._guard("serve", self._serve)
            if tick % _EVERY_TICKS == 0:
                self._guard("sessions", self._look_at_sessions)
                if self.lookup is not None:
                    self._guard("lookup", self.lookup.tick)
                self.flush()

    def _publish(self) -> None:
        now = folder.now()
        rows = self.counts.rows()
        try:
            calls = self.lookup.ages.counted if self.lookup is not None else None
            self._membership.publish(rows, now, self.polling.encode(calls))
        except OSError:
            if rows is not None:
                self.counts.changed_again()
            raise

    def _look_at_sessions(self) -> None:
        begun = time.monotonic()
        if begun < self._look_at:
            return
        self.counts.set_sessions(self._look.sessions())
        ended = time.monotonic()
        self._look_at = ended + _LOOK_SHARE * (ended - begun)

    def _serve(self) -> None:
        if self._endpoint is not None and self._endpoint.is_alive():
            return
        if not self._serving.try_take():
            return
        settings = self._settings
        listener = endpoint.listen(settings.listen_host, settings.port)
        tls = None
        if settings.tls_cert_file is not None and settings.tls_key_file is not None:
            tls = endpoint.Tls(settings.tls_cert_file, settings.tls_key_file)
        tokens = endpoint.Tokens(settings.token_file)
        self._endpoint = endpoint.Endpoint(listener, settings.path, tokens, tls, self._report)
        if self._stop.is_set():
            self._endpoint.close()
            return
        self._endpoint.start()
        _LOG.info("process %d serves the usage report at port %d%s", self.pid, settings.port, settings.path)

    def _report(self) -> report.Report:
        self.flush()
        processes = folder.read(self._path, self._settings.ended_grace, folder.now())
        wanted = report.expected_workers(processes, self._settings.expected_workers)
        return report.build(processes, wanted, folder.now())

    def _guard(self, what: str, act: Callable[[], None]) -> None:
        """Nothing that goes wrong here may reach the gateway; a cause is said once, until it is another or has gone."""
        try:
            act()
        except Exception as error:  # noqa: BLE001
            cause = f"{type(error).__name__}: {error}"
            if self._faults.get(what) != cause:
                self._faults[what] = cause
                _LOG.warning("usage report, %s: %s; trying on", what, cause)
        else:
            if self._faults.pop(what, None) is not None:
                _LOG.info("usage report, %s: well again", what)


class _State:
    """The one process that this one is."""

    lock = threading.Lock()
    settings: Settings | None = None
    current: Process | None = None
    abandoned: list[Process] = []  # noqa: RUF012


def configure(settings: Settings) -> None:
    """The settings of this process and of its children. The first ones hold, because there is one endpoint."""
    with _State.lock:
        if _State.settings is None:
            _State.settings = settings
        elif _State.settings != settings:
            _LOG.warning("two different settings for the usage report in one process; the first ones hold")


def current() -> Process | None:
    """This process, started if it has not been; None if it is switched off or not configured."""
    process = _State.current
    # Not every fork runs Python's handlers.
    if process is not None and process.pid == os.getpid():
        return process
    return _begin()


def _polling() -> Polling | None:
    """What the replaced methods ask: the polling of the process in which they run, which may be a child's."""
    try:
        here = current()
    except Exception:  # noqa: BLE001 - whatever it is, the release does what it does
        _LOG.debug("the process could not be started", exc_info=True)
        return None
    return here.polling if here is not None else None


def _begin() -> Process | None:
    with _State.lock:
        process = _State.current
        if process is not None and process.pid == os.getpid():
            return process
        if process is not None:
            _abandon(process)
        if _State.settings is None or not _State.settings.enabled:
            return None
        _State.current = Process(_State.settings)
        _State.current.start()
        return _State.current


def _abandon(process: Process) -> None:
    with contextlib.suppress(OSError):
        process.abandon()
    # Kept, so that nothing of it is finalised as if it were this process' own.
    _State.abandoned.append(process)
    _State.current = None


def _after_fork_in_child() -> None:
    # A lock may have been held by a thread that does not exist here.
    _State.lock = threading.Lock()
    if _State.current is not None:
        _abandon(_State.current)


def _at_exit() -> None:
    process = _State.current
    if process is not None and process.pid == os.getpid():
        process.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
