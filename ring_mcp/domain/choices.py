"""Choices as people and models spell them: ``Draft``, `` Model-Id ``, ``16x9``. Pure."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable

_RATIO = re.compile(r"(\d{1,4}(?:\.\d{1,4})?) ?(?:[:x*/×∶_-]|by|to) ?(\d{1,4}(?:\.\d{1,4})?)", re.ASCII)

_UNSEEN = (
    (0x1C, 0x1F), (0x85, 0x85), (0xA0, 0xA0), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160),
    (0x1680, 0x1680), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x206F),
    (0x2800, 0x2800), (0x3000, 0x3000), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
    (0xFFF9, 0xFFFC), (0xE0000, 0xE007F),
)  # fmt: skip
"""Unicode's white space, what it lets a font ignore, letters that are blank, and the place of something left out."""

EDGES = string.whitespace + "".join(chr(code) for first, last in _UNSEEN for code in range(first, last + 1))
"""Blanks of every kind, those without a width included: copying leaves them around what was meant."""

QUOTES = "\"'`“”‘’" + EDGES
"""JSON in JSON leaves its own round a choice, and so does Markdown."""

LINE_ENDS = re.compile(r"[\x85\u2028\u2029]")
"""Those beside CR and LF. Clients that cut an event stream with Python's splitlines lose the answer that has one."""

_MAX_CHARS = 1_000
"""No choice is so long: what is longer is none, and not looked at."""

_SHORTEST_PART = 3

_SIGNED = re.compile(r"(?:\A|[^\w\s])-\d")
"""A number below nothing, which is no choice: without its sign it would be another one."""


def strip_edges(text: str) -> str:
    """``text`` without blanks of any kind around it, in one normal form: what looks the same is the same key."""
    return unicodedata.normalize("NFC", text.strip(EDGES))


class Spellings:
    """The allowed values, each folded once, for code that chooses often."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = dict.fromkeys(allowed)
        self._folded: dict[str, list[str]] = {}
        for each in self.allowed:
            self._folded.setdefault(_fold(each), []).append(each)

    def choose(self, value: str) -> str | None:
        """The one that ``value`` means, ignoring case, blanks, ``-`` and ``_``; None if there is none."""
        if value in self.allowed:
            return value
        if len(value) > _MAX_CHARS:
            return None
        folded = _fold(value)
        if not folded:
            return None
        found = self._folded.get(folded, [])
        if not found and folded.isdecimal():
            # "720" is a size as well, where no other one has that number.
            found = self._folded.get(f"{folded}p", [])
        # Two that look the same once folded are not guessed between: each may have another price.
        return found[0] if len(found) == 1 else None


def choose(value: str, allowed: Iterable[str]) -> str | None:
    """As ``Spellings.choose``, for a single choice."""
    allowed = tuple(allowed)
    return value if value in allowed else Spellings(allowed).choose(value)


def choose_part(value: str, allowed: Iterable[str]) -> tuple[str, ...]:
    """Those of ``allowed`` whose names contain ``value``, of at least three characters, in any spelling."""
    folded = _fold(value) if len(value) <= _MAX_CHARS else ""
    return tuple(each for each in allowed if folded in _fold(each)) if len(folded) >= _SHORTEST_PART else ()


def as_ratio(value: str) -> str:
    """``16x9``, ``16 / 9`` and the like as ``16:9``; anything else stripped."""
    if len(value) > _MAX_CHARS:
        return value
    plain = " ".join(unicodedata.normalize("NFKC", value).lower().strip(QUOTES).split())
    found = _RATIO.fullmatch(plain)
    return ":".join(re.sub(r"\.0+$", "", side) for side in found.groups()) if found else value.strip(EDGES)


def _fold(text: str) -> str:
    # NFKC: keyboards of other scripts have wide letters and digits of their own.
    plain = unicodedata.normalize("NFKC", text).casefold().strip(QUOTES)
    return plain if _SIGNED.search(plain) else re.sub(r"[\s_-]+", "", plain)
