"""Words for a picture: which font has them, where their lines break, where they are cut.

Noto Sans (Latin, Greek, Cyrillic) comes with its own package, so that every machine draws alike. Whatever no font has
is left out and named, in place of boxes.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL import ImageFont

MAX_CHARS = 500
"""More than this is never legible on a thumbnail; it bounds the time that a text can take."""

_MAX_BALANCED_LINES = 4
_EVEN_PX = 12
# It is never assigned: what a font draws for it is what it draws for everything that it lacks.
_NO_CHARACTER = "\U0010ffff"
_JOINERS = "\u200c\u200d"
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn")
_MARKS = ("Mn", "Me")
# Languages need two or three on a letter; heaps of them reach over the whole picture.
_MAX_MARKS = 3
_JOINED = re.compile("[\u0590-\u1cff\ua840-\uabff]")
_RIGHT_TO_LEFT = ("R", "AL")
# Chinese and Japanese break between any two characters, the rest at blanks.
_BREAKABLE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_TOKEN = re.compile(f"\n| ?[{_BREAKABLE}]| ?[^ \n{_BREAKABLE}]+")

Layout = Literal["simple", "ltr", "rtl"]
"""Simple scripts are laid out by Pillow itself, alike on every machine; the others need raqm, and their direction."""
Ruler = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Wording:
    """A text that ``font`` has every glyph for; ``missing`` are the characters that were left out."""

    text: str
    font: Path
    missing: tuple[str, ...]
    is_cut: bool

    @property
    def layout(self) -> Layout:
        """Whether letters are joined or change places, and then the direction of the first that has one."""
        kinds = [unicodedata.bidirectional(character) for character in self.text]
        has_right_to_left = any(kind in _RIGHT_TO_LEFT for kind in kinds)
        if not has_right_to_left and not _JOINED.search(self.text):
            return "simple"
        strong = (kind for kind in kinds if kind in ("L", *_RIGHT_TO_LEFT))
        return "rtl" if next(strong, "L") in _RIGHT_TO_LEFT else "ltr"


@dataclass(frozen=True, slots=True)
class Lines:
    """A text broken into lines at one size. ``size_px`` is the font's; the baselines are ``line_px`` apart."""

    lines: tuple[str, ...]
    font: Path
    size_px: int
    weight: int
    layout: Layout

    def face(self) -> ImageFont.FreeTypeFont:
        return face(self.font, self.size_px, self.weight, self.layout)

    @property
    def line_px(self) -> int:
        return round(self.size_px * 1.22)

    @property
    def ascent_px(self) -> int:
        return self.face().getmetrics()[0]

    @property
    def height_px(self) -> int:
        if not self.lines:
            return 0
        return sum(self.face().getmetrics()) + self.line_px * (len(self.lines) - 1)

    def width_px(self, text: str) -> float:
        """The wider of what the pen moves and what is inked."""
        used, options = self.face(), laid_out(self.layout)
        left, _, right, _ = used.getbbox(text, anchor="ls", **options)
        return max(used.getlength(text, **options), right) - min(0.0, left)

    def cut(self, room: int, width_px: int) -> Lines:
        """At most ``room`` lines; the last one ends in an ellipsis where something is missing."""
        if len(self.lines) <= room:
            return self
        dots, last = _dots(self.font), self.lines[room - 1]
        while last and self.width_px(last.rstrip() + dots) > width_px:
            last = last[:-1]
        return replace(self, lines=(*self.lines[: room - 1], last.rstrip() + dots))


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


def has_raqm() -> bool:
    """Whether this Pillow can lay out scripts that are not simple."""
    from PIL import features

    return bool(features.check("raqm"))


def laid_out(layout: Layout) -> dict[str, Any]:
    """What Pillow's text functions take for a layout; without raqm they take no direction."""
    return {"direction": layout} if layout != "simple" and has_raqm() else {}


@functools.lru_cache(maxsize=64)
def face(path: Path, size_px: int, weight: int, layout: Layout) -> ImageFont.FreeTypeFont:
    """A font at a size; the weight counts for variable fonts alone. Raises OSError."""
    from PIL import ImageFont

    engine = ImageFont.Layout.BASIC if layout == "simple" or not has_raqm() else ImageFont.Layout.RAQM
    loaded = ImageFont.truetype(str(path), size_px, layout_engine=engine)
    try:
        axes = loaded.get_variation_axes()
    except OSError:  # not a variable font
        return loaded
    values = [weight if axis["name"] in (b"Weight", "Weight") else axis["default"] for axis in axes]
    loaded.set_variation_by_axes([float(value or 0) for value in values])
    return loaded


