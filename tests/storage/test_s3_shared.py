"""What is particular to files that machines share in a bucket: whose they are, rights, and a store that is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.storage.base import SharedFiles
from ring_mcp.storage.s3 import S3Storage
from ring_mcp.storage.s3_shared import SHARED_FOLDER, is_shared_key
from tests.s3_servers import BUCKET, KEY_ID, SECRET, BucketServer, Moto


def shared_of(storage: S3Storage) -> SharedFiles:
    assert storage.shared is not None
    return storage.shared


def written(path: Path) -> Path:
    path.write_bytes(b"bytes")
    return path


async def test_nothing_is_shared_where_nobody_asked_for_it(server: BucketServer) -> None:
    assert server.storage().shared is None


async def test_files_lie_in_one_folder_below_the_prefix(server: BucketServer, tmp_path: Path) -> None:
    await shared_of(server.storage(prefix="ring", shares=True)).share("a", written(tmp_path / "mine"))
    assert [path.relative_to(server.bucket).as_posix() for path in server.objects()] == [f"ring/{SHARED_FOLDER}/a"]
    assert await shared_of(server.storage(prefix="another", shares=True)).list_files() == []


async def test_a_thousand_names_are_a_page(server: BucketServer) -> None:
    folder = server.bucket / SHARED_FOLDER
    folder.mkdir()
    for number in range(1001):
        (folder / f"{number:04}").touch()
    files = shared_of(server.storage(shares=True))
    assert [file.name for file in await files.list_files()] == [f"{number:04}" for number in range(1000)]
    assert [file.name for file in await files.list_files(after="0999")] == ["1000"]


async def test_no_caller_gets_at_them_with_our_key(server: BucketServer, tmp_path: Path) -> None:
    storage = server.storage(prefix="ring", shares=True)
    await shared_of(storage).share("a", written(tmp_path / "mine"))
    url = f"{server.url}/{BUCKET}/ring/{SHARED_FOLDER}/a"
    assert (await storage.address(url)).url == url
    assert not await storage.fetch(url, tmp_path / "theirs", 10)


def test_results_in_a_folder_of_that_name_are_no_shared_files() -> None:
    assert is_shared_key("spool/a")
    assert not is_shared_key("spool/og/1763622000000-0-0a1b2c3d.png")
    assert not is_shared_key("generated/og/a.png")
    assert not is_shared_key("generated/a.png")
    assert not is_shared_key("spool")


async def test_a_store_that_checks_rights_takes_and_gives_and_removes(moto: Moto, tmp_path: Path) -> None:
    files = shared_of(moto.storage(moto.sharer, prefix="ring", shares=True))
    await files.ping()
    await files.share("a", written(tmp_path / "mine"))
    assert await files.fetch("a", tmp_path / "theirs", 5)
    assert (tmp_path / "theirs").read_bytes() == b"bytes"
    assert not await files.fetch("b", tmp_path / "nothing", 5)
    await files.remove(["a"])
    assert await files.list_files() == []


async def test_a_key_that_may_not_delete_is_told_which_right_it_needs(moto: Moto, tmp_path: Path) -> None:
    storage = moto.storage(moto.writer, prefix="ring", shares=True)
    await storage.ping()
    files = shared_of(storage)
    with pytest.raises(StorageRefused, match="AccessDenied") as caught:
        await files.ping()
    assert "s3:DeleteObject" in caught.value.next_action
    assert caught.value.billed == "no"
    await files.share("a", written(tmp_path / "mine"))
    with pytest.raises(StorageRefused, match="S3 removal failed"):
        await files.remove(["a"])
    for secret in moto.writer:
        assert secret not in caught.value.message


async def test_what_cannot_be_shared_costs_nothing(server: BucketServer, tmp_path: Path) -> None:
    files = shared_of(server.storage(shares=True))
    with pytest.raises(StorageError, match=r"^the spool file cannot be read: No such file or directory$") as missing:
        await files.share("a", tmp_path / "nowhere")
    with pytest.raises(StorageRefused, match=r"^'a/b' is no bare name$") as nested:
        await files.share("a/b", written(tmp_path / "mine"))
    await files.share("a", written(tmp_path / "mine"))
    with pytest.raises(StorageRefused, match=r"^a has 5 bytes; 4 are allowed$") as large:
        await files.fetch("a", tmp_path / "theirs", 4)
    assert [caught.value.billed for caught in (missing, nested, large)] == ["no"] * 3


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, "<html>not found</html>"),
        (404, "<?xml version='1.0'?><Error><Code>NoSuchBucket</Code><Message>no</Message></Error>"),
        (403, "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"),
    ],
)
async def test_only_the_stores_own_word_says_that_a_file_is_not_there(
    server: BucketServer, tmp_path: Path, status: int, body: str
) -> None:
    server.answers.append((status, body))
    with pytest.raises(StorageError):
        await shared_of(server.storage(shares=True)).fetch("a", tmp_path / "theirs", 10)
    assert not (tmp_path / "theirs").exists()


async def test_a_store_that_is_away_says_nothing_of_any_file(tmp_path: Path) -> None:
    away = S3Storage(
        "media", endpoint="http://127.0.0.1:1", access_key_id=KEY_ID, secret_access_key=SECRET, shares=True
    )
    files = shared_of(away)
    for what, billed, doing in (
        ("upload", "yes", files.share("a", written(tmp_path / "mine"))),
        ("download", "no", files.fetch("a", tmp_path / "theirs", 10)),
        ("listing", "no", files.list_files()),
        ("removal", "no", files.remove(["a"])),
        ("removal", "no", files.ping()),
    ):
        with pytest.raises(StorageError, match=f"^S3 {what} failed") as caught:
            await doing
        assert caught.value.billed == billed
        assert type(caught.value) is StorageError, "it comes back"
        assert SECRET not in caught.value.message


async def test_the_health_of_a_failing_store_is_asked_for_once(server: BucketServer) -> None:
    asked: list[str] = []

    def cut(path: str) -> None:
        asked.append(path)
        raise ConnectionError

    server.before = cut
    with pytest.raises(StorageError):
        await shared_of(server.storage(shares=True)).ping()
    assert asked == [f"/{BUCKET}/spool/ring-health"], "what no job has, whose files it could take away"
