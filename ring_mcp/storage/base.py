"""The seam between "made" and "kept": one contract, ``tests/contracts/test_storage.py`` runs over every backend."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from ring_mcp.domain import MediaFile
from ring_mcp.errors import StorageError


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """Where a file went.

    ``url`` is permanent and never signed. ``key`` is the one that was asked for, whether or not the backend shows it
    in the URL.
    ``content_type`` is that of the real bytes. ``local_path`` is set when the file lies on this machine.
    """

    url: str
    key: str
    size_bytes: int
    content_type: str
    file_id: str | None = None
    local_path: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a file can be read by whoever has this: for good, or until ``expires_at``. A signed one is never kept.

    ``local_path`` is set for callers on this machine.
    """

    url: str
    expires_at: datetime | None = None
    local_path: str | None = None


class Links(Protocol):
    """How the files of a storage are addressed when a server of ours hands them out."""

    def url_of(self, key: str) -> str: ...

    def key_of(self, url: str) -> str | None:
        """The key behind one of these addresses; None for any other."""


@dataclass(frozen=True, slots=True)
class SharedFile:
    """The bare name of a file that machines share, and when it was laid there."""

    name: str
    laid_at: datetime


class SharedFiles(Protocol):
    """What a storage may offer beside: a place where machines lay files of open jobs for each other, by bare names.

    Every method raises StorageError and nothing else.
    """

    async def share(self, name: str, path: Path) -> None:
        """Copy the file at ``path`` there, whole or not at all; one that has the name already gives way."""
        ...

    async def fetch(self, name: str, path: Path, max_bytes: int) -> bool:
        """Copy it to ``path``. False, and no file: the place says itself that it has none of that name.

        What an error leaves at ``path`` is not whole.
        """
        ...

    async def list_files(self, after: str = "") -> Sequence[SharedFile]:
        """A page of what lies there, in the order of the names, from the first one after ``after``."""
        ...

    async def remove(self, names: Collection[str]) -> None:
        """Those that are not there do no harm."""
        ...

    async def ping(self) -> None:
        """Check cheaply that files could be removed; nothing is left behind."""
        ...


class Storage(Protocol):
    """A place that the operator owns. ``name`` is the value of FILE_BACKEND.

    ``shared``: where machines share files of open jobs; None where it offers no such place, or nobody asked for it.
    """

    name: str
    shared: SharedFiles | None

    def local_path(self, url: str) -> Path | None:
        """The file behind one of this storage's own URLs, if it lies on this machine."""
        ...

    def strip_signature(self, url: str) -> str:
        """What may be kept of an address: one of this storage's own loses its signature, any other stays as it is."""
        ...

    async def address(self, url: str, key: str | None = None) -> Address:
        """Where others read what lies at ``url``: one of this storage's own is signed if need be, any other is left.

        ``key``: that of an own file, where it is known. A row keeps what a file is; where it is now is derived here,
        for a server may have another address, and a folder another place, than when the file was stored.

        Raises StorageError when it cannot be signed now.
        """
        ...

    async def fetch(self, url: str, path: Path, max_bytes: int) -> bool:
        """Copy the file behind a URL that perhaps only this storage can read to ``path``; False, and no file, for one
        that is none of its own or that everybody can read.

        Raises StorageError, billed "no", also for a file that is gone or larger than ``max_bytes``.
        """
        ...

    async def put(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        """Copy the spool file ``media.path`` under ``key`` (see ``keys``); the spool file is left where it is.

        Putting the same key twice gives the same asset, so a step that is repeated after a crash is harmless.
        ``metadata`` is text about the asset, for backends that keep any. A cancelled put leaves the whole file or
        none, never a part of one.

        Raises StorageError (worth another try) or StorageRefused (it is not), and nothing else.
        """
        ...

    async def ping(self) -> None:
        """Check cheaply that a put could work; nothing is left behind.

        Raises StorageError, billed "no", whose text says what to correct.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections. May be called twice."""
        ...


class OpenUrls:
    """For storages whose URLs are for everybody: nothing is signed, and nobody needs us to fetch a file."""

    shared: SharedFiles | None = None

    def strip_signature(self, url: str) -> str:
        return url

    async def address(self, url: str, key: str | None = None) -> Address:
        return Address(url)

    async def fetch(self, url: str, path: Path, max_bytes: int) -> bool:
        return False


SPOOL = "the spool "
"""How a trouble begins that is the spool's own, and says nothing of what lies there."""


def spool_trouble(exc: OSError) -> StorageError:
    """That the spool file cannot be read: not the storage's fault, and nothing there would mend it."""
    return StorageError(f"{SPOOL}file cannot be read: {exc.strerror or type(exc).__name__}")


def open_spool(media: MediaFile) -> BinaryIO:
    """The spool file, open for reading. Raises StorageError when it is not there, or not as long as it was."""
    try:
        file = media.path.open("rb")
    except OSError as exc:
        raise spool_trouble(exc) from exc
    # Of the open file, for its name may be another's by now: one that was cut would be stored as if it were whole.
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes != media.size_bytes:
        file.close()
        raise StorageError(f"{SPOOL}file has {size_bytes} bytes in place of {media.size_bytes}")
    return file
