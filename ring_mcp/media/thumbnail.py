"""A thumbnail: words over a picture, on one of three canvases. The same input gives the same bytes.

No text leaves the margins or lies on another: it is wrapped, made smaller, and in the end cut, with a warning.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ring_mcp.domain import Overlay, OverlayPosition, OverlayRole, Thumbnail
from ring_mcp.media.bounds import MAX_PIXELS
from ring_mcp.media.canvases import CANVASES
from ring_mcp.media.lettering import (
    Lines,
    Wording,
    break_lines,
    has_raqm,
    is_font,
    laid_out,
    own_font,
    word,
)

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw as Pen
MARGIN_PX = 48

_GAP_PX = 20
_BAR_PAD_PX = 22
_BAR_COLOUR = (11, 87, 208)
_WHITE = (255, 255, 255)
_SMALLEST_PX = 22
_SIZE_PX: Mapping[OverlayRole, int] = {"title": 56, "cta": 56, "subtitle": 36, "caption": 36}
_SCALES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
_ROOMS = (12, 8, 6, 4, 3, 2, 1)
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")

Band = Literal["top", "center", "bottom"]


@dataclass(frozen=True, slots=True)
class _Block:
    """One overlay as it is drawn: its lines, and the bar behind them if it has one."""

    lines: Lines
    position: OverlayPosition
    has_bar: bool

    @property
    def band(self) -> Band:
        return "top" if self.position.startswith("top") else "bottom" if "bottom" in self.position else "center"

    @property
    def pad_px(self) -> int:
        return _BAR_PAD_PX if self.has_bar else 0

    @property
    def height_px(self) -> int:
        return self.lines.height_px + 2 * self.pad_px


def make_thumbnail(
    spec: Thumbnail, background: Path, canvas: str, *, font: Path | None = None
) -> tuple[bytes, tuple[str, ...]] | None:
    """A PNG, and warnings; None if ``background`` cannot be decoded. ``font`` has what Noto Sans has not.

    Blocking, a tenth of a second, with pages of text some seconds: call it in a thread.
    """
    size = CANVASES[canvas]
    picture = _cover(background, size)
    if picture is None:
        return None
    _darken(picture, spec)
    warnings: list[str] = []
    blocks = _fit_blocks(spec, size, _set_words(spec.overlays, font, warnings), warnings)
    _letter(picture, _place_blocks(blocks, size[1]))
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    return encoded.getvalue(), tuple(warnings)


def _cover(path: Path, size: tuple[int, int]) -> Picture | None:
    """The picture upright, opaque, and cut to fill the canvas."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=_FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return None
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
        flat = Image.new("RGB", upright.size)
        flat.paste(upright, mask=upright.getchannel("A"))
        return ImageOps.fit(flat, size, Image.Resampling.LANCZOS)
    except MemoryError:
        raise
    except Exception:  # Pillow's decoders raise a dozen kinds
        return None


def _darken(picture: Picture, spec: Thumbnail) -> None:
    """Ring's shade: a third of black everywhere, or up to three quarters towards the bottom."""
    from PIL import Image

    if spec.template == "title_card":
        picture.paste((0, 0, 0), mask=Image.new("L", picture.size, round(255 * 0.35)))
        return
    height_px = round(picture.height * 0.45)
    shade = Image.linear_gradient("L").resize((picture.width, height_px)).point([round(v * 0.75) for v in range(256)])
    picture.paste((0, 0, 0), (0, picture.height - height_px), shade)


def _set_words(overlays: Sequence[Overlay], font: Path | None, warnings: list[str]) -> list[tuple[Overlay, Wording]]:
    """The overlays that have something to draw."""
    fonts = [own_font()]
    if font is not None and is_font(font):
        fonts.append(font)
    elif font is not None:
        warnings.append("RING_THUMBNAIL_FONT names no font that can be read: it was not used")
    worded = [(overlay, word(overlay.text, fonts)) for overlay in overlays]
    missing = "".join(dict.fromkeys(character for _, wording in worded for character in wording.missing))
    if missing:
        shown = " ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
        warnings.append(f"no font has {shown}: left out; RING_THUMBNAIL_FONT can name a font that has them")
    if any(wording.layout != "simple" for _, wording in worded) and not has_raqm():
        warnings.append("letters are not joined or ordered as their script wants it: this Pillow has no raqm")
    kept = [(overlay, wording) for overlay, wording in worded if wording.text]
    if len(kept) < len(worded):
        warnings.append(f"{len(worded) - len(kept)} of {len(worded)} overlays have nothing that can be drawn")
    return kept


