"""Length, size and first picture of a clip. Needs the extra ``[video]``; without it nothing is known."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFacts:
    width_px: int | None = None
    height_px: int | None = None
    duration_s: Decimal | None = None


def can_read_clips() -> bool:
    return importlib.util.find_spec("av") is not None


def measure_clip(path: Path) -> ClipFacts:
    """Blocking, a few milliseconds: only the container is read. Unknown values for a file that it cannot read."""
    try:
        import av
    except ImportError:
        return ClipFacts()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            length = None if container.duration is None else Decimal(container.duration) / av.time_base
            return ClipFacts(width_px=stream.width, height_px=stream.height, duration_s=length)
    except (av.error.FFmpegError, IndexError):
        return ClipFacts()


def write_poster(clip: Path, poster: Path) -> bool:
    """The clip's first picture as a JPEG. Blocking; False if it cannot be had."""
    try:
        import av
    except ImportError:
        return False
    try:
        with av.open(str(clip)) as container:
            next(container.decode(video=0)).to_image().save(  # type: ignore[no-untyped-call]
                poster, "JPEG", quality=90
            )
    except (av.error.FFmpegError, StopIteration, IndexError, OSError):
        return False
    return True
