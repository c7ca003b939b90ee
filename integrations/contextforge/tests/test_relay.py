"""What dev/registration-e2e counts, and how it steps in."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fleet.processes import free_port
from fleet.relay import Answer, Relay, changes, kind_of, summary


class Echo(BaseHTTPRequestHandler):
    """Answers with what it received."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        text = b"|".join([self.path.encode(), self.headers["User-Agent"].encode(), body])
        self.send_response_only(409)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def relay() -> Iterator[Relay]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = Relay(free_port(), server.server_port)
    yield made
    made.close()
    server.shutdown()
    server.server_close()


def post(relay: Relay, path: str) -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=10)
    connection.request("POST", path, b"content", {"User-Agent": "me (a=b; c=d)"})
    response = connection.getresponse()
    return response.status, response.headers["Retry-After"], response.read()


def test_a_request_and_its_answer_pass_unchanged_and_are_counted(relay: Relay) -> None:
    found = post(relay, "/v1/gateways?x=1")
    assert found == (409, "7", b"/v1/gateways?x=1|me (a=b; c=d)|content")
    mark = relay.mark()
    post(relay, "/v1/gateways/a1/state?activate=true")
    assert summary(relay.calls()) == "1 x create 409, 1 x state 409"
    assert changes(relay.calls(mark)) == {"state": 1}


def test_a_rule_answers_or_drops(relay: Relay) -> None:
    relay.rule = lambda _call, _forward: Answer(429, (("Retry-After", "2"),), b"no")
    assert post(relay, "/v1/gateways") == (429, "2", b"no")
    relay.rule = lambda _call, _forward: None
    with pytest.raises((http.client.HTTPException, OSError)):
        post(relay, "/v1/gateways")
    assert summary(relay.calls()) == "1 x create 429, 1 x create dropped"


def test_a_target_that_is_away_is_no_answer() -> None:
    relay = Relay(free_port(), free_port())
    with pytest.raises((http.client.HTTPException, OSError)):
        post(relay, "/v1/gateways")
    relay.close()
    assert summary(relay.calls()) == "1 x create dropped"


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/v1/gateways?limit=0", "list"),
        ("POST", "/v1/gateways", "create"),
        ("GET", "/v1/gateways/a1", "get"),
        ("PUT", "/v1/gateways/a1", "update"),
        ("DELETE", "/v1/gateways/a1", "delete"),
        ("POST", "/v1/gateways/a1/state?activate=false", "state"),
        ("GET", "/health", "other"),
        ("PUT", "/v1/gateways", "other"),
    ],
)
def test_what_a_request_is_for(method: str, path: str, kind: str) -> None:
    assert kind_of(method, path) == kind
