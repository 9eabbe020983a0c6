"""What is particular to a ledger in PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import psycopg
import pytest

from ring_mcp.domain import Caps, JobState
from ring_mcp.errors import CapExceeded, JobMoved, LedgerBehind, LedgerError
from ring_mcp.ledger import locks
from ring_mcp.ledger.base import JobQuery
from ring_mcp.ledger.migrations import Migration, migrations
from ring_mcp.ledger.postgres import PostgresLedger, migrate
from ring_mcp.ledger.statements import Transaction
from tests.fake_clock import START, FakeClock, let_pass
from tests.jobs.engine import still_clip_plan
from tests.ledger.waiting import LIMIT_S, until, until_somebody_waits_for_a_lock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_process import other_process
from tests.ledger_samples import (
    HOLDER,
    NO_CAPS,
    PRICE_USD,
    audit_row,
    be_driven,
    carried,
    left_behind,
    opened,
    planned,
)
from tests.one_now import one_now
from tests.postgres_server import PostgresServer, fresh_database, with_database

T = TypeVar("T")

PASSWORD = "s3cret%of:the/operator"
RINGS_OWN_TABLE = """
    CREATE TABLE IF NOT EXISTS generated_images (
        id VARCHAR(255) PRIMARY KEY,
        data JSONB NOT NULL,
        created_at TIMESTAMPTZ DEFAULT NOW(),
        updated_at TIMESTAMPTZ DEFAULT NOW()
    );
    CREATE INDEX IF NOT EXISTS idx_generated_images_actor_id ON generated_images ((data->>'actorId'));
    CREATE INDEX IF NOT EXISTS idx_generated_images_created_at ON generated_images (created_at DESC);
    CREATE INDEX IF NOT EXISTS idx_generated_images_data_gin ON generated_images USING GIN (data);
    INSERT INTO generated_images (id, data) VALUES ('of-ring', '{"actorId": "ring", "prompt": "older than us"}');
