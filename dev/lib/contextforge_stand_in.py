"""A ContextForge for dev/tests/alerts-test: the calls of the registrar, in one of four modes.

Run as: python3 contextforge_stand_in.py. Prints `listening on URL`. POST /mode/NAME changes the mode:

- `works`: gateways are stored and returned;
- `edits`: somebody else changes every gateway before each list;
- `refuses`: creates and updates are refused (422);
- `denies`: the token is not accepted (401).
"""

import json
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

mode = "works"
gateways: dict[str, dict[str, Any]] = {}


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def answer(self, status: int, body: Any) -> None:
        """Sends an answer."""
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def handle_call(self) -> None:
        """Answers a call of the API, or an order."""
        global mode
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.split("?")[0].removeprefix("/")
        if path.startswith("mode/"):
            mode = path.removeprefix("mode/")
            return self.answer(200, {})
        if mode == "denies":
            return self.answer(401, {"detail": "Invalid token"})
        known = gateways.get(path.removeprefix("v1/gateways/"))
        if self.command == "GET" and path == "v1/gateways":
            if mode == "edits":
                for gateway in gateways.values():
                    gateway.update(description="changed", version=gateway["version"] + 1)
            return self.answer(200, {"gateways": list(gateways.values()), "nextCursor": None})
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

    do_GET = do_POST = do_PUT = do_DELETE = handle_call


server = HTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
