"""Every storage backend, set up so that the one contract suite can look behind it and break it."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ring_mcp.domain import MediaFile
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.storage.base import Storage
from ring_mcp.storage.local import LocalStorage
from ring_mcp.storage.ringbase import RingbaseStorage
from ring_mcp.storage.s3 import S3Storage
from tests.contracts.provider_services import InstantClock
from tests.s3_servers import KEY_ID, SECRET, bucket_server

RINGBASE_TOKEN = "sandbox-ringbase-token"


@dataclass
class Kept:
    """What the backend really holds, seen from behind."""

    data: bytes
    content_type: str | None = None
    metadata: dict[str, str] | None = None


@dataclass
class Backend:
    """A storage, with a back door."""

    storage: Storage
    kept: Callable[[], list[Kept]]
    """Every asset that is visible."""
    left_over: Callable[[], list[Path]]
    """Files that are no asset."""
    under_way: Callable[[], bool]
    """Whether some put is being carried out just now, once ``slow`` was called."""
    slow: Callable[[], None]
    clear: Callable[[], None]


@contextmanager
def local_backend(root: Path) -> Iterator[Backend]:
    def files() -> list[Path]:
        return [path for path in root.rglob("*") if path.is_file()]

    def visible() -> list[Path]:
        return [path for path in files() if not path.name.endswith(".part")]

    yield Backend(
        storage=LocalStorage(root),
        kept=lambda: [Kept(path.read_bytes()) for path in visible()],
        left_over=lambda: [path for path in files() if path not in visible()],
        under_way=lambda: bool(files()),
        slow=lambda: None,
        clear=lambda: shutil.rmtree(root),
    )


@contextmanager
def ringbase_backend(sandbox: SandboxServer) -> Iterator[Backend]:
    state = sandbox.state
    state.reset()

    def slow() -> None:
        state.faults.add("ringbase_slow", seconds=30.0)

    yield Backend(
        storage=RingbaseStorage(sandbox.ringbase_url, RINGBASE_TOKEN, None, InstantClock()),
        kept=lambda: [Kept(file.path.read_bytes(), file.mime_type, file.metadata) for file in state.uploads.all()],
        left_over=lambda: [],
        under_way=lambda: any(fault.hits for fault in state.faults.list_armed()),
        slow=slow,
        clear=state.reset,
    )


@contextmanager
def s3_backend(root: Path) -> Iterator[Backend]:
    with bucket_server(root) as server:
        pause = threading.Event()  # never set: a PUT waits its whole time

        def slow() -> None:
            server.before = lambda _: pause.wait(0.2)

        yield Backend(
            storage=server.storage(prefix="ring/media"),
            kept=lambda: [Kept(path.read_bytes()) for path in server.objects()],
            left_over=server.parts,
            under_way=lambda: bool(server.requests),
            slow=slow,
            clear=lambda: shutil.rmtree(server.bucket),
        )


def media_file(path: Path, data: bytes, content_type: str = "image/png", extension: str = "png") -> MediaFile:
    """Write ``data`` to a spool file and measure it."""
    path.write_bytes(data)
    return MediaFile(
        path=path,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        content_type=content_type,
        extension=extension,
    )


def _in_a_file(folder: Path, _: SandboxServer) -> Storage:
    (folder / "occupied").write_text("a file where the folder should be")
    return LocalStorage(folder / "occupied" / "files")


def _with_fault(name: str, **options: object) -> Callable[[Path, SandboxServer], Storage]:
    def broken(_: Path, sandbox: SandboxServer) -> Storage:
        sandbox.state.reset()
        sandbox.state.faults.add(name, times=-1, path="/upload", **options)  # type: ignore[arg-type]
        return RingbaseStorage(sandbox.ringbase_url, RINGBASE_TOKEN, None, InstantClock())

    return broken


def _wrong_token(_: Path, sandbox: SandboxServer) -> Storage:
    return RingbaseStorage(sandbox.ringbase_url, "a-token-that-is-wrong", None, InstantClock())


def _nobody_listens(_: Path, __: SandboxServer) -> Storage:
    return RingbaseStorage("http://127.0.0.1:1", RINGBASE_TOKEN, None, InstantClock())


def _echoing(status: int) -> Callable[[Path, SandboxServer], Storage]:
    return _with_fault("ringbase_status", status=status, body=f"no: Authorization: Bearer {RINGBASE_TOKEN}")


def _s3_nobody_listens(_: Path, __: SandboxServer) -> Storage:
    return S3Storage("media", endpoint="http://127.0.0.1:1", access_key_id=KEY_ID, secret_access_key=SECRET)


def _s3_no_store(_: Path, sandbox: SandboxServer) -> Storage:
    return S3Storage("media", endpoint=sandbox.url, access_key_id=KEY_ID, secret_access_key=SECRET)


BREAKAGES: dict[str, Callable[[Path, SandboxServer], Storage]] = {
    "local, a file in place of the folder": _in_a_file,
    "ringbase, 503 for good": _with_fault("ringbase_status", status=503),
    "ringbase, 401": _with_fault("ringbase_401"),
    "ringbase, 413": _with_fault("ringbase_status", status=413),
    "ringbase, 404": _with_fault("ringbase_status", status=404),
    "ringbase, a redirect": _with_fault("ringbase_status", status=302),
    "ringbase, an HTML page of a proxy": _with_fault("ringbase_html"),
    "ringbase, an HTML page with 200": _with_fault("ringbase_html", status=200),
    "ringbase, an answer without url": _with_fault("ringbase_no_url"),
    "ringbase, success false": _with_fault("ringbase_status", status=200),
    "ringbase, a list as answer": _with_fault("ringbase_status", status=200, body=[1, 2]),
    "ringbase, 200 without a body": _with_fault("ringbase_status", status=200, body=""),
    "ringbase, dropped before": _with_fault("drop_before_accept"),
    "ringbase, dropped after storing": _with_fault("ringbase_drop_after_store"),
    "ringbase, the token echoed with 400": _echoing(400),
    "ringbase, the token echoed with 500": _echoing(500),
    "ringbase, the token echoed with 200": _echoing(200),
    "ringbase, a wrong token": _wrong_token,
    "ringbase, nobody listens": _nobody_listens,
    "s3, nobody listens": _s3_nobody_listens,
    "s3, a server that is no store": _s3_no_store,
}
"""Storages on which every put fails, each for another reason."""
