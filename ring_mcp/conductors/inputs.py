"""Media that a caller gives along: checked before anything is spent, and turned into what a provider can read.

A provider fetches public addresses itself. Files of our own storage, and files in folders that the operator allows, go
out as data URIs. Addresses on private networks are refused, so that nobody reads the operator's network through us.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from ring_mcp.domain import MediaFile, MediaKind, VideoPlan
from ring_mcp.errors import InvalidRequest, ProviderBadReply, ProviderError
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

    async def image_for_provider(self, url: str, *, as_bytes: bool) -> str:
        """``as_bytes``: the provider reads no addresses, so that a public one is fetched for it."""
        if as_bytes and self._local(url, "imageUrl") is None:
            async with self._fetched(url) as media:
                return await asyncio.to_thread(_data_uri, media)
        return await self._for_provider(url, "imageUrl", "image", MAX_INPUT_IMAGE_BYTES)

    async def video_for_provider(self, url: str) -> str:
        return await self._for_provider(url, "sourceVideoUrl", "video", MAX_INPUT_VIDEO_BYTES)

    async def _check_image(self, url: str) -> None:
        local = self._local(url, "imageUrl")
        if local is not None:
            await asyncio.to_thread(_identified, local, "imageUrl", "image", MAX_INPUT_IMAGE_BYTES)
            return
        async with self._fetched(url):
            pass

    @contextlib.asynccontextmanager
    async def _fetched(self, url: str) -> AsyncIterator[MediaFile]:
        """A picture from a public address, on this machine for as long as the ``with`` lasts."""
        path = self._spool / f"input-{uuid.uuid4().hex}"
        try:
            got = await self._fetch(url, path, MAX_INPUT_IMAGE_BYTES)
            media = await asyncio.to_thread(
                identify, path, size_bytes=got.size_bytes, sha256=got.sha256, expected="image"
            )
            yield media
        except ProviderError as exc:
            raise InvalidRequest(f"imageUrl cannot be used: {_told(exc)}") from exc
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    async def _check_source(self, url: str, max_edit_input_s: Decimal | None) -> None:
        local = self._local(url, "sourceVideoUrl")
        if local is None:
            try:
                await self._check_address(url)
            except ProviderError as exc:
                raise InvalidRequest(f"sourceVideoUrl cannot be used: {_told(exc)}") from exc
            return
        media = await asyncio.to_thread(_identified, local, "sourceVideoUrl", "video", MAX_INPUT_VIDEO_BYTES)
        if max_edit_input_s is not None and media.duration_s is not None and media.duration_s > max_edit_input_s:
            raise InvalidRequest(
                f"sourceVideoUrl: the clip has {media.duration_s:.1f} s and the provider edits {max_edit_input_s} s at "
                "most; leave sourceVideoUrl out to re-generate at 720p"
            )

    async def _for_provider(self, url: str, field: str, kind: MediaKind, max_bytes: int) -> str:
        local = self._local(url, field)
        if local is None:
            return url
        media = await asyncio.to_thread(_identified, local, field, kind, max_bytes)
        return await asyncio.to_thread(_data_uri, media)

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


def _data_uri(media: MediaFile) -> str:
    return f"data:{media.content_type};base64,{base64.b64encode(media.path.read_bytes()).decode()}"


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
