"""Jobs by state, the queue, and who is at the ledger: over both databases."""

from __future__ import annotations

import asyncio
import os
import platform
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp import telemetry
from ring_mcp.domain import JobState
from ring_mcp.ledger import fleet
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.postgres_channel import PostgresChannel
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.metrics import Registry
from tests.fake_clock import START, FakeClock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import HOLDER, NO_CAPS, carried, planned


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> LedgerDatabase:
    found: LedgerDatabase = request.getfixturevalue(request.param)
    return found


async def counts(ledger: Ledger, *, sandbox: bool = False) -> dict[str, int]:
    jobs = (await ledger.count_jobs(sandbox=sandbox)).jobs
    return {state.value: count for state, count in jobs.items() if count}


async def test_jobs_are_counted_by_state_on_their_way(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        assert await counts(ledger) == {}
        job = (await ledger.open(planned(request_hash="v1:1"), NO_CAPS)).job
        await ledger.open(planned(request_hash="v1:2", sandbox=True), NO_CAPS)
        assert await counts(ledger) == {"planned": 1}
        assert await counts(ledger, sandbox=True) == {"planned": 1}
        for state in (JobState.SUBMITTING, JobState.RENDERING, JobState.STORING, JobState.DONE):
            job = await ledger.save(job, carried(job, state))
            assert await counts(ledger) == {state.value: 1}
        assert await ledger.find_wrong_sums() == []


async def test_the_queue_begins_with_the_job_that_waits_longest(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        assert (await ledger.count_jobs(sandbox=False)).waiting_since is None
        job = (await ledger.open(planned(created_at=START), NO_CAPS)).job
        assert (await ledger.count_jobs(sandbox=False)).waiting_since == START
        await ledger.save(job, carried(job, JobState.SUBMITTING))
        assert (await ledger.count_jobs(sandbox=False)).waiting_since is None


async def test_wrong_counts_are_found_and_made_right(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.open(planned(), NO_CAPS)
        database.query("UPDATE media_job_states SET jobs = jobs + 2 WHERE state = 'planned'")
        [wrong] = await ledger.find_wrong_sums()
        assert (wrong.what, wrong.of, wrong.too_much) == ("planned jobs", "everybody", Decimal(2))
        await ledger.recount()
        assert await ledger.find_wrong_sums() == []
        assert await counts(ledger) == {"planned": 1}


async def test_a_day_may_have_the_right_money_of_too_many_jobs(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.open(planned(), NO_CAPS)
        database.query("UPDATE media_job_days SET jobs = jobs + 1")
        [wrong] = await ledger.find_wrong_sums()
        assert wrong.what.startswith("US dollars of +1 jobs of ")
        assert wrong.too_much == Decimal(0)


async def test_a_sum_in_parts_is_the_sum_of_its_parts(postgres: LedgerDatabase) -> None:
    """As PostgreSQL keeps it, so that writers seldom wait for each other."""
    async with postgres.started() as ledger:
        for _ in range(3):
            await ledger.open(planned(), NO_CAPS)
        for part, jobs in ((98, 7), (99, -7)):
            postgres.insert("media_job_states", {"sandbox": False, "state": "planned", "part": part, "jobs": jobs})
        assert await counts(ledger) == {"planned": 3}
        assert await ledger.find_wrong_sums() == []


async def test_a_row_that_goes_is_no_longer_counted(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        job = (await ledger.open(planned(), NO_CAPS)).job
        database.query("DELETE FROM media_jobs WHERE id = :id", {"id": job.id})
        assert await counts(ledger) == {}


async def test_whoever_is_at_a_file_is_named(tmp_path: Path) -> None:
    one = SqliteLedger(tmp_path / "ledger.db", FakeClock(), "serve here:1")
    other = SqliteLedger(tmp_path / "ledger.db", FakeClock(), "stdio there:2")
    await one.start()
    await other.start()
    named = {(each.role, each.place) for each in await one.list_processes()}
    assert named == {("serve", "here:1"), ("stdio", "there:2")}
    await other.aclose()
    assert [each.role for each in await one.list_processes()] == ["serve"]
    await one.aclose()


async def test_whoever_listens_to_the_database_is_named(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        assert await ledger.list_processes() == []
        channel = PostgresChannel(postgres.address, name=fleet.name_session("worker", "mächine" * 10, 4711))
        heard: list[None] = []
        channel.after_a_gap(lambda: heard.append(None))
        await channel.start()
        async with asyncio.timeout(60):
            while not heard:
                await channel.fetch("SELECT 1")
        [process] = await ledger.list_processes()
        assert (process.role, process.place) == ("worker", f"{('m?chine' * 10)[:32]}:4711")
        await channel.aclose()


def test_a_session_is_named_by_program_role_machine_and_process() -> None:
    """As an administrator finds it in pg_stat_activity, in at most 63 characters."""
    assert fleet.name_session("worker", "machine", 4711) == "ring-mcp worker machine:4711"
    longest = fleet.name_session("conductor", "x" * 40, 4_194_304)
    assert longest == f"ring-mcp conductor {'x' * 32}:4194304"
    assert len(longest) <= 63
    assert fleet.name_session("stdio", "a\x1bb\u00e9", 1) == "ring-mcp stdio a?b?:1"
    assert fleet.name_this_process("serve") == fleet.name_session("serve", platform.node(), os.getpid())
    process = fleet.read_process("ring-mcp worker machine:4711", START)
    assert (process.role, process.place, process.since) == ("worker", "machine:4711", START)


async def test_only_jobs_of_ones_own_world_wait_in_its_queue(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        for minutes in (2, 0, 1):
            await ledger.open(planned(created_at=START + timedelta(minutes=minutes)), NO_CAPS)
        await ledger.open(planned(created_at=START - timedelta(hours=1), sandbox=True), NO_CAPS)
        early = (await ledger.open(planned(created_at=START - timedelta(hours=2)), NO_CAPS)).job
        await ledger.save(early, carried(early, JobState.SUBMITTING))
        assert (await ledger.count_jobs(sandbox=False)).waiting_since == START
        assert (await ledger.count_jobs(sandbox=True)).waiting_since == START - timedelta(hours=1)


def test_a_label_that_says_nothing_is_somebody_unknown() -> None:
    assert fleet.read_process("", START).role == "unknown"


@pytest.mark.parametrize(
    ("state", "counted"), [(JobState.PLANNED, 0), (JobState.SUBMITTING, 1), (JobState.RENDERING, 1)]
)
async def test_a_begun_job_of_a_dead_process_is_a_takeover(tmp_path: Path, state: JobState, counted: int) -> None:
    dead = SqliteLedger(tmp_path / "ledger.db", FakeClock())
    await dead.start()
    job = (await dead.open(planned(due_at=START), NO_CAPS)).job
    for each in (JobState.SUBMITTING, JobState.RENDERING)[: list(JobState).index(state)]:
        job = await dead.save(job, carried(job, each))
    await dead.aclose()
    heir = SqliteLedger(tmp_path / "ledger.db", FakeClock())
    with telemetry.measure(Registry()) as registry:
        assert [claimed.id for claimed in await heir.claim(HOLDER, 10, parked=True)] == [job.id]
        assert await heir.claim(HOLDER, 10, parked=True) == []
    assert registry.to_text().count('ring_mcp_jobs_taken_over_total{kind="image"} 1.0') == counted
    await heir.aclose()
