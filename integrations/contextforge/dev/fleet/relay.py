"""A recording HTTP relay between the operator and ContextForge.

In: the port of ContextForge. Out: every request with its kind, status and time. A rule may answer in ContextForge's
place, delay an answer, or drop it. Must not: change what it passes on, or keep bodies and credentials.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ADDRESS = "127.0.0.2"
"""Where requests come from: ContextForge limits rates by source address, and the plays ask from another one."""
_OWN_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
DROPPED = 0
"""The status of a request without an answer."""


@dataclass(slots=True)
class Call:
    """A request of the operator."""

    at: float
    """Unix seconds."""
    method: str
    path: str
    kind: str
    """list, get, create, update, state, delete or other."""
    status: int | None = None
    """None while there is no answer."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the operator receives."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


Rule = Callable[[Call, Callable[[], Answer]], Answer | None]
"""Given a request and a function that forwards it, returns the answer; None drops the connection."""


def kind_of(method: str, path: str) -> str:
    """What a request is for."""
    path = path.partition("?")[0]
    one = re.fullmatch(r"/v1/gateways/[^/]+(/state)?", path)
    kinds = {("GET", True): "get", ("PUT", True): "update", ("DELETE", True): "delete"}
    if path == "/v1/gateways":
        return {"GET": "list", "POST": "create"}.get(method, "other")
    if one and one[1]:
        return "state"
    return kinds.get((method, bool(one)), "other")


def summary(calls: list[Call]) -> str:
    """The number of requests by kind and status."""
    counts = Counter(f"{call.kind} {_status(call)}" for call in calls)
    return ", ".join(f"{count} x {what}" for what, count in sorted(counts.items())) or "none"


def _status(call: Call) -> str:
    return {None: "in flight", DROPPED: "dropped"}.get(call.status, str(call.status))


def changes(calls: list[Call]) -> Counter[str]:
    """The number of requests that are no list, by kind."""
    return Counter(call.kind for call in calls if call.kind != "list")


class Relay:
    """The relay. It listens as long as it is open."""

    def __init__(self, port: int, target: int) -> None:
        """Listen on ``port`` and forward to ``target``."""
        self.port, self._target = port, target
        self.rule: Rule | None = None
        self._calls: list[Call] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def calls(self, since: int = 0) -> list[Call]:
        """All requests after a mark."""
        with self._lock:
            return self._calls[since:]

    def mark(self) -> int:
        """The number of requests so far."""
        with self._lock:
            return len(self._calls)

    def _record(self, call: Call) -> None:
        with self._lock:
            self._calls.append(call)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """The record is enough."""

            def handle_one_request(self) -> None:
                """Whoever is killed leaves a broken connection."""
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                call = Call(time.time(), self.command, self.path, kind_of(self.command, self.path))
                relay._record(call)
                answer = relay._answer(call, list(self.headers.items()), body)
                call.seconds = time.time() - call.at
                call.status = answer.status if answer else DROPPED
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_DELETE = _pass  # noqa: N815

        return Handler

    def _answer(self, call: Call, headers: list[tuple[str, str]], body: bytes) -> Answer | None:
        def forward() -> Answer:
            return self._forward(call, headers, body)

        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.rule(call, forward) if self.rule else forward()
        return None

    def _forward(self, call: Call, headers: list[tuple[str, str]], body: bytes) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=120, source_address=(_ADDRESS, 0))
        with contextlib.closing(connection):
            connection.putrequest(call.method, call.path)
            for name, value in headers:
                if name.lower() not in {*_OWN_HEADERS, "accept-encoding"}:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            content = response.read()
            kept = tuple((n, v) for n, v in response.getheaders() if n.lower() not in _OWN_HEADERS)
            return Answer(response.status, kept, content)
