"""What every storage promises, whichever backend it is."""

from __future__ import annotations

import asyncio
import hashlib
import string
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ring_mcp.errors import StorageError, StorageRefused, StorageUnclear
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.storage.keys import key_segments
from tests.contracts.storage_backends import (
    BREAKAGES,
    RINGBASE_TOKEN,
    Backend,
    local_backend,
    media_file,
    ringbase_backend,
    s3_backend,
)
from tests.provenance_samples import signed_jpeg
from tests.s3_servers import KEY_ID, SECRET

KEY = "generated/og/1763622000000-0-0a1b2c3d.png"
DATA = bytes(range(256)) * 700


@pytest.fixture(params=["local", "ringbase", "s3"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path, sandbox: SandboxServer) -> AsyncIterator[Backend]:
    kinds = {"local": local_backend, "s3": s3_backend}
    kind = kinds[request.param](tmp_path / "files") if request.param in kinds else ringbase_backend(sandbox)
    with kind as made:
        yield made
        await made.storage.aclose()


def read(path: str) -> bytes:
    return Path(path).read_bytes()


def opened(url: str) -> bytes:
    with urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


async def test_what_was_put_comes_back_byte_for_byte(backend: Backend, tmp_path: Path) -> None:
    stored = await backend.storage.put(KEY, media_file(tmp_path / "spool", DATA), {"source": "xai"})
    (kept,) = backend.kept()
    assert hashlib.sha256(kept.data).hexdigest() == hashlib.sha256(DATA).hexdigest()
    assert kept.content_type in (None, "image/png")
    assert (stored.key, stored.size_bytes, stored.content_type) == (KEY, len(DATA), "image/png")


async def test_content_credentials_and_metadata_in_a_picture_come_through_untouched(
    backend: Backend, tmp_path: Path
) -> None:
    sent = signed_jpeg()
    await backend.storage.put("generated/og/1.jpg", media_file(tmp_path / "spool", sent, "image/jpeg", "jpg"), {})
    assert [kept.data for kept in backend.kept()] == [sent]


async def test_a_sidecar_is_stored_beside_its_asset_and_is_json(backend: Backend, tmp_path: Path) -> None:
    asset = await backend.storage.put(KEY, media_file(tmp_path / "spool", DATA), {})
    media = media_file(tmp_path / "beside", b'{"schemaVersion": "1.0"}', "application/json", "json")
    stored = await backend.storage.put(f"{KEY}.json", media, {})
    assert (stored.key, stored.content_type) == (f"{KEY}.json", "application/json")
    assert stored.url != asset.url
    assert sorted(kept.data for kept in backend.kept()) == sorted([DATA, b'{"schemaVersion": "1.0"}'])
    address = await backend.storage.address(stored.url)
    assert await asyncio.to_thread(opened, address.url) == b'{"schemaVersion": "1.0"}'


async def test_the_url_is_absolute_and_a_local_path_exists(backend: Backend, tmp_path: Path) -> None:
    stored = await backend.storage.put(KEY, media_file(tmp_path / "spool", DATA), {})
    assert stored.url.startswith(("file:///", "http://"))
    assert (stored.local_path is None) == stored.url.startswith("http")
    assert stored.local_path is None or read(stored.local_path) == DATA


async def test_an_address_gives_the_bytes_and_is_kept_unsigned(backend: Backend, tmp_path: Path) -> None:
    stored = await backend.storage.put(KEY, media_file(tmp_path / "spool", DATA), {})
    address = await backend.storage.address(stored.url)
    assert await asyncio.to_thread(opened, address.url) == DATA
    assert backend.storage.strip_signature(address.url) == stored.url
    assert "ignature" not in stored.url


async def test_the_address_of_somebody_else_is_left_as_it_is(backend: Backend, tmp_path: Path) -> None:
    for url in ("https://example.org/media/a.png?X-Amz-Signature=1", "data:image/png;base64,AA", ""):
        assert (await backend.storage.address(url)).url == url
        assert backend.storage.strip_signature(url) == url
        assert not await backend.storage.fetch(url, tmp_path / "fetched", 1000)
    assert not (tmp_path / "fetched").exists()


async def test_the_spool_file_stays_where_it_is(backend: Backend, tmp_path: Path) -> None:
    media = media_file(tmp_path / "spool", DATA)
    await backend.storage.put(KEY, media, {})
    assert media.path.read_bytes() == DATA


async def test_the_same_key_twice_is_the_same_asset(backend: Backend, tmp_path: Path) -> None:
    media = media_file(tmp_path / "spool", DATA)
    first = await backend.storage.put(KEY, media, {"attempt": "1"})
    assert await backend.storage.put(KEY, media, {"attempt": "2"}) == first
    assert [kept.data for kept in backend.kept()] == [DATA]


async def test_the_same_key_twice_at_once_is_the_same_asset(backend: Backend, tmp_path: Path) -> None:
    media = media_file(tmp_path / "spool", DATA)
    stored = await asyncio.gather(*(backend.storage.put(KEY, media, {}) for _ in range(5)))
    assert len(set(stored)) == 1
    assert [kept.data for kept in backend.kept()] == [DATA]


async def test_other_bytes_under_the_same_key_win(backend: Backend, tmp_path: Path) -> None:
    await backend.storage.put(KEY, media_file(tmp_path / "one", DATA), {})
    stored = await backend.storage.put(KEY, media_file(tmp_path / "two", DATA[::-1]), {})
    assert stored.size_bytes == len(DATA)
    assert backend.kept()[-1].data == DATA[::-1]


async def test_twenty_puts_at_once_all_arrive(backend: Backend, tmp_path: Path) -> None:
    files = [media_file(tmp_path / f"spool-{n}", DATA + bytes([n])) for n in range(20)]
    stored = await asyncio.gather(
        *(backend.storage.put(f"generated/og/{n}.png", media, {}) for n, media in enumerate(files))
    )
    assert len({one.url for one in stored}) == 20
    assert sorted(kept.data for kept in backend.kept()) == sorted(DATA + bytes([n]) for n in range(20))
    assert backend.left_over() == []


async def test_metadata_may_be_any_text(backend: Backend, tmp_path: Path) -> None:
    metadata = {"purpose": 'Überschrift "ганок" 猫 🐈', "empty": "", "lines": "a\r\nb\0c"}
    await backend.storage.put(KEY, media_file(tmp_path / "spool", DATA), metadata)
    assert backend.kept()[0].metadata in (None, metadata)


async def test_a_video_is_stored_under_its_own_type(backend: Backend, tmp_path: Path) -> None:
    media = media_file(tmp_path / "spool", DATA, "video/mp4", "mp4")
    assert (await backend.storage.put("generated/video/1.mp4", media, {})).content_type == "video/mp4"
    assert backend.kept()[0].content_type in (None, "video/mp4")


HOSTILE_PARTS = st.sampled_from(
    ["", ".", "..", "...", "a b", "a\\b", "a\0b", "c:", "ä", "~", "%2e%2e", "a\n", "x" * 101]
)
SAFE_PARTS = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=12)
HOSTILE_KEYS = st.tuples(st.lists(SAFE_PARTS, max_size=2), HOSTILE_PARTS, st.lists(SAFE_PARTS, max_size=2)).map(
    lambda parts: "/".join([*parts[0], parts[1], *parts[2]])
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)
@example("/etc/passwd")
@example("../../outside.png")
@example("generated/../../outside.png")
@example("")
@example("generated/")
@given(key=HOSTILE_KEYS)
async def test_a_hostile_key_is_refused_and_nothing_is_stored(backend: Backend, tmp_path: Path, key: str) -> None:
    media = media_file(tmp_path / "spool", b"bytes")
    with pytest.raises(StorageRefused):
        await backend.storage.put(key, media, {})
    assert backend.kept() == []


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=100
)
@given(key=st.text(max_size=40))
async def test_any_text_as_key_is_either_refused_or_stays_inside(tmp_path: Path, key: str) -> None:
    try:
        segments = key_segments(key)
    except StorageRefused:
        return
    with local_backend(tmp_path / "files") as backend:
        stored = await backend.storage.put(key, media_file(tmp_path / "spool", b"bytes"), {})
        assert stored.local_path == str((tmp_path / "files").joinpath(*segments))
        assert [kept.data for kept in backend.kept()] == [b"bytes"]
        backend.clear()


