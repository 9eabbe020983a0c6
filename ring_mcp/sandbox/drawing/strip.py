"""The strip at the foot of a picture: that it is a test picture, what was asked for, and as what it was made."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ring_mcp.sandbox.drawing import typeset
from ring_mcp.sandbox.drawing.palettes import Colour, Palette, mix

if TYPE_CHECKING:
    from PIL.Image import Image

MARK = "SANDBOX"
_INK, _PAPER = (7, 8, 13), (238, 238, 234)
_PLATE_LEVEL = 150
_SHARE = 0.021
_LEAST_EM = 32
"""Room for a prompt that the facts may not take."""


class Strip:
    """A row of small type. Its measures follow from the size of the picture alone, so that one strip covers another.

    It is so low that the text of a thumbnail, which keeps a margin, stands above it. Its height is even: clips keep
    their colours at half the size.
    """

    def __init__(self, width_px: int, height_px: int) -> None:
        self.width_px = width_px
        self.text_px = max(10, round(min(width_px, height_px) * _SHARE))
        self.height_px = 2 * round(self.text_px * 1.05)
        self.margin_px = self.text_px

    def draw(self, prompt: str, facts: str, palette: Palette) -> Image:
        """The strip in RGB, ``width_px`` by ``height_px``. The facts are left out where the prompt needs their room."""
        from PIL import Image, ImageDraw

        ground, paper = mix(palette.land[-1], _INK, 0.55), mix(_PAPER, palette.light, 0.3)
        image = Image.new("RGB", (self.width_px, self.height_px), ground)
        pen, middle = ImageDraw.Draw(image), self.height_px / 2
        small_px = round(self.text_px * 0.86)
        # Kept as a mask: the plate is the same on every picture of a size, and only its colour is not.
        plate = _plate(small_px)
        image.paste(_brighten(palette.accent), (self.margin_px, round(middle - plate.height / 2)), plate)
        left_px, right_px = 2 * self.margin_px + plate.width, self.width_px - self.margin_px
        text, face = typeset.legible(prompt), typeset.font(self.text_px, 500)
        facts_px = typeset.font(small_px).getlength(facts) + self.margin_px
        if facts and right_px - left_px - facts_px >= min(face.getlength(text), _LEAST_EM * self.text_px):
            tone = mix(ground, paper, 0.6)
            pen.text((right_px, middle), facts, font=typeset.font(small_px), fill=tone, anchor="rm")
            right_px -= round(facts_px)
        shown = typeset.shorten(text, right_px - left_px, self.text_px, 500)
        pen.text((left_px, middle), shown, font=face, fill=paper, anchor="lm")
        return image


def _brighten(colour: Colour) -> Colour:
    """The colour, so bright that dark letters can be read on it."""
    missing = _PLATE_LEVEL - sum(colour) / 3
    return mix(colour, _PAPER, min(0.7, max(0.12, missing / 100)))


@functools.lru_cache(maxsize=16)
def _plate(size_px: int) -> Image:
    """A plate with the word SANDBOX cut out of it, as a mask; the letters are of ``size_px`` and a little apart."""
    from PIL import Image, ImageDraw

    # Four times as large, so that letters can stand between whole pixels.
    large_px = 4 * size_px
    face = typeset.font(large_px, 700)
    apart_px, x = large_px * 0.1, large_px * 0.5
    width_px = sum(face.getlength(letter) + apart_px for letter in MARK) - apart_px + 2 * x
    plate = Image.new("L", (round(width_px), 4 * round(size_px * 1.4)))
    pen = ImageDraw.Draw(plate)
    pen.rounded_rectangle((0, 0, plate.width - 1, plate.height - 1), large_px * 0.28, fill=255)
    for letter in MARK:
        pen.text((x, plate.height / 2), letter, font=face, fill=0, anchor="lm")
        x += face.getlength(letter) + apart_px
    return plate.reduce(4)
