"""How often this process asks a provider, with all others of its ledger."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Given, Holder, Job, JobState, RateBucket
from ring_mcp.errors import RateLimited
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.rates import ASK_AGAIN_S, HORIZON_S, PREPARED_AT_ONCE, ProviderRates
from ring_mcp.jobs.submitting import STALE_PLAN_S
from ring_mcp.presets import Presets, load_presets
from tests.fake_clock import FakeClock
from tests.jobs.engine import Engine, clip_plan, engine_on, started_engine, until
from tests.jobs.scripted_provider import finished
from tests.ledger_samples import ACCOUNT, HOLDER, planned, sample_plan

CLIPS, PICTURES = "grok-imagine-video", "grok-imagine-image-2.0"


def with_rates(submits: dict[str, float], looks: dict[str, float] | None = None) -> Presets:
    """The registry with these numbers for xAI's clips, and none for pictures."""
    presets = load_presets()
    rates = {"xai": {"video": {"submits": submits, "looks": looks or {}}}}
    limits = type(presets.limits).model_validate(
        {**presets.limits.model_dump(by_alias=True, exclude={"rates"}), "rates": rates}
    )
    return presets.model_copy(update={"limits": limits})


def one_a_second() -> Presets:
    """Of clips, and so that the first can be told from the second: 0.9 a second, as a tenth is kept for bursts."""
    return with_rates({"perSecond": 1.0})


def rates_on(ledger: Any, clock: FakeClock, presets: Presets | None, holder: Holder = HOLDER) -> ProviderRates:
    accounts = Accounts(holder, {}, ledger=ledger, clock=clock, folder=Path("/nonexistent"))
    return ProviderRates(ledger, accounts, clock, presets)


@pytest.fixture
async def metered(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Engine]:
    """An engine whose clips may be asked for once a second."""
    async with started_engine(tmp_path, clock, presets=one_a_second()) as engine:
        yield engine


def a_clip(**changes: Any) -> Job:
    return planned(kind="video", plan=clip_plan(), **changes)


async def leave_times(engines: list[Engine], jobs: list[Job], clock: FakeClock) -> list[float]:
    """Have them all driven, by turns; when each paid request might leave. All end well."""
    times, ledger = list[float](), engines[0].ledger
    take_rate = ledger.take_rate

    async def note(bucket: RateBucket, *args: Any) -> Given:
        asked_at = clock.monotonic()  # it goes on meanwhile
        given: Given = await take_rate(bucket, *args)
        if bucket.asking == "submit" and given.taken:
            times.append(asked_at + given.wait_s)
        return given

    ledger.take_rate = note
    for number, job in enumerate(jobs):
        engines[number % len(engines)].queue.enqueue(job)
    await clock.play(all_done(engines[0], jobs), limit_s=120.0)
    return sorted(times)


async def all_done(engine: Engine, jobs: list[Job]) -> None:
    for job in jobs:
        while not (row := await engine.row(job)).is_settled:
            await asyncio.sleep(0)
        assert row.state is JobState.DONE


async def many(engine: Engine, count: int, **changes: Any) -> list[Job]:
    return [await engine.new(clip_plan(), **changes) for _ in range(count)]


async def test_paid_requests_leave_as_often_as_the_account_may(metered: Engine, clock: FakeClock) -> None:
    times = await leave_times([metered], await many(metered, 6), clock)
    assert len(times) == 6
    assert min(after - before for before, after in itertools.pairwise(times)) >= 1.0


async def test_two_processes_keep_to_one_number_together(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, presets=one_a_second()) as first:
        second = engine_on(first.ledger, clock, tmp_path / "second", presets=one_a_second())
        times = await leave_times([first, second], await many(first, 8), clock)
        await second.queue.aclose()
        assert len(times) == 8
        assert len(first.clips.submitted) == len(second.clips.submitted) == 4
        assert min(after - before for before, after in itertools.pairwise(times)) >= 1.0


async def test_who_waits_for_the_rate_is_in_nobody_elses_way(tmp_path: Path, clock: FakeClock) -> None:
    """Many clips wait, with one step at a time in the whole process: a picture goes through, and no row is written."""
    slow = with_rates({"perMinute": 1})
    async with started_engine(tmp_path, clock, presets=slow, at_once=1) as engine:
        clips = await many(engine, 10)
        for clip in clips:
            engine.queue.enqueue(clip)
        await until(lambda: len(engine.clips.submitted) == 1 and clock.sleepers >= 1)
        picture = await engine.new(sample_plan())
        engine.queue.enqueue(picture)
        await until(lambda: len(engine.pictures.submitted) == 1)
        rows = [await engine.row(clip) for clip in clips]
        waiting = [row for row in rows if row.state is JobState.PLANNED]
        assert len(waiting) == 9
        assert {row.version for row in waiting} == {clips[0].version}
        assert all(row.attempt_token is None for row in waiting)


