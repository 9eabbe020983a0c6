"""Real S3 servers on loopback sockets: localbucket for every run, moto's where keys and rights are to be checked."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree

from localbucket import S3Handler

from ring_mcp.storage.s3 import S3Storage

BUCKET = "media"
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
START_LIMIT_S = 60.0


class BucketServer:
    """localbucket in this process. ``before`` is called with the path of each PUT, GET and DELETE, in the thread
    of that request; if it raises, the connection is cut. ``answers`` (status, body) are given, first to last, in
    place of its own."""

    def __init__(self, folder: Path) -> None:
        self.bucket = folder / BUCKET
        self.bucket.mkdir(parents=True)
        self.uploads = folder / ".localbucket-uploads"
        self.uploads.mkdir()
        self.requests: list[str] = []
        self.answers: list[tuple[int, str]] = []
        self.before: Callable[[str], object] = lambda path: None
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, self, folder))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def storage(self, bucket: str = BUCKET, **options: Any) -> S3Storage:
        return S3Storage(bucket, endpoint=self.url, access_key_id=KEY_ID, secret_access_key=SECRET, **options)

    def objects(self) -> list[Path]:
        return [path for path in sorted(self.bucket.rglob("*")) if path.is_file()]

    def parts(self) -> list[Path]:
        """What unfinished uploads have left."""
        return [path for path in self.uploads.rglob("*") if path.is_file()]

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is none of a test's business."""


class _Handler(S3Handler):  # type: ignore[misc]  # it has no types
    def __init__(self, server: BucketServer, folder: Path, *arguments: Any) -> None:
        self._bucket_server = server
        self.data_root = folder
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:
        self._bucket_server.requests.append(f"{self.command} {self.path}")

    def do_PUT(self) -> None:  # noqa: N802
        self._bucket_server.before(self.path)
        if not self._answered():
            super().do_PUT()

    def do_GET(self) -> None:  # noqa: N802
        self._bucket_server.before(self.path)
        if not self._answered():
            super().do_GET()

    def do_DELETE(self) -> None:  # noqa: N802
        """localbucket gives up on the folder of an upload into which a part is just being written: S3 does not."""
        self._bucket_server.before(self.path)
        super().do_DELETE()
        upload_id = dict(parse_qsl(urlsplit(self.path).query)).get("uploadId")
        while upload_id and (folder := self._bucket_server.uploads / upload_id).exists():
            shutil.rmtree(folder, ignore_errors=True)

    def _answered(self) -> bool:
        if not self._bucket_server.answers:
            return False
        status, content = self._bucket_server.answers.pop(0)
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())
        return True


@contextmanager
def bucket_server(folder: Path) -> Iterator[BucketServer]:
    server = BucketServer(folder)
    try:
        yield server
    finally:
        server.stop()


@dataclass(frozen=True)
class Moto:
    """moto's server with one bucket, which from now on checks every signature and right."""

    url: str
    writer: tuple[str, str]
    reader: tuple[str, str]
    sharer: tuple[str, str]

    def storage(self, key: tuple[str, str], bucket: str = BUCKET, **options: Any) -> S3Storage:
        return S3Storage(bucket, endpoint=self.url, access_key_id=key[0], secret_access_key=key[1], **options)


@contextmanager
def moto_server() -> Iterator[Moto]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield _with_keys(port)
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("moto's server did not start")


def _with_keys(port: int) -> Moto:
    """Users come first, while nothing is checked yet; the last call switches the checks on."""
    bucket = f"arn:aws:s3:::{BUCKET}"
    rights = ["s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:AbortMultipartUpload"]
    writer = _user(port, "writer", rights, bucket)
    sharer = _user(port, "sharer", [*rights, "s3:DeleteObject"], bucket)
    reader = _user(port, "reader", ["s3:GetObject", "s3:ListBucket"], bucket)
    _call(port, "PUT", f"/{BUCKET}", "", "s3")
    _call(port, "POST", "/moto-api/reset-auth", "0", "s3")
    return Moto(f"http://127.0.0.1:{port}", writer, reader, sharer)


def _user(port: int, name: str, actions: list[str], bucket: str) -> tuple[str, str]:
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": [bucket, f"{bucket}/*"]}],
    }
    for facts in (
        {"Action": "CreateUser"},
        {"Action": "PutUserPolicy", "PolicyName": "own", "PolicyDocument": json.dumps(policy)},
        {"Action": "CreateAccessKey"},
    ):
        answer = _call(port, "POST", "/", urlencode({**facts, "UserName": name, "Version": "2010-05-08"}), "iam")
    key = {element.tag.rpartition("}")[2]: element.text or "" for element in ElementTree.fromstring(answer).iter()}
    return key["AccessKeyId"], key["SecretAccessKey"]


def _call(port: int, method: str, path: str, body: str, service: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    scope = f"{KEY_ID}/20261121/us-east-1/{service}/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}
    if service == "iam":
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"moto answered {answer.status}: {content[:300]!r}")
    return content
