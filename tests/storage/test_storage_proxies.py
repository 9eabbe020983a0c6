"""Storages that lie outside are reached through the proxy that is set, those on this machine without it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ring_mcp.clock import SystemClock
from ring_mcp.domain import MediaFile
from ring_mcp.errors import ConfigError, StorageError, StorageUnclear
from ring_mcp.proxies import Proxies, proxies_of
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_RINGBASE_TOKEN
from ring_mcp.storage.ringbase import RingbaseStorage
from ring_mcp.storage.s3 import S3Storage
from tests.connect_proxy import proxy
from tests.s3_servers import BUCKET, KEY_ID, SECRET, BucketServer, bucket_server

KEY = "generated/og/1-0-abcdef01.png"
FILEBASE, STORE = "filebase.x.test", "s3.x.test"


@pytest.fixture
def media(tmp_path: Path) -> MediaFile:
    path = tmp_path / "spool"
    path.write_bytes(b"bytes")
    sha256 = hashlib.sha256(b"bytes").hexdigest()
    return MediaFile(path=path, size_bytes=5, sha256=sha256, content_type="image/png", extension="png")


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[BucketServer]:
    with bucket_server(tmp_path / "s3") as server:
        yield server


def through(url: str, bypass: str = "") -> Proxies:
    return proxies_of({"HTTP_PROXY": url, "NO_PROXY": bypass})


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def s3(endpoint: str, proxies: Proxies) -> S3Storage:
    return S3Storage(BUCKET, endpoint=endpoint, access_key_id=KEY_ID, secret_access_key=SECRET, proxies=proxies)


async def test_ring_filebase_outside_is_reached_through_the_proxy(media: MediaFile) -> None:
    async with AsyncExitStack() as stack:
        sandbox = stack.enter_context(SandboxServer())
        port = port_of(sandbox.url)
        way_out = await stack.enter_async_context(proxy(names={f"{FILEBASE}:{port}": ("127.0.0.1", port)}))
        base_url = sandbox.ringbase_url.replace("127.0.0.1", FILEBASE)
        storage = RingbaseStorage(base_url, DEFAULT_RINGBASE_TOKEN, proxies=through(way_out.url))
        stack.push_async_callback(storage.aclose)
        await storage.ping()
        await storage.put(KEY, media, {})
        assert [upload.path.read_bytes() for upload in sandbox.state.uploads.all()] == [b"bytes"]
    assert way_out.asked[0] == f"GET {base_url}/api/v1/health"


async def test_a_bucket_outside_is_reached_through_the_proxy(bucket: BucketServer, media: MediaFile) -> None:
    port = port_of(bucket.url)
    async with proxy(names={f"{STORE}:{port}": ("127.0.0.1", port)}) as way_out:
        storage = s3(f"http://{STORE}:{port}", through(way_out.url))
        await storage.ping()
        await storage.put(KEY, media, {})
    assert (bucket.bucket / KEY).read_bytes() == b"bytes"
    assert f"PUT http://{STORE}:{port}/{BUCKET}/{KEY}" in way_out.asked


async def test_a_bucket_on_this_machine_is_asked_without_the_proxy(bucket: BucketServer, media: MediaFile) -> None:
    async with proxy() as way_out:
        await s3(bucket.url, through(way_out.url)).put(KEY, media, {})
    assert way_out.connections == 0
    assert (bucket.bucket / KEY).read_bytes() == b"bytes"


async def test_a_local_bucket_is_asked_whatever_its_library_says(
    bucket: BucketServer, media: MediaFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"http_proxy": "http://127.0.0.1:9", "all_proxy": "socks5://127.0.0.1:9"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    await s3(bucket.url, proxies_of(environ)).put(KEY, media, {})
    assert (bucket.bucket / KEY).read_bytes() == b"bytes"


async def test_ring_filebase_is_asked_as_was_settled_at_the_start(
    media: MediaFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its library would read of the environment by then."""
    for name, value in {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}.items():
        monkeypatch.setenv(name, value)
    with SandboxServer() as sandbox:
        storage = RingbaseStorage(sandbox.ringbase_url, DEFAULT_RINGBASE_TOKEN, proxies=proxies_of({}))
        await storage.put(KEY, media, {})
        await storage.aclose()
        assert [upload.path.read_bytes() for upload in sandbox.state.uploads.all()] == [b"bytes"]


@pytest.mark.parametrize("bypass", [STORE, "x.test", "*"])
async def test_a_bucket_that_no_proxy_names_is_not_asked_through_it(bypass: str) -> None:
    async with proxy() as way_out:
        with pytest.raises(StorageError, match="no answer"):  # the name exists for the proxy alone
            await s3(f"http://{STORE}:9", through(way_out.url, bypass)).ping()
    assert way_out.connections == 0


async def test_a_proxy_that_refuses_is_a_storage_that_cannot_be_reached(media: MediaFile) -> None:
    async with AsyncExitStack() as stack:
        refused = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
        way_out = await stack.enter_async_context(proxy(answer=refused))
        only = proxies_of({"HTTPS_PROXY": way_out.url})
        storage = RingbaseStorage(f"https://{FILEBASE}", "a-token", clock=SystemClock(), proxies=only, max_attempts=1)
        stack.push_async_callback(storage.aclose)
        with pytest.raises(
            StorageError, match=r"no answer from RINGBASE_API_URL \(ProxyError 403 Forbidden\)"
        ) as caught:
            await storage.put(KEY, media, {})
    assert caught.value.retryable
    assert not isinstance(caught.value, StorageUnclear)


def test_a_proxy_that_cannot_be_spoken_with_is_told_at_the_start() -> None:
    proxies = proxies_of({"ALL_PROXY": "socks5://user:secret@127.0.0.1:9"})
    for open_storage in (
        lambda: RingbaseStorage(f"https://{FILEBASE}", "a-token", proxies=proxies),
        lambda: s3(f"https://{STORE}", proxies),
    ):
        with pytest.raises(ConfigError, match=r"HTTPS_PROXY: socks5://127\.0\.0\.1:9 is not the address") as caught:
            open_storage()
        assert "secret" not in caught.value.message
