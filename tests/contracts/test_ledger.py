"""What every ledger promises, whichever database it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ring_mcp.domain import DRIVEN, TERMINAL, Caps, Failure, Job, JobState, Output, Spend
from ring_mcp.errors import CapExceeded, InvalidRequest, JobMoved, LedgerError
from ring_mcp.ledger.base import JobQuery, Ledger
from tests.fake_clock import START
from tests.ledger_databases import DATABASE_ERRORS, LedgerDatabase
from tests.ledger_process import other_process
from tests.ledger_samples import (
    HOLDER,
    NO_CAPS,
    PATHS,
    PRICE_USD,
    audit_row,
    be_driven,
    carried,
    left_behind,
    opened,
    planned,
    sample_asset,
    sample_job,
    sample_plan,
)

BEING_DRIVEN = [state for state in JobState if state in DRIVEN]
SETTLED = [state for state in JobState if state not in DRIVEN]
ENDED = [state for state in JobState if state in TERMINAL]
OPEN = [state for state in JobState if state not in TERMINAL]
NOTHING = Decimal(0)
FOR_THREE = Caps(per_day_usd=3 * PRICE_USD)
LATER = START + timedelta(minutes=1)

NASTY_TEXTS = [
    'it\'s "quoted" and `ticked`',
    "100% of %s, %(id)s, %d and %%",
    ":id :name :actor_id ::text, at 12:30",
    "?1 ? $1 ${x} {id} {{}}",
    "'); DROP TABLE media_jobs; --",
    "back\\slash \\n \\u0000 \\' \\",
    "two\nlines\r\n\ttabbed\x1b[0m\x7f\x85\u2028",
    "\U0001f3a8 é e\u0301 \u202eright to left \ufeff",
    '{"json": ["in", "text"]}',
    "NULL",
    " ",
    "x" * 20_000,
]

texts = st.sampled_from(NASTY_TEXTS) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60
)
amounts = st.decimals(min_value=0, max_value=100_000, places=10)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-9))])
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=zones)  # noqa: DTZ001 - drawn with one
outputs = st.builds(Output, url=st.none() | texts, spool_path=st.none() | texts, lost_because=st.none() | texts)
failures = st.builds(
    Failure,
    code=texts,
    message=texts,
    billed=st.sampled_from(["yes", "no", "unknown"]),
    retryable=st.booleans(),
    next_action=texts,
)
plans = st.builds(
    lambda prompt, usd, seed, warnings: sample_plan(prompt, usd).model_copy(
        update={"seed": seed, "warnings": warnings}
    ),
    prompt=texts,
    usd=amounts,
    seed=st.none() | st.integers(-(2**70), 2**70),
    warnings=st.lists(texts, max_size=2).map(tuple),
)
plannings = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["image", "video"]),
        "actor_id": texts,
        "plan": plans,
        "sandbox": st.booleans(),
        "endpoint": st.none() | texts,
        "account_id": st.none() | texts,
        "key_fingerprint": st.none() | texts,
        "due_at": st.none() | times,
        "reserved_usd": amounts,
        "created_at": times,
        "updated_at": times,
    }
)
happenings = st.fixed_dictionaries(
    {
        "served_model": st.none() | texts,
        "progress": st.integers(0, 100),
        "due_at": st.none() | times,
        "warnings": st.lists(texts, max_size=3).map(tuple),
        "outputs": st.lists(outputs, min_size=1, max_size=3).map(tuple),
        "billed_usd": st.none() | amounts,
        "updated_at": times,
    }
)


def next_states(job: Job) -> list[JobState]:
    """Where the state machine lets it go."""
    states = []
    for state in JobState:
        with contextlib.suppress(JobMoved):
            job.to(state)
            states.append(state)
    return states


@given(planning=plannings, data=st.data())
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_what_was_written_reads_back_equal_at_every_step(
    ledger: Ledger, planning: dict[str, Any], data: st.DataObject
) -> None:
    job = (await ledger.open(planned(**planning), NO_CAPS)).job
    assert await ledger.get(job.id) == job
    while states := next_states(job):
        state = data.draw(st.sampled_from(states))
        changes: dict[str, Any] = data.draw(happenings)
        if state is JobState.UNKNOWN or state in TERMINAL - {JobState.DONE}:
            changes["failure"] = data.draw(failures)
        if state in TERMINAL:
            changes |= {"settled_usd": data.draw(amounts), "finished_at": data.draw(times)}
        job = await ledger.save(job, carried(job, state, **changes))
        stored = await ledger.get(job.id)
        assert stored == job
        assert stored.updated_at.utcoffset() == timedelta(0)


async def test_the_one_who_opens_a_job_owns_it(ledger: Ledger, second_ledger: Ledger) -> None:
    answer = await ledger.open(planned(owner=None), NO_CAPS)
    assert not answer.joined
    assert answer.job.owner == ledger.owner != second_ledger.owner


async def test_an_unknown_id_has_no_job(ledger: Ledger) -> None:
    assert await ledger.get("no-such-job") is None


async def test_a_ping_says_nothing_while_all_is_well(ledger: Ledger) -> None:
    await ledger.ping()


@pytest.mark.parametrize("text", NASTY_TEXTS)
async def test_odd_text_survives_wherever_it_stands(ledger: Ledger, text: str) -> None:
    key = text[:200]
    job = await opened(
        ledger, JobState.RENDERING, actor_id=key, idempotency_key=key, request_hash=key, plan=sample_plan(text)
    )
    assert job.plan.prompt == text
    record = audit_row(prompt=text, refCode=key)
    stored = carried(job, JobState.STORING, served_model=text, warnings=(text,), outputs=(Output(url=text),))
    await ledger.save(job, stored, [record])
    page = await ledger.list_jobs(JobQuery(actor_id=key))
    assert [(found.plan.prompt, found.served_model, found.warnings) for found in page.jobs] == [(text, text, (text,))]
    assert [row["prompt"] for row in await ledger.records("generated_images", [record.id])] == [text]
    again = await ledger.open(planned(actor_id=key, idempotency_key=key, request_hash=key), NO_CAPS)
    assert (again.joined, again.job.id) == (True, job.id)


@pytest.mark.parametrize("text", ["cut in the middle of an emoji \ud83d", "\udfa8 turned", "with a \0 in it"])
async def test_unstorable_text_keeps_no_paid_result_out(ledger: Ledger, text: str) -> None:
    """A provider's words are not ours to choose: JavaScript cuts strings in the middle of a character."""
    job = await opened(ledger, JobState.SUBMITTING)
    failure = Failure(code="content_refused", message=text, billed="yes")
    record = audit_row(prompt=text)
    refused = carried(job, JobState.REFUSED, failure=failure, served_model=text, warnings=(text,))
    await ledger.save(job, refused, [record])
    kept = await ledger.get(job.id)
    assert kept is not None
    assert kept.failure is not None
    readable = text.replace("\ud83d", "\ufffd").replace("\udfa8", "\ufffd").replace("\0", "\ufffd")
    assert (kept.state, kept.failure.message, kept.served_model) == (JobState.REFUSED, readable, readable)
    assert [row["prompt"] for row in await ledger.records("generated_images", [record.id])] == [readable]


