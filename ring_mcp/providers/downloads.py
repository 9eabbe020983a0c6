"""A result, or what a caller gives along, from its address to a file: size-capped, in constant memory."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import httpx2

from ring_mcp.errors import MediaGone, MediaTooLarge, ProviderBadReply, ProviderUnavailable
from ring_mcp.providers.base import Downloaded

BATCH_BYTES = 512 * 1024
"""So many bytes are hashed and written in one go; twice as many are in memory at most."""

_GONE = frozenset({403, 404, 410})
"""What a temporary address answers when its time is over is documented nowhere, and differs."""


async def fetch(client: httpx2.AsyncClient, url: str, path: Path, max_bytes: int, provider: str) -> Downloaded:
    """Stream ``url`` to ``path``.

    Raises MediaGone (the address serves it no more), MediaTooLarge or PrivateAddress (a rule of ours),
    ProviderBadReply (no address at all, redirects without end) or ProviderUnavailable; OSErrors of ``path`` pass.
    """
    try:
        async with client.stream("GET", url) as response:
            _judge(response, max_bytes, provider)
            return await _write(response, path, max_bytes, provider)
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as exc:
        raise ProviderBadReply("it is no http(s) address", provider=provider, billed="yes") from exc
    except httpx2.TooManyRedirects as exc:
        raise ProviderBadReply("the address redirects without end", provider=provider, billed="yes") from exc
    except httpx2.HTTPError as exc:
        raise ProviderUnavailable(
            f"the result could not be fetched from {provider} ({type(exc).__name__})", provider=provider, billed="yes"
        ) from exc


def _judge(response: httpx2.Response, max_bytes: int, provider: str) -> None:
    status = response.status_code
    if status in _GONE:
        raise MediaGone(
            f"{provider} no longer serves the result (HTTP {status}): its temporary address has expired",
            provider=provider,
            http_status=status,
        )
    # No range is asked for: anything else, a 206 as well, is not the whole file.
    if status != 200:
        raise ProviderUnavailable(
            f"fetching the result from {provider} failed (HTTP {status})",
            provider=provider,
            http_status=status,
            billed="yes",
        )
    # Before a byte is read. Twenty digits hold any size, and int() raises for thousands of them.
    declared = response.headers.get("content-length", "")[:20]
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(int(declared), max_bytes, provider)


async def _write(response: httpx2.Response, path: Path, max_bytes: int, provider: str) -> Downloaded:
    """Hashed and written in a thread while the next bytes come in; what is small, here at once."""
    digest, size_bytes = hashlib.sha256(), 0
    pieces: list[bytes] = []
    held_bytes = 0
    with path.open("wb") as file:

        def keep(batch: list[bytes]) -> None:
            for piece in batch:
                digest.update(piece)
            file.writelines(batch)

        keeping: asyncio.Future[None] | None = None
        try:
            async for piece in response.aiter_bytes():
                size_bytes += len(piece)
                if size_bytes > max_bytes:
                    raise _too_large(size_bytes, max_bytes, provider)
                pieces.append(piece)
                held_bytes += len(piece)
                if held_bytes >= BATCH_BYTES:
                    if keeping is not None:
                        # ``wait``, so that a cancelled call does not give up a thread that still writes.
                        await asyncio.wait({keeping})
                        keeping.result()
                    keeping = asyncio.get_running_loop().run_in_executor(None, keep, pieces)
                    pieces, held_bytes = [], 0
        finally:  # also of a caller that leaves: the file is closed when nobody writes to it any more
            if keeping is not None:
                await asyncio.wait({keeping})
                # Looked at only so that asyncio does not complain of it: the error that led here is the one to tell.
                keeping.exception()
        if keeping is not None:
            keeping.result()
        keep(pieces)
    return Downloaded(size_bytes=size_bytes, sha256=digest.hexdigest())


def _too_large(size_bytes: int, max_bytes: int, provider: str) -> MediaTooLarge:
    return MediaTooLarge(
        f"the file is too large: {size_bytes:,} bytes or more, {max_bytes:,} are allowed", provider=provider
    )
