"""Jobs: a job is one paid attempt, with its state and its cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from ring_mcp.domain.accounts import Account
from ring_mcp.domain.media import Asset, MediaKind, Output, Value
from ring_mcp.domain.requests import Plan
from ring_mcp.errors import Billed, JobCancelled, JobMoved, OutcomeUnknown


class JobState(StrEnum):
    """The state of a job: planned -> submitting -> rendering -> storing -> done."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    RENDERING = "rendering"
    STORING = "storing"
    UNKNOWN = "unknown"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"


TERMINAL = frozenset({JobState.DONE, JobState.FAILED, JobState.REFUSED, JobState.EXPIRED})
"""Nothing happens to these any more; ``finished_at`` and ``settled_usd`` are set for these and no others."""

DRIVEN = frozenset({JobState.PLANNED, JobState.SUBMITTING, JobState.RENDERING, JobState.STORING})
"""Some process is, or should be, carrying these on. UNKNOWN is in neither: it waits for a person or a late answer."""

_ENDS = frozenset({JobState.FAILED, JobState.REFUSED, JobState.EXPIRED})
_NEXT: Mapping[JobState, frozenset[JobState]] = {
    # Nothing leads back here from anywhere: what was sent once is never sent again.
    JobState.PLANNED: frozenset({JobState.SUBMITTING, JobState.FAILED, JobState.REFUSED}),
    JobState.SUBMITTING: frozenset({JobState.RENDERING, JobState.STORING, JobState.UNKNOWN}) | _ENDS,
    JobState.UNKNOWN: frozenset({JobState.RENDERING, JobState.STORING}) | _ENDS,
    # From here on nothing leads to UNKNOWN: who has a handle can ask again.
    JobState.RENDERING: frozenset({JobState.STORING}) | _ENDS,
    JobState.STORING: frozenset({JobState.DONE}) | _ENDS,
}

_FAR = {
    JobState.PLANNED: 0,
    JobState.SUBMITTING: 1,
    # No further than SUBMITTING: that it was sent is all that is known of either.
    JobState.UNKNOWN: 1,
    JobState.RENDERING: 2,
    JobState.STORING: 3,
    **dict.fromkeys(TERMINAL, 4),
}


STUCK_AFTER_S = 30.0
"""How long a result that cannot be stored is only a warning. Seconds."""


