"""What both ledgers share: every method of the contract is one transaction of ``ledger.transactions``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, TypeVar

from ring_mcp.clock import Clock
from ring_mcp.domain import AuditRecord, Caps, Job, Spend
from ring_mcp.ledger import transactions as tx
from ring_mcp.ledger.base import JobPage, JobQuery, Opened
from ring_mcp.ledger.rows import Dialect

T = TypeVar("T")


class TransactionalLedger(ABC):
    """A backend says how a transaction is run, and which owners are dead; the rest is here."""

    dialect: ClassVar[Dialect]
    owner: str

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @abstractmethod
    async def _run(self, transaction: tx.Transaction[T], *, alone: bool = False) -> T:
        """Run it to its end and commit; ``alone``: no other such transaction at the same time, on any machine."""

    @abstractmethod
    async def _claim(self, limit: int, parked: bool, job_id: str | None) -> list[Job]:
        """Take over jobs of dead owners."""

    async def ping(self) -> None:
        await self._run(tx.get_job("", self.dialect))

    async def open(self, job: Job, caps: Caps, still: Job | None = None) -> Opened:
        still = replace(still, owner=self.owner) if still is not None else None
        return await self._run(tx.open_job(replace(job, owner=self.owner), caps, self.dialect, still), alone=True)

    async def get(self, job_id: str) -> Job | None:
        return await self._run(tx.get_job(job_id, self.dialect))

    async def list_jobs(self, query: JobQuery) -> JobPage:
        return await self._run(tx.list_jobs(query, self.dialect))

    async def save(self, before: Job, after: Job, records: Sequence[AuditRecord] = ()) -> Job:
        return await self._run(tx.save_job(before, after, records, self.dialect))

    async def claim(self, limit: int, *, parked: bool = False) -> list[Job]:
        return await self._claim(limit, parked, None)

    async def claim_one(self, job_id: str) -> Job | None:
        claimed = await self._claim(1, True, job_id)
        return claimed[0] if claimed else None

    async def heartbeat(self, job_ids: Collection[str]) -> set[str]:
        return await self._run(tx.owned(self.owner, job_ids))

    async def mark_delivered(self, job_id: str, at: datetime) -> None:
        await self._run(tx.mark_delivered(job_id, at, self.dialect))

    async def spend(self, now: datetime, *, sandbox: bool) -> Spend:
        return await self._run(tx.spend_at(now, sandbox, self.dialect))

    async def records(self, table: str, ids: Sequence[str]) -> list[dict[str, object]]:
        return await self._run(tx.read_records(table, ids))

    async def find_record(self, table: str, actor_id: str, name: str, value: str) -> dict[str, object] | None:
        return await self._run(tx.find_record(table, actor_id, name, value, self.dialect))
