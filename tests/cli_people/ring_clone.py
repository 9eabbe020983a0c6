"""A gateway of Ring Platform itself, as its documentation has it: it reads what it knows, and pays for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HEALTH = {"status": "ok", "service": "ring-mcp-gateway", "version": "v1", "timestamp": "2026-11-28T12:00:00.000Z"}
CONTEXT = {
    "cloneName": "newsroom",
    "baseUrl": "https://ring.example",
    "role": "superadmin",
    "actor": {"id": "ring-mcp-service", "email": "ring-mcp@system.local", "name": "Ring MCP Service"},
    "gateway": "/api/mcp/v1",
}
PICTURE = {
    "url": "https://ring.example/1.jpg",
    "fileId": "f-1",
    "size": 1,
    "contentType": "image/jpeg",
    "recordId": "r",
}


class RingClone(ThreadingHTTPServer):
    """``paid`` has the body of every request that made something; its answer waits for ``answers``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paid: list[dict[str, Any]] = []
        self.answers = threading.Event()
        self.answers.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: RingClone

    def do_GET(self) -> None:
        data = CONTEXT if self.path.endswith("/meta/context") else HEALTH
        self._answer(200, {"success": True, "data": data})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paid.append(body)
        self.server.answers.wait(60)
        made = {"success": True, "provider": "xai", "model": "grok-imagine-image", "prompt": body["prompt"]}
        self._answer(201, {"success": True, "data": {**made, "images": [PICTURE], "url": PICTURE["url"]}})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def ring_clone() -> Iterator[RingClone]:
    with RingClone() as clone:
        thread = threading.Thread(target=clone.serve_forever, daemon=True)
        thread.start()
        try:
            yield clone
        finally:
            clone.shutdown()
            thread.join(60)