# One request, one job


async def test_the_same_idempotency_key_gives_the_same_job_whatever_became_of_it(ledger: Ledger) -> None:
    for number, state in enumerate(JobState):
        key, request_hash = f"key-{number}", f"v1:{number}"
        job = await opened(ledger, state, idempotency_key=key, request_hash=request_hash)
        await ledger.mark_delivered(job.id, LATER)
        again = await ledger.open(planned(idempotency_key=key, request_hash=request_hash), NO_CAPS)
        assert (again.joined, again.job) == (True, await ledger.get(job.id))


async def test_another_request_under_a_used_key_is_refused_and_names_the_job(ledger: Ledger) -> None:
    job = await opened(ledger, idempotency_key="mine", request_hash="v1:one")
    with pytest.raises(InvalidRequest, match=f"'mine' already stands for another request .job {job.id}"):
        await ledger.open(planned(idempotency_key="mine", request_hash="v1:two"), NO_CAPS)
    assert len((await ledger.list_jobs(JobQuery())).jobs) == 1


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.REFUSED, JobState.EXPIRED])
async def test_a_key_is_free_again_after_an_attempt_without_cost(ledger: Ledger, state: JobState) -> None:
    *way, _ = PATHS[state]
    job = await opened(ledger, way[-1], idempotency_key="mine", request_hash="v1:one")
    await ledger.save(job, carried(job, state, settled_usd=NOTHING))
    again = await ledger.open(planned(idempotency_key="mine", request_hash="v1:two"), NO_CAPS)
    assert not again.joined
    third = await ledger.open(planned(idempotency_key="mine", request_hash="v1:two"), NO_CAPS)
    assert (third.joined, third.job.id) == (True, again.job.id)


async def test_a_picture_that_cost_nothing_keeps_its_key(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.STORING, idempotency_key="mine", request_hash="v1:one")
    await ledger.save(job, carried(job, JobState.DONE, settled_usd=NOTHING))
    assert (await ledger.open(planned(idempotency_key="mine", request_hash="v1:one"), NO_CAPS)).joined


async def test_a_key_belongs_to_its_actor(ledger: Ledger) -> None:
    await opened(ledger, actor_id="anna", idempotency_key="mine", request_hash="v1:one")
    other = await ledger.open(planned(actor_id="bert", idempotency_key="mine", request_hash="v1:two"), NO_CAPS)
    assert not other.joined


@pytest.mark.parametrize("state", OPEN)
async def test_an_identical_request_joins_a_job_that_is_open_or_unknown(ledger: Ledger, state: JobState) -> None:
    job = await opened(ledger, state, request_hash="v1:same")
    await ledger.mark_delivered(job.id, LATER)
    again = await ledger.open(planned(request_hash="v1:same"), NO_CAPS)
    assert (again.joined, again.job) == (True, await ledger.get(job.id))


@pytest.mark.parametrize("state", ENDED)
async def test_an_identical_request_joins_an_undelivered_job(ledger: Ledger, state: JobState) -> None:
    job = await opened(ledger, state, request_hash="v1:same")
    assert (await ledger.open(planned(request_hash="v1:same"), NO_CAPS)).job == job
    await ledger.mark_delivered(job.id, LATER)
    assert not (await ledger.open(planned(request_hash="v1:same"), NO_CAPS)).joined


async def test_an_identical_request_does_not_join_an_attempt_that_cost_nothing(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.SUBMITTING, request_hash="v1:same")
    await ledger.save(job, carried(job, JobState.FAILED, settled_usd=NOTHING))
    assert not (await ledger.open(planned(request_hash="v1:same"), NO_CAPS)).joined


