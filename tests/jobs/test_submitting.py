"""The one paid request: the intent comes first, one request leaves, and whatever comes back is written down."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Job, JobState, Output, Plan
from ring_mcp.errors import (
    ContentRefused,
    JobMoved,
    LedgerError,
    OutcomeUnknown,
    ProviderAuthError,
    ProviderBadReply,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    StorageError,
    StorageRefused,
)
from ring_mcp.jobs.answers import Answer
from ring_mcp.jobs.courier import CourierSilent
from ring_mcp.jobs.late_answers import LOOK_FOR_ANSWER_S, LOOK_FOR_OTHERS_S
from ring_mcp.jobs.outcomes import SUBMIT_MARGIN_S, Pause
from ring_mcp.jobs.rates import PREPARED_AT_ONCE
from ring_mcp.jobs.submitting import STALE_PLAN_S, WAIT_FOR_STORAGE_S, WRITE_AGAIN_S
from ring_mcp.presets import load_presets
from ring_mcp.providers.base import MOST_PAUSES_S, Accepted, Finished, Inputs, Running
from tests.fake_clock import START, FakeClock
from tests.jobs.engine import PACE, Engine, clip_plan, started_engine, until
from tests.jobs.scripted_provider import REQUEST_ID, ScriptedProvider, finished, jpeg
from tests.jobs.shared_folder import SharedFolder
from tests.ledger_samples import PRICE_USD, carried, sample_plan

ADDRESS = "https://pictures.example/a.jpg"
BILLED = Decimal("0.04")
NOTHING = Decimal(0)
NOT_SENT = ProviderUnavailable("the server died before the request was sent", billed="no")


async def submitted(engine: Engine, job: Job | None = None) -> Job:
    """The job after its step, as the row has it."""
    record = engine.record(job or await engine.new())
    assert await engine.submitting.submit(record) is None
    assert record.job == await engine.row(record.job)
    return record.job


async def test_the_intent_is_on_record_before_the_request_leaves(engine: Engine) -> None:
    seen: list[Job] = []
    job = await engine.new()

    async def look() -> Accepted:
        seen.append(await engine.row(job))
        return Accepted(provider_request_id=REQUEST_ID)

    engine.pictures.answers.append(look)
    await submitted(engine, job)
    (intent,) = seen
    assert intent.state is JobState.SUBMITTING
    assert intent.attempt_token
    deadline_s = PACE["image"].submit_timeout_s + MOST_PAUSES_S + SUBMIT_MARGIN_S
    assert intent.submit_deadline_at == START + timedelta(seconds=deadline_s)


async def test_every_attempt_has_a_token_of_its_own(engine: Engine) -> None:
    first, second = await submitted(engine), await submitted(engine)
    assert first.attempt_token != second.attempt_token


async def test_the_request_is_made_once_with_plan_inputs_spool_and_deadline(engine: Engine) -> None:
    job = await submitted(engine, await engine.new(clip_plan(image_url=ADDRESS)))
    (request,) = engine.clips.submitted
    assert (request.plan, request.inputs.image_url) == (job.plan, ADDRESS)
    assert request.spool == engine.spool / job.id
    assert request.deadline_s == PACE["video"].submit_timeout_s


async def test_a_provider_that_reads_no_addresses_gets_bytes(tmp_path: Path, clock: FakeClock) -> None:
    clips = ScriptedProvider("mp4", fetches_inputs=False)
    async with started_engine(tmp_path, clock, clips=clips, fetched={ADDRESS: jpeg()}) as engine:
        await submitted(engine, await engine.new(clip_plan(image_url=ADDRESS)))
        assert (clips.submitted[0].inputs.image_url or "").startswith("data:image/jpeg;base64,")


async def test_a_handle_makes_a_job_that_any_process_can_finish(engine: Engine, clock: FakeClock) -> None:
    async def late() -> Accepted:
        clock.advance(3)
        return Accepted(provider_request_id=REQUEST_ID)

    engine.pictures.answers.append(late)
    job = await submitted(engine)
    assert (job.state, job.provider_request_id) == (JobState.RENDERING, REQUEST_ID)
    assert (job.due_at, job.failure, job.settled_usd) == (START + timedelta(seconds=3), None, None)


async def test_the_first_look_goes_out_while_the_handle_is_written(engine: Engine) -> None:
    written: list[int] = []

    async def look() -> Running:
        written.append(engine.ledger.calls.count("save"))
        return Running()

    engine.pictures.looks.append(look)
    job = await engine.new()
    record = engine.record(job)
    await engine.submitting.submit(record)
    assert record.job.state is JobState.RENDERING
    assert record.first_look is not None
    assert await record.first_look == Running()
    assert written == [1], "the intent alone"


async def test_a_first_look_that_fails_unseen_is_no_noise(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """As where the process stops when the handle is written: its error would be told of long after, and of no job."""
    engine.pictures.looks.append(ProviderUnavailable("503"))
    record = engine.record(await engine.new())
    await engine.submitting.submit(record)
    assert record.first_look is not None
    await asyncio.wait({record.first_look}, timeout=60)
    record.first_look = None
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_no_look_is_begun_at_what_came_with_the_answer(engine: Engine) -> None:
    engine.pictures.answers.append(finished())
    record = engine.record(await engine.new())
    await engine.submitting.submit(record)
    assert (record.first_look, engine.pictures.looked_for) == (None, [])


async def test_what_comes_with_the_answer_itself_is_ready_to_be_stored(engine: Engine) -> None:
    engine.pictures.answers.append(finished(2, billed_usd=BILLED, served_model="grok-2", warnings=("fewer",)))
    job = await submitted(engine)
    assert (job.state, len(job.outputs), job.billed_usd) == (JobState.STORING, 2, BILLED)
    assert (job.served_model, job.warnings) == ("grok-2", ("fewer",))


@pytest.mark.parametrize(
    ("error", "state", "settled"),
    [
        (ContentRefused("no", billed_usd=BILLED), JobState.REFUSED, BILLED),
        (ContentRefused("no"), JobState.REFUSED, PRICE_USD),
        (RateLimited("wait"), JobState.FAILED, Decimal(0)),
        (ProviderAuthError("wrong key"), JobState.FAILED, Decimal(0)),
        (ProviderBadReply("no handle in it"), JobState.FAILED, PRICE_USD),
        (ProviderUnavailable("no connection was made", billed="no"), JobState.FAILED, Decimal(0)),
        (ProviderUnavailable("billed all the same", billed="yes"), JobState.FAILED, PRICE_USD),
    ],
)
async def test_a_refusal_ends_the_job_at_what_it_cost(
    engine: Engine, error: ProviderError, state: JobState, settled: Decimal
) -> None:
    engine.pictures.answers.append(error)
    job = await submitted(engine)
    assert (job.state, job.settled_usd, job.finished_at) == (state, settled, START)
    assert job.failure is not None
    assert (job.failure.code, job.failure.message) == (error.code, error.message)


@pytest.mark.parametrize("error", [OutcomeUnknown("the connection broke"), ProviderUnavailable("502 of a proxy")])
async def test_an_answer_that_was_lost_is_an_unknown_outcome_with_its_reservation(
    engine: Engine, error: ProviderError
) -> None:
    engine.pictures.answers.append(error)
    job = await submitted(engine)
    assert (job.state, job.settled_usd, job.due_at) == (JobState.UNKNOWN, None, None)
    assert job.failure is not None
    assert (job.failure.code, job.failure.message, job.failure.billed) == ("unknown_outcome", error.message, "unknown")
    assert "jobs resolve" in job.failure.next_action


async def test_a_server_stopped_in_mid_request_says_so_and_never_sends_again(engine: Engine) -> None:
    gate = asyncio.Event()
    engine.pictures.answers.append(gate.wait)
    record = engine.record(await engine.new())
    submitting = asyncio.create_task(engine.submitting.submit(record))
    await until(lambda: engine.pictures.submitted != [])
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting
    job = await engine.row(record.job)
    assert job.state is JobState.UNKNOWN
    assert job.failure is not None
    assert job.failure.message == "the server was stopped while the request was under way; it may have been billed"
    await engine.runner.drive(job)
    assert len(engine.pictures.submitted) == 1


async def test_a_server_that_is_stopped_before_the_request_leaves_says_that(engine: Engine) -> None:
    record = engine.record(await engine.new())
    submitting = asyncio.create_task(engine.submitting.submit(record))
    await until(lambda: "save" in engine.ledger.calls)
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting
    job = await engine.row(record.job)
    assert (job.state, job.settled_usd, len(engine.pictures.submitted)) == (JobState.FAILED, NOTHING, 0)
    assert job.failure is not None
    assert job.failure.message == "the server was stopped before the request was sent"
    assert job.failure.next_action == "Call again."


async def test_without_an_intent_on_record_nothing_is_sent(engine: Engine) -> None:
    record = engine.record(await engine.new())
    engine.ledger.fail("save")
    assert await engine.submitting.submit(record) == Pause(WRITE_AGAIN_S, failed=True)
    assert (engine.pictures.submitted, record.is_behind) == ([], False)
    assert (record.job.state, (await engine.row(record.job)).state) == (JobState.PLANNED, JobState.PLANNED)
    failure = record.job.failure
    assert failure is not None
    assert (failure.code, failure.billed, failure.retryable) == ("ledger_unavailable", "no", True)
    assert failure.message == "the ledger is away; the request was not sent yet"
    assert failure.next_action.startswith("Make the ledger reachable (see ring-health): the job goes on by itself")


async def test_no_trouble_after_the_intent_is_told_as_a_request_not_sent(engine: Engine) -> None:
    engine.pictures.answers += [LedgerError("a ledger of somebody else is away")]
    record = engine.record(await engine.new())
    with pytest.raises(LedgerError, match="of somebody else"):
        await engine.submitting.submit(record)
    assert (record.job.state, record.job.failure) == (JobState.SUBMITTING, None)


@pytest.mark.parametrize("arrives", [False, True])
async def test_a_job_waits_for_the_ledger_and_is_then_sent_once(
    engine: Engine, clock: FakeClock, arrives: bool
) -> None:
    engine.ledger.fail("save", 3, arrives=arrives)
    job = await clock.play(engine.runner.drive(await engine.new()))
    assert (job.state, job.failure, len(engine.pictures.submitted)) == (JobState.DONE, None, 1)
    assert clock.pauses_s[:2] == [WRITE_AGAIN_S, 2 * WRITE_AGAIN_S] == [1.0, 2.0]


@pytest.mark.parametrize("spool_is_full", [False, True])
async def test_nobody_is_told_of_an_unsent_end_that_no_row_has(
    engine: Engine, clock: FakeClock, spool_is_full: bool
) -> None:
    """Whoever comes next would read a plan, and might start it: a clock may be set, and make it young again."""
    record = engine.record(await engine.new())
    if spool_is_full:
        engine.write_ahead.folder.parent.mkdir(parents=True, exist_ok=True)
        engine.write_ahead.folder.write_bytes(b"a file in its place: nothing can be kept")
    clock.advance(STALE_PLAN_S + 1)
    engine.ledger.fail("save", 2)
    for tries in range(2):
        assert await engine.submitting.submit(record, tries=tries) == Pause(WRITE_AGAIN_S * 2**tries, failed=True)
        assert (record.job.state, record.is_behind) == (JobState.PLANNED, False)
    assert await engine.submitting.submit(record) is None
    assert record.job == await engine.row(record.job)
    assert (record.job.state, record.job.settled_usd, engine.pictures.submitted) == (JobState.FAILED, NOTHING, [])


async def test_a_job_that_another_process_has_taken_is_not_sent(engine: Engine) -> None:
    job = await engine.new()
    await engine.ledger.save(job, replace(job, progress=1))
    with pytest.raises(JobMoved):
        await engine.submitting.submit(engine.record(job))
    assert engine.pictures.submitted == []


@pytest.mark.parametrize(("age_s", "is_sent"), [(0, True), (600.0, True), (600.001, False)])
async def test_a_plan_of_long_ago_is_not_started(engine: Engine, clock: FakeClock, age_s: float, is_sent: bool) -> None:
    job = await engine.new()
    clock.advance(age_s)
    after = await submitted(engine, job)
    assert len(engine.pictures.submitted) == is_sent
    if not is_sent:
        assert (after.state, after.settled_usd, after.finished_at) == (JobState.FAILED, NOTHING, clock.now())
        assert after.failure is not None
        assert (after.failure.billed, "planned too long ago" in after.failure.message) == ("no", True)
    assert STALE_PLAN_S == 600.0


async def test_a_stale_clip_does_not_even_wait_for_its_still(engine: Engine, clock: FakeClock) -> None:
    clip, _ = await engine.new_clip_with_still()
    clock.advance(STALE_PLAN_S + 1)
    engine.ledger.calls.clear()
    assert (await submitted(engine, clip)).state is JobState.FAILED
    assert engine.ledger.calls == ["save", "get"]  # the second is this test's own


async def test_a_plan_that_became_stale_while_it_was_prepared_is_not_sent(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, fetched=SlowAddress(clock, STALE_PLAN_S + 1)) as engine:
        engine.clips.fetches_inputs = False
        job = await submitted(engine, await engine.new(clip_plan(image_url=ADDRESS)))
        assert (job.state, job.settled_usd, len(engine.clips.submitted)) == (JobState.FAILED, NOTHING, 0)


class SlowAddress(dict[str, bytes]):
    """What lies at ADDRESS, after some time has passed."""

    def __init__(self, clock: FakeClock, takes_s: float) -> None:
        super().__init__({ADDRESS: jpeg()})
        self._clock, self._takes_s = clock, takes_s

    def __getitem__(self, url: str) -> bytes:
        takes_s, self._takes_s = self._takes_s, 0.0
        self._clock.advance(takes_s)
        return super().__getitem__(url)


@pytest.mark.parametrize(("slept_s", "is_sent"), [(0.0, False), (-0.001, True)])
async def test_a_process_that_slept_past_its_own_deadline_sends_nothing(
    tmp_path: Path, clock: FakeClock, slept_s: float, is_sent: bool
) -> None:
    deadline_s = PACE["image"].submit_timeout_s + MOST_PAUSES_S + SUBMIT_MARGIN_S
    async with started_engine(tmp_path, clock) as engine:
        job = await engine.new()
        engine.ledger.after("save", lambda: clock.advance(deadline_s + slept_s))
        after = await submitted(engine, job)
        assert len(engine.pictures.submitted) == is_sent
        if not is_sent:
            assert (after.state, after.settled_usd) == (JobState.FAILED, NOTHING)


async def test_a_pause_of_the_preparation_is_passed_on_and_nothing_is_written(engine: Engine) -> None:
    clip, still = await engine.new_clip_with_still()
    record = engine.record(clip)
    assert await engine.submitting.submit(record) == Pause(1.0, until=still.id)
    assert record.job == await engine.row(record.job)
    assert record.job.state is JobState.PLANNED


async def test_an_orphan_is_unknown_at_once_where_death_is_certain(engine: Engine) -> None:
    job = await engine.new()
    job = await engine.ledger.save(job, carried(job, JobState.SUBMITTING))
    record = engine.record(job)
    assert await engine.submitting.give_up_orphan(record) is None
    after = await engine.row(job)
    assert (after.state, after.due_at) == (JobState.UNKNOWN, None)
    assert after.failure is not None
    assert after.failure.message.startswith("the server died while the request was under way")


async def test_an_orphan_is_waited_for_where_death_is_not_certain(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, death_is_certain=False) as engine:
        job = await engine.new()
        job = await engine.ledger.save(job, carried(job, JobState.SUBMITTING))
        assert job.submit_deadline_at == START + timedelta(minutes=2)
        clock.advance(20)
        record = engine.record(job)
        assert await engine.submitting.give_up_orphan(record) == Pause(LOOK_FOR_OTHERS_S)
        clock.advance(98)
        assert await engine.submitting.give_up_orphan(record) == Pause(2.0)
        assert await engine.row(job) == job
        clock.advance(2)
        assert await engine.submitting.give_up_orphan(record) is None
        assert (await engine.row(job)).state is JobState.UNKNOWN


async def test_a_picture_is_submitted_to_the_maker_of_pictures(engine: Engine) -> None:
    await submitted(engine, await engine.new(sample_plan()))
    assert (len(engine.pictures.submitted), len(engine.clips.submitted)) == (1, 0)


class ScriptedCourier:
    """A courier that does what a test says, in this process. ``said``: what it was told, in order."""

    def __init__(self, answer: Any = None, *, is_there: bool = True) -> None:
        self.said: list[str] = []
        self.tokens: set[str] = set()
        self._answer = answer
        self.is_there = is_there
        self.is_asked = asyncio.Event()
        self.begin_within_s = 0.0
        self.make: Callable[[str], Awaitable[Finished]] | None = None
        self.outlives_us = True

    async def take(self, job_id: str, attempt_token: str) -> bool:
        self.said.append("take")
        self.tokens.add(attempt_token)
        return self.is_there

    async def drop(self, job_id: str) -> None:
        self.said.append("drop")

    async def submit(
        self,
        job_id: str,
        attempt_token: str,
        kind: str,
        plan: Plan,
        inputs: Inputs,
        *,
        deadline_s: float,
        begin_within_s: float,
    ) -> Accepted | Finished:
        self.said.append(f"submit {kind} {deadline_s:.0f}")
        self.begin_within_s = begin_within_s
        self.tokens.add(attempt_token)
        self.is_asked.set()
        if isinstance(self._answer, Exception):
            raise self._answer
        if self.make is not None:
            return await self.make(job_id)
        if callable(self._answer):
            self._answer = await self._answer()
        answer: Accepted | Finished = self._answer
        return answer


@contextlib.asynccontextmanager
async def carried_by(courier: ScriptedCourier, state: Path, clock: FakeClock) -> AsyncIterator[Engine]:
    pictures = ScriptedProvider(answers_with_result=True)
    async with started_engine(state, clock, courier=courier, pictures=pictures) as engine:
        yield engine


async def test_a_request_whose_answer_is_the_result_is_made_by_the_courier(tmp_path: Path, clock: FakeClock) -> None:
    courier = ScriptedCourier(finished(billed_usd=BILLED))
    async with carried_by(courier, tmp_path, clock) as engine:
        clock.advance(100)
        record = engine.record(await engine.new())
        engine.ledger.after("save", lambda: clock.advance(3))
        await engine.submitting.submit(record)
        assert courier.said == ["take", f"submit image {PACE['image'].submit_timeout_s:.0f}"]
        assert courier.tokens == {record.job.attempt_token}
        assert courier.begin_within_s == SUBMIT_MARGIN_S - 3, "begun later, it might end when others have given it up"
        assert (record.job.state, record.job.billed_usd) == (JobState.STORING, BILLED)
        assert (record.is_carried, engine.pictures.submitted) == (True, [])


async def test_a_courier_that_ends_with_its_server_is_waited_for(tmp_path: Path, clock: FakeClock) -> None:
    courier = ScriptedCourier(finished())
    courier.outlives_us = False
    async with carried_by(courier, tmp_path, clock) as engine:
        record = engine.record(await engine.new())
        await engine.submitting.submit(record)
        assert (record.is_carried, engine.pictures.submitted) == (False, [])


async def test_any_other_request_is_made_here(tmp_path: Path, clock: FakeClock) -> None:
    courier = ScriptedCourier(finished())
    async with carried_by(courier, tmp_path, clock) as engine:
        record = engine.record(await engine.new(clip_plan()))
        await engine.submitting.submit(record)
        assert (courier.said, record.is_carried, len(engine.clips.submitted)) == ([], False, 1)


async def test_without_a_courier_the_request_is_made_here(tmp_path: Path, clock: FakeClock) -> None:
    courier = ScriptedCourier(is_there=False)
    async with carried_by(courier, tmp_path, clock) as engine:
        record = engine.record(await engine.new())
        await engine.submitting.submit(record)
        assert (courier.said, record.is_carried, len(engine.pictures.submitted)) == (["take"], False, 1)
        # One that was only too slow may say of its token that nothing was sent: it is not this attempt's.
        assert record.job.attempt_token not in courier.tokens


async def test_a_courier_makes_nothing_without_an_intent_on_record(tmp_path: Path, clock: FakeClock) -> None:
    courier = ScriptedCourier(finished())
    async with carried_by(courier, tmp_path, clock) as engine:
        job = await engine.new()
        engine.ledger.fail("save")
        assert await engine.submitting.submit(engine.record(job)) == Pause(WRITE_AGAIN_S, failed=True)
        assert courier.said == ["take", "drop"]


async def test_a_request_made_here_after_all_is_waited_for_at_the_end(tmp_path: Path, clock: FakeClock) -> None:
    """The courier was there for a try whose intent could not be written, and has died since."""
    courier = ScriptedCourier()
    async with carried_by(courier, tmp_path, clock) as engine:
        record = engine.record(await engine.new())
        engine.ledger.fail("save")
        await engine.submitting.submit(record)
        courier.is_there = False
        await engine.submitting.submit(record)
        assert (len(engine.pictures.submitted), record.is_carried) == (1, False)


async def test_an_answer_of_a_courier_that_cannot_be_read_is_looked_for(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a process has too many files open: it lies there, and the next step finds it."""
    courier: Any = ScriptedCourier(OSError(24, "Too many open files"))
    async with carried_by(courier, tmp_path, clock) as engine:
        record = engine.record(await engine.new())
        assert await engine.submitting.submit(record) is None
        assert (await engine.row(record.job)).state is JobState.SUBMITTING
        assert f"job {record.job.id}: its answer cannot be read now: Too many open files" in caplog.text
        engine.answers.write(record.job.id, record.job.attempt_token or "", finished(billed_usd=BILLED))
        assert await engine.submitting.give_up_orphan(record) is None
        assert (record.job.state, record.job.billed_usd) == (JobState.STORING, BILLED)


