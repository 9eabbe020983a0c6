"""A key in what others say: never shown, however it is spelled; and nothing else is touched."""

from __future__ import annotations

import html
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.masking import Masking

KEY = "xai-Ab3/+=.dEf_7890-zZ"
ESCAPED = "".join(f"\\u{ord(char):04X}" for char in KEY)
SPELLINGS = {
    "plain": KEY,
    "JSON escapes of all": ESCAPED,
    "JSON escapes of one": KEY.replace("A", "\\u0041"),
    "JSON in JSON": json.dumps(json.dumps({"key": ESCAPED})),
    "a slash": KEY.replace("/", "\\/"),
    "an address": quote(KEY, safe=""),
    "an address, all of it": "".join(f"%{ord(char):02x}" for char in KEY),
    "an address in an address": quote(quote(KEY, safe=""), safe=""),
    "HTML": html.escape(KEY),
    "HTML numbers": "".join(f"&#{ord(char)};" for char in KEY),
    "HTML hexadecimal": "".join(f"&#X{ord(char):X};" for char in KEY),
    "of a language": "".join(f"\\x{ord(char):02x}" for char in KEY),
}


def decoded(text: str) -> str:
    """What a reader could make of it."""
    for _ in range(4):
        text = html.unescape(text)
        for char in KEY:
            for form in (f"\\u{ord(char):04X}", f"\\u{ord(char):04x}", f"\\x{ord(char):02x}"):
                text = text.replace(form, char)
            text = text.replace(f"%{ord(char):02x}", char).replace(f"%{ord(char):02X}", char).replace("%25", "%")
        text = text.replace("\\/", "/").replace("\\", "")
    return text


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
def test_a_key_is_hidden_in_every_spelling(spelled: str) -> None:
    said = f"Incorrect key {spelled} given"
    assert KEY in decoded(said)
    shown = Masking([KEY]).text(said)
    assert KEY not in decoded(shown)
    assert shown.startswith("Incorrect key ")
    assert shown.endswith(" given")


@pytest.mark.parametrize("piece", ["\\", "\\u00", "%25", "&amp;", "&#0", "x\\", "xai-\\\\"])
def test_a_text_of_escapes_alone_is_read_in_no_time(piece: str) -> None:
    masking = Masking([KEY, "another-key-of-some-length", "AIza-and-a-third-one"])
    said = piece * (16_000 // len(piece))
    began_s = time.process_time()
    assert masking.text(said) == said
    assert time.process_time() - began_s < 1


def test_names_lists_and_parts_of_a_key_are_hidden() -> None:
    value = {"a": [{KEY: 1}, ["x", KEY, None, 2.5]], "b": "dEf_7890-zZ"}
    assert Masking([KEY]).value(value) == {"a": [{"***": 1}, ["x", "***", None, 2.5]], "b": "***"}


def test_what_is_too_short_for_a_key_is_left() -> None:
    assert Masking(["", "key", "a.b.c"]).value({"key": "a.b.c"}) == {"key": "a.b.c"}


@given(
    st.text(max_size=200),
    st.text("abcXYZ019./+=_-&%;#\\", min_size=8, max_size=40).filter(lambda key: key == key.strip()),
)
def test_any_key_is_hidden_in_any_text(text: str, key: str) -> None:
    for said in (f"{text}{key}{text}", f"{key}{key}", key):
        assert key not in Masking([key]).text(said)
    assert Masking([key]).text("a sentence (with nothing in it)") == "a sentence (with nothing in it)"
