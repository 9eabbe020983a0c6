"""What PgQueuer is made to do: give tasks, keep them, lay them to rest, and survive a database that goes away."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from ring_mcp.domain import Job
from ring_mcp.errors import LedgerError
from ring_mcp.jobs.dispatching import REST_FOR_GOOD_S, Dispatcher, _Driver
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.postgres_channel import PostgresChannel
from ring_mcp.ledger.tasks import TABLE, ask_for, name_entrypoint, pick
from tests.contracts.queue_backends import until
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import ACCOUNT, opened
from tests.postgres_server import fresh_database, server_url

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


async def test_tables_that_nobody_has_made_are_waited_for_in_words(caplog: pytest.LogCaptureFixture) -> None:
    with fresh_database(server_url(), migrated=False) as url:
        async with dispatching(LedgerDatabase("postgres", url), be_over):
            await until(lambda: caplog.records)
    [told] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert told.getMessage() == "tasks wait: the tables of PgQueuer are missing or old: run ring-mcp migrate"
    assert told.exc_info is None, "a traceback helps nobody who has to migrate"


async def test_what_becomes_of_one_task_touches_no_other(database: LedgerDatabase, ledger: Ledger) -> None:
    names: dict[str, str] = {}
    over = asyncio.Event()

    async def carry(job_id: str) -> float | None:
        names[job_id] = ("ends", "rests", "goes on")[len(names)]
        if names[job_id] == "goes on":
            await over.wait()
        else:
            await until(lambda: len(names) == 3)
        return 3600.0 if names[job_id] == "rests" else None

    def rows() -> dict[str, Any]:
        found = database.query(
            "SELECT convert_from(payload, 'utf-8') AS job, CAST(status AS text), heartbeat > updated AS beats,"
            f" queue_manager_id IS NULL AS is_free, execute_after > now() + interval '59 min' AS rests FROM {TABLE}"
        )
        return {names[row["job"]]: row for row in found}

    async with dispatching(database, carry, lease_s=2.0) as there:
        for _ in range(3):
            await opened(ledger)
        await until(lambda: len(names) == 3 and rows().keys() == {"rests", "goes on"})
        await until(lambda: rows()["rests"]["status"] == "queued" and rows()["goes on"]["beats"])
        assert (rows()["rests"]["is_free"], rows()["rests"]["rests"]) == (True, True)
        assert (rows()["goes on"]["is_free"], rows()["goes on"]["status"]) == (False, "picked")
        assert there.lost == []
        over.set()
        await until(lambda: rows().keys() == {"rests"})


async def test_a_task_of_somebody_else_by_now_is_not_laid_to_rest(database: LedgerDatabase, ledger: Ledger) -> None:
    other, over = str(uuid.uuid4()), asyncio.Event()

    async def wait(_: str) -> float:
        await over.wait()
        return 3600.0

    async with dispatching(database, wait) as there:
        await opened(ledger)
        await until(lambda: there.given)
        database.query(f"UPDATE {TABLE} SET queue_manager_id = CAST(:other AS uuid)", {"other": other})
        over.set()
    [row] = database.query(f"SELECT CAST(status AS text), CAST(queue_manager_id AS text) AS owner FROM {TABLE}")
    assert (row["status"], row["owner"]) == ("picked", other)


# Without a database


class NoDatabase:
    """Raises what ``script`` says, and answers from then on. ``asked``: statements and arguments, in order."""

    def __init__(self, *script: Exception) -> None:
        self.script = list(script)
        self.asked: list[tuple[object, ...]] = []
        self.heard: dict[str, Callable[[str], None]] = {}
        self.after: list[Callable[[], None]] = []

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        self.asked.append((query, *args))
        if self.script:
            raise self.script.pop(0)
        return [{"one": 1}]

    def on(self, channel: str, heard: Callable[[str], None]) -> None:
        self.heard[channel] = heard

    def after_a_gap(self, do: Callable[[], None]) -> None:
        self.after.append(do)


class StandingLoop:
    """The event loop's own clock, which stands until it is moved."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._now_s = loop.time()
        loop.time = lambda: self._now_s  # type: ignore[method-assign]

    async def move(self, seconds: float) -> None:
        """Let so much time pass, and everybody have a turn."""
        self._now_s += seconds
        for _ in range(10):
            await asyncio.sleep(0)


async def pauses_s(asked: Callable[[], int], until_s: float) -> list[float]:
    """How long it took, each time, until somebody asked again: to the tenth of a second."""
    loop = StandingLoop()
    await loop.move(0)
    noted, count, since = list[float](), asked(), 0
    for step in range(1, round(until_s * 10) + 1):
        await loop.move(0.1 + 1e-9)
        if asked() > count:
            noted.append((step - since) / 10)
            count, since = asked(), step
    return noted


def driver_over(*script: Exception) -> tuple[_Driver, NoDatabase]:
    channel: Any = NoDatabase(*script)
    return _Driver(channel), channel


def away(why: str = "away") -> LedgerError:
    return LedgerError(why)


