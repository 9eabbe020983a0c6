"""A storage that is neither the sandbox nor the product, on a socket of its own."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Bucket:
    """Somebody else's storage: keeps what is PUT, serves it on GET."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.agents: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                bucket.files[self.path] = self.rfile.read(int(self.headers["content-length"]))
                self._answer(b"")

            def do_GET(self) -> None:
                bucket.agents.append(self.headers["user-agent"])
                self._answer(bucket.files[self.path])

            def _answer(self, content: bytes) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                try:
                    self.wfile.write(content)
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
