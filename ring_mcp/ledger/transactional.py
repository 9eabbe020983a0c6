"""What both ledgers share: every method of the contract runs one transaction, which is written once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, TypeVar

from ring_mcp.clock import Clock
from ring_mcp.domain import (
    Account,
    AuditRecord,
    Caps,
    Given,
    Holder,
    Job,
    JobState,
    Member,
    RateBucket,
    RateState,
    Spacing,
    Spend,
    Usual,
)
from ring_mcp.domain.consent import Question, Terms
from ring_mcp.ledger import actors, claims, durations, fleet, listing, locks, opening, questions, rates, spending
from ring_mcp.ledger import transactions as tx
from ring_mcp.ledger.base import BilledDay, JobPage, JobQuery, Opened, Process, Queued, SpentDay, Stranded, WrongSum
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.statements import Condition, Transaction
from ring_mcp.token_mark import current_token_mark

T = TypeVar("T")


class TransactionalLedger(ABC):
    """A backend runs transactions and knows which owners are dead; the rest is here."""

    dialect: ClassVar[Dialect]
    owner: str

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._capped: dict[str, Caps] = {}

    @abstractmethod
    async def _read(self, transaction: Transaction[T]) -> T:
        """Run a transaction that writes nothing."""

    @abstractmethod
    async def _write(self, transaction: Transaction[T], turns: Sequence[int] = (), *, relaxed: bool = False) -> T:
        """Run a transaction and commit. ``turns``: the locks that it takes, in their order (see ``locks``).

        ``relaxed``: a loss of power may undo it, but nothing that was committed later and is not relaxed; the death of
        a process undoes nothing. A backend may ignore it.
        """

    @abstractmethod
    async def _read_over_the_free(self, make: Callable[[Sequence[Condition]], Transaction[T]]) -> T:
        """Run the transaction ``make(conditions)``, which writes nothing. A job has no live driver if one of the
        conditions holds."""

    @abstractmethod
    async def _write_over_the_free(self, make: Callable[[Sequence[Condition]], Transaction[T]]) -> T:
        """The same for a transaction that writes, and commit."""

    def _with_driver(self, opening: Transaction[Opened]) -> Transaction[Opened]:
        """The transaction that opens a job, with what else it needs so that the job will be driven."""
        return opening

    async def ping(self) -> None:
        # Run as a write: a read would not notice that writes are blocked.
        await self._write(tx.get_job("", self.dialect))

    async def open(self, job: Job, caps: Caps, still: Job | None = None, terms: Terms | None = None) -> Opened:
        job = replace(job, owner=self.owner)
        still = replace(still, owner=self.owner) if still is not None else None
        own = self._capped.get(job.actor_id, Caps())  # as it was last read: the transaction reads it anew
        turns = [*locks.of_opening(job, still), *locks.of_money(caps, own, job.actor_id, sandbox=job.sandbox)]
        # Relaxed: nothing is sent before the intent is on the disk, and this row with it. If the power is lost before
        # that, nothing has happened: no money, no reservation, no key, and no confirmation used up.
        work = self._with_driver(opening.open_job(job, caps, self.dialect, still, terms, current_token_mark()))
        return await self._write(work, turns, relaxed=True)

    async def find(self, actor_id: str, key: str, *, sandbox: bool) -> Job | None:
        return await self._read(opening.find_job(actor_id, key, sandbox, self.dialect))

    async def find_standing(self, job: Job) -> Job | None:
        return await self._read(opening.find_same_request(job, self.dialect))

    async def put_question(self, items: Sequence[Question]) -> None:
        await self._write(questions.put_question(items, self.dialect))

    async def get_question(self, question_id: str) -> list[Question]:
        return await self._read(questions.get_question(question_id, self.dialect))

    async def find_questions(self, actor_id: str, subject: str, now: datetime, *, sandbox: bool) -> list[Question]:
        return await self._read(questions.find_questions(actor_id, subject, now, sandbox, self.dialect))

    async def list_questions(self, now: datetime, limit: int) -> list[Question]:
        return await self._read(questions.list_questions(now, limit, self.dialect))

    async def approve_question(self, question_id: str, now: datetime) -> int:
        return await self._write(questions.approve_question(question_id, now, self.dialect))

    async def drop_question(self, question_id: str) -> None:
        await self._write(questions.drop_question(question_id))

    async def find_unused_still(self, still: Job) -> Job | None:
        return await self._read(opening.find_unused_still(still, self.dialect))

    async def get(self, job_id: str) -> Job | None:
        return await self._read(tx.get_job(job_id, self.dialect))

    async def states(self, job_ids: Collection[str]) -> dict[str, JobState]:
        return await self._read(tx.select_states(job_ids, self.dialect))

    async def find_ids(self, beginning: str, actor_id: str | None = None) -> list[str]:
        return await self._read(tx.find_ids(beginning, actor_id))

    async def list_jobs(self, query: JobQuery) -> JobPage:
        return await self._read(listing.list_jobs(query, self.dialect))

    async def save(self, before: Job, after: Job, records: Sequence[AuditRecord] = ()) -> Job:
        # Only a late answer is written over an ended job, and only that may have to give up its key.
        turns = [locks.of_request(after)] if before.is_terminal else []
        return await self._write(tx.save_job(before, after, records, self.dialect), turns)

    async def amend(self, job: Job, records: Sequence[AuditRecord]) -> Job:
        return await self._write(tx.amend_job(job, records, self.dialect))

    async def restore(self, job: Job, records: Sequence[AuditRecord] = ()) -> Job:
        return await self._write(tx.restore_job(job, records, self.dialect), [locks.of_request(job)])

    async def list_stranded(self, holder: Holder, job_id: str | None = None) -> list[Stranded]:
        return await self._read_over_the_free(
            lambda free: claims.select_stranded_jobs(free, holder, self.dialect, job_id)
        )

    async def hand_over(self, job_id: str, to: Account, *, sandbox: bool) -> Job:
        now = self._clock.now()
        return await self._write_over_the_free(
            lambda free: claims.hand_over(job_id, to, sandbox, free, now, self.dialect)
        )

    async def complete_account(self, account: Account) -> None:
        await self._write(claims.complete_account(account, self.dialect))

    async def mark_delivered(self, job_id: str, at: datetime) -> None:
        # Relaxed: if the power is lost before it is on the disk, an identical call gets the same result again and pays
        # nothing.
        await self._write(tx.mark_delivered(job_id, at, self.dialect), relaxed=True)

    async def spend(self, now: datetime, *, sandbox: bool, actor_id: str | None = None) -> Spend:
        return await self._read(spending.spend_at(now, sandbox, self.dialect, actor_id))

    async def find_member(self, name: str) -> Member | None:
        found = await self._read(actors.find_member(name, self.dialect))
        if found is not None:
            # Only for the turns in this process: the transaction that spends reads the caps anew.
            self._capped[name] = found.caps
        return found

    async def find_members(self, token_hashes: Collection[str]) -> dict[str, Member]:
        return await self._read(actors.find_members(token_hashes, self.dialect))

    async def has_members(self) -> bool:
        return await self._read(actors.has_members())

    async def list_members(self) -> list[Member]:
        return await self._read(actors.list_members(self.dialect))

    async def add_member(self, member: Member, token_hash: str) -> None:
        await self._write(actors.add_member(member, token_hash, self.dialect))

    async def revoke_member(self, name: str, at: datetime) -> Member:
        return await self._write(actors.revoke_member(name, at, self.dialect))

    async def count_jobs(self, *, sandbox: bool) -> Queued:
        return await self._read(fleet.count_jobs(sandbox, self.dialect))

    @abstractmethod
    async def list_processes(self) -> list[Process]: ...

    async def bills(self, since: datetime, *, sandbox: bool) -> list[BilledDay]:
        return await self._read(spending.select_bills(since, sandbox, self.dialect))

    async def list_spent_days(self, actor_id: str, since: datetime, *, sandbox: bool) -> list[SpentDay]:
        return await self._read(spending.select_days(actor_id, since, sandbox, self.dialect))

    async def find_wrong_sums(self) -> list[WrongSum]:
        return await self._read(spending.find_wrong_sums(self.dialect))

    async def recount(self) -> None:
        await self._write(spending.recount(self.dialect))

    async def records(self, table: str, ids: Sequence[str]) -> list[dict[str, object]]:
        return await self._read(tx.read_records(table, ids, self.dialect))

    async def find_record(self, table: str, actor_id: str, name: str, value: str) -> dict[str, object] | None:
        return await self._read(tx.find_record(table, actor_id, name, value, self.dialect))

    async def take_rate(self, bucket: RateBucket, spacing: Spacing, count: int, horizon_s: float) -> Given:
        now = self._clock.now()
        # Relaxed, as all that only counts: every look takes from a bucket, which a loss of power may make emptier.
        return await self._write(rates.take(bucket, spacing, count, horizon_s, now, self.dialect), relaxed=True)

    async def slow_down(self, bucket: RateBucket, pause_s: float) -> None:
        await self._write(rates.slow_down(bucket, pause_s, self._clock.now(), self.dialect), relaxed=True)

    async def mark_in_line(self, job_ids: Collection[str]) -> None:
        await self._write(claims.mark_in_line(job_ids, self.owner, self._clock.now(), self.dialect), relaxed=True)

    async def rates(self, accounts: Collection[str] | None, *, sandbox: bool) -> list[RateState]:
        return await self._read(rates.select_rates(accounts, sandbox, self._clock.now(), self.dialect))

    async def note_duration(self, model: str, took_s: float, *, sandbox: bool) -> Usual:
        return await self._write(durations.note(model, sandbox, took_s, self.dialect), relaxed=True)

    async def usual_duration(self, model: str, *, sandbox: bool) -> Usual | None:
        return await self._read(durations.select(model, sandbox, self.dialect))
