"""A ContextForge for dev/tests/alerts-test and dev/scale: the calls of the registrar, in one of four modes.

Run as: python3 contextforge_stand_in.py [FLEET OWNER]. With FLEET, a file with objects, the entries of all of them are
there from the start, as an operator with that --contextforge-owner-id has made them. Prints `listening on URL`.

The list comes in one answer, or in pages if they are asked for. From 20,000 entries on it refuses to send all in one
answer (422): the operator reads at most 16 MiB of one. GET /requests says how many requests of the API there were. POST
/mode/NAME changes the mode:

- `works`: gateways are stored and returned;
- `edits`: somebody else changes every gateway before each list;
- `refuses`: creates and updates are refused (422);
- `denies`: the token is not accepted (401).
"""

import json
import sys
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs

MOST_AT_ONCE = 20_000
mode = "works"
requests = 0
gateways: dict[str, dict[str, Any]] = {}
# The pages of the list, by limit and cursor, until a gateway changes.
pages: dict[tuple[int, int], bytes] = {}


def page(limit: int, cursor: int) -> bytes:
    """A page of the list; 0 is no limit."""
    if (limit, cursor) not in pages:
        end = cursor + limit if limit else len(gateways)
        following = str(end) if end < len(gateways) else None
        content = {"gateways": list(gateways.values())[cursor:end], "nextCursor": following}
        pages[limit, cursor] = json.dumps(content).encode()
    return pages[limit, cursor]


def register(item: dict[str, Any], owner: str) -> None:
    """Adds the entry of an object with `spec.registration: {}`."""
    name, namespace, spec = item["metadata"]["name"], item["metadata"]["namespace"], item["spec"]
    gateways[spec["gatewayId"]] = {
        "id": spec["gatewayId"],
        "name": f"{namespace}-{name}",
        "slug": f"{namespace}-{name}",
        "url": spec["url"],
        "description": "",
        "transport": "STREAMABLEHTTP",
        "tags": [],
        "visibility": "public",
        "teamId": None,
        "enabled": True,
        "reachable": True,
        "passthroughHeaders": [],
        "authType": None,
        "caCertificate": None,
        "createdUserAgent": f"mcpgateway-operator/0.1.0 (owner={owner}; object={namespace}/{name}; uid=0)",
        "version": 1,
        "toolCount": 10,
    }


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def answer(self, status: int, body: Any) -> None:
        """Sends an answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def handle_call(self) -> None:
        """Answers a call of the API, or an order."""
        global mode, requests
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, _, query = self.path.removeprefix("/").partition("?")
        if path == "requests":
            return self.answer(200, requests)
        if path.startswith("mode/"):
            mode = path.removeprefix("mode/")
            pages.clear()
            return self.answer(200, {})
        requests += 1
        if self.command != "GET" or mode == "edits":
            pages.clear()
        if mode == "denies":
            return self.answer(401, {"detail": "Invalid token"})
        known = gateways.get(path.removeprefix("v1/gateways/"))
        if self.command == "GET" and path == "v1/gateways":
            if mode == "edits":
                for gateway in gateways.values():
                    gateway.update(description="changed", version=gateway["version"] + 1)
            asked = {name: int(values[0]) for name, values in parse_qs(query).items() if name in ("limit", "cursor")}
            if len(gateways) > MOST_AT_ONCE and not asked.get("limit"):
                return self.answer(422, {"detail": "too many gateways for one answer"})
            return self.answer(200, page(asked.get("limit", 0), asked.get("cursor", 0)))
        if self.command in ("POST", "PUT") and mode == "refuses":
            return self.answer(422, {"detail": "refused by the test"})
        if self.command == "POST" and path == "v1/gateways":
            known = {"id": uuid.uuid4().hex, "enabled": True, "reachable": True, "version": 0}
            known["createdUserAgent"] = self.headers.get("user-agent")
            gateways[known["id"]] = known
        if known is None:
            return self.answer(404, {"detail": "Gateway not found"})
        if self.command in ("POST", "PUT"):
            known.update(json.loads(content), authType=None, version=known["version"] + 1)
        if self.command == "DELETE":
            del gateways[known["id"]]
        return self.answer(200, known)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs refusals only: a large list has a thousand pages."""
        if str(code) != "200":
            super().log_request(code, size)

    do_GET = do_POST = do_PUT = do_DELETE = handle_call


if sys.argv[1:]:
    with open(sys.argv[1], encoding="utf-8") as file:
        for item in json.load(file)["items"]:
            register(item, sys.argv[2])
server = HTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