async def test_a_refusal_that_a_courier_brings_ends_the_job(tmp_path: Path, clock: FakeClock) -> None:
    courier = ScriptedCourier(ContentRefused("no", billed_usd=BILLED))
    async with carried_by(courier, tmp_path, clock) as engine:
        job = await submitted(engine)
        assert (job.state, job.settled_usd) == (JobState.REFUSED, BILLED)


@pytest.mark.parametrize(
    ("answer", "left"), [(finished(), 1), (ContentRefused("no"), 0), (OutcomeUnknown("it broke"), 0)]
)
async def test_an_answer_is_kept_as_long_as_there_is_something_to_store(
    tmp_path: Path, clock: FakeClock, answer: Finished | ProviderError, left: int
) -> None:
    async with carried_by(ScriptedCourier(answer), tmp_path, clock) as engine:
        job = await engine.new()
        engine.answers.write(job.id, "token", answer)
        job = await submitted(engine, job)
        assert engine.answers.job_ids() == [job.id] * left


async def test_an_answer_is_kept_while_the_ledger_does_not_have_it(tmp_path: Path, clock: FakeClock) -> None:
    async with carried_by(ScriptedCourier(ContentRefused("no")), tmp_path, clock) as engine:
        record = engine.record(await engine.new())
        engine.answers.write(record.job.id, "token", ContentRefused("no"))
        engine.ledger.fail("save", skip=1)
        await engine.submitting.submit(record)
        assert (record.job.state, record.is_behind) == (JobState.REFUSED, True)
        assert engine.answers.job_ids() == [record.job.id]


