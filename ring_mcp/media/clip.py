"""Length, size and first picture of a clip. Needs the extra ``[video]``; without it nothing is known."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

_MOST_PX = 65_535
_MOST_S = 24 * 3600


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
            return _sane(stream.width, stream.height, length)
    except Exception:  # whatever a decoder raises, of a foreign byte in a title, too, means "not known"
        return ClipFacts()


def _sane(width_px: int, height_px: int, duration_s: Decimal | None) -> ClipFacts:
    """Facts that can be those of a clip; what a damaged header claims beyond it is not known."""
    has_size = 0 < width_px <= _MOST_PX and 0 < height_px <= _MOST_PX
    has_length = duration_s is not None and 0 < duration_s <= _MOST_S
    return ClipFacts(
        width_px=width_px if has_size else None,
        height_px=height_px if has_size else None,
        duration_s=duration_s if has_length else None,
    )


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
    except Exception:  # as above: a poster is a courtesy
        return False
    return True
