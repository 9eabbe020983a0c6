"""A PostgreSQL whose defaults are others than ours, and one that somebody else is using just now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest

from ring_mcp.backends import migrate_ledger
from ring_mcp.config import load_config
from ring_mcp.domain import Caps, Job, JobState
from ring_mcp.errors import CapExceeded, LedgerError
from ring_mcp.ledger import locks
from ring_mcp.ledger.base import JobQuery, Ledger
from ring_mcp.ledger.migrations import migrations
from ring_mcp.ledger.postgres import migrate
from ring_mcp.ledger.postgres_channel import PostgresChannel
from ring_mcp.ledger.statements import Statement, Transaction
from ring_mcp.ledger.tasks import TABLE
from tests.ledger.waiting import LIMIT_S, until_somebody_waits_for_a_lock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import HOLDER, NO_CAPS, be_driven, carried, left_behind, opened, planned
from tests.postgres_server import PostgresServer, fresh_database

CAPPED = Caps(per_day_usd=Decimal(100))
OF_SPENDING = f"SELECT pg_advisory_xact_lock({locks.of_spending(False)})"
"""What everybody waits for whose call counts against a cap."""

STRICT = ["repeatable read", "serializable"]
WITNESS = """
    CREATE TABLE seen (setting TEXT);
    CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO seen SELECT {what};
        RETURN NEW;
    END $$;
    CREATE TRIGGER see BEFORE INSERT OR UPDATE ON media_jobs FOR EACH ROW EXECUTE FUNCTION see();
