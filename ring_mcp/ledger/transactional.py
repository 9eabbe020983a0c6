"""What both ledgers share: every method of the contract is one transaction of ``ledger.transactions``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, TypeVar

from ring_mcp.clock import Clock
from ring_mcp.domain import Account, AuditRecord, Caps, Holder, Job, Spend
from ring_mcp.ledger import claims, opening
from ring_mcp.ledger import transactions as tx
from ring_mcp.ledger.base import JobPage, JobQuery, Opened, Stranded
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.statements import Transaction

T = TypeVar("T")


class TransactionalLedger(ABC):
    """A backend says how a transaction is run, and which owners are dead; the rest is here."""

    dialect: ClassVar[Dialect]
    owner: str

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @abstractmethod
    async def _run(self, transaction: Transaction[T], *, alone: bool = False) -> T:
        """Run it to its end and commit; ``alone``: no other such transaction at the same time, on any machine."""

    @abstractmethod
    async def _run_over_the_dead(self, make: Callable[[list[str]], Transaction[T]], *, alone: bool) -> T:
        """Run the transaction that ``make`` makes of the owners of open jobs that are dead."""

    async def ping(self) -> None:
        await self._run(tx.get_job("", self.dialect))

    async def open(self, job: Job, caps: Caps, still: Job | None = None) -> Opened:
        still = replace(still, owner=self.owner) if still is not None else None
        return await self._run(opening.open_job(replace(job, owner=self.owner), caps, self.dialect, still), alone=True)

    async def find(self, actor_id: str, key: str, *, sandbox: bool) -> Job | None:
        return await self._run(opening.find_job(actor_id, key, sandbox, self.dialect))

    async def find_unused_still(self, still: Job) -> Job | None:
        return await self._run(opening.find_unused_still(still, self.dialect))

    async def get(self, job_id: str) -> Job | None:
        return await self._run(tx.get_job(job_id, self.dialect))

    async def complete_id(self, part: str) -> list[str]:
        return await self._run(tx.complete_id(part))

    async def list_jobs(self, query: JobQuery) -> JobPage:
        return await self._run(tx.list_jobs(query, self.dialect))

    async def save(self, before: Job, after: Job, records: Sequence[AuditRecord] = ()) -> Job:
        # An ended row that is written again may give its key up: nobody must take the key in the same moment.
        return await self._run(tx.save_job(before, after, records, self.dialect), alone=before.is_terminal)

    async def amend(self, job: Job, records: Sequence[AuditRecord]) -> Job:
        return await self._run(tx.amend_job(job, records, self.dialect))

    async def restore(self, job: Job, records: Sequence[AuditRecord] = ()) -> Job:
        return await self._run(tx.restore_job(job, records, self.dialect), alone=True)

    async def claim(self, holder: Holder, limit: int, *, parked: bool = False) -> list[Job]:
        return await self._claim(holder, limit, parked, None)

    async def claim_one(self, holder: Holder, job_id: str) -> Job | None:
        claimed = await self._claim(holder, 1, True, job_id)
        return claimed[0] if claimed else None

    async def _claim(self, holder: Holder, limit: int, parked: bool, job_id: str | None) -> list[Job]:
        now = self._clock.now()
        return await self._run_over_the_dead(
            lambda dead: claims.claim_jobs(self.owner, dead, holder, now, limit, parked, self.dialect, job_id),
            alone=True,
        )

    async def heartbeat(self, holder: Holder) -> set[str]:
        return await self._run(claims.select_owned_jobs(self.owner, holder, self.dialect))

    async def list_stranded(self, holder: Holder, job_id: str | None = None) -> list[Stranded]:
        return await self._run_over_the_dead(
            lambda dead: claims.select_stranded_jobs(dead, holder, self.dialect, job_id), alone=False
        )

    async def hand_over(self, job_id: str, to: Account, *, sandbox: bool) -> Job:
        now = self._clock.now()
        return await self._run_over_the_dead(
            lambda dead: claims.hand_over(job_id, to, sandbox, dead, now, self.dialect), alone=True
        )

    async def complete_account(self, account: Account) -> None:
        await self._run(claims.complete_account(account, self.dialect))

    async def mark_delivered(self, job_id: str, at: datetime) -> None:
        await self._run(tx.mark_delivered(job_id, at, self.dialect))

    async def spend(self, now: datetime, *, sandbox: bool) -> Spend:
        return await self._run(tx.spend_at(now, sandbox, self.dialect))

    async def records(self, table: str, ids: Sequence[str]) -> list[dict[str, object]]:
        return await self._run(tx.read_records(table, ids))

    async def find_record(self, table: str, actor_id: str, name: str, value: str) -> dict[str, object] | None:
        return await self._run(tx.find_record(table, actor_id, name, value, self.dialect))
