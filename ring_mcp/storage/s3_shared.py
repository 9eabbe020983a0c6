"""Files of open jobs that machines share, in the folder ``spool`` of a bucket. They go with their jobs.

No caller gets at them: an address in that folder counts as a stranger's, neither signed nor fetched with our key.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ring_mcp.domain import MediaFile
from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.storage.base import SharedFile, StoredFile
from ring_mcp.storage.keys import key_segments
from ring_mcp.storage.s3_errors import Doing, s3_code, trouble

if TYPE_CHECKING:
    from obstore.store import S3Store

SHARED_FOLDER = "spool"
_PAGE = 1000
"""As many names as S3 gives in one answer."""

_PIECE_BYTES = 1024 * 1024
_NEVER_THERE = "ring-health"
_FIX = f"Allow this key s3:DeleteObject on what lies under {SHARED_FOLDER}/: what jobs share there stays behind."

Put = Callable[[str, MediaFile, Mapping[str, str]], Awaitable[StoredFile]]


async def fetch_object(store: S3Store, key: str, path: Path, max_bytes: int, *, called: str = "the file") -> None:
    """Raises StorageRefused for one that is too large, and otherwise whatever obstore raises."""
    import obstore

    got = await obstore.get_async(store, key)
    # By the head of the answer, before a byte of the body is fetched.
    if got.meta["size"] > max_bytes:
        raise StorageRefused(f"{called} has {got.meta['size']:,} bytes; {max_bytes:,} are allowed", billed="no")
    with path.open("wb") as file:
        async for piece in got.stream(_PIECE_BYTES):
            await asyncio.to_thread(file.write, piece)


def is_shared_key(key: str) -> bool:
    """Whether a file of that key is shared by machines; results have folders of their own, whatever their prefix."""
    return key.startswith(f"{SHARED_FOLDER}/") and key.count("/") == 1


class S3SharedFiles:
    """``put`` is the storage's own; ``impatient``: for a question that is not worth waiting long."""

    def __init__(self, put: Put, store: S3Store, impatient: S3Store, doing: Doing) -> None:
        self._put = put
        self._store = store
        self._impatient = impatient
        self._doing = doing

    async def share(self, name: str, path: Path) -> None:
        key = _key_of(name)
        await self._put(key, await asyncio.to_thread(_measure, path), {})

    async def fetch(self, name: str, path: Path, max_bytes: int) -> bool:
        key = _key_of(name)
        try:
            await fetch_object(self._store, key, path, max_bytes, called=name)
        except Exception as exc:  # obstore's: see trouble
            # Its own word alone: a page of a proxy, or a bucket that is not there, says nothing of this file.
            if s3_code(exc) == "NoSuchKey":
                return False
            raise trouble(exc, self._doing, "download", billed="no") from exc
        return True

    async def list_files(self, after: str = "") -> Sequence[SharedFile]:
        import obstore

        offset = f"{SHARED_FOLDER}/{after}" if after else None
        try:
            pages = obstore.list(self._store, SHARED_FOLDER, offset=offset, chunk_size=_PAGE)
            async for page in pages:
                found = [(each["path"].removeprefix(f"{SHARED_FOLDER}/"), each["last_modified"]) for each in page]
                return [SharedFile(name, laid_at) for name, laid_at in found]
        except Exception as exc:  # obstore's: see trouble
            raise trouble(exc, self._doing, "listing", billed="no") from exc
        return []

    async def remove(self, names: Collection[str]) -> None:
        keys = [_key_of(name) for name in names]
        import obstore

        try:
            for key in keys:
                await obstore.delete_async(self._store, key)
        except Exception as exc:  # obstore's: see trouble
            raise trouble(exc, self._doing, "removal", billed="no") from exc

    async def ping(self) -> None:
        import obstore

        try:
            await obstore.delete_async(self._impatient, _key_of(_NEVER_THERE))
        except Exception as exc:  # obstore's: see trouble
            error = trouble(exc, self._doing, "removal", billed="no")
            if s3_code(exc) == "AccessDenied":
                raise StorageRefused(error.message, billed="no", next_action=_FIX) from exc
            raise error from exc


def _key_of(name: str) -> str:
    """Raises StorageRefused for what is no bare name."""
    key = f"{SHARED_FOLDER}/{name}"
    if len(key_segments(key)) != 2:
        raise StorageRefused(f"{name!r} is no bare name", billed="no")
    return key


def _measure(path: Path) -> MediaFile:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            size_bytes = file.tell()
    except OSError as exc:
        raise StorageError(f"the spool file cannot be read: {exc.strerror or type(exc).__name__}", billed="no") from exc
    return MediaFile(
        path=path,
        size_bytes=size_bytes,
        sha256=digest.hexdigest(),
        content_type="application/octet-stream",
        extension="bin",
    )
