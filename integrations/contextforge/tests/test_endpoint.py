from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from conftest import PATH, get, wait_until
from servers import free_port

from mcpgateway_usage import endpoint
from mcpgateway_usage.endpoint import ANSWER_THREAD, Answer, Endpoint, Request, Tls, Tokens, document, listen, parse
from mcpgateway_usage.report import Report

BODY = json.dumps({"padding": "x" * 5000}).encode()
TAG = 'W/"tag"'


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("first\n\nsecond\n")
    return file


@pytest.fixture
def port(token_file: Path) -> Iterator[int]:
    port = free_port()
    served = Endpoint(listen("127.0.0.1", port), PATH, Tokens(token_file), None, lambda: Report(BODY, TAG))
    served.start()
    yield port
    served.close()
    wait_until("it has ended", lambda: not served.is_alive())


AUTH = {"Authorization": "Bearer first"}


def test_the_document(port: int) -> None:
    status, headers, body = get(port, AUTH)
    assert (status, headers["Content-Type"], headers["ETag"]) == (200, "application/json", TAG)
    assert body == BODY
    assert get(port, AUTH, path=f"{PATH}?x=1")[0] == 200


def test_compressed_for_who_wants_it(port: int) -> None:
    _, headers, body = get(port, AUTH | {"Accept-Encoding": "br, gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 200
    assert gzip.decompress(body) == BODY
    assert get(port, AUTH | {"Accept-Encoding": "gzip;q=0"})[2] == BODY


def test_not_modified(port: int) -> None:
    status, headers, body = get(port, AUTH | {"If-None-Match": f'"other", {TAG}'})
    assert (status, headers["ETag"], body) == (304, TAG, b"")
    assert get(port, AUTH | {"If-None-Match": '"other"'})[0] == 200


def test_head(port: int) -> None:
    status, headers, body = get(port, AUTH, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(BODY)), b"")


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic first", "first", "Bearer first x", "Bearer ü"]
)
def test_nothing_without_the_token(port: int, value: str) -> None:
    headers = {"Authorization": value.encode("latin-1").decode("latin-1")} if value else {}
    for path in (PATH, "/other"):
        status, answer, body = get(port, headers, path=path)
        assert (status, answer["WWW-Authenticate"], body) == (401, "Bearer", b"")


def test_tokens_are_read_again(port: int, token_file: Path) -> None:
    assert get(port, {"Authorization": "bearer second"})[0] == 200
    token_file.write_text("third")
    assert get(port, {"Authorization": "Bearer second"})[0] == 401
    assert get(port, {"Authorization": "Bearer third"})[0] == 200
    token_file.write_text("\n")
    assert get(port, {"Authorization": "Bearer "})[0] == 401
    token_file.unlink()
    assert get(port, {"Authorization": "Bearer third"})[0] == 401


def test_other_paths_and_methods(port: int) -> None:
    assert get(port, AUTH, path="/")[0] == 404
    status, headers, _ = get(port, AUTH, method="POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes, or resets, the connection."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 20):
            received += piece
    return bytes(received)


def raw(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        # A server that has cut us off already (no TLS handshake, say) leaves nothing to shut down.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def answering() -> int:
    return sum(thread.name == ANSWER_THREAD for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"400"),
        (b"get / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000, b"431"),
        (b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"401"),
    ],
)
def test_bad_requests(port: int, sent: bytes, status: bytes) -> None:
    assert raw(port, sent).split(b" ", 2)[1] == status


def test_one_that_says_nothing_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_REQUEST_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert read_all(connection) == b""


def test_slow_ones_keep_nobody_out(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(100)]
    try:
        for connection in slow:
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"GET ")
        assert get(port, AUTH)[0] == 200
        # The oldest were cut off to make room.
        assert read_all(slow[0]) == b""
        wait_until("no more than its places are taken", lambda: answering() <= 32)
    finally:
        for connection in slow:
            connection.close()


def test_a_slow_reader_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(endpoint, "document", lambda *_: Answer(HTTPStatus.OK, b"x" * 50_000_000))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"GET {PATH} HTTP/1.1\r\nAuthorization: Bearer first\r\n\r\n".encode())
        assert connection.recv(1) == b"H"
        wait_until("it is given up", lambda: not answering())
        assert len(read_all(connection)) < 50_000_000


def test_a_report_that_fails_is_a_503() -> None:
    def fail() -> Report:
        raise PermissionError("no")

    port = free_port()
    served = Endpoint(listen(None, port), PATH, Tokens(None), None, fail)
    served.start()
    try:
        assert get(port)[0] == 503
    finally:
        served.close()


def test_the_port_belongs_to_one() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", first.getsockname()[1])


def test_tls(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    port = free_port()
    served = Endpoint(listen("127.0.0.1", port), PATH, Tokens(None), Tls(cert, key), lambda: Report(BODY, TAG))
    served.start()
    try:
        context = ssl.create_default_context(cafile=str(cert))
        with urllib.request.urlopen(f"https://localhost:{port}{PATH}", context=context, timeout=10) as response:
            assert response.read() == BODY
        assert raw(port, b"GET / HTTP/1.1\r\n\r\n")[:4] != b"HTTP"
        with urllib.request.urlopen(f"https://localhost:{port}{PATH}", context=context, timeout=10) as response:
            assert response.status == 200
    finally:
        served.close()


def test_small_documents_are_not_compressed() -> None:
    answer = document(Report(b"{}", None), {"accept-encoding": "gzip", "if-none-match": "*"})
    assert (answer.status, answer.body) == (HTTPStatus.OK, b"{}")
    assert "ETag" not in dict(answer.headers)


def test_repeated_headers_are_joined() -> None:
    request = parse(b"GET /x HTTP/1.0\r\nA: 1\r\na:2")
    assert request == Request("GET", "/x", {"a": "1, 2"})
