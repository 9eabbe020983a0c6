"""Files in a folder of this machine."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import stat
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import anyio.to_thread

from ring_mcp.domain import MediaFile
from ring_mcp.errors import Billed, StorageError, StorageRefused
from ring_mcp.storage.base import Address, Links, OpenUrls, StoredFile, open_spool, spool_trouble
from ring_mcp.storage.keys import key_segments

_PIECE_BYTES = 1024 * 1024
_PROBE = b"\0" * (64 * 1024)
# No copy takes so long: what is older belongs to nobody who is still at work.
_STALE_S = 24 * 3600
_PART = re.compile(r"\.ring-[0-9a-f]{32}\.part")
_CANNOT_SYNC_FOLDERS = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM})
"""What file systems say that cannot do it (some network shares) or do not let this user."""
_FIX = "Make room or correct the permissions there, or set LOCAL_STORAGE_DIR (or RING_STATE_DIR) to another folder."


class LocalStorage(OpenUrls):
    """Keeps files under ``root``, by key. Metadata is not kept: the ledger has it.

    A file is visible under its name only when all of it is on the disk: the spool file is synced and gets that name
    beside its own, where both lie on one file system; elsewhere it is copied into a hidden ``.ring-*.part`` beside it,
    synced, and renamed. ``root`` is made by the first put, for this user alone (mode 0700); a folder that
    exists already keeps the mode that its owner gave it. Without ``links`` a file's URL is its ``file://`` one;
    ``known_links`` then knows the addresses that a server of this installation has handed out.
    """

    name = "local"

    def __init__(self, root: Path, links: Links | None = None, known_links: Links | None = None) -> None:
        self._root = Path(os.path.abspath(root.expanduser()))  # noqa: PTH100 - Path.resolve would follow symlinks
        self._links = links
        self._known_links = links or known_links
        self._swept: set[Path] = set()

    async def put(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        # anyio waits for the thread even when the caller is cancelled, and asyncio does not: no put goes on unseen.
        return await anyio.to_thread.run_sync(self._put, key, media)

    def local_path(self, url: str) -> Path | None:
        prefix = self._root.as_uri() + "/"
        key = unquote(url.removeprefix(prefix)) if url.startswith(prefix) else None
        if key is None and self._known_links is not None:
            key = self._known_links.key_of(url)
        try:
            return None if key is None else self._target(key)
        except StorageRefused:
            return None

    async def address(self, url: str, key: str | None = None) -> Address:
        if key is None:
            return Address(url)
        try:
            target = self._target(key)
        except StorageRefused:
            return Address(url)
        # No thread for one look more than ``_target`` has taken: that would take ten times as long as the look.
        return self._address_of(key, target) if target.is_file() else Address(url)

    def _address_of(self, key: str, target: Path) -> Address:
        if self._links is not None:
            return Address(self._links.url_of(key))  # nobody far away needs to know where it lies
        return Address(target.as_uri(), local_path=str(target))

    async def ping(self) -> None:
        await anyio.to_thread.run_sync(self._probe)

    async def aclose(self) -> None:
        pass

    def _put(self, key: str, media: MediaFile) -> StoredFile:
        target = self._target(key)
        source = open_spool(media)
        try:
            with source:
                # Only once the spool file is open: a put that cannot succeed leaves no folders behind.
                self._make_folder(target.parent)
                self._sweep_once(target.parent)
                if not _holds(target, media) and not _link(source, target, media):
                    _copy(source, target, media)
                # Also when the file was there: the process that renamed it may have died before this line.
                _sync_folder(target.parent)
        except OSError as exc:
            raise self._trouble(exc) from exc
        address = self._address_of(key, target)
        return StoredFile(
            url=address.url,
            key=key,
            size_bytes=media.size_bytes,
            content_type=media.content_type,
            local_path=address.local_path,
        )

    def _target(self, key: str) -> Path:
        segments = key_segments(key)
        target = self._root.joinpath(*segments)
        # A symlink inside the folder may still lead out of it. Looked at each time, and by no number of a folder that
        # was found inside: one that was moved away has it still, and so has a symlink to it.
        if self._has_symlink(segments) and not self._leads_inside(target):
            raise StorageRefused(f"the storage key leads through a symlink out of {self._root}")
        return target

    def _has_symlink(self, segments: Sequence[str]) -> bool:
        """Whether a step below the root is one; to follow every step of the machine's would be many looks more."""
        steps = itertools.accumulate(segments, os.path.join, initial=str(self._root))
        # Path.is_symlink would raise where nobody may look.
        return any(os.path.islink(step) for step in itertools.islice(steps, 1, None))  # noqa: PTH114

    def _leads_inside(self, target: Path) -> bool:
        """The folder, too: a file is put beside what has its name, and that may be a symlink back."""
        try:
            root = self._root.resolve()
            return all(step.resolve().is_relative_to(root) for step in (target.parent, target))
        except (OSError, RuntimeError):  # a loop of symlinks
            return False

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            # Private down to the root. Below it the usual mode: the root decides who comes in at all.
            # Each new folder is a name in the one above it, which a loss of power can take back just as that of a file.
            path.mkdir(mode=0o700 if self._root.is_relative_to(path) else 0o777, exist_ok=True)
            _sync_folder(path.parent)

    def _sweep_once(self, folder: Path) -> None:
        """Remove parts that a killed process left here more than a day ago. Never a reason for a put to fail."""
        if folder in self._swept:
            return
        self._swept.add(folder)
        with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as now:
            # The file system's own clock: on a network share it need not be this machine's.
            oldest = os.fstat(now.fileno()).st_mtime - _STALE_S
            for path in folder.iterdir():
                if _PART.fullmatch(path.name) and path.stat().st_mtime < oldest:
                    path.unlink()

    def _probe(self) -> None:
        """Write in the folder, or in the nearest one above it that exists, through a file without a name."""
        try:
            nearest = next(path for path in (self._root, *self._root.parents) if path.exists())
            with tempfile.TemporaryFile(dir=nearest) as probe:
                probe.write(_PROBE)
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as exc:
            raise self._trouble(exc, billed="no") from exc

    def _trouble(self, exc: OSError, *, billed: Billed = "yes") -> StorageError:
        reason = exc.strerror or type(exc).__name__
        return StorageError(f"cannot write to the storage folder {self._root}: {reason}. {_FIX}", billed=billed)


