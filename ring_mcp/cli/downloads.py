"""``--download``: finished clips as files of one's own."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ring_mcp.errors import RingError

if TYPE_CHECKING:
    from ring_mcp.config import Config
    from ring_mcp.scripted.clips import ClipRun
    from ring_mcp.scripted.run import ScriptRun


async def save_clips(run: ScriptRun, folder: Path, config: Config) -> None:
    """Each clip that is done as ``{clipId}-{qualityMode}.mp4``. One that cannot be saved says so, and stays done."""
    for clip in run.clips:
        if clip.status != "done" or not clip.data.get("video"):
            continue
        path = folder / f"{clip.id}-{clip.mode}.mp4"
        saved, clip.local_path = clip.local_path, str(path.resolve())
        try:
            await _save(clip, path, config)
        except (RingError, OSError) as exc:
            if clip.stood and saved == clip.local_path and await asyncio.to_thread(path.is_file):
                continue  # an earlier run has saved this very clip; its address has expired since
            told = exc.message if isinstance(exc, RingError) else exc.strerror or type(exc).__name__
            clip.warnings.append(f"{path} could not be saved: {told}")
            clip.unsaved, clip.local_path = True, None
            continue
        await run.record(clip)


async def _save(clip: ClipRun, path: Path, config: Config) -> None:
    """Beside its name first, so that a file of that name is always whole, also with two runs at once."""
    video = clip.data["video"]
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    local = Path(str(video.get("localPath") or ""))
    try:
        if await asyncio.to_thread(local.is_file):
            await asyncio.to_thread(shutil.copyfile, local, part)
        else:
            await fetch(str(video["url"]), part, config)
        await asyncio.to_thread(part.replace, path)
    finally:
        part.unlink(missing_ok=True)


async def fetch(url: str, path: Path, config: Config) -> None:
    """Stream ``url`` to ``path``. Its own host is trusted, where it points to on a private network is not."""
    from ring_mcp.clock import SystemClock
    from ring_mcp.providers.http import ProviderHttp

    http = ProviderHttp(
        provider="the storage",
        base_url=url,
        headers={},
        clock=SystemClock(),
        max_media_bytes=config.max_media_bytes,
        proxies=config.proxies,
        trusted_hosts=config.trusted_media_hosts,
    )
    try:
        await http.download(url, path)
    finally:
        await http.aclose()
