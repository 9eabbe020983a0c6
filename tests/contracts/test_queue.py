"""What every queue promises, whichever it is: jobs are carried to their end by somebody alive, and by one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import ring_mcp.jobs.queue
from ring_mcp.domain import Account, Holder, Job, JobState
from ring_mcp.errors import StorageRefused
from ring_mcp.jobs.outcomes import SUBMIT_MARGIN_S
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Accepted, Running
from tests.contracts.queue_backends import LEDGERS_OF, QUEUES, Process, Processes, processes_of, settled, until
from tests.jobs.scripted_provider import Gate, finished
from tests.ledger_samples import ACCOUNT, HOLDER, left_behind, opened, planned, sample_plan

LIMIT_S = 60.0
"""Real time."""

OPEN = [JobState.PLANNED, JobState.RENDERING, JobState.STORING]


@pytest.fixture(params=[(queue, ledger) for queue in QUEUES for ledger in LEDGERS_OF[queue]], ids="-".join)
async def processes(request: pytest.FixtureRequest, tmp_path: Path, database_of: Any) -> AsyncIterator[Processes]:
    backend, kind = request.param
    async with processes_of(backend, database_of(kind), tmp_path / "processes") as processes:
        yield processes


@pytest.fixture
async def first(processes: Processes) -> Process:
    return await processes.open()


@pytest.fixture
async def second(processes: Processes) -> Process:
    return await processes.open()


async def parked(process: Process, job: Job) -> Job:
    async with asyncio.timeout(LIMIT_S):
        while not (row := await process.engine.row(job)).is_parked:
            await asyncio.sleep(0.02)
        return row


async def of_a_dead_process(processes: Processes, state: JobState, **changes: Any) -> Job:
    """A job whose owner has died without a word."""
    dead = await processes.open()
    job = await opened(dead.engine.ledger, state, **({"created_at": dead.engine.clock.now()} | changes))
    await dead.end()
    return job


def every_module() -> set[str]:
    folder = Path(ring_mcp.jobs.queue.__file__ or "").parent
    return {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}


def test_every_queue_that_there_is_is_in_this_suite() -> None:
    assert set(QUEUES) == set(LEDGERS_OF) == every_module()


async def test_a_queue_has_the_name_of_its_module(first: Process) -> None:
    assert first.queue.name in QUEUES


async def test_what_is_enqueued_is_driven_to_its_end(processes: Processes, first: Process) -> None:
    await first.queue.start(take_over=True)
    job = await first.engine.new()
    first.queue.enqueue(job)
    assert (await settled(first, job)).state is JobState.DONE
    assert len(processes.pictures.submitted) == 1


async def test_a_clip_and_its_still_that_are_enqueued_are_both_made(processes: Processes, first: Process) -> None:
    await first.queue.start(take_over=True)
    clip, still = await first.engine.new_clip_with_still()
    first.queue.enqueue(clip)
    first.queue.enqueue(still)
    assert (await settled(first, clip)).state is JobState.DONE
    assert (len(processes.pictures.submitted), len(processes.clips.submitted)) == (1, 1)


@pytest.mark.parametrize("take_over", [True, False])
async def test_what_waits_in_line_is_marked(processes: Processes, take_over: bool) -> None:
    """Whoever takes the clip over knows then that it has waited, and was not forgotten."""
    options: dict[str, Any] = {"lease_s": 2.0} if processes.has_leases else {}
    first = await processes.open(**options)
    await first.queue.start(take_over=take_over)
    clip, still = await first.engine.new_clip_with_still()
    processes.pictures.looks += [Running()] * 100_000
    first.queue.enqueue(clip)
    first.queue.enqueue(still)
    async with asyncio.timeout(LIMIT_S):
        while (await first.engine.row(clip)).in_line_at is None:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("take_over", [True, False])
async def test_a_parked_job_that_somebody_asks_for_is_carried_on(
    processes: Processes, first: Process, take_over: bool
) -> None:
    await first.queue.start(take_over=take_over)
    # More than one: a first sweep that comes late takes over what is parked by then.
    first.engine.storage.troubles += [StorageRefused("the token is wrong")] * 100
    job = await first.engine.new()
    first.queue.enqueue(job)
    stopped = await parked(first, job)
    assert stopped.state is JobState.STORING
    await until(lambda: not first.engine.runner.records)
    first.engine.storage.troubles.clear()
    await first.queue.adopt(stopped)
    assert (await settled(first, job)).state is JobState.DONE
    assert len(processes.pictures.submitted) == 1


@pytest.mark.parametrize("state", OPEN)
async def test_a_job_of_a_dead_process_is_carried_on_when_asked_for(
    processes: Processes, first: Process, state: JobState
) -> None:
    await first.queue.start(take_over=False)
    job = await of_a_dead_process(processes, state)
    await first.queue.adopt(job)
    assert (await settled(first, job)).state is JobState.DONE
    assert len(processes.pictures.submitted) == (state is JobState.PLANNED)


async def test_a_request_that_a_dead_process_had_sent_is_not_sent_again(processes: Processes, first: Process) -> None:
    await first.queue.start(take_over=True)
    long_ago = first.engine.clock.now() - timedelta(seconds=600 + SUBMIT_MARGIN_S)
    job = await of_a_dead_process(processes, JobState.SUBMITTING, created_at=long_ago)
    await first.queue.adopt(job)
    assert (await settled(first, job)).state is JobState.UNKNOWN
    assert processes.pictures.submitted == []


async def test_whoever_asks_for_a_clip_wakes_its_still_too(processes: Processes, first: Process) -> None:
    await first.queue.start(take_over=False)
    dead = await processes.open()
    clip, still = await dead.engine.new_clip_with_still()
    await dead.end()
    await first.queue.adopt(clip)
    assert (await settled(first, clip)).state is JobState.DONE
    assert (await first.engine.row(still)).state is JobState.DONE


async def test_a_job_that_somebody_alive_drives_is_left_alone(
    processes: Processes, first: Process, second: Process
) -> None:
    gate = Gate(Running())
    processes.pictures.looks += [gate]
    await first.queue.start(take_over=True)
    job = await first.engine.new()
    first.queue.enqueue(job)
    await until(lambda: gate.asked)
    await second.queue.start(take_over=True)
    before = await first.engine.accepted(job)
    await second.queue.adopt(before)
    assert await second.engine.row(job) == before
    assert list(second.engine.runner.records) == []
    gate.is_open.set()
    assert (await settled(second, job)).state is JobState.DONE
    assert (len(processes.pictures.submitted), len(processes.pictures.looked_for)) == (1, 2)


async def test_asking_for_a_job_that_has_ended_or_never_was_does_nothing(processes: Processes, first: Process) -> None:
    ended = await opened(first.engine.ledger, JobState.FAILED)
    unknown = await opened(first.engine.ledger, JobState.UNKNOWN)
    await first.queue.start(take_over=True)
    for job in (ended, unknown, planned()):
        await first.queue.adopt(job)
    assert [await first.engine.row(job) for job in (ended, unknown)] == [ended, unknown]
    assert (processes.pictures.submitted, list(first.engine.runner.records)) == ([], [])


async def test_a_start_takes_over_what_is_due_parked_or_left(processes: Processes, first: Process) -> None:
    jobs = [
        await of_a_dead_process(processes, JobState.RENDERING),
        await left_behind(first.engine.ledger, JobState.STORING),
        await left_behind(first.engine.ledger, JobState.RENDERING, due_at=None),
    ]
    await first.queue.start(take_over=True)
    assert {(await settled(first, job)).state for job in jobs} == {JobState.DONE}
    assert processes.pictures.submitted == []


async def test_without_taking_over_only_what_is_asked_for_is_driven(processes: Processes, first: Process) -> None:
    others = await of_a_dead_process(processes, JobState.RENDERING)
    await first.queue.start(take_over=False)
    mine = await first.engine.new()
    first.queue.enqueue(mine)
    assert (await settled(first, mine)).state is JobState.DONE
    await first.engine.clock.sleep(20)  # a second; whoever took over would have done so ten times
    assert await first.engine.row(others) == others


async def test_the_end_of_a_process_leaves_its_jobs_to_the_next(processes: Processes, first: Process) -> None:
    gate = Gate(Running())
    processes.pictures.looks += [gate]
    await first.queue.start(take_over=True)
    job = await first.engine.new()
    first.queue.enqueue(job)
    await until(lambda: gate.asked)
    await first.engine.accepted(job)
    await first.end()
    after = await processes.open()
    assert (await after.engine.row(job)).state is JobState.RENDERING
    await after.queue.start(take_over=True)
    assert (await settled(after, job)).state is JobState.DONE
    assert len(processes.pictures.submitted) == 1


async def test_a_request_under_way_is_answered_before_the_end(processes: Processes, first: Process) -> None:
    gate = Gate(Accepted(provider_request_id="late"))
    processes.pictures.answers += [gate]
    await first.queue.start(take_over=True)
    job = await first.engine.new()
    first.queue.enqueue(job)
    await until(lambda: gate.asked)
    closing = asyncio.create_task(first.queue.aclose())
    await asyncio.sleep(0)
    gate.is_open.set()
    await closing
    assert (await first.engine.row(job)).provider_request_id == "late"


async def test_an_end_without_a_beginning_is_no_trouble(first: Process) -> None:
    await first.queue.aclose()


async def test_a_caller_that_leaves_while_asking_leaves_a_driven_job(processes: Processes, first: Process) -> None:
    await first.queue.start(take_over=False)
    job = await of_a_dead_process(processes, JobState.RENDERING)
    asking = asyncio.create_task(first.queue.adopt(job))
    await until(lambda: "claim_one" in first.engine.ledger.calls)
    asking.cancel()
    await asyncio.wait({asking})
    assert (await settled(first, job)).state is JobState.DONE


async def test_a_ledger_that_is_away_at_the_start_is_tried_again(processes: Processes, first: Process) -> None:
    job = await of_a_dead_process(processes, JobState.RENDERING)
    for method in ("claim", "get", "claim_one"):
        first.engine.ledger.fail(method, 1)
    async with asyncio.timeout(LIMIT_S):
        await first.queue.start(take_over=True)
    first.engine.ledger.recover()
    assert (await settled(first, job)).state is JobState.DONE


async def test_any_job_of_the_ledger_can_be_run_by_its_id(
    processes: Processes, first: Process, second: Process
) -> None:
    job = await left_behind(first.engine.ledger, JobState.RENDERING)
    await second.engine.runner.run(job.id)
    assert (await second.engine.row(job)).state is JobState.DONE
    gate = Gate(Running())
    processes.pictures.looks += [gate]
    await first.queue.start(take_over=False)
    mine = await first.engine.new(sample_plan("another"))
    first.queue.enqueue(mine)
    await until(lambda: gate.asked)
    before = await first.engine.accepted(mine)
    await second.engine.runner.run(mine.id)  # somebody alive has it
    assert await second.engine.row(mine) == before
    gate.is_open.set()
    assert (await settled(second, mine)).state is JobState.DONE
    assert len(processes.pictures.submitted) == 1


async def test_two_processes_that_start_at_once_drive_no_job_twice(
    processes: Processes, first: Process, second: Process
) -> None:
    jobs = [await left_behind(first.engine.ledger, **_made(first)) for _ in range(12)]
    await asyncio.gather(*(process.queue.start(take_over=True) for process in (first, second)))
    for job in jobs:
        assert (await settled(first, job)).state is JobState.DONE
    assert len(processes.pictures.submitted) == len(jobs)


async def test_two_processes_that_are_asked_for_the_same_job_drive_it_once(
    processes: Processes, first: Process, second: Process
) -> None:
    for process in (first, second):
        await process.queue.start(take_over=False)
    jobs = [await left_behind(first.engine.ledger, **_made(first)) for _ in range(6)]
    asked = (process.queue.adopt(job) for job in jobs for process in (first, second, first))
    await asyncio.gather(*asked)
    for job in jobs:
        assert (await settled(first, job)).state is JobState.DONE
    assert len(processes.pictures.submitted) == len(jobs)


async def test_the_same_call_in_two_processes_at_once_is_made_once(
    processes: Processes, first: Process, second: Process
) -> None:
    for process in (first, second):
        await process.queue.start(take_over=True)
    calls = (
        process.engine.opening.open(sample_plan(), actor_id="ann", idempotency_key=None)
        for process in (first, second) * 4
    )
    answers = await asyncio.gather(*calls)
    assert len({answer.job.id for answer in answers}) == 1
    assert (await settled(first, answers[0].job)).state is JobState.DONE
    assert len(processes.pictures.submitted) == 1


async def test_a_process_that_was_taken_from_writes_nothing_over_its_successor(
    processes: Processes, first: Process, second: Process
) -> None:
    gate = Gate(finished())
    processes.pictures.looks += [gate]
    await first.queue.start(take_over=False)
    job = await first.engine.new()
    first.queue.enqueue(job)
    await until(lambda: gate.asked)
    row = await second.engine.accepted(job)
    theirs: Ledger = second.engine.ledger
    taken = await theirs.save(row, replace(row, owner=theirs.owner))
    gate.is_open.set()
    await until(lambda: not first.engine.runner.records)
    assert await second.engine.row(job) == taken


# Whose a job is

THEIRS = Account(provider="xai", account_id="team-2", key_fingerprint="f" * 32)
MARKS = {"account_id": THEIRS.account_id, "key_fingerprint": THEIRS.key_fingerprint}


@pytest.mark.parametrize("state", [*OPEN, JobState.SUBMITTING])
async def test_a_job_of_another_account_is_not_touched(processes: Processes, first: Process, state: JobState) -> None:
    theirs = await of_a_dead_process(processes, state, **MARKS)
    ours = await of_a_dead_process(processes, JobState.RENDERING)
    await first.queue.start(take_over=True)
    await first.queue.adopt(theirs)
    assert (await settled(first, ours)).state is JobState.DONE  # so it has looked for jobs
    assert await first.engine.row(theirs) == theirs
    assert (processes.pictures.submitted, len(processes.pictures.looked_for)) == ([], 1)


async def test_a_job_is_carried_on_with_another_key_of_its_account(processes: Processes, first: Process) -> None:
    theirs = await of_a_dead_process(processes, JobState.PLANNED, **MARKS)
    await first.queue.start(take_over=True)
    rotated = Holder(sandbox=False, accounts=(replace(THEIRS, key_fingerprint="e" * 32),))
    second = await processes.open(rotated)
    await second.queue.start(take_over=True)
    ended = await settled(second, theirs)
    assert (ended.state, ended.owner) == (JobState.DONE, second.engine.ledger.owner)
    assert len(processes.pictures.submitted) == 1


async def test_the_sandbox_and_the_real_world_leave_each_other_alone(processes: Processes) -> None:
    played = await of_a_dead_process(processes, JobState.PLANNED, sandbox=True)
    real = await of_a_dead_process(processes, JobState.PLANNED)
    sandbox = await processes.open(replace(HOLDER, sandbox=True))
    await sandbox.queue.start(take_over=True)
    await sandbox.queue.adopt(real)
    assert (await settled(sandbox, played)).owner == sandbox.engine.ledger.owner
    assert await sandbox.engine.row(real) == real
    await sandbox.end()
    server = await processes.open()
    await server.queue.start(take_over=True)
    assert (await settled(server, real)).owner == server.engine.ledger.owner


async def test_a_process_without_a_key_holds_no_claim(processes: Processes, first: Process) -> None:
    job = await of_a_dead_process(processes, JobState.RENDERING)
    keyless = await processes.open(Holder(sandbox=False))
    await keyless.queue.start(take_over=True)
    await keyless.queue.adopt(job)
    assert await keyless.engine.row(job) == job
    await first.queue.start(take_over=True)
    assert (await settled(first, job)).owner == first.engine.ledger.owner


async def test_a_job_that_is_handed_over_goes_on_with_the_new_account(processes: Processes, first: Process) -> None:
    theirs = await of_a_dead_process(processes, JobState.STORING, **MARKS)
    await first.queue.start(take_over=True)
    await first.engine.ledger.hand_over(theirs.id, ACCOUNT, sandbox=False)
    assert (await settled(first, theirs)).state is JobState.DONE


def _made(process: Process) -> dict[str, Any]:
    return {"created_at": process.engine.clock.now()}
