"""Every way in which a job ends, and on whose word. ``outcomes.end_job`` takes one of these; there is no other way."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from ring_mcp.domain import JobState

Word = Literal["the storage's", "the provider's", "ours, before anything was sent", "yours"]


class Ending(Enum):
    """``state``: the job's final state. ``word``: who decided it. ``when``: the reason, as ``docs/money.md`` has it."""

    STORED = (JobState.DONE, "the storage's", "it has every output, or the caller wanted no copy")
    OUTPUTS_LOST = (
        JobState.EXPIRED,
        "the provider's",
        "no output can be fetched: it gave none, or has said for hours, in words of its own, that it serves it no more",
    )
    MODERATED = (JobState.REFUSED, "the provider's", "its moderation said no")
    REQUEST_REFUSED = (
        JobState.FAILED,
        "the provider's",
        "it refused the request in words of its own, or none reached it",
    )
    GENERATION_FAILED = (JobState.FAILED, "the provider's", "its own job ended in failure")
    JOB_GONE = (
        JobState.EXPIRED,
        "the provider's",
        "it has said for two hours, in words of its own, that it has no such job",
    )
    PLAN_TOO_OLD = (JobState.FAILED, "ours, before anything was sent", "the plan is ten minutes old")
    INPUT_MISSING = (
        JobState.FAILED,
        "ours, before anything was sent",
        "a given picture or clip cannot be used any more",
    )
    FIRST_FRAME_FAILED = (JobState.FAILED, "ours, before anything was sent", "the first frame of the clip failed")
    STOPPED_BEFORE = (JobState.FAILED, "ours, before anything was sent", "the server was stopped")
    CANCELLED = (JobState.FAILED, "yours", "you cancelled it before its request was sent")
    ROW_LOST = (JobState.FAILED, "ours, before anything was sent", "the ledger had lost the row")
    RESOLVED_BY_HAND = (JobState.FAILED, "yours", "you settled an `unknown` one with `ring-mcp jobs resolve`")

    def __init__(self, state: JobState, word: Word, when: str) -> None:
        self.state = state
        self.word = word
        self.when = when