async def test_an_identical_request_joins_its_own_actors_job_without_key(ledger: Ledger) -> None:
    await opened(ledger, actor_id="anna", request_hash="v1:same")
    await opened(ledger, actor_id="bert", request_hash="v1:same", idempotency_key="mine")
    assert not (await ledger.open(planned(actor_id="bert", request_hash="v1:same"), NO_CAPS)).joined


async def test_a_request_that_joins_needs_no_room_under_the_caps(ledger: Ledger) -> None:
    job = await opened(ledger, request_hash="v1:same")
    again = await ledger.open(planned(request_hash="v1:same"), Caps(per_call_usd=NOTHING, per_day_usd=NOTHING))
    assert again.job.id == job.id


@pytest.mark.parametrize("change", [{"sandbox": True}, {"request_hash": "v1:other"}, {"actor_id": "bert"}])
@pytest.mark.parametrize("state", [JobState.UNKNOWN, JobState.RENDERING])
async def test_a_request_of_another_actor_world_or_kind_joins_nothing(
    ledger: Ledger, state: JobState, change: dict[str, Any]
) -> None:
    job = await opened(ledger, state, request_hash="v1:same")
    await ledger.mark_delivered(job.id, LATER)
    asked = planned(**{"request_hash": "v1:same", **change})
    assert not (await ledger.open(asked, NO_CAPS)).joined


@pytest.mark.parametrize("newest", [0, 1, 2, 3])
async def test_of_several_jobs_that_stand_the_newest_is_joined(
    ledger: Ledger, database: LedgerDatabase, newest: int
) -> None:
    jobs = []
    for number, state in enumerate([JobState.DONE, JobState.DONE, JobState.UNKNOWN, JobState.UNKNOWN]):
        at = START + timedelta(minutes=10 if number == newest else number)
        job = await opened(ledger, state, created_at=at)
        if state is JobState.UNKNOWN:
            await ledger.mark_delivered(job.id, LATER)
        jobs.append(job)
    database.query("UPDATE media_jobs SET request_hash = :hash", {"hash": "v1:same"})
    assert (await ledger.open(planned(request_hash="v1:same"), NO_CAPS)).job.id == jobs[newest].id


# Caps


async def test_a_call_over_its_cap_is_refused_with_both_figures(ledger: Ledger) -> None:
    with pytest.raises(CapExceeded) as refusal:
        await ledger.open(planned(reserved_usd=Decimal("0.0625")), Caps(per_call_usd=PRICE_USD))
    assert refusal.value.message == (
        "RING_MAX_USD_PER_CALL is $0.06 and this call needs up to $0.0625; nothing was spent"
    )
    assert (await ledger.list_jobs(JobQuery())).jobs == []


async def test_what_the_caller_allows_is_checked_with_the_caps(ledger: Ledger) -> None:
    allowed = Caps(max_usd=2 * PRICE_USD - Decimal("0.01"), per_call_usd=9 * PRICE_USD)
    with pytest.raises(CapExceeded) as refusal:
        await ledger.open(planned(kind="video"), allowed, planned())
    assert refusal.value.message == "maxUsd is $0.11 and this call needs up to $0.12; nothing was spent"
    assert "maxUsd" in refusal.value.next_action
    assert (await ledger.list_jobs(JobQuery())).jobs == []
    exact = await ledger.open(planned(kind="video"), Caps(max_usd=2 * PRICE_USD), planned())
    assert not exact.joined
    again = await ledger.open(planned(request_hash=exact.job.request_hash, kind="video"), Caps(max_usd=NOTHING))
    assert again.joined


@pytest.mark.parametrize(
    ("caps", "name", "now", "resets_at"),
    [
        (Caps(per_day_usd=Decimal("0.2")), "RING_MAX_USD_PER_DAY", START, "2026-11-22 00:00 UTC"),
        (Caps(per_month_usd=Decimal("0.2")), "RING_MAX_USD_PER_MONTH", START, "2026-12-01 00:00 UTC"),
        (
            Caps(per_month_usd=Decimal("0.2")),
            "RING_MAX_USD_PER_MONTH",
            datetime(2026, 12, 31, 23, 59, tzinfo=UTC),
            "2027-01-01 00:00 UTC",
        ),
        (
            Caps(per_day_usd=Decimal("0.2")),
            "RING_MAX_USD_PER_DAY",
            datetime(2028, 2, 28, 1, 0, tzinfo=UTC),
            "2028-02-29 00:00 UTC",
        ),
    ],
)
async def test_a_refusal_says_cap_used_reserved_needed_and_when_it_resets(
    ledger: Ledger, caps: Caps, name: str, now: datetime, resets_at: str
) -> None:
    spent = await opened(ledger, JobState.STORING, created_at=now)
    await ledger.save(spent, carried(spent, JobState.DONE, settled_usd=Decimal("0.05")))
    await opened(ledger, created_at=now, reserved_usd=Decimal("0.1"))
    with pytest.raises(CapExceeded) as refusal:
        await ledger.open(planned(created_at=now), caps)
    assert refusal.value.message == (
        f"{name} is $0.20: $0.05 used, $0.10 reserved by open jobs, $0.06 needed; "
        f"it resets at {resets_at}; nothing was spent"
    )
    exact = await ledger.open(planned(created_at=now, reserved_usd=Decimal("0.05")), caps)
    assert not exact.joined