async def test_a_server_that_is_stopped_leaves_the_answer_to_the_courier(tmp_path: Path, clock: FakeClock) -> None:
    courier = ScriptedCourier(asyncio.Event().wait)
    async with carried_by(courier, tmp_path, clock) as engine:
        record = engine.record(await engine.new())
        submitting = asyncio.create_task(engine.submitting.submit(record))
        await courier.is_asked.wait()
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        assert (await engine.row(record.job)).state is JobState.SUBMITTING


async def orphan(engine: Engine) -> Job:
    job = await engine.new()
    saved: Job = await engine.ledger.save(job, carried(job, JobState.SUBMITTING))
    return saved


async def test_an_answer_that_a_courier_still_awaits_is_waited_for(engine: Engine) -> None:
    record = engine.record(await orphan(engine))
    with engine.answers.expect(record.job.id):
        assert await engine.submitting.give_up_orphan(record) == Pause(LOOK_FOR_ANSWER_S)
        assert record.job.state is JobState.SUBMITTING
    assert LOOK_FOR_ANSWER_S == 0.5


async def test_a_courier_that_is_stopped_for_long_is_told_of_once(engine: Engine, clock: FakeClock) -> None:
    record = engine.record(await orphan(engine))
    with engine.answers.expect(record.job.id):
        for seconds, is_told in ((120, False), (1, True), (1, True)):
            clock.advance(seconds)
            assert await engine.submitting.give_up_orphan(record) == Pause(LOOK_FOR_ANSWER_S)
            assert ((await engine.row(record.job)).failure is not None) is is_told
        row = await engine.row(record.job)
        assert (row.state, row.version) == (JobState.SUBMITTING, 3)
        assert row.failure is not None
        assert row.failure.message.endswith("hangs, or has no room on the disk for its answer: it is waited for")
        assert row.failure.next_action.startswith("Make room on the disk of the state folder, and let ")
        engine.answers.write(row.id, row.attempt_token or "", finished(billed_usd=BILLED))
    assert await engine.submitting.give_up_orphan(record) is None
    assert ((await engine.row(row)).state, record.job.failure) == (JobState.STORING, None)


