"""Words for a picture: which font has them, where their lines break, where they are cut.

Noto Sans (Latin, Greek, Cyrillic) comes with its own package, so that every machine draws alike. Whatever no font has
is left out and named, in place of boxes.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL import ImageFont

MAX_CHARS = 1000
"""More than this is never legible on a thumbnail; it bounds the time that a text can take."""

_MAX_BALANCED_LINES = 4
_NO_CHARACTER = "\U0010ffff"
_JOINERS = "\u200c\u200d"
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn")
_MARKS = ("Mn", "Me")
_MAX_MARKS = 3
_RIGHT_TO_LEFT = ("R", "AL")
# Chinese and Japanese break between any two characters, the rest at blanks.
_BREAKABLE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_TOKEN = re.compile(f"\n| ?[{_BREAKABLE}]| ?[^ \n{_BREAKABLE}]+")

Direction = Literal["ltr", "rtl"]


@dataclass(frozen=True, slots=True)
class Wording:
    """A text that ``font`` has every glyph for; ``missing`` are the characters that were left out."""

    text: str
    font: Path
    missing: tuple[str, ...]
    is_cut: bool

    @property
    def direction(self) -> Direction:
        """That of the first character that has one."""
        strong = (c for c in map(unicodedata.bidirectional, self.text) if c in ("L", *_RIGHT_TO_LEFT))
        return "rtl" if next(strong, "L") in _RIGHT_TO_LEFT else "ltr"

    @property
    def is_bidirectional(self) -> bool:
        return any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in self.text)


@dataclass(frozen=True, slots=True)
class Lines:
    """A text broken into lines at one size. ``size_px`` is the font's; the baselines are ``line_px`` apart."""

    lines: tuple[str, ...]
    font: Path
    size_px: int
    weight: int
    direction: Direction

    @property
    def line_px(self) -> int:
        return round(self.size_px * 1.22)

    @property
    def ascent_px(self) -> int:
        return face(self.font, self.size_px, self.weight).getmetrics()[0]

    @property
    def height_px(self) -> int:
        if not self.lines:
            return 0
        return sum(face(self.font, self.size_px, self.weight).getmetrics()) + self.line_px * (len(self.lines) - 1)

    def width_px(self, text: str) -> float:
        return _width_px(text, face(self.font, self.size_px, self.weight), self.direction)

    def cut(self, room: int, width_px: int) -> Lines:
        """At most ``room`` lines; the last one ends in an ellipsis where something is missing."""
        if len(self.lines) <= room:
            return self
        dots, last = _dots(self.font), self.lines[room - 1]
        while last and self.width_px(last + dots) > width_px:
            last = last[:-1]
        return Lines(
            (*self.lines[: room - 1], last.rstrip() + dots), self.font, self.size_px, self.weight, self.direction
        )


def own_font() -> Path:
    import fontpkg_noto_sans

    return Path(fontpkg_noto_sans.ROOT) / "files" / "NotoSans[wdth,wght].ttf"


def is_font(path: Path) -> bool:
    from PIL import ImageFont

    try:
        ImageFont.truetype(str(path), 16)
    except OSError:
        return False
    return True


def knows_directions() -> bool:
    """Whether this Pillow can lay out text from right to left."""
    from PIL import features

    return bool(features.check("raqm"))


def laid_out(direction: Direction) -> dict[str, Any]:
    """What Pillow's text functions take for a direction; without raqm they take none."""
    return {"direction": direction} if knows_directions() else {}


@functools.lru_cache(maxsize=64)
def face(path: Path, size_px: int, weight: int = 400) -> ImageFont.FreeTypeFont:
    """A font at a size; the weight counts for variable fonts alone. Raises OSError."""
    from PIL import ImageFont

    loaded = ImageFont.truetype(str(path), size_px)
    try:
        axes = loaded.get_variation_axes()
    except OSError:  # not a variable font
        return loaded
    values = [weight if axis["name"] in (b"Weight", "Weight") else axis["default"] for axis in axes]
    loaded.set_variation_by_axes([float(value or 0) for value in values])
    return loaded


def word(text: str, fonts: Sequence[Path]) -> Wording:
    """The text as the font that has most of it can draw it; the first of ``fonts`` if several have as much."""
    cleaned = _cleaned(text)
    wanted = set(cleaned) - set(_JOINERS + "\n ")
    font = min(fonts, key=lambda path: sum(not has_glyph(path, character) for character in wanted))
    missing = {character for character in wanted if not has_glyph(font, character)}
    kept = "".join(character for character in cleaned[:MAX_CHARS] if character not in missing)
    if missing or not wanted:
        kept = _cleaned(kept.translate(dict.fromkeys(map(ord, _JOINERS))))
    if len(cleaned) > MAX_CHARS:
        kept += _dots(font)
    named = tuple(character for character in dict.fromkeys(cleaned) if character in missing and not _is_mark(character))
    return Wording(kept, font, named, is_cut=len(cleaned) > MAX_CHARS)


