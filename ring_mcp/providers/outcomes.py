"""What an answer other than a success means: tables of rows, read from the top. Each vendor has its own. Pure.

"Not billed" stands only where the vendor's own words say so. A page of a proxy, a redirect, an answer that nobody
knows: after a paid request these are lost replies, after a look they tell nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from ring_mcp.errors import Billed, ProviderError

ANY_STATUS = range(100, 1000)


class Form(Enum):
    """What the answer has to be for a row to be believed."""

    OWN = "the vendor's own JSON error"
    TEXT = "its own JSON error, or bare text with the row's words"
    ANY = "whatever it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer, as far as a table looks at it. ``codes`` are its own short words, ``text`` all it says; both small."""

    status: int
    is_own: bool = False
    is_html: bool = False
    codes: frozenset[str] = frozenset()
    text: str = ""
    has_bill: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``when`` it is said, in words for people, and what it then means.

    ``codes``: one of them is among the answer's own; ``words``: one of them is part of what it says; with both either
    will do. ``whole``: the word is all it says. ``unless``: words that make it something else after all.
    ``with_bill``: only if it carries a bill, which then tells what was billed, as it does in every row.
    """

    when: str
    statuses: Collection[int]
    error: type[ProviderError]
    billed: Billed
    source: str
    form: Form = Form.OWN
    codes: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    whole: bool = False
    with_bill: bool = False
    retryable: bool | None = None

    def is_for(self, said: Said) -> bool:
        if said.status not in self.statuses or (self.with_bill and not said.has_bill):
            return False
        # A page of HTML may quote any word: it is a proxy's, and never the vendor's own answer.
        if self.form is not Form.ANY and (said.is_html or (self.form is Form.OWN and not said.is_own)):
            return False
        if not (self.codes or self.words):
            return self.form is not Form.TEXT or said.is_own
        if any(word in said.text for word in self.unless):
            return False
        says = (said.text in self.words) if self.whole else any(word in said.text for word in self.words)
        return says or not self.codes.isdisjoint(said.codes)


def row_of(said: Said, table: Sequence[Row]) -> Row:
    """The first row that is for it. Every table ends with one that is for everything."""
    return next(row for row in table if row.is_for(said))
