"""What PgQueuer is made to do: give tasks, keep them, lay them to rest, and survive a database that goes away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from ring_mcp.domain import Job
from ring_mcp.jobs.dispatching import REST_FOR_GOOD_S, Dispatcher
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.postgres_channel import PostgresChannel
from ring_mcp.ledger.tasks import TABLE, ask_for, name_entrypoint, pick
from tests.contracts.queue_backends import until
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import ACCOUNT, opened

LIMIT_S = 60.0
MINE = name_entrypoint(ACCOUNT, sandbox=False)


@pytest.fixture
async def ledger(database: LedgerDatabase) -> AsyncIterator[Ledger]:
    async with database.started() as started:
        yield started


class Dispatching:
    """A dispatcher that runs: ``given`` are the jobs that it was given, ``lost`` those that it lost."""

    def __init__(
        self, database: LedgerDatabase, carry: Callable[[str], Awaitable[float | None]], lease_s: float
    ) -> None:
        self.me = str(uuid.uuid4())
        self.channel = PostgresChannel(database.address)
        self.given: list[tuple[str, bool]] = []
        self.lost: list[str] = []
        self._carry = carry
        self.dispatcher = Dispatcher(self.channel, self.me, self._work, self.lost.append, lease_s=lease_s)

    async def _work(self, job_id: str, asked: bool) -> float | None:
        self.given.append((job_id, asked))
        return await self._carry(job_id)


@asynccontextmanager
async def dispatching(
    database: LedgerDatabase, carry: Callable[[str], Awaitable[float | None]], *, lease_s: float = 60.0
) -> AsyncIterator[Dispatching]:
    there = Dispatching(database, carry, lease_s)
    await there.channel.start()
    there.dispatcher.register([MINE])
    running = asyncio.create_task(there.dispatcher.run())
    try:
        yield there
    finally:
        there.dispatcher.stop()
        await asyncio.wait_for(running, LIMIT_S)
        await there.channel.aclose()


async def be_over(_: str) -> None:
    return None


def statuses(database: LedgerDatabase) -> list[str]:
    return [row["status"] for row in database.query(f"SELECT CAST(status AS text) FROM {TABLE}")]


async def test_a_task_is_given_once_and_goes_when_it_is_over(database: LedgerDatabase, ledger: Ledger) -> None:
    async with dispatching(database, be_over) as there:
        jobs = [await opened(ledger) for _ in range(3)]
        await until(lambda: len(there.given) == 3 and not statuses(database))
    assert sorted(there.given) == sorted((job.id, False) for job in jobs)


async def test_tasks_of_other_accounts_are_not_given_until_registered(database: LedgerDatabase, ledger: Ledger) -> None:
    async with dispatching(database, be_over) as there:
        theirs = await opened(ledger, key_fingerprint="theirs")
        mine = await opened(ledger)
        await until(lambda: there.given)
        assert there.given == [(mine.id, False)]
        there.dispatcher.register([name_entrypoint(theirs.account, sandbox=False)])
        await until(lambda: len(there.given) == 2)


async def test_a_task_that_rests_is_given_again_when_somebody_asks(database: LedgerDatabase, ledger: Ledger) -> None:
    async def take_and_rest(job_id: str) -> float:
        taken = await ledger.get(job_id)
        assert taken is not None
        assert await there.channel.run(pick(taken, there.me, 60.0)), "whoever takes the job answers the one who asked"
        return REST_FOR_GOOD_S

    async with dispatching(database, take_and_rest) as there:
        job = await opened(ledger)
        await until(lambda: statuses(database) == ["queued"] and there.given)
        await there.channel.run(ask_for(job))
        await until(lambda: len(there.given) == 2)
    assert there.given == [(job.id, False), (job.id, True)]


async def test_an_error_of_ours_decides_nothing_but_that_it_is_over(database: LedgerDatabase, ledger: Ledger) -> None:
    async def fail(_: str) -> float:
        raise ValueError("a fault of ours")

    async with dispatching(database, fail) as there:
        job = await opened(ledger)
        await until(lambda: there.given and not statuses(database))
    assert await ledger.get(job.id) == job


async def test_a_task_that_somebody_else_has_is_told_to_be_lost(database: LedgerDatabase, ledger: Ledger) -> None:
    over = asyncio.Event()

    async def wait(_: str) -> None:
        await over.wait()

    async with dispatching(database, wait, lease_s=2.0) as there:
        job = await opened(ledger)
        await until(lambda: there.given)
        database.query(f"UPDATE {TABLE} SET queue_manager_id = CAST(:other AS uuid)", {"other": str(uuid.uuid4())})
        await until(lambda: job.id in there.lost)
        over.set()
    assert statuses(database) == ["picked"], "it is not ours to end"


async def test_the_dead_are_succeeded_and_the_living_are_not(database: LedgerDatabase, ledger: Ledger) -> None:
    forever = asyncio.Event()

    async def wait(_: str) -> None:
        await forever.wait()

    async with dispatching(database, wait, lease_s=2.0) as living, dispatching(database, be_over, lease_s=2.0) as other:
        other.given.clear()
        jobs = [await opened(ledger) for _ in range(8)]
        await until(lambda: len(living.given) + len(other.given) == 8)
        held = {job_id for job_id, _ in living.given}
        dead = await opened(ledger, id="of-the-dead")
        await until(lambda: {"of-the-dead"} <= {job_id for job_id, _ in [*living.given, *other.given]})
        forever.set()
    assert len(held) + len({job_id for job_id, _ in other.given} - {dead.id}) == len(jobs)


async def test_a_database_that_goes_away_is_waited_for(database: LedgerDatabase, ledger: Ledger) -> None:
    async with dispatching(database, be_over) as there:
        await until(lambda: there.channel.is_listening)
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        database.query(f"{cut} AND pid <> pg_backend_pid()")
        job: Job = await opened(ledger)
        await until(lambda: there.given and not statuses(database))
    assert there.given == [(job.id, False)]
