"""What is wrong with a value, in words that its sender can act upon. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS: Mapping[str, str] = {
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "too_long": "may have {max_length} items at most",
    "too_short": "may not be empty; leave it out if it is not meant",
    "string_type": "must be text",
    "string_unicode": "must be valid Unicode text",
    "string_too_long": "may have {max_length} characters at most",
    "string_too_short": "may not be empty",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number that is not so large",
    "int_from_float": "must be a whole number, without a fraction",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "url_type": "must be an address like https://example.org",
    "url_parsing": "must be an address like https://example.org",
    "url_scheme": "must be an address that begins with http:// or https://",
    "datetime_parsing": "must be a date and time like 2026-11-21T08:00:00Z",
    "datetime_from_date_parsing": "must be a date and time like 2026-11-21T08:00:00Z",
    "literal_error": "must be one of {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}
"""By pydantic's name of the fault, in place of its own text, which speaks of inputs and parsing."""


def say(error: Mapping[str, Any]) -> str:
    """The sentence for one of pydantic's errors, without the place that it is about."""
    words = _WORDS.get(error["type"])
    if words is None:
        return str(error["msg"]).removeprefix("Value error, ")
    facts = {name: _number(fact) for name, fact in error.get("ctx", {}).items()}
    return words.format_map(facts)


def _number(fact: object) -> object:
    """3600 for 3600.0: a limit is written as people write it."""
    return f"{fact:g}" if isinstance(fact, float) else fact
