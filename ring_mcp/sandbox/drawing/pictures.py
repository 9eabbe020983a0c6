"""Pictures that show what was asked for: the prompt on a gradient of its own, or on the picture it was given."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ring_mcp.sandbox.drawing import typeset

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE_PX = {"512": 512, "1k": 1024, "1.5k": 1536, "2k": 2048, "4k": 4096}
JPEG_QUALITY = 85
_GRID = 4
# A given picture stays as it is above; the text stands on a dark band below.
_BAND_SHARE, _BAND_BRIGHTNESS = 0.44, 0.26
_PALETTES = (
    ("1e1b4b", "6d28d9", "ec4899"),
    ("0f172a", "0369a1", "22d3ee"),
    ("042f2e", "0f766e", "a3e635"),
    ("3b0764", "be185d", "f97316"),
    ("172554", "4338ca", "38bdf8"),
    ("1c1917", "9a3412", "f59e0b"),
    ("022c22", "047857", "2dd4bf"),
    ("2a0a1f", "9f1239", "fb7185"),
    ("111827", "334155", "60a5fa"),
    ("0c0a3e", "7b1e7a", "f9564f"),
    ("0b132b", "1c5d7a", "8fb3c9"),
    ("10002b", "5a189a", "48bfe3"),
)


@dataclass(frozen=True)
class PictureSpec:
    """Everything a picture depends on. ``seed`` sets the colours; ``footer`` is one small line."""

    prompt: str
    width_px: int
    height_px: int
    footer: str
    seed: str
    background: Path | None = None


def ratio_of(text: str) -> float:
    """``16:9`` as width over height; ``auto`` is square."""
    if text == "auto":
        return 1.0
    width, height = text.split(":")
    return float(width) / float(height)


def size_for(ratio: float, resolution: str) -> tuple[int, int]:
    """Width and height in pixels: the resolution's area in that ratio, sides a multiple of 16."""
    side_px = SIDE_PX[resolution]
    root = math.sqrt(ratio)
    return _multiple_of_16(side_px * root), _multiple_of_16(side_px / root)


def _multiple_of_16(length_px: float) -> int:
    return max(16, round(length_px / 16) * 16)


def measure(path: Path) -> tuple[int, int] | None:
    """Size of a picture file in pixels, or None when it cannot be read as one."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None


def render_jpeg(spec: PictureSpec) -> bytes:
    """The picture as a baseline JPEG."""
    image = paint(spec)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def paint(spec: PictureSpec, *, bottom_px: int = 0) -> Image:
    """The picture as RGB pixels. ``bottom_px`` keeps a strip at the lower edge free of text."""
    size = (spec.width_px, spec.height_px)
    given = _given(spec.background, size) if spec.background is not None else None
    if given is None:
        image, top_px = _gradient(spec.seed, size), 0
    else:
        image, top_px = given, round(spec.height_px * (1 - _BAND_SHARE))
        _darken(image, top_px)
    _write(image, spec, top_px, spec.height_px - bottom_px)
    return image


def _given(path: Path, size: tuple[int, int]) -> Image | None:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as source:
            return ImageOps.fit(source.convert("RGB"), size)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None


def _darken(image: Image, top_px: int) -> None:
    from PIL import ImageEnhance

    band = image.crop((0, top_px, image.width, image.height))
    image.paste(ImageEnhance.Brightness(band).enhance(_BAND_BRIGHTNESS), (0, top_px))


def _gradient(seed: str, size: tuple[int, int]) -> Image:
    """A soft mesh from deep to bright, its palette, direction and grain drawn from the seed."""
    from PIL import Image

    digest = hashlib.sha256(seed.encode()).digest()
    palette = _PALETTES[digest[0] % len(_PALETTES)]
    angle = digest[1] / 256 * 2 * math.pi
    points = bytearray()
    for cell in range(_GRID * _GRID):
        across, down = cell % _GRID / (_GRID - 1) - 0.5, cell // _GRID / (_GRID - 1) - 0.5
        along = 0.5 + across * math.cos(angle) + down * math.sin(angle)
        points += _blend(palette, along + (digest[2 + cell % 30] / 255 - 0.5) * 0.24)
    mesh = Image.frombytes("RGB", (_GRID, _GRID), bytes(points))
    # In two steps: from four pixels straight to thousands the colour steps would show as bands.
    return mesh.resize((64, 64), Image.Resampling.BICUBIC).resize(size, Image.Resampling.BICUBIC)


def _blend(palette: tuple[str, str, str], along: float) -> bytes:
    """A colour on the way through the palette. The bright end stays dim enough for white text."""
    place = min(max(along, 0.0), 1.0) * 1.7
    first, second = (palette[0], palette[1]) if place <= 1 else (palette[1], palette[2])
    share = place if place <= 1 else place - 1
    pairs = zip(bytes.fromhex(first), bytes.fromhex(second), strict=True)
    return bytes(round(a + (b - a) * share) for a, b in pairs)


def _write(image: Image, spec: PictureSpec, top_px: int, bottom_px: int) -> None:
    """Sets prompt and footer between two heights, with a margin all around."""
    from PIL import ImageDraw

    short_px = min(image.size)
    margin_px = max(8, round(short_px * 0.08))
    footer_px = max(9, round(short_px * 0.026))
    box_top_px = top_px + (margin_px if top_px == 0 else margin_px // 2)
    box_width_px = max(16, image.width - 2 * margin_px)
    box_height_px = max(16, bottom_px - margin_px - 3 * footer_px - box_top_px)
    setting = typeset.fit(
        spec.prompt,
        box_width_px,
        box_height_px,
        largest_px=round(short_px * 0.115),
        smallest_px=max(9, footer_px - 2),
        weight=600,
    )
    _write_lines(image, setting, margin_px, box_top_px + (box_height_px - setting.height_px) // 2)
    footer = typeset.shorten(spec.footer, box_width_px, footer_px)
    at = (margin_px, bottom_px - margin_px - footer_px)
    ImageDraw.Draw(image).text(at, footer, font=typeset.font(footer_px), fill=(226, 232, 240))


def _write_lines(image: Image, setting: typeset.Setting, left_px: int, top_px: int) -> None:
    """White with a faint shadow. Through a mask, because Pillow's text ignores the alpha of its colour."""
    from PIL import Image as Images
    from PIL import ImageDraw

    face = typeset.font(setting.size_px, 600)
    shadow_px = max(1, setting.size_px // 28)
    for offset_px, colour, strength in ((shadow_px, (0, 0, 0), 80), (0, (255, 255, 255), 255)):
        mask = Images.new("L", image.size)
        draw = ImageDraw.Draw(mask)
        for number, line in enumerate(setting.lines):
            at = (left_px + offset_px, top_px + offset_px + number * setting.line_px)
            draw.text(at, line, font=face, fill=strength)
        image.paste(colour, mask=mask)
