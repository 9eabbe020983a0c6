"""How often a provider is looked at."""

from __future__ import annotations

import asyncio
import random
import statistics
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ring_mcp.domain import Job, JobState, Usual
from ring_mcp.jobs.pacing import (
    LATE_S,
    LOOKS_A_SECOND,
    LOOKS_AT_A_CLIP,
    TURNS_GIVEN_BACK,
    URGENT_FOR_S,
    Pacing,
    look_interval_s,
)
from ring_mcp.jobs.queue.in_process import InProcessQueue
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.providers.base import Running
from tests.fake_clock import LIMIT_S, START, FakeClock
from tests.jobs.engine import DRAIN_S, PACE, Engine, clip_plan, until
from tests.jobs.scripted_provider import finished
from tests.ledger_samples import carried, left_behind, planned

UPKEEP = 2
"""The sweep and the heartbeat sleep beside the drivers."""

OLD = START - timedelta(minutes=2)


def a_clip(**changes: object) -> Job:
    return planned(kind="video", plan=clip_plan(), **changes)


USUAL = Usual(quarter_s=100.0, half_s=110.0, most_s=120.0, jobs=50)


@pytest.mark.parametrize(
    ("least_s", "usual", "age_s", "held", "interval_s"),
    [
        (5.0, None, 0.0, 0, 5.0),
        (5.0, None, 60.0, 10, 5.0),
        (5.0, None, 300.0, 10, 5.0),
        (5.0, None, 0.0, 10_000, 200.0),
        (5.0, replace(USUAL, jobs=3), 10.0, 0, 5.0),
        (5.0, replace(USUAL, jobs=4), 0.0, 0, 95.0 / 8),
        (1.0, USUAL, 95.0, 0, 15.0 / 7),
        (5.0, USUAL, 130.0, 0, 5.0),
        (5.0, USUAL, 0.0, 0, 95.0 / 8),
        (5.0, USUAL, 90.0, 0, 5.0),
        (1.0, USUAL, 93.0, 0, 2.0),
        (1.0, USUAL, 100.0, 0, 15.0 / 7),
        (5.0, USUAL, 129.0, 0, 5.0),
        (5.0, USUAL, 131.0, 0, 131.0 / 20),
        (5.0, USUAL, 400.0, 0, 20.0),
        (5.0, USUAL, 0.0, 5_000, 100.0),
        (1.0, Usual(quarter_s=2.0, half_s=2.0, most_s=2.0, jobs=50), 0.0, 0, 1.0),
        (1.0, Usual(quarter_s=10.0, half_s=50.0, most_s=60.0, jobs=50), 0.0, 0, 50.0 / 7),
    ],
)
def test_an_interval_follows_the_usual_and_the_number(
    least_s: float, usual: Usual | None, age_s: float, held: int, interval_s: float
) -> None:
    assert look_interval_s(least_s, usual, age_s, held) == pytest.approx(interval_s)


@pytest.mark.parametrize(("middle_s", "spread"), [(105.0, 0.15), (105.0, 0.3), (60.0, 0.3), (30.0, 0.2), (105.0, 0.05)])
async def test_half_of_all_clips_cost_few_looks_and_are_found_soon(
    middle_s: float, spread: float, tmp_path: Path, clock: FakeClock
) -> None:
    """Clips of a drawn duration are looked at as the ledger has learned from what was seen of those before."""
    ledger, draw = SqliteLedger(tmp_path / "ledger.db", clock), random.Random(7)
    await ledger.start()
    pacing, job = Pacing(ledger, clock), a_clip()
    looks, late_s = list[int](), list[float]()
    for _ in range(400):
        ends_s, age_s, rested_s, count = middle_s * draw.lognormvariate(0, spread), 0.0, 0.0, 1
        while age_s < ends_s:
            rested_s = await pacing.stretch_s(job, 5.0, age_s, 1, urgent=True)
            age_s, count = age_s + rested_s, count + 1
        await pacing.note_duration(job, age_s - rested_s / 2)
        looks.append(count)
        late_s.append(age_s - ends_s)
    await ledger.aclose()
    assert statistics.median(looks[100:]) <= LOOKS_AT_A_CLIP
    assert statistics.median(late_s[100:]) <= 3.0
    assert all(late <= ends for late, ends in zip(late_s, [middle_s] * 400, strict=True))


def test_turns_come_evenly_and_each_lane_has_its_own(engine: Engine, clock: FakeClock) -> None:
    pacing = Pacing(engine.ledger, clock)
    waits = [pacing.wait_for_look_s(urgent=False) for _ in range(1000)]
    assert waits == pytest.approx([number / LOOKS_A_SECOND for number in range(1000)])
    assert pacing.wait_for_look_s(urgent=True) == 0.0
    clock.advance(5)
    assert pacing.wait_for_look_s(urgent=False) == pytest.approx(15.0)
    clock.advance(60)
    assert pacing.wait_for_look_s(urgent=False) == 0.0, "turns that nobody took are not saved up"
    assert pacing.wait_for_look_s(urgent=False) == pytest.approx(1 / LOOKS_A_SECOND)


