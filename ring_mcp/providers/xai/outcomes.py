"""What xAI's answers mean when they are no success, by the sources that say so.

Codes have been renamed more than once (sentences, then ``kebab-case``, then ``imagine:…``), so status and words decide.
Sources: S1 xAI's OpenAPI of autumn 2026; S1-ts its TypeScript SDK; S4 @ai-sdk/xai 5.0; S6 docs.x.ai; captured replies.
"""

from __future__ import annotations

from dataclasses import replace

from ring_mcp.errors import (
    ContentRefused,
    CreditsExhausted,
    GenerationFailed,
    JobExpired,
    OutcomeUnknown,
    ProviderAuthError,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.providers.outcomes import ANY_STATUS, Form, Row

MODERATED = ("content-moderated", "rejected by content moderation", "violates usage guidelines", "safety_check")
"""Words of a refusal. "Moderation" alone is none: its service may be away."""

_MODERATION = Row(
    when="moderation refused it; what it cost stands in usage, if anywhere",
    statuses=(400, 403),
    form=Form.TEXT,
    words=MODERATED,
    error=ContentRefused,
    billed="unknown",
    source="captured replies (litellm, a gateway's test fixture); charged by S6",
)
_ACCOUNT = (
    Row(
        when="the credits are used up",
        statuses=(403, 429),
        form=Form.TEXT,
        words=("credits", "spending limit", "usage-exhausted"),
        error=CreditsExhausted,
        billed="no",
        source="captured replies: a 429, told from the rate limit by its words alone",
    ),
    Row(
        when="payment is required",
        statuses=(402,),
        error=CreditsExhausted,
        billed="no",
        source="no document has it; in the service's own form it can mean nothing else",
    ),
    Row(
        when="the key is wrong",
        statuses=(400,),
        form=Form.TEXT,
        words=("api key",),
        error=ProviderAuthError,
        billed="no",
        source="S1: 400 also for an invalid key; captured replies",
    ),
    Row(
        when="there is no key, or it has no rights, or its team is blocked",
        statuses=(401, 403),
        error=ProviderAuthError,
        billed="no",
        source="captured replies",
    ),
    Row(
        when="too many requests",
        statuses=(429,),
        form=Form.ANY,
        error=RateLimited,
        billed="no",
        source="captured reply; S1-ts sends a create again after a 429 and after nothing else",
    ),
)
_REFUSED = Row(
    when="the request is refused",
    statuses=(400, 404, 413, 415, 422),
    error=ProviderRejected,
    billed="no",
    source="S1: create errors 400 and 422; S6: 404 for a model; captured: 415 for a form; S1: 413",
)
# In this order: moderation has the 400 of a bad key or the 403 of no rights, and a bill says more than a status.
PAID = (
    _MODERATION,
    *_ACCOUNT,
    Row(
        when="a field is missing or of the wrong type",
        statuses=(422,),
        form=Form.TEXT,
        words=("failed to deserialize",),
        error=ProviderRejected,
        billed="no",
        source="S1; captured: bare text",
    ),
    Row(
        when="there is no such route: a wrong XAI_API_BASE_URL",
        statuses=(404,),
        form=Form.TEXT,
        words=("not found",),
        whole=True,
        error=ProviderRejected,
        billed="no",
        source="captured: the bare words Not Found",
    ),
    Row(
        when="it says what it cost, whatever else it says",
        statuses=ANY_STATUS,
        form=Form.ANY,
        with_bill=True,
        error=GenerationFailed,
        billed="yes",
        source="S1: usage is what was billed, wherever it stands",
    ),
    _REFUSED,
    Row(
        when="anything else: 408, 409, 499, 5xx, a redirect, a page or a word that is not xAI's",
        statuses=ANY_STATUS,
        form=Form.ANY,
        error=OutcomeUnknown,
        billed="unknown",
        source="nothing says what became of the request; S1-ts sends no create again after it",
    ),
)
"""Answers to the request that costs money."""

_LOST_LOOK = Row(
    when="anything else",
    statuses=ANY_STATUS,
    form=Form.ANY,
    error=ProviderUnavailable,
    billed="unknown",
    source="S1: a failed generation is a body with status failed, never an HTTP error",
)
LOOK = (
    # It ends a paid job: only the captured form counts (provider reference 2.6), for a 403 may be about the key.
    replace(_MODERATION, statuses=(400,)),
    Row(
        when="the service itself does not know the job",
        statuses=(404,),
        codes=frozenset({"not-found", "some requested entity was not found"}),
        words=("no deferred",),
        error=JobExpired,
        billed="unknown",
        source="S1: No deferred video could be found with the given request_id",
    ),
    *(replace(row, billed="unknown") for row in _ACCOUNT),
    # No plain 400 ends a job: the first looks have been seen to fail so (provider reference 2.8).
    _LOST_LOOK,
)
"""Answers to a look at a job that was accepted: one that fails tells nothing of the job's bill."""

FREE = (*_ACCOUNT, _REFUSED, replace(_LOST_LOOK, when="it cannot be asked now", billed="no", source="a free request"))
"""Answers to a request that has nothing to do with a job."""
