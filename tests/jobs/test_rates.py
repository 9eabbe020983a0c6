"""How often this process asks a provider, with all others of its ledger."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Given, Holder, Job, JobState, RateBucket, Spacing
from ring_mcp.errors import ProviderUnavailable, RateLimited
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.rates import ASK_AGAIN_S, HORIZON_S, PREPARED_AT_ONCE, ProviderRates, _LocalBucket
from ring_mcp.jobs.submitting import STALE_PLAN_S
from ring_mcp.jobs.turns import Turns
from ring_mcp.presets import Presets, load_presets
from tests.fake_clock import LIMIT_S, START, FakeClock, let_pass
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
    assert PREPARED_AT_ONCE == 4, "their inputs are in memory"


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


async def test_a_look_that_fails_for_another_reason_slows_nobody(metered: Engine) -> None:
    metered.clips.looks += [ProviderUnavailable("503"), finished(ending="mp4")]
    job = await metered.new(clip_plan())
    metered.queue.enqueue(job)
    assert (await metered.ended(job)).state is JobState.DONE
    assert {reading.slowed for reading in await metered.rates.read()} == {1.0}


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


async def test_a_reading_says_how_many_wait_in_this_process(tmp_path: Path, clock: FakeClock) -> None:
    presets = with_rates({}, {"perMinute": 6})
    async with started_engine(tmp_path, clock, presets=presets) as engine:
        waiting = [asyncio.create_task(engine.rates.wait_to_look(a_clip(), urgent=False)) for _ in range(4)]
        await until(lambda: clock.sleepers == 1)
        [here] = await engine.rates.read()
        [elsewhere] = await rates_on(engine.ledger, clock, presets).read()
        assert (here.waiting, elsewhere.waiting) == (2, 0), "one is away, and one has its turn"
        await clock.play(_all(list(waiting)))
        [here] = await engine.rates.read()
        assert here.waiting == 0


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
    gone = sample_plan().model_copy(update={"model": "of an older version", "n": 4})
    assert rates._count_requests(planned(plan=gone)) == 1
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
    assert re.fullmatch("xai/[0-9a-f]{16}", one.account), "as every version of the server has it"


async def test_without_numbers_nothing_is_asked_of_the_ledger(engine: Engine, clock: FakeClock) -> None:
    rates = rates_on(engine.ledger, clock, None)
    await rates.wait_to_look(a_clip(), urgent=False)
    await rates.note_refusal(a_clip(), "look", RateLimited("no"))
    rates.hear("xai", CLIPS, RateLimited("no"))
    assert await rates.read() == []
    assert not {"take_rate", "slow_down", "rates"} & set(engine.ledger.calls)


async def test_a_slow_answer_of_the_ledger_is_not_waited_for(metered: Engine, clock: FakeClock) -> None:
    metered.ledger.fail("take_rate", error=TimeoutError())
    await metered.rates.wait_to_submit(a_clip())
    assert clock.monotonic() == 0.0


@pytest.mark.parametrize("key_of_job", [ACCOUNT.key_fingerprint, "b" * 32], ids=["this key's", "another key's"])
async def test_an_account_that_becomes_known_gets_no_second_bucket(
    engine: Engine, clock: FakeClock, key_of_job: str
) -> None:
    rates = rates_on(engine.ledger, clock, one_a_second())
    for _ in range(3):
        await clock.play(rates.wait_to_submit(a_clip()))
    rates._accounts.holder = HOLDER.learn("xai", "team")
    began = clock.monotonic()
    await clock.play(rates.wait_to_submit(a_clip(key_fingerprint=key_of_job)))
    assert clock.monotonic() - began == pytest.approx(1 / 0.9)
    clock.advance(60)
    engine.ledger.calls.clear()
    await rates.wait_to_submit(a_clip())
    assert engine.ledger.calls.count("take_rate") == 1


@pytest.mark.parametrize("holder", [HOLDER.learn("xai", "team"), Holder(sandbox=False)], ids=["known", "no key"])
async def test_where_nobody_counted_by_key_one_bucket_is_asked(
    engine: Engine, clock: FakeClock, holder: Holder
) -> None:
    await rates_on(engine.ledger, clock, one_a_second(), holder).wait_to_submit(a_clip())
    assert engine.ledger.calls.count("take_rate") == 1


async def test_a_refusal_counts_here_while_the_ledger_is_away(
    metered: Engine, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for method in ("slow_down", "take_rate"):
        metered.ledger.fail(method, times=float("inf"))
    metered.rates.hear("xai", CLIPS, RateLimited("too many", retry_after_s=30.0))
    await until(lambda: not metered.rates._asides)
    assert "rates are counted in this process alone for now: the ledger is away" in caplog.text
    began = clock.monotonic()
    await clock.play(metered.rates.wait_to_submit(a_clip()))
    assert clock.monotonic() - began == pytest.approx(30.0)
    await clock.play(metered.rates.wait_to_submit(a_clip()))
    assert clock.monotonic() - began == pytest.approx(30.0 + 1 / 0.9)


@pytest.mark.parametrize(("ahead_s", "is_taken"), [(0.0, True), (5.0, True), (5.001, False)])
def test_without_the_ledger_as_much_is_reserved_as_with_it(ahead_s: float, is_taken: bool) -> None:
    bucket = _LocalBucket(free_at=100.0 + ahead_s)
    given = bucket.take(Spacing(second_s=0.5), 3, 100.0)
    assert given.wait_s == pytest.approx(ahead_s)
    assert given.taken is is_taken
    assert bucket.free_at == 100.0 + (ahead_s + 1.5 if is_taken else ahead_s)


class SilentLedger:
    """Takes a question and never answers. ``passes_s``: so much time of the loop's own clock goes by meanwhile."""

    def __init__(self, passes_s: float = 0.0) -> None:
        self.asked = asyncio.Event()
        self.calls: list[str] = []
        self.is_left_alone = False
        self._passes_s = passes_s

    async def slow_down(self, *_: Any) -> None:
        self.calls.append("slow_down")
        self.asked.set()
        let_pass(self._passes_s)
        try:
            await asyncio.Event().wait()
        finally:
            self.is_left_alone = True

    async def take_rate(self, *_: Any) -> None:
        self.calls.append("take_rate")
        let_pass(self._passes_s)
        await asyncio.Event().wait()


