"""Pictures for a prompt: a scene that its hash decides, or the picture that was given, with a strip at the foot."""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ring_mcp.sandbox.drawing import light, palettes, scenes
from ring_mcp.sandbox.drawing.palettes import Palette
from ring_mcp.sandbox.drawing.strip import Strip

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE_PX = {"512": 512, "1k": 1024, "1.5k": 1536, "2k": 2048, "4k": 4096}
JPEG_QUALITY = 85
FORMATS = ("JPEG", "PNG", "WEBP")
"""What both services take; Pillow would try dozens of decoders."""

MAX_PIXELS = 80_000_000
"""A few kilobytes can unfold into more. The services' own bounds are told nowhere."""

WIDEST_RATIO = 8.0
"""The widest, and turned round the tallest, that either service makes. A banner of 1600:1 could not be a JPEG."""

_TONING = 7


@dataclass(frozen=True)
class PictureSpec:
    """Everything a picture depends on. ``seed`` decides what it shows; ``facts`` is one small line of its strip."""

    prompt: str
    width_px: int
    height_px: int
    facts: str
    seed: str
    background: Path | None = None


def ratio_of(text: str) -> float:
    """``16:9`` as width over height; ``auto`` is square."""
    if text == "auto":
        return 1.0
    width, height = text.split(":")
    return float(width) / float(height)


def size_for(ratio: float, resolution: str) -> tuple[int, int]:
    """Width and height in pixels: the resolution's area in that ratio as far as one is made, sides a multiple of 16."""
    side_px = SIDE_PX[resolution]
    root = math.sqrt(min(max(ratio, 1 / WIDEST_RATIO), WIDEST_RATIO))
    # The sides of xAI's are multiples of 16 (provider reference 1.4), and exact sizes are told nowhere.
    return _multiple_of_16(side_px * root), _multiple_of_16(side_px / root)


def _multiple_of_16(length_px: float) -> int:
    return max(16, round(length_px / 16) * 16)


def measure(path: Path) -> tuple[int, int] | None:
    """Size of a picture file in pixels, or None when it cannot be read as one."""
    try:
        with _open_bounded(path) as image:
            return image.size
    except Exception:  # whatever a decoder makes of a stranger's bytes: it is none
        return None


def render_jpeg(spec: PictureSpec) -> bytes:
    """The picture as a baseline JPEG."""
    buffer = io.BytesIO()
    paint(spec).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def paint(spec: PictureSpec) -> Image:
    """The picture in YCbCr, which is what JPEG keeps; a given one is toned by the seed."""
    size = (spec.width_px, spec.height_px)
    image, palette = show(spec, size)
    if spec.background is not None:
        image = _tone(image, dice(spec.seed))
    strip = Strip(*size)
    image.paste(strip.draw(spec.prompt, spec.facts, palette).convert("YCbCr"), (0, spec.height_px - strip.height_px))
    return image


def show(spec: PictureSpec, size: tuple[int, int]) -> tuple[Image, Palette]:
    """What stands above the strip, in YCbCr, and the colours that go with it.

    A given picture is cut to fill ``size`` from its upper edge, so that a strip at its own foot is what is lost.
    """
    given = _open_given(spec.background, size) if spec.background is not None else None
    if given is not None:
        return given, palettes.choose(dice(spec.seed))
    stage = scenes.compose(dice(spec.seed), light.canvas_for(size))
    return light.develop(stage.image, stage.glows, size, stage.rng), stage.palette


def dice(seed: str) -> random.Random:
    """Chance that falls alike for a seed on every machine. Any text is one, even half a surrogate pair out of JSON."""
    return random.Random(seed.encode("utf-8", "surrogatepass"))


def _open_given(path: Path, size: tuple[int, int]) -> Image | None:
    from PIL import ImageOps

    try:
        with _open_bounded(path) as source:
            return ImageOps.fit(source.convert("RGB"), size, centering=(0.5, 0.0)).convert("YCbCr")
    except Exception:  # as above
        return None


def _open_bounded(path: Path) -> Image:
    """A picture of which only the header is read. Raises ValueError for one that would unfold into too many pixels."""
    from PIL import Image

    image = Image.open(path, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ValueError("too many pixels")
    return image


def _tone(image: Image, rng: random.Random) -> Image:
    """The picture a little warmer or colder, so that edits of one source can be told from each other."""
    # The first third is brightness, which stays as it is: an edit must still show its source.
    levels = list(range(256))
    for _ in ("blue", "red"):
        shift = rng.choice((-1, 1)) * rng.randint(2, _TONING)
        levels += [min(255, max(0, level + shift)) for level in range(256)]
    return image.point(levels)
