"""``--download``: saves finished clips as files."""

from __future__ import annotations

import asyncio
import filecmp
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ring_mcp.errors import RingError

if TYPE_CHECKING:
    from ring_mcp.config import Config
    from ring_mcp.scripted.clips import ClipRun
    from ring_mcp.scripted.run import ScriptRun


async def save_clips(run: ScriptRun, folder: Path, config: Config) -> None:
    """Each clip that is done as ``{clipId}-{qualityMode}.mp4``. One that cannot be saved says so, and stays done.

    A file of that name that is not this clip's own, of another script or project, is left alone: the clip is saved
    beside it, with the beginning of its job's id in its name.
    """
    for clip in run.clips:
        if clip.status != "done" or not clip.data.get("video"):
            continue
        path = folder / f"{clip.id}-{clip.mode}.mp4"
        # Taken away until it is saved: nobody is to be told of a file that this run could not write.
        saved, clip.local_path = clip.local_path, None
        try:
            clip.local_path = str((await _save(clip, path, config)).resolve())
        except (RingError, OSError) as exc:
            if clip.stood and saved is not None and await asyncio.to_thread(_is_in, saved, folder):
                clip.local_path = saved
                continue  # an earlier run has saved this very clip; its address has expired since
            told = exc.message if isinstance(exc, RingError) else exc.strerror or type(exc).__name__
            clip.warnings.append(f"{path} could not be saved: {told}")
            clip.unsaved = True
            continue
        await run.record(clip)  # its row has no localPath yet


def _is_in(saved: str, folder: Path) -> bool:
    path = Path(saved)
    return path.is_file() and path.parent == folder.resolve()


async def _save(clip: ClipRun, path: Path, config: Config) -> Path:
    """Written beside its name first, so that a file of that name is always complete, even with two runs at once."""
    video = clip.data["video"]
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    with _part_of(path) as part:
        local = Path(str(video.get("localPath") or ""))
        if await asyncio.to_thread(local.is_file):
            await asyncio.to_thread(shutil.copyfile, local, part)
        else:
            await fetch(str(video["url"]), part, config)
        beside = path.with_stem(f"{path.stem}-{(clip.job_id or secrets.token_hex(4))[:8]}")
        return await asyncio.to_thread(_place, part, path, beside, clip)


@contextmanager
def _part_of(path: Path) -> Iterator[Path]:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _place(part: Path, path: Path, beside: Path, clip: ClipRun) -> Path:
    """Put the finished file under its name, or beside a file of that name that is not known to be the clip's own."""
    name = str(path.resolve())
    if name in clip.own_files:
        part.replace(path)
        return path
    try:
        _link_new(part, path)
    except FileExistsError:
        # The same bytes under the very name are this clip's, saved by a run whose manifest is gone.
        if name in clip.others_files or not filecmp.cmp(part, path, shallow=False):
            part.replace(beside)  # of this job alone
            return beside
    return path


def _link_new(part: Path, path: Path) -> None:
    """Under a name that nobody has. Raises FileExistsError."""
    try:
        # A link and no rename: it fails where a name is taken, and a rename would write over it.
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        # Taken by an empty file first, which fails as well if somebody was quicker.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        part.replace(path)


async def fetch(url: str, path: Path, config: Config) -> None:
    """Stream ``url`` to ``path``, from the public internet or from what this configuration itself names.

    The address comes from a ledger that may have come with somebody's folder, or from a gateway: neither may lead us
    into a private network.
    """
    from ring_mcp.clock import SystemClock
    from ring_mcp.providers.http import ProviderHttp

    http = ProviderHttp(
        provider="the storage",
        base_url="https://storage.invalid",
        headers={},
        clock=SystemClock(),
        max_media_bytes=config.max_media_bytes,
        proxies=config.proxies,
        trusted_hosts=(*config.trusted_media_hosts, *_own_places(config)),
    )
    try:
        await http.download(url, path)
    finally:
        await http.aclose()


_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def _own_places(config: Config) -> list[str]:
    """host:port of what the configuration names: gateway, storages, providers; in the sandbox all of this machine."""
    from urllib.parse import urlsplit

    # The endpoint is other programs' variable, too: only where it is ours is it known to be an address.
    bucket = (config.s3_public_base_url, config.aws_endpoint_url) if config.file_backend == "s3" else ()
    named = (config.api_base_url, config.ringbase_api_url, config.public_base_url, *bucket)
    addresses = [urlsplit(str(each)) for each in (*named, *(one.base_url for one in config.vendors.values())) if each]
    places = [f"{host}:*" for host in _LOOPBACK] if config.sandbox else []
    for each in addresses:
        port = each.port or (443 if each.scheme == "https" else 80)
        host = f"[{each.hostname}]" if ":" in (each.hostname or "") else each.hostname
        # A server on this machine has several names, and tells its files under one of its own choice.
        places += [f"{name}:{port}" for name in (_LOOPBACK if host in _LOOPBACK else (host,))]
    return places