def test_a_job_is_urgent_while_it_is_new_or_awaited(engine: Engine, clock: FakeClock) -> None:
    pacing, job = Pacing(engine.ledger, clock), a_clip()
    assert pacing.is_urgent(job, awaited=False)
    clock.advance(URGENT_FOR_S)
    assert not pacing.is_urgent(job, awaited=False)
    assert pacing.is_urgent(job, awaited=True)
    assert URGENT_FOR_S == 60.0


async def test_only_jobs_that_nobody_waits_for_share_the_looks(engine: Engine, clock: FakeClock) -> None:
    pacing = Pacing(engine.ledger, clock)
    assert await pacing.stretch_s(a_clip(), 5.0, 0.0, 10_000, urgent=True) == 5.0
    assert await pacing.stretch_s(a_clip(), 5.0, 0.0, 10_000, urgent=False) == 200.0
    assert await pacing.stretch_s(a_clip(), 0.0, 0.0, 10_000, urgent=True) == 0.0, "as one of none, not as the only one"


async def test_what_is_usual_is_read_seldom_and_survives_the_ledger(engine: Engine, clock: FakeClock) -> None:
    pacing, job = Pacing(engine.ledger, clock), a_clip()
    engine.ledger.fail("usual_duration")
    for _ in range(10):
        assert await pacing.stretch_s(job, 5.0, 0.0, 1, urgent=True) == 5.0
    assert engine.ledger.calls.count("usual_duration") == 1
    for _ in range(4):
        await engine.ledger.note_duration(job.plan.model, 110.0, sandbox=False)
    clock.advance(299)
    assert await pacing.stretch_s(job, 5.0, 0.0, 1, urgent=True) == 5.0
    clock.advance(1)
    learned_s = await pacing.stretch_s(job, 5.0, 0.0, 1, urgent=True)
    assert learned_s == pytest.approx(110.0 / 10)
    clock.advance(301)
    engine.ledger.fail("usual_duration")
    assert await pacing.stretch_s(job, 5.0, 0.0, 1, urgent=True) == learned_s
    engine.ledger.fail("note_duration")
    await pacing.note_duration(job, 10.0)
    assert await pacing.stretch_s(job, 5.0, 0.0, 1, urgent=True) == learned_s


async def test_a_clip_that_was_followed_teaches_how_long_its_model_takes(engine: Engine) -> None:
    engine.clips.looks += [Running(), Running(), Running(), finished(ending="mp4")]
    job = await engine.new(clip_plan())
    engine.queue.enqueue(job)
    assert (await engine.ended(job)).state is JobState.DONE
    usual = await engine.ledger.usual_duration(job.plan.model, sandbox=False)
    assert usual.jobs == 1
    assert usual.half_s == pytest.approx(15.0, abs=3.0)


async def test_a_clip_counts_as_done_between_its_last_two_looks(engine: Engine) -> None:
    engine.clips.looks += [Running(), Running(), Running(), finished(ending="mp4")]
    told, note = list[tuple[str, float, bool]](), engine.ledger.note_duration

    async def hear(model: str, took_s: float, *, sandbox: bool) -> Usual:
        told.append((model, took_s, sandbox))
        usual: Usual = await note(model, took_s, sandbox=sandbox)
        return usual

    engine.ledger.note_duration = hear
    job = await engine.new(clip_plan())
    engine.queue.enqueue(job)
    assert (await engine.ended(job)).state is JobState.DONE
    await until(lambda: told != [])
    assert told == [(job.plan.model, 12.5, False)], "the third pause of five seconds began after ten"


async def test_a_clip_that_was_taken_over_teaches_nothing(engine: Engine) -> None:
    [job] = await rendering(engine, 1)
    await engine.queue.adopt(job)
    assert (await engine.ended(job)).state is JobState.DONE
    assert await engine.ledger.usual_duration(job.plan.model, sandbox=False) is None


async def test_a_clip_taken_over_is_followed_from_when_it_was_sent(engine: Engine, clock: FakeClock) -> None:
    """It had stood in line for an hour, which says nothing of when it will be done."""
    for _ in range(4):
        await engine.ledger.note_duration(clip_plan().model, 110.0, sandbox=False)
    sent = {"submit_deadline_at": clock.now() + timedelta(seconds=PACE["video"].submit_limit_s)}
    old = {"created_at": clock.now() - timedelta(hours=1)}
    job = await engine.new(clip_plan(), **old)
    job = await engine.ledger.save(job, carried(job, JobState.SUBMITTING, **sent))
    job = await engine.ledger.save(job, carried(job, JobState.RENDERING))
    engine.clips.looks += [Running(), finished(ending="mp4")]
    await clock.play(engine.runner.drive(job, asked=True))
    stretch_s = engine.runner._pacing.stretch_s
    expected_s = await stretch_s(job, 5.0, 0.0, 1, urgent=True)
    assert clock.monotonic() == pytest.approx(expected_s), "one rest between two looks"
    assert expected_s < await stretch_s(job, 5.0, 3600.0, 1, urgent=True), "as if it were long overdue"


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
    assert (LATE_S, TURNS_GIVEN_BACK) == (0.25, 3)


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