def _fit_blocks(
    spec: Thumbnail, size: tuple[int, int], worded: Sequence[tuple[Overlay, Wording]], warnings: list[str]
) -> list[_Block]:
    """The largest setting that fits the canvas; what fits at no size is cut, then left out from the end."""
    bars = _choose_barred(spec, worded)
    blocks: list[_Block] = []
    for scale in _SCALES:
        blocks = [_block(*pair, scale, size[0], index in bars) for index, pair in enumerate(worded)]
        if _fits(blocks, size[1]):
            break
    whole = blocks
    for room in _ROOMS:
        if _fits(blocks, size[1]):
            break
        blocks = [replace(block, lines=block.lines.cut(room, _width_px(size[0], block.has_bar))) for block in whole]
    while not _fits(blocks, size[1]):
        blocks = blocks[:-1]
    if len(blocks) < len(worded):
        warnings.append(f"only {len(blocks)} of {len(worded)} overlays fit, the others were left out")
    # Not strict: overlays that were left out have no counterpart.
    cut = any(a.lines != b.lines for a, b in zip(whole, blocks, strict=False))
    if cut or any(wording.is_cut for _, wording in worded):
        warnings.append("a text was too long and has been cut")
    if spec.template == "cta_bar" and not worded:
        blocks.append(_Block(Lines((), own_font(), _SMALLEST_PX, 400, "simple"), "bottom", has_bar=True))
    return blocks


def _choose_barred(spec: Thumbnail, worded: Sequence[tuple[Overlay, Wording]]) -> set[int]:
    """Which overlays stand on a bar: the calls to action, else the last overlay."""
    if spec.template != "cta_bar":
        return set()
    calls = {index for index, (overlay, _) in enumerate(worded) if overlay.role == "cta"}
    return calls or {len(worded) - 1}


def _block(overlay: Overlay, wording: Wording, scale: float, canvas_px: int, has_bar: bool) -> _Block:
    weight = 700 if overlay.role in ("title", "cta") else 400
    size_px = round(_SIZE_PX[overlay.role] * scale)
    lines = break_lines(wording, _width_px(canvas_px, has_bar), size_px, weight, smallest_px=_SMALLEST_PX)
    return _Block(lines, overlay.position, has_bar)


def _width_px(canvas_px: int, has_bar: bool) -> int:
    return canvas_px - 2 * MARGIN_PX - (2 * _BAR_PAD_PX if has_bar else 0)


def _stack_px(blocks: Sequence[_Block]) -> int:
    return sum(block.height_px for block in blocks) + _GAP_PX * max(0, len(blocks) - 1)


def _fits(blocks: Sequence[_Block], canvas_px: int) -> bool:
    return _stack_px(blocks) <= canvas_px - 2 * MARGIN_PX


def _place_blocks(blocks: Sequence[_Block], canvas_px: int) -> list[tuple[_Block, int]]:
    """Each block with its top edge: stacked in its band, in the given order; the middle gives way to the others."""
    bands: dict[Band, list[_Block]] = {"top": [], "center": [], "bottom": []}
    for block in blocks:
        bands[block.band].append(block)
    heights = {name: _stack_px(band) for name, band in bands.items()}
    bottom = canvas_px - MARGIN_PX - heights["bottom"]
    least = MARGIN_PX + (heights["top"] + _GAP_PX if bands["top"] else 0)
    most = bottom - heights["center"] - (_GAP_PX if bands["bottom"] else 0)
    tops = {"top": MARGIN_PX, "bottom": bottom, "center": max(least, min(most, (canvas_px - heights["center"]) // 2))}
    placed = []
    for name, band in bands.items():
        top = tops[name]
        for block in band:
            placed.append((block, top))
            top += block.height_px + _GAP_PX
    return placed


def _letter(picture: Picture, placed: Sequence[tuple[_Block, int]]) -> None:
    """Shadow, then bars, then text. The text's mask is empty outside of the margins, whatever a font may do."""
    from PIL import Image, ImageDraw, ImageFilter

    mask = Image.new("L", picture.size)
    pen = ImageDraw.Draw(mask)
    for block, top in placed:
        _draw_lines(pen, block, top + block.pad_px, picture.width)
    inside = (MARGIN_PX, MARGIN_PX, picture.width - MARGIN_PX, picture.height - MARGIN_PX)
    text = Image.new("L", picture.size)
    # What a font draws beyond its own measures is cut off here, so that the margins are kept whatever it does.
    text.paste(mask.crop(inside), inside)
    shadow = text.filter(ImageFilter.GaussianBlur(6)).point([min(215, v * 2) for v in range(256)])
    picture.paste((0, 0, 0), (0, 3), shadow)
    bars = ImageDraw.Draw(picture)
    for block, top in placed:
        if block.has_bar:
            edges = (MARGIN_PX, top, picture.width - MARGIN_PX - 1, top + block.height_px - 1)
            bars.rounded_rectangle(edges, radius=14, fill=_BAR_COLOUR)
    picture.paste(_WHITE, mask=text)


def _draw_lines(pen: Pen, block: _Block, top: int, canvas_px: int) -> None:
    lines = block.lines
    used, options = lines.face(), laid_out(lines.layout)
    baseline = top + lines.ascent_px
    for line in lines.lines:
        width_px = lines.width_px(line)
        left_ink = min(0.0, used.getbbox(line, anchor="ls", **options)[0])
        left = (canvas_px - width_px) / 2
        if not block.has_bar and block.position.endswith("-left"):
            left = MARGIN_PX
        elif not block.has_bar and block.position.endswith("-right"):
            left = canvas_px - MARGIN_PX - width_px
        pen.text((round(left - left_ink), baseline), line, fill=255, font=used, anchor="ls", **options)
        baseline += lines.line_px