async def test_a_spool_file_that_is_gone_is_a_storage_error(backend: Backend, tmp_path: Path) -> None:
    media = media_file(tmp_path / "spool", DATA)
    media.path.unlink()
    with pytest.raises(StorageError, match="the spool file cannot be read"):
        await backend.storage.put(KEY, media, {})
    assert backend.kept() == []


async def test_a_spool_file_that_was_cut_is_a_storage_error(backend: Backend, tmp_path: Path) -> None:
    media = media_file(tmp_path / "spool", DATA)
    media.path.write_bytes(DATA[:-1])
    with pytest.raises(StorageError, match="the spool file has"):
        await backend.storage.put(KEY, media, {})
    assert backend.kept() == []


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="only Linux has a file that opens and cannot be read")
async def test_a_disk_that_fails_under_the_spool_is_told(backend: Backend, tmp_path: Path) -> None:
    unreadable = replace(media_file(tmp_path / "spool", DATA), path=Path("/proc/self/mem"), size_bytes=0)
    with pytest.raises(StorageError, match=r"^the spool file cannot be read: Input/output error$"):
        await backend.storage.put(KEY, unreadable, {})
    assert backend.kept() == []


async def test_a_cancelled_put_leaves_no_half_file_and_the_next_one_works(backend: Backend, tmp_path: Path) -> None:
    data = DATA * 100
    media = media_file(tmp_path / "spool", data)
    backend.slow()
    async with asyncio.timeout(60):
        putting = asyncio.create_task(backend.storage.put(KEY, media, {}))
        for _ in range(100_000):
            await asyncio.sleep(0)
            if backend.under_way():
                break
        putting.cancel()
        await asyncio.wait([putting])
    assert all(kept.data == data for kept in backend.kept())
    await backend.storage.put(KEY, media, {})
    assert {kept.data for kept in backend.kept()} == {data}


