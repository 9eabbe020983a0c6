"""The small picture that goes into a tool result: the real one would fill the caller's context."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ring_mcp.media.bounds import MAX_PIXELS
from ring_mcp.media.clip import write_poster

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from ring_mcp.domain import MediaKind

MAX_SIDE_PX = 512
_MIN_SIDE_PX = 32
_GAP_PX = 4
# Below this a smaller picture looks better than a worse one.
_QUALITIES = (85, 75, 65, 55, 45, 35, 25)
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_WHITE = (255, 255, 255)
_GREY = (221, 221, 221)


def make_preview(paths: Sequence[Path], *, max_bytes: int = 64 * 1024) -> bytes | None:
    """One JPEG of at most 512 px on the long side and ``max_bytes``; several pictures become a contact sheet.

    The sheet runs left to right, then down, in the order of ``paths``. A picture that cannot be decoded leaves a grey
    cell, so that the others keep their places. None when no picture can be decoded, or ``max_bytes`` cannot be met:
    nothing that was paid for may be lost for want of a preview. Blocking: call it in a thread.
    """
    thumbnails = [_thumbnail(path) for path in paths]
    side_px = MAX_SIDE_PX
    while side_px >= _MIN_SIDE_PX and any(picture is not None for picture in thumbnails):
        sheet = _sheet(thumbnails, side_px)
        for quality in _QUALITIES:
            encoded = io.BytesIO()
            sheet.save(encoded, "JPEG", quality=quality)
            if encoded.tell() <= max_bytes:
                return encoded.getvalue()
        side_px //= 2
    return None


def write_preview(kind: MediaKind, paths: Sequence[Path], preview: Path) -> None:
    """Write the preview of pictures, or of a clip's first frame; nothing if none can be made. Blocking.

    Raises OSError if it cannot be written.
    """
    preview.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    poster = preview.with_suffix(".poster")
    try:
        if kind == "video":
            paths = [poster] if write_poster(paths[0], poster) else []
        content = make_preview(paths) if paths else None
        if content is not None:
            preview.write_bytes(content)
    finally:
        poster.unlink(missing_ok=True)


def _thumbnail(path: Path) -> Picture | None:
    """At most 512 px, upright, opaque, RGB; None for whatever cannot be decoded."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=_FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return None
            # JPEG can be decoded at a half, a quarter or an eighth of its size: several times faster.
            opened.draft("RGB", _fit(opened.size, MAX_SIDE_PX))
            picture = _mixable(opened)
            picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
            picture.load()  # a picture that is small already was not read yet
            # Turned when it is small, which takes a fraction of the time.
            ImageOps.exif_transpose(picture, in_place=True)
            upright = picture
            if upright.mode == "RGB":
                upright.info = {}  # notes of the original are nobody's business
                return upright
            flat = Image.new("RGB", upright.size, _WHITE)
            flat.paste(upright.convert("RGB"), mask=upright.getchannel("A") if upright.mode == "RGBA" else None)
            return flat
    except MemoryError:
        raise
    except Exception:  # Pillow's decoders raise a dozen kinds
        return None


def _mixable(picture: Picture) -> Picture:
    """The picture in a mode whose pixels can be averaged: not palette numbers, not 16 bits."""
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if picture.mode in ("RGB", "L", "CMYK") and not picture.has_transparency_data:
        return picture
    return picture if picture.mode == "RGBA" else picture.convert("RGBA")


def _sheet(thumbnails: Sequence[Picture | None], side_px: int) -> Picture:
    """The pictures in the grid that shows them largest, white between them. A last row that is not full stands in the
    middle: a cell left white at its end looks like one more picture."""
    from PIL import Image

    there = [picture for picture in thumbnails if picture is not None]
    if len(thumbnails) == 1 and max(there[0].size) <= side_px:
        return there[0]
    columns, cell_px = _grid(len(thumbnails), there[0].width / there[0].height, side_px)
    width = min(cell_px[0], max(picture.width for picture in there))
    height = min(cell_px[1], max(picture.height for picture in there))
    rows = math.ceil(len(thumbnails) / columns)
    sheet = Image.new("RGB", (columns * (width + _GAP_PX) - _GAP_PX, rows * (height + _GAP_PX) - _GAP_PX), _WHITE)
    for number, picture in enumerate(thumbnails):
        row, column = divmod(number, columns)
        missing = columns - min(columns, len(thumbnails) - row * columns)
        left, top = (2 * column + missing) * (width + _GAP_PX) // 2, row * (height + _GAP_PX)
        if picture is None:
            sheet.paste(_GREY, (left, top, left + width, top + height))
            continue
        small = picture.copy()
        small.thumbnail((width, height))
        sheet.paste(small, (left + (width - small.width) // 2, top + (height - small.height) // 2))
    return sheet


def _grid(count: int, aspect: float, side_px: int) -> tuple[int, tuple[int, int]]:
    """The number of columns that lets ``count`` cells of this aspect be largest, and such a cell's width and height."""
    best = (0.0, 1)
    for columns in range(1, count + 1):
        rows = math.ceil(count / columns)
        across = (side_px - _GAP_PX * (columns - 1)) / columns
        down = (side_px - _GAP_PX * (rows - 1)) / rows
        best = max(best, (min(across, down * aspect), columns))
    width, columns = best
    # A hair more than the quotient, so that 288 does not become 287 by rounding.
    return columns, (max(1, int(width + 1e-6)), max(1, int(width / aspect + 1e-6)))


def _fit(size: tuple[int, int], side_px: int) -> tuple[int, int]:
    scale = min(1.0, side_px / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
