"""What becomes of a job while somebody sets the clock of the machine that has it, over every ledger: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.errors import ProviderUnavailable, StorageError
from ring_mcp.jobs.storing import LET_GO_AFTER_S
from ring_mcp.jobs.submitting import STALE_PLAN_S
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Running
from tests.fake_clock import FakeClock
from tests.jobs.engine import PACE, Engine, clip_plan, engine_on
from tests.jobs.failing_ledger import FailingLedger
from tests.jobs.scripted_provider import jpeg

HOURS_S = 10_800.0
ADDRESS = "https://files.example/given.jpeg"

assert min(STALE_PLAN_S, LET_GO_AFTER_S, PACE["image"].poll_timeout_s) * 5 < HOURS_S

either_way = pytest.mark.parametrize("set_by_s", [HOURS_S, -HOURS_S])


class SettingAddress(dict[str, bytes]):
    """What lies at ADDRESS. While it is fetched the clock is set."""

    def __init__(self, clock: FakeClock, set_by_s: float) -> None:
        super().__init__({ADDRESS: jpeg()})
        self._clock, self._set_by_s = clock, set_by_s

    def __getitem__(self, url: str) -> bytes:
        by_s, self._set_by_s = self._set_by_s, 0.0
        self._clock.set_by(by_s)
        return super().__getitem__(url)


@pytest.fixture
async def engine(ledger: Ledger, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Engine]:
    engine = engine_on(FailingLedger(ledger), clock, tmp_path / "engine")
    yield engine
    await engine.queue.aclose()
    await engine.opening.delivery.aclose()


async def driven_to_a_rest(engine: Engine, job: Job) -> asyncio.Task[Job]:
    """Its driver, which sleeps."""
    driving = asyncio.create_task(engine.runner.drive(job))
    await engine.clock.asleep()
    return driving


@either_way
async def test_a_plan_is_sent_although_the_clock_was_set_meanwhile(
    ledger: Ledger, clock: FakeClock, tmp_path: Path, set_by_s: float
) -> None:
    engine = engine_on(FailingLedger(ledger), clock, tmp_path / "engine", fetched=SettingAddress(clock, set_by_s))
    engine.clips.fetches_inputs = False
    job = await engine.runner.drive(await engine.new(clip_plan(image_url=ADDRESS)))
    assert (job.state, len(engine.clips.submitted)) == (JobState.DONE, 1)


@either_way
async def test_a_new_plan_is_new_whatever_the_clock_says(engine: Engine, clock: FakeClock, set_by_s: float) -> None:
    job = await engine.new()
    clock.set_by(set_by_s)
    assert (await engine.runner.drive(job, is_new=True)).state is JobState.DONE


@either_way
async def test_an_intent_is_not_late_because_the_clock_was_set(
    engine: Engine, clock: FakeClock, set_by_s: float
) -> None:
    job = await engine.new()
    engine.ledger.after("save", lambda: clock.set_by(set_by_s))
    assert (await engine.runner.drive(job)).state is JobState.DONE
    assert len(engine.pictures.submitted) == 1


@either_way
async def test_a_parked_plan_is_no_older_when_the_clock_was_set(
    engine: Engine, clock: FakeClock, set_by_s: float
) -> None:
    plan = clip_plan(image_url="https://files.example/ours.jpeg")
    engine.storage.unreadable = StorageError("busy")
    parked = await engine.runner.drive(await engine.new(plan))
    assert (parked.state, parked.is_parked) == (JobState.PLANNED, True)
    clock.set_by(set_by_s)
    clock.advance(STALE_PLAN_S - 1)
    still_parked = await engine.runner.drive(parked)
    assert still_parked.is_parked
    clock.advance(2)
    assert (await engine.runner.drive(still_parked)).state is JobState.FAILED


async def test_a_plan_taken_over_is_as_old_as_the_clock_says(engine: Engine, clock: FakeClock) -> None:
    """It may be out of a backup, and have been sent from there."""
    job = await engine.new()
    clock.advance(STALE_PLAN_S + 1)
    assert (await engine.runner.drive(job)).state is JobState.FAILED
    assert engine.pictures.submitted == []


@either_way
async def test_setting_the_clock_parks_no_job_that_is_looked_at(
    engine: Engine, clock: FakeClock, set_by_s: float
) -> None:
    engine.pictures.looks += [Running(), ProviderUnavailable("busy"), Running(), Running()]
    job = await engine.new()
    driving = await driven_to_a_rest(engine, job)
    clock.set_by(set_by_s)
    assert (await clock.play(asyncio.wait_for(driving, None))).state is JobState.DONE
    assert max(clock.pauses_s) < PACE["image"].poll_timeout_s


@either_way
async def test_setting_the_clock_parks_no_job_that_is_stored(engine: Engine, clock: FakeClock, set_by_s: float) -> None:
    engine.storage.troubles += [StorageError("busy")] * 3
    job = await engine.new()
    driving = await driven_to_a_rest(engine, job)
    clock.set_by(set_by_s)
    assert (await clock.play(asyncio.wait_for(driving, None))).state is JobState.DONE


@either_way
async def test_a_job_is_late_by_the_time_that_has_passed(engine: Engine, clock: FakeClock, set_by_s: float) -> None:
    engine.pictures.looks += [Running()] * 1000
    job = await engine.new()
    driving = await driven_to_a_rest(engine, job)
    clock.set_by(set_by_s)
    began_s = clock.monotonic()
    parked = await clock.play(asyncio.wait_for(driving, None))
    limit_s = PACE["image"].poll_timeout_s
    assert parked.is_parked
    assert limit_s - 2 <= clock.monotonic() - began_s <= limit_s + 2
