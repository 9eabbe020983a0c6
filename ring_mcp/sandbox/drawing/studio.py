"""The rendering room: makes each picture and clip once, off the event loop, and keeps it on disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ring_mcp.sandbox.drawing import clips, pictures
from ring_mcp.sandbox.drawing.clips import ClipFacts, ClipSpec
from ring_mcp.sandbox.drawing.pictures import PictureSpec

# The server under test needs processors as well.
WORKERS = max(2, min(4, os.cpu_count() or 2))


class Studio:
    """Renders into a folder. Two calls for the same thing share one rendering."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="sandbox-studio")
        self._running: dict[str, asyncio.Task[Path]] = {}

    async def picture(self, spec: PictureSpec) -> Path:
        """A JPEG file of the picture."""

        def render(path: Path) -> None:
            path.write_bytes(pictures.render_jpeg(spec))

        return await self._once(_key(spec), ".jpg", render)

    async def clip(self, spec: ClipSpec) -> Path:
        """An MP4 file of the clip."""

        def render(path: Path) -> None:
            clips.render_mp4(spec, path)

        return await self._once(_key(spec), ".mp4", render)

    async def clip_facts(self, path: Path) -> ClipFacts | None:
        """What is in a clip that was given; None when it is none."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, clips.probe, path)

    async def first_frame(self, clip: Path) -> Path | None:
        """The first frame of a clip as a picture file."""
        picture = self._folder / f"{clip.stem}-frame.jpg"
        loop = asyncio.get_running_loop()
        made = picture.exists() or await loop.run_in_executor(self._pool, clips.save_first_frame, clip, picture)
        return picture if made else None

    def close(self) -> None:
        # Waited for: the folder is removed next, and a rendering would write into it.
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _once(self, key: str, suffix: str, render: Callable[[Path], None]) -> Path:
        path = self._folder / (key + suffix)
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._make(path, render))
            task.add_done_callback(lambda done: self._forget(key, done))
        # Shielded: a caller that goes away must not take the rendering from the others.
        return await asyncio.shield(task)

    def _forget(self, key: str, done: asyncio.Task[Path]) -> None:
        self._running.pop(key, None)
        if not done.cancelled():
            done.exception()  # Looked at here, so that asyncio does not complain of one that nobody waits for.

    async def _make(self, path: Path, render: Callable[[Path], None]) -> Path:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _make_file, path, render)


def _make_file(path: Path, render: Callable[[Path], None]) -> Path:
    if not path.exists():
        draft = path.with_name(f"{uuid.uuid4().hex}{path.suffix}")
        render(draft)
        # Under its name only when it is whole: whoever finds the file there takes it.
        draft.replace(path)
    return path


def _key(spec: PictureSpec | ClipSpec) -> str:
    # The text of a dataclass has all of its fields, so that one that is added later counts by itself.
    return hashlib.sha256(repr(spec).encode()).hexdigest()