async def test_jobs_of_a_courier_that_says_nothing_hold_no_places(tmp_path: Path, clock: FakeClock) -> None:
    """The line has four, and they would be held for as long as it is stopped."""
    courier, pictures, held = ScriptedCourier(), ScriptedProvider(answers_with_result=True), list[str]()
    async with (
        contextlib.AsyncExitStack() as stack,
        started_engine(tmp_path, clock, courier=courier, pictures=pictures, presets=load_presets()) as engine,
    ):

        async def make(job_id: str) -> Finished:
            if len(held) == PREPARED_AT_ONCE:
                return finished(billed_usd=BILLED)
            held.append(job_id)
            stack.enter_context(engine.answers.expect(job_id))
            raise CourierSilent(4711)

        courier.make = make
        jobs = [await engine.new() for _ in range(PREPARED_AT_ONCE + 1)]
        driving = [asyncio.create_task(engine.runner.drive(job)) for job in jobs]
        await clock.play(asyncio.wait(driving, return_when=asyncio.FIRST_COMPLETED))
        states = {job.id: (await engine.row(job)).state for job in jobs}
        assert states == {job.id: JobState.SUBMITTING if job.id in held else JobState.DONE for job in jobs}
        for task in driving:
            task.cancel()
        await asyncio.gather(*driving, return_exceptions=True)


