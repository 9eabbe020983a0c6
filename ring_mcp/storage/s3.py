"""Files in a bucket of an S3-compatible store (AWS, MinIO, R2, …), through ``obstore``. Needs the extra ``[s3]``.

A row keeps a file's plain address. Where the bucket is public (``public_base_url``) everybody can use it;
otherwise it is signed on the way out, for whoever asks, and never kept signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import anyio.to_thread

from ring_mcp.clock import Clock, SystemClock
from ring_mcp.domain import MediaFile
from ring_mcp.errors import StorageError, StorageRefused
from ring_mcp.proxies import DIRECT, Proxies
from ring_mcp.storage.base import Address, SharedFiles, StoredFile, open_spool, spool_trouble
from ring_mcp.storage.keys import key_segments
from ring_mcp.storage.s3_errors import NO_KEY_FIX, Doing, s3_code, trouble
from ring_mcp.storage.s3_settings import PART_BYTES, check_settings, open_store
from ring_mcp.storage.s3_shared import S3SharedFiles, fetch_object, is_shared_key

DEFAULT_REGION = "us-east-1"
# Two keep a line busy; each one more is another 8 MB of memory for every upload.
_PARTS_AT_ONCE = 2
_PIECE_BYTES = 1024 * 1024
_ABORT_S = 10.0
"""How long giving up may take; what a store that hangs then still has is left to the bucket's rule."""

_MAX_METADATA_CHARS = 400
"""Of one value: S3 takes 2 kB of them altogether."""

_PING_S = 4.0
_HEALTH_KEY = "ring-health"
"""Never there: that the store says so is half of the answer."""


