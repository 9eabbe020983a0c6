"""xAI's dialect of saying no: a reply that is not a success, as one error of the tree. Pure.

Facts: the body is flat ``{code, error}``, older and proxied ones nest or are plain text or HTML; codes have been
renamed, so status and words decide, never one exact code. A wrong key is HTTP 400; exhausted credits are a 429 (a 403
that speaks of them is one too); a moderated request answers 400 and carries the ``usage`` that was billed. 1 USD is
10,000,000,000 ticks. (xAI OpenAPI, autumn 2026, and captured replies.)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from ring_mcp.errors import (
    ContentRefused,
    CreditsExhausted,
    GenerationFailed,
    ProviderAuthError,
    ProviderBadReply,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.providers.http import Reply, one_line, retry_after_s
from ring_mcp.providers.xai.vendor import FILE_ID

PROVIDER = "xai"
_TICKS_PER_USD = Decimal(10) ** 10
_MOST_USD = Decimal(1_000_000)  # beyond it a figure is nonsense, and no longer fits a ledger column
_MODERATED = ("content-moderated", "content moderation", "moderation", "usage guidelines", "safety_check")
_BAD_KEY = ("api key",)
_NO_CREDITS = ("credits", "spending limit", "usage-exhausted")


def billed_usd(body: Any) -> Decimal | None:
    """``usage.cost_in_usd_ticks`` in dollars, wherever xAI puts it; None if it says nothing."""
    usage = _said(body, "usage")
    return usd_of(usage.get("cost_in_usd_ticks") if isinstance(usage, Mapping) else None)


def usd_of(ticks: Any) -> Decimal | None:
    """Ticks in dollars; None for what is no amount."""
    if isinstance(ticks, bool) or not isinstance(ticks, int | float | str):
        return None
    try:
        amount = Decimal(str(ticks)) / _TICKS_PER_USD
    except ArithmeticError:
        return None
    return amount if amount.is_finite() and 0 <= amount <= _MOST_USD else None


def text_of(value: Any) -> str | None:
    """A text that can be stored and sent again: printable and not empty; None for anything else."""
    return value if isinstance(value, str) and value and value.isprintable() else None


def source(reference: str) -> dict[str, str]:
    """A picture or clip that goes along with a request."""
    return {"file_id": reference} if FILE_ID.fullmatch(reference) else {"url": reference}


def _said(body: Any, name: str) -> Any:
    """``body[name]``, or the one that is nested in ``error``."""
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    return body.get(name) or (error.get(name) if isinstance(error, Mapping) else None)


def progress_of(body: Any) -> int | None:
    """The provider's own 0 to 99, if it says one."""
    value = body.get("progress") if isinstance(body, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        return None
    return int(min(99, max(0, value)))


def failed_job(body: Mapping[str, Any], what: str) -> ProviderError:
    """A job that xAI reports as failed: in the body of a success, so that pollers do not storm."""
    error = body.get("error")
    code, message = (error.get("code"), error.get("message")) if isinstance(error, Mapping) else (None, error)
    said = one_line(": ".join(part for part in (code, message) if isinstance(part, str) and part)) or "no reason given"
    text, cost = f"xAI {what} failed: {said}", billed_usd(body)
    if any(word in said.lower() for word in _MODERATED):
        return ContentRefused(text, provider=PROVIDER, billed_usd=cost)
    return GenerationFailed(text, provider=PROVIDER, billed_usd=cost)


def error_text(reply: Reply) -> str:
    """What the provider said, as one short line; empty for HTML and for nothing."""
    body = reply.json
    if isinstance(body, Mapping):
        for text in (body.get("error"), _said(body, "message"), _said(body, "code")):
            if isinstance(text, str) and text.strip():
                return one_line(text)
    return "" if reply.is_html else reply.excerpt()


def error_of(reply: Reply, now: datetime, *, what: str) -> ProviderError:  # noqa: PLR0911 - a decision list reads best
    """The error that a reply other than 2xx stands for. ``what`` names the attempt: "image generation".

    ``billed`` is "no" only where the reply shows that nothing was accepted, "yes" where it carries a bill.
    """
    status = reply.status
    said = error_text(reply)
    body = reply.json
    code = text_of(_said(body, "code")) or ""
    words = f"{code} {said}".lower()
    text = f"xAI: {said}" if said else f"xAI {what} failed ({status})"
    facts: dict[str, Any] = {"provider": PROVIDER, "http_status": status, "billed_usd": billed_usd(body)}
    refusing = status in (400, 403) and any(word in words for word in _MODERATED)

    if refusing:
        return ContentRefused(text, **facts)
    if status == 402 or (status in (403, 429) and any(word in words for word in _NO_CREDITS)):
        return CreditsExhausted(text, **facts)
    if status in (401, 403) or (status == 400 and any(word in words for word in _BAD_KEY)):
        return ProviderAuthError(f"xAI refused the key in XAI_API_KEY ({status}): {said or 'no reason given'}", **facts)
    if status == 429:
        return RateLimited(text, retry_after_s=retry_after_s(reply.headers, now), **facts)
    if status >= 500 or status == 408:
        return ProviderUnavailable(text, **facts)
    if 400 <= status < 500:
        return ProviderRejected(text, **facts)
    return ProviderBadReply(f"xAI answered {what} with an unexpected status {status}", **facts)


def poll_error_of(reply: Reply, now: datetime, *, what: str) -> ProviderError:
    """As ``error_of``, for a look at a job that was accepted: a look that fails tells nothing of the job's bill."""
    error = error_of(reply, now, what=what)
    if error.billed_usd is None:
        error.billed = "unknown"
    return error