def _dots(font: Path) -> str:
    return "…" if has_glyph(font, "…") else "..."


def _cleaned(text: str) -> str:
    """Composed, without control characters and heaps of accents; one blank between words, no empty lines."""
    kept: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", text):
        marks = marks + 1 if _is_mark(character) else 0
        if character.isspace() or (
            marks <= _MAX_MARKS and (character in _JOINERS or unicodedata.category(character) not in _INVISIBLE)
        ):
            kept.append(character)
    lines = (" ".join(line.split()) for line in "".join(kept).splitlines())
    return "\n".join(line for line in lines if line)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in _MARKS


@functools.lru_cache(maxsize=8192)
def has_glyph(path: Path, character: str) -> bool:
    return _drawn(path, character) != _drawn(path, _NO_CHARACTER)


@functools.lru_cache(maxsize=1024)
def _drawn(path: Path, character: str) -> bytes:
    """What the font draws for one character by itself: pixels, and how far it moves the pen."""
    from PIL import Image, ImageDraw, ImageFont

    plain = ImageFont.truetype(str(path), 24, layout_engine=ImageFont.Layout.BASIC)
    picture = Image.new("L", (64, 64))
    ImageDraw.Draw(picture).text((16, 40), character, fill=255, font=plain, anchor="ls")
    return picture.tobytes() + str(plain.getlength(character)).encode()


def break_lines(wording: Wording, width_px: int, size_px: int, weight: int, *, smallest_px: int) -> Lines:
    """The text in lines of at most ``width_px``.

    Smaller, down to ``smallest_px``, where a word would not fit into a line; broken inside a word only then.
    """
    tokens = _TOKEN.findall(wording.text)
    direction = wording.direction
    size_px = max(size_px, smallest_px)
    while True:
        used = face(wording.font, size_px, weight)
        longest_px = max((_width_px(token.strip(), used, direction) for token in set(tokens)), default=0)
        if longest_px <= width_px or size_px <= smallest_px:
            break
        size_px = max(smallest_px, min(size_px - 1, int(size_px * width_px / longest_px)))
    lines = _broken(tokens, width_px, used, direction)
    if 1 < len(lines) <= _MAX_BALANCED_LINES:
        lines = _balanced(tokens, lines, max(int(longest_px) + 1, width_px // 2), width_px, used, direction)
    return Lines(tuple(lines), wording.font, size_px, weight, direction)


def _broken(tokens: list[str], width_px: int, used: ImageFont.FreeTypeFont, direction: Direction) -> list[str]:
    lines: list[str] = []
    line = ""
    for part in tokens:
        if part == "\n":
            lines.append(line)
            line = ""
        elif _width_px((line + part).lstrip(), used, direction) <= width_px:
            line = (line + part).lstrip()
        else:
            *full, line = [line, *_pieces(part.lstrip(), width_px, used, direction)]
            lines += full
    return [line for line in [*lines, line] if line]


def _pieces(word: str, width_px: int, used: ImageFont.FreeTypeFont, direction: Direction) -> list[str]:
    """A word that is wider than a line, in pieces that are not; an accent stays with its letter."""
    pieces = [""]
    for character in word:
        is_full = pieces[-1] and _width_px(pieces[-1] + character, used, direction) > width_px
        if is_full and not _is_mark(character):
            pieces.append("")
        pieces[-1] += character
    return pieces


def _balanced(
    tokens: list[str], lines: list[str], low: int, high: int, used: ImageFont.FreeTypeFont, direction: Direction
) -> list[str]:
    """As many lines, as even as can be: no single word is left over on the last one. ``low``: a word fits in it."""
    while high - low > used.size // 4:
        middle = (low + high) // 2
        attempt = _broken(tokens, middle, used, direction)
        if len(attempt) <= len(lines):
            high, lines = middle, attempt
        else:
            low = middle
    return lines


def _width_px(text: str, used: ImageFont.FreeTypeFont, direction: Direction) -> float:
    """The wider of what the pen moves and what is inked."""
    options = laid_out(direction)
    left, _, right, _ = used.getbbox(text, anchor="ls", **options)
    return max(used.getlength(text, **options), right) - min(0.0, left)