"""


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """One that a test may stop; connections have to give a password."""
    server = PostgresServer(password=PASSWORD)
    yield server
    server.close()


# Tables


async def test_without_tables_a_start_says_to_migrate_and_works_afterwards(empty_postgres: LedgerDatabase) -> None:
    ledger = empty_postgres.ledger()
    for attempt in (ledger.start, ledger.ping, lambda: ledger.open(planned(), NO_CAPS)):
        with pytest.raises(LedgerBehind, match=r"behind \(001_ledger\.sql\): run ring-mcp migrate") as refusal:
            await attempt()
        assert refusal.value.next_action == "Run `ring-mcp migrate`."
    assert (await migrate(empty_postgres.address))[0] == "001_ledger.sql"
    assert not (await ledger.open(planned(), NO_CAPS)).joined
    await ledger.aclose()


async def test_a_start_changes_nothing_unasked(empty_postgres: LedgerDatabase) -> None:
    ledger = empty_postgres.ledger()
    with pytest.raises(LedgerBehind):
        await ledger.start()
    await ledger.aclose()
    assert empty_postgres.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


async def test_migrating_again_changes_nothing(empty_postgres: LedgerDatabase) -> None:
    names = await migrate(empty_postgres.address)
    assert names
    async with empty_postgres.started() as ledger:
        job = await opened(ledger)
        assert await migrate(empty_postgres.address) == []
        assert await ledger.get(job.id) == job


@pytest.mark.parametrize("by_hand", one_now(range(len(migrations("postgres")), 0, -1), 2))
async def test_files_that_were_run_by_hand_are_known(empty_postgres: LedgerDatabase, by_hand: int) -> None:
    files = migrations("postgres")
    for migration in files[:by_hand]:  # as `psql -f` does it
        empty_postgres.query(migration.sql)
    rest = [migration.name for migration in files[by_hand:]]
    assert await migrate(empty_postgres.address) == [*rest, "PgQueuer's tables"]
    async with empty_postgres.started() as ledger:
        job = await opened(ledger)
        assert await ledger.get(job.id) == job
    assert await migrate(empty_postgres.address) == []


SCHEMA = """
    SELECT 'table' AS kind, tablename AS name, '' AS definition FROM pg_tables WHERE schemaname = 'public'
    UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'function', proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    ORDER BY 1, 2"""


@pytest.mark.parametrize(
    "migration", one_now(reversed(migrations("postgres")), 2), ids=lambda migration: migration.name
)
async def test_a_file_run_by_hand_again_changes_nothing(postgres: LedgerDatabase, migration: Migration) -> None:
    async with postgres.started() as ledger:
        job = await opened(ledger)
        spend, schema = await ledger.spend(job.created_at, sandbox=job.sandbox), postgres.query(SCHEMA)
        postgres.query(migration.sql)
        assert postgres.query(SCHEMA) == schema
        assert await ledger.get(job.id) == job
        assert await ledger.spend(job.created_at, sandbox=job.sandbox) == spend
    assert await migrate(postgres.address) == []


@pytest.mark.parametrize("migration", migrations("postgres"), ids=lambda migration: migration.name)
def test_a_file_run_by_hand_is_one_statement(migration: Migration) -> None:
    """psql commits each statement by itself: a file that stopped half-way could be run neither again nor on."""
    code = "\n".join(line for line in migration.sql.splitlines() if line and not line.startswith("--"))
    if migration.version == 1:  # where the others look
        code = code.removeprefix(
            "CREATE TABLE IF NOT EXISTS ring_mcp_migrations (\n    version  INTEGER PRIMARY KEY\n);\n"
        )
    assert code.startswith("DO $ring_mcp$ BEGIN\nIF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = ")
    assert code.endswith(f"VALUES ({migration.version});\nEND $ring_mcp$;")
    assert code.count("$ring_mcp$") == 2


async def test_of_several_who_migrate_at_once_each_file_is_applied_by_one(empty_postgres: LedgerDatabase) -> None:
    applied = await asyncio.gather(*(migrate(empty_postgres.address) for _ in range(6)))
    names = [name for names in applied for name in names]
    assert sorted(names) == [*(migration.name for migration in migrations("postgres")), "PgQueuer's tables"]


async def test_a_migration_that_fails_leaves_nothing_behind(empty_postgres: LedgerDatabase) -> None:
    empty_postgres.query("CREATE TABLE media_jobs (id TEXT, theirs TEXT)")
    with pytest.raises(LedgerError):
        await migrate(empty_postgres.address)
    tables = empty_postgres.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert tables == [{"tablename": "media_jobs"}]


async def test_the_images_of_a_ring_clone_stay_and_ours_come_beside_them(empty_postgres: LedgerDatabase) -> None:
    empty_postgres.query(RINGS_OWN_TABLE)
    await migrate(empty_postgres.address)
    async with empty_postgres.started() as ledger:
        job = await opened(ledger, JobState.STORING)
        record = audit_row(prompt="a lighthouse")
        await ledger.save(job, carried(job, JobState.DONE), [record])
        rows = await ledger.records("generated_images", ["of-ring", record.id])
    assert {row.get("id", "of-ring"): row["prompt"] for row in rows} == {
        "of-ring": "older than us",
        record.id: "a lighthouse",
    }
    by_ring = "SELECT id FROM generated_images WHERE data->>'actorId' = :actor ORDER BY created_at DESC"
    assert empty_postgres.query(by_ring, {"actor": "local"}) == [{"id": record.id}]


async def test_times_are_utc_whatever_the_zone_of_the_database(postgres: LedgerDatabase) -> None:
    name = psycopg.conninfo.conninfo_to_dict(postgres.address)["dbname"]
    postgres.query(f"ALTER DATABASE {name} SET timezone TO 'Asia/Kathmandu'")
    just_before = datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC)
    async with postgres.started() as ledger:
        job = await opened(ledger, created_at=just_before)
        stored = await ledger.get(job.id)
        assert stored == job
        assert str(stored.created_at) == "2026-11-20 23:59:59.999999+00:00"
        assert (await ledger.spend(just_before, sandbox=False)).day_usd == PRICE_USD
        assert (await ledger.spend(START, sandbox=False)).day_usd == 0


# Tasks


async def test_a_killed_process_is_succeeded_when_its_heart_has_been_still(postgres: LedgerDatabase) -> None:
    async with postgres.started(lease_s=0.5) as ledger, other_process(postgres, lease_s=0.5) as other:
        [[job_id, _]] = await other.ask("open", jobs=[{}])
        assert await other.ask("claim_one", job_id=job_id) == job_id
        await other.kill()
        claimed = await until(lambda: ledger.claim_one(HOLDER, job_id))
        assert claimed.id == job_id


async def test_a_process_that_was_only_paused_cannot_overwrite_its_successor(postgres: LedgerDatabase) -> None:
    async with postgres.started(lease_s=0.5) as ledger, other_process(postgres, lease_s=0.5) as paused:
        [[job_id, _]] = await paused.ask("open", jobs=[{}])
        assert await paused.ask("claim_one", job_id=job_id) == job_id
        paused.pause()
        claimed = await until(lambda: ledger.claim_one(HOLDER, job_id))
        mine = await ledger.save(claimed, carried(claimed, JobState.SUBMITTING))
        paused.resume()
        assert await paused.ask("save", job_id=job_id, seen_version=1) == "job_moved"
        assert await ledger.get(job_id) == mine


async def test_a_lease_counts_by_the_clock_of_the_database_alone(postgres: LedgerDatabase) -> None:
    far_ahead = FakeClock(START + timedelta(days=3650))
    async with postgres.started() as ledger, postgres.started(far_ahead) as other:
        job = await opened(ledger)
        await be_driven(ledger, job)
        assert await other.claim_one(HOLDER, job.id) is None


class Unconfirmed(PostgresLedger):
    """A commit whose confirmation is lost, as often as ``lose`` says; ``arrives``: it was made; ``meanwhile``: what
    is done before the loss is noticed."""

    lose, arrives = 0, True
    meanwhile: Callable[[], None] | None = None

    async def _write(self, transaction: Transaction[T], turns: Sequence[int] = (), *, relaxed: bool = False) -> T:
        if self.lose <= 0:
            return await super()._write(transaction, turns)
        self.lose -= 1
        if self.arrives:
            await super()._write(transaction, turns)
        else:
            with contextlib.suppress(ZeroDivisionError):
                await super()._write(_fail_at_the_end(transaction), turns)
        if self.meanwhile is not None:
            self.meanwhile()
        raise LedgerError("the connection was lost")


def _fail_at_the_end(transaction: Transaction[T]) -> Transaction[T]:
    yield from transaction
    raise ZeroDivisionError


async def test_an_opening_whose_confirmation_was_lost_is_found(postgres: LedgerDatabase) -> None:
    ledger = Unconfirmed(postgres.address, FakeClock())
    ledger.lose = 1
    clip, still = planned(kind="video", plan=still_clip_plan()), planned()
    opening = await ledger.open(clip, NO_CAPS, still)
    assert not opening.joined
    assert opening.job == await ledger.get(clip.id)
    assert opening.still is not None
    assert opening.still == await ledger.get(still.id)
    ledger.lose = 1
    alone = planned()
    assert (await ledger.open(alone, NO_CAPS)).still is None
    assert ledger._committing == set()
    await ledger.aclose()


async def test_an_opening_is_looked_for_once_its_transaction_has_ended(postgres: LedgerDatabase) -> None:
    ledger = Unconfirmed(postgres.address, FakeClock(), lock_timeout_s=LIMIT_S)
    ledger.lose = 1
    job = planned()
    with contextlib.ExitStack() as stack:

        def go_on() -> None:
            in_the_way = stack.enter_context(postgres.transaction())
            in_the_way.query("SELECT pg_advisory_xact_lock(:lock)", {"lock": locks.of_request(job)})

        ledger.meanwhile = go_on
        opening = asyncio.create_task(ledger.open(job, NO_CAPS))
        waiting = asyncio.create_task(until_somebody_waits_for_a_lock(postgres))
        await asyncio.wait({opening, waiting}, return_when=asyncio.FIRST_COMPLETED)
        assert not opening.done()
        await waiting
    assert (await asyncio.wait_for(opening, LIMIT_S)).job.id == job.id
    await ledger.aclose()


async def test_a_lease_is_a_minute_and_nobody_waits_long() -> None:
    """As docs/postgres.md says; and of ten connections, three are for those who need no lock."""
    ledger = PostgresLedger("postgresql://nobody.invalid/none", FakeClock())
    assert (ledger.lease_s, ledger._grace_s, ledger._lock_timeout_s) == (60.0, 30.0, 5.0)
    pool = ledger._pool
    assert (pool.min_size, pool.max_size, pool.timeout, pool.reconnect_timeout) == (1, 10, 10.0, 5.0)
    assert ledger._turns._all._value == 7
    await ledger.aclose()


@pytest.mark.parametrize(("connections", "with_locks"), [(1, 1), (2, 1), (4, 3), (100, 75)])
async def test_a_quarter_of_the_connections_is_for_those_without_locks(connections: int, with_locks: int) -> None:
    ledger = PostgresLedger("postgresql://nobody.invalid/none", FakeClock(), max_connections=connections)
    assert ledger._turns._all._value == with_locks


async def test_nothing_is_remembered_of_a_job_that_was_joined(postgres: LedgerDatabase) -> None:
    """A server that never stops is asked for the same thing often."""
    async with postgres.started() as ledger:
        assert isinstance(ledger, PostgresLedger)
        joined = [(await ledger.open(planned(request_hash="v1:same"), NO_CAPS)).joined for _ in range(2)]
        assert (joined, ledger._committing) == ([False, True], set())


async def test_an_opening_that_was_not_committed_has_begun_nothing(postgres: LedgerDatabase) -> None:
    ledger = Unconfirmed(postgres.address, FakeClock())
    ledger.lose, ledger.arrives = 1, False
    with pytest.raises(LedgerError, match=r"^the connection was lost$") as failure:
        await ledger.open(planned(id="a-job"), NO_CAPS)
    assert failure.value.billed == "no"
    assert await ledger.get("a-job") is None
    await ledger.aclose()


async def test_an_opening_that_cannot_be_looked_for_may_have_begun(postgres: LedgerDatabase) -> None:
    ledger = Unconfirmed(postgres.address, FakeClock())
    ledger.lose = 2
    with pytest.raises(LedgerError, match="whether job a-job was opened is not known") as failure:
        await ledger.open(planned(id="a-job"), NO_CAPS)
    assert failure.value.billed == "unknown"
    assert "a-job" in failure.value.next_action
    await ledger.aclose()


async def test_a_process_that_ends_in_order_gives_its_jobs_back_at_once(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        async with postgres.started(lease_s=3600.0) as ending:
            job = await opened(ending)
            await be_driven(ending, job)
        assert await ledger.claim_one(HOLDER, job.id) is not None


async def test_a_process_that_ends_leaves_no_connection_behind(postgres: LedgerDatabase) -> None:
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ledger = postgres.ledger()
    await ledger.start()
    await asyncio.gather(*(ledger.ping() for _ in range(5)))
    assert postgres.query(others)
    await ledger.aclose()

    async def are_gone() -> bool:
        return not await asyncio.to_thread(postgres.query, others)

    await until(are_gone)


async def test_a_process_that_ends_waits_two_seconds_for_a_connection(postgres: LedgerDatabase) -> None:
    ledger = postgres.ledger(max_connections=1, lock_timeout_s=LIMIT_S)
    await ledger.start()
    with postgres.transaction() as in_the_way:
        in_the_way.query("LOCK TABLE media_jobs IN EXCLUSIVE MODE")
        opening = asyncio.create_task(ledger.open(planned(), NO_CAPS))
        await until_somebody_waits_for_a_lock(postgres)
        ending = asyncio.create_task(ledger.aclose())
        await asyncio.wait({ending}, timeout=0.1)  # until it waits
        assert not ending.done()
        let_pass(2.0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert ending.done()
    await ending
    with contextlib.suppress(LedgerError):
        await opening


async def test_a_job_that_ends_while_claimed_is_left_alone(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        job = await opened(ledger, JobState.STORING)
        done = postgres.columns(replace(carried(job, JobState.DONE), version=job.version + 1))
        assignments = ", ".join(f"{name} = :{name}" for name in done)
        with postgres.transaction() as last_words:  # of one whose heart has been still for too long
            last_words.query(f"UPDATE media_jobs SET {assignments} WHERE id = :id", done)
            claiming = asyncio.create_task(ledger.claim_one(HOLDER, job.id))
            await until_somebody_waits_for_a_lock(postgres)
        assert await asyncio.wait_for(claiming, LIMIT_S) is None
        ended = await ledger.get(job.id)
        assert ended is not None
        assert (ended.state, ended.version, ended.owner) == (JobState.DONE, job.version + 1, job.owner)


async def test_a_claim_sees_what_was_written_while_it_waited(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        job = await left_behind(ledger, JobState.RENDERING)
        with postgres.transaction() as writing:
            writing.query("UPDATE media_jobs SET progress = 77, version = version + 1 WHERE id = :id", {"id": job.id})
            claiming = asyncio.create_task(ledger.claim_one(HOLDER, job.id))
            await until_somebody_waits_for_a_lock(postgres)
        claimed = await asyncio.wait_for(claiming, LIMIT_S)
        assert claimed is not None
        assert (claimed.progress, claimed.version) == (77, job.version + 2)
        await ledger.save(claimed, replace(claimed, progress=78))


# The server goes away


async def test_a_server_crashing_amid_a_call_is_one_ledger_error(
    own_server: PostgresServer,
) -> None:
    with fresh_database(own_server.url(), migrated=False) as url:
        await migrate(url)
        database = LedgerDatabase("postgres", url)
        async with database.started() as ledger:
            job = await opened(ledger)
            with contextlib.closing(psycopg.connect(url)) as in_the_way:
                in_the_way.execute("LOCK TABLE media_jobs IN EXCLUSIVE MODE")
                opening = asyncio.create_task(ledger.open(planned(), NO_CAPS))
                await until_somebody_waits_for_a_lock(database)
                await asyncio.to_thread(own_server.crash)
            with pytest.raises(LedgerError, match="the database of DATABASE_URL cannot be used") as failure:
                await opening
            assert_tells_nothing(failure.value.message, url)
            await asyncio.to_thread(own_server.start)
            assert await ledger.get(job.id) == job
            assert not (await ledger.open(planned(), NO_CAPS)).joined
            assert len((await ledger.list_jobs(JobQuery())).jobs) == 2


async def test_a_server_that_is_restarted_between_two_calls_is_not_noticed(own_server: PostgresServer) -> None:
    with fresh_database(own_server.url(), migrated=False) as url:
        await migrate(url)
        async with LedgerDatabase("postgres", url).started() as ledger:
            job = await opened(ledger)
            await asyncio.to_thread(own_server.stop)
            await asyncio.to_thread(own_server.start)
            moved = await ledger.save(job, carried(job, JobState.SUBMITTING))
            assert await ledger.get(job.id) == moved


async def test_connections_that_were_cut_meanwhile_are_not_noticed(postgres: LedgerDatabase) -> None:
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with postgres.started() as ledger:
        job = await opened(ledger)
        await asyncio.gather(*(ledger.ping() for _ in range(20)))
        postgres.query(cut)
        assert await ledger.get(job.id) == job


async def test_a_caller_that_is_cancelled_while_it_waits_has_opened_nothing(postgres: LedgerDatabase) -> None:
    async with postgres.started(max_connections=1) as ledger:
        with postgres.transaction() as in_the_way:
            in_the_way.query("LOCK TABLE media_jobs IN EXCLUSIVE MODE")
            opening = asyncio.create_task(ledger.open(planned(), NO_CAPS))
            await until_somebody_waits_for_a_lock(postgres)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        assert (await ledger.list_jobs(JobQuery())).jobs == []
        assert not (await ledger.open(planned(), NO_CAPS)).joined


async def test_many_more_callers_than_connections_are_all_served(postgres: LedgerDatabase) -> None:
    caps = Caps(per_day_usd=Decimal("0.6"))
    async with postgres.started(max_connections=2) as ledger:
        answers = await asyncio.gather(*(ledger.open(planned(), caps) for _ in range(60)), return_exceptions=True)
    assert [isinstance(answer, CapExceeded) for answer in answers].count(True) == 50
    assert [isinstance(answer, BaseException) for answer in answers].count(False) == 10


# Nothing is told


def assert_tells_nothing(text: str, url: str) -> None:
    facts = psycopg.conninfo.conninfo_to_dict(url)
    secrets = [url, PASSWORD, *(str(facts[key]) for key in ("password", "user", "host", "dbname") if key in facts)]
    assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda _: "postgresql://rolf:hunter22@127.0.0.1:1/accounts", id="nobody listens"),
        pytest.param(lambda _: "host=127.0.0.1 port=1 user=rolf password=hunter22 dbname=accounts", id="key and value"),
        pytest.param(lambda server: server.url(password="hunter22"), id="a wrong password"),
        pytest.param(lambda server: server.url(user="rolf"), id="a wrong user"),
        pytest.param(lambda server: with_database(server.url(), "accounts"), id="no such database"),
    ],
)
async def test_no_error_tells_where_the_database_is_or_how_to_get_in(
    own_server: PostgresServer, wrong: Callable[[PostgresServer], str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = wrong(own_server)
    ledger = PostgresLedger(url, FakeClock())
    for attempt in (ledger.start, ledger.ping, lambda: ledger.open(planned(), NO_CAPS), lambda: migrate(url)):
        with pytest.raises(LedgerError, match="DATABASE_URL") as failure:
            await attempt()
        assert_tells_nothing(failure.value.message + failure.value.next_action, url)
    await ledger.aclose()
    assert not [secret for secret in (url, PASSWORD, "hunter22") if secret in caplog.text]


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://rolf:hunter%22%zz@db.internal/accounts",
        "postgresql://rolf:hunter 22@db.internal/accounts",
        "rolf hunter22 db.internal",
        "user=rolf password='hunter22",
        "mysql://rolf:hunter22@db.internal/accounts",
    ],
)
async def test_an_address_that_is_none_is_called_so_and_not_repeated(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ledger = PostgresLedger(address, FakeClock())
    for attempt in (ledger.start, ledger.ping, lambda: migrate(address)):
        with pytest.raises(LedgerError, match=r"^DATABASE_URL is not an address of a PostgreSQL database$") as failure:
            await attempt()
        logging.getLogger("ring_mcp").exception("as the server logs it", exc_info=failure.value)
        assert not failure.value.retryable
    await ledger.aclose()
    assert not [part for part in ("rolf", "hunter", "db.internal") if part in caplog.text]


async def test_a_refused_statement_tells_no_values(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        job = await opened(ledger, JobState.STORING, actor_id="rolf")
        with pytest.raises(LedgerError) as failure:
            await ledger.save(job, replace(job, outputs=()))
        assert failure.value.message == "the database refused a statement (CheckViolation 23514)"
        with contextlib.suppress(JobMoved):
            await ledger.save(replace(job, version=7), job)