async def test_ping_passes_and_leaves_nothing_behind(backend: Backend, tmp_path: Path) -> None:
    before = everything_in(tmp_path)
    await backend.storage.ping()
    assert backend.kept() == []
    assert everything_in(tmp_path) == before


async def test_closing_twice_is_harmless(backend: Backend) -> None:
    await backend.storage.ping()
    await backend.storage.aclose()
    await backend.storage.aclose()


@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_whatever_breaks_is_a_storage_error_without_the_secret(
    breakage: str, sandbox: SandboxServer, tmp_path: Path
) -> None:
    storage = BREAKAGES[breakage](tmp_path, sandbox)
    with pytest.raises(StorageError) as caught:
        await storage.put(KEY, media_file(tmp_path / "spool", DATA), {})
    error = caught.value
    assert error.billed == "yes"
    assert "\n" not in error.message
    assert len(error.message) < 500
    for secret in (RINGBASE_TOKEN, "a-token-that-is-wrong", "Bearer", KEY_ID, SECRET):
        assert secret not in f"{error} {error!r} {error.next_action}"
    await storage.aclose()


async def test_a_yes_that_cannot_be_read_leaves_one_copy_and_no_other(sandbox: SandboxServer, tmp_path: Path) -> None:
    with ringbase_backend(sandbox) as backend:
        sandbox.state.faults.add("ringbase_no_url", times=-1)
        with pytest.raises(StorageUnclear):
            await backend.storage.put(KEY, media_file(tmp_path / "spool", DATA), {})
        assert [kept.data for kept in backend.kept()] == [DATA]
        await backend.storage.aclose()


async def test_the_name_is_the_value_of_file_backend(backend: Backend, request: pytest.FixtureRequest) -> None:
    assert backend.storage.name == request.node.callspec.params["backend"]
