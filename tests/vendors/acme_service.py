"""Acme's service on a loopback socket: it makes what is ordered, keeps books, and knows its key."""

from __future__ import annotations

import io
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
from PIL import Image

KEY = "acme-key-of-the-tests"


@dataclass
class Acme:
    """``orders`` are the paid requests, as they came, in their order."""

    url: str = ""
    orders: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def prompts(self) -> list[str]:
        return [order["prompt"] for order in self.orders]


@contextmanager
def acme_service() -> Iterator[Acme]:
    acme = Acme()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with acme.lock:
                acme.orders.append({**body, "kind": self.path.rpartition("/")[2]})
                self._answer(json.dumps({"id": str(len(acme.orders) - 1)}).encode())

        def do_GET(self) -> None:
            what, number = self.path.split("/")[-2:]
            order = acme.orders[int(number)]
            if what == "files":
                self._answer(_jpeg() if order["kind"] == "image" else _mp4(order["seconds"]))
                return
            usd = "0.05" if order["kind"] == "image" else f"{0.03 * order['seconds']:.2f}"
            self._answer(json.dumps({"url": f"{acme.url}/files/{number}", "usd": usd}).encode())

        def _answer(self, content: bytes) -> None:
            self.send_response(200 if self.headers["x-acme-key"] == KEY else 401)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: a test prints what it needs."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        acme.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield acme
        finally:
            server.shutdown()
            thread.join(10.0)


def _jpeg() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(content, "JPEG")
    return content.getvalue()


def _mp4(seconds: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=8, width=64, height=64, pix_fmt="yuv420p")
            for _ in range(8 * seconds):
                frame = av.VideoFrame.from_image(Image.new("RGB", (64, 64), "teal"))  # type: ignore[no-untyped-call]
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path.read_bytes()
