"""Facts that the ledger does not have yet: on the disk as a whole, and written by whoever starts next."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.domain import DRIVEN, Job, JobState
from ring_mcp.errors import JobMoved, LedgerError, RingError
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.outcomes import end_badly, resolve_by_hand
from ring_mcp.jobs.write_ahead import WriteAhead
from tests.fake_clock import START, FakeClock
from tests.jobs.engine import Engine, new_id
from tests.ledger_samples import OUTPUT, PATHS, PRICE_USD, TROUBLE, audit_row, carried, sample_asset, sample_job

LATER = START + timedelta(minutes=5)


async def in_state(engine: Engine, *states: JobState) -> Job:
    job = await engine.new()
    for state in states:
        job = await engine.ledger.save(job, carried(job, state))
    return job


def names(engine: Engine) -> list[str]:
    return sorted(path.name for path in engine.unwritten.iterdir())


async def replayed(engine: Engine) -> None:
    """As the next process does it."""
    await WriteAhead(engine.unwritten).replay(engine.ledger)


def test_facts_are_one_private_file_per_job_replaced_as_a_whole(tmp_path: Path) -> None:
    write_ahead = WriteAhead(tmp_path / "new" / "unwritten")
    job = sample_job(JobState.STORING)
    write_ahead.keep(job, [])
    write_ahead.keep(replace(job, progress=95), [audit_row()])
    (path,) = (tmp_path / "new" / "unwritten").iterdir()
    assert path.name == f"{job.id}.json"
    assert '"progress": 95' in path.read_text()
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_two_processes_that_keep_facts_of_one_job_disturb_neither(tmp_path: Path) -> None:
    """One was only paused, and the other has taken its job."""
    job = sample_job(JobState.STORING)
    ahead = WriteAhead(tmp_path / "unwritten")

    def keep() -> None:
        for _ in range(200):
            ahead.keep(job, [])

    with ThreadPoolExecutor(2) as processes:
        for done in [processes.submit(keep) for _ in range(2)]:
            done.result()
    assert ahead.read(job.id) == (job, [])
    assert [path.name for path in ahead.folder.iterdir()] == [f"{job.id}.json"]


def test_facts_that_the_ledger_has_are_forgotten_once_and_for_all(tmp_path: Path) -> None:
    write_ahead = WriteAhead(tmp_path)
    job = sample_job(JobState.STORING)
    write_ahead.keep(job, [])
    write_ahead.forget(job.id)
    write_ahead.forget(job.id)
    assert list(tmp_path.iterdir()) == []


async def test_without_any_facts_there_is_nothing_to_write(engine: Engine) -> None:
    await replayed(engine)
    assert engine.ledger.calls == []
    assert not engine.unwritten.exists()


async def test_a_handle_kept_aside_reaches_the_row_which_is_then_free(engine: Engine) -> None:
    stored = await in_state(engine, JobState.SUBMITTING)
    kept = replace(carried(stored, JobState.RENDERING), updated_at=LATER)
    engine.write_ahead.keep(kept, [])
    await replayed(engine)
    after = await engine.row(kept)
    assert (after.state, after.provider_request_id) == (JobState.RENDERING, kept.provider_request_id)
    assert (after.owner, after.due_at, after.updated_at) == (None, LATER, LATER)
    assert after.version == stored.version + 1
    assert names(engine) == []


async def test_outputs_cost_and_audit_rows_that_were_kept_aside_are_all_written(engine: Engine) -> None:
    stored = await in_state(engine, JobState.SUBMITTING)
    row = audit_row(prompt="a lighthouse")
    storing = carried(stored, JobState.STORING, billed_usd=stored.reserved_usd)
    kept = carried(storing, JobState.DONE, assets=(sample_asset(row.id),), owner="a process that has died")
    engine.write_ahead.keep(kept, [row])
    await replayed(engine)
    after = await engine.row(kept)
    assert (after.state, after.outputs, after.assets) == (JobState.DONE, (OUTPUT,), kept.assets)
    assert (after.billed_usd, after.settled_usd) == (stored.reserved_usd, stored.reserved_usd)
    assert after.owner == stored.owner
    (written,) = await engine.ledger.records("generated_images", [row.id])
    assert written["prompt"] == "a lighthouse"
    assert names(engine) == []


async def test_an_unknown_outcome_that_is_written_is_nobodys_turn(engine: Engine) -> None:
    stored = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(stored, JobState.UNKNOWN), [])
    await replayed(engine)
    after = await engine.row(stored)
    assert (after.state, after.due_at, after.owner) == (JobState.UNKNOWN, None, stored.owner)


async def test_facts_win_over_whoever_called_the_attempt_unknown(engine: Engine) -> None:
    submitting = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(submitting, JobState.RENDERING), [])
    await engine.ledger.save(submitting, carried(submitting, JobState.UNKNOWN))
    await replayed(engine)
    assert (await engine.row(submitting)).state is JobState.RENDERING


async def test_facts_that_had_arrived_after_all_are_forgotten(engine: Engine) -> None:
    done = await in_state(engine, JobState.SUBMITTING, JobState.STORING, JobState.DONE)
    engine.write_ahead.keep(done, [])
    await replayed(engine)
    assert await engine.row(done) == done
    assert names(engine) == []


async def test_facts_of_a_job_that_went_another_way_are_set_aside(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    submitting = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(submitting, JobState.RENDERING), [])
    failed = await engine.ledger.save(submitting, carried(submitting, JobState.FAILED))
    with caplog.at_level(logging.WARNING):
        await replayed(engine)
    assert await engine.row(failed) == failed
    assert names(engine) == [f"{failed.id}.stale"]
    assert failed.id in caplog.text
    await replayed(engine)  # and never touched again
    assert names(engine) == [f"{failed.id}.stale"]


async def test_an_end_that_another_driver_made_otherwise_is_set_aside(engine: Engine) -> None:
    """The row says done, and what was kept says failed: whoever looks at the bill has to see both."""
    submitting = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(submitting, JobState.FAILED, billed_usd=None), [])
    storing = await engine.ledger.save(submitting, carried(submitting, JobState.STORING))
    done = await engine.ledger.save(storing, carried(storing, JobState.DONE))
    await replayed(engine)
    assert await engine.row(done) == done
    assert names(engine) == [f"{done.id}.stale"]


def test_of_a_job_of_which_nothing_is_kept_nothing_is_read(tmp_path: Path) -> None:
    write_ahead = WriteAhead(tmp_path)
    assert not write_ahead.has("a job")
    assert write_ahead.read("a job") is None  # another process may have been quicker


async def test_facts_of_another_attempt_are_left_to_be_looked_at(engine: Engine) -> None:
    stored = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(replace(stored, attempt_token="another"), JobState.RENDERING), [])
    await replayed(engine)
    assert await engine.row(stored) == stored
    assert names(engine) == [f"{stored.id}.stale"]


async def test_facts_of_another_attempt_are_not_known_to_a_row_ahead(engine: Engine) -> None:
    submitting = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(replace(submitting, attempt_token="another"), JobState.RENDERING), [])
    storing = await engine.ledger.save(submitting, carried(submitting, JobState.STORING))
    await replayed(engine)
    assert await engine.row(storing) == storing
    assert names(engine) == [f"{storing.id}.stale"]


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.PLANNED])
async def test_facts_of_a_job_whose_row_is_lost_become_its_row(engine: Engine, state: JobState) -> None:
    job, record = sample_job(state), audit_row()
    engine.write_ahead.keep(job, [record])
    await replayed(engine)
    row = await engine.row(job)
    assert row == replace(job, version=2, owner=None, due_at=row.due_at)
    assert row.due_at is not None or state not in DRIVEN, "the next driver is free to take it"
    assert len(await engine.ledger.records("generated_images", [record.id])) == 1
    assert names(engine) == []


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.PLANNED])
async def test_facts_of_a_job_whose_row_fell_back_are_written(engine: Engine, state: JobState) -> None:
    """Otherwise it would be sent, and paid, once more."""
    plan = await in_state(engine)
    kept = plan
    for step in PATHS[state]:
        kept = carried(kept, step)
    engine.write_ahead.keep(kept, [])
    await replayed(engine)
    row = await engine.row(plan)
    assert (row.state, row.attempt_token) == (state, kept.attempt_token)
    assert names(engine) == []


async def test_a_driver_learns_that_its_plan_was_sent_before(engine: Engine) -> None:
    plan = await in_state(engine)
    engine.write_ahead.keep(carried(carried(plan, JobState.SUBMITTING), JobState.UNKNOWN), [])
    job = await engine.runner.drive(plan)
    assert (job.state, engine.pictures.submitted) == (JobState.UNKNOWN, [])


@pytest.mark.parametrize("is_readable", [True, False])
async def test_a_driver_does_nothing_until_it_has_learnt_all(
    engine: Engine, clock: FakeClock, is_readable: bool
) -> None:
    """An end of an older version, of which a caller was told: without it the job would be sent after all."""
    plan = await in_state(engine)
    engine.write_ahead.keep(end_badly(plan, Ending.STOPPED_BEFORE, RingError("stopped"), clock.now()), [])
    path, aside = engine.unwritten / f"{plan.id}.json", engine.unwritten / "aside"
    if is_readable:
        engine.ledger.fail("save", times=3)
    else:  # as where a process has too many files open
        path.rename(aside)
        path.mkdir()
    driving = asyncio.create_task(engine.runner.drive(plan))
    await clock.asleep()
    told = await engine.watch.read(plan.id)
    assert told is not None
    assert told.failure is not None
    assert told.failure.message.startswith("what was kept aside of this job is not in the ledger yet: ")
    assert (told.state, told.failure.billed) == (JobState.PLANNED, "unknown")
    if not is_readable:
        path.rmdir()
        aside.rename(path)
    job = await clock.play(asyncio.wait_for(driving, None))
    assert (job.state, engine.pictures.submitted) == (JobState.FAILED, [])
    assert (await engine.row(plan)).failure == job.failure
    assert clock.pauses_s == ([0.5, 1.0, 2.0] if is_readable else [0.5])
    assert job.failure is not None
    assert job.failure.message == "stopped"
    assert names(engine) == []


async def test_facts_that_cannot_be_read_now_are_left_for_the_next_time(engine: Engine) -> None:
    """As where a process has too many files open; here the name leads to itself."""
    stored = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(stored, JobState.RENDERING), [])
    path = engine.unwritten / f"{stored.id}.json"
    aside = path.rename(engine.unwritten / "aside")
    path.symlink_to(path.name)
    await replayed(engine)
    assert names(engine) == sorted([path.name, aside.name])
    aside.replace(path)
    await replayed(engine)
    assert (await engine.row(stored)).state is JobState.RENDERING


async def test_a_job_never_sent_whose_row_is_lost_is_forgotten(engine: Engine) -> None:
    job = sample_job(JobState.PLANNED)
    engine.write_ahead.keep(job, [])
    await replayed(engine)
    assert await engine.ledger.get(job.id) is None
    assert names(engine) == []


async def test_facts_that_the_row_has_left_behind_are_forgotten(engine: Engine) -> None:
    rendering = await in_state(engine, JobState.SUBMITTING, JobState.RENDERING)
    engine.write_ahead.keep(rendering, [])
    storing = await engine.ledger.save(rendering, carried(rendering, JobState.STORING))
    await replayed(engine)
    assert await engine.row(rendering) == storing
    assert names(engine) == []


@pytest.mark.parametrize("state", [JobState.SUBMITTING, JobState.FAILED])
async def test_facts_of_a_plan_that_somebody_has_carried_on_are_forgotten(engine: Engine, state: JobState) -> None:
    plan = await in_state(engine)
    engine.write_ahead.keep(replace(plan, failure=TROUBLE), [])
    submitting = await engine.ledger.save(plan, carried(plan, JobState.SUBMITTING))
    stored = submitting
    if state is not JobState.SUBMITTING:
        stored = await engine.ledger.save(submitting, carried(submitting, state))
    await replayed(engine)
    assert await engine.row(plan) == stored
    assert names(engine) == []


@pytest.mark.parametrize(
    ("billed_usd", "left"), [(None, []), (PRICE_USD, []), (PRICE_USD * 2, ["stale"])], ids=["none", "same", "other"]
)
async def test_facts_of_an_attempt_that_others_have_finished_are_forgotten(
    engine: Engine, billed_usd: Decimal | None, left: list[str]
) -> None:
    """Unless they speak of another bill: that somebody has to look at."""
    rendering = await in_state(engine, JobState.SUBMITTING, JobState.RENDERING)
    engine.write_ahead.keep(carried(rendering, JobState.STORING, billed_usd=billed_usd), [])
    storing = await engine.ledger.save(rendering, carried(rendering, JobState.STORING, billed_usd=PRICE_USD))
    done = await engine.ledger.save(storing, carried(storing, JobState.DONE))
    await replayed(engine)
    assert await engine.row(done) == done
    assert names(engine) == [f"{done.id}.{kind}" for kind in left]


@pytest.mark.parametrize("paid", [True, False])
async def test_facts_win_over_what_a_person_has_settled_meanwhile(engine: Engine, paid: bool) -> None:
    submitting = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(submitting, JobState.RENDERING), [])
    unknown = await engine.ledger.save(submitting, carried(submitting, JobState.UNKNOWN))
    await engine.ledger.save(unknown, resolve_by_hand(unknown, paid=paid, now=START))
    await replayed(engine)
    row = await engine.row(submitting)
    assert (row.state, row.settled_usd) == (JobState.RENDERING, None)
    assert "the provider answered after a person had settled this job" in row.warnings[0]
    assert names(engine) == []


async def test_what_is_left_in_the_folder_is_told_apart(engine: Engine) -> None:
    assert engine.write_ahead.list_left() == ([], [])
    waiting, aside = sample_job(JobState.RENDERING), sample_job(JobState.STORING)
    for job in (waiting, aside):
        engine.write_ahead.keep(job, [])
    engine.write_ahead.set_aside(aside.id)
    assert engine.write_ahead.list_left() == ([waiting.id], [aside.id])


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"job": {}, "records": []}', "\udc80"])
async def test_a_file_without_facts_does_not_hold_up_the_others(engine: Engine, content: str) -> None:
    stored = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(stored, JobState.RENDERING), [])
    odd = f"0000-{new_id()}"  # it comes first
    (engine.unwritten / f"{odd}.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    await replayed(engine)
    assert (await engine.row(stored)).state is JobState.RENDERING
    assert names(engine) == [f"{odd}.stale"]


async def test_every_file_is_written(engine: Engine) -> None:
    jobs = [await in_state(engine, JobState.SUBMITTING) for _ in range(3)]
    for job in jobs:
        engine.write_ahead.keep(carried(job, JobState.RENDERING), [])
    await replayed(engine)
    assert {(await engine.row(job)).state for job in jobs} == {JobState.RENDERING}
    assert names(engine) == []


async def test_a_row_that_is_written_just_now_is_looked_at_again(engine: Engine) -> None:
    stored = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(stored, JobState.RENDERING), [])
    engine.ledger.fail("save", 2, error=JobMoved("somebody was first"))
    await replayed(engine)
    assert (await engine.row(stored)).state is JobState.RENDERING
    assert names(engine) == []


async def test_a_ledger_that_is_away_leaves_the_facts_for_the_next_time(engine: Engine) -> None:
    stored = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(stored, JobState.RENDERING), [])
    engine.ledger.fail("save")
    with pytest.raises(LedgerError):
        await replayed(engine)
    assert names(engine) == [f"{stored.id}.json"]
    await replayed(engine)
    assert (await engine.row(stored)).state is JobState.RENDERING


async def ended_unsent(engine: Engine) -> tuple[Job, Job]:
    """An attempt that is under way, and its row: it fell back to a plan, which another machine has ended."""
    plan = await engine.new()
    ended = await engine.ledger.save(plan, carried(plan, JobState.FAILED, settled_usd=Decimal(0)))
    return carried(plan, JobState.SUBMITTING), ended


async def test_a_handle_kept_aside_counts_although_its_plan_was_ended(engine: Engine) -> None:
    sent, ended = await ended_unsent(engine)
    engine.write_ahead.keep(carried(sent, JobState.RENDERING), [])
    await replayed(engine)
    row = await engine.row(ended)
    assert (row.state, row.owner, row.attempt_token) == (JobState.RENDERING, None, sent.attempt_token)
    assert (row.settled_usd, row.finished_at, row.due_at) == (None, None, sent.updated_at)
    assert row.warnings[0].startswith("the provider answered after this job had ended as never sent (")
    assert names(engine) == []


async def test_a_refusal_kept_aside_is_no_news_of_an_ended_plan(engine: Engine) -> None:
    sent, ended = await ended_unsent(engine)
    engine.write_ahead.keep(carried(sent, JobState.FAILED, settled_usd=Decimal(0)), [])
    await replayed(engine)
    assert await engine.row(ended) == ended
    assert names(engine) == [], "nobody has to look at it"
