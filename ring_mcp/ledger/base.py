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
    """The job that now stands for a request. ``joined``: it stood there already, so nothing new will be paid.

    ``still``: the job of the picture that a new clip begins with, its own or one that stood there already.
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
    """Open jobs of one account that nobody alive drives, and that the one who asked must leave alone."""

    account: Account
    sandbox: bool
    jobs: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledDay:
    """What was billed on a day (UTC) for jobs of a model that made all that was reserved for, and what it would have
    cost by the list of ``prices_of``."""

    day: date
    model: str
    prices_of: str
    jobs: int
    billed_usd: Decimal
    listed_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentDay:
    """What an actor's jobs of one model cost that were opened on a day (UTC); ``reserved_usd``: for those not ended."""

    day: date
    model: str
    jobs: int
    settled_usd: Decimal
    reserved_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongSum:
    """A sum that the ledger keeps and that is not that of its rows: ``too_much`` is negative where it is too little."""

    what: str
    of: str
    too_much: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """How many jobs stand in each state, and since when the oldest waits whose request was not sent yet."""

    jobs: Mapping[JobState, int]
    waiting_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of ours at the ledger: what it is there for, its machine and number, and since when it is there."""

    role: str
    place: str
    since: datetime


class Ledger(Protocol):
    """Every method raises LedgerError (or a subclass) and nothing else from below it; each is one transaction."""

    name: str
    owner: str
    """Under which name this process owns jobs; no other process has it."""

    lease_s: float
    """How long a process that says nothing may still be alive. 0: whether it lives is known at once, for certain."""

    async def start(self) -> None:
        """Connect. Raises LedgerBehind if the tables are older than this program and may not be changed unasked."""

    async def aclose(self) -> None: ...

    async def ping(self) -> None:
        """Read, and write something that changes nothing."""

    async def open(self, job: Job, caps: Caps, still: Job | None = None, terms: Terms | None = None) -> Opened:
        """Dedupe, check the caps, reserve, and write the row, all in one transaction; a clip's ``still`` with it.

        The caller owns the new rows; the caps count both, those of the job's actor as well. With ``terms`` the yes
        that it is opened by is used up in the same transaction, and given again it is the same job. Raises CapExceeded,
        ConfirmationNeeded, LookOnly or Unauthorized for an actor who may not spend, or InvalidRequest if the
        idempotency key stands for another request.
        """

    async def find_standing(self, job: Job) -> Job | None:
        """The job that ``open`` would join in place of opening this one. Raises InvalidRequest as it does."""

    async def put_question(self, items: Sequence[Question]) -> None:
        """Write down what is asked: the items that one yes is for. Questions that have expired go."""

    async def get_question(self, question_id: str) -> list[Question]:
        """Its items."""

    async def find_questions(self, actor_id: str, subject: str, now: datetime, *, sandbox: bool) -> list[Question]:
        """All items of the questions about this request that can be answered or used: the approved first, then the
        newest that nobody has answered."""

    async def list_questions(self, now: datetime, limit: int) -> list[Question]:
        """Items that wait for a person's yes, of everybody, the newest first."""

    async def approve_question(self, question_id: str, now: datetime) -> int:
        """A person's yes; the number of items that it is for, 0 if there is nothing to say yes to."""

    async def drop_question(self, question_id: str) -> None:
        """A person's no."""

    async def find(self, actor_id: str, key: str, *, sandbox: bool) -> Job | None:
        """The job that this actor's idempotency key stands for; none that is known to have cost nothing."""

    async def find_unused_still(self, still: Job) -> Job | None:
        """A finished still like this one whose clip ended without a result: ``open`` takes it in place of a new one."""

    async def get(self, job_id: str) -> Job | None: ...

    async def find_ids(self, beginning: str, actor_id: str | None = None) -> list[str]:
        """The ids that begin so, this actor's or everybody's, two at most: one is what was meant, two are too many."""

    async def list_jobs(self, query: JobQuery) -> JobPage: ...

    async def save(self, before: Job, after: Job, records: Sequence[AuditRecord] = ()) -> Job:
        """Write what changed, with the audit rows that belong to it, and return the job with its new version.

        A job that has ended is written again only by the late answer to an attempt that was settled by hand; the
        answer then goes without its idempotency key if that was given to another job meanwhile. Raises JobMoved if
        anybody wrote the job since ``before`` was read.
        """

    async def amend(self, job: Job, records: Sequence[AuditRecord]) -> Job:
        """Write plan and warnings of a job that is done, with audit rows: a thumbnail that was drawn later.

        Nothing about money can be changed so. Raises JobMoved if anybody wrote the job since it was read.
        """

    async def restore(self, job: Job, records: Sequence[AuditRecord] = ()) -> Job:
        """Write the row of a job that the database has lost, with its audit rows. Raises JobMoved if it is there."""

    async def claim_one(self, holder: Holder, job_id: str) -> Job | None:
        """Take over this job if its driver is gone; None if another one alive drives it, it is of another account, or
        nothing is left to do."""

    async def list_stranded(self, holder: Holder, job_id: str | None = None) -> list[Stranded]:
        """Jobs under way that nobody alive drives and that are of accounts which ``holder`` does not have.

        Of this job alone, if one is given; otherwise of all, sandbox and real ones apart.
        """

    async def hand_over(self, job_id: str, to: Account, *, sandbox: bool) -> Job:
        """Give an open job that nobody alive drives to another account of its provider. Raises InvalidRequest."""

    async def complete_account(self, account: Account) -> None:
        """The provider has told the account's id: write it into open rows that know its key's fingerprint alone."""

    async def mark_delivered(self, job_id: str, at: datetime) -> None:
        """A caller has been given the outcome: an identical request is a new one from now on."""

    async def spend(self, now: datetime, *, sandbox: bool, actor_id: str | None = None) -> Spend:
        """What counts against the caps: of everybody, or of one actor."""

    async def find_member(self, name: str) -> Member | None:
        """Who of the team has that name, also if the token was revoked."""

    async def find_members(self, token_hashes: Collection[str]) -> dict[str, Member]:
        """Whose tokens these are, by their hash, without those that were revoked."""

    async def has_members(self) -> bool:
        """Whether anybody ever had a token here."""

    async def list_members(self) -> list[Member]: ...

    async def add_member(self, member: Member, token_hash: str) -> None:
        """Also one who was revoked. Raises InvalidRequest if somebody has that name."""

    async def revoke_member(self, name: str, at: datetime) -> Member:
        """Raises NotFound."""

    async def count_jobs(self, *, sandbox: bool) -> Queued:
        """How many jobs there are in each state. Costs the same however many there are."""

    async def list_processes(self) -> list[Process]:
        """Every process that is at the ledger now, the longest first; those of a fleet on all its machines."""

    async def bills(self, since: datetime, *, sandbox: bool) -> list[BilledDay]:
        """What was billed since that day, by day, model and price list, the newest day first."""

    async def list_spent_days(self, actor_id: str, since: datetime, *, sandbox: bool) -> list[SpentDay]:
        """What this actor's jobs cost since that day, by day and model, the newest day first."""

    # Not part of ``ping`` or health: nothing that is asked all the time may read every row.
    async def find_wrong_sums(self) -> list[WrongSum]:
        """Compare the sums with every row: the one thing here that takes the longer the more jobs there are."""

    async def recount(self) -> None:
        """Make the sums those of the rows; nobody opens or ends a job meanwhile."""

    async def states(self, job_ids: Collection[str]) -> dict[str, JobState]:
        """Where these jobs stand; those that are not known are left out."""

    async def records(self, table: str, ids: Sequence[str]) -> list[dict[str, object]]:
        """The audit rows with these ids, as Ring's keys plus ``id``."""

    async def find_record(self, table: str, actor_id: str, name: str, value: str) -> dict[str, object] | None:
        """This actor's newest audit row in which ``name`` ("id", "requestId" or "url") is ``value``."""

    async def take_rate(self, bucket: RateBucket, spacing: Spacing, count: int, horizon_s: float) -> Given:
        """Take ``count`` requests of what all processes together may ask; what cannot leave within ``horizon_s`` is not
        taken. One statement, by the database's clock where machines share it."""

    async def slow_down(self, bucket: RateBucket, pause_s: float) -> None:
        """A request was refused for its rate: nobody is given any for ``pause_s``, and then half as many; that is taken
        back as time passes without another refusal."""

    async def mark_in_line(self, job_ids: Collection[str]) -> None:
        """Note that these jobs of this process wait in line until now. Their versions stay as they are."""

    async def rates(self, accounts: Collection[str] | None, *, sandbox: bool) -> list[RateState]:
        """How full the buckets of these accounts are; None: of all."""

    async def note_duration(self, model: str, took_s: float, *, sandbox: bool) -> Usual:
        """A job of this model took so long; what is usual of it by now."""

    async def usual_duration(self, model: str, *, sandbox: bool) -> Usual | None:
        """How long jobs of this model take; None while nothing is known."""


class ClaimingLedger(Ledger, Protocol):
    """A ledger that says by itself which jobs are due and without a living driver: nothing else has to be installed."""

    async def claim(self, holder: Holder, limit: int, *, parked: bool = False) -> list[Job]:
        """Take over due jobs of these accounts whose owner is gone (or that have none); with ``parked`` also those
        that are not due."""

    async def heartbeat(self, holder: Holder) -> set[str]:
        """The jobs under way that this process owns, of these accounts."""