async def test_an_answer_that_lies_in_the_spool_is_taken(engine: Engine) -> None:
    job = await orphan(engine)
    engine.answers.write(job.id, job.attempt_token or "", finished(billed_usd=BILLED))
    assert await engine.submitting.give_up_orphan(engine.record(job)) is None
    after = await engine.row(job)
    assert (after.state, after.billed_usd) == (JobState.STORING, BILLED)
    assert engine.answers.job_ids() == [job.id]
    await engine.runner.run(job.id)
    assert engine.answers.job_ids() == []


async def test_an_answer_to_another_attempt_makes_the_orphan_no_less_unknown(engine: Engine) -> None:
    job = await orphan(engine)
    engine.answers.write(job.id, "another", finished())
    await engine.submitting.give_up_orphan(engine.record(job))
    assert (await engine.row(job)).state is JobState.UNKNOWN


async def test_a_late_answer_is_brought_home_at_the_next_start(engine: Engine, clock: FakeClock) -> None:
    job = await orphan(engine)
    unknown = await engine.ledger.save(job, carried(job, JobState.UNKNOWN))
    engine.answers.write(job.id, job.attempt_token or "", Accepted(provider_request_id="late"))
    clock.advance(60)
    await engine.late.apply_own(engine.ledger)
    after = await engine.row(unknown)
    assert (after.state, after.provider_request_id, after.owner) == (JobState.RENDERING, "late", None)
    assert (after.failure, after.due_at, after.updated_at) == (None, clock.now(), clock.now())
    assert engine.answers.job_ids() == []


