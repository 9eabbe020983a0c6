"""Input media of a request: checked before anything is spent, and turned into what a provider can read.

A provider fetches public addresses itself, signed ones of our own storage included. Files of our own storage that it
cannot reach, and files in folders that the operator allows, go out as data URIs. Addresses on private networks are
refused, so that nobody reads the operator's network through us. Pictures may also come as data URIs, which are kept in
the spool and not in the ledger, or as ids of files that are stored at the provider.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from ring_mcp.domain import ImageRequest, MediaFile, MediaKind, Plan, VideoPlan, VideoRequest
from ring_mcp.errors import InvalidRequest, ProviderError, StorageError
from ring_mcp.jobs.addresses import (
    NO_PATH,
    addresses,
    is_inside,
    normalize_address,
    resolve_path,
    say_outside,
    with_addresses,
)
from ring_mcp.jobs.input_files import (
    Measured,
    Takes,
    check_length,
    check_sum,
    clip,
    data_uri,
    explain_fetch_error,
    find_spelled,
    new_file,
    not_writable,
    picture,
    refuse_kept,
    size_px,
    spool_file,
    write_inline,
)
from ring_mcp.jobs.shared_names import KEPT, local_input_name
from ring_mcp.media.decoding import Decoder
from ring_mcp.presets import Model, VideoModel
from ring_mcp.presets_limits import InputBytes
from ring_mcp.providers.base import Downloaded, Inputs
from ring_mcp.providers.vendors import ProviderName, is_anybodys_file_id, is_file_id
from ring_mcp.storage.base import Storage

FETCH_LIMIT_S = 60.0
"""How long a call waits for a given address to be fetched."""

R = TypeVar("R", ImageRequest, VideoRequest)
Fetch = Callable[[str, Path, int], Awaitable[Downloaded]]
CheckAddress = Callable[[str], Awaitable[None]]


class MediaInputs:
    """``sizes``: how large one picture or clip may be, by provider.

    ``fetch(url, path, max_bytes)`` and ``check_address(url)`` are guarded against private networks; ``decoder`` is
    the one for files of strangers."""

    def __init__(
        self,
        storage: Storage,
        *,
        fetch: Fetch,
        check_address: CheckAddress,
        decoder: Decoder,
        sizes: Mapping[ProviderName, InputBytes],
        folders: Sequence[Path],
        spool: Path,
        fetch_limit_s: float = FETCH_LIMIT_S,
        callers_are_here: bool = True,
    ) -> None:
        """``callers_are_here``: callers can read this machine's files anyway. Remote callers have signed addresses of
        their own results; paths in the storage are refused from them."""
        self._storage = storage
        self._fetch = fetch
        self._check_address = check_address
        self._decoder = decoder
        self._sizes = sizes
        self._folders = [folder.expanduser().resolve() for folder in folders]
        self._spool = spool
        self._fetch_limit_s = fetch_limit_s
        self._callers_are_here = callers_are_here

    async def check(self, plan: Plan, model: Model) -> Measured:
        """Check all inputs of the plan against its model. Raises InvalidRequest, naming the field, or StorageError."""
        refuse_kept(plan)
        takes = Takes.of(plan.model, model, self._sizes[plan.provider])
        given = {f"referenceImages[{number}]": each for number, each in enumerate(plan.reference_images)}
        if isinstance(plan, VideoPlan):
            frames = {"imageUrl": plan.image_url, "lastFrameUrl": plan.last_frame_url}
            given |= {field: url for field, url in frames.items() if url is not None}
        seen: dict[str, MediaFile] = {}
        for field, reference in given.items():
            if not is_anybodys_file_id(reference):
                seen[field] = await self._look_at_picture(reference, field, takes)
                check_sum([media.size_bytes for media in seen.values()], plan, model)
            elif not is_file_id(plan.provider, reference):  # what is in a file of its own, only the provider knows
                raise InvalidRequest(f"{field} is a file id, and {plan.model} takes none: give the picture's address")
        if isinstance(plan, VideoPlan) and plan.generation_kind != "generate" and plan.source_video_url is not None:
            assert isinstance(model, VideoModel), "a clip is made by a model of clips"
            return await self._check_source(plan.source_video_url, plan, model, takes)
        first = seen.get("imageUrl") or seen.get("referenceImages[0]")
        return Measured(shape_px=size_px(first) if first else None)

    async def keep(self, plan: Plan) -> Plan:
        """The plan with its inline pictures moved to files in the spool: they are too large for a row of the ledger."""
        changes: dict[str, object] = {}
        most = self._sizes[plan.provider].image
        if plan.reference_images:
            changes["reference_images"] = tuple([await self._keep(each, most) for each in plan.reference_images])
        for name in ("image_url", "last_frame_url") if isinstance(plan, VideoPlan) else ():
            url = getattr(plan, name)
            changes[name] = None if url is None else await self._keep(url, most)
        return plan.model_copy(update=changes)

    def unsign(self, request: R) -> R:
        """The request as it may be stored: each address in its one spelling, and our own without their signatures,
        which are made anew when the address is read. Raises InvalidRequest for text that is no address."""
        strip = self._storage.strip_signature
        return with_addresses(request, lambda field, text: strip(normalize_address(field, text)))

    def refuse_foreign_paths(self, request: ImageRequest | VideoRequest) -> None:
        """Raises InvalidRequest for a path in our own storage from a remote caller."""
        if self._callers_are_here:
            return
        for field, text in addresses(request):
            address = normalize_address(field, text)
            is_path = not (NO_PATH.match(address) or is_anybodys_file_id(address))
            if is_path and (path := self._local(address, field)) and not is_inside(path, self._folders):
                raise InvalidRequest(f"{field} {say_outside(address)}")

    async def for_provider(self, plan: Plan, *, as_bytes: bool = False) -> Inputs:
        """All inputs of the plan as the provider can read them, the first frame that was made for it included.

        ``as_bytes``: the provider reads no addresses, so their content is fetched. Raises InvalidRequest if an input
        is gone.
        """
        references = tuple(
            [
                await self._image_for_provider(plan.provider, reference, f"referenceImages[{number}]", as_bytes)
                for number, reference in enumerate(plan.reference_images)
            ]
        )
        if not isinstance(plan, VideoPlan):
            return Inputs(reference_images=references)
        if plan.generation_kind != "generate":
            source = plan.source_video_url or ""
            max_bytes = self._sizes[plan.provider].video
            video_url = await self._for_provider(source, "sourceVideoUrl", "video", max_bytes, as_bytes)
            return Inputs(video_url=video_url)
        maker, last = plan.provider, plan.last_frame_url
        first = plan.image_url or await self._still_url(plan)
        return Inputs(
            image_url=await self._image_for_provider(maker, first, "imageUrl", as_bytes) if first else None,
            last_frame_url=await self._image_for_provider(maker, last, "lastFrameUrl", as_bytes) if last else None,
            reference_images=references,
        )

    async def _still_url(self, plan: VideoPlan) -> str | None:
        """The still's address now: another process, with another address, may have stored it."""
        still = plan.made_frame
        if still is None:
            return None
        return self._storage.strip_signature((await self._storage.address(still.url, still.key)).url)

    async def fetch_stored(self, url: str, path: Path, max_bytes: int) -> Path:
        """The file behind an address of ours or a caller's: the local file itself, or ``path``, fetched to there.

        Raises InvalidRequest or OSError.
        """
        local = self._local(url, "imageUrl")
        if local is None:
            try:
                if not await self._storage.fetch(url, path, max_bytes):
                    await self._fetch(url, path, max_bytes)
            except ProviderError as exc:
                raise InvalidRequest(explain_fetch_error(exc)) from exc
            except StorageError as exc:
                raise InvalidRequest(exc.message) from exc
        return local or path

    async def _look_at_picture(self, reference: str, field: str, takes: Takes) -> MediaFile:
        if reference.startswith("data:"):
            with spool_file(self._spool) as path:
                await asyncio.to_thread(write_inline, reference, path, field, takes.sizes.image)
                return await self._decoder.run(picture, path, field, takes)
        async with self._open_fetched(reference, field, takes.sizes.image) as path:
            return await self._decoder.run(picture, path, field, takes)

    async def _keep(self, reference: str, max_bytes: int) -> str:
        if not reference.startswith("data:"):
            return reference
        part = new_file(self._spool)
        sha256 = await asyncio.to_thread(write_inline, reference, part, "referenceImages", max_bytes)
        part.replace(self._spool / local_input_name(sha256))  # by its hash: what is given twice lies there once
        return f"kept:{sha256}"

    async def _image_for_provider(self, provider: ProviderName, reference: str, field: str, as_bytes: bool) -> str:
        max_bytes = self._sizes[provider].image
        if is_file_id(provider, reference):
            return reference
        return await self._for_provider(reference, field, "image", max_bytes, as_bytes)

    @contextlib.asynccontextmanager
    async def _open_fetched(self, url: str, field: str, max_bytes: int) -> AsyncIterator[Path]:
        """An input as a file on this machine, for as long as the ``with`` lasts. Raises InvalidRequest or
        StorageError."""
        async with self._at_hand(url, field, max_bytes) as file:
            if file is not None:
                yield file
                return
        with spool_file(self._spool) as path:
            try:
                async with asyncio.timeout(self._fetch_limit_s):
                    await self._fetch(url, path, max_bytes)
            except TimeoutError as exc:
                late = f"it was not there after {self._fetch_limit_s:g} s"
                raise InvalidRequest(f"{field} cannot be used: {late}") from exc
            except ProviderError as exc:
                raise InvalidRequest(f"{field} cannot be used: {explain_fetch_error(exc)}") from exc
            except OSError as exc:
                raise not_writable(self._spool, exc) from exc
            yield path

    async def _check_source(self, url: str, plan: VideoPlan, model: VideoModel, takes: Takes) -> Measured:
        async with self._open_fetched(url, "sourceVideoUrl", takes.sizes.video) as path:
            media = await self._decoder.run(clip, path, "sourceVideoUrl", takes)
        check_sum([media.size_bytes], plan, model)
        if media.duration_s is not None:
            check_length(plan, model, media.duration_s)
        return Measured(source_s=media.duration_s, source_sha256=media.sha256)

    async def _for_provider(self, url: str, field: str, kind: MediaKind, max_bytes: int, as_bytes: bool) -> str:
        if as_bytes:
            async with self._open_fetched(url, field, max_bytes) as path:
                return await self._decoder.run(data_uri, path, field, kind, max_bytes)
        if self._local(url, field) is None and (address := await self._public_address(url, field)) is not None:
            return address
        async with self._at_hand(url, field, max_bytes) as file:
            if file is None:
                return url
            return await self._decoder.run(data_uri, file, field, kind, max_bytes)

    async def _public_address(self, url: str, field: str) -> str | None:
        """An address that the provider can read, signed if it is ours; None if it is on a network it cannot reach."""
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
        """The file that ``url`` means, if it is on this machine or in our own storage; else None."""
        local = self._local(url, field)
        if local is not None:
            yield local
            return
        with spool_file(self._spool) as path:
            try:
                is_ours = await self._storage.fetch(url, path, max_bytes)
            except StorageError as exc:
                raise InvalidRequest(f"{field} cannot be used: {exc.message}") from exc
            yield path if is_ours else None

    def _local(self, url: str, field: str) -> Path | None:
        """The file that ``url`` means, None for an http(s) address. Raises InvalidRequest for anything else."""
        if (kept := KEPT.fullmatch(url)) is not None:
            return self._spool / local_input_name(kept[1])
        own = self._storage.local_path(url)
        if own is not None:
            return own
        try:
            parts = urlsplit(url)
            if parts.scheme in ("http", "https") and parts.netloc:
                return None
            path = find_spelled(resolve_path(url), self._folders)
            real = path.resolve()
            own = self._storage.local_path(path.as_uri())
        except (OSError, RuntimeError, ValueError) as exc:  # a relative one, a loop of links, ``~`` of nobody, a NUL
            told = f"{field} must be an http(s) address, or a file in a folder of RING_INPUT_DIRS"
            raise InvalidRequest(told) from exc
        if own is None and not is_inside(real, self._folders):
            raise InvalidRequest(f"{field} {say_outside(url)}")
        return own or real
