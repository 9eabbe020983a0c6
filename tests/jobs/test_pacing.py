"""How often a provider is looked at."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.jobs.pacing import (
    LATE_S,
    LOOKS_A_SECOND,
    PART_OF_USUAL,
    TURNS_GIVEN_BACK,
    URGENT_FOR_S,
    Pacing,
    look_interval_s,
)
from ring_mcp.jobs.queue.in_process import InProcessQueue
from ring_mcp.providers.base import Running
from tests.fake_clock import LIMIT_S, START, FakeClock
from tests.jobs.engine import DRAIN_S, Engine, clip_plan, until
from tests.jobs.scripted_provider import finished
from tests.ledger_samples import left_behind, planned

UPKEEP = 2
"""The sweep and the heartbeat sleep beside the drivers."""

OLD = START - timedelta(minutes=2)


def a_clip(**changes: object) -> Job:
    return planned(kind="video", plan=clip_plan(), **changes)


@pytest.mark.parametrize(
    ("least_s", "usual_s", "held", "interval_s"),
    [
        (5.0, 0.0, 0, 5.0),
        (5.0, 60.0, 10, 5.0),
        (5.0, 300.0, 10, 15.0),
        (5.0, 0.0, 10_000, 200.0),
        (60.0, 300.0, 2_000, 60.0),
        (1.0, 2_000.0, 5_000, 100.0),
        (1.0, 2_001.0, 5_000, 2_001.0 / PART_OF_USUAL),
    ],
)
def test_an_interval_stretches_with_the_usual_and_with_the_number(
    least_s: float, usual_s: float, held: int, interval_s: float
) -> None:
    assert look_interval_s(least_s, usual_s, held) == interval_s


def test_turns_come_evenly_and_each_lane_has_its_own(clock: FakeClock) -> None:
    pacing = Pacing(clock)
    waits = [pacing.wait_for_look_s(urgent=False) for _ in range(1000)]
    assert waits == pytest.approx([number / LOOKS_A_SECOND for number in range(1000)])
    assert pacing.wait_for_look_s(urgent=True) == 0.0
    clock.advance(5)
    assert pacing.wait_for_look_s(urgent=False) == pytest.approx(15.0)
    clock.advance(60)
    assert pacing.wait_for_look_s(urgent=False) == 0.0, "turns that nobody took are not saved up"
    assert pacing.wait_for_look_s(urgent=False) == pytest.approx(1 / LOOKS_A_SECOND)


def test_a_job_is_urgent_while_it_is_new_or_awaited(clock: FakeClock) -> None:
    pacing, job = Pacing(clock), a_clip()
    assert pacing.is_urgent(job, awaited=False)
    clock.advance(URGENT_FOR_S)
    assert not pacing.is_urgent(job, awaited=False)
    assert pacing.is_urgent(job, awaited=True)


def test_only_jobs_that_nobody_waits_for_share_the_looks(clock: FakeClock) -> None:
    pacing = Pacing(clock)
    assert pacing.stretch_s(a_clip(), 5.0, 10_000, urgent=True) == 5.0
    assert pacing.stretch_s(a_clip(), 5.0, 10_000, urgent=False) == 200.0


def test_a_models_usual_duration_is_learnt_and_follows_it(clock: FakeClock) -> None:
    pacing, job = Pacing(clock), a_clip()
    for seconds, interval_s in ((400, 20.0), (400, 20.0), (900, 25.0), (10_000, 29.0), (-5, 23.2)):
        pacing.note_duration(job, job.created_at + timedelta(seconds=seconds))
        assert pacing.stretch_s(job, 5.0, 1, urgent=True) == pytest.approx(interval_s)
    other = replace(job, plan=job.plan.model_copy(update={"model": "another"}))
    assert pacing.stretch_s(other, 5.0, 1, urgent=True) == 5.0


async def rendering(engine: Engine, count: int) -> list[Job]:
    return [
        await left_behind(engine.ledger, JobState.RENDERING, kind="video", plan=clip_plan(), created_at=OLD)
        for _ in range(count)
    ]


async def test_jobs_of_the_dead_are_all_taken_and_looked_at_in_turn(engine: Engine, clock: FakeClock) -> None:
    jobs = await rendering(engine, 10)
    looked_at = list[float]()

    async def look() -> Running:
        looked_at.append(clock.monotonic())
        return Running()

    engine.clips.looks += [look] * 20
    queue = InProcessQueue(
        engine.ledger, engine.runner, engine.watch, engine.accounts, clock, drain_s=DRAIN_S, at_once=4
    )
    await queue.start(take_over=True)
    await until(lambda: engine.ledger.calls.count("claim") == 3 and len(engine.runner.records) == len(jobs))
    while len(looked_at) < len(jobs):
        await until(lambda: clock.sleepers == len(jobs) + UPKEEP)
        clock.advance(clock.next_wake_s or 0)
    await queue.aclose()
    assert looked_at == pytest.approx([number / LOOKS_A_SECOND for number in range(len(jobs))])


async def test_a_turn_that_comes_late_is_given_back_three_times(engine: Engine, clock: FakeClock) -> None:
    [job] = await rendering(engine, 1)
    engine.runner._pacing.wait_for_look_s(urgent=False)
    await engine.queue.adopt(job)
    for _ in range(TURNS_GIVEN_BACK + 1):
        await until(lambda: clock.sleepers == 1)
        assert engine.clips.looked_for == []
        for _ in range(100):  # others are in the lane
            engine.runner._pacing.wait_for_look_s(urgent=False)
        clock.advance((clock.next_wake_s or 0) + LATE_S)
    await until(lambda: engine.clips.looked_for != [])
    assert (await engine.ended(job, upkeep=0)).state is JobState.DONE


async def test_who_waits_for_a_job_is_not_behind_the_others(engine: Engine) -> None:
    [job] = await rendering(engine, 1)
    for _ in range(1000):
        engine.runner._pacing.wait_for_look_s(urgent=False)
    engine.clips.looks += [finished(ending="mp4")]

    waiting = asyncio.create_task(engine.watch.wait(job.id, 600.0))
    await until(lambda: engine.watch.is_awaited(job.id))
    await engine.queue.adopt(job)
    done = await asyncio.wait_for(waiting, LIMIT_S)  # no time passes: its turn is at once
    assert done is not None
    assert done.state is JobState.DONE
    assert not engine.watch.is_awaited(job.id)