async def test_late_answers_that_change_nothing_are_forgotten(engine: Engine) -> None:
    """To another attempt, to a job that has ended, and one that knows no more than the row does."""
    jobs = []
    for _ in range(3):
        job = await orphan(engine)
        jobs.append(await engine.ledger.save(job, carried(job, JobState.UNKNOWN)))
    for state in (JobState.RENDERING, JobState.STORING, JobState.DONE):
        jobs[1] = await engine.ledger.save(jobs[1], carried(jobs[1], state))
    engine.answers.write(jobs[0].id, "another", finished())
    engine.answers.write(jobs[1].id, jobs[1].attempt_token or "", finished())
    engine.answers.write(jobs[2].id, jobs[2].attempt_token or "", OutcomeUnknown("the connection broke"))
    await engine.late.apply_own(engine.ledger)
    assert [await engine.row(job) for job in jobs] == jobs
    assert engine.answers.job_ids() == []


async def test_late_answers_whose_jobs_are_driven_or_in_no_row_are_left(engine: Engine) -> None:
    job = await orphan(engine)
    for job_id in (job.id, "00000000-0000-0000-0000-000000000000"):
        engine.answers.write(job_id, job.attempt_token or "", finished())
    await engine.late.apply_own(engine.ledger)
    assert await engine.row(job) == job
    assert len(engine.answers.job_ids()) == 2