def _holds(target: Path, media: MediaFile) -> bool:
    """Whether the file is there already, byte for byte: then a repeated put has nothing to do."""
    try:
        if target.stat().st_size != media.size_bytes:
            return False
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == media.sha256
    except FileNotFoundError:
        return False


def _link(source: BinaryIO, target: Path, media: MediaFile) -> bool:
    """Give the spool file this name, once it is on the disk. False: it has to be copied.

    Nobody writes into a spool file once it is whole, and its own name goes when the job has ended. Where a folder gives
    its files another group or rights than the spool has, they are copied, so that they have them.
    """
    if _gives_rights(target.parent):
        return False
    try:
        # Before the name and not after it: a name that survives a loss of power must have all of its bytes.
        os.fsync(source.fileno())
        os.link(media.path, target)
    except OSError:  # another file system, one without links or a failing one, or the name was given just now
        return False
    return True


def _gives_rights(folder: Path) -> bool:
    """Whether what is made in a folder gets its group, or rights from a list of it."""
    if folder.stat().st_mode & stat.S_ISGID:
        return True
    try:
        return "system.posix_acl_default" in os.listxattr(folder)  # Linux alone has this call
    except (AttributeError, OSError):
        return False


def _copy(source: BinaryIO, target: Path, media: MediaFile) -> None:
    """Copy beside the target, sync, and rename over it. Whatever goes wrong, no part is left."""
    part = target.with_name(f".ring-{uuid.uuid4().hex}.part")
    digest = hashlib.sha256()
    try:
        # In the same folder, since only within one file system a rename puts all of it there at once.
        with part.open("xb") as file:
            while piece := _read_piece(source):
                digest.update(piece)
                file.write(piece)
            if digest.hexdigest() != media.sha256:
                raise StorageError(f"the spool file {media.path.name} changed while it was being stored")
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    # An interrupt must not leave a part either; whatever is missed here, as by a kill, the sweep finds.
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _read_piece(source: BinaryIO) -> bytes:
    try:
        return source.read(_PIECE_BYTES)
    except OSError as exc:  # told apart from a folder that cannot be written: room there would not help
        raise spool_trouble(exc) from exc


def _sync_folder(folder: Path) -> None:
    """Make a rename or a new name in this folder survive a loss of power."""
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        if exc.errno not in _CANNOT_SYNC_FOLDERS:
            raise
