"""Answers that come after a person has settled their jobs by hand count, and nobody misses it; so do those to requests
that the ledger knows nothing of any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.domain import Job, JobState, Output
from ring_mcp.errors import (
    ContentRefused,
    JobMoved,
    LedgerError,
    OutcomeUnknown,
    ProviderBadReply,
    ProviderRejected,
    ProviderUnavailable,
    StorageError,
    StorageRefused,
)
from ring_mcp.jobs.answers import Answer
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.late_answers import LIST_AGAIN_S
from ring_mcp.jobs.outcomes import Park, Pause, end_badly, resolve_by_hand
from ring_mcp.jobs.preparing import LOOK_AGAIN_S
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Accepted, Finished
from tests.auditing import when
from tests.fake_clock import FakeClock
from tests.jobs.engine import Engine, clip_plan, engine_on, started_engine
from tests.jobs.scripted_provider import finished, jpeg
from tests.jobs.shared_folder import SharedFolder
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import PRICE_USD, carried

NOTHING = Decimal(0)
ACCEPTED = Accepted(provider_request_id="request-7")
COUNTS = (
    "the provider answered after a person had settled this job "
    "(outcome unknown; resolved by hand as {}): the answer counts"
)


async def settle(ledger: Ledger, job: Job, clock: FakeClock, *, paid: bool) -> Job:
    """As a person does it, after the attempt was called unknown; whoever asks is told."""
    clock.advance(60)
    stored = await ledger.get(job.id)
    assert stored is not None
    unknown = await ledger.save(stored, carried(stored, JobState.UNKNOWN, updated_at=clock.now()))
    clock.advance(60)
    settled = await ledger.save(unknown, resolve_by_hand(unknown, paid=paid, now=clock.now()))
    await ledger.mark_delivered(settled.id, clock.now())
    told = await ledger.get(settled.id)
    assert told is not None
    return told


@pytest.mark.parametrize("paid", [True, False])
async def test_a_driver_whose_answer_comes_late_finishes_the_job_and_says_so(
    engine: Engine, clock: FakeClock, elsewhere: Ledger, caplog: pytest.LogCaptureFixture, paid: bool
) -> None:
    async def late() -> Accepted:
        [record] = engine.runner.records
        await settle(elsewhere, record.job, clock, paid=paid)
        return ACCEPTED

    engine.pictures.answers += [late]
    engine.pictures.looks += [finished(billed_usd=Decimal("0.05"))]
    job = await engine.new()
    await clock.play(engine.runner.drive(job))
    row = await engine.row(job)
    assert (row.state, row.billed_usd, row.settled_usd) == (JobState.DONE, Decimal("0.05"), Decimal("0.05"))
    assert row.warnings == (COUNTS.format("paid" if paid else "not paid"),)
    assert row.delivered_at is None, "what a caller was told no longer holds"
    assert (await engine.ledger.spend(clock.now(), sandbox=False)).day_usd == Decimal("0.05")
    assert "request request-7" in caplog.text


@pytest.mark.parametrize(
    ("answer", "state", "settled_usd"),
    [
        (ProviderRejected("no such model"), JobState.FAILED, NOTHING),
        (ContentRefused("moderated", billed_usd=Decimal("0.02")), JobState.REFUSED, Decimal("0.02")),
    ],
)
async def test_a_refusal_that_comes_late_sets_the_books_right(
    engine: Engine, clock: FakeClock, elsewhere: Ledger, answer: Exception, state: JobState, settled_usd: Decimal
) -> None:
    async def late() -> Accepted:
        [record] = engine.runner.records
        await settle(elsewhere, record.job, clock, paid=True)
        raise answer

    engine.pictures.answers += [late]
    job = await engine.new()
    await engine.runner.drive(job)
    row = await engine.row(job)
    assert (row.state, row.settled_usd) == (state, settled_usd)
    assert row.warnings == (COUNTS.format("paid"),)


async def test_a_lost_answer_leaves_what_a_person_has_settled(
    engine: Engine, clock: FakeClock, elsewhere: Ledger
) -> None:
    async def late() -> Accepted:
        [record] = engine.runner.records
        await settle(elsewhere, record.job, clock, paid=True)
        raise OutcomeUnknown("the connection broke")

    engine.pictures.answers += [late]
    job = await engine.new()
    await engine.runner.drive(job)
    row = await engine.row(job)
    assert (row.state, row.is_resolved_by_hand, row.settled_usd) == (JobState.FAILED, True, PRICE_USD)
    assert row.warnings == ()


async def test_an_answer_to_an_earlier_attempt_leaves_what_a_person_has_settled(
    engine: Engine, clock: FakeClock
) -> None:
    record = engine.record(await engine.new())
    await record.write(carried(record.job, JobState.SUBMITTING))
    other = await engine.ledger.save(record.job, carried(record.job, JobState.UNKNOWN, attempt_token="another"))
    settled = await engine.ledger.save(other, resolve_by_hand(other, paid=False, now=clock.now()))
    with pytest.raises(JobMoved):
        await record.write(carried(record.job, JobState.RENDERING))
    assert await engine.row(settled) == settled
    assert engine.write_ahead.list_left() == ([], [settled.id]), "an answer is not dropped, somebody has to look at it"


# From a courier


async def left_by_a_courier(engine: Engine, answer: Answer, *, paid: bool) -> Job:
    """A job that was settled by hand, and the answer that a courier wrote down after all."""
    record = engine.record(await engine.new())
    await record.write(carried(record.job, JobState.SUBMITTING))
    token = record.job.attempt_token
    assert token is not None
    await asyncio.to_thread(engine.answers.write, record.job.id, token, answer)
    return await settle(engine.ledger, record.job, engine.clock, paid=paid)


@pytest.mark.parametrize("paid", [True, False])
async def test_an_answer_that_a_courier_has_left_counts_at_the_next_start(engine: Engine, paid: bool) -> None:
    job = await left_by_a_courier(engine, finished(billed_usd=Decimal("0.05")), paid=paid)
    engine.clock.advance(60)
    await engine.late.apply_own(engine.ledger)
    row = await engine.row(job)
    assert (row.state, row.owner, row.billed_usd, row.settled_usd) == (JobState.STORING, None, Decimal("0.05"), None)
    assert row.updated_at == engine.clock.now()
    assert engine.answers.job_ids() == [job.id], "until all of it is stored"
    assert row.warnings == (COUNTS.format("paid" if paid else "not paid"),)
    await engine.clock.play(engine.runner.run(job.id))
    assert (await engine.row(job)).state is JobState.DONE
    assert engine.answers.job_ids() == []


async def test_a_handle_that_a_courier_has_left_is_followed_at_once(engine: Engine) -> None:
    job = await left_by_a_courier(engine, ACCEPTED, paid=False)
    engine.clock.advance(60)
    await engine.late.apply_own(engine.ledger)
    row = await engine.row(job)
    assert (row.state, row.provider_request_id) == (JobState.RENDERING, "request-7")
    assert (row.due_at, row.failure) == (engine.clock.now(), None)
    assert engine.answers.job_ids() == []
    assert not engine.unwritten.exists(), "the row knows all of it"


async def test_a_lock_of_a_dead_courier_says_nothing_of_ended_jobs(engine: Engine) -> None:
    job = await engine.new()
    await engine.runner.drive(job)
    ended = await engine.row(job)
    (engine.spool / f"{job.id}-courier.lock").touch()
    await engine.late.apply_own(engine.ledger)
    assert await engine.row(job) == ended
    assert not engine.unwritten.exists()


@pytest.mark.parametrize(
    ("answer", "state", "settled_usd"),
    [
        (ProviderUnavailable("it never left", billed="no"), JobState.FAILED, NOTHING),
        (ContentRefused("moderated"), JobState.REFUSED, PRICE_USD),
        (ProviderBadReply("no picture in it"), JobState.FAILED, PRICE_USD),
    ],
)
async def test_an_answer_to_an_unknown_job_says_what_it_cost(
    engine: Engine, answer: Answer, state: JobState, settled_usd: Decimal
) -> None:
    record = engine.record(await engine.new())
    await record.write(carried(record.job, JobState.SUBMITTING))
    job = await engine.ledger.save(record.job, carried(record.job, JobState.UNKNOWN))
    engine.answers.write(job.id, job.attempt_token or "", answer)
    await engine.late.apply_own(engine.ledger)
    row = await engine.row(job)
    assert (row.state, row.settled_usd, row.finished_at) == (state, settled_usd, engine.clock.now())
    assert row.failure is not None
    assert row.failure.code == answer.code  # type: ignore[union-attr]


async def test_a_connection_that_broke_leaves_an_unknown_outcome(engine: Engine) -> None:
    """It cannot be told from one that was never there: a person has to look, and is told so."""
    job = await engine.new()
    engine.answers.write(job.id, "token", ProviderUnavailable("reset by peer", http_status=502))
    await engine.late.apply_own(engine.ledger)
    row = await engine.row(job)
    assert (row.state, row.settled_usd) == (JobState.UNKNOWN, None)
    assert row.failure is not None
    assert (row.failure.code, row.failure.message) == (OutcomeUnknown.code, "reset by peer")


async def test_a_bill_without_a_result_leaves_what_a_person_has_settled(engine: Engine) -> None:
    job = await left_by_a_courier(engine, OutcomeUnknown("it broke", billed_usd=Decimal("0.05")), paid=True)
    await engine.late.apply_own(engine.ledger)
    assert await engine.row(job) == job
    assert engine.answers.job_ids() == []


async def test_an_answer_counts_although_somebody_writes_meanwhile(engine: Engine) -> None:
    job = await left_by_a_courier(engine, finished(), paid=False)
    engine.ledger.fail("save", error=JobMoved("another was first"))
    await engine.late.apply_own(engine.ledger)
    assert (await engine.row(job)).state is JobState.STORING


async def test_an_answer_that_cannot_be_read_keeps_no_other_back(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    readable = await left_by_a_courier(engine, finished(), paid=False)
    first = engine.spool / "0-answer.json"
    first.symlink_to(first.name)  # to open it fails
    await engine.new(id="0")
    await engine.late.apply_own(engine.ledger)
    assert (await engine.row(readable)).state is JobState.STORING
    assert "job 0: its answer cannot be read now: " in caplog.text
    assert engine.answers.job_ids() == ["0", readable.id]


async def test_only_an_answer_that_nobody_needs_any_more_goes(engine: Engine) -> None:
    """What its driver is about to read stays, and so does that of a job in another ledger."""
    ended = await engine.new()
    await engine.runner.drive(ended)
    record = engine.record(await engine.new())
    await record.write(carried(record.job, JobState.SUBMITTING))
    for job_id in (ended.id, record.job.id, "of-another-ledger"):
        engine.answers.write(job_id, "another", ACCEPTED)
    await engine.late.apply_own(engine.ledger)
    assert engine.answers.job_ids() == sorted([record.job.id, "of-another-ledger"])


async def test_a_courier_that_knows_no_more_leaves_what_a_person_has_settled(engine: Engine) -> None:
    job = await left_by_a_courier(engine, OutcomeUnknown("the courier has died"), paid=False)
    await engine.late.apply_own(engine.ledger)
    assert await engine.row(job) == job
    assert engine.answers.job_ids() == []


# Of requests that the ledger knows nothing of any more

NOT_SENT = ProviderUnavailable("the server died before the request was sent", billed="no")
AWAY = StorageError("the bucket is away")
_S = JobState


@pytest.fixture
async def fleet(tmp_path: Path, clock: FakeClock) -> AsyncIterator[tuple[Engine, Engine, SharedFolder]]:
    """The machine that made a request, another one, and where they share files."""
    place = SharedFolder(tmp_path / "shared")
    async with started_engine(tmp_path / "mine", clock, shared=place) as mine:
        theirs = engine_on(mine.ledger, clock, tmp_path / "theirs", shared=place)
        for engine in (mine, theirs):
            engine.pictures.answers_with_result = True
        yield mine, theirs, place
        await theirs.sharing.aclose()


async def sent(engine: Engine, job: Job, answer: Answer) -> None:
    """As its courier leaves it; of the row the ledger has lost all that came after the plan."""
    engine.answers.write(job.id, "token", answer)
    await engine.sharing.lay_down_answer(job.id)


@pytest.mark.parametrize(
    ("answer", "state", "requests"),
    [
        (finished(billed_usd=Decimal("0.05")), _S.DONE, 0),
        (ContentRefused("moderated", billed_usd=Decimal("0.05")), _S.REFUSED, 0),
        (OutcomeUnknown("it broke"), _S.UNKNOWN, 0),
        (NOT_SENT, _S.DONE, 1),
    ],
    ids=["made", "refused", "unknown", "not sent"],
)
@pytest.mark.parametrize("is_elsewhere", [True, False])
async def test_a_plan_whose_answer_is_there_is_not_sent_again(
    fleet: tuple[Engine, Engine, SharedFolder], answer: Answer, state: JobState, requests: int, is_elsewhere: bool
) -> None:
    """A database that has fallen back gives the plan to any machine, while all of them live."""
    mine, theirs, place = fleet
    job = await mine.new()
    await sent(mine, job, answer)
    place.trouble = None if is_elsewhere else AWAY
    driver = theirs if is_elsewhere else mine
    assert (await driver.runner.drive(job)).state is state
    assert len(driver.pictures.submitted) == requests
    row = await mine.row(job)
    assert row.billed_usd == getattr(answer, "billed_usd", None)
    assert driver.answers.job_ids() == []


async def test_only_the_first_step_of_a_new_job_looks_for_no_answer(
    fleet: tuple[Engine, Engine, SharedFolder],
) -> None:
    mine, _, _ = fleet
    record = mine.record(await mine.new())
    record.is_new = True
    await sent(mine, record.job, finished())
    states: list[JobState] = []
    for _ in range(2):
        assert await mine.late.look_before_sending(record) is None
        states.append(record.job.state)
    assert states == [_S.PLANNED, _S.STORING]
    assert mine.answers.job_ids() == [record.job.id], "until all of it is stored"


async def test_a_plan_too_old_to_be_sent_may_still_be_answered(
    fleet: tuple[Engine, Engine, SharedFolder], clock: FakeClock
) -> None:
    mine, theirs, _ = fleet
    job = await mine.new()
    await sent(mine, job, finished())
    clock.advance(24 * 3600)
    assert (await theirs.runner.drive(job)).state is _S.DONE


async def test_only_a_late_plan_waits_for_a_storage_that_is_away(
    fleet: tuple[Engine, Engine, SharedFolder], clock: FakeClock
) -> None:
    mine, theirs, place = fleet
    jobs = [await mine.new(), await mine.new()]
    place.trouble = AWAY
    clock.advance(59)
    young = theirs.record(jobs[0])
    clock.advance(1)
    old = theirs.record(jobs[1])
    assert await theirs.late.look_before_sending(young) is None, "however long it has stood in line since"
    parked = await theirs.late.look_before_sending(old)
    assert isinstance(parked, Park)
    assert (parked.look_again_s, parked.failure.billed) == (LOOK_AGAIN_S, "no")
    assert parked.failure.message == "the bucket is away; the request was not sent yet"
    place.trouble = StorageRefused("no rights")
    assert await theirs.late.look_before_sending(old) is None
    assert old.job.state is _S.PLANNED


async def test_a_plan_that_was_sent_is_found_so_at_the_next_start(engine: Engine) -> None:
    """The ledger has lost that, and nobody drives it yet."""
    job = await engine.new()
    engine.answers.write(job.id, "token", ACCEPTED)
    await engine.late.apply_own(engine.ledger)
    row = await engine.row(job)
    assert (row.state, row.provider_request_id) == (_S.RENDERING, "request-7")
    assert (row.owner, row.attempt_token, row.submit_deadline_at) == (None, "token", engine.clock.now())


async def test_pictures_without_an_answer_make_an_attempt_of_their_own(engine: Engine) -> None:
    job = await engine.new()
    (engine.spool / f"{job.id}-0.inline").write_bytes(jpeg())
    await engine.late.apply_own(engine.ledger)
    row = await engine.row(job)
    assert (row.state, row.outputs) == (_S.STORING, (Output(spool_path=f"{job.id}-0.inline"),))
    assert row.attempt_token


async def test_a_plan_that_cost_nothing_is_left_to_be_sent(engine: Engine) -> None:
    job = await engine.new()
    engine.answers.write(job.id, "token", NOT_SENT)
    await engine.late.apply_own(engine.ledger)
    assert await engine.row(job) == job
    await engine.runner.drive(job)
    assert (await engine.row(job)).state is JobState.DONE
    assert engine.answers.job_ids() == []


async def test_an_answer_stays_while_the_ledger_lacks_it(fleet: tuple[Engine, Engine, SharedFolder]) -> None:
    mine, _, _ = fleet
    record = mine.record(await mine.new())
    await sent(mine, record.job, ContentRefused("moderated", billed_usd=Decimal("0.05")))
    mine.ledger.fail("save")
    assert await mine.late.look_before_sending(record) is None
    assert (record.job.state, record.is_behind) == (_S.REFUSED, True)
    assert mine.answers.job_ids() == [record.job.id]


async def test_an_answer_that_another_machine_shared_is_brought_home(
    fleet: tuple[Engine, Engine, SharedFolder],
) -> None:
    mine, theirs, place = fleet
    record = mine.record(await mine.new())
    await record.write(carried(record.job, _S.SUBMITTING))
    job = await mine.ledger.save(record.job, carried(record.job, _S.UNKNOWN))
    assert await theirs.late.apply_shared(theirs.ledger, job.id) is _S.UNKNOWN
    mine.answers.write(job.id, job.attempt_token or "", finished())
    await mine.sharing.lay_down_answer(job.id)
    assert await theirs.late.apply_shared(theirs.ledger, job.id) is _S.STORING
    assert (await mine.row(job)).state is _S.STORING
    asked = len(place.asked)
    assert await theirs.late.apply_shared(theirs.ledger, job.id) is _S.STORING
    assert len(place.asked) == asked, "it is no news any more"
    assert await theirs.late.apply_shared(theirs.ledger, "no-such-job") is None


async def test_nothing_is_asked_of_a_clip_whose_answer_nobody_shares(
    fleet: tuple[Engine, Engine, SharedFolder],
) -> None:
    mine, theirs, place = fleet
    record = theirs.record(await mine.new(clip_plan()))
    assert await theirs.late.look_before_sending(record) is None
    assert place.asked == []


async def test_a_plan_that_a_courier_may_still_answer_is_waited_for(
    fleet: tuple[Engine, Engine, SharedFolder],
) -> None:
    mine, _, _ = fleet
    record = mine.record(await mine.new())
    with mine.answers.expect(record.job.id):
        assert await mine.late.look_before_sending(record) == Pause(0.5)
        await sent(mine, record.job, finished())
    assert await mine.late.look_before_sending(record) is None
    assert record.job.state is _S.STORING


async def test_a_plan_whose_answer_cannot_be_read_now_is_not_sent(
    fleet: tuple[Engine, Engine, SharedFolder],
) -> None:
    mine, _, _ = fleet
    record = mine.record(await mine.new())
    path = mine.spool / f"{record.job.id}-answer.json"
    path.symlink_to(path.name)  # to open it fails, as where too many files are open
    assert await mine.late.look_before_sending(record) == Pause(5.0, failed=True)
    assert record.job.failure is not None
    assert record.job.failure.message.startswith("an answer to this job cannot be read now: ")
    assert (await mine.row(record.job)).failure is None, "it passes, and nobody else has to hear of it"


async def test_a_courier_that_is_still_writing_is_not_answered_for(engine: Engine) -> None:
    """Another machine has called the job unknown, and this one starts while the second picture has no room yet."""
    record = engine.record(await engine.new())
    await record.write(carried(record.job, _S.SUBMITTING))
    job = await engine.ledger.save(record.job, carried(record.job, _S.UNKNOWN))
    names = [f"{job.id}-{number}.inline" for number in range(2)]
    with engine.answers.expect(job.id):
        (engine.spool / names[0]).write_bytes(jpeg())
        await engine.late.apply_own(engine.ledger)
        assert (await engine.row(job)).state is _S.UNKNOWN
        (engine.spool / names[1]).write_bytes(jpeg())
        outputs = tuple(Output(spool_path=name) for name in names)
        engine.answers.write(job.id, job.attempt_token or "", Finished(outputs=outputs))
    await engine.late.apply_own(engine.ledger)
    assert (await engine.row(job)).outputs == outputs


# Of plans that another machine has ended, which could not see their answers


async def ended_elsewhere(mine: Engine, theirs: Engine, clock: FakeClock, *, bring: Answer) -> Job:
    """A job of ``mine`` whose row fell back to a plan, and was ended as too old by ``theirs`` while nothing is shared;
    and the answer that lies on ``mine``."""
    job = await mine.new()
    mine.answers.write(job.id, "token", bring)
    clock.advance(24 * 3600)
    job = await theirs.runner.drive(job)
    assert (job.state, job.has_ended_unsent) == (_S.FAILED, True)
    return job


@pytest.mark.parametrize(
    ("answer", "state", "billed_usd"),
    [
        (finished(billed_usd=Decimal("0.05")), _S.STORING, Decimal("0.05")),
        (ContentRefused("moderated", billed_usd=Decimal("0.05")), _S.REFUSED, Decimal("0.05")),
        (OutcomeUnknown("it broke"), _S.UNKNOWN, None),
        (NOT_SENT, _S.FAILED, None),
    ],
    ids=["made", "refused", "unknown", "not sent"],
)
@pytest.mark.parametrize("is_shared", [True, False])
async def test_an_answer_counts_although_another_machine_ended_its_plan(
    fleet: tuple[Engine, Engine, SharedFolder],
    clock: FakeClock,
    answer: Answer,
    state: JobState,
    billed_usd: Decimal | None,
    is_shared: bool,
) -> None:
    mine, theirs, place = fleet
    ended = await ended_elsewhere(mine, theirs, clock, bring=answer)
    if is_shared:
        await mine.sharing.lay_down_answer(ended.id)
        assert await theirs.late.apply_shared(theirs.ledger, ended.id) is state
    else:
        place.trouble = AWAY
        await mine.late.apply_own(mine.ledger)
        assert mine.answers.job_ids() == ([ended.id] if state is _S.STORING else []), "until all of it is stored"
    row = await mine.row(ended)
    assert (row.state, row.billed_usd) == (state, billed_usd)
    assert row.warnings == (() if state is _S.FAILED else (UNSENT,)), "and nobody misses it"
    assert row.delivered_at is None


UNSENT = (
    "the provider answered after this job had ended as never sent (the job was planned too long ago to be started now; "
    "its request was never sent): the answer counts"
)


async def end_fallen_back(database: LedgerDatabase, plan: Job, elsewhere: Ledger, clock: FakeClock) -> None:
    """The database falls back to the plan, which another machine then finds too old."""
    database.query("DELETE FROM media_jobs")
    database.insert("media_jobs", database.columns(plan))
    clock.advance(60)
    ended = end_badly(plan, Ending.PLAN_TOO_OLD, NOT_SENT, clock.now())
    await elsewhere.save(plan, replace(ended, updated_at=clock.now()))


async def test_a_driver_whose_plan_was_ended_meanwhile_finishes_the_job(
    engine: Engine, clock: FakeClock, elsewhere: Ledger, tmp_path: Path
) -> None:
    """The database falls back while the request is under way, and another machine finds a plan that is too old."""
    database = LedgerDatabase("sqlite", str(tmp_path / "ledger.db"))
    plan = await engine.new()

    async def late() -> Accepted:
        await end_fallen_back(database, plan, elsewhere, clock)
        return ACCEPTED

    engine.pictures.answers += [late]
    engine.pictures.looks += [finished(billed_usd=Decimal("0.05"))]
    await clock.play(engine.runner.drive(plan))
    row = await engine.row(plan)
    assert (row.state, row.settled_usd, row.provider_request_id) == (_S.DONE, Decimal("0.05"), "request-7")
    assert row.warnings == (
        f"the provider answered after this job had ended as never sent ({NOT_SENT.message}): the answer counts",
    )
    assert not engine.unwritten.exists()


async def test_an_answer_that_cost_nothing_leaves_an_end_as_it_is(
    engine: Engine, clock: FakeClock, elsewhere: Ledger, tmp_path: Path
) -> None:
    database = LedgerDatabase("sqlite", str(tmp_path / "ledger.db"))
    plan = await engine.new()

    async def late() -> Accepted:
        await end_fallen_back(database, plan, elsewhere, clock)
        raise ProviderRejected("no such model")

    engine.pictures.answers += [late]
    await clock.play(engine.runner.drive(plan))
    row = await engine.row(plan)
    assert (row.state, row.attempt_token, row.warnings) == (_S.FAILED, None, ())
    assert not engine.unwritten.exists(), "nobody has to look at it"


# Of requests that were made twice, and answers that cannot be taken up at the start


async def sent_again(mine: Engine, answer: Answer) -> Job:
    """A job that another machine has sent once more and finished, and the answer to the first request, which it could
    not see."""
    job = await mine.new()
    (mine.spool / f"{job.id}-0.inline").write_bytes(jpeg())
    mine.answers.write(job.id, "first", answer)
    for state in (_S.SUBMITTING, _S.STORING, _S.DONE):
        job = await mine.ledger.save(job, carried(job, state))
    return job


async def test_the_answer_to_a_request_that_was_made_twice_is_set_aside(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """It was paid as well, and its bytes are its owner's."""
    job = await sent_again(engine, finished(billed_usd=Decimal("0.05")))
    await engine.late.apply_own(engine.ledger)
    assert await engine.row(job) == job
    assert engine.write_ahead.list_left() == ([], [job.id]), "ring-health names it"
    assert sorted(path.name for path in engine.unwritten.iterdir()) == [f"{job.id}-0.inline", f"{job.id}.stale"]
    assert '"billed_usd": "0.05"' in (engine.unwritten / f"{job.id}.stale").read_text()
    assert engine.answers.job_ids() == []
    assert f"job {job.id}: its request was made, and paid, twice; see {engine.unwritten}" in caplog.text


