"""What is particular to files in a folder."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import resource
import stat
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from ring_mcp.domain import MediaFile
from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.storage.base import Address
from ring_mcp.storage.links import FileLinks
from ring_mcp.storage.local import LocalStorage
from tests.auditing import when

KEY = "generated/og/1-0-abcdef01.png"
NOBODY = 65534
DAY_S = 24 * 3600


def spool(path: Path, data: bytes) -> MediaFile:
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return MediaFile(path=path, size_bytes=len(data), sha256=sha256, content_type="image/png", extension="png")


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to let any file grow further: a disk that fills up in the middle of a copy."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def a_folder_that_is_copied_into(tmp_path: Path) -> Path:
    """It gives what is made in it its own group, which a second name of a file would not have."""
    folder = (tmp_path / "files" / KEY).parent
    folder.mkdir(parents=True)
    folder.chmod(0o2755)
    return folder


def failing(number: int) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def opening_folders_fails(number: int) -> AbstractContextManager[None]:
    def look(path: object, *_: object) -> None:
        if isinstance(path, str) and Path(path).is_dir():
            failing(number)()

    return when("open", look)


STEPS = ("mkdir", "flush", "fsync", "link", "replace")


@contextmanager
def steps() -> Iterator[list[str]]:
    """What is done of ``STEPS``, in turn, in this thread and in those that begin meanwhile."""
    done: list[str] = []

    def note(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in STEPS and not isinstance(called.__self__, str):
            done.append(called.__name__)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield done
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@contextmanager
def no_other_folder_for_temporary_files() -> Iterator[None]:
    before, tempfile.tempdir = tempfile.tempdir, "/nowhere"
    try:
        yield
    finally:
        tempfile.tempdir = before


def another_file_system(than: Path) -> Path | None:
    places = (Path(place) for place in ("/dev/shm", "/tmp", "/var/tmp"))
    return next((place for place in places if place.is_dir() and place.stat().st_dev != than.stat().st_dev), None)


@contextmanager
def read_only_folder() -> Iterator[tuple[Path, MediaFile]]:
    """It and a spool file. Not in tmp_path: pytest closes the folders above that to everybody else."""
    with tempfile.TemporaryDirectory() as name:
        media = spool(Path(name) / "spool", b"x")
        Path(name).chmod(0o555)
        yield Path(name), media
        Path(name).chmod(0o700)


@contextmanager
def without_the_rights_of_root() -> Iterator[None]:
    """Root may write into a read-only folder; nobody else may."""
    am_root = os.geteuid() == 0
    if am_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if am_root:
            os.seteuid(0)


async def test_the_folder_is_made_by_the_first_put_for_this_user_alone(tmp_path: Path) -> None:
    root = tmp_path / "state" / "files"
    storage = LocalStorage(root)
    assert not root.exists()
    os.umask(umask := os.umask(0))
    await storage.put(KEY, spool(tmp_path / "s", b"x"), {})
    made = (root.parent, root, root / "generated", (root / KEY).parent)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in made] == [0o700, 0o700, *[0o777 & ~umask] * 2]


async def test_a_folder_that_somebody_else_makes_just_now_serves(tmp_path: Path) -> None:
    with when("os.mkdir", lambda path, *_: Path(path).mkdir()):
        await LocalStorage(tmp_path / "files").put(KEY, spool(tmp_path / "s", b"x"), {})
    assert (tmp_path / "files" / KEY).read_bytes() == b"x"


async def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    root = tmp_path / "public"
    root.mkdir(mode=0o755)
    await LocalStorage(root).put(KEY, spool(tmp_path / "s", b"x"), {})
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


async def test_the_url_is_a_file_uri_of_the_local_path(tmp_path: Path) -> None:
    assert LocalStorage.name == "local"
    stored = await LocalStorage(tmp_path / "a folder").put(KEY, spool(tmp_path / "s", b"x"), {})
    assert stored.local_path == str(tmp_path / "a folder" / KEY)
    assert stored.url == (tmp_path / "a folder" / KEY).as_uri()
    assert stored.file_id is None


@pytest.mark.parametrize("key", [None, "../outside.jpg", "", "generated/gone.jpg"])
async def test_a_file_that_is_not_there_keeps_the_address_it_had(tmp_path: Path, key: str | None) -> None:
    address = "http://127.0.0.1:4321/files/outside.jpg"
    assert await LocalStorage(tmp_path / "files").address(address, key) == Address(address)


async def test_where_files_are_handed_out_their_address_is_that_of_the_server(tmp_path: Path) -> None:
    links = FileLinks("https://ring.example", b"secret")
    storage = LocalStorage(tmp_path / "files", links)
    stored = await storage.put(KEY, spool(tmp_path / "s", b"x"), {})
    assert (stored.url, stored.local_path) == (links.url_of(KEY), None)
    assert await storage.address("https://before.example/a.png", KEY) == Address(links.url_of(KEY))


async def test_a_file_that_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    media = spool(tmp_path / "s", b"the same bytes")
    storage = LocalStorage(tmp_path / "files")
    stored = await storage.put(KEY, media, {})
    before = (tmp_path / "files" / KEY).stat()
    assert await storage.put(KEY, media, {}) == stored
    after = (tmp_path / "files" / KEY).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("damaged", [b"damaged!", b"half"])
async def test_a_damaged_file_is_replaced(tmp_path: Path, damaged: bytes) -> None:
    storage = LocalStorage(tmp_path / "files")
    target = tmp_path / "files" / KEY
    target.parent.mkdir(parents=True)
    target.write_bytes(damaged)
    await storage.put(KEY, spool(tmp_path / "s", b"original"), {})
    assert target.read_bytes() == b"original"


@pytest.mark.parametrize("link", ["generated", "generated/og", KEY])
async def test_a_symlink_out_of_the_folder_is_refused(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "files" / link
    target.parent.mkdir(parents=True)
    target.symlink_to(outside / "secret.png" if link == KEY else outside)
    with pytest.raises(StorageRefused, match="symlink"):
        await LocalStorage(tmp_path / "files").put(KEY, spool(tmp_path / "s", b"x"), {})
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("link", ["generated", "generated/og"])
async def test_a_folder_that_became_a_symlink_is_refused(tmp_path: Path, link: str) -> None:
    """Although files were put into it before."""
    storage, outside = LocalStorage(tmp_path / "files"), tmp_path / "outside"
    for _ in range(2):
        stored = await storage.put(KEY, spool(tmp_path / "s", b"x"), {})
    (tmp_path / "files" / link).rename(tmp_path / "moved")
    (outside / "og").mkdir(parents=True)
    (tmp_path / "files" / link).symlink_to(outside)
    with pytest.raises(StorageRefused, match="symlink"):
        await storage.put(KEY, spool(tmp_path / "s", b"x"), {})
    assert storage.local_path(stored.url) is None


async def test_a_file_that_became_a_symlink_is_not_handed_out(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    storage = LocalStorage(tmp_path / "files")
    for _ in range(2):
        stored = await storage.put(KEY, spool(tmp_path / "s", b"x"), {})
    (tmp_path / "files" / KEY).unlink()
    (tmp_path / "files" / KEY).symlink_to(tmp_path / "secret.png")
    assert storage.local_path(stored.url) is None


async def test_a_link_back_in_vouches_for_nothing_beside_it(tmp_path: Path) -> None:
    """A folder outside, in which one name leads back."""
    storage, outside = LocalStorage(tmp_path / "files"), tmp_path / "outside"
    stored = await storage.put(KEY, spool(tmp_path / "s", b"x"), {})
    outside.mkdir()
    (outside / "back.png").symlink_to(tmp_path / "files" / KEY)
    (outside / "secret.png").write_bytes(b"secret")
    (tmp_path / "files" / "linked").symlink_to(outside)
    for _ in range(2):
        assert storage.local_path(stored.url.replace(KEY, "linked/back.png")) is not None
        assert storage.local_path(stored.url.replace(KEY, "linked/secret.png")) is None


def test_of_a_thousand_folders_at_most_it_is_known_where_they_lie(tmp_path: Path) -> None:
    storage, known = LocalStorage(tmp_path / "files"), list[int]()
    for number in range(1001):
        file = tmp_path / "files" / str(number) / "a.png"
        file.parent.mkdir(parents=True)
        file.touch()
        assert storage.local_path(file.as_uri()) is not None
        known.append(len(storage._inside))
    assert (max(known), known[-1]) == (1000, 1)


async def test_a_loop_of_symlinks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "generated").symlink_to("generated")
    # Since Python 3.13 only what is then done with the path meets the loop.
    with pytest.raises(StorageRefused if sys.version_info < (3, 13) else StorageError):
        await LocalStorage(tmp_path / "files").put(KEY, spool(tmp_path / "s", b"x"), {})


async def test_the_folder_itself_may_be_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "files").symlink_to(tmp_path / "disk")
    await LocalStorage(tmp_path / "files").put(KEY, spool(tmp_path / "s", b"x"), {})
    assert (tmp_path / "disk" / KEY).read_bytes() == b"x"


async def test_a_full_disk_leaves_no_part_and_names_the_folder(tmp_path: Path) -> None:
    a_folder_that_is_copied_into(tmp_path)
    media = spool(tmp_path / "s", b"x" * 3_000_000)
    with files_of_at_most(1_500_000), pytest.raises(StorageError) as caught:
        await LocalStorage(tmp_path / "files").put(KEY, media, {})
    assert str(tmp_path / "files") in caught.value.message
    assert "LOCAL_STORAGE_DIR" in caught.value.message
    assert "RING_STATE_DIR" in caught.value.message
    assert caught.value.retryable
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []


async def test_ping_says_that_the_disk_is_full(tmp_path: Path) -> None:
    with files_of_at_most(1000), pytest.raises(StorageError, match=os.strerror(errno.EFBIG)) as caught:
        await LocalStorage(tmp_path / "files").ping()
    assert caught.value.billed == "no"


async def test_ping_waits_until_the_disk_has_the_bytes(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "files")
    with steps() as done:
        await storage.ping()
    assert done == ["flush", "fsync"], "some shares tell only then that they are full"


@pytest.mark.parametrize("key", [KEY, "a.png"])
async def test_a_read_only_folder_is_a_storage_error_that_names_it(key: str) -> None:
    with read_only_folder() as (root, media), without_the_rights_of_root():
        storage = LocalStorage(root)
        with pytest.raises(StorageError, match="Permission denied") as put:
            await storage.put(key, media, {})
        with pytest.raises(StorageError, match="Permission denied") as ping:
            await storage.ping()
    assert str(root) in put.value.message
    assert str(root) in ping.value.message
    assert (put.value.billed, ping.value.billed) == ("yes", "no")


async def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    storage = LocalStorage(tmp_path / "files")
    with pytest.raises(StorageError, match="Not a directory"):
        await storage.put(KEY, spool(tmp_path / "s", b"x"), {})
    with pytest.raises(StorageError, match="Not a directory"):
        await storage.ping()


async def test_a_folder_in_place_of_the_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "files" / KEY).mkdir(parents=True)
    with pytest.raises(StorageError, match="Is a directory"):
        await LocalStorage(tmp_path / "files").put(KEY, spool(tmp_path / "s", b"x"), {})
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []


async def test_a_spool_file_whose_bytes_changed_is_not_copied(tmp_path: Path) -> None:
    a_folder_that_is_copied_into(tmp_path)
    media = spool(tmp_path / "s", b"original")
    media.path.write_bytes(b"tampered")
    with pytest.raises(StorageError, match="changed"):
        await LocalStorage(tmp_path / "files").put(KEY, media, {})
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []


async def test_the_spool_file_itself_gets_the_name(tmp_path: Path) -> None:
    media = spool(tmp_path / "s", b"made")
    stored = await LocalStorage(tmp_path / "files").put(KEY, media, {})
    target = Path(stored.local_path or "")
    assert target.samefile(media.path)
    media.path.unlink()
    assert target.read_bytes() == b"made"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


async def test_a_name_is_given_to_bytes_on_the_disk(tmp_path: Path) -> None:
    storage, media = LocalStorage(tmp_path / "files"), spool(tmp_path / "s", b"made")
    with steps() as done:
        await storage.put(KEY, media, {})
        assert done == [*("mkdir", "fsync") * 3, "fsync", "link", "fsync"]
        done.clear()
        await storage.put(KEY, media, {})
        assert done == ["fsync"], "whoever gave it that name may have died before this"


async def test_a_copy_is_on_the_disk_before_it_has_its_name(tmp_path: Path) -> None:
    a_folder_that_is_copied_into(tmp_path)
    storage, media = LocalStorage(tmp_path / "files"), spool(tmp_path / "s", b"made")
    with steps() as done:
        await storage.put(KEY, media, {})
    assert done == ["flush", "fsync", "replace", "fsync"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM])
async def test_a_folder_that_cannot_be_synced_is_good_enough(tmp_path: Path, number: int) -> None:
    with opening_folders_fails(number):
        await LocalStorage(tmp_path / "files").put(KEY, spool(tmp_path / "s", b"made"), {})
    assert (tmp_path / "files" / KEY).read_bytes() == b"made"


async def test_a_disk_that_fails_under_a_folder_is_told(tmp_path: Path) -> None:
    with opening_folders_fails(errno.EIO), pytest.raises(StorageError, match=os.strerror(errno.EIO)):
        await LocalStorage(tmp_path / "files").put(KEY, spool(tmp_path / "s", b"made"), {})


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="nothing shows what this process has open")
async def test_a_put_leaves_nothing_open(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "files")
    await storage.put(KEY, spool(tmp_path / "s", b"x"), {})
    gc.collect()
    before = len(list(Path("/dev/fd").iterdir()))
    for number in range(5):
        await storage.put(f"generated/og/{number}.png", spool(tmp_path / f"s-{number}", b"x"), {})
    assert len(list(Path("/dev/fd").iterdir())) <= before


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
async def test_a_file_that_can_have_no_second_name_is_copied(tmp_path: Path, number: int) -> None:
    media = spool(tmp_path / "s", b"made")
    with when("os.link", failing(number)):
        await LocalStorage(tmp_path / "files").put(KEY, media, {})
    assert (tmp_path / "files" / KEY).read_bytes() == b"made"
    assert not (tmp_path / "files" / KEY).samefile(media.path)


async def test_where_no_list_of_rights_can_be_there_is_none(tmp_path: Path) -> None:
    media = spool(tmp_path / "s", b"made")
    with when("os.listxattr", failing(errno.ENOTSUP)):
        await LocalStorage(tmp_path / "files").put(KEY, media, {})
    assert (tmp_path / "files" / KEY).samefile(media.path)


async def test_a_folder_that_gives_its_group_gets_a_copy(tmp_path: Path) -> None:
    folder = a_folder_that_is_copied_into(tmp_path)
    media = spool(tmp_path / "s", b"made")
    await LocalStorage(tmp_path / "files").put(KEY, media, {})
    (stored,) = folder.iterdir()
    assert (stored.read_bytes(), stored.samefile(media.path)) == (b"made", False)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows such lists as attributes")
async def test_a_folder_with_a_list_of_rights_gets_a_copy(tmp_path: Path) -> None:
    folder = (tmp_path / "files" / KEY).parent
    folder.mkdir(parents=True)
    everybody_reads = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, 5, 0xFFFFFFFF) for tag in (1, 4, 32))
    try:
        os.setxattr(folder, "system.posix_acl_default", everybody_reads)
    except OSError:
        pytest.skip("this file system keeps no lists of rights")
    media = spool(tmp_path / "s", b"made")
    await LocalStorage(tmp_path / "files").put(KEY, media, {})
    assert not (tmp_path / "files" / KEY).samefile(media.path)


async def test_what_lies_on_another_file_system_is_copied(tmp_path: Path) -> None:
    elsewhere = another_file_system(than=tmp_path)
    if elsewhere is None:
        pytest.skip("there is no other file system here")
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        media = spool(Path(folder) / "s", b"made")
        await LocalStorage(tmp_path / "files").put(KEY, media, {})
    assert (tmp_path / "files" / KEY).read_bytes() == b"made"


async def test_parts_of_a_killed_process_are_swept_after_a_day(tmp_path: Path) -> None:
    folder = (tmp_path / "files" / KEY).parent
    folder.mkdir(parents=True)
    old, young, other = (folder / name for name in (f".ring-{'0' * 32}.part", f".ring-{'1' * 32}.part", ".keep"))
    for path in (old, young, other):
        path.write_bytes(b"half")
    now_s = old.stat().st_mtime
    for path, age_s in ((old, DAY_S + 1), (young, DAY_S - 600), (other, 2 * DAY_S)):
        os.utime(path, (now_s - age_s, now_s - age_s))
    with no_other_folder_for_temporary_files():  # whose clock would be another one
        await LocalStorage(tmp_path / "files").put(KEY, spool(tmp_path / "s", b"x"), {})
    assert (old.exists(), young.exists(), other.exists()) == (False, True, True)


async def test_a_folder_is_swept_once_and_not_with_every_put(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "files")
    await storage.put(KEY, spool(tmp_path / "s", b"x"), {})
    part = (tmp_path / "files" / KEY).with_name(f".ring-{'0' * 32}.part")
    part.write_bytes(b"half")
    os.utime(part, (1_700_000_000, 1_700_000_000))
    await storage.put(KEY, spool(tmp_path / "s", b"x"), {})
    assert part.exists()


def test_only_addresses_of_files_in_the_folder_lead_to_one(tmp_path: Path) -> None:
    root, links = tmp_path / "a folder", FileLinks("https://ring.example", b"secret")
    file = root / KEY
    own = [LocalStorage(root), LocalStorage(root, known_links=links), LocalStorage(root, links)]
    assert [storage.local_path(file.as_uri()) for storage in own] == [file] * 3
    assert [storage.local_path(links.url_of(KEY)) for storage in own] == [None, file, file]
    for elsewhere in (
        (tmp_path / "a folder too" / KEY).as_uri(),
        f"{root.as_uri()}/../{KEY}",
        FileLinks("https://ring.example", b"another's").url_of(KEY),
        links.url_of(f"../{KEY}"),
        "https://ring.example/a.png",
    ):
        assert [storage.local_path(elsewhere) for storage in own] == [None] * 3
