"""Google's dialect: what an answer says, what it means by the tables of ``outcomes``, and what it cost. Pure.

Facts: an error is ``{"error": {code, message, status, details}}``, sometimes inside a one-element array; of the
Interactions API ``code`` is a word and there is no status. How long to wait stands in ``details``, not in a header. No
answer names an amount of money: it is the counted tokens at the list price. (google-genai 3.4, captured replies.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from ring_mcp.errors import ProviderAuthError, ProviderError, RateLimited
from ring_mcp.providers.google.outcomes import FREE, LOOK, PAID
from ring_mcp.providers.outcomes import Row, Said, row_of
from ring_mcp.providers.replies import Reply, bound_retry_s, mapping, mappings, one_line, retry_after_s

PROVIDER = "google"
_MILLION = Decimal(10) ** 6
_MOST_TOKENS = 10**9  # beyond it a figure is nonsense


def tokens_of(value: Any) -> int:
    """A count of tokens; 0 for whatever is none."""
    sane = isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST_TOKENS
    return int(value) if sane else 0


def cost_usd(tokens: Mapping[str, int], prices: Mapping[str, Decimal]) -> Decimal | None:
    """The tokens at the list price; None if one kind has no price, or nothing was counted."""
    counted = {kind: count for kind, count in tokens.items() if count}
    # A sum that lacks one of its parts would be told as the bill.
    if not counted or any(kind not in prices for kind in counted):
        return None
    return sum((prices[kind] * count for kind, count in counted.items()), Decimal(0)) / _MILLION


def error_body(reply: Reply) -> Mapping[str, Any]:
    """The ``error`` object, out of its array; empty if there is none."""
    body = reply.json
    # Google's front end wraps its errors in an array (provider reference 3.3).
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
            return bound_retry_s(float(said[1]))
    return retry_after_s(reply.headers, now)


def read_paid_error(reply: Reply, now: datetime, *, what: str) -> ProviderError:
    """The error that a reply other than 2xx to a paid request stands for. ``what`` names it: "image generation"."""
    return _error_of(reply, now, what, PAID)


def read_look_error(reply: Reply, now: datetime, *, what: str) -> ProviderError:
    """As ``read_paid_error``, for a look at a job that was accepted."""
    return _error_of(reply, now, what, LOOK)


def read_error(reply: Reply, now: datetime, *, what: str) -> ProviderError:
    """As ``read_paid_error``, for a request that has nothing to do with a job."""
    return _error_of(reply, now, what, FREE)


def read_words(reply: Reply) -> Said:
    """The answer as the tables look at it."""
    error = error_body(reply)
    codes = frozenset(code.lower() for code in _codes(error) if isinstance(code, str))
    return Said(
        status=reply.status,
        # A message alone is what any proxy writes; Google's own errors have a word or a number with it.
        is_own=isinstance(error.get("message"), str) and bool(error.get("status") or error.get("code")),
        is_html=reply.is_html,
        codes=codes,
        text=f"{' '.join(sorted(codes))} {error_text(reply)}".strip().lower(),
    )


def _codes(error: Mapping[str, Any]) -> Iterator[Any]:
    """Its own short words, and what its details name as the reason."""
    yield from (error.get("status"), error.get("code"))
    for detail in mappings(error.get("details")):
        yield detail.get("reason")
        yield from (violation.get("quotaId") for violation in mappings(detail.get("violations")))


def _error_of(reply: Reply, now: datetime, what: str, table: Sequence[Row]) -> ProviderError:
    row, said = row_of(read_words(reply), table), error_text(reply)
    text = f"Google: {said}" if said else f"Google {what} failed ({reply.status})"
    facts: dict[str, Any] = {
        "provider": PROVIDER,
        "http_status": reply.status,
        "billed": row.billed,
        "retryable": row.retryable,
    }
    if row.error is ProviderAuthError:
        text = f"Google refused the key in GOOGLE_GENAI_API_KEY ({reply.status}): {said or 'no reason given'}"
    if row.error is RateLimited:
        return RateLimited(text, retry_after_s=retry_delay_s(reply, now), **facts)
    return row.error(text, **facts)