async def test_what_was_billed_replaces_what_was_reserved(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.STORING)
    await ledger.save(job, carried(job, JobState.DONE, settled_usd=3 * PRICE_USD))
    with pytest.raises(CapExceeded):
        await ledger.open(planned(), FOR_THREE)


async def test_an_attempt_that_cost_nothing_gives_its_reservation_back(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.SUBMITTING, reserved_usd=3 * PRICE_USD)
    with pytest.raises(CapExceeded):
        await ledger.open(planned(), FOR_THREE)
    await ledger.save(job, carried(job, JobState.FAILED, settled_usd=NOTHING))
    assert not (await ledger.open(planned(), FOR_THREE)).joined


async def test_an_unknown_outcome_keeps_its_reservation(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.UNKNOWN, reserved_usd=3 * PRICE_USD)
    await ledger.mark_delivered(job.id, LATER)
    with pytest.raises(CapExceeded):
        await ledger.open(planned(), FOR_THREE)


async def test_the_sandbox_neither_fills_the_real_caps_nor_joins_real_jobs(ledger: Ledger) -> None:
    await opened(ledger, sandbox=True, reserved_usd=Decimal(1000), request_hash="v1:same")
    await opened(ledger, sandbox=True, idempotency_key="mine", request_hash="v1:other")
    real = await ledger.open(planned(request_hash="v1:same"), FOR_THREE)
    assert not real.joined
    keyed = await ledger.open(planned(idempotency_key="mine", request_hash="v1:real"), FOR_THREE)
    assert not keyed.joined
    assert (await ledger.spend(START, sandbox=False)).day_usd == 2 * PRICE_USD
    assert (await ledger.open(planned(sandbox=True, request_hash="v1:same"), FOR_THREE)).joined


async def test_spend_tells_settled_reserved_unknown_and_open(ledger: Ledger) -> None:
    done = await opened(ledger, JobState.STORING)
    await ledger.save(done, carried(done, JobState.DONE, settled_usd=Decimal("0.0000000001")))
    await opened(ledger, JobState.UNKNOWN, reserved_usd=Decimal("0.2"))
    await opened(ledger, JobState.RENDERING, reserved_usd=Decimal("0.4"))
    yesterday = START - timedelta(days=1)
    await opened(ledger, JobState.FAILED, reserved_usd=Decimal("0.8"), created_at=yesterday)
    await opened(ledger, JobState.STORING, reserved_usd=Decimal("1.6"), created_at=yesterday)
    assert await ledger.spend(START, sandbox=False) == Spend(
        day_usd=Decimal("0.6000000001"),
        month_usd=Decimal("3.0000000001"),
        day_reserved_usd=Decimal("0.6"),
        month_reserved_usd=Decimal("2.2"),
        unknown_jobs=1,
        open_jobs=2,
    )


async def test_an_empty_ledger_has_spent_nothing(ledger: Ledger) -> None:
    assert await ledger.spend(START, sandbox=False) == Spend(
        day_usd=NOTHING, month_usd=NOTHING, day_reserved_usd=NOTHING, month_reserved_usd=NOTHING
    )


@pytest.mark.parametrize(
    ("created_at", "now", "in_day", "in_month"),
    [
        ("2026-11-21T00:00:00", "2026-11-21T23:59:59.999999", True, True),
        ("2026-11-20T23:59:59.999999", "2026-11-21T00:00:00", False, True),
        ("2026-11-01T00:00:00", "2026-11-30T23:59:59.999999", False, True),
        ("2026-10-31T23:59:59.999999", "2026-11-01T00:00:00", False, False),
        ("2026-12-31T23:59:59.999999", "2027-01-01T00:00:00", False, False),
        ("2028-02-29T12:00:00", "2028-02-29T13:00:00", True, True),
        ("2028-02-29T23:59:59", "2028-03-01T00:00:00", False, False),
    ],
)
async def test_day_and_month_are_those_of_the_calendar_in_utc(
    ledger: Ledger, created_at: str, now: str, in_day: bool, in_month: bool
) -> None:
    await opened(ledger, created_at=datetime.fromisoformat(created_at).replace(tzinfo=UTC))
    spend = await ledger.spend(datetime.fromisoformat(now).replace(tzinfo=UTC), sandbox=False)
    assert (spend.day_usd, spend.month_usd) == (PRICE_USD * in_day, PRICE_USD * in_month)


# Many at once


async def outcome(ledger: Ledger, job: Job, caps: Caps) -> str:
    try:
        return "joined" if (await ledger.open(job, caps)).joined else "opened"
    except CapExceeded:
        return "refused"


async def test_of_twenty_parallel_calls_a_cap_for_three_lets_exactly_three_through(
    ledger: Ledger, second_ledger: Ledger
) -> None:
    both = (ledger, second_ledger)
    outcomes = await asyncio.gather(*(outcome(both[i % 2], planned(), FOR_THREE) for i in range(20)))
    assert sorted(outcomes) == ["opened"] * 3 + ["refused"] * 17
    assert (await ledger.spend(START, sandbox=False)).day_usd == 3 * PRICE_USD


async def test_twenty_identical_parallel_calls_make_one_job(ledger: Ledger, second_ledger: Ledger) -> None:
    both = (ledger, second_ledger)
    for facts in ({"request_hash": "v1:same"}, {"request_hash": "v1:keyed", "idempotency_key": "mine"}):
        outcomes = await asyncio.gather(*(outcome(both[i % 2], planned(**facts), NO_CAPS) for i in range(20)))
        assert sorted(outcomes) == ["joined"] * 19 + ["opened"]


