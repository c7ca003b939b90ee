"""Planted credentials of each kind, and the places in which none of them may be."""

from __future__ import annotations

import base64
import secrets
import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import redis

from .checks import check, note
from .processes import free_port
from .registered import Stage

API_PORT = free_port()
FLAGS = ("--log-level=debug", f"--api-bind-address=127.0.0.1:{API_PORT}")
KINDS = ("bearer", "basic", "header", "query", "oauth")


def auth(stage: Stage, kind: str, secret: str) -> dict[str, Any]:
    """``spec.registration.auth`` with a Secret."""
    kinds: dict[str, dict[str, Any]] = {
        "bearer": {"bearer": {"secretName": secret}},
        "basic": {"basic": {"secretName": secret}},
        "header": {"headers": {"secretName": secret, "items": [{"name": "X-Key", "key": "key"}]}},
        "query": {"queryParameter": {"secretName": secret, "name": "api_key", "key": "key"}},
        "oauth": {"oauthClientCredentials": {"secretName": secret, "tokenUrl": stage.url("issuer")}},
    }
    return kinds[kind]


def values(kind: str, word: str) -> dict[str, str]:
    """What the Secret of a kind holds."""
    return {
        "bearer": {"token": word},
        "basic": {"username": "somebody", "password": word},
        "header": {"key": word},
        "query": {"key": word},
        "oauth": {"client-id": "somebody", "client-secret": word},
    }[kind]


def asked(kind: str, word: str) -> dict[str, Any]:
    """What the server asks for. Nobody issues tokens, so that the server with oauth asks for nothing."""
    return {
        "bearer": {"header": ["Authorization", f"Bearer {word}"]},
        "basic": {"header": ["Authorization", f"Basic {_base64(f'somebody:{word}')}"]},
        "header": {"header": ["X-Key", word]},
        "query": {"query": ["api_key", word]},
        "oauth": {},
    }[kind]


def forms(words: list[str]) -> list[str]:
    """The words as they are, in base64 alone and with the user name, and quoted for a URL."""
    return [form for w in words for form in (w, _base64(w), _base64(f"somebody:{w}"), quote(w, safe=""))]


def places(stage: Stage) -> Iterator[tuple[str, str]]:
    """Where credentials could be, with what is there."""
    for kinds in ("mcpgateways", "mcpgatewayfleets", "events", "configmaps", "leases"):
        # Managed fields are a part of it.
        yield kinds, stage.cluster.kubectl("get", kinds, "-A", "-o", "yaml", "--show-managed-fields")
    yield "the log at debug", stage.processes.log("operator-a").read_text()
    yield "/metrics", stage.operators.metrics("a")
    url = quote(stage.url(KINDS[0]), safe="")
    for path in (f"classification?url={url}", f"polls/due?type=health&url={url}", "fleet"):
        with urllib.request.urlopen(f"http://127.0.0.1:{API_PORT}/v1/{path}", timeout=10) as response:
            yield f"/v1/{path}", response.read().decode()
    client = redis.Redis(port=stage.gateways.redis_port)
    ours = [key for key in client.scan_iter("mcpgateway:*") if b"classification" in key or b"poll" in key]
    yield f"Redis, {len(ours)} keys", " ".join(f"{key!r} {_value(client, key)!r}" for key in ours)


def planted(stage: Stage) -> None:
    """Credentials are sent, refused, and echoed by servers in their errors; then they are looked for."""
    stage.operators.start("a")
    stage.operators.wait_leader()
    words = []

    def plant(kind: str, name: str) -> str:
        words.append(f"planted-{kind}-{secrets.token_hex(8)}")
        stage.apply(stage.secret(name, values(kind, words[-1])))
        return words[-1]

    for kind in KINDS:
        stage.set_server(kind, **asked(kind, plant(kind, kind)))
        stage.apply(stage.manifest(kind, {"auth": auth(stage, kind, kind)}))
    for kind in KINDS[:-1]:
        found = stage.wait_condition(kind, "Registered")
        check(f"{kind}: the server has the credentials", True, found.message)
    stage.wait("oauth fails", lambda: stage.failure("oauth"))
    note(f"oauth: {stage.failure('oauth')}")
    for kind in KINDS[:-1]:
        plant(kind, kind)
        found = stage.wait_condition(kind, "UpstreamUnauthorized")
        note(f"{kind}, with other credentials: {found.message}")
    for kind in KINDS:
        name = f"echo-{kind}"
        stage.set_server(name, echo=True)
        plant(kind, name)
        stage.apply(stage.manifest(name, {"auth": auth(stage, kind, name)}))
        stage.set_server(kind, echo=True)
    for kind in KINDS:
        name = f"echo-{kind}"
        stage.wait(f"{name} fails", partial(stage.failure, name), 120.0)
        note(f"{name}: {stage.failure(name)}")
    for kind in KINDS[:-1]:
        stage.wait(f"{kind} is unreachable", partial(_is_unreachable, stage, kind), 240.0)
        # A server may repeat what it was sent, and the operator has other credentials by now: nothing is shown.
        check(f"{kind}: no lastError", stage.registration(kind).get("lastError") is None)
    stage.wait_rounds(2)
    wanted = forms([*words, stage.token_file.read_text().strip()])
    kept = stage.cluster.kubectl("get", "secrets", "-A", "-o", "json")
    check("the search finds what is in Secrets", any(form in kept for form in wanted))
    for place, text in places(stage):
        seen = [form for form in wanted if form in text]
        check(f"{place}: none of {len(words) + 1} credentials in {len(text)} characters", not seen, " ".join(seen))


def _is_unreachable(stage: Stage, name: str) -> bool:
    return stage.registration(name).get("reachable") is False


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _value(client: Any, key: bytes) -> Any:
    """Whatever is there."""
    kind = client.type(key).decode()
    if kind == "hash":
        return client.hgetall(key)
    if kind == "set":
        return client.smembers(key)
    if kind == "zset":
        return client.zrange(key, 0, -1)
    if kind == "list":
        return client.lrange(key, 0, -1)
    return client.get(key)
