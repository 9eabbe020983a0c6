"""Media that a caller gives along: checked before anything is spent, and turned into what a provider can read.

A provider fetches public addresses itself, signed ones of our own storage included. Files of our own storage that it
cannot reach, and files in folders that the operator allows, go out as data URIs. Addresses on private networks are
refused, so that nobody reads the operator's network through us.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from ring_mcp.domain import MediaFile, MediaKind, VideoPlan, VideoRequest
from ring_mcp.errors import InvalidRequest, ProviderBadReply, ProviderError, StorageError
from ring_mcp.media.identify import hash_file, identify
from ring_mcp.providers.base import Downloaded
from ring_mcp.storage.base import Storage

MAX_INPUT_IMAGE_BYTES = 10 * 1024 * 1024
"""What xAI fetches at most of a source image (xai-proto, image.proto)."""

MAX_INPUT_VIDEO_BYTES = 50 * 1024 * 1024

Fetch = Callable[[str, Path, int], Awaitable[Downloaded]]
CheckAddress = Callable[[str], Awaitable[None]]


class MediaInputs:
    """``fetch(url, path, max_bytes)`` and ``check_address(url)`` are guarded against private networks."""

    def __init__(
        self, storage: Storage, *, fetch: Fetch, check_address: CheckAddress, folders: Sequence[Path], spool: Path
    ) -> None:
        self._storage = storage
        self._fetch = fetch
        self._check_address = check_address
        self._folders = [folder.expanduser().resolve() for folder in folders]
        self._spool = spool

    async def check(self, plan: VideoPlan, max_edit_input_s: Decimal | None) -> None:
        """Look at everything that the plan takes in. Raises InvalidRequest, with the field, before any spend."""
        if plan.image_url is not None:
            await self._check_image(plan.image_url)
        if plan.generation_kind == "edit" and plan.source_video_url is not None:
            await self._check_source(plan.source_video_url, max_edit_input_s)

    def unsigned(self, request: VideoRequest) -> VideoRequest:
        """The request as it may be kept: an address of our own is signed anew when it is to be read."""
        image, source = (url and self._storage.unsigned(url) for url in (request.image_url, request.source_video_url))
        return replace(request, image_url=image, source_video_url=source)

    async def image_for_provider(self, url: str) -> str:
        return await self._for_provider(url, "imageUrl", "image", MAX_INPUT_IMAGE_BYTES)

    async def video_for_provider(self, url: str) -> str:
        return await self._for_provider(url, "sourceVideoUrl", "video", MAX_INPUT_VIDEO_BYTES)

    async def _check_image(self, url: str) -> None:
        async with self._at_hand(url, "imageUrl", MAX_INPUT_IMAGE_BYTES) as file:
            if file is not None:
                await asyncio.to_thread(_identified, file, "imageUrl", "image", MAX_INPUT_IMAGE_BYTES)
                return
        with self._spool_file() as path:
            try:
                got = await self._fetch(url, path, MAX_INPUT_IMAGE_BYTES)
                await asyncio.to_thread(identify, path, size_bytes=got.size_bytes, sha256=got.sha256, expected="image")
            except ProviderError as exc:
                raise InvalidRequest(f"imageUrl cannot be used: {_told(exc)}") from exc

    async def _check_source(self, url: str, max_edit_input_s: Decimal | None) -> None:
        async with self._at_hand(url, "sourceVideoUrl", MAX_INPUT_VIDEO_BYTES) as file:
            if file is None:
                try:
                    await self._check_address(url)
                except ProviderError as exc:
                    raise InvalidRequest(f"sourceVideoUrl cannot be used: {_told(exc)}") from exc
                return
            media = await asyncio.to_thread(_identified, file, "sourceVideoUrl", "video", MAX_INPUT_VIDEO_BYTES)
        if max_edit_input_s is not None and media.duration_s is not None and media.duration_s > max_edit_input_s:
            raise InvalidRequest(
                f"sourceVideoUrl: the clip has {media.duration_s:.1f} s and the provider edits {max_edit_input_s} s at "
                "most; leave sourceVideoUrl out to re-generate at 720p"
            )

    async def _for_provider(self, url: str, field: str, kind: MediaKind, max_bytes: int) -> str:
        if self._local(url, field) is None and (address := await self._public_address(url, field)) is not None:
            return address
        async with self._at_hand(url, field, max_bytes) as file:
            if file is None:
                return url
            media = await asyncio.to_thread(_identified, file, field, kind, max_bytes)
            content = await asyncio.to_thread(file.read_bytes)
        return f"data:{media.content_type};base64,{base64.b64encode(content).decode()}"

    async def _public_address(self, url: str, field: str) -> str | None:
        """Where the provider can read it, signed if it is ours; None for a network that it cannot reach."""
        try:
            address = await self._storage.address(url)
            await self._check_address(address.url)
        except StorageError as exc:
            raise InvalidRequest(f"{field} cannot be used: {exc.message}") from exc
        except ProviderError:
            return None
        return address.url

    @contextlib.asynccontextmanager
    async def _at_hand(self, url: str, field: str, max_bytes: int) -> AsyncIterator[Path | None]:
        """The file that ``url`` means, if it is here or in our own storage; None: whoever wants it fetches it."""
        local = self._local(url, field)
        if local is not None:
            yield local
            return
        with self._spool_file() as path:
            try:
                is_ours = await self._storage.fetch(url, path, max_bytes)
            except StorageError as exc:
                raise InvalidRequest(f"{field} cannot be used: {exc.message}") from exc
            yield path if is_ours else None

    @contextlib.contextmanager
    def _spool_file(self) -> Iterator[Path]:
        path = self._spool / f"input-{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _local(self, url: str, field: str) -> Path | None:
        """The file that ``url`` means, None for an http(s) address. Raises InvalidRequest for anything else."""
        own = self._storage.local_path(url)
        if own is not None:
            return own
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.netloc:
            return None
        path = Path(url2pathname(unquote(parts.path))) if parts.scheme == "file" else Path(url).expanduser()
        if parts.scheme not in ("", "file") or not path.is_absolute():
            raise InvalidRequest(f"{field} must be an http(s) address, or a file in a folder of RING_INPUT_DIRS")
        real = path.resolve()
        if not any(real.is_relative_to(folder) for folder in self._folders):
            raise InvalidRequest(f"{field} is a file outside the folders of RING_INPUT_DIRS, so it is not read")
        return real


def _told(exc: ProviderError) -> str:
    """What happened, without blaming the provider for an address that the caller gave."""
    return exc.message if isinstance(exc, ProviderBadReply) else f"it could not be fetched ({exc.code})"


def _identified(path: Path, field: str, kind: MediaKind, max_bytes: int) -> MediaFile:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > max_bytes:
            raise InvalidRequest(f"{field} has {size_bytes:,} bytes; {max_bytes:,} are allowed")
        size_bytes, sha256 = hash_file(path)
        return identify(path, size_bytes=size_bytes, sha256=sha256, expected=kind)
    except OSError as exc:
        raise InvalidRequest(f"{field} cannot be read: {exc.strerror}") from exc
    except ProviderBadReply as exc:
        raise InvalidRequest(f"{field} cannot be used: {exc.message}") from exc