async def test_several_processes_keep_the_cap_and_share_one_job(ledger: Ledger, database: LedgerDatabase) -> None:
    async with contextlib.AsyncExitStack() as stack:
        starting = [stack.enter_async_context(other_process(database)) for _ in range(4)]
        others = [await each for each in starting]
        for other in others:
            other.tell("open", jobs=[{}] * 5, per_day_usd=str(3 * PRICE_USD))
        answers = [answer for other in others for answer in await other.heard()]
        assert len([answer for answer in answers if answer != "cap_exceeded"]) == 3
        for other in others:
            other.tell("open", jobs=[{"request_hash": "v1:same"}] * 5)
        answers = [answer for other in others for answer in await other.heard()]
        assert len({job_id for job_id, _ in answers}) == 1
        assert sorted(joined for _, joined in answers) == [False] + [True] * 19


# Writing


async def test_a_write_with_an_older_version_is_refused(ledger: Ledger) -> None:
    job = await opened(ledger)
    moved = await ledger.save(job, carried(job, JobState.SUBMITTING))
    assert moved.version == job.version + 1
    with pytest.raises(JobMoved):
        await ledger.save(job, carried(job, JobState.FAILED))
    assert await ledger.get(job.id) == moved


async def test_a_refused_write_leaves_no_audit_row_behind(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.STORING)
    await ledger.save(job, replace(job, progress=99))
    record = audit_row()
    with pytest.raises(JobMoved):
        await ledger.save(job, carried(job, JobState.DONE), [record])
    assert await ledger.records("generated_images", [record.id]) == []


async def test_an_unwritable_audit_row_leaves_the_job_as_it_was(ledger: Ledger, database: LedgerDatabase) -> None:
    job = await opened(ledger, JobState.STORING)
    database.query("ALTER TABLE generated_images RENAME TO elsewhere")
    with pytest.raises(LedgerError):
        await ledger.save(job, carried(job, JobState.DONE), [audit_row()])
    assert await ledger.get(job.id) == job
    database.query("ALTER TABLE elsewhere RENAME TO generated_images")
    assert (await ledger.save(job, carried(job, JobState.DONE), [audit_row()])).state is JobState.DONE


async def test_of_two_writers_who_saw_the_same_version_one_wins(ledger: Ledger, second_ledger: Ledger) -> None:
    job = await opened(ledger, JobState.RENDERING)
    writes = [each.save(job, replace(job, progress=50)) for each in (ledger, second_ledger) for _ in range(5)]
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Job"] + ["JobMoved"] * 9
    stored = await ledger.get(job.id)
    assert stored is not None
    assert stored.version == job.version + 1


async def test_a_write_to_a_job_that_does_not_exist_is_refused(ledger: Ledger) -> None:
    job = planned()
    with pytest.raises(JobMoved):
        await ledger.save(job, carried(job, JobState.SUBMITTING))


async def test_audit_rows_are_written_once_however_often_they_are_given(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.STORING)
    first, second = audit_row(prompt="first"), audit_row(prompt="second")
    job = await ledger.save(job, replace(job, assets=(sample_asset(first.id),)), [first, first])
    await ledger.save(job, carried(job, JobState.DONE), [replace(first, data={"prompt": "changed"}), second])
    rows = await ledger.records("generated_images", [first.id, second.id, "no-such-row"])
    assert {row["id"]: row["prompt"] for row in rows} == {first.id: "first", second.id: "second"}
    assert len(rows) == 2


async def test_an_audit_row_has_the_keys_that_ring_writes(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.STORING)
    record = audit_row(prompt="a lighthouse", size=70_000)
    await ledger.save(job, carried(job, JobState.DONE, updated_at=LATER), [record])
    assert await ledger.records("generated_images", [record.id]) == [
        {
            "actorId": "local",
            "prompt": "a lighthouse",
            "size": 70_000,
            "id": record.id,
            "created_at": "2026-11-21T12:01:00.000Z",
            "updated_at": "2026-11-21T12:01:00.000Z",
            "version": 1,
        }
    ]


async def test_only_audit_tables_can_be_read_as_such(ledger: Ledger) -> None:
    with pytest.raises(LedgerError):
        await ledger.records("media_jobs", ["x"])
    with pytest.raises(LedgerError):
        await ledger.find_record("media_jobs", "local", "id", "x")
    with pytest.raises(LedgerError):
        await ledger.find_record("generated_images", "local", "prompt", "x")


@pytest.mark.parametrize("name", ["id", "requestId", "url"])
async def test_an_audit_row_is_found_by_its_own_actor_alone(ledger: Ledger, name: str) -> None:
    job = await opened(ledger, JobState.STORING)
    older, newer = (audit_row(requestId="r'1", url="https://x/?a=:b%", n=n) for n in (1, 2))
    job = await ledger.save(job, replace(job, updated_at=LATER, progress=95), [older])
    await ledger.save(job, carried(job, JobState.DONE, updated_at=LATER + timedelta(seconds=1)), [newer])
    sought = {"id": newer.id, **newer.data}[name]
    found = await ledger.find_record("generated_images", "local", name, sought)
    assert found is not None
    assert (found["id"], found["n"]) == (newer.id, 2)
    assert await ledger.find_record("generated_images", "somebody else", name, sought) is None
    assert await ledger.find_record("generated_images", "local", name, "another") is None
    assert await ledger.find_record("generated_videos", "local", name, sought) is None


