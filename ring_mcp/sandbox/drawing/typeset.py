"""Small type: which characters the font has, and how much of a text goes on a line."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

ELLIPSIS = "…"
UNSHOWN = "(in a script that this font does not have)"
MAX_CHARACTERS = 1000
"""More of a text is never set: no line that this draws holds as much."""

_NO_CHARACTER = "\U0010ffff"
_PROBE_PX = 24
_LETTERS_AN_EM = 5
"""No text has more of them in the width that its size is."""


@functools.lru_cache(maxsize=64)
def font(size_px: int, weight: int = 400) -> ImageFont.FreeTypeFont:
    """Noto Sans: Latin, Greek and Cyrillic, from its own package, so that every machine renders alike."""
    import fontpkg_noto_sans
    from PIL import ImageFont

    loaded = ImageFont.truetype(str(fontpkg_noto_sans.ROOT / "files" / "NotoSans[wdth,wght].ttf"), size_px)
    axes = {_axis_name(axis["name"]): axis["default"] for axis in loaded.get_variation_axes()}
    axes["Weight"] = weight
    loaded.set_variation_by_axes([float(value or 0) for value in axes.values()])
    return loaded


def _axis_name(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def legible(text: str) -> str:
    """The text on one line, without what the font has no sign for. One of another script is only told to be there."""
    # Cut before each character is looked at; four times as much, for blanks and missing signs still go.
    plain = " ".join(text[: 4 * MAX_CHARACTERS].split())
    kept = " ".join("".join(filter(_has_sign, plain)).split())
    if any(map(str.isalnum, plain)) and not any(map(str.isalnum, kept)):
        return UNSHOWN
    return kept if len(kept) <= MAX_CHARACTERS else kept[:MAX_CHARACTERS] + ELLIPSIS


def shorten(text: str, width_px: float, size_px: int, weight: int = 400) -> str:
    """As much of the text as one line holds, with an ellipsis where it is cut."""
    face = font(size_px, weight)
    if face.getlength(text) <= width_px:
        return text
    # By halves: measuring is what takes time.
    low, high = 0, min(len(text), max(0, int(_LETTERS_AN_EM * width_px / size_px)))
    while low < high:
        middle = (low + high + 1) // 2
        if face.getlength(text[:middle].rstrip() + ELLIPSIS) <= width_px:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + ELLIPSIS


@functools.lru_cache(maxsize=4096)
def _has_sign(character: str) -> bool:
    return character == " " or (character.isprintable() and _ink(character) != _ink(_NO_CHARACTER))


def _ink(character: str) -> bytes:
    return bytes(font(_PROBE_PX).getmask(character))