async def test_a_second_answer_that_cost_nothing_is_forgotten(engine: Engine) -> None:
    job = await sent_again(engine, NOT_SENT)
    await engine.late.apply_own(engine.ledger)
    assert not engine.answers.has(job.id)
    assert not engine.unwritten.exists()


async def test_what_a_courier_is_answered_after_the_start_is_taken_up_then(engine: Engine) -> None:
    """It was stopped, its server died, and another machine has called the job unknown; nothing lies here yet."""
    record = engine.record(await engine.new())
    await record.write(carried(record.job, _S.SUBMITTING))
    job = await engine.ledger.save(record.job, carried(record.job, _S.UNKNOWN))
    with engine.answers.expect(job.id):
        await engine.runner.catch_up()
        engine.answers.write(job.id, job.attempt_token or "", finished(billed_usd=Decimal("0.05")))
        await engine.runner.catch_up()
        assert (await engine.row(job)).state is _S.UNKNOWN
    await engine.runner.catch_up()
    assert (await engine.row(job)).state is _S.STORING
    asked = len(engine.ledger.calls)
    await engine.runner.catch_up()
    assert len(engine.ledger.calls) == asked, "nothing is left to look for"


async def test_an_answer_that_nobody_waited_for_is_taken_up_within_a_minute(engine: Engine, clock: FakeClock) -> None:
    """As of a courier whose lock went with the spool folder: its job was called unknown, and then it wrote."""
    record = engine.record(await engine.new())
    await record.write(carried(record.job, _S.SUBMITTING))
    job = await engine.ledger.save(record.job, carried(record.job, _S.UNKNOWN))
    driven = engine.record(await engine.new())
    await driven.write(carried(driven.job, _S.SUBMITTING))
    await engine.runner.catch_up()
    for each in (job, driven.job):
        engine.answers.write(each.id, each.attempt_token or "", finished(billed_usd=Decimal("0.05")))
    clock.advance(LIST_AGAIN_S - 1)
    await engine.runner.catch_up()
    assert (await engine.row(job)).state is _S.UNKNOWN, "a folder is not read all the time"
    clock.advance(1)
    asked = engine.ledger.calls.count("get")
    await engine.runner.catch_up()
    assert engine.ledger.calls.count("get") - asked == 1, "for what is driven its driver looks"
    row = await engine.row(job)
    assert (row.state, row.billed_usd) == (_S.STORING, Decimal("0.05"))