@pytest.mark.parametrize("state", ENDED)
async def test_a_job_that_has_ended_is_never_written_again(
    ledger: Ledger, second_ledger: Ledger, state: JobState
) -> None:
    job = await opened(ledger, JobState.STORING)
    ended = await ledger.save(job, carried(job, state))
    record = audit_row()
    with pytest.raises(LedgerError) as caught:
        await ledger.save(ended, replace(ended, warnings=("rewritten",)), [record])
    assert not caught.value.retryable
    with pytest.raises(JobMoved):
        await ledger.save(job, carried(job, JobState.DONE), [record])
    assert await second_ledger.claim_one(HOLDER, job.id) is None
    assert await ledger.get(job.id) == ended
    assert await ledger.records("generated_images", [record.id]) == []


# Taking over


async def test_a_job_of_a_living_driver_is_left_alone(ledger: Ledger, second_ledger: Ledger) -> None:
    job = await opened(ledger, JobState.RENDERING)
    await be_driven(ledger, job)
    assert await second_ledger.claim_one(HOLDER, job.id) is None
    assert await ledger.get(job.id) == job


async def test_jobs_of_a_process_that_has_ended_are_taken_over(ledger: Ledger, database: LedgerDatabase) -> None:
    async with database.started() as ending:
        left = {state: await opened(ending, state) for state in JobState}
        for state in DRIVEN:
            await be_driven(ending, left[state])
            assert await ledger.claim_one(HOLDER, left[state].id) is None
    for state, before in left.items():
        job = await ledger.claim_one(HOLDER, before.id)
        assert (job is not None) == (state in DRIVEN)
        if job is None:
            continue
        assert job == replace(before, owner=ledger.owner, version=before.version + 1, updated_at=job.updated_at)
        with pytest.raises(JobMoved):
            await ledger.save(before, carried(before, JobState.FAILED))


async def test_a_job_put_back_can_be_claimed_by_the_same(ledger: Ledger) -> None:
    job = await left_behind(ledger)
    claimed = await ledger.claim_one(HOLDER, job.id)
    assert claimed is not None
    assert (claimed.id, claimed.owner) == (job.id, ledger.owner)


async def test_one_job_is_claimed_by_its_id_also_when_it_is_parked(ledger: Ledger, second_ledger: Ledger) -> None:
    wanted = await left_behind(ledger, JobState.STORING, due_at=None)
    await left_behind(ledger)
    claimed = await second_ledger.claim_one(HOLDER, wanted.id)
    assert claimed is not None
    assert (claimed.id, claimed.owner) == (wanted.id, second_ledger.owner)
    assert await ledger.claim_one(HOLDER, wanted.id) is None
    assert await ledger.claim_one(HOLDER, "no-such-job") is None


@pytest.mark.parametrize("state", SETTLED)
async def test_a_job_for_which_nothing_is_left_to_do_cannot_be_claimed(
    ledger: Ledger, database: LedgerDatabase, state: JobState
) -> None:
    async with database.started() as ending:
        job = await opened(ending, state)
    assert await ledger.claim_one(HOLDER, job.id) is None
    assert await ledger.get(job.id) == job


async def test_of_two_who_claim_at_once_one_gets_the_job(ledger: Ledger, second_ledger: Ledger) -> None:
    both = (ledger, second_ledger)
    for _ in range(10):
        one = await left_behind(ledger)
        answers = await asyncio.gather(*(both[i % 2].claim_one(HOLDER, one.id) for i in range(10)))
        assert len({job.owner for job in answers if job is not None}) == 1


async def test_a_process_that_was_killed_leaves_nothing_half_done(ledger: Ledger, database: LedgerDatabase) -> None:
    async with other_process(database) as other:
        [[job_id, _]] = await other.ask("open", jobs=[{}])
        other.tell("open", jobs=[{}] * 50)
        await other.kill()
    whole = (await ledger.list_jobs(JobQuery(limit=100))).jobs
    assert job_id in {job.id for job in whole}
    assert (await ledger.spend(START, sandbox=False)).open_jobs == len(whole)


# Delivery


@pytest.mark.parametrize("state", list(JobState))
async def test_an_outcome_is_marked_as_delivered_once(ledger: Ledger, state: JobState) -> None:
    job = await opened(ledger, state)
    await ledger.mark_delivered(job.id, LATER)
    await ledger.mark_delivered(job.id, LATER + timedelta(hours=1))
    marked = await ledger.get(job.id)
    assert marked is not None
    assert marked.delivered_at == (None if state in DRIVEN else LATER)


async def test_a_delivery_of_an_unknown_job_is_ignored(ledger: Ledger) -> None:
    await ledger.mark_delivered("no-such-job", LATER)


async def test_a_late_answer_undoes_the_delivery_of_unknown(ledger: Ledger) -> None:
    seen = await opened(ledger, JobState.UNKNOWN)
    await ledger.mark_delivered(seen.id, LATER)
    with pytest.raises(JobMoved):
        await ledger.save(seen, carried(seen, JobState.RENDERING))
    told = await ledger.get(seen.id)
    assert told is not None
    answered = await ledger.save(told, carried(told, JobState.RENDERING))
    assert (answered.delivered_at, await ledger.get(seen.id)) == (None, answered)


# Lists


