"""What every ledger does about rows that its database has lost, and about answers that come after a person's word."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Job, JobState, Output
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.jobs.outcomes import resolve_by_hand
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Finished
from tests.fake_clock import START, FakeClock
from tests.jobs.engine import engine_on, until
from tests.jobs.scripted_provider import jpeg
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import HOLDER, NO_CAPS, PATHS, PRICE_USD, audit_row, carried, opened, planned

LATER = START + timedelta(minutes=1)
NOTHING = Decimal(0)


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.PLANNED])
async def test_a_row_that_is_gone_is_written_again_with_its_audit_rows(
    ledger: Ledger, database: LedgerDatabase, state: JobState
) -> None:
    job = await opened(ledger, state)
    database.query("DELETE FROM media_jobs")
    record = audit_row()
    restored = await ledger.restore(job, [record])
    assert restored == replace(job, version=job.version + 1) == await ledger.get(job.id)
    assert len(await ledger.records("generated_images", [record.id])) == 1
    with pytest.raises(JobMoved):
        await ledger.restore(job)


async def test_a_row_come_back_leaves_its_key_to_its_heir(ledger: Ledger, database: LedgerDatabase) -> None:
    job = await opened(ledger, JobState.RENDERING, idempotency_key="mine", request_hash="v1:same")
    database.query("DELETE FROM media_jobs")
    other = await opened(ledger, idempotency_key="mine", request_hash="v1:same")
    restored = await ledger.restore(job)
    assert restored == await ledger.get(job.id)
    assert (restored.idempotency_key, restored.warnings) == (
        None,
        (f"its idempotencyKey stands for job {other.id} now",),
    )
    assert (await ledger.spend(START, sandbox=False)).open_jobs == 2


@pytest.mark.parametrize("other", [{"actor_id": "anna"}, {"sandbox": True}, {"idempotency_key": "another"}])
async def test_a_row_come_back_keeps_a_key_that_nobody_else_has(
    ledger: Ledger, database: LedgerDatabase, other: dict[str, Any]
) -> None:
    job = await opened(ledger, JobState.RENDERING, idempotency_key="mine")
    database.query("DELETE FROM media_jobs")
    await opened(ledger, **{"idempotency_key": "mine", **other})
    assert await ledger.restore(job) == replace(job, version=job.version + 1)


async def test_a_key_that_cost_nothing_is_no_heirs(ledger: Ledger, database: LedgerDatabase) -> None:
    job = await opened(ledger, JobState.RENDERING, idempotency_key="mine")
    database.query("DELETE FROM media_jobs")
    free = await opened(ledger, JobState.SUBMITTING, idempotency_key="mine")
    await ledger.save(free, carried(free, JobState.FAILED, settled_usd=NOTHING))
    assert (await ledger.restore(job)).idempotency_key == "mine"


async def test_a_write_goes_beyond_a_version_that_the_database_has_lost(ledger: Ledger) -> None:
    known = await opened(ledger, JobState.RENDERING)
    older = await ledger.get(known.id)
    assert older is not None
    ahead = replace(known, version=known.version + 5, progress=70)
    saved = await ledger.save(older, ahead)
    assert saved.version == known.version + 6
    assert await ledger.get(known.id) == saved


async def test_of_two_writes_with_one_version_the_time_tells_which_is_known(ledger: Ledger) -> None:
    stored = await opened(ledger, JobState.RENDERING)
    known = replace(stored, updated_at=LATER)
    with pytest.raises(JobMoved):
        await ledger.save(known, replace(known, progress=70))
    assert await ledger.get(stored.id) == stored


async def test_no_job_is_written_as_another(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.RENDERING)
    with pytest.raises(LedgerError):
        await ledger.save(job, replace(job, id=planned().id, progress=70))
    assert await ledger.get(job.id) == job


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.PLANNED])
async def test_a_plan_is_brought_up_to_what_had_become_of_it(ledger: Ledger, state: JobState) -> None:
    """The database fell back to before the intent: in one write, and the sums follow."""
    fallen_back = await opened(ledger)
    known = fallen_back
    for step in PATHS[state]:
        known = carried(known, step)
    saved = await ledger.save(fallen_back, known)
    assert saved == replace(known, version=2) == await ledger.get(known.id)
    assert await ledger.find_wrong_sums() == []


async def resolved(ledger: Ledger, *, paid: bool, **facts: Any) -> tuple[Job, Job]:
    """A job whose request is under way, as its driver knows it, and the same one as a person has settled it."""
    submitting = await opened(ledger, JobState.SUBMITTING, **facts)
    unknown = await ledger.save(submitting, carried(submitting, JobState.UNKNOWN))
    settled = await ledger.save(unknown, resolve_by_hand(unknown, paid=paid, now=LATER))
    await ledger.mark_delivered(settled.id, LATER)
    told = await ledger.get(settled.id)
    assert told is not None
    return submitting, told


@pytest.mark.parametrize("state", [JobState.RENDERING, JobState.STORING, JobState.REFUSED])
@pytest.mark.parametrize("paid", [True, False])
async def test_a_late_answer_counts_more_than_what_a_person_has_settled(
    ledger: Ledger, paid: bool, state: JobState
) -> None:
    submitting, told = await resolved(ledger, paid=paid)
    record = audit_row()
    answered = await ledger.save(told, replace(carried(submitting, state), delivered_at=None), [record])
    assert len(await ledger.records("generated_images", [record.id])) == 1
    assert answered == await ledger.get(told.id)
    assert (answered.state, answered.delivered_at) == (state, None)
    spend = await ledger.spend(START, sandbox=False)
    reserved = NOTHING if state is JobState.REFUSED else PRICE_USD
    assert (spend.day_usd, spend.day_reserved_usd) == (PRICE_USD, reserved)


async def test_only_the_same_attempts_answer_undoes_a_persons_word(ledger: Ledger) -> None:
    submitting, told = await resolved(ledger, paid=False)
    another = replace(submitting, attempt_token="another")
    for after in (carried(another, JobState.RENDERING), submitting, carried(submitting, JobState.UNKNOWN)):
        with pytest.raises(LedgerError, match="has ended and is not written again"):
            await ledger.save(told, after)
    assert await ledger.get(told.id) == told


async def test_a_late_answer_leaves_its_key_to_its_heir(ledger: Ledger) -> None:
    submitting, told = await resolved(ledger, paid=False, idempotency_key="mine", request_hash="v1:same")
    again = await ledger.open(planned(idempotency_key="mine", request_hash="v1:same"), NO_CAPS)
    assert not again.joined, "what is known not to be paid has freed the key"
    answered = await ledger.save(told, carried(submitting, JobState.RENDERING))
    assert answered == await ledger.get(told.id)
    assert answered.idempotency_key is None
    assert answered.warnings == (f"its idempotencyKey stands for job {again.job.id} now",)
    assert (await ledger.spend(START, sandbox=False)).day_usd == 2 * PRICE_USD


# Of requests that the database has forgotten, whose plans somebody has ended


async def ended_unsent(ledger: Ledger, **facts: Any) -> tuple[Job, Job]:
    """A job whose request is under way, as its driver knows it, and its row: it fell back and was ended elsewhere."""
    plan = await opened(ledger, **facts)
    ended = await ledger.save(plan, carried(plan, JobState.FAILED, settled_usd=NOTHING))
    await ledger.mark_delivered(ended.id, LATER)
    told = await ledger.get(ended.id)
    assert told is not None
    return carried(plan, JobState.SUBMITTING), told


@pytest.mark.parametrize("state", [JobState.RENDERING, JobState.STORING, JobState.UNKNOWN, JobState.REFUSED])
async def test_an_answer_counts_although_its_job_had_ended_unsent(ledger: Ledger, state: JobState) -> None:
    sent, told = await ended_unsent(ledger)
    after = carried(sent, state)
    answered = await ledger.save(told, after)
    assert answered == replace(after, version=told.version + 1) == await ledger.get(told.id)
    spend = await ledger.spend(START, sandbox=False)
    reserved = NOTHING if state is JobState.REFUSED else PRICE_USD
    assert (spend.day_usd, spend.day_reserved_usd) == (PRICE_USD, reserved)
    assert await ledger.find_wrong_sums() == []


async def test_what_has_ended_unsent_is_neither_sent_nor_ended_again(ledger: Ledger) -> None:
    sent, told = await ended_unsent(ledger)
    for after in (sent, carried(sent, JobState.FAILED, settled_usd=NOTHING), replace(told, progress=1)):
        with pytest.raises(LedgerError, match="has ended and is not written again"):
            await ledger.save(told, after)
    assert await ledger.get(told.id) == told


async def test_an_answer_to_an_ended_plan_leaves_its_key_to_its_heir(ledger: Ledger) -> None:
    sent, told = await ended_unsent(ledger, idempotency_key="mine", request_hash="v1:same")
    again = await ledger.open(planned(idempotency_key="mine", request_hash="v1:same"), NO_CAPS)
    assert not again.joined
    answered = await ledger.save(told, carried(sent, JobState.RENDERING))
    assert answered.idempotency_key is None
    assert answered.warnings == (f"its idempotencyKey stands for job {again.job.id} now",)
    assert (await ledger.spend(START, sandbox=False)).day_usd == 2 * PRICE_USD


async def test_a_paid_answer_is_recorded_although_another_machine_ended_its_plan(
    ledger: Ledger, second_ledger: Ledger, clock: FakeClock, database: LedgerDatabase, tmp_path: Path
) -> None:
    """They share the database, which had fallen back to before the intent, and no storage."""
    mine = engine_on(ledger, clock, tmp_path / "mine", death_is_certain=False)
    theirs = engine_on(second_ledger, clock, tmp_path / "theirs", death_is_certain=False)
    mine.pictures.answers_with_result = theirs.pictures.answers_with_result = True
    job = await mine.new()
    (mine.spool / (name := f"{job.id}-0.inline")).write_bytes(jpeg())
    made = Finished(outputs=(Output(spool_path=name),), billed_usd=Decimal("0.05"))
    mine.answers.write(job.id, "token", made)
    database.let_go()
    clock.advance(24 * 3600)
    await theirs.runner.run(job.id)
    unsent = await theirs.row(job)
    assert (unsent.state, unsent.settled_usd, theirs.pictures.submitted) == (JobState.FAILED, NOTHING, [])
    database.let_go()
    await mine.runner.catch_up()
    taken = await ledger.claim_one(HOLDER, job.id)
    assert taken is not None
    await clock.play(mine.runner.drive(taken))
    row = await mine.row(job)
    assert (row.state, row.billed_usd, row.settled_usd) == (JobState.DONE, Decimal("0.05"), Decimal("0.05"))
    assert mine.storage.put_keys, "the bytes are where the owner finds them"
    assert row.warnings[0].startswith("the provider answered after this job had ended as never sent (")
    assert mine.answers.job_ids() == []


async def test_a_handle_is_on_the_disk_while_somebody_holds_its_row(
    ledger: Ledger, second_ledger: Ledger, clock: FakeClock, database: LedgerDatabase, tmp_path: Path
) -> None:
    """A process that is killed meanwhile leaves it to the next start on its machine; to the others it is unknown."""
    mine = engine_on(ledger, clock, tmp_path / "mine", death_is_certain=False)
    theirs = engine_on(second_ledger, clock, tmp_path / "theirs", death_is_certain=False)
    record = mine.record(await mine.new())
    await record.write(carried(record.job, JobState.SUBMITTING))
    with database.transaction() as held:
        held.query("UPDATE media_jobs SET progress = progress")
        writing = asyncio.create_task(record.write(carried(record.job, JobState.RENDERING)))
        await until(lambda: mine.write_ahead.has(record.job.id))
        assert not writing.done()
        aside = (mine.unwritten / f"{record.job.id}.json").read_bytes()
        writing.cancel()
    await asyncio.wait({writing})
    assert not mine.write_ahead.has(record.job.id), "it was taken in the end"

    # As if it had been killed before: the row as it was, and the file.
    database.query("UPDATE media_jobs SET state = 'submitting', provider_request_id = NULL")
    (mine.unwritten / f"{record.job.id}.json").write_bytes(aside)
    database.let_go()
    clock.advance(3600)
    await theirs.runner.run(record.job.id)
    assert (await theirs.row(record.job)).state is JobState.UNKNOWN
    await mine.runner.catch_up()
    row = await mine.row(record.job)
    assert (row.state, row.provider_request_id) == (JobState.RENDERING, record.job.provider_request_id)
