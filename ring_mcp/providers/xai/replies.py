"""xAI's dialect: what an answer says, and what it means by the tables of ``outcomes``. Pure.

Facts: the body is flat ``{code, error}``, older and proxied ones nest or are plain text or HTML. A moderated request
answers 400 and carries the ``usage`` that was billed. 1 USD is 10,000,000,000 ticks. (xAI OpenAPI, autumn 2026, and
captured replies.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from ring_mcp.domain import MediaKind
from ring_mcp.errors import (
    ContentRefused,
    GenerationFailed,
    JobExpired,
    ProviderAuthError,
    ProviderBadReply,
    ProviderError,
    RateLimited,
)
from ring_mcp.providers.base import Running
from ring_mcp.providers.outcomes import Row, Said, row_of
from ring_mcp.providers.replies import Reply, mapping, one_line, retry_after_s, text_of
from ring_mcp.providers.xai.outcomes import FREE, LOOK, MODERATED, PAID
from ring_mcp.providers.xai.vendor import FILE_ID

PROVIDER = "xai"
_TICKS_PER_USD = Decimal(10) ** 10
_MOST_USD = Decimal(1_000_000)  # beyond it a figure is nonsense, and no longer fits a ledger column


def read_billed_usd(body: Any) -> Decimal | None:
    """``usage.cost_in_usd_ticks`` in dollars, wherever xAI puts it; None if it says nothing."""
    usage = _read_text(body, "usage")
    return usd_of(usage.get("cost_in_usd_ticks") if isinstance(usage, Mapping) else None)


def usd_of(ticks: Any) -> Decimal | None:
    """Ticks in dollars; None for what is no amount."""
    if isinstance(ticks, bool) or not isinstance(ticks, int | float | str):
        return None
    try:
        # By way of its text: a float would bring its binary tail along.
        amount = Decimal(str(ticks)) / _TICKS_PER_USD
    except ArithmeticError:
        return None
    return amount if amount.is_finite() and 0 <= amount <= _MOST_USD else None


def source(reference: str) -> dict[str, str]:
    """A picture or clip that goes along with a request."""
    return {"file_id": reference} if FILE_ID.fullmatch(reference) else {"url": reference}


def _read_text(body: Any, name: str) -> Any:
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


def read_failed_job(body: Mapping[str, Any], what: str) -> ProviderError:
    """A job that xAI reports as failed: in the body of a success, so that pollers do not storm."""
    error = body.get("error")
    code, message = (error.get("code"), error.get("message")) if isinstance(error, Mapping) else (None, error)
    said = one_line(": ".join(part for part in (code, message) if isinstance(part, str) and part)) or "no reason given"
    text, cost = f"xAI {what} failed: {said}", read_billed_usd(body)
    # Moderation also comes as a failed job with the code of a bad argument (provider reference 2.6).
    if any(word in said.lower() for word in MODERATED):
        return ContentRefused(text, provider=PROVIDER, billed_usd=cost)
    return GenerationFailed(text, provider=PROVIDER, billed_usd=cost)


def read_look(reply: Reply, now: datetime, kind: MediaKind) -> Mapping[str, Any] | Running:
    """The body of an answer to "how is it?" of a job that may be done. An empty 202 is as good as one with a body.

    Raises ProviderError for a look that failed, and for a job that has ended without a result.
    """
    body: Any = reply.json
    what = f"{kind} generation"
    if reply.status == 202:
        return Running(progress=progress_of(body))
    if reply.status != 200:
        raise read_look_error(reply, now, what=what)
    if not isinstance(body, Mapping):
        raise ProviderBadReply("xAI answered a status request without JSON", provider=PROVIDER)
    # Bodies of clips were nested until March 2026, and the specification still has that form (provider reference 2.4).
    nested = body.get("response")
    if isinstance(nested, Mapping):
        body = {**nested, **body}
    if body.get("status") == "failed":
        raise read_failed_job(body, what)
    if body.get("status") == "expired":
        text = f"xAI says that this {kind} job has expired"
        raise JobExpired(text, provider=PROVIDER, billed_usd=read_billed_usd(body))
    return mapping(body)


def error_text(reply: Reply) -> str:
    """What the provider said, as one short line; empty for HTML and for nothing."""
    body = reply.json
    if isinstance(body, Mapping):
        for text in (body.get("error"), _read_text(body, "message"), _read_text(body, "code")):
            if isinstance(text, str) and text.strip():
                return one_line(text)
    return "" if reply.is_html else reply.excerpt()


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
    body = reply.json
    error = mapping(body).get("error")
    code = text_of(_read_text(body, "code")) or ""
    named = (error, mapping(body).get("code"), mapping(error).get("message"), mapping(error).get("code"))
    return Said(
        status=reply.status,
        is_own=any(isinstance(each, str) and each.strip() for each in named),
        is_html=reply.is_html,
        codes=frozenset({code.lower()}) if code else frozenset(),
        # Code and text together, for which of the two says it has changed over time (provider reference 1.9).
        text=f"{code} {error_text(reply)}".strip().lower(),
        has_bill=read_billed_usd(body) is not None,
    )


def _error_of(reply: Reply, now: datetime, what: str, table: Sequence[Row]) -> ProviderError:
    row, said = row_of(read_words(reply), table), error_text(reply)
    text = f"xAI: {said}" if said else f"xAI {what} failed ({reply.status})"
    facts: dict[str, Any] = {
        "provider": PROVIDER,
        "http_status": reply.status,
        "billed": row.billed,
        "billed_usd": read_billed_usd(reply.json),
        "retryable": row.retryable,
    }
    if row.error is ProviderAuthError:
        text = f"xAI refused the key in XAI_API_KEY ({reply.status}): {said or 'no reason given'}"
    if row.error is RateLimited:
        return RateLimited(text, retry_after_s=retry_after_s(reply.headers, now), **facts)
    return row.error(text, **facts)
