"""Text that always fits its box: wrapped, shrunk, and cut with an ellipsis only at the smallest size."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

LINE_HEIGHT = 1.28
MAX_CHARACTERS = 3000
ELLIPSIS = "…"


@dataclass(frozen=True)
class Setting:
    """Lines of text at the size that fits. ``size_px`` is the font's, ``line_px`` the distance of the lines."""

    lines: tuple[str, ...]
    size_px: int
    line_px: int

    @property
    def height_px(self) -> int:
        return self.line_px * len(self.lines)


@functools.lru_cache(maxsize=256)
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


def fit(text: str, width_px: int, height_px: int, *, largest_px: int, smallest_px: int, weight: int = 400) -> Setting:
    """The largest setting of the text inside the box."""
    words = " ".join(text.split())[:MAX_CHARACTERS].split(" ")
    low, high = smallest_px, max(smallest_px, largest_px)
    best = _set(words, width_px, low, weight)
    while low < high:
        middle = (low + high + 1) // 2
        attempt = _set(words, width_px, middle, weight)
        if attempt.height_px <= height_px:
            low, best = middle, attempt
        else:
            high = middle - 1
    return _cut(best, width_px, height_px, weight)


def shorten(text: str, width_px: int, size_px: int, weight: int = 400) -> str:
    """One line, cut with an ellipsis where it would be too long."""
    face = font(size_px, weight)
    if face.getlength(text) <= width_px:
        return text
    while text and face.getlength(text + ELLIPSIS) > width_px:
        text = text[:-1]
    return text.rstrip() + ELLIPSIS


def _set(words: list[str], width_px: int, size_px: int, weight: int) -> Setting:
    face = font(size_px, weight)
    space_px = face.getlength(" ")
    lengths_px = {word: face.getlength(word) for word in set(words)}
    lines: list[str] = []
    line: list[str] = []
    used_px = 0.0
    for word in words:
        for piece in [word] if lengths_px[word] <= width_px else _pieces(word, width_px, face):
            piece_px = lengths_px.get(piece) or face.getlength(piece)
            if line and used_px + space_px + piece_px > width_px:
                lines.append(" ".join(line))
                line, used_px = [], 0.0
            used_px += piece_px + (space_px if line else 0)
            line.append(piece)
    lines.append(" ".join(line))
    return Setting(tuple(lines), size_px, round(size_px * LINE_HEIGHT))


def _pieces(word: str, width_px: int, face: ImageFont.FreeTypeFont) -> list[str]:
    """A word that is wider than the box, in pieces that are not."""
    pieces: list[str] = []
    while face.getlength(word) > width_px and len(word) > 1:
        end = max(1, int(len(word) * width_px / face.getlength(word)))
        while end > 1 and face.getlength(word[:end]) > width_px:
            end -= 1
        pieces.append(word[:end])
        word = word[end:]
    return [*pieces, word]


def _cut(setting: Setting, width_px: int, height_px: int, weight: int) -> Setting:
    room = max(1, height_px // setting.line_px)
    if len(setting.lines) <= room:
        return setting
    last = shorten(setting.lines[room - 1] + ELLIPSIS * 2, width_px, setting.size_px, weight)
    return Setting((*setting.lines[: room - 1], last), setting.size_px, setting.line_px)