async def test_a_statement_is_tried_until_the_database_is_back(caplog: pytest.LogCaptureFixture) -> None:
    driver, channel = driver_over(*[away()] * 6, away("no disk"))
    fetching = asyncio.create_task(driver.fetch("SELECT $1", 7))
    assert await pauses_s(lambda: len(channel.asked), 17.0) == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert await fetching == [{"one": 1}]
    assert channel.asked == [("SELECT $1", 7)] * 8
    assert caplog.messages == ["tasks wait: away", "tasks wait: no disk"], "each reason once"


async def test_at_the_end_nothing_is_tried_again() -> None:
    driver, channel = driver_over(away())
    driver.gives_up = True
    with pytest.raises(LedgerError):
        await driver.fetch("SELECT 1")
    assert len(channel.asked) == 1


async def test_whatever_pgqueuer_says_goes_to_the_database() -> None:
    driver, channel = driver_over()
    assert await driver.execute("DELETE FROM x WHERE y = $1", 7) == ""
    await driver.notify("changes", "now")
    assert channel.asked == [("DELETE FROM x WHERE y = $1", 7), ("SELECT pg_notify($1, $2)", "changes", "now")]


async def test_who_listens_is_told_until_the_end_of_a_run() -> None:
    driver, _ = driver_over()
    heard: list[Any] = []
    async with driver as entered:
        assert entered is driver
        for _ in range(2):
            await driver.add_listener("changes", heard.append)
        driver.hear("changes", "one")
        driver.hear("of others", "two")
    driver.hear("changes", "after a run that failed; the next one listens anew")
    assert heard == ["one", "one"]


def dispatcher_over(channel: Any, lease_s: float = 60.0) -> tuple[Any, list[str]]:
    async def carry(_: str, asked: bool) -> float | None:
        return None

    lost: list[str] = []
    return Dispatcher(channel, str(uuid.uuid4()), carry, lost.append, lease_s=lease_s), lost


class Manager:
    """Stands in for PgQueuer's own: ``runs`` are what it was asked for. It fails until the dispatcher is stopped, which
    is in run number ``stops_in``."""

    def __init__(self, dispatcher: Any, stops_in: int) -> None:
        self.runs: list[dict[str, Any]] = []
        self.shutdown = asyncio.Event()
        self._dispatcher, self._stops_in = dispatcher, stops_in

    async def run(self, **how: Any) -> None:
        self.runs.append(how)
        if len(self.runs) == self._stops_in:
            self._dispatcher.stop()
        raise RuntimeError("a fault of PgQueuer's")


@pytest.mark.parametrize(("lease_s", "looks_every_s"), [(60.0, 5.0), (2.0, 0.5)])
async def test_tasks_are_taken_in_small_parts_and_the_dead_looked_for(lease_s: float, looks_every_s: float) -> None:
    dispatcher, _ = dispatcher_over(NoDatabase(), lease_s)
    dispatcher._manager = manager = Manager(dispatcher, stops_in=1)
    await dispatcher.run()
    assert manager.runs == [
        {
            "dequeue_timeout": timedelta(seconds=looks_every_s),
            "batch_size": 25,
            "heartbeat_timeout": timedelta(seconds=lease_s),
            "log_aggregation_interval": timedelta(0),
        }
    ]
    assert timedelta(seconds=REST_FOR_GOOD_S) == timedelta(days=365) * 100, "within what a timestamp can hold"


async def test_a_dispatching_that_fails_begins_again_until_the_end(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher, _ = dispatcher_over(NoDatabase())
    dispatcher._manager = manager = Manager(dispatcher, stops_in=3)
    running = asyncio.create_task(dispatcher.run())
    assert await pauses_s(lambda: len(manager.runs), 11.0) == [5.0, 5.0]
    await running
    told = [record.levelno for record in caplog.records if record.message == "tasks cannot be dispatched"]
    assert told == [logging.ERROR] * 2, "what fails at the end is no trouble"


async def test_tasks_are_looked_for_at_once_when_any_may_have_been_missed() -> None:
    channel = NoDatabase()
    dispatcher, _ = dispatcher_over(channel)
    [(name, heard)] = channel.heard.items()
    [after_a_gap] = channel.after
    said: list[Any] = []
    await dispatcher._driver.add_listener(name, said.append)
    heard("a change")
    after_a_gap()
    dispatcher.register([MINE])
    told = len(said)
    dispatcher.register([MINE])
    assert len(said) == told, "for what is registered already nobody looks again"
    assert said[0] == "a change"
    events = [json.loads(each) for each in said[1:]]
    assert [(each["channel"], each["type"], each["operation"]) for each in events] == [
        (name, "table_changed_event", "insert")
    ] * 2


async def test_a_task_that_is_over_cannot_be_lost_any_more() -> None:
    dispatcher, lost = dispatcher_over(NoDatabase())

    class Task:
        id, payload, headers = 7, b"a-job", None

    given: list[tuple[str, bool]] = []

    async def tell(job_id: str, asked: bool) -> None:
        given.append((job_id, asked))
        dispatcher._tell_of_lost([7, 8])

    dispatcher._carry = tell
    await dispatcher._work(Task())
    dispatcher._tell_of_lost([7])
    assert (given, lost) == ([("a-job", False)], ["a-job"])
