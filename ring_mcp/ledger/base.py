"""The ledger contract: what was asked, what was paid, and where each job stands. Two backends, one suite of tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from ring_mcp.domain import (
    Account,
    AuditRecord,
    Caps,
    Given,
    Holder,
    Job,
    JobState,
    MediaKind,
    Member,
    RateBucket,
    RateState,
    Spacing,
    Spend,
    Usual,
)
from ring_mcp.domain.consent import Question, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The job that now stands for a request. ``joined``: it existed already, so nothing new will be paid.

    ``still``: the job of the picture that a new clip begins with, a new one or one that existed already.
    """

    job: Job
    joined: bool
    still: Job | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs to list, newest first. None means "any"; ``before`` is the cursor that a page returned."""

    actor_id: str | None = None
    states: Collection[JobState] | None = None
    kind: MediaKind | None = None
    clip_id: str | None = None
    pipeline_request_id: str | None = None
    ref_code: str | None = None
    since: datetime | None = None
    # An id and no offset: jobs that are opened meanwhile would shift every later page.
    before: str | None = None
    limit: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    jobs: Sequence[Job]
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranded:
    """Open jobs of one account that no live process drives, and that the process that asked must leave alone."""

    account: Account
    sandbox: bool
    jobs: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledDay:
    """What was billed on a day (UTC) for jobs of a model that made everything that was reserved for, and what they
    would have cost by the price list dated ``prices_of``."""

    day: date
    model: str
    prices_of: str
    jobs: int
    billed_usd: Decimal
    listed_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentDay:
    """The cost of an actor's jobs of one model that were opened on a day (UTC). ``reserved_usd``: of open ones."""

    day: date
    model: str
    jobs: int
    settled_usd: Decimal
    reserved_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongSum:
    """A sum kept by the ledger that is not the sum of its rows. ``too_much`` is negative if it is too small."""

    what: str
    of: str
    too_much: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """The number of jobs in each state, and since when the oldest one waits whose request was not sent yet."""

    jobs: Mapping[JobState, int]
    waiting_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of ours that is connected to the ledger: its role, its machine and process id, and since when."""

    role: str
    place: str
    since: datetime


class Ledger(Protocol):
    """Each method is one transaction. All raise LedgerError or a subclass, and no error of a driver."""

    name: str
    owner: str
    """The name under which this process owns jobs, which no other process has."""

    lease_s: float
    """How long a silent process counts as alive. 0: whether it is alive is known at once, for certain."""

    async def start(self) -> None:
        """Connect. Raises LedgerBehind if the tables are older than this program and a person has to migrate them."""

    async def aclose(self) -> None: ...

    async def ping(self) -> None:
        """Read, and write something that changes nothing."""

    async def open(self, job: Job, caps: Caps, still: Job | None = None, terms: Terms | None = None) -> Opened:
        """Dedupe, check the caps, reserve, and write the row in one transaction; a clip's ``still`` with it.

        This process owns the new rows. The caps of the server and of the job's actor are checked for both together.
        With ``terms``, the confirmation that allows the spend is used up in the same transaction; used again, it leads
        to the same job. Raises CapExceeded; ConfirmationNeeded; LookOnly or Unauthorized for an actor who may not
        spend; InvalidRequest if the idempotency key stands for another request.
        """

    async def find_standing(self, job: Job) -> Job | None:
        """The job that ``open`` would join instead of opening this one. Raises InvalidRequest as ``open`` does."""

    async def put_question(self, items: Sequence[Question]) -> None:
        """Store a question: the items that one confirmation covers. Expired questions are removed."""

    async def get_question(self, question_id: str) -> list[Question]:
        """The items of a question; empty if there is no such question."""

    async def find_questions(self, actor_id: str, subject: str, now: datetime, *, sandbox: bool) -> list[Question]:
        """All items of the questions about this request that can still be answered or used: approved ones first, then
        unanswered ones, newest first."""

    async def list_questions(self, now: datetime, limit: int) -> list[Question]:
        """Items of all actors that wait for a person's confirmation, newest first."""

    async def approve_question(self, question_id: str, now: datetime) -> int:
        """Note that a person has confirmed. Returns how many items that covers; 0 if there is nothing to confirm."""

    async def drop_question(self, question_id: str) -> None:
        """Remove a question that a person has declined."""

    async def find(self, actor_id: str, key: str, *, sandbox: bool) -> Job | None:
        """The job that this actor's idempotency key stands for. A job known to have cost nothing has freed its key."""

    async def find_unused_still(self, still: Job) -> Job | None:
        """A still like this one whose clip ended without a result: ``open`` takes it instead of buying a new one."""

    async def get(self, job_id: str) -> Job | None: ...

    async def find_ids(self, beginning: str, actor_id: str | None = None) -> list[str]:
        """The ids that begin like this, of one actor or of all. At most two, since two are ambiguous already."""

    async def list_jobs(self, query: JobQuery) -> JobPage: ...

    async def save(self, before: Job, after: Job, records: Sequence[AuditRecord] = ()) -> Job:
        """Write what changed, with the audit rows that belong to it; returns the job with its new version.

        A job that has ended is written again only by the late answer to an attempt that was settled by hand, or of
        which its row knows nothing; it loses its idempotency key then if another job has that key by now. Raises
        JobMoved if the job was written since ``before`` was read.
        """

    async def amend(self, job: Job, records: Sequence[AuditRecord]) -> Job:
        """Write plan and warnings of a job that is done, with audit rows: a thumbnail that was drawn later.

        This cannot change anything about money. Raises JobMoved if the job was written since it was read.
        """

    async def restore(self, job: Job, records: Sequence[AuditRecord] = ()) -> Job:
        """Write the row of a job that the database has lost, with its audit rows. Raises JobMoved if it is there."""

    async def claim_one(self, holder: Holder, job_id: str) -> Job | None:
        """Take over this job if it is open, has no live driver, and is of an account of ``holder``; else None."""

    async def list_stranded(self, holder: Holder, job_id: str | None = None) -> list[Stranded]:
        """Open jobs that no live process drives and whose accounts ``holder`` does not have, summed up by account.

        Only this job if one is given; otherwise all jobs of the holder's world (sandbox or real).
        """

    async def hand_over(self, job_id: str, to: Account, *, sandbox: bool) -> Job:
        """Give an open job that no live process drives to another account of its provider.

        Raises InvalidRequest, NotFound or JobMoved.
        """

    async def complete_account(self, account: Account) -> None:
        """Write the account's id into open rows that have only its key's fingerprint."""

    async def mark_delivered(self, job_id: str, at: datetime) -> None:
        """Note that a caller has been given the outcome: from now on an identical request is a new one."""

    async def spend(self, now: datetime, *, sandbox: bool, actor_id: str | None = None) -> Spend:
        """What counts against the caps, of all actors or of one."""

    async def find_member(self, name: str) -> Member | None:
        """The member of that name, revoked or not."""

    async def find_members(self, token_hashes: Collection[str]) -> dict[str, Member]:
        """The members by the hashes of their tokens, without revoked ones."""

    async def has_members(self) -> bool:
        """Whether anybody ever had a token here."""

    async def list_members(self) -> list[Member]: ...

    async def add_member(self, member: Member, token_hash: str) -> None:
        """Add a member, or a revoked one again. Raises InvalidRequest if the name has a valid token."""

    async def revoke_member(self, name: str, at: datetime) -> Member:
        """Revoke a member's token. Raises NotFound."""

    async def count_jobs(self, *, sandbox: bool) -> Queued:
        """The number of jobs in each state, from sums: it costs the same however many jobs there are."""

    async def list_processes(self) -> list[Process]:
        """Every process that is connected to the ledger now, on all machines of a fleet, the oldest first."""

    async def bills(self, since: datetime, *, sandbox: bool) -> list[BilledDay]:
        """What was billed since that day, by day, model and price list, the newest day first."""

    async def list_spent_days(self, actor_id: str, since: datetime, *, sandbox: bool) -> list[SpentDay]:
        """What this actor's jobs cost since that day, by day and model, the newest day first."""

    # Not part of ``ping`` or health: what is called all the time must not read every row.
    async def find_wrong_sums(self) -> list[WrongSum]:
        """Compare the sums with all rows: the one method whose time grows with the number of jobs."""

    async def recount(self) -> None:
        """Compute the sums anew from the rows; no job is opened or ended meanwhile."""

    async def states(self, job_ids: Collection[str]) -> dict[str, JobState]:
        """The states of these jobs; unknown ids are left out."""

    async def records(self, table: str, ids: Sequence[str]) -> list[dict[str, object]]:
        """The audit rows with these ids, as Ring's keys plus ``id``."""

    async def find_record(self, table: str, actor_id: str, name: str, value: str) -> dict[str, object] | None:
        """This actor's newest audit row in which ``name`` ("id", "requestId" or "url") is ``value``."""

    async def take_rate(self, bucket: RateBucket, spacing: Spacing, count: int, horizon_s: float) -> Given:
        """Take ``count`` requests from the bucket that all processes share; none if they could not leave within
        ``horizon_s``. One statement, by the database's clock if machines share it."""

    async def slow_down(self, bucket: RateBucket, pause_s: float) -> None:
        """A request was refused with 429: the bucket gives nothing for ``pause_s``, then half its rate, which recovers
        as time passes without another refusal."""

    async def mark_in_line(self, job_ids: Collection[str]) -> None:
        """Note that these jobs of this process still wait in line. Their versions stay as they are."""

    async def rates(self, accounts: Collection[str] | None, *, sandbox: bool) -> list[RateState]:
        """How full the buckets of these accounts are; of all accounts if None."""

    async def note_duration(self, model: str, took_s: float, *, sandbox: bool) -> Usual:
        """Count in how long a job of this model took; returns what is usual by now."""

    async def usual_duration(self, model: str, *, sandbox: bool) -> Usual | None:
        """How long jobs of this model usually take; None while nothing is known."""


class ClaimingLedger(Ledger, Protocol):
    """A ledger that itself knows which jobs are due and without a live driver, so that no queue has to be installed."""

    async def claim(self, holder: Holder, limit: int, *, parked: bool = False) -> list[Job]:
        """Take over due jobs of these accounts that have no live owner; with ``parked`` also those that are not due."""

    async def heartbeat(self, holder: Holder) -> set[str]:
        """The ids of open jobs that this process owns, of these accounts."""