def word(text: str, fonts: Sequence[Path]) -> Wording:
    """The text as the font that has most of it can draw it; the first of ``fonts`` if several have as much."""
    cleaned = _clean(text)
    wanted = set(cleaned) - set(_JOINERS + "\n ")
    font = min(fonts, key=lambda path: sum(not has_glyph(path, character) for character in wanted))
    missing = {character for character in wanted if not has_glyph(font, character)}
    kept = "".join(character for character in cleaned[:MAX_CHARS] if character not in missing)
    if missing or not wanted:
        kept = _clean(kept.translate(dict.fromkeys(map(ord, _JOINERS))))
    if len(cleaned) > MAX_CHARS:
        kept += _dots(font)
    named = tuple(character for character in dict.fromkeys(cleaned) if character in missing and not _is_mark(character))
    return Wording(kept, font, named, is_cut=len(cleaned) > MAX_CHARS)


def _dots(font: Path) -> str:
    return "…" if has_glyph(font, "…") else "..."


def _clean(text: str) -> str:
    """Composed, without control characters and heaps of accents; one blank between words, no empty lines."""
    kept: list[str] = []
    marks = 0
    # Composed, for a font often has a letter with its accent and not the accent by itself.
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
    # Pillow has no way to ask a font what it has, so that the drawing is compared with that of nothing.
    return _draw(path, character) != _draw(path, _NO_CHARACTER)


@functools.lru_cache(maxsize=1024)
def _draw(path: Path, character: str) -> bytes:
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
    size_px = max(size_px, smallest_px)
    while True:
        ruler = functools.partial(_advance_px, wording.font, size_px, weight, wording.layout)
        room_px = width_px - size_px // 8  # letters may reach a little beyond their own width
        longest_px = max((ruler(token.lstrip()) for token in tokens), default=0.0)
        if longest_px <= room_px or size_px <= smallest_px:
            break
        size_px = max(smallest_px, min(size_px - 1, int(size_px * room_px / longest_px)))
    lines = _break_lines(tokens, room_px, ruler)
    if 1 < len(lines) <= _MAX_BALANCED_LINES:
        lines = _balance_lines(tokens, lines, max(int(longest_px) + 1, room_px // 2), room_px, ruler)
    broken = Lines(tuple(lines), wording.font, size_px, weight, wording.layout)
    if any(map(_is_mark, wording.text)):  # accents may reach far beyond their letter, which words do not tell
        widest_px = max(map(broken.width_px, lines), default=0.0)
        if widest_px > width_px:
            room_px -= max(2 * size_px, int(widest_px) - width_px)
            broken = replace(broken, lines=tuple(_break_lines(tokens, room_px, ruler)))
    return broken


def _break_lines(tokens: list[str], width_px: int, ruler: Ruler) -> list[str]:
    lines, used_px = [""], 0.0
    for part in tokens:
        if part == "\n":
            lines.append("")
            continue
        used_px = used_px + ruler(part) if lines[-1] else ruler(part.lstrip())
        if lines[-1] and used_px <= width_px:
            lines[-1] += part
            continue
        lines += _pieces(part.lstrip(), width_px, ruler)
        used_px = ruler(lines[-1])
    return [line for line in lines if line]


def _pieces(word: str, width_px: int, ruler: Ruler) -> list[str]:
    """A word in pieces that fit into a line, mostly one; an accent stays with its letter."""
    if ruler(word) <= width_px:
        return [word]
    pieces, used_px = [""], 0.0
    for character in word:
        used_px += ruler(character)
        if pieces[-1] and used_px > width_px and not _is_mark(character):
            pieces.append("")
            used_px = ruler(character)
        pieces[-1] += character
    return pieces


def _balance_lines(tokens: list[str], lines: list[str], low: int, high: int, ruler: Ruler) -> list[str]:
    """As many lines, as even as can be: no single word is left over on the last one. ``low``: a word fits in it."""
    while high - low > _EVEN_PX:
        middle = (low + high) // 2
        attempt = _break_lines(tokens, middle, ruler)
        if len(attempt) <= len(lines):
            high, lines = middle, attempt
        else:
            low = middle
    return lines


@functools.lru_cache(maxsize=16_384)
def _advance_px(font: Path, size_px: int, weight: int, layout: Layout, text: str) -> float:
    """How far a word moves the pen. Lines are added up from words: measured whole they take much longer."""
    return face(font, size_px, weight, layout).getlength(text, **laid_out(layout))