"""


def set_default(database: LedgerDatabase, name: str, value: str) -> None:
    dbname = psycopg.conninfo.conninfo_to_dict(database.address)["dbname"]
    database.query(f"ALTER DATABASE {dbname} SET {name} TO '{value}'")


def seen_in_transactions(database: LedgerDatabase) -> set[str]:
    return {row["setting"] for row in database.query("SELECT setting FROM seen")}


@pytest.fixture(scope="module")
def careless_server() -> Iterator[PostgresServer]:
    """One that says "committed" before anything is on disk, and takes its time."""
    server = PostgresServer(settings={"synchronous_commit": "off", "wal_writer_delay": "10s"})
    yield server
    server.close()


async def outcome(ledger: Ledger, job: Job, caps: Caps) -> str:
    try:
        return "joined" if (await ledger.open(job, caps)).joined else "opened"
    except CapExceeded:
        return "refused"


@pytest.mark.parametrize("isolation", STRICT)
async def test_under_a_stricter_default_identical_calls_still_pay_once_and_caps_hold(
    postgres: LedgerDatabase, isolation: str
) -> None:
    set_default(postgres, "default_transaction_isolation", isolation)
    a_dollar = Caps(per_day_usd=Decimal("1.00"))
    async with postgres.started() as first, postgres.started() as second:
        both = (first, second)
        same = await asyncio.gather(
            *(outcome(both[i % 2], planned(request_hash="v1:same"), a_dollar) for i in range(24))
        )
        assert sorted(same) == ["joined"] * 23 + ["opened"]
        others = await asyncio.gather(*(outcome(both[i % 2], planned(), a_dollar) for i in range(24)))
        assert sorted(others) == ["opened"] * 15 + ["refused"] * 9, "sixteen pictures of $0.06 fit under $1.00"


@pytest.mark.parametrize("isolation", STRICT)
async def test_under_a_stricter_default_calls_beside_each_other_all_go_through(
    postgres: LedgerDatabase, isolation: str
) -> None:
    set_default(postgres, "default_transaction_isolation", isolation)
    async with postgres.started() as first, postgres.started() as second:

        async def carry(ledger: Ledger) -> JobState:
            return (await opened(ledger, JobState.DONE)).state

        assert await asyncio.gather(*(carry(each) for each in (first, second) * 12)) == [JobState.DONE] * 24
        left = [await left_behind(first) for _ in range(10)]
        taken = await asyncio.gather(*(each.claim_one(HOLDER, job.id) for job in left for each in (first, second)))
        assert sorted(job.id for job in taken if job is not None) == sorted(job.id for job in left)


async def test_a_read_only_default_is_written_all_the_same(postgres: LedgerDatabase) -> None:
    set_default(postgres, "default_transaction_read_only", "on")
    async with postgres.started() as ledger:
        job = await opened(ledger, JobState.DONE)
        assert await ledger.get(job.id) == job


async def test_under_a_read_only_default_tables_are_made_and_upgraded(empty_postgres: LedgerDatabase) -> None:
    set_default(empty_postgres, "default_transaction_read_only", "on")
    files = [migration.name for migration in migrations("postgres")]
    assert await migrate(empty_postgres.address) == [*files, "PgQueuer's tables"]
    empty_postgres.query(f"SET TRANSACTION READ WRITE; ALTER TABLE {TABLE} DROP COLUMN attempts")
    assert await migrate(empty_postgres.address) == ["PgQueuer's tables"]
    assert await migrate(empty_postgres.address) == []


async def test_under_a_read_only_default_a_channel_writes(postgres: LedgerDatabase) -> None:
    set_default(postgres, "default_transaction_read_only", "on")
    channel = PostgresChannel(postgres.address)
    await channel.start()

    def write() -> Transaction[int]:
        return len((yield Statement("UPDATE ring_mcp_migrations SET version = version RETURNING version")))

    assert await channel.run(write()) == len(migrations("postgres"))
    await channel.aclose()


async def test_under_a_read_only_default_who_ends_gives_its_jobs_back(postgres: LedgerDatabase) -> None:
    set_default(postgres, "default_transaction_read_only", "on")
    async with postgres.started() as ledger:
        async with postgres.started(lease_s=3600.0) as ending:
            job = await opened(ending)
            await be_driven(ending, job)
        assert await ledger.claim_one(HOLDER, job.id) is not None


@pytest.mark.parametrize(
    ("default", "used"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")],
)
async def test_a_commit_is_on_disk_whatever_the_default(postgres: LedgerDatabase, default: str, used: str) -> None:
    set_default(postgres, "synchronous_commit", default)
    postgres.query(WITNESS.format(what="current_setting('synchronous_commit')"))
    async with postgres.started() as ledger:
        job = await left_behind(ledger, JobState.STORING)
        assert await ledger.claim_one(HOLDER, job.id)
    assert seen_in_transactions(postgres) == {used}


async def test_a_confirmed_intent_survives_a_careless_servers_crash(
    careless_server: PostgresServer,
) -> None:
    with fresh_database(careless_server.url(), migrated=False) as url:
        await migrate(url)
        async with LedgerDatabase("postgres", url).started() as ledger:
            intent = await opened(ledger, JobState.SUBMITTING)
            await asyncio.to_thread(careless_server.crash)
            await asyncio.to_thread(careless_server.start)
            assert await ledger.get(intent.id) == intent


async def test_nothing_is_prepared_on_a_shared_connection(
    postgres: LedgerDatabase,
) -> None:
    postgres.query(WITNESS.format(what="CAST(count(*) AS TEXT) FROM pg_prepared_statements"))
    async with postgres.started(max_connections=1) as ledger:
        for _ in range(10):
            await opened(ledger, JobState.SUBMITTING)
    assert seen_in_transactions(postgres) == {"0"}


# Somebody is in the way


async def test_who_waits_for_a_lock_hears_of_a_busy_ledger(
    postgres: LedgerDatabase,
) -> None:
    async with postgres.started(lock_timeout_s=0.3) as ledger:
        with postgres.transaction() as in_the_way:
            in_the_way.query(OF_SPENDING)
            calls = [ledger.open(planned(), CAPPED) for _ in range(24)]
            answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), LIMIT_S)
        assert {(type(answer), getattr(answer, "retryable", None)) for answer in answers} == {(LedgerError, True)}
        assert {str(answer) for answer in answers} == {
            "the database of DATABASE_URL is busy: another transaction has held a lock for too long"
        }
        assert (await ledger.list_jobs(JobQuery())).jobs == []
        assert not (await ledger.open(planned(), NO_CAPS)).joined


async def test_who_needs_no_lock_is_not_kept_waiting(postgres: LedgerDatabase) -> None:
    async with postgres.started(lock_timeout_s=LIMIT_S, max_connections=4) as ledger:
        job = await opened(ledger, JobState.RENDERING)
        with postgres.transaction() as in_the_way:
            in_the_way.query(OF_SPENDING)
            calls = [asyncio.create_task(ledger.open(planned(), CAPPED)) for _ in range(24)]
            await until_somebody_waits_for_a_lock(postgres)
            assert await ledger.get(job.id) == job
            assert (await ledger.save(job, carried(job, JobState.STORING))).state is JobState.STORING
            assert not any(call.done() for call in calls)
            uncapped = asyncio.create_task(ledger.open(planned(), NO_CAPS))
            assert not (await asyncio.wait_for(uncapped, LIMIT_S)).joined
        assert not any(opened.joined for opened in await asyncio.wait_for(asyncio.gather(*calls), LIMIT_S))


async def test_a_locked_table_is_a_ledger_error(
    postgres: LedgerDatabase,
) -> None:
    async with postgres.started(lock_timeout_s=0.3) as ledger:
        job = await opened(ledger, JobState.SUBMITTING)
        with postgres.transaction() as in_the_way:
            in_the_way.query("LOCK TABLE media_jobs IN ACCESS EXCLUSIVE MODE")
            for attempt in (ledger.get(job.id), ledger.save(job, carried(job, JobState.RENDERING))):
                with pytest.raises(LedgerError, match="is busy"):
                    await asyncio.wait_for(attempt, LIMIT_S)
        assert await ledger.get(job.id) == job
        assert (await ledger.save(job, carried(job, JobState.RENDERING))).state is JobState.RENDERING


async def test_tables_are_migrated_at_the_direct_address_where_there_is_one(empty_postgres: LedgerDatabase) -> None:
    environ = {
        "DATABASE_URL": "postgresql://pooler.invalid:1/nowhere",
        "RING_DATABASE_DIRECT_URL": empty_postgres.address,
    }
    names = await migrate_ledger(load_config(environ))
    assert names == [*(migration.name for migration in migrations("postgres")), "PgQueuer's tables"]
