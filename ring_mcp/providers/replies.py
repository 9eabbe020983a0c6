"""Replies of providers, and what is read from them: text, addresses and pauses, each within bounds. Pure."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from ring_mcp.masking import NOTHING, Masking

MAX_PAUSE_S = 60.0
"""The longest pause that a provider is believed: whoever waits longer has forgotten why."""

MAX_TEXT_CHARS = 1024
"""Of a job's handle, the name of a model, a type: longer is none."""

MAX_URL_CHARS = 8192
_MAX_MESSAGE_CHARS = 280


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A whole answer. ``body`` is what was received, ``json`` its value or None if it is not JSON.

    ``url`` is what was asked: an address in the answer may be relative to it. ``masking`` hides the key in whatever is
    read here.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""
    masking: Masking = NOTHING

    @functools.cached_property
    def json(self) -> Any:
        try:
            # Masked as values and not as bytes: an escape of JSON inside a key would hide it there.
            return self.masking.value(json.loads(self.body))
        # A few kilobytes of brackets are nested too deeply for the parser.
        except (ValueError, RecursionError):
            return None

    @property
    def is_html(self) -> bool:
        return "html" in self.headers.get("content-type", "") or self.body[:64].lstrip().lower().startswith(
            (b"<!doctype html", b"<html")
        )

    def excerpt(self) -> str:
        """The body as one short line."""
        # Cut first, as a body may have 96 MB, and far behind what is shown: a key that is cut in two is not masked.
        return one_line(self.masking.text(self.body[: 16 * _MAX_MESSAGE_CHARS].decode("utf-8", "replace")))

    def address(self, value: Any) -> str | None:
        """A place that the answer names, as an absolute http(s) address; None for whatever is none."""
        text = text_of(value, MAX_URL_CHARS)
        if text is None:
            return None
        try:
            url = urljoin(self.url, text)
            parts = urlsplit(url)
            is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and len(url) <= MAX_URL_CHARS
        except ValueError:
            return None
        return url if is_one else None


def one_line(text: str, limit: int = _MAX_MESSAGE_CHARS) -> str:
    """Foreign text made fit to be shown, logged and stored: printable, on one line, short."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * limit]).split())[:limit]


def text_of(value: Any, limit: int = MAX_TEXT_CHARS) -> str | None:
    """A text that can be stored and sent again: printable, not empty, at most so long; else None."""
    return value if isinstance(value, str) and 0 < len(value) <= limit and value.isprintable() else None


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects in what should be a list of them."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """The Retry-After header in seconds from ``now``, given as seconds or as a date; None if there is none."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    # float() reads "nan" and "inf" as well.
    return bound_retry_s(seconds) if math.isfinite(seconds) else None


def bound_retry_s(seconds: float) -> float:
    """A pause that a provider asks for, as far as it is believed."""
    return min(max(0.0, seconds), MAX_PAUSE_S)
