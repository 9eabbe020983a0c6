"""Media inside requests and answers, as base64; inside an answer an output with a data URL, then a file beside the
job's own.

What comes inside an answer comes once: it is decoded however it is spelled (without padding, URL-safe, wrapped, cut
off).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from ring_mcp.clock import Clock
from ring_mcp.domain import Output
from ring_mcp.errors import GenerationFailed, ProviderBadReply
from ring_mcp.providers.base import Downloaded, Finished

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

TRY_AGAIN_S = 1.0
# What passes when room is made or files are closed.
_PASSES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
LET_GO_AFTER_S = 600.0
"""Anything else may stay for good, and would hold the job with it: so long somebody has to give the folder back."""

_NOT_KEPT = "the picture came inside the answer and could not be kept"
_MAKE_WRITABLE = "Make the folder in RING_STATE_DIR writable; a new call is a new paid attempt."


def output(encoded: str, content_type: str | None) -> Output:
    """An output that holds its own bytes; ``encoded`` is base64, or a whole data URL."""
    # Base64 has no comma: what stands before one is the head of a data URL.
    return Output(url=f"data:;base64,{encoded.rsplit(',', 1)[-1]}", content_type=content_type)


def split(data_url: str) -> tuple[str, str]:
    """Type and base64 of what a data URI of ours holds."""
    head, _, encoded = data_url.partition(",")
    return head.removeprefix("data:").partition(";")[0], encoded


def is_inline(output: Output) -> bool:
    return output.url is not None and output.url.startswith("data:")


async def download(url: str, path: Path, provider: str) -> Downloaded:
    """Write the picture of a data URL to ``path``. Raises ProviderBadReply if there is none in it."""
    content = _decode(url, provider)
    await asyncio.to_thread(path.write_bytes, content)
    return Downloaded(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


async def beside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` returns, done in a thread; or here where none can be started, as where a container may have no more
    of them: what was paid for must not be lost for that."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except RuntimeError:
        return work(*args, **kwargs)


async def keep(answer: Finished, spool: Path, provider: str, clock: Clock, first: int = 0) -> Finished:
    """Write pictures that came inside the answer beside ``spool``, so that the row can name them. ``first``: the number
    of its first output among those of the job.

    While the disk is full, or too many files are open, they are kept in memory, the only copy there is, and it is tried
    again. One that cannot be kept for another reason for LET_GO_AFTER_S is lost by itself. Raises GenerationFailed if
    none is left.
    """
    is_told, began_s = False, clock.monotonic()
    while True:
        try:
            lets_go = clock.monotonic() - began_s >= LET_GO_AFTER_S
            return await beside(_spool, answer, spool, provider, first, lets_go=lets_go)
        except OSError as exc:
            if not is_told:
                logger.error(
                    "job %s: what %s made is held in memory alone until it can be written to %s (%s)",
                    spool.name,
                    provider,
                    spool.parent,
                    exc.strerror,
                )
            is_told = True
            await clock.sleep(TRY_AGAIN_S)


def _spool(answer: Finished, spool: Path, provider: str, first: int, *, lets_go: bool) -> Finished:
    """Raises OSError while it is to be tried again."""
    outputs = tuple(
        _spool_output(output, spool.with_name(f"{spool.name}-{index}.inline"), provider, lets_go=lets_go)
        if is_inline(output)
        else output
        for index, output in enumerate(answer.outputs, first)
    )
    lost = [output.lost_because for output in outputs if output.lost_because is not None]
    if len(lost) == len(outputs):
        # Billed all the same: the provider made them, and that none could be kept is our own trouble.
        raise GenerationFailed(
            lost[0],
            provider=provider,
            billed="yes",
            billed_usd=answer.billed_usd,
            next_action=_MAKE_WRITABLE if was_made(lost[0]) else None,
        )
    return replace(answer, outputs=outputs)


def was_made(lost_because: str) -> bool:
    """Whether it came, and was lost here."""
    return lost_because.startswith(_NOT_KEPT)


def _spool_output(output: Output, path: Path, provider: str, *, lets_go: bool) -> Output:
    try:
        _write_for_good(path, _decode(output.url or "", provider))
    except ProviderBadReply as exc:
        return Output(lost_because=exc.message)
    except OSError as exc:
        with contextlib.suppress(OSError):
            # Half a picture would take the room that the next try needs.
            path.unlink()
        if exc.errno in _PASSES or not lets_go:
            raise
        return Output(lost_because=f"{_NOT_KEPT}: {exc.strerror}")
    return Output(spool_path=path.name, content_type=output.content_type)


def _write_for_good(path: Path, content: bytes) -> None:
    """The only copy of what was paid for: on the disk before a row says so, as far as the file system can."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # somebody may have tidied up meanwhile
    path.unlink(missing_ok=True)  # never into a file that has another name by now
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(OSError):  # what was written stands
            os.fsync(file.fileno())
    with contextlib.suppress(OSError):  # not every system opens a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _decode(data_url: str, provider: str) -> bytes:
    """The picture inside a data URL. Raises ProviderBadReply if there is none."""
    encoded = "".join(data_url.partition(",")[2].split()).translate(_PLAIN).rstrip("=")
    if not _BASE64.fullmatch(encoded):
        raise ProviderBadReply(f"{provider} returned image data that is not base64", provider=provider)
    whole = encoded[:-1] if len(encoded) % 4 == 1 else encoded  # cut off within a byte
    content = base64.b64decode(whole + "=" * (-len(whole) % 4))
    if not content:
        raise ProviderBadReply(f"{provider} returned image data without a picture in it", provider=provider)
    return content


_PLAIN = str.maketrans("-_", "+/")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")
