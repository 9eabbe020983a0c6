"""Length, size and first picture of a clip, as PyAV reads them. Needs the extra ``[video]``; else nothing is known."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ring_mcp.files import open_file
from ring_mcp.media.bounds import MAX_CLIP_S, MAX_FRAME_PIXELS, MAX_SIDE_PX
from ring_mcp.media.mp4 import TURNS_SIDEWAYS, Turn, read_mp4

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFacts:
    """Pixels as they are shown, so after the turn that the clip asks for."""

    width_px: int | None = None
    height_px: int | None = None
    duration_s: Decimal | None = None


def measure_clip(path: Path) -> ClipFacts:
    """Blocking, a few milliseconds: only the container is read. Unknown values for a file that it cannot read."""
    try:
        import av
    except ImportError:
        return ClipFacts()
    try:
        with _open(path) as container:
            stream = container.streams.video[0]
            length = None if container.duration is None else Decimal(container.duration) / av.time_base
            # What the header claims; nothing is decoded for it, and keep_sane judges it.
            width_px, height_px = stream.width, stream.height
        if read_mp4(path).turn in TURNS_SIDEWAYS:
            width_px, height_px = height_px, width_px
        return keep_sane(width_px, height_px, length)
    except Exception:  # whatever a decoder raises, of a foreign byte in a title, too, means "not known"
        return ClipFacts()


def write_poster(clip: Path, poster: Path) -> bool:
    """The clip's first picture, upright, as a JPEG. Blocking; False if it cannot be had."""
    try:
        with _open(clip) as container:
            stream = container.streams.video[0]
            # By the header, before the decoder takes memory for it.
            if stream.width * stream.height > MAX_FRAME_PIXELS:
                return False
            stream.codec_context.thread_count = 1  # each more would keep pictures of its own
            picture = next(container.decode(stream)).to_image()
        _upright(picture, read_mp4(clip).turn).save(poster, "JPEG", quality=_JPEG_QUALITY)
    except Exception:  # as above: a poster is a courtesy, and so is the library for it
        return False
    return True


def _open(path: Path) -> Any:
    """The clip, as what it says that it is: no playlist or other format that leads to further files."""
    import av

    with open_file(path) as file:
        # The format is forced: left to guess, the library would take a text for a playlist and open what that names.
        is_matroska = file.read(4) == b"\x1a\x45\xdf\xa3"
    return av.open(str(path), format="matroska" if is_matroska else "mov", options={"protocol_whitelist": "file"})


def keep_sane(width_px: int, height_px: int, duration_s: Decimal | None) -> ClipFacts:
    """Facts that can be those of a clip; what a damaged header claims beyond it is not known."""
    has_size = 0 < width_px <= MAX_SIDE_PX and 0 < height_px <= MAX_SIDE_PX
    has_length = duration_s is not None and 0 < duration_s <= MAX_CLIP_S
    return ClipFacts(
        width_px=width_px if has_size else None,
        height_px=height_px if has_size else None,
        duration_s=duration_s if has_length else None,
    )


def _upright(picture: Picture, turn: Turn) -> Picture:
    """The picture as a player shows it."""
    from PIL import Image

    methods = {
        "right": Image.Transpose.ROTATE_270,  # Pillow counts against the clock
        "half": Image.Transpose.ROTATE_180,
        "left": Image.Transpose.ROTATE_90,
        "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
        "upside down": Image.Transpose.FLIP_TOP_BOTTOM,
        "mirrored and left": Image.Transpose.TRANSPOSE,
        "mirrored and right": Image.Transpose.TRANSVERSE,
    }
    return picture if turn == "none" else picture.transpose(methods[turn])