class S3Storage:
    """Keeps files under ``{endpoint}/{bucket}/{prefix}/{key}`` (addressed by path, which every such store serves).

    Without ``access_key_id`` and ``secret_access_key`` obstore looks for the machine's own credentials: web identity,
    container, instance profile. ``endpoint`` None is AWS. ``url_expires_s`` is how long a signed address is good for,
    ``grace_s`` how long a cancelled put may go on before the rest of its parts is given up. ``shares``: machines share
    files of open jobs there.
    Raises ConfigError, with every problem at once, also when obstore is not installed.
    """

    name = "s3"

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint: str | None = None,
        region: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        public_base_url: str | None = None,
        url_expires_s: int = 86400,
        clock: Clock | None = None,
        grace_s: float = 5.0,
        proxies: Proxies = DIRECT,
        shares: bool = False,
    ) -> None:
        region = region or DEFAULT_REGION
        endpoint = (endpoint or f"https://s3.{region}.amazonaws.com").rstrip("/")
        check_settings(bucket, prefix, endpoint, access_key_id, secret_access_key, session_token, proxies)
        path = f"{bucket}/{prefix}".rstrip("/")
        self._base_url = f"{endpoint}/{path}/"
        self._public_url = f"{public_base_url.rstrip('/')}/" if public_base_url else None
        self._doing = Doing(
            bucket=bucket,
            endpoint=endpoint,
            secrets=tuple(s for s in (secret_access_key, session_token, access_key_id) if s),
        )
        self._url_expires_s = url_expires_s
        self._clock = clock or SystemClock()
        self._grace_s = grace_s
        self._has_key = access_key_id is not None
        keys = {"access_key_id": access_key_id, "secret_access_key": secret_access_key, "session_token": session_token}
        given = {name: key for name, key in keys.items() if key}
        self._store = open_store(bucket, prefix, endpoint, region, given, proxies)
        self._impatient = open_store(bucket, prefix, endpoint, region, given, proxies, limit_s=_PING_S)
        shared = S3SharedFiles(self.put, self._store, self._impatient, self._doing)
        self.shared: SharedFiles | None = shared if shares else None

    async def put(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        key_segments(key)
        stopped = threading.Event()
        putting = asyncio.ensure_future(anyio.to_thread.run_sync(self._put, key, media, metadata, stopped))
        # obstore forgets the parts of an upload whose task is cancelled, and the bucket keeps them: it must not be.
        try:
            await asyncio.shield(putting)
        except asyncio.CancelledError:
            await asyncio.wait({putting}, timeout=self._grace_s)
            stopped.set()
            putting.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody is left to hear it
            await asyncio.wait({putting}, timeout=_ABORT_S)
            raise
        return StoredFile(
            url=(self._public_url or self._base_url) + key,
            key=key,
            size_bytes=media.size_bytes,
            content_type=media.content_type,
        )

    def local_path(self, url: str) -> Path | None:
        return None

    def strip_signature(self, url: str) -> str:
        key = self._key_of(url)
        return url if key is None else (self._public_url or self._base_url) + key

    async def address(self, url: str, key: str | None = None) -> Address:
        key = self._key_of(url)
        if key is None or self._public_url is not None:
            return Address(self.strip_signature(url))
        import obstore

        lasting = timedelta(seconds=self._url_expires_s)
        expires_at = self._clock.now() + lasting
        try:
            # In a thread: without a key of its own obstore first asks the network for one.
            return Address(await anyio.to_thread.run_sync(obstore.sign, self._store, "GET", key, lasting), expires_at)
        except Exception as exc:  # obstore's: see trouble
            raise trouble(exc, self._doing, "signing an address", billed="no") from exc

    async def fetch(self, url: str, path: Path, max_bytes: int) -> bool:
        key = self._key_of(url)
        if key is None:
            return False
        try:
            await fetch_object(self._store, key, path, max_bytes)
        except Exception as exc:  # obstore's: see trouble
            raise trouble(exc, self._doing, "download", billed="no") from exc
        return True

    async def ping(self) -> None:
        """Ask for a file that does not exist, which only a store says that knows bucket and key; then begin an upload
        and give it up, for which the key has to have the right to write."""
        import obstore

        try:
            async with asyncio.timeout(_PING_S):
                try:
                    await obstore.get_async(self._store, _HEALTH_KEY)
                except Exception as exc:  # FileNotFoundError, or obstore's own: the store's word is in the text alone
                    if s3_code(exc) != "NoSuchKey":
                        raise
                await anyio.to_thread.run_sync(self._begin_upload, abandon_on_cancel=True)
        except TimeoutError as exc:
            # A machine without a key or a role looks for one at length.
            fix = "Is AWS_ENDPOINT_URL_S3 right, and is the store up?" if self._has_key else NO_KEY_FIX
            raise StorageError(
                f"S3 health check failed ({self._doing}): no answer in time. {fix}", billed="no"
            ) from exc
        except Exception as exc:  # obstore's: see trouble
            raise trouble(exc, self._doing, "health check", billed="no") from exc

    def _begin_upload(self) -> None:
        """Up to the first byte, where it is given up again: nothing is left of it."""
        import obstore

        with contextlib.suppress(_EnoughError):
            obstore.put(self._impatient, _HEALTH_KEY, _give_up())  # in parts, as what has no length

    async def aclose(self) -> None:
        pass

    def _put(self, key: str, media: MediaFile, metadata: Mapping[str, str], stopped: threading.Event) -> None:
        """In a thread of ours: those of obstore would call Python back, and abort a process that is just ending."""
        import obstore

        file = open_spool(media)
        attributes = {"Content-Type": media.content_type, **ascii_metadata(metadata)}
        pieces = _pieces(file, media, stopped)
        try:
            if media.size_bytes <= PART_BYTES:
                # One request is there whole or not at all, and leaves no parts to give up.
                content = b"".join(pieces)
                obstore.put(self._store, key, content, attributes=attributes, use_multipart=False)
            else:
                obstore.put(
                    self._store,
                    key,
                    pieces,
                    attributes=attributes,
                    chunk_size=PART_BYTES,
                    max_concurrency=_PARTS_AT_ONCE,
                )
        except Exception as exc:  # obstore's: see trouble
            raise trouble(exc, self._doing, "upload", billed="yes") from exc
        finally:
            file.close()

    def _key_of(self, url: str) -> str | None:
        """The key behind one of this storage's own addresses, signed or not; None for any other."""
        for base in filter(None, (self._base_url, self._public_url)):
            if url.startswith(base):
                key = url.removeprefix(base).partition("?")[0]
                try:
                    key_segments(key)
                except StorageRefused:
                    return None
                return None if is_shared_key(key) else key
        return None


class _EnoughError(Exception):
    """The upload has begun: that was the question."""


def _give_up() -> Iterator[bytes]:
    # The yield that is never reached makes a generator of this: it raises when obstore asks for the first piece.
    raise _EnoughError
    yield b""


def _pieces(file: BinaryIO, media: MediaFile, stopped: threading.Event) -> Iterator[bytes]:
    """The file, bit by bit. Raises StorageError at its end if it was another one: then obstore aborts the upload."""
    digest = hashlib.sha256()
    try:
        while piece := file.read(_PIECE_BYTES):
            if stopped.is_set():
                raise StorageError("the server is stopping; the next start begins the upload again")
            digest.update(piece)
            yield piece
    except OSError as exc:
        raise spool_trouble(exc) from exc
    if digest.hexdigest() != media.sha256:
        raise StorageError(f"the spool file {media.path.name} changed while it was being stored")


def ascii_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata travels in headers, which carry ASCII: anything else is percent-encoded, as in a URL. Nothing is cut
    in the middle: a value that is too long is left out."""
    encoded = {name: quote(value, safe="!#$&'()*+,/:;=?@[]~") for name, value in metadata.items()}
    return {name: value for name, value in encoded.items() if 0 < len(value) <= _MAX_METADATA_CHARS}