async def test_few_of_those_that_wait_are_made_ready(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, presets=with_rates({"perMinute": 1})) as engine:
        prepared = list[str]()
        prepare = engine.preparing.prepare

        async def count(record: Any, *, as_bytes: bool) -> Any:
            prepared.append(record.job.id)
            return await prepare(record, as_bytes=as_bytes)

        engine.preparing.prepare = count  # type: ignore[method-assign]
        for job in await many(engine, 20):
            engine.queue.enqueue(job)
        await until(lambda: len(engine.clips.submitted) == 1 and len(prepared) == PREPARED_AT_ONCE + 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(set(prepared)) == PREPARED_AT_ONCE + 1


async def test_what_waits_longer_than_a_plan_lives_is_sent_all_the_same(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, presets=with_rates({"perMinute": 1})) as engine:
        times = await leave_times([engine], await many(engine, 13), clock)
        assert len(times) == 13
        assert max(times) > STALE_PLAN_S


async def test_actors_take_turns_in_a_line(metered: Engine, clock: FakeClock) -> None:
    jobs = await many(metered, 12, actor_id="many")
    last = await metered.new(clip_plan(prompt="of another"), actor_id="few")
    await leave_times([metered], [*jobs, last], clock)
    order = [each.plan.prompt for each in metered.clips.submitted]
    assert order.index("of another") <= PREPARED_AT_ONCE + 2


async def test_a_refused_submit_slows_everybody(metered: Engine, clock: FakeClock) -> None:
    metered.clips.answers += [RateLimited("too many", retry_after_s=20.0)]
    job = await metered.new(clip_plan())
    metered.queue.enqueue(job)
    assert (await metered.ended(job)).state is JobState.FAILED
    [reading] = await metered.rates.read()
    assert (reading.provider, reading.model, reading.asking) == ("xai", CLIPS, "submit")
    assert reading.slowed == pytest.approx(2.0, abs=0.1)
    assert reading.full == 1.0
    assert reading.paused_s == pytest.approx(20.0, abs=1.0)
    others = rates_on(metered.ledger, clock, one_a_second())
    began = clock.monotonic()
    await clock.play(others.wait_to_submit(a_clip()))
    assert clock.monotonic() - began >= 19.0


async def test_a_refusal_that_is_waited_out_is_heard_at_once(metered: Engine) -> None:
    metered.rates.hear("xai", CLIPS, RateLimited("too many", retry_after_s=1e9))
    await until(lambda: "slow_down" in metered.ledger.calls)
    await until(lambda: not metered.rates._asides)
    [reading] = await metered.rates.read()
    assert reading.paused_s == 60.0, "no more than a minute is believed"


async def test_a_refused_look_slows_looks_alone(metered: Engine) -> None:
    metered.clips.looks += [RateLimited("too many"), finished(ending="mp4")]
    job = await metered.new(clip_plan())
    metered.queue.enqueue(job)
    assert (await metered.ended(job)).state is JobState.DONE
    slowed = {reading.asking: reading.slowed for reading in await metered.rates.read()}
    assert slowed["submit"] == 1.0
    assert slowed["look"] > 1.0


async def test_looks_share_their_own_number(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, presets=with_rates({}, {"perSecond": 10.0})) as engine:
        times = list[float]()

        async def look(job: Job) -> None:
            await engine.rates.wait_to_look(job, urgent=False)
            times.append(clock.monotonic())

        jobs = [a_clip() for _ in range(60)]
        await clock.play(_all([look(job) for job in jobs]))
        assert len(times) == 60
        most = max(sum(begin <= at < begin + 1.0 for at in times) for begin in times)
        assert most <= 10
        assert engine.ledger.calls.count("take_rate") < 40, "where many wait, several are taken in one statement"


async def _all(works: list[Any]) -> None:
    await asyncio.gather(*works)


async def test_a_look_that_somebody_waits_for_goes_first(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, presets=with_rates({}, {"perMinute": 6})) as engine:
        order = list[str]()

        async def look(name: str, *, urgent: bool) -> None:
            await engine.rates.wait_to_look(a_clip(), urgent=urgent)
            order.append(name)

        waiting = [asyncio.create_task(look(f"old {number}", urgent=False)) for number in range(3)]
        await until(lambda: clock.sleepers == 1)
        waiting.append(asyncio.create_task(look("urgent", urgent=True)))
        await clock.play(_all(list(waiting)))
        assert order[:3] == ["old 0", "old 1", "urgent"]


async def test_a_ledger_that_is_away_is_left_alone_and_looks_go_on(metered: Engine, clock: FakeClock) -> None:
    metered.ledger.fail("take_rate", times=float("inf"))
    began = clock.monotonic()
    for _ in range(5):
        await clock.play(metered.rates.wait_to_submit(a_clip()))
    assert clock.monotonic() - began == pytest.approx(4 / 0.9), "the same numbers, in this process alone"
    assert metered.ledger.calls.count("take_rate") == 1
    for _ in range(5):
        await metered.rates.wait_to_look(a_clip(), urgent=True)
    assert metered.ledger.calls.count("take_rate") == 1
    metered.rates.hear("xai", CLIPS, RateLimited("too many", retry_after_s=3.0))
    await until(lambda: not metered.rates._asides)
    assert "slow_down" not in metered.ledger.calls
    clock.advance(ASK_AGAIN_S)
    metered.ledger.recover()
    await clock.play(metered.rates.wait_to_submit(a_clip()))
    assert metered.ledger.calls.count("take_rate") == 2


async def test_without_the_ledger_a_paid_request_is_not_sent(metered: Engine) -> None:
    job = await metered.new(clip_plan())
    for method in ("take_rate", "save"):
        metered.ledger.fail(method, times=float("inf"))
    metered.queue.enqueue(job)
    await until(lambda: metered.ledger.calls.count("save") == 1 and metered.clock.sleepers == 1)
    assert (metered.clips.submitted, (await metered.row(job)).state) == ([], JobState.PLANNED)
    metered.ledger.recover()
    assert (await metered.ended(job)).state is JobState.DONE
    assert len(metered.clips.submitted) == 1


async def test_a_caller_waits_no_longer_than_he_said(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, presets=with_rates({"perMinute": 1})) as engine:
        await clock.play(engine.rates.wait_to_submit(a_clip()))
        job = await engine.new(clip_plan())
        engine.queue.enqueue(job)
        await until(lambda: clock.sleepers == 1)
        found = await clock.play(engine.watch.wait(job.id, 10.0))
        assert found is not None
        assert (found.state, found.attempt_token) == (JobState.PLANNED, None)
        assert engine.clips.submitted == []


async def test_who_is_cancelled_in_line_leaves_it_to_others(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, presets=with_rates({"perMinute": 1}), at_once=1) as engine:
        jobs = await many(engine, 8)
        for job in jobs:
            engine.queue.enqueue(job)
        await until(lambda: len(engine.clips.submitted) == 1 and len(engine.runner.records) == 7 + 1)
        tasks = [engine.queue._tasks[job.id] for job in jobs[1:7]]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await clock.play(all_done(engine, [jobs[7]]))
        assert [(await engine.row(job)).state for job in jobs[1:7]] == [JobState.PLANNED] * 6


async def test_pictures_of_a_call_that_are_requests_each_are_counted(engine: Engine, clock: FakeClock) -> None:
    rates = rates_on(engine.ledger, clock, load_presets())
    plan = sample_plan().model_copy(update={"provider": "google", "model": "gemini-nano-banana-2.1", "n": 4})
    assert rates._count_requests(planned(plan=plan)) == 4
    assert rates._count_requests(planned(plan=sample_plan().model_copy(update={"n": 4}))) == 1
    assert rates._count_requests(a_clip()) == 1


async def test_all_keys_of_an_account_share_its_buckets(engine: Engine, clock: FakeClock) -> None:
    def bucket(**marks: str) -> Any:
        account = replace(ACCOUNT, **marks)
        rates = rates_on(engine.ledger, clock, one_a_second(), Holder(sandbox=False, accounts=(account,)))
        return rates._bucket(a_clip(), "submit")

    one, other = bucket(account_id="team"), bucket(account_id="team", key_fingerprint="b" * 32)
    assert one == other
    assert bucket() != bucket(key_fingerprint="b" * 32)
    assert bucket(endpoint="proxy.example") != bucket()
    assert "team" not in one.account


async def test_without_numbers_nothing_is_asked_of_the_ledger(engine: Engine, clock: FakeClock) -> None:
    rates = rates_on(engine.ledger, clock, None)
    await rates.wait_to_look(a_clip(), urgent=False)
    await rates.note_refusal(a_clip(), "look", RateLimited("no"))
    rates.hear("xai", CLIPS, RateLimited("no"))
    assert await rates.read() == []
    assert not {"take_rate", "slow_down", "rates"} & set(engine.ledger.calls)


async def test_a_slow_answer_of_the_ledger_is_not_waited_for(metered: Engine, clock: FakeClock) -> None:
    assert HORIZON_S > 0
    metered.ledger.fail("take_rate", error=TimeoutError())
    await metered.rates.wait_to_submit(a_clip())
    assert clock.monotonic() == 0.0


async def test_an_account_that_becomes_known_gets_no_second_bucket(engine: Engine, clock: FakeClock) -> None:
    rates = rates_on(engine.ledger, clock, one_a_second())
    for _ in range(3):
        await clock.play(rates.wait_to_submit(a_clip()))
    rates._accounts.holder = HOLDER.learn("xai", "team")
    began = clock.monotonic()
    await clock.play(rates.wait_to_submit(a_clip()))
    assert clock.monotonic() - began == pytest.approx(1 / 0.9)
    clock.advance(60)
    engine.ledger.calls.clear()
    await rates.wait_to_submit(a_clip())
    assert engine.ledger.calls.count("take_rate") == 1