async def test_pages_follow_each_other_through_fifty_jobs_without_gap_or_repeat(ledger: Ledger) -> None:
    jobs = [await opened(ledger, created_at=START - timedelta(minutes=i // 4)) for i in range(50)]
    newest_first = [job.id for job in sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)]
    assert [job.id for job in (await ledger.list_jobs(JobQuery())).jobs] == newest_first[:20]
    for limit in (0, -1):
        assert [job.id for job in (await ledger.list_jobs(JobQuery(limit=limit))).jobs] == newest_first[:1]
    seen, cursor = list[str](), None
    while True:
        page = await ledger.list_jobs(JobQuery(limit=7, before=cursor))
        seen += [job.id for job in page.jobs]
        await opened(ledger, created_at=START + timedelta(hours=1))  # comes in while somebody pages
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == newest_first


async def test_an_id_is_found_by_its_beginning_among_ones_own(ledger: Ledger) -> None:
    ids = [f"0a1b2c3d-0000-4000-8000-00000000000{n}" for n in range(4)]
    for number, job_id in enumerate([*ids, "0a1b2c3e-0000-4000-8000-000000000000"]):
        await ledger.open(planned(id=job_id, actor_id="bob" if number == 3 else "alice"), Caps())
    assert await ledger.find_ids("0a1b2c3d", "alice") == ids[:2]
    assert await ledger.find_ids("0a1b2c3e", "alice") == ["0a1b2c3e-0000-4000-8000-000000000000"]
    assert await ledger.find_ids("0a1b2c3d", "bob") == ids[3:]
    assert await ledger.find_ids("0a1b2c3d-0000-4000-8000-000000000002", "bob") == []
    assert await ledger.find_ids("0a1b2c4", "alice") == []
    assert await ledger.find_ids("0a1b2c3d") == ids[:2]
    assert await ledger.find_ids(ids[3]) == ids[3:]


async def test_another_actors_job_is_no_cursor(ledger: Ledger) -> None:
    await opened(ledger, actor_id="alice", created_at=START)
    his = await opened(ledger, actor_id="bob", created_at=START + timedelta(hours=1))
    assert (await ledger.list_jobs(JobQuery(actor_id="alice", before=his.id))).jobs == []
    assert len((await ledger.list_jobs(JobQuery(before=his.id))).jobs) == 1


async def test_the_last_page_has_no_cursor(ledger: Ledger) -> None:
    for _ in range(4):
        await opened(ledger)
    assert (await ledger.list_jobs(JobQuery(limit=4))).cursor is None
    page = await ledger.list_jobs(JobQuery(limit=3))
    assert page.cursor == page.jobs[-1].id
    rest = await ledger.list_jobs(JobQuery(limit=3, before=page.cursor))
    assert (len(rest.jobs), rest.cursor) == (1, None)
    assert (await ledger.list_jobs(JobQuery(before="no-such-job"))).jobs == []


FITTING: list[tuple[JobQuery, Callable[[Job], bool]]] = [
    (JobQuery(), lambda _: True),
    (JobQuery(actor_id="anna"), lambda job: job.actor_id == "anna"),
    (JobQuery(kind="video"), lambda job: job.kind == "video"),
    (JobQuery(states=[JobState.UNKNOWN, JobState.DONE]), lambda job: job.state in ("unknown", "done")),
    (JobQuery(states=[]), lambda _: False),
    (JobQuery(since=START), lambda job: job.created_at >= START),
    (
        JobQuery(actor_id="bert", kind="image", states=DRIVEN, since=START),
        lambda job: (job.actor_id, job.kind, job.created_at) == ("bert", "image", START) and job.state in DRIVEN,
    ),
]


async def test_a_list_holds_what_fits_every_condition(ledger: Ledger) -> None:
    jobs = [
        await opened(ledger, state, actor_id=actor_id, kind=kind, created_at=created_at)
        for state in (JobState.PLANNED, JobState.UNKNOWN, JobState.DONE)
        for actor_id in ("anna", "bert")
        for kind in ("image", "video")
        for created_at in (START - timedelta(microseconds=1), START)
    ]
    for query, fits in FITTING:
        page = await ledger.list_jobs(replace(query, limit=100))
        assert {job.id: job for job in page.jobs} == {job.id: job for job in jobs if fits(job)}, query


# What the tables themselves refuse

S = JobState
IMPOSSIBLE: dict[str, list[tuple[JobState, dict[str, Any]]]] = {
    "finished_iff_terminal": [
        *((state, {"finished_at": START}) for state in OPEN),
        *((state, {"finished_at": None}) for state in ENDED),
    ],
    "settled_iff_terminal": [
        *((state, {"settled_usd": PRICE_USD}) for state in OPEN),
        *((state, {"settled_usd": None}) for state in ENDED),
    ],
    "sent_only_with_a_token": [
        (state, {missing: None})
        for state in (S.SUBMITTING, S.RENDERING, S.STORING, S.UNKNOWN, S.DONE, S.EXPIRED)
        for missing in ("attempt_token", "submit_deadline_at")
    ],
    "rendering_has_a_handle": [(S.RENDERING, {"provider_request_id": None})],
    "storing_has_outputs": [(state, {"outputs": ()}) for state in (S.STORING, S.DONE)],
    "done_has_assets": [(S.DONE, {"assets": ()})],
    "trouble_has_a_reason": [(s, {"failure": None}) for s in (S.UNKNOWN, S.FAILED, S.REFUSED, S.EXPIRED)],
    "delivered_only_when_settled": [(state, {"delivered_at": START}) for state in BEING_DRIVEN],
    "kind": [(S.PLANNED, {"kind": "audio"})],
    "version": [(S.PLANNED, {"version": 0})],
    "progress": [(S.RENDERING, {"progress": -1}), (S.RENDERING, {"progress": 101})],
    "reserved_usd_ticks": [(S.PLANNED, {"reserved_usd": Decimal(-1)})],
    "billed_usd_ticks": [(S.DONE, {"billed_usd": Decimal(-1)})],
    "settled_usd_ticks": [(S.DONE, {"settled_usd": Decimal(-1)})],
}


async def test_the_tables_refuse_what_cannot_be(ledger: Ledger, database: LedgerDatabase) -> None:
    for constraint, state, facts in [(name, *each) for name, cases in IMPOSSIBLE.items() for each in cases]:
        possible = sample_job(state)
        database.insert("media_jobs", database.columns(possible))
        with pytest.raises(DATABASE_ERRORS, match=constraint):
            database.insert("media_jobs", database.columns(replace(possible, id="impossible", **facts)))
    assert await ledger.get("impossible") is None


async def test_the_tables_refuse_columns_that_make_no_job(ledger: Ledger, database: LedgerDatabase) -> None:
    possible = database.columns(sample_job(JobState.PLANNED, id="impossible"))
    wrong = {"state": "lost", "plan": "no JSON", "outputs": "{}", "assets": '"text"', "warnings": "null"}
    needed = [
        "kind",
        "state",
        "version",
        "actor_id",
        "request_hash",
        "plan",
        "sandbox",
        "outputs",
        "assets",
        "warnings",
    ]
    needed += ["progress", "reserved_usd_ticks", "created_at", "updated_at"]
    for column, value in [*wrong.items(), *((name, None) for name in needed)]:
        with pytest.raises(DATABASE_ERRORS):
            database.insert("media_jobs", possible | {column: value})
    assert await ledger.get("impossible") is None
    database.insert("media_jobs", possible)


async def test_the_tables_keep_one_open_job_per_key(ledger: Ledger, database: LedgerDatabase) -> None:
    key = {"idempotency_key": "mine"}
    database.insert("media_jobs", database.columns(sample_job(JobState.DONE, **key)))
    with pytest.raises(DATABASE_ERRORS, match=r"(?i)unique"):
        database.insert("media_jobs", database.columns(sample_job(JobState.PLANNED, **key)))
    free = replace(sample_job(JobState.FAILED, **key), settled_usd=NOTHING)
    database.insert("media_jobs", database.columns(free))
    database.insert("media_jobs", database.columns(sample_job(JobState.PLANNED, sandbox=True, **key)))
    assert len((await ledger.list_jobs(JobQuery())).jobs) == 3


async def test_a_clip_not_to_be_kept_is_done_without_assets(ledger: Ledger, database: LedgerDatabase) -> None:
    done = replace(sample_job(JobState.DONE), assets=())
    row = database.columns(done)
    row["plan"] = row["plan"][:-1] + ', "persist": false}'
    database.insert("media_jobs", row)
    assert await ledger.get(done.id) == done


async def test_a_refused_save_is_a_ledger_error_and_changes_nothing(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.STORING)
    with pytest.raises(LedgerError):
        await ledger.save(job, replace(job, outputs=()), [audit_row()])
    assert await ledger.get(job.id) == job


async def test_a_key_finds_the_job_that_it_stands_for_and_nobody_elses(ledger: Ledger) -> None:
    job = (await ledger.open(planned(idempotency_key="mine"), NO_CAPS)).job
    assert await ledger.find(job.actor_id, "mine", sandbox=False) == job
    assert await ledger.find("somebody else", "mine", sandbox=False) is None
    assert await ledger.find(job.actor_id, "mine", sandbox=True) is None
    assert await ledger.find(job.actor_id, "another", sandbox=False) is None


async def test_a_key_that_a_free_failure_has_given_up_finds_nothing(ledger: Ledger) -> None:
    job = (await ledger.open(planned(idempotency_key="mine"), NO_CAPS)).job
    sent = await ledger.save(job, carried(job, JobState.SUBMITTING))
    await ledger.save(sent, carried(sent, JobState.FAILED, settled_usd=Decimal(0)))
    assert await ledger.find(job.actor_id, "mine", sandbox=False) is None


async def test_a_done_job_is_amended_in_its_plan_alone(ledger: Ledger) -> None:
    job = (await ledger.open(planned(), NO_CAPS)).job
    for state in (JobState.SUBMITTING, JobState.STORING, JobState.DONE):
        job = await ledger.save(job, carried(job, state))
    plan = job.plan.model_copy(update={"warnings": ("a picture was added",)})
    record = audit_row()
    wanted = replace(
        job, plan=plan, warnings=("w",), billed_usd=Decimal(9), settled_usd=Decimal(9), state=JobState.FAILED
    )
    amended = await ledger.amend(wanted, [record])
    stored = await ledger.get(job.id)
    assert stored == replace(job, plan=plan, warnings=("w",), version=amended.version)
    assert [row["id"] for row in await ledger.records(record.table, [record.id])] == [record.id]
    with pytest.raises(JobMoved):
        await ledger.amend(wanted, [])


async def test_a_job_that_is_not_done_is_not_amended(ledger: Ledger) -> None:
    job = (await ledger.open(planned(), NO_CAPS)).job
    with pytest.raises(JobMoved):
        await ledger.amend(job, [])
