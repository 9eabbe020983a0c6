"""Whether what machines share goes again: a warning where it cannot, and not a word where nothing is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ring_mcp.conductors.sharing_check import check_sharing
from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.storage.local import LocalStorage
from tests.jobs.shared_folder import SharedFolder


class Hanging(SharedFolder):
    async def ping(self) -> None:
        await asyncio.Event().wait()


def storage_with(tmp_path: Path, shared: SharedFolder | None) -> LocalStorage:
    storage = LocalStorage(tmp_path / "files")
    storage.shared = shared
    return storage


async def test_a_key_that_may_not_delete_is_a_warning(tmp_path: Path) -> None:
    place = SharedFolder(tmp_path / "shared")
    place.trouble = StorageRefused("S3 removal failed: AccessDenied", next_action="Allow this key s3:DeleteObject.")
    (check,) = await check_sharing(storage_with(tmp_path, place), 60.0)
    assert (check.name, check.status, check.fix) == ("shared files", "warning", "Allow this key s3:DeleteObject.")
    assert check.detail == "S3 removal failed: AccessDenied"


@pytest.mark.parametrize("trouble", [None, StorageError("the bucket is away")])
async def test_where_nothing_is_refused_nothing_is_told(tmp_path: Path, trouble: StorageError | None) -> None:
    place = SharedFolder(tmp_path / "shared")
    place.trouble = trouble
    assert await check_sharing(storage_with(tmp_path, place), 60.0) == []


async def test_where_nothing_is_shared_nobody_is_asked(tmp_path: Path) -> None:
    assert await check_sharing(storage_with(tmp_path, None), 60.0) == []


async def test_a_storage_that_hangs_keeps_nobody_waiting(tmp_path: Path) -> None:
    assert await check_sharing(storage_with(tmp_path, Hanging(tmp_path / "shared")), 0.01) == []
