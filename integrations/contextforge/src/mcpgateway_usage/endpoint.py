"""The endpoint: a very small HTTP/1.1 server for one document. Threads, sockets, nothing else.

In: a listening socket, a way to make the report. Out: answers. Must not: read a body, wait for a client beyond its
deadline, keep more than a fixed number of connections, or say anything but 401 to one without the token.

Each connection is served once and closed. When all places are taken the oldest is cut off, not the newest turned away:
an honest request takes milliseconds, so it is the slow ones that pay.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hmac
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from .report import Report

_LOG = logging.getLogger("mcpgateway_usage")
ANSWER_THREAD = "mcpgateway-usage-answer"
_MOST_CONNECTIONS = 32
_LONGEST_HEAD = 8192
_REQUEST_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_LINGER_SECONDS = 1.0
_SMALLEST_GZIP = 1024
_LONGEST_TOKEN_FILE = 16_384
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([!-~]{1,4096}) HTTP/1\.[01]")


@dataclass(frozen=True, slots=True)
class Request:
    """What of a request counts."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case; values of repeated ones joined by a comma."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: HTTPStatus
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, with_body: bool) -> bytes:
        """The bytes on the wire."""
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}", *(f"{k}: {v}" for k, v in self.headers)]
        if self.status != HTTPStatus.NOT_MODIFIED:
            lines.append(f"Content-Length: {len(self.body)}")
        head = ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1")
        return head + self.body if with_body else head