@pytest.fixture
async def fleet(tmp_path: Path, clock: FakeClock) -> AsyncIterator[tuple[Engine, SharedFolder]]:
    """A machine of a fleet, with an orphan's answer to look for elsewhere; and where machines share files."""
    place = SharedFolder(tmp_path / "shared")
    async with started_engine(tmp_path / "state", clock, death_is_certain=False, shared=place) as engine:
        yield engine, place


async def share_answer(engine: Engine, job: Job, answer: Answer) -> None:
    """As another machine does it."""
    engine.answers.write(job.id, job.attempt_token or "", answer)
    await engine.sharing.lay_down_answer(job.id)
    engine.answers.forget(job.id)


async def test_an_answer_that_another_machine_has_shared_is_taken(fleet: tuple[Engine, SharedFolder]) -> None:
    engine, _ = fleet
    job = await orphan(engine)
    await share_answer(engine, job, finished(billed_usd=BILLED))
    assert await engine.submitting.give_up_orphan(engine.record(job)) is None
    after = await engine.row(job)
    assert (after.state, after.billed_usd) == (JobState.STORING, BILLED)


async def test_a_shared_no_ends_the_orphan_as_it_was_meant(fleet: tuple[Engine, SharedFolder]) -> None:
    engine, _ = fleet
    job = await orphan(engine)
    await share_answer(engine, job, ContentRefused("moderated", billed_usd=BILLED))
    await engine.submitting.give_up_orphan(engine.record(job))
    after = await engine.row(job)
    assert (after.state, after.settled_usd) == (JobState.REFUSED, BILLED)


async def test_an_orphan_is_not_unknown_while_nobody_can_see_what_is_shared(
    fleet: tuple[Engine, SharedFolder], clock: FakeClock
) -> None:
    engine, place = fleet
    job = await orphan(engine)
    await share_answer(engine, job, finished())
    place.trouble = StorageError("the bucket is away")
    assert WAIT_FOR_STORAGE_S == 600.0
    clock.advance(120 + WAIT_FOR_STORAGE_S - 1)
    assert await engine.submitting.give_up_orphan(engine.record(job)) == Pause(1.0)
    place.trouble = None
    assert await engine.submitting.give_up_orphan(engine.record(job)) is None
    assert (await engine.row(job)).state is JobState.STORING


@pytest.mark.parametrize(
    ("trouble", "late_s"),
    [
        (StorageError("the bucket is away"), WAIT_FOR_STORAGE_S),
        (StorageRefused("no rights"), 0.0),
        (None, 0.0),
    ],
)
async def test_an_orphan_is_unknown_in_the_end_whatever_the_storage_says(
    fleet: tuple[Engine, SharedFolder], clock: FakeClock, trouble: StorageError | None, late_s: float
) -> None:
    engine, place = fleet
    job = await orphan(engine)
    place.trouble = trouble
    clock.advance(120 + late_s)
    assert await engine.submitting.give_up_orphan(engine.record(job)) is None
    assert (await engine.row(job)).state is JobState.UNKNOWN


async def test_pictures_without_an_answer_speak_only_where_nobody_shared_one(
    fleet: tuple[Engine, SharedFolder],
) -> None:
    engine, _ = fleet
    job = await orphan(engine)
    (engine.spool / f"{job.id}-1.inline").write_bytes(b"x")  # brought here before the row lost its last writes
    both = Finished(outputs=tuple(Output(spool_path=f"{job.id}-{index}.inline") for index in range(2)))
    await share_answer(engine, job, both)
    await engine.submitting.give_up_orphan(engine.record(job))
    assert (await engine.row(job)).outputs == both.outputs


async def test_pictures_of_a_process_that_is_only_paused_wait_for_the_others(
    fleet: tuple[Engine, SharedFolder], clock: FakeClock
) -> None:
    """It writes each as it comes, and its answer when it has all of them."""
    engine, _ = fleet
    job = await orphan(engine)
    (engine.spool / f"{job.id}-0.inline").write_bytes(b"x")
    clock.advance(119)
    assert await engine.submitting.give_up_orphan(engine.record(job)) == Pause(1.0)
    assert (await engine.row(job)).state is JobState.SUBMITTING
    clock.advance(1)
    assert await engine.submitting.give_up_orphan(engine.record(job)) is None
    assert (await engine.row(job)).state is JobState.STORING


async def test_pictures_count_where_the_storage_stays_away(
    fleet: tuple[Engine, SharedFolder], clock: FakeClock
) -> None:
    engine, place = fleet
    place.trouble = StorageError("the bucket is away")
    job = await orphan(engine)
    (engine.spool / f"{job.id}-0.inline").write_bytes(b"x")
    clock.advance(120 + WAIT_FOR_STORAGE_S - 1)
    assert await engine.submitting.give_up_orphan(engine.record(job)) == Pause(1.0)
    clock.advance(1)
    assert await engine.submitting.give_up_orphan(engine.record(job)) is None
    assert (await engine.row(job)).state is JobState.STORING


