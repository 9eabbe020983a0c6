"""Which step each state of a job asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ring_mcp.domain import Job, JobState, Output
from ring_mcp.errors import ProviderUnavailable, StorageError
from ring_mcp.jobs.outcomes import Pause, back_off_s
from ring_mcp.providers.base import Finished
from tests.fake_clock import START, FakeClock
from tests.jobs.engine import Engine, started_engine
from tests.jobs.scripted_provider import REQUEST_ID, jpeg
from tests.jobs.shared_folder import SharedFolder
from tests.ledger_samples import OUTPUT, carried

TRIES = 3


async def in_state(engine: Engine, *states: JobState) -> Job:
    job = await engine.new()
    for state in states:
        job = await engine.ledger.save(job, carried(job, state))
    return job


async def test_a_planned_job_is_submitted(engine: Engine) -> None:
    record = engine.record(await engine.new())
    assert await engine.steps.advance(record, START, 0) is None
    assert (record.job.state, record.job.provider_request_id) == (JobState.RENDERING, REQUEST_ID)


async def test_what_a_job_has_shared_stays_until_its_end(tmp_path: Path, clock: FakeClock) -> None:
    place = SharedFolder(tmp_path / "shared")
    async with started_engine(tmp_path / "state", clock, death_is_certain=False, shared=place) as engine:
        record = engine.record(await engine.new())
        name = f"{record.job.id}-0.inline"

        async def make() -> Finished:
            (engine.spool / name).write_bytes(jpeg())
            return Finished(outputs=(Output(spool_path=name),))

        engine.pictures.answers.append(make)
        await engine.steps.advance(record, START, 0)
        await engine.sharing.aclose()  # what was begun to be removed is
        assert (record.job.state, place.names()) == (JobState.STORING, [name])
        await engine.steps.advance(record, START, 0)
        await engine.sharing.aclose()
        assert (record.job.state, place.names()) == (JobState.DONE, [])


async def test_the_decoder_starts_while_the_provider_works(engine: Engine) -> None:
    warmed = list[int]()

    class Cold:
        def warm(self) -> None:
            warmed.append(len(engine.pictures.submitted))

    engine.storing._decoder = Cold()  # type: ignore[assignment]
    record = engine.record(await engine.new())
    await engine.steps.advance(record, START, 0)
    await engine.steps.advance(record, START, 0)
    assert warmed == [0], "once, and before its request leaves"


async def test_a_job_that_somebody_was_submitting_is_never_sent_again(engine: Engine) -> None:
    record = engine.record(await in_state(engine, JobState.SUBMITTING))
    assert await engine.steps.advance(record, START, 0) is None
    assert record.job.state is JobState.UNKNOWN
    assert engine.pictures.submitted == []


async def test_a_rendering_job_is_looked_at_and_its_failed_looks_are_counted(engine: Engine) -> None:
    engine.pictures.looks.append(ProviderUnavailable("away"))
    record = engine.record(await in_state(engine, JobState.SUBMITTING, JobState.RENDERING))
    assert await engine.steps.advance(record, START, TRIES) == Pause(back_off_s(TRIES, 1.0), failed=True)
    assert await engine.steps.advance(record, START, 0) is None
    assert record.job.state is JobState.STORING


async def test_a_job_with_outputs_is_stored_and_its_failed_tries_are_counted(engine: Engine) -> None:
    engine.storage.troubles.append(StorageError("away"))
    record = engine.record(await in_state(engine, JobState.SUBMITTING, JobState.STORING))
    assert record.job.outputs == (OUTPUT,)
    assert await engine.steps.advance(record, START, TRIES) == Pause(back_off_s(TRIES, 0.5), failed=True)
    assert await engine.steps.advance(record, START, 0) is None
    assert record.job.state is JobState.DONE


@pytest.mark.parametrize("state", [JobState.UNKNOWN, JobState.FAILED])
async def test_a_job_that_has_ended_is_left_alone(engine: Engine, state: JobState) -> None:
    job = await in_state(engine, JobState.SUBMITTING, state)
    record = engine.record(job)
    assert await engine.steps.advance(record, START, 0) is None
    assert record.job == job
    assert (engine.pictures.submitted, engine.pictures.looked_for) == ([], [])
