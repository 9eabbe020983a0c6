"""Every failure that ring-mcp can tell a caller about.

RingError                      code, billed, retryable, next_action
├─ ConfigError                 start-up: every bad variable at once
├─ InvalidRequest              the caller can fix it; says the field and what is allowed; nothing was spent
│  ├─ ModelRetired             names the replacement
│  └─ NotFound                 no such job (or not this caller's)
├─ Unauthorized                the service token is missing, wrong or revoked
├─ LookOnly                    this caller's token may look and not spend (``domain.team``); nothing was spent
├─ CapExceeded                 a spending cap would be passed; nothing was spent
├─ ConfirmationNeeded          nobody has agreed to it yet (``domain.consent``); nothing was spent
│  └─ SpendingDeclined         somebody said no
├─ ProviderError               provider, http_status
│  ├─ ProviderAuthError        key missing, refused, or without rights
│  ├─ ProviderRejected         the provider calls the request wrong
│  ├─ RateLimited              retry_after_s
│  ├─ QuotaExhausted           a quota of a day or of an account: no pause that a call can wait for changes it
│  ├─ CreditsExhausted         the account is empty, or at its limit
│  ├─ ContentRefused           moderation, before or after the picture was made
│  ├─ GenerationFailed         the provider's own job ended in failure
│  ├─ JobExpired               the provider itself says, in words of its own that we know, that it has no such job
│  ├─ MediaGone                the address of a result serves it no more; another look may tell a fresh one
│  ├─ LocalPolicy              a rule of this server, not the provider, keeps a result away; names the setting
│  │  ├─ MediaTooLarge         it is larger than RING_MAX_MEDIA_BYTES
│  │  └─ PrivateAddress        its address lies on a private network
│  ├─ ProviderUnavailable      5xx, no connection, a page of a proxy: whatever tells nothing of the job
│  ├─ ProviderBadReply         a shape or type that is not accepted, or "done" without a result: never final
│  └─ OutcomeUnknown           a paid request left and no answer came back that says what became of it
├─ AccountNeeded               an open job of an account whose key nobody has here
├─ JobCancelled               broken off by its caller before its request was sent
├─ FirstFrameFailed            the still of a clip was not made, so the clip was not started
├─ GenerationTimeout           we stopped waiting; says whether the job can be resumed
├─ StorageError                the bytes could not be stored
│  └─ StorageRefused           and trying again will not help: bad token, refused type
│     └─ StorageUnclear        the storage said yes in words that cannot be read: another upload may be another copy
└─ LedgerError                 the ledger could not be read or written
   ├─ LedgerBehind             "run ring-mcp migrate"
   └─ JobMoved                 another process changed this job first

``billed`` is "yes", "no" or "unknown": whether the provider charged for it. Never say "no" on a guess.
Whatever is not in this tree reaches a client only as ``internal error, job <id>`` (see ``tools.results``).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

Billed = Literal["yes", "no", "unknown"]


class RingError(Exception):
    """Base of the tree. ``message`` is safe to show: no secret, DSN or signed URL."""

    code = "error"
    retryable = False
    next_action = ""
    billed: Billed = "no"

    def __init__(
        self,
        message: str,
        *,
        billed: Billed | None = None,
        retryable: bool | None = None,
        next_action: str | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        given = {"billed": billed, "retryable": retryable, "next_action": next_action}
        self.__dict__.update({name: value for name, value in given.items() if value is not None})
        self.job_id = job_id


class ConfigError(RingError):
    """Start-up only. ``problems`` has one sentence per bad variable."""

    code = "config_invalid"
    next_action = "Correct the variables named above and start again."

    def __init__(self, problems: list[str], *, next_action: str | None = None) -> None:
        super().__init__("\n".join(problems), next_action=next_action)
        self.problems = problems


class InvalidRequest(RingError):
    code = "invalid_request"
    next_action = "Correct the arguments and call again; nothing was spent."


class ModelRetired(InvalidRequest):
    code = "model_retired"
    next_action = "Call again with the replacement model; nothing was spent."


class NotFound(InvalidRequest):
    code = "not_found"
    next_action = "Check the id."


class Unauthorized(RingError):
    code = "unauthorized"
    next_action = "Set RING_SERVICE_TOKEN to one of the tokens in RING_MCP_SERVICE_TOKENS and restart the client."


class CapExceeded(RingError):
    code = "cap_exceeded"
    next_action = "Ask for something cheaper, wait until the cap resets, or have the operator raise it."


class ProviderError(RingError):
    """A provider said no, or nothing at all.

    ``billed_usd`` is what the provider reported for the failed attempt, when it reported anything.
    """

    code = "provider_error"
    billed: Billed = "unknown"  # "no" would release what a cap has reserved

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        http_status: int | None = None,
        billed_usd: Decimal | None = None,
        billed: Billed | None = None,
        retryable: bool | None = None,
        next_action: str | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(message, billed=billed, retryable=retryable, next_action=next_action, job_id=job_id)
        self.provider = provider
        self.http_status = http_status
        self.billed_usd = billed_usd
        if billed_usd is not None:  # a figure of the provider's own outweighs any guess
            self.billed = "yes" if billed_usd > 0 else "no"


class ProviderAuthError(ProviderError):
    code = "provider_auth"
    billed: Billed = "no"
    next_action = "Set a valid provider key in the server's environment (see ring-health) and restart it."


class ProviderRejected(ProviderError):
    code = "provider_rejected"
    billed: Billed = "no"
    next_action = "Change the arguments that the provider names and call again."


class RateLimited(ProviderError):
    code = "rate_limited"
    billed: Billed = "no"
    retryable = True
    next_action = "Wait and call again; nothing was billed."

    def __init__(self, message: str, *, retry_after_s: float | None = None, **kwargs: object) -> None:
        super().__init__(message, **kwargs)  # type: ignore[arg-type]
        self.retry_after_s = retry_after_s


class QuotaExhausted(ProviderError):
    code = "quota_exhausted"
    billed: Billed = "no"
    next_action = "Wait until the quota that the provider names is renewed, or have it raised; nothing was billed."


class CreditsExhausted(ProviderError):
    code = "credits_exhausted"
    billed: Billed = "no"
    next_action = "Add credits or raise the monthly limit in the provider's console; a retry changes nothing."


class ContentRefused(ProviderError):
    code = "content_refused"
    next_action = "Change the prompt before you ask again: each refused attempt may be billed."


class GenerationFailed(ProviderError):
    code = "generation_failed"
    next_action = "Read the provider's reason; a new call is a new paid attempt."


class JobExpired(ProviderError):
    """Raised for the provider's own, recognised words alone; ``retryable`` where it is known to say them in error."""

    code = "expired"
    next_action = "The provider no longer has the result; a new call is a new paid attempt."