async def test_mere_pictures_are_no_answer_while_a_server_runs(engine: Engine, clock: FakeClock) -> None:
    """Others may follow, of a process without a courier whose job another machine has called unknown."""
    record = engine.record(await engine.new())
    await record.write(carried(record.job, _S.SUBMITTING))
    job = await engine.ledger.save(record.job, carried(record.job, _S.UNKNOWN))
    await engine.runner.catch_up()
    (engine.spool / f"{job.id}-0.inline").write_bytes(jpeg())
    clock.advance(LIST_AGAIN_S)
    await engine.runner.catch_up()
    assert (await engine.row(job)).state is _S.UNKNOWN


async def test_a_ledger_that_is_away_keeps_no_answer_from_being_taken_up(engine: Engine) -> None:
    record = engine.record(await engine.new())
    await record.write(carried(record.job, _S.SUBMITTING))
    job = await engine.ledger.save(record.job, carried(record.job, _S.UNKNOWN))
    engine.answers.write(job.id, job.attempt_token or "", finished())
    engine.ledger.fail("get")
    with pytest.raises(LedgerError):
        await engine.late.apply_own(engine.ledger)
    await engine.late.apply_own(engine.ledger)
    assert (await engine.row(job)).state is _S.STORING


async def test_an_answer_that_comes_while_the_ledger_is_away_stays(engine: Engine, clock: FakeClock) -> None:
    """The job is called unknown, which cannot be written yet; its courier's lock went with the spool folder."""
    record = engine.record(await engine.new())
    await record.write(carried(record.job, _S.SUBMITTING))
    engine.ledger.fail("save", times=2)
    driving = asyncio.create_task(engine.runner.drive(record.job))
    await clock.asleep()
    engine.answers.write(record.job.id, record.job.attempt_token or "", finished(billed_usd=Decimal("0.05")))
    await clock.play(asyncio.wait({driving}))
    assert driving.result().state is _S.UNKNOWN
    await engine.late.apply_own(engine.ledger)
    row = await engine.row(record.job)
    assert (row.state, row.billed_usd) == (_S.STORING, Decimal("0.05"))


