"""Google's dialect of saying no, and of saying what it cost. Pure.

Facts: an error is ``{"error": {code, message, status, details}}``, sometimes inside a one-element array; ``code`` may
be a text. A wrong key is HTTP 400 with ``API_KEY_INVALID``; how long to wait stands in ``details``, not in a header. No
answer names an amount of money: it is the counted tokens at the list price. (google-genai 3.4, captured replies.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from ring_mcp.errors import (
    ContentRefused,
    CreditsExhausted,
    ProviderAuthError,
    ProviderBadReply,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.providers.http import Reply, one_line, retry_after_s

PROVIDER = "google"
_MILLION = Decimal(10) ** 6
_MOST_TOKENS = 10**9  # beyond it a figure is nonsense
_BAD_KEY = ("api_key_invalid", "api key")
_NO_CREDITS = ("credits are depleted", "spending cap", "billing account")
_UNSAFE = ("safety", "prohibited")


def tokens_of(value: Any) -> int:
    """A count of tokens; 0 for whatever is none."""
    sane = isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST_TOKENS
    return int(value) if sane else 0


def cost_usd(tokens: Mapping[str, int], prices: Mapping[str, Decimal]) -> Decimal | None:
    """The tokens at the list price; None if one kind has no price, or nothing was counted."""
    counted = {kind: count for kind, count in tokens.items() if count}
    if not counted or any(kind not in prices for kind in counted):
        return None
    return sum((prices[kind] * count for kind, count in counted.items()), Decimal(0)) / _MILLION


def text_of(value: Any) -> str | None:
    """A text that can be stored and sent again: printable and not empty; None for anything else."""
    return value if isinstance(value, str) and value and value.isprintable() else None


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects in what should be a list of them."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def error_body(reply: Reply) -> Mapping[str, Any]:
    """The ``error`` object, out of its array; empty if there is none."""
    body = reply.json
    first = body[0] if isinstance(body, list) and body else body
    error = mapping(first).get("error")
    return {"message": error} if isinstance(error, str) else mapping(error)


def error_text(reply: Reply) -> str:
    """What the provider said, as one short line; empty for HTML and for nothing."""
    error = error_body(reply)
    for text in (error.get("message"), error.get("status")):
        if isinstance(text, str) and text.strip():
            return one_line(text)
    return "" if reply.is_html or error else reply.excerpt()


def retry_delay_s(reply: Reply, now: datetime) -> float | None:
    """``RetryInfo.retryDelay`` ("41s") in seconds, else what a header says."""
    for detail in mappings(error_body(reply).get("details")):
        said = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)s", str(detail.get("retryDelay")))
        if said:
            return float(said[1])
    return retry_after_s(reply.headers, now)


def error_of(reply: Reply, now: datetime, *, what: str) -> ProviderError:  # noqa: PLR0911 - a decision list reads best
    """The error that a reply other than 2xx stands for. ``what`` names the attempt: "image generation".

    ``billed`` is "no" only where the reply shows that nothing was accepted.
    """
    status = reply.status
    error = error_body(reply)
    said = error_text(reply)
    reasons = " ".join(str(detail.get("reason")) for detail in mappings(error.get("details")))
    words = f"{error.get('status')} {error.get('code')} {reasons} {said}".lower()
    text = f"Google: {said}" if said else f"Google {what} failed ({status})"
    facts: dict[str, Any] = {"provider": PROVIDER, "http_status": status}

    if status in (401, 403) or (status == 400 and any(word in words for word in _BAD_KEY)):
        told = said or "no reason given"
        return ProviderAuthError(f"Google refused the key in GOOGLE_GENAI_API_KEY ({status}): {told}", **facts)
    if status == 400 and any(word in words for word in _UNSAFE):
        return ContentRefused(text, **facts)
    if status == 402 or (status == 429 and any(word in words for word in _NO_CREDITS)):
        return CreditsExhausted(text, **facts)
    if status == 429:
        return RateLimited(text, retry_after_s=retry_delay_s(reply, now), **facts)
    if status >= 500 or status == 408:
        return ProviderUnavailable(text, **facts)
    if 400 <= status < 500:
        return ProviderRejected(text, **facts)
    return ProviderBadReply(f"Google answered {what} with an unexpected status {status}", **facts)