class MediaGone(ProviderError):
    """403, 404 or 410 at the address of a result. The provider's job may still be there and tell another address."""

    code = "media_gone"
    billed: Billed = "yes"  # it was made: only its address is gone
    retryable = True
    next_action = "Call ring-job-get with the jobId: the provider is asked for a fresh address."


class LocalPolicy(ProviderError):
    """The result is there, and this server is not allowed to fetch it until somebody changes what is named."""

    code = "local_policy"
    billed: Billed = "yes"


class MediaTooLarge(LocalPolicy):
    code = "media_too_large"
    next_action = "Raise RING_MAX_MEDIA_BYTES, restart, and call ring-job-get with the jobId."


class PrivateAddress(LocalPolicy):
    code = "private_address"
    next_action = (
        "If that address is right (a VPN, an own name server), name its host or host:port in RING_TRUSTED_MEDIA_HOSTS, "
        "restart, and call ring-job-get with the jobId."
    )


class ProviderUnavailable(ProviderError):
    code = "provider_unavailable"
    retryable = True
    next_action = "Try again later."


class ProviderBadReply(ProviderError):
    code = "provider_bad_reply"
    next_action = "Look at the job with `ring-mcp jobs show`; a new call is a new paid attempt."


class OutcomeUnknown(ProviderError):
    code = "unknown_outcome"
    billed: Billed = "unknown"
    next_action = (
        "Do not simply retry: the provider may have made and billed it. Look at the provider's console, then settle it "
        "with `ring-mcp jobs resolve JOB --paid|--not-paid`."
    )


class AccountNeeded(RingError):
    code = "account_needed"
    billed: Billed = "unknown"
    retryable = True


class JobCancelled(RingError):
    code = "cancelled"
    next_action = "Call the create tool again if it is wanted after all."


class FirstFrameFailed(RingError):
    code = "first_frame_failed"
    next_action = "Look at ring-job-get of the still, change firstFramePrompt, and call again."


class GenerationTimeout(RingError):
    code = "timeout"
    billed: Billed = "unknown"
    retryable = True
    next_action = "Call ring-job-get with the jobId: the job is kept and can still be fetched."


class StorageError(RingError):
    code = "storage_failed"
    billed: Billed = "yes"  # what there is to store was made, and paid for
    retryable = True
    next_action = "The result is kept and the upload is retried; call ring-job-get with the jobId."


class StorageRefused(StorageError):
    code = "storage_refused"
    retryable = False
    next_action = "Correct the storage settings (see ring-health); the result is kept, then call ring-job-get."


class StorageUnclear(StorageRefused):
    """Never tried again unasked: each try may leave another copy there."""

    code = "storage_unclear"
    next_action = "See in the storage whether the file is there; ring-job-get then tries again, with another upload."


class LedgerError(RingError):
    code = "ledger_unavailable"
    retryable = True
    next_action = "This call started nothing. Make the ledger reachable (see ring-health) and call again."


class LedgerBehind(LedgerError):
    code = "ledger_behind"
    retryable = False
    next_action = "Run `ring-mcp migrate`."


class JobMoved(LedgerError):
    code = "job_moved"
    next_action = "Read the job again."