async def test_pictures_count_whose_deadline_passes_while_others_are_asked(tmp_path: Path, clock: FakeClock) -> None:
    class Slow(SharedFolder):
        async def fetch(self, name: str, path: Path, max_bytes: int) -> bool:
            clock.advance(2)
            return await super().fetch(name, path, max_bytes)

    place = Slow(tmp_path / "shared")
    async with started_engine(tmp_path / "state", clock, death_is_certain=False, shared=place) as engine:
        job = await orphan(engine)
        (engine.spool / f"{job.id}-0.inline").write_bytes(b"x")
        clock.advance(119)
        assert await engine.submitting.give_up_orphan(engine.record(job)) == Pause(1.0)
        assert await engine.submitting.give_up_orphan(engine.record(job)) is None
        assert (await engine.row(job)).state is JobState.STORING


async def test_pictures_inside_an_answer_are_shared_where_there_is_no_courier(
    fleet: tuple[Engine, SharedFolder],
) -> None:
    engine, place = fleet
    job = await engine.new()
    name = f"{job.id}-0.inline"

    async def make() -> Finished:
        (engine.spool / name).write_bytes(b"x")
        return Finished(outputs=(Output(spool_path=name), Output(lost_because="blocked")))

    engine.pictures.answers.append(make)
    assert (await submitted(engine, job)).state is JobState.STORING
    assert place.names() == [name]


async def test_a_late_answer_is_not_dropped_for_whoever_was_quicker(engine: Engine) -> None:
    """A caller may be told of the job in the same moment, which is a write of its row, too."""
    job = await orphan(engine)
    unknown = await engine.ledger.save(job, carried(job, JobState.UNKNOWN))
    engine.answers.write(job.id, job.attempt_token or "", finished(billed_usd=BILLED))
    engine.ledger.fail("save", error=JobMoved("somebody was quicker"))
    await engine.late.apply_own(engine.ledger)
    row = await engine.row(unknown)
    assert (row.state, row.billed_usd) == (JobState.STORING, BILLED)


async def test_a_shared_answer_is_not_dropped_for_whoever_was_quicker(fleet: tuple[Engine, SharedFolder]) -> None:
    engine, _ = fleet
    job = await orphan(engine)
    await engine.ledger.save(job, carried(job, JobState.UNKNOWN))
    await share_answer(engine, job, finished(billed_usd=BILLED))
    engine.ledger.fail("save", error=JobMoved("somebody was quicker"))
    assert await engine.late.apply_shared(engine.ledger, job.id) is JobState.STORING


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """It is there, and to open it fails: as when a process has too many files open."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.symlink_to(path.name)
    yield
    assert path.is_symlink(), "it was removed unread"
    aside.replace(path)


async def test_an_unreadable_answer_is_left_for_the_next_start(engine: Engine) -> None:
    job = await orphan(engine)
    await engine.ledger.save(job, carried(job, JobState.UNKNOWN))
    engine.answers.write(job.id, job.attempt_token or "", finished(billed_usd=BILLED))
    with unreadable(engine.spool / f"{job.id}-answer.json"):
        await engine.late.apply_own(engine.ledger)
    await engine.late.apply_own(engine.ledger)
    assert (await engine.row(job)).state is JobState.STORING


@pytest.mark.parametrize("name", ["answer.json", "courier.lock"])
async def test_an_orphan_whose_answer_cannot_be_read_now_is_looked_at_again(engine: Engine, name: str) -> None:
    job = await orphan(engine)
    engine.answers.write(job.id, job.attempt_token or "", finished(billed_usd=BILLED))
    (engine.spool / f"{job.id}-courier.lock").touch()
    record = engine.record(job)
    with unreadable(engine.spool / f"{job.id}-{name}"):
        assert await engine.submitting.give_up_orphan(record) == Pause(LOOK_FOR_OTHERS_S)
        assert (await engine.row(job)).state is JobState.SUBMITTING
    assert await engine.submitting.give_up_orphan(record) is None
    assert (record.job.state, record.job.billed_usd) == (JobState.STORING, BILLED)


@pytest.mark.parametrize(
    ("answer", "state"),
    [(finished(), JobState.STORING), (OutcomeUnknown("it broke"), JobState.UNKNOWN), (NOT_SENT, JobState.PLANNED)],
    ids=["made", "unknown", "not sent"],
)
async def test_an_answer_brings_back_an_attempt_whose_intent_the_ledger_lost(
    engine: Engine, answer: Answer, state: JobState
) -> None:
    """A database that fell back to the plan would have it sent, and paid, once more."""
    job = await engine.new()
    engine.answers.write(job.id, "token", answer)
    await engine.late.apply_own(engine.ledger)
    assert (await engine.row(job)).state is state


async def test_mere_pictures_bring_back_an_attempt_that_was_lost(engine: Engine) -> None:
    """The process died before it wrote the answer down, and the ledger fell back to the plan."""
    job = await engine.new()
    (engine.spool / f"{job.id}-0.inline").write_bytes(jpeg())
    await engine.late.apply_own(engine.ledger)
    await engine.runner.run(job.id)
    row = await engine.row(job)
    assert (row.state, row.billed_usd, engine.pictures.submitted) == (JobState.DONE, None, [])