@pytest.mark.parametrize("what", ["take_rate", "slow_down"])
async def test_a_silent_ledger_has_five_seconds_and_is_left_alone_for_ten(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    ledger = SilentLedger(5.0)
    rates = rates_on(ledger, clock, one_a_second())

    async def ask() -> None:
        if what == "take_rate":
            await clock.play(rates.wait_to_submit(a_clip()))
        else:
            await rates.note_refusal(a_clip(), "look", RateLimited("too many"))

    await asyncio.wait_for(ask(), LIMIT_S)
    assert "for now: the ledger has not answered in 5 s" in caplog.text
    clock.move_to(START + timedelta(seconds=ASK_AGAIN_S - 0.001))
    await ask()
    assert ledger.calls == [what]
    clock.move_to(START + timedelta(seconds=ASK_AGAIN_S))
    await asyncio.wait_for(ask(), LIMIT_S)
    assert ledger.calls == [what] * 2
    assert (ASK_AGAIN_S, caplog.text.count("has not answered")) == (10.0, 1), "told once while it lasts"


class CountingLedger:
    """A ledger that gives whatever it is asked for: first what is in ``answers``, then at once.

    ``taken``, ``slowed``, ``marked``: what it was asked and told.
    """

    def __init__(self, *answers: Given) -> None:
        self._answers = list(answers)
        self.taken: list[tuple[Any, ...]] = []
        self.slowed: list[tuple[RateBucket, float]] = []
        self.marked: list[list[str]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def take_rate(self, bucket: RateBucket, spacing: Spacing, count: int, horizon_s: float) -> Given:
        self.taken.append((bucket, spacing, count, horizon_s))
        await self.may_answer.wait()
        return self._answers.pop(0) if self._answers else Given(wait_s=0.0, taken=True)

    async def slow_down(self, bucket: RateBucket, pause_s: float) -> None:
        self.slowed.append((bucket, pause_s))

    async def mark_in_line(self, job_ids: list[str]) -> None:
        self.marked.append(job_ids)


async def test_what_is_not_reserved_is_asked_for_again_within_a_minute(clock: FakeClock) -> None:
    """A bucket that was slowed down may recover sooner than it said."""
    ledger = CountingLedger(
        Given(wait_s=30.0, taken=False), Given(wait_s=300.0, taken=False), Given(wait_s=90.0, taken=True)
    )
    await clock.play(rates_on(ledger, clock, one_a_second()).wait_to_submit(a_clip()))
    assert clock.pauses_s == [30.0, 60.0, 90.0], "what is reserved is waited for"
    assert len(ledger.taken) == 3


async def test_a_refusal_that_is_heard_slows_the_line_of_its_account(clock: FakeClock) -> None:
    ledger = CountingLedger()
    rates = rates_on(ledger, clock, one_a_second())
    rates.hear("xai", CLIPS, RateLimited("too many"))
    await until(lambda: ledger.slowed != [])
    await rates.wait_to_submit(a_clip())
    assert ledger.slowed == [(ledger.taken[0][0], 1.0)]


async def test_what_is_taken_in_one_statement_is_enough_for_as_many(clock: FakeClock) -> None:
    ledger = CountingLedger()
    rates = rates_on(ledger, clock, with_rates({}, {"perSecond": 100.0}))
    ledger.may_answer.clear()
    looking = [asyncio.create_task(rates.wait_to_look(a_clip(), urgent=False)) for _ in range(5)]
    await asyncio.sleep(0)
    ledger.may_answer.set()
    await clock.play(_all(list(looking)))
    assert [taken[2] for taken in ledger.taken] == [1, 4]
    assert {taken[0].asking for taken in ledger.taken} == {"look"}
    assert clock.pauses_s == [ledger.taken[0][1].step_s] * 3, "each of them waits for its own"
    await rates.wait_to_look(a_clip(), urgent=False)
    assert [taken[2] for taken in ledger.taken] == [1, 4, 1]


async def test_who_waits_is_marked_until_its_request_leaves(clock: FakeClock) -> None:
    ledger, leaving, giving_up = CountingLedger(), a_clip(), a_clip(id="gives up")
    rates = rates_on(ledger, clock, one_a_second())

    async def mark() -> list[str]:
        """Which are marked now."""
        clock.advance(120)
        ledger.marked.clear()
        await rates.marks.write()
        return [job_id for marked in ledger.marked for job_id in marked]

    with rates.place_for(leaving) as place, rates.place_for(giving_up) as other:
        async with place.stand(Turns(1)):
            assert await mark() == [leaving.id]
            with other.wait():
                assert await mark() == sorted([leaving.id, giving_up.id])
            await place.wait_to_submit()
            assert await mark() == [giving_up.id]
    assert await mark() == []


@pytest.mark.parametrize(("after_s", "buckets"), [(59.999, 2), (60.0, 1)])
async def test_a_bucket_by_key_counts_for_a_minute_after_its_last_use(
    clock: FakeClock, after_s: float, buckets: int
) -> None:
    ledger = CountingLedger()
    rates = rates_on(ledger, clock, one_a_second())
    await rates.wait_to_submit(a_clip())
    rates._accounts.holder = HOLDER.learn("xai", "team")
    clock.move_to(START + timedelta(seconds=after_s))
    ledger.taken.clear()
    await rates.wait_to_submit(a_clip())
    assert len({taken[0] for taken in ledger.taken}) == len(ledger.taken) == buckets


async def test_each_time_that_the_ledger_goes_away_is_told_once(
    metered: Engine, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        metered.ledger.fail("take_rate", times=2)
        for _ in range(3):  # at the third time it is back
            await clock.play(metered.rates.wait_to_submit(a_clip()))
            clock.advance(ASK_AGAIN_S)
    assert caplog.text.count("rates are counted in this process alone for now") == 2


@pytest.mark.parametrize(("retry_after_s", "pause_s"), [(None, 1.0), (0.0, 1.0), (0.5, 1.0), (7.0, 7.0), (1e9, 60.0)])
async def test_after_a_refusal_nobody_asks_for_a_second_at_least(
    clock: FakeClock, retry_after_s: float | None, pause_s: float
) -> None:
    ledger = CountingLedger()
    rates = rates_on(ledger, clock, one_a_second())
    await rates.note_refusal(a_clip(), "look", RateLimited("too many", retry_after_s=retry_after_s))
    [(bucket, paused_s)] = ledger.slowed
    assert (bucket.asking, bucket.model, bucket.sandbox, paused_s) == ("look", CLIPS, False, pause_s)


@pytest.mark.parametrize(("after_s", "is_good"), [(0.999, True), (1.0, False)])
async def test_what_is_taken_in_one_statement_is_good_for_a_second(
    clock: FakeClock, after_s: float, is_good: bool
) -> None:
    """A quarter of a second's looks at once; what is not used soon is for others by then."""
    ledger = CountingLedger()
    rates = rates_on(ledger, clock, with_rates({}, {"perSecond": 100.0}))
    ledger.may_answer.clear()
    looking = [asyncio.create_task(rates.wait_to_look(a_clip(), urgent=False)) for _ in range(100)]
    await asyncio.sleep(0)
    ledger.may_answer.set()
    await asyncio.wait({looking[0]})
    step_s = ledger.taken[0][1].step_s
    most = int(0.25 / step_s)
    await until(lambda: len(ledger.taken) == 2 and clock.sleepers == 1)
    assert [taken[2:] for taken in ledger.taken] == [(1, HORIZON_S), (most, HORIZON_S)]
    assert HORIZON_S == 5.0
    for task in looking:
        task.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    clock.move_to(START + timedelta(seconds=after_s))
    pauses = len(clock.pauses_s)
    await clock.play(rates.wait_to_look(a_clip(), urgent=True))
    assert [taken[2] for taken in ledger.taken] == ([1, most] if is_good else [1, most, 1])
    assert clock.pauses_s[pauses:] == ([step_s] if is_good else [])


async def test_without_a_number_looks_are_taken_one_by_one(clock: FakeClock) -> None:
    ledger = CountingLedger()
    rates = rates_on(ledger, clock, with_rates({}))
    ledger.may_answer.clear()
    looking = [asyncio.create_task(rates.wait_to_look(a_clip(), urgent=False)) for _ in range(4)]
    await asyncio.sleep(0)
    ledger.may_answer.set()
    await clock.play(_all(list(looking)))
    assert [taken[2] for taken in ledger.taken] == [1] * 4


async def test_who_has_left_the_line_waits_for_nothing(clock: FakeClock) -> None:
    ledger = CountingLedger()
    with rates_on(ledger, clock, one_a_second()).place_for(a_clip()) as place:
        async with place.stand(Turns(1)):
            await place.wait_to_submit()
        await place.wait_to_submit()
    assert len(ledger.taken) == 1


def test_a_place_counts_how_long_it_has_waited_in_all(clock: FakeClock) -> None:
    with rates_on(CountingLedger(), clock, one_a_second()).place_for(a_clip()) as place:
        assert place.waited_s == 0.0
        for _ in range(2):
            clock.advance(10)
            with place.wait():
                clock.advance(3)
        assert place.waited_s == 6.0


async def test_a_refusal_takes_back_what_was_taken_at_the_old_pace(clock: FakeClock) -> None:
    ledger = CountingLedger()
    rates = rates_on(ledger, clock, with_rates({}, {"perSecond": 100.0}))
    ledger.may_answer.clear()
    looking = [asyncio.create_task(rates.wait_to_look(a_clip(), urgent=False)) for _ in range(4)]
    await asyncio.sleep(0)
    ledger.may_answer.set()
    await until(lambda: len(ledger.taken) == 2 and clock.sleepers == 1)
    await rates.note_refusal(a_clip(), "look", RateLimited("too many"))
    await clock.play(_all(list(looking)))
    assert [taken[2] for taken in ledger.taken] == [1, 3, 1], "the last had nothing in hand any more"


async def test_closing_does_not_wait_for_a_silent_ledger(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    ledger = SilentLedger()
    rates = rates_on(ledger, clock, one_a_second())
    rates.hear("xai", CLIPS, RateLimited("too many"))
    async with asyncio.timeout(60):
        await ledger.asked.wait()
        await rates.aclose()
    assert ledger.is_left_alone, "nothing of it goes on"
    assert "has not answered" not in caplog.text