def listen(host: str | None, port: int) -> socket.socket:
    """A listening socket; no host = every address, IPv6 and IPv4 where there are both.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    candidates = [("::", socket.AF_INET6), ("0.0.0.0", socket.AF_INET)]
    if host is not None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        candidates = [(str(address[0]), family) for family, _, _, _, address in found]
    for place, (address, family) in enumerate(candidates):
        try:
            listener = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            if place + 1 < len(candidates):
                continue
            raise
        try:
            # So that a successor need not wait for connections of the dead to time out. It lets nobody in beside a
            # listener: that takes SO_REUSEPORT.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host is not None))
            listener.bind((address, port))
            listener.listen(_MOST_CONNECTIONS)
        except OSError as error:
            listener.close()
            # No IPv6 address in this pod: the next candidate.
            if place + 1 < len(candidates) and not _is_taken(error):
                continue
            raise
        return listener
    raise OSError(f"no address for {host!r}")


def _is_taken(error: OSError) -> bool:
    return error.errno == errno.EADDRINUSE


class Tokens:
    """The bearer tokens, read again for every request: the file is tiny, and no change of it must be missed."""

    def __init__(self, file: Path | None) -> None:
        """No file = everybody may read."""
        self._file = file

    def allow(self, authorization: str) -> bool:
        """Whether this value of the header carries one of the tokens. A file that cannot be read allows nobody."""
        if self._file is None:
            return True
        try:
            with self._file.open("rb") as file:
                tokens = [line.strip() for line in file.read(_LONGEST_TOKEN_FILE).splitlines()]
        except OSError as error:
            _LOG.warning("the token file cannot be read, so nobody is answered: %s", error.strerror)
            return False
        scheme, _, given = authorization.partition(" ")
        sent = given.strip().encode("latin-1", "replace")
        # Each is compared, so that the time tells nothing of which one it was.
        matches = [hmac.compare_digest(token, sent) for token in tokens if token]
        return scheme.lower() == "bearer" and any(matches)


class Tls:
    """The certificate, read again when either file has changed."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Nothing is read yet."""
        self._cert, self._key = cert, key
        self._seen: tuple[tuple[int, int, int], ...] = ()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The current one.

        Raises:
            OSError: a file cannot be read, or is no certificate or key (ssl.SSLError is one).
        """
        states = [path.stat() for path in (self._cert, self._key)]
        seen = tuple((state.st_mtime_ns, state.st_ino, state.st_size) for state in states)
        if self._context is None or seen != self._seen:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self._cert, self._key)
            self._context, self._seen = context, seen
        return self._context


class Endpoint:
    """Serves one listener until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        path: str,
        tokens: Tokens,
        tls: Tls | None,
        report: Callable[[], Report],
    ) -> None:
        """``report`` is called for each request that may see it, one at a time."""
        self.listener = listener
        self._path, self._tokens, self._tls, self._report = path, tokens, tls, report
        self._lock = threading.Lock()
        self._build = threading.Lock()
        self._open: dict[socket.socket, None] = {}
        self._thread = threading.Thread(target=self._accept, name="mcpgateway-usage-http", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it still accepts."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop accepting; what is being answered goes on."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def close_after_fork(self) -> None:
        """In a child: let go of the copies, without a word on the connections, which are the parent's."""
        for connection in [self.listener, *self._open]:
            with contextlib.suppress(OSError):
                connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError as error:
                if self.listener.fileno() < 0 or error.errno in (errno.EBADF, errno.EINVAL):
                    return
                # Out of descriptors or memory: later may be better.
                time.sleep(0.1)
                continue
            try:
                if self._tls is not None:
                    connection = self._tls.context().wrap_socket(
                        connection, server_side=True, do_handshake_on_connect=False
                    )
                self._admit(connection)
                threading.Thread(target=self._serve, args=(connection,), name=ANSWER_THREAD, daemon=True).start()
            except (OSError, RuntimeError) as error:
                _LOG.warning("a usage request could not be served: %s", error)
                self._dismiss(connection)

    def _admit(self, connection: socket.socket) -> None:
        with self._lock:
            while len(self._open) >= _MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _cut(oldest)
            self._open[connection] = None

    def _dismiss(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.pop(connection, None)
        connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            deadline = time.monotonic() + _REQUEST_SECONDS
            if isinstance(connection, ssl.SSLSocket):
                connection.settimeout(_REQUEST_SECONDS)
                connection.do_handshake()
            request = _receive(connection, deadline)
            answer = self._answer(request)
            head_only = isinstance(request, Request) and request.method == "HEAD"
            _send(connection, answer.encode(with_body=not head_only))
            _linger(connection)
        except (OSError, ValueError):
            # A client that went, was too slow, or was cut off. It is told nothing, and neither is the log: anybody
            # who reaches the port could fill it.
            pass
        except Exception:  # noqa: BLE001 - a fault of ours must not take the endpoint down
            _LOG.warning("a usage request failed", exc_info=True)
        finally:
            self._dismiss(connection)

    def _answer(self, request: Request | HTTPStatus) -> Answer:
        if isinstance(request, HTTPStatus):
            return Answer(request)
        if not self._tokens.allow(request.headers.get("authorization", "")):
            return Answer(HTTPStatus.UNAUTHORIZED, headers=(("WWW-Authenticate", "Bearer"),))
        if request.path.partition("?")[0] != self._path:
            return Answer(HTTPStatus.NOT_FOUND)
        if request.method not in ("GET", "HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, headers=(("Allow", "GET, HEAD"),))
        try:
            with self._build:
                report = self._report()
        except OSError as error:
            _LOG.warning("no usage report: %s", error)
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE)
        return document(report, request.headers)


def document(report: Report, headers: dict[str, str]) -> Answer:
    """The report as this client wants it. Pure."""
    answer = [("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding")]
    if report.tag is not None:
        answer.append(("ETag", report.tag))
        if _matches(headers.get("if-none-match", ""), report.tag):
            return Answer(HTTPStatus.NOT_MODIFIED, headers=tuple(answer))
    body = report.body
    answer.append(("Content-Type", "application/json"))
    if len(body) >= _SMALLEST_GZIP and _accepts_gzip(headers.get("accept-encoding", "")):
        body = gzip.compress(body, compresslevel=1, mtime=0)
        answer.append(("Content-Encoding", "gzip"))
    return Answer(HTTPStatus.OK, body, tuple(answer))


def _matches(condition: str, tag: str) -> bool:
    wanted = [item.strip().removeprefix("W/") for item in condition.split(",")]
    return "*" in wanted or tag.removeprefix("W/") in wanted


def _accepts_gzip(accepted: str) -> bool:
    for item in accepted.lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        if coding in ("gzip", "x-gzip", "*"):
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not SSLSocket.shutdown: that one takes the TLS layer away under the thread that is using it.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _receive(connection: socket.socket, deadline: float) -> Request | HTTPStatus:
    """The head of a request; whatever follows is not looked at."""
    head = bytearray()
    while b"\r\n\r\n" not in head:
        if len(head) > _LONGEST_HEAD:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        connection.settimeout(_left(deadline))
        piece = connection.recv(_LONGEST_HEAD)
        if not piece:
            raise ConnectionError("closed early")
        head += piece
    return parse(bytes(head.partition(b"\r\n\r\n")[0]))


def parse(head: bytes) -> Request | HTTPStatus:
    """A request from its lines, or why it is none. Pure."""
    first, *lines = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if match is None or len(head) > _LONGEST_HEAD:
        return HTTPStatus.BAD_REQUEST
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            return HTTPStatus.BAD_REQUEST
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return Request(match[1].decode(), match[2].decode(), headers)


def _send(connection: socket.socket, content: bytes) -> None:
    deadline = time.monotonic() + _ANSWER_SECONDS
    rest = memoryview(content)
    while rest:
        connection.settimeout(_left(deadline))
        rest = rest[connection.send(rest) :]


def _linger(connection: socket.socket) -> None:
    """Let the client read to the end: closing over bytes that were not read would reset the connection."""
    deadline = time.monotonic() + _LINGER_SECONDS
    if isinstance(connection, ssl.SSLSocket):
        return
    connection.shutdown(socket.SHUT_WR)
    for _ in range(16):
        connection.settimeout(_left(deadline))
        if not connection.recv(_LONGEST_HEAD):
            return


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