async def test_an_unreadable_answer_is_told_of_once(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    job = await engine.new()
    path = engine.spool / f"{job.id}-answer.json"
    path.symlink_to(path.name)  # to open it fails
    for _ in range(3):
        await engine.late.apply_own(engine.ledger)
    assert caplog.text.count(f"job {job.id}: its answer cannot be read now: ") == 1
    path.unlink()
    engine.answers.write(job.id, "token", ACCEPTED)
    await engine.late.apply_own(engine.ledger)
    assert (await engine.row(job)).state is _S.RENDERING


async def test_an_answer_to_a_plan_is_its_drivers(engine: Engine) -> None:
    """Another server of this machine has sent it, and was answered, since its row was read here."""
    job = await engine.new()
    looks: list[str] = []

    def answer(path: object, *_: object) -> None:
        if str(path).endswith(f"{job.id}-answer.json"):
            looks.append(str(path))
            if len(looks) == 2:
                engine.answers.write(job.id, "theirs", finished(billed_usd=Decimal("0.05")))

    with engine.answers.expect(job.id):
        await engine.late.apply_own(engine.ledger)
    with when("open", answer):
        await engine.late.apply_own(engine.ledger)
    assert len(looks) == 1
    assert not engine.unwritten.exists(), "its driver finds it where it was written"
