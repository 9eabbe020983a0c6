"""What is said to PostgreSQL and heard from it beside the ledger's transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from ring_mcp.domain import JobState, Member, hash_token
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.actors import ACTORS_CHANNEL
from ring_mcp.ledger.postgres_channel import PostgresChannel
from ring_mcp.ledger.statements import Statement, Transaction
from ring_mcp.ledger.tasks import JOBS_CHANNEL, WAKE_CHANNEL, ask_for
from tests.fake_clock import START, let_pass
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import opened
from tests.providers.raw_server import Connection, RawServer

LIMIT_S = 60.0
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "


@pytest.fixture
async def channel(postgres: LedgerDatabase) -> AsyncIterator[PostgresChannel]:
    channel = PostgresChannel(postgres.address)
    yield channel
    await channel.aclose()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await asyncio.sleep(0.01)


async def silent_end(connection: Connection) -> None:
    """As a server that is just being stopped."""
    connection.reset()


def select(sql: str) -> Transaction[object]:
    rows = yield Statement(sql)
    return next(iter(rows[0].values()))


async def test_whoever_listens_hears_of_each_change_of_a_job(
    postgres: LedgerDatabase, channel: PostgresChannel
) -> None:
    heard: list[str] = []
    channel.on(JOBS_CHANNEL, heard.append)
    await channel.start()
    await until(lambda: channel.is_listening)
    async with postgres.started() as ledger:
        job = await opened(ledger, JobState.RENDERING)
    await until(lambda: len(heard) == 2)
    assert heard == [f"{job.id} {ledger.owner}"] * 2


async def test_whoever_asks_for_a_job_wakes_its_driver(postgres: LedgerDatabase, channel: PostgresChannel) -> None:
    heard: list[str] = []
    channel.on(WAKE_CHANNEL, heard.append)
    await channel.start()
    await until(lambda: channel.is_listening)
    async with postgres.started() as ledger:
        job = await opened(ledger)
    await channel.run(ask_for(job))
    await until(lambda: heard == [job.id])


async def test_whoever_listens_hears_of_each_change_of_the_team(
    postgres: LedgerDatabase, channel: PostgresChannel
) -> None:
    heard: list[str] = []
    channel.on(ACTORS_CHANNEL, heard.append)
    await channel.start()
    await until(lambda: channel.is_listening)
    async with postgres.started() as ledger:
        await ledger.add_member(Member(name="ann", created_at=START), hash_token("one"))
        await until(lambda: len(heard) == 1)
        await ledger.revoke_member("ann", START)
        await until(lambda: len(heard) == 2)


async def test_a_connection_that_is_cut_is_opened_again_and_the_gap_told(
    postgres: LedgerDatabase, channel: PostgresChannel
) -> None:
    heard: list[str] = []
    gaps: list[None] = []
    channel.on("anything", heard.append)
    channel.after_a_gap(lambda: gaps.append(None))
    await channel.start()
    await until(lambda: len(gaps) == 1)
    postgres.query(f"{CUT} pg_backend_pid()")
    await until(lambda: len(gaps) == 2)
    await channel.tell("anything", "again")
    await until(lambda: heard == ["again"])


async def test_why_nothing_is_heard_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with RawServer(silent_end) as server:
        address = f"postgresql://ann:secret@127.0.0.1:{server.port}/ring?sslmode=disable&gssencmode=disable"
        channel = PostgresChannel(address)
        await channel.start()
        for tries in (1, 2, 3):
            await until(lambda tries=tries: server.connections >= tries)  # type: ignore[misc]
            let_pass(1.0)
        await channel.aclose()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("ring_mcp")] == [
        "nothing is heard from the database: the database of DATABASE_URL cannot be used (OperationalError)"
    ]


async def test_one_who_wants_to_be_alone_does_nothing_beside_another(
    postgres: LedgerDatabase, channel: PostgresChannel
) -> None:
    await channel.start()
    with postgres.transaction() as other:
        other.query("SELECT pg_advisory_xact_lock(7)")
        assert await channel.run(select("SELECT 1"), alone_as=7) is None
        assert await channel.run(select("SELECT 1"), alone_as=8) == 1
    assert await channel.run(select("SELECT 1"), alone_as=7) == 1


async def test_nothing_is_asked_or_heard_before_its_start(channel: PostgresChannel) -> None:
    assert not channel.is_listening
    with pytest.raises(LedgerError):
        await channel.fetch("SELECT 1")


async def test_many_questions_at_once_share_three_sessions(postgres: LedgerDatabase, channel: PostgresChannel) -> None:
    await channel.start()
    waiting = (
        "SELECT count(*) AS n FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
    )
    with postgres.transaction() as other:
        other.query("SELECT pg_advisory_xact_lock(9)")
        ask = "SELECT pg_backend_pid() AS pid FROM pg_advisory_xact_lock_shared(9)"
        asking = [asyncio.create_task(channel.fetch(ask)) for _ in range(12)]
        async with asyncio.timeout(LIMIT_S):
            while other.query(waiting)[0]["n"] < 3:
                await asyncio.sleep(0.01)
    answers = await asyncio.gather(*asking)
    assert len({rows[0]["pid"] for rows in answers}) == 3


async def test_nobody_listens_any_more_once_it_is_closed(postgres: LedgerDatabase) -> None:
    channel = PostgresChannel(postgres.address)
    await channel.start()
    await until(lambda: channel.is_listening)
    listening = channel._listening
    await channel.aclose()
    assert not channel.is_listening
    assert listening is not None
    assert listening.done()
    await PostgresChannel(postgres.address).aclose()  # one that was never started


async def test_what_is_closed_leaves_no_connection_behind(postgres: LedgerDatabase) -> None:
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    channel = PostgresChannel(postgres.address)
    await channel.start()
    await until(lambda: channel.is_listening)
    await channel.fetch("SELECT 1")
    assert len(postgres.query(others)) == 2
    await channel.aclose()
    await until(lambda: not postgres.query(others))


class SlowToEnd(PostgresChannel):
    """What it still has to do when it is told to stop takes a while."""

    async def _listen(self) -> None:
        try:
            await super()._listen()
        finally:
            for _ in range(1000):
                await asyncio.sleep(0)


async def test_who_closes_it_waits_for_its_listener(postgres: LedgerDatabase) -> None:
    channel = SlowToEnd(postgres.address)
    await channel.start()
    await until(lambda: channel.is_listening)
    listening = channel._listening
    await channel.aclose()
    assert listening is not None
    assert listening.done()


async def test_a_refusal_is_an_error_of_the_ledger(channel: PostgresChannel) -> None:
    await channel.start()
    with pytest.raises(LedgerError, match="refused a statement"):
        await channel.fetch("SELECT * FROM no_such_table")
    assert await channel.fetch("SELECT $1::int + 1 AS sum", 1) == [{"sum": 2}]


async def test_a_server_that_has_vanished_is_noticed_within_half_a_minute() -> None:
    channel = PostgresChannel("postgresql://nobody.invalid/none")
    alive: Any = channel._pool.kwargs
    assert alive["keepalives_idle"] + alive["keepalives_interval"] * alive["keepalives_count"] == 30
    assert (alive["autocommit"], alive["prepare_threshold"]) == (True, None)
    pool = channel._pool
    assert (pool.min_size, pool.max_size, pool.timeout, pool.reconnect_timeout) == (0, 3, 10.0, 5.0)
    await channel.aclose()


async def test_each_listener_hears_its_own_channel_at_the_address_for_listening(postgres: LedgerDatabase) -> None:
    channel = PostgresChannel("postgresql://pooler.invalid:1/nowhere", postgres.address, name="ring-mcp worker here:1")
    heard: dict[str, list[str]] = {name: [] for name in ("one", "both", "another")}
    gaps: list[str] = []
    channel.on("one", heard["one"].append)
    channel.on("one", heard["both"].append)
    channel.on("another", heard["another"].append)
    for name in ("first", "second"):
        channel.after_a_gap(partial(gaps.append, name))
    await channel.start()
    await until(lambda: len(gaps) == 2)
    for name in ("one", "another", "nobody's"):
        postgres.query("SELECT pg_notify(:name, :what)", {"name": name, "what": f"to {name}"})
    await until(lambda: heard["another"] == ["to another"])
    assert (heard["one"], heard["both"], gaps) == (["to one"], ["to one"], ["first", "second"])
    await channel.aclose()
