"""Texts that are longer than anything meant: told as that, before anything looks at each of their characters."""

from __future__ import annotations

import time

import pytest

from ring_mcp.domain.choices import as_ratio, choose
from ring_mcp.domain.fields import sendable


def test_what_is_longer_than_any_choice_is_none() -> None:
    assert choose("d r a f t", ("draft",)) == "draft"
    assert choose("draft" + " " * 1_000, ("draft",)) is None
    assert as_ratio(" 16 x 9 ") == "16:9"
    assert as_ratio("16 x 9" + " " * 1_000) == "16 x 9" + " " * 1_000


@pytest.mark.parametrize("odd", ["\x1b[31m", "\x07", "\u200b"])
def test_a_long_text_is_printable_or_refused_and_a_short_one_cleaned(odd: str) -> None:
    with pytest.raises(ValueError, match=r"100,\d+ characters"):
        sendable(odd + "A" * 100_001)
    assert sendable(f"{odd}short") in ("short", "\u200bshort")


@pytest.mark.parametrize("begins", ["\x9d", "\x9da", "\x1b]", "\x1b]a", "\x9b0", "\x1b["])
def test_orders_to_a_terminal_that_do_not_end_are_looked_through_once(begins: str) -> None:
    began_s = time.process_time()
    sendable(begins * (100_000 // len(begins)))
    assert time.process_time() - began_s < 0.5


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_files_bytes_stay_as_they_are_in_lines_or_not(end: str) -> None:
    encoded = f"{'A' * 76}{end}" * 2_000
    assert sendable(encoded) == encoded
