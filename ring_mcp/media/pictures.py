"""Pictures, as Pillow reads them: how large they are shown, and whether all of their pixels are there."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ring_mcp.files import open_file
from ring_mcp.media.bounds import MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# Two for JPEG: where pixels are missing the decoder takes what follows for them, and the two pictures differ.
_TAILS = {"JPEG": (b"\xff\xd9", b"\x5a\xa5" * 256 + b"\xff\xd9"), "PNG": (b"\0\0\0\0IEND\xaeB`\x82",)}
_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})


class TooManyPixels(Exception):
    """A picture of more than MAX_PIXELS. Nothing of it was decoded."""


def measure_picture(path: Path, container: str, *, is_whole: bool) -> tuple[int, int] | None:
    """Width and height in pixels as it is shown, so after the turn that its EXIF asks for. None: it is damaged.

    Only the header is read; a picture that is not surely whole is decoded, to be sure. Blocking. Raises
    TooManyPixels, and OSError when it cannot be read at all.
    """
    from PIL import Image

    with open_file(path) as file:
        try:
            # Only the decoder that the first bytes name: Pillow has dozens, and would try them all.
            with Image.open(file, formats=[container.upper()]) as picture:
                width_px, height_px = picture.size
                # By the header: a few kilobytes can unfold into gigabytes of pixels.
                if width_px * height_px > MAX_PIXELS:
                    raise TooManyPixels
                is_sideways = _is_sideways(picture)
            if not is_whole:
                _check_has_all_pixels(file, container)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
            raise TooManyPixels from exc
        except (MemoryError, TooManyPixels):
            raise
        except Exception:  # Pillow's decoders raise a dozen kinds
            return None
    return (height_px, width_px) if is_sideways else (width_px, height_px)


def _is_sideways(picture: Picture) -> bool:
    if picture.format == "PNG" and "exif" not in picture.info:  # Pillow would decode all of it to look behind
        return False
    try:
        return picture.getexif().get(_ORIENTATION) in _SIDEWAYS
    except MemoryError:
        raise
    except Exception:  # EXIF that makes no sense turns nothing
        return False


def _check_has_all_pixels(file: BinaryIO, container: str) -> None:
    """Decode a picture whose end mark is missing, with one. Raises what Pillow does, or ValueError, if more is missing.

    A cut JPEG is decoded all the same, and grey from there on. What follows a whole one changes nothing of it.
    """
    from PIL import Image

    file.seek(0)
    content = file.read().rstrip(b"\xff")  # half an end mark
    seen = set()
    for tail in _TAILS.get(container, (b"",)):
        with Image.open(io.BytesIO(content + tail), formats=[container.upper()]) as picture:
            if not picture.info.get("progressive"):  # there the last of the file is what is finest
                picture.draft(None, (picture.width // 8 or 1, picture.height // 8 or 1))
            seen.add(hashlib.sha256(picture.tobytes()).digest())
    if len(seen) > 1:
        raise ValueError("some of its pixels are missing")
