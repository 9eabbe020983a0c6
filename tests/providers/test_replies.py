"""What is read from any provider's answer, within bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ring_mcp.providers.replies import one_line, text_of
from tests.providers.provider_samples import reply

ASKED = "https://api.x.test/v1/videos/r-1"
LONGEST = "https://h.test/".ljust(8192, "x")


@pytest.mark.parametrize("text", ["x", "x" * 1024])
def test_a_text_is_printable_and_at_most_a_thousand_characters(text: str) -> None:
    assert text_of(text) == text


@pytest.mark.parametrize("value", ["", "x" * 1025, "a\nb", 5, None, ["x"]])
def test_what_cannot_be_stored_and_sent_again_is_no_text(value: object) -> None:
    assert text_of(value) is None


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("http://h.test/a", "http://h.test/a"),
        ("/a", "https://api.x.test/a"),
        (LONGEST, LONGEST),
        (LONGEST + "x", None),
        ("/" + "x" * 8191, None),
        ("ftp://h.test/a", None),
        ("http:///a", None),
        ("http://[::1", None),
        ("", None),
        (5, None),
    ],
)
def test_an_address_is_one_of_the_web_and_of_bounded_length(said: object, address: str | None) -> None:
    assert replace(reply(200), url=ASKED).address(said) == address


@pytest.mark.parametrize(("blanks", "is_html"), [(50, True), (51, False)])
def test_a_page_is_known_by_the_beginning_of_its_first_bytes(blanks: int, is_html: bool) -> None:
    assert reply(200, " " * blanks + "<!DOCTYPE html>").is_html is is_html


def test_a_page_is_known_by_its_type_as_well() -> None:
    assert reply(200, "x", content_type="text/html").is_html
    assert not reply(200, "x", content_type="text/plain").is_html


def test_of_an_answer_its_beginning_is_quoted() -> None:
    assert reply(200, "x" * 1000).excerpt() == "x" * 280
    assert reply(200, b"caf\xe9").excerpt() == "caf\ufffd"


def test_of_a_text_that_begins_with_nothing_little_is_looked_at() -> None:
    assert one_line(" " * 79 + "xy", 10) == "x"
