"""What every place promises in which machines share files of open jobs: a bucket, and the folder that tests have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.storage.base import SharedFiles
from ring_mcp.storage.s3_settings import PART_BYTES
from tests.jobs.shared_folder import SharedFolder
from tests.s3_servers import bucket_server

NAME = "0f0c3b6e-5a44-4a59-9a7c-2f6b9a6c1d11-0.inline"
CONTENT = bytes(range(256)) * 300


@pytest.fixture(params=["s3", "folder"])
async def files(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SharedFiles]:
    with ExitStack() as servers:
        if request.param == "folder":
            yield SharedFolder(tmp_path / "shared")
            return
        storage = servers.enter_context(bucket_server(tmp_path / "s3")).storage(prefix="ring/media", shares=True)
        assert storage.shared is not None
        yield storage.shared
        await storage.aclose()


def written(path: Path, content: bytes = CONTENT) -> Path:
    path.write_bytes(content)
    return path


async def names(files: SharedFiles, after: str = "") -> list[str]:
    return [file.name for file in await files.list_files(after)]


@pytest.mark.parametrize("content", [b"", CONTENT, b"x" * (PART_BYTES + 1)], ids=["empty", "small", "in parts"])
async def test_what_is_shared_is_read_byte_for_byte(files: SharedFiles, tmp_path: Path, content: bytes) -> None:
    await files.share(NAME, written(tmp_path / "mine", content))
    assert await files.fetch(NAME, tmp_path / "theirs", len(content))
    assert (tmp_path / "theirs").read_bytes() == content
    assert (tmp_path / "mine").read_bytes() == content, "it stays where it was"


async def test_what_nobody_has_shared_is_told_and_leaves_no_file(files: SharedFiles, tmp_path: Path) -> None:
    assert not await files.fetch(NAME, tmp_path / "theirs", 10)
    await files.share(NAME, written(tmp_path / "mine"))
    assert not await files.fetch(NAME[:-1], tmp_path / "theirs", 10**6)
    assert not (tmp_path / "theirs").exists()


async def test_a_later_file_takes_the_place_of_an_earlier_one(files: SharedFiles, tmp_path: Path) -> None:
    for content in (CONTENT, b"another"):
        await files.share(NAME, written(tmp_path / "mine", content))
    assert await names(files) == [NAME]
    assert await files.fetch(NAME, tmp_path / "theirs", 7)
    assert (tmp_path / "theirs").read_bytes() == b"another"


async def test_what_is_removed_is_gone_and_may_be_removed_again(files: SharedFiles, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        await files.share(name, written(tmp_path / "mine"))
    for _ in range(2):
        await files.remove(["a", "c"])
        assert await names(files) == ["b"]
    assert not await files.fetch("a", tmp_path / "theirs", 10**6)


async def test_files_are_listed_by_name_with_their_time(files: SharedFiles, tmp_path: Path) -> None:
    assert await names(files) == []
    for name in ("b-1", "a", "b", "c"):
        await files.share(name, written(tmp_path / "mine"))
    assert await names(files) == ["a", "b", "b-1", "c"]
    assert await names(files, after="a-nobody-s") == ["b", "b-1", "c"]
    assert await names(files, after="b") == ["b-1", "c"]
    assert await names(files, after="c") == []
    for file in await files.list_files():
        assert abs(file.laid_at - datetime.now(UTC)) < timedelta(minutes=5)


async def test_a_list_of_many_comes_page_by_page(files: SharedFiles, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine", b"")
    await asyncio.gather(*(files.share(f"{number:04}", mine) for number in range(1001)))
    assert len(await names(files)) == 1000
    assert await names(files, after="0999") == ["1000"]


async def test_what_is_too_large_is_refused_and_leaves_no_file(files: SharedFiles, tmp_path: Path) -> None:
    await files.share(NAME, written(tmp_path / "mine"))
    with pytest.raises(StorageRefused, match=r"has 76,800 bytes; 76,799 are allowed"):
        await files.fetch(NAME, tmp_path / "theirs", len(CONTENT) - 1)
    assert not (tmp_path / "theirs").exists()


async def test_a_file_that_is_not_here_cannot_be_shared(files: SharedFiles, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the spool file cannot be read"):
        await files.share(NAME, tmp_path / "nowhere")
    assert await names(files) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "../generated/a.png", "a\0b", "ä"])
async def test_what_is_no_bare_name_is_refused(files: SharedFiles, tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageRefused):
        await files.share(name, written(tmp_path / "mine"))
    with pytest.raises(StorageRefused):
        await files.fetch(name, tmp_path / "theirs", 10)
    with pytest.raises(StorageRefused):
        await files.remove([name])


async def test_a_ping_passes_and_leaves_nothing_behind(files: SharedFiles) -> None:
    await files.ping()
    assert await names(files) == []
