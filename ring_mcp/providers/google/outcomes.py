"""What Google's answers mean when they are no success, by the sources that say so.

``generateContent`` errs with a number and a gRPC word, the Interactions API with a word of its own. Sources: the
troubleshooting, billing and api-errors pages of ai.google.dev, autumn 2026; google-genai 3.4; @ai-sdk/google 4.0;
captured replies.
"""

from __future__ import annotations

from dataclasses import replace

from ring_mcp.errors import (
    ContentRefused,
    CreditsExhausted,
    JobExpired,
    OutcomeUnknown,
    ProviderAuthError,
    ProviderRejected,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
)
from ring_mcp.providers.outcomes import ANY_STATUS, Form, Row

_BILLING = "billing page: a request that fails with 400 or 500 is not charged"
_ERRORS = "api-errors page"

# Credits and the quota of the day before the rate: all three are 429, and only the rate is worth a pause.
_ACCOUNT = (
    Row(
        when="the key is wrong",
        statuses=(400,),
        codes=frozenset({"api_key_invalid"}),
        words=("api key",),
        error=ProviderAuthError,
        billed="no",
        source="captured replies: 400 with ErrorInfo API_KEY_INVALID",
    ),
    Row(
        when="there is no key, or it has no rights",
        statuses=(401, 403),
        error=ProviderAuthError,
        billed="no",
        source=f"{_ERRORS}: authentication, permission_denied; troubleshooting page",
    ),
    Row(
        when="the prepaid credits are used up",
        statuses=(402,),
        error=CreditsExhausted,
        billed="no",
        source=f"troubleshooting page: RESOURCE_EXHAUSTED; {_ERRORS}: payment_required",
    ),
    Row(
        when="the prepaid credits are used up, as a 429",
        statuses=(429,),
        words=("credits are depleted", "spending cap", "billing account"),
        error=CreditsExhausted,
        billed="no",
        source="captured replies",
    ),
    Row(
        when="the quota of the day is used up, or there is none",
        statuses=(429,),
        codes=frozenset({"quota_exceeded"}),
        words=("perday", "per day", "per_day", "limit: 0"),
        error=QuotaExhausted,
        billed="no",
        source=f"{_ERRORS}: quota_exceeded; captured: QuotaFailure with GenerateRequestsPerDayPerProjectPerModel",
    ),
    Row(
        when="too many requests",
        statuses=(429,),
        form=Form.ANY,
        error=RateLimited,
        billed="no",
        source=f"{_ERRORS}: rate_limit_exceeded, too_many_requests; captured: RetryInfo",
    ),
)
_SAFETY = Row(
    when="safety refused it",
    statuses=(400,),
    words=("safety", "prohibited", "sensitive words"),
    # A filter that is itself away says these words, too, and refuses nothing.
    unless=("unavailable", "try again", "timed out", "timeout"),
    error=ContentRefused,
    billed="no",
    source=f"captured: 400 with a token of safety; {_BILLING}",
)
_REFUSED = Row(
    when="the request is refused",
    statuses=(400, 404, 413, 416, 422),
    error=ProviderRejected,
    billed="no",
    source=f"{_BILLING}; {_ERRORS}: invalid_request, parameter_unknown, not_found, out_of_range",
)
PAID = (
    *_ACCOUNT,
    _SAFETY,
    Row(
        when="the service itself failed, or was overloaded",
        statuses=(500, 503, 504),
        codes=frozenset({"internal", "unavailable", "deadline_exceeded", "api_error", "service_unavailable"}),
        error=ProviderUnavailable,
        billed="no",
        source=f"{_BILLING}; {_ERRORS}: api_error, service_unavailable",
    ),
    _REFUSED,
    Row(
        when="anything else: 408, 409, 499, 5xx without Google's words, a redirect, a page",
        statuses=ANY_STATUS,
        form=Form.ANY,
        error=OutcomeUnknown,
        billed="unknown",
        source="nothing says what became of the request",
    ),
)
"""Answers to the request that costs money."""

_LOST_LOOK = Row(
    when="anything else",
    statuses=ANY_STATUS,
    form=Form.ANY,
    error=ProviderUnavailable,
    billed="unknown",
    source="a look that fails tells nothing of the job",
)
LOOK = (
    Row(
        when="it does not know the job, as it says now and then of one that runs, too",
        statuses=(400,),
        words=("invalid interaction name",),
        error=JobExpired,
        billed="unknown",
        retryable=True,
        source="captured replies: an unknown id is a 400, and so is a spurious look at a running, billed job",
    ),
    Row(
        when="it does not know the job",
        statuses=(404,),
        codes=frozenset({"not_found"}),
        error=JobExpired,
        billed="unknown",
        source=f"{_ERRORS}: not_found",
    ),
    *(replace(row, billed="unknown") for row in (*_ACCOUNT, _SAFETY)),
    _LOST_LOOK,
)
"""Answers to a look at a job that was accepted."""

FREE = (*_ACCOUNT, _REFUSED, replace(_LOST_LOOK, when="it cannot be asked now", billed="no", source="a free request"))
"""Answers to a request that has nothing to do with a job."""
