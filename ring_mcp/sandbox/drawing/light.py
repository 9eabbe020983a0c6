"""What makes a picture of flat shapes: the light over them, grain, and the size that was asked for."""

from __future__ import annotations

import functools
import math
import random
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ring_mcp.sandbox.drawing.stage import Glow

if TYPE_CHECKING:
    from PIL.Image import Image

# Light has no edges: laid out so small and enlarged it looks the same, in a fraction of the time.
_MAP_PX = 128
_TILE_PX = 512
_GRAIN = 2.4
_DARKEST, _BRIGHTEST = 10, 245
"""What grain may be added to without wrapping around."""


def canvas_for(size: tuple[int, int]) -> tuple[int, int]:
    """The size that a scene is cut out in before it is developed to ``size``."""
    shrunk = _enlargement(size)
    return 2 * math.ceil(size[0] / shrunk), 2 * math.ceil(size[1] / shrunk)


def develop(image: Image, glows: Sequence[Glow], size: tuple[int, int], rng: random.Random) -> Image:
    """The finished picture in YCbCr: halved, which smooths every edge, lit, grained, enlarged.

    Most of the time that a picture takes goes into its enlarging and its conversion for JPEG. So the eye's own
    economy is used: brightness alone is enlarged with care, and nothing is converted at full size.
    """
    from PIL import Image, ImageChops

    span = (_BRIGHTEST - _DARKEST) / 255
    levels = [round(_DARKEST + level * span) for level in range(256)]
    luma, *chroma = shine(image.reduce(2), glows, 0.5).convert("YCbCr").split()
    # Modulo, so that noise around 0 darkens as well as it brightens.
    luma = ImageChops.add_modulo(luma.point(levels), _noise(luma.size, rng))
    shrunk = _enlargement(size)
    box = (0.0, 0.0, size[0] / shrunk, size[1] / shrunk)
    large = luma.resize(size, Image.Resampling.BICUBIC, box)
    return Image.merge("YCbCr", [large, *(each.resize(size, Image.Resampling.NEAREST, box) for each in chroma)])


def shine(image: Image, glows: Sequence[Glow], scale: float) -> Image:
    """The picture under its lights. ``scale`` is what their measures are multiplied by."""
    from PIL import Image, ImageChops

    shrunk = min(1.0, _MAP_PX / max(image.size))
    lights = Image.new("RGB", (math.ceil(image.width * shrunk), math.ceil(image.height * shrunk)))
    for glow in glows:
        half = glow.radius * scale * shrunk
        wide, high = max(2, round(2 * half)), max(2, round(2 * half * glow.stretch))
        left, top = round(glow.x * scale * shrunk - wide / 2), round(glow.y * scale * shrunk - high / 2)
        light = Image.new("RGB", (wide, high))
        colour = tuple(round(channel * glow.strength) for channel in glow.colour)
        light.paste(colour, mask=_halo().resize((wide, high), Image.Resampling.BILINEAR))
        box = (left, top, left + wide, top + high)
        lights.paste(ImageChops.screen(lights.crop(box), light), box)
    return ImageChops.screen(image, lights.resize(image.size, Image.Resampling.BILINEAR))


def _enlargement(size: tuple[int, int]) -> float:
    """How much larger a picture is than what it is developed from: large ones are looked at from farther away."""
    side_px = math.sqrt(size[0] * size[1])
    return 1.4 * math.pow(max(1.0, side_px / 512), 0.34)


def _noise(size: tuple[int, int], rng: random.Random) -> Image:
    from PIL import Image

    noise = Image.new("L", size)
    for top in range(-rng.randrange(_TILE_PX), size[1], _TILE_PX):
        for left in range(-rng.randrange(_TILE_PX), size[0], _TILE_PX):
            noise.paste(_tile(), (left, top))
    return noise


@functools.lru_cache(maxsize=1)
def _halo() -> Image:
    """A light that fades from the middle to nothing at the edges; 181 is where Pillow's gradient meets them."""
    from PIL import Image

    return Image.radial_gradient("L").point([round(255 * max(0.0, 1 - level / 181) ** 2.2) for level in range(256)])


@functools.lru_cache(maxsize=1)
def _tile() -> Image:
    """A square of noise, normally distributed around 0, modulo 256; the same on every machine."""
    from PIL import Image

    bell = statistics.NormalDist(0, _GRAIN)
    levels = [max(-_DARKEST, min(_DARKEST, round(bell.inv_cdf((level + 0.5) / 256)))) % 256 for level in range(256)]
    return Image.frombytes("L", (_TILE_PX, _TILE_PX), random.Random(1).randbytes(_TILE_PX**2)).point(levels)
