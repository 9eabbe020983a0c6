"""What the queue of a fleet makes of what it is given and hears, with a dispatcher and a database that do nothing.

Beside the contract of queues (``tests/contracts/test_queue.py``), this is what happens when something fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.errors import LedgerError
from ring_mcp.jobs.dispatching import REST_FOR_GOOD_S
from ring_mcp.jobs.queue import pgqueuer
from ring_mcp.jobs.queue.pgqueuer import PgqueuerQueue
from ring_mcp.jobs.watch import LEAST_PAUSE_S
from ring_mcp.ledger import tasks
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Running
from tests.fake_clock import LIMIT_S, START, FakeClock, let_pass
from tests.jobs.engine import DRAIN_S, Engine, started_engine, until
from tests.jobs.scripted_provider import Gate, finished
from tests.ledger_samples import carried, left_behind, planned

TRY_AGAIN_S = 1.0


class Leased:
    """The ledger, as the queue has it: with leases, whatever it is. The hearts of most tests never beat."""

    lease_s = 3600.0

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


class Channel:
    """A database that is told, and holds nothing. ``ran``: the transactions, by name and with what they were given."""

    def __init__(self) -> None:
        self.heard: dict[str, Callable[[str], None]] = {}
        self.after_gaps: list[Callable[[], None]] = []
        self.ran: list[tuple[Any, ...]] = []
        self.trouble: LedgerError | None = None
        self.held: set[str] | None = None
        self.is_open = False

    def on(self, channel: str, heard: Callable[[str], None]) -> None:
        self.heard[channel] = heard

    def after_a_gap(self, do: Callable[[], None]) -> None:
        self.after_gaps.append(do)

    async def start(self) -> None:
        self.is_open = True

    async def aclose(self) -> None:
        self.is_open = False

    async def run(self, transaction: Any, *, alone_as: int | None = None) -> Any:
        self.ran.append((transaction.__name__, *transaction.gi_frame.f_locals.values()))
        transaction.close()
        if self.trouble is not None:
            raise self.trouble
        return self.held

    def names(self) -> list[str]:
        return [ran[0] for ran in self.ran]


class Given:
    """It stands where the dispatcher does, and gives nothing by itself: a test calls ``carry`` and ``lost``."""

    def __init__(
        self, carry: Callable[[str, bool], Coroutine[Any, Any, float | None]], lost: Callable[[str], None]
    ) -> None:
        self.carry, self.lost = carry, lost
        self.registered: list[str] = []
        self.is_stopped = asyncio.Event()
        self.ends: Callable[[], Awaitable[object]] = self.is_stopped.wait
        self.was_cancelled = False

    def register(self, entrypoints: Collection[str]) -> None:
        self.registered += entrypoints

    async def run(self) -> None:
        try:
            await self.ends()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise

    def stop(self) -> None:
        self.is_stopped.set()


@pytest.fixture
def channel() -> Channel:
    return Channel()


def queue_on(channel: Channel, ledger: Any, *parts: Any, **options: Any) -> Any:
    make: Any = PgqueuerQueue
    queue = make(Leased(ledger), *parts, channel, **options)
    queue._dispatcher = queue._reconciler._dispatcher = Given(queue._carry, queue._lose)
    return queue


@pytest.fixture
async def engine(tmp_path: Path, clock: FakeClock, channel: Channel) -> AsyncIterator[Engine]:
    async with started_engine(tmp_path, clock, make_queue=partial(queue_on, channel)) as engine:
        yield engine


@pytest.fixture
def given(engine: Engine) -> Given:
    given: Given = engine.queue._dispatcher
    return given


async def steal(elsewhere: Ledger, job: Job) -> Job:
    stored = await elsewhere.get(job.id)
    assert stored is not None
    return await elsewhere.save(stored, replace(stored, owner=elsewhere.owner))


# What PgQueuer gives


async def test_the_task_of_a_job_that_is_over_is_over(engine: Engine, given: Given) -> None:
    job = await engine.new()
    assert await given.carry(job.id, False) is None
    assert (await engine.row(job)).state is JobState.DONE
    assert await given.carry(job.id, False) is None, "it had ended"
    assert await given.carry("no such job", False) is None
    assert len(engine.pictures.submitted) == 1


@pytest.mark.parametrize(
    ("due_in_s", "rest_s"), [(None, REST_FOR_GOOD_S), (60.0, 60.0), (0.5, TRY_AGAIN_S), (-5.0, TRY_AGAIN_S)]
)
async def test_a_task_rests_until_its_job_is_due(
    engine: Engine, given: Given, due_in_s: float | None, rest_s: float
) -> None:
    """Never for no time: a job that parks itself in its first step would go round without a pause."""
    job, asked_for = await engine.new(), list[bool]()
    due_at = None if due_in_s is None else START + timedelta(seconds=due_in_s)

    async def park(taken: Job, *, asked: bool) -> Job:
        asked_for.append(asked)
        return replace(taken, due_at=due_at)

    engine.runner.drive = park  # type: ignore[method-assign,assignment]
    assert await given.carry(job.id, True) == rest_s
    assert asked_for == [True]


async def test_a_job_whose_ledger_is_away_is_given_again_in_a_second(engine: Engine, given: Given) -> None:
    job = await engine.new()
    engine.ledger.fail("get")
    assert await given.carry(job.id, False) == TRY_AGAIN_S
    assert engine.pictures.submitted == []


async def test_a_job_given_twice_is_driven_once_and_both_wait(engine: Engine, given: Given) -> None:
    gate = Gate(finished())
    engine.pictures.answers += [gate]
    job = await engine.new()
    first = asyncio.create_task(given.carry(job.id, False))
    await until(gate.is_reached.is_set)
    second = asyncio.create_task(given.carry(job.id, False))
    await asyncio.sleep(0)
    first.cancel()  # as PgQueuer does it with a task that somebody else has
    await asyncio.wait({first})
    assert not second.done()
    gate.is_open.set()
    assert await asyncio.wait_for(second, LIMIT_S) is None
    assert (await engine.row(job)).state is JobState.DONE
    assert len(engine.pictures.submitted) == 1


async def test_what_is_driven_at_the_end_goes_back_at_once(engine: Engine, given: Given) -> None:
    gate = Gate(Running())
    engine.pictures.looks += [gate]
    job = await engine.new()
    carrying = asyncio.create_task(given.carry(job.id, False))
    await until(gate.is_reached.is_set)
    await engine.accepted(job)
    await engine.queue.aclose()
    assert await asyncio.wait_for(carrying, LIMIT_S) == 0.0
    assert await given.carry(job.id, False) == 0.0, "what is given after it too"
    assert (await engine.row(job)).state is JobState.RENDERING


async def test_a_job_that_is_being_taken_at_the_end_is_not_begun(engine: Engine, given: Given) -> None:
    job, may_have, take = await engine.new(), asyncio.Event(), engine.runner.take

    async def take_long(job_id: str) -> Job | None:
        taken = await take(job_id)
        await may_have.wait()
        return taken

    engine.runner.take = take_long  # type: ignore[method-assign]
    carrying = asyncio.create_task(given.carry(job.id, False))
    await until(lambda: "get" in engine.ledger.calls)
    await engine.queue.aclose()
    may_have.set()
    assert await asyncio.wait_for(carrying, LIMIT_S) == 0.0
    assert (engine.pictures.submitted, (await engine.row(job)).state) == ([], JobState.PLANNED)


# What is opened and asked for here


async def test_tasks_are_taken_before_the_first_round_has_ended(engine: Engine, given: Given) -> None:
    """It begins with what was kept aside, and a ledger that will not have that keeps it from ending."""
    job = await engine.new()
    await engine.queue.start(take_over=True)
    assert tasks.name_entrypoint(job.account, sandbox=False) in given.registered


async def test_what_is_opened_where_tasks_are_taken_has_its_entrypoint(engine: Engine, given: Given) -> None:
    await engine.queue.start(take_over=True)
    job = await engine.new()
    given.registered.clear()  # here, since the queue's rounds go on while a test awaits something
    engine.queue.enqueue(job)
    assert given.registered == [tasks.name_entrypoint(job.account, sandbox=False)]
    given.registered.clear()
    engine.queue.enqueue(carried(carried(job, JobState.SUBMITTING), JobState.FAILED))
    engine.queue.enqueue(replace(job, key_fingerprint="f" * 32))
    assert given.registered == [], "what has ended, and what is of an account that is not held here"
    await engine.queue.aclose()
    given.registered.clear()
    engine.queue.enqueue(job)
    assert (given.registered, list(engine.runner.records)) == ([], [])


async def test_a_job_opened_here_alone_is_taken_when_it_can_be(
    engine: Engine, given: Given, channel: Channel, clock: FakeClock
) -> None:
    await engine.queue.start(take_over=False)
    job = await engine.new()
    engine.ledger.fail("get", 2)
    engine.queue.enqueue(job)
    for _ in range(2):
        await until(lambda: clock.sleepers == 1)
        clock.advance(TRY_AGAIN_S)
    await until(lambda: channel.names() == ["finish"])
    assert clock.pauses_s == [TRY_AGAIN_S] * 2
    assert (await engine.row(job)).state is JobState.DONE
    assert channel.ran == [("finish", job.id, engine.ledger.owner, None)]
    assert given.registered == []


async def test_what_is_driven_alone_at_the_end_is_due_for_others(engine: Engine, channel: Channel) -> None:
    gate = Gate(Running())
    engine.pictures.looks += [gate]
    await engine.queue.start(take_over=False)
    job = await engine.new()
    engine.queue.enqueue(job)
    await until(gate.is_reached.is_set)
    await engine.accepted(job)
    await engine.queue.aclose()
    assert channel.ran == [("finish", job.id, engine.ledger.owner, 0.0)]


async def test_a_task_that_cannot_be_finished_is_left_to_its_lease(engine: Engine, channel: Channel) -> None:
    channel.trouble = LedgerError("the ledger is away")
    await engine.queue.start(take_over=False)
    job = await engine.new()
    engine.queue.enqueue(job)
    await until(lambda: channel.names() == ["finish"])
    for _ in range(20):
        await asyncio.sleep(0)
    assert (await engine.row(job)).state is JobState.DONE
    assert [task for task in asyncio.all_tasks() if "_drive_alone" in repr(task)] == []


async def test_a_job_asked_for_is_taken_here_or_asked_of_the_others(
    engine: Engine, channel: Channel, elsewhere: Ledger
) -> None:
    mine, theirs = await left_behind(engine.ledger, JobState.RENDERING), await engine.new()
    theirs = await steal(elsewhere, theirs)
    await engine.queue.start(take_over=False)
    await engine.queue.adopt(theirs)
    assert channel.ran == [("ask_for", theirs)]
    await engine.queue.adopt(mine)
    await until(lambda: "finish" in channel.names())
    assert (await engine.row(mine)).state is JobState.DONE
    assert channel.names() == ["ask_for", "finish"]
    await engine.queue.adopt(await engine.row(mine))
    assert channel.names() == ["ask_for", "finish"], "it has ended"


async def test_where_tasks_are_taken_a_job_asked_for_is_a_task_too(engine: Engine, channel: Channel) -> None:
    await engine.queue.start(take_over=True)
    await until(lambda: "prune_log" in channel.names())
    channel.ran.clear()
    clip, still = await engine.new_clip_with_still()
    await engine.queue.adopt(clip)
    assert channel.ran == [("ask_for", still), ("ask_for", clip)], "the still first"
    assert list(engine.runner.records) == []


async def test_a_server_that_drives_nothing_only_asks_others(engine: Engine, channel: Channel) -> None:
    parts = (engine.ledger, engine.runner, engine.watch, engine.accounts, engine.clock)
    queue = queue_on(channel, *parts, drain_s=DRAIN_S, drives=False)
    await queue.start(take_over=True)
    job = await engine.new()
    queue.enqueue(job)
    await queue.adopt(job)
    for _ in range(20):
        await asyncio.sleep(0)
    assert (channel.ran, queue._dispatcher.registered) == ([("ask_for", job)], [])
    assert (list(engine.runner.records), (await engine.row(job)).state) == ([], JobState.PLANNED)
    await queue.aclose()


async def test_a_caller_elsewhere_ends_the_long_pause_of_a_job(
    engine: Engine, channel: Channel, clock: FakeClock
) -> None:
    pausing = asyncio.create_task(engine.watch.pause("a job", 3600.0, None))
    await clock.asleep()
    clock.advance(LEAST_PAUSE_S)
    await clock.asleep()
    channel.heard[tasks.WAKE_CHANNEL]("a job")
    await asyncio.wait_for(pausing, LIMIT_S)


# What is lost


async def driven(engine: Engine, given: Given, answer: Any = None) -> tuple[Job, Gate]:
    """A job that was given, and is looked at until the gate opens."""
    gate = Gate(answer or finished())
    engine.pictures.looks += [gate]
    job = await engine.new()
    carrying = asyncio.create_task(given.carry(job.id, False))
    engine.queue._asides.add(carrying)  # the queue waits for it at the end
    await until(gate.is_reached.is_set)
    return await engine.accepted(job), gate


async def test_a_task_that_was_lost_is_picked_again(engine: Engine, given: Given, channel: Channel) -> None:
    job, _ = await driven(engine, given)
    given.lost(job.id)
    await until(lambda: channel.ran != [])
    assert channel.ran == [("pick", job, engine.ledger.owner, Leased.lease_s)]
    given.lost("a job of somebody else")
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(channel.ran) == 1
    assert len(engine.queue._asides) == 1, "what was done is in no list: the job's own task is left"


async def test_a_job_that_others_have_is_let_go_of(
    engine: Engine, given: Given, channel: Channel, elsewhere: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    job, _ = await driven(engine, given)
    taken = await steal(elsewhere, job)
    given.lost(job.id)
    await until(lambda: not engine.runner.records)
    assert f"job {job.id}: another process has it now" in caplog.text
    assert (await engine.row(job), channel.ran) == (taken, [])


async def test_a_ledger_that_is_away_when_a_task_was_lost_is_told(
    engine: Engine, given: Given, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    job, gate = await driven(engine, given)
    engine.ledger.fail("get")
    given.lost(job.id)
    await until(lambda: "the ledger does not answer: the ledger is away" in caplog.text)
    assert (len(engine.runner.records), channel.ran) == (1, [])
    gate.is_open.set()
    async with asyncio.timeout(LIMIT_S):
        while not (await engine.row(job)).is_settled:
            await asyncio.sleep(0)


async def test_a_word_of_another_owner_of_a_job_is_looked_into(engine: Engine, given: Given, channel: Channel) -> None:
    job, _ = await driven(engine, given)
    say = channel.heard[tasks.JOBS_CHANNEL]
    for said in (job.id, f"{job.id} {engine.ledger.owner}", f"{job.id} "):
        say(said)
    for _ in range(50):
        await asyncio.sleep(0)
    assert channel.ran == []
    say(f"{job.id} somebody")
    await until(lambda: channel.names() == ["pick"])


async def test_a_word_of_a_job_and_a_gap_end_waits_for_it(engine: Engine, channel: Channel) -> None:
    job = await engine.new()

    def miss() -> None:
        for do in channel.after_gaps:
            do()

    def hear() -> None:
        channel.heard[tasks.JOBS_CHANNEL](f"{job.id} ")

    for say in (hear, miss):
        engine.ledger.calls.clear()
        waiting = asyncio.create_task(engine.watch.wait(job.id, 600.0))
        await until(lambda: engine.clock.sleepers == 1)
        say()
        await until(lambda: engine.ledger.calls.count("get") == 2)
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_after_a_gap_what_was_sent_is_looked_for_in_pages(engine: Engine, given: Given, channel: Channel) -> None:
    for _ in range(498):
        other = carried(planned(), JobState.SUBMITTING)
        engine.runner._records[other.id] = engine.record(other)
    states = {(await driven(engine, given))[0].id: JobState.RENDERING for _ in range(3)}
    asked = list[list[str]]()

    async def read(job_ids: list[str]) -> dict[str, JobState]:
        asked.append(job_ids)
        return {job_id: states[job_id] for job_id in job_ids if job_id in states}

    engine.ledger.states = read
    _, fallen, missing = list(states)
    states[fallen] = JobState.PLANNED
    del states[missing]
    for do in channel.after_gaps:
        do()
    await until(lambda: len(channel.ran) == 2)
    assert [len(page) for page in asked] == [500, 1]
    assert sorted(ran[1].id for ran in channel.ran) == sorted([fallen, missing])


async def test_a_ledger_away_after_a_gap_is_told_and_loses_nothing(
    engine: Engine, given: Given, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    await driven(engine, given)
    engine.ledger.fail("states")
    for do in channel.after_gaps:
        do()
    await until(lambda: "the ledger does not answer: the ledger is away" in caplog.text)
    assert (len(engine.runner.records), channel.ran) == (1, [])


async def test_after_a_gap_plans_are_not_looked_for(engine: Engine, given: Given, channel: Channel) -> None:
    clip, _ = await engine.new_clip_with_still()
    carrying = asyncio.create_task(given.carry(clip.id, False))
    await until(lambda: engine.clock.sleepers == 1)
    engine.ledger.calls.clear()
    for do in channel.after_gaps:
        do()
    for _ in range(20):
        await asyncio.sleep(0)
    assert "states" not in engine.ledger.calls
    await engine.queue.aclose()
    assert await asyncio.wait_for(carrying, LIMIT_S) == 0.0


# A process that drives only its own


@pytest.fixture
async def beating(engine: Engine) -> Engine:
    """Its heart beats a hundred times a second: four times in a lease."""
    engine.queue._ledger.lease_s = 0.04
    await engine.queue.start(take_over=False)
    return engine


async def beats(engine: Engine, count: int) -> None:
    """So many more, each of which marks what waits in line."""
    seen, mark = list[int](), engine.runner.mark_waiting

    async def note() -> None:
        seen.append(1)
        await mark()

    engine.runner.mark_waiting = note  # type: ignore[method-assign]
    async with asyncio.timeout(LIMIT_S):
        while len(seen) < count:
            await asyncio.sleep(0.001)


async def test_without_jobs_no_heartbeat_reaches_the_database(beating: Engine, channel: Channel) -> None:
    await beats(beating, 3)
    assert channel.ran == []


async def test_a_heartbeat_keeps_what_is_ours_and_looks_after_the_rest(
    beating: Engine, given: Given, channel: Channel
) -> None:
    channel.trouble = LedgerError("not yet")  # until both are driven
    kept, _ = await driven(beating, given)
    lost, _ = await driven(beating, given)
    channel.ran.clear()
    channel.held, channel.trouble = {kept.id, "a job of another process"}, None
    await until(lambda: "pick" in channel.names())
    assert channel.ran[0] == ("beat", beating.ledger.owner)
    assert {ran[1].id for ran in channel.ran if ran[0] == "pick"} == {lost.id}


async def test_a_heart_goes_on_when_the_database_is_away(
    beating: Engine, given: Given, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    channel.trouble = LedgerError("the ledger is away")
    await driven(beating, given)
    await until(lambda: caplog.text.count("the ledger does not answer: the ledger is away") >= 2)
    assert set(channel.names()) == {"beat"}, "what is not known to be lost is not"


# The end


async def test_an_end_stops_the_giving_and_closes_the_database(engine: Engine, given: Given, channel: Channel) -> None:
    await engine.queue.start(take_over=True)
    assert channel.is_open
    await engine.queue.aclose()
    assert (given.is_stopped.is_set(), given.was_cancelled, channel.is_open) == (True, False, False)
    assert [task for task in asyncio.all_tasks() if "Reconciler" in repr(task)] == []


async def test_an_end_waits_five_seconds_for_what_is_put_back(engine: Engine, given: Given, channel: Channel) -> None:
    was_open = list[bool]()

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            was_open.append(channel.is_open)

    given.ends = wait_for_ever
    await engine.queue.start(take_over=True)
    closing = asyncio.create_task(engine.queue.aclose())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not closing.done()
    let_pass(pgqueuer._PUT_BACK_LIMIT_S)
    await asyncio.wait_for(closing, LIMIT_S)
    assert (given.was_cancelled, channel.is_open) == (True, False)
    assert was_open == [True], "what is called off still puts back what it can"
    assert pgqueuer._PUT_BACK_LIMIT_S == 5.0, "a supervisor waits ten before it kills"


async def test_a_start_without_taking_over_writes_what_was_kept_aside(engine: Engine) -> None:
    job = await left_behind(engine.ledger, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(job, JobState.RENDERING), [])
    await engine.queue.start(take_over=False)
    await until(lambda: not list(engine.unwritten.iterdir()))
    assert (await engine.row(job)).state is JobState.RENDERING