class Failure(Value):
    """Why a job failed or is held up, in words that may be shown.

    ``since`` and ``seen``: for trouble that may pass, when it was met first and how often since then.
    """

    code: str
    message: str
    billed: Billed
    retryable: bool = False
    next_action: str = ""
    since: datetime | None = None
    seen: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One paid attempt: a row of ``media_jobs``.

    ``version`` rises with every write and is the fencing token: a write with an old one is refused.
    ``due_at`` is when the next step may be taken; None means parked until somebody asks for the job.
    ``reserved_usd`` counts against the caps until ``settled_usd`` replaces it; ``billed_usd``: the provider's bill.
    ``in_line_at``: when it was last seen waiting for its turn at the provider; that time does not make it stale.
    ``endpoint``, ``account_id`` and ``key_fingerprint`` are its ``account``; no ordinary write changes them.
    """

    id: str
    kind: MediaKind
    state: JobState
    version: int = 1
    actor_id: str
    request_hash: str
    idempotency_key: str | None = None
    parent_job_id: str | None = None
    ref_code: str | None = None
    clip_id: str | None = None
    pipeline_request_id: str | None = None
    plan: Plan
    sandbox: bool = False
    endpoint: str | None = None
    account_id: str | None = None
    key_fingerprint: str | None = None
    owner: str | None = None
    attempt_token: str | None = None
    submit_deadline_at: datetime | None = None
    provider_request_id: str | None = None
    served_model: str | None = None
    progress: int = 0
    due_at: datetime | None = None
    outputs: tuple[Output, ...] = ()
    assets: tuple[Asset, ...] = ()
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()
    reserved_usd: Decimal
    billed_usd: Decimal | None = None
    settled_usd: Decimal | None = None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    delivered_at: datetime | None = None
    in_line_at: datetime | None = None

    @property
    def account(self) -> Account:
        return Account(
            provider=self.plan.provider,
            endpoint=self.endpoint,
            account_id=self.account_id,
            key_fingerprint=self.key_fingerprint,
        )

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def is_parked(self) -> bool:
        """Whether nobody drives it for now: until it is asked for, or until a slow look at ``due_at``."""
        # One without an owner that has a time and no trouble is about to be picked up, and is not parked.
        return self.state in DRIVEN and self.owner is None and (self.due_at is None or self.failure is not None)

    def is_stuck(self, now: datetime) -> bool:
        """Whether it is retried, and its caller has waited long enough to be told why."""
        if self.state is not JobState.STORING or self.failure is None or self.failure.since is None:
            return False
        return (now - self.failure.since).total_seconds() >= STUCK_AFTER_S

    @property
    def is_settled(self) -> bool:
        """Whether it has ended or is unknown: nothing carries it on by itself."""
        return self.state not in DRIVEN

    @property
    def is_resolved_by_hand(self) -> bool:
        """Whether its outcome was unknown and a person has settled its cost."""
        return self.state is JobState.FAILED and self.failure is not None and self.failure.code == OutcomeUnknown.code

    @property
    def has_ended_unsent(self) -> bool:
        """Whether it has ended, and its row knows of no request. A database that has fallen back may have lost one."""
        return self.has_cost_nothing and self.attempt_token is None

    @property
    def has_cost_nothing(self) -> bool:
        """Whether it has ended without a result, and is known to have cost nothing."""
        return self.state in _ENDS and self.settled_usd == 0

    @property
    def is_cancelled(self) -> bool:
        return self.failure is not None and self.failure.code == JobCancelled.code

    def is_ahead_of(self, other: Job) -> bool:
        """Whether its state is a later one. A job's row never goes back by itself."""
        return _FAR[self.state] > _FAR[other.state]

    def reopen(self) -> Job:
        """The job as it was before a person settled it: of unknown outcome."""
        # What was settled is taken back with it: the answer settles it anew, and only one of the two may count.
        return replace(self, state=JobState.UNKNOWN, settled_usd=None, finished_at=None, delivered_at=None)

    def recall_attempt(self, attempt_token: str, at: datetime) -> Job:
        """The job as it was when this attempt was under way, of which its row, a plan or one that ended as such, knows
        nothing any more."""
        sent = replace(self, attempt_token=attempt_token, submit_deadline_at=at)
        if self.state is JobState.PLANNED:
            return sent.to(JobState.SUBMITTING)
        return replace(sent.reopen(), state=JobState.SUBMITTING, failure=None)

    def is_answered_by(self, after: Job) -> bool:
        """Whether ``after`` has what this one lacks: the answer to the same request that this one sent.

        An answer wins even if somebody took the job over meanwhile, called it unknown, or settled it by hand; or ended
        it as one that was never sent, if it says that something was.
        """
        if self.has_ended_unsent:
            return (
                after.attempt_token is not None
                and after.state is not JobState.SUBMITTING
                and not after.has_cost_nothing
            )
        if self.attempt_token is None or self.attempt_token != after.attempt_token:
            return False
        # An answer that knows no more than the person did leaves standing what the person has said.
        if self.is_resolved_by_hand:
            return after.state not in (JobState.SUBMITTING, JobState.UNKNOWN) and not after.is_resolved_by_hand
        return self.state in (JobState.SUBMITTING, JobState.UNKNOWN)

    def to(self, state: JobState, **changes: Any) -> Job:
        """This job in another state. Raises JobMoved if the state machine has no such arrow."""
        if state not in _NEXT.get(self.state, frozenset()):
            raise JobMoved(f"job {self.id} is {self.state} and cannot become {state}")
        if self.state is JobState.UNKNOWN:
            changes.setdefault("delivered_at", None)  # what a caller was told about it no longer holds
        return replace(self, state=state, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """A row for ``generated_images`` or ``generated_videos``, in Ring's own keys."""

    table: Literal["generated_images", "generated_videos"]
    id: str
    data: Mapping[str, Any]
