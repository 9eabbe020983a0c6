"""What every ledger keeps as sums is what its rows say, whatever has happened to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ring_mcp.domain import Caps, Job, JobState, Output, PriceLine, Spend
from ring_mcp.errors import CapExceeded, JobMoved
from ring_mcp.jobs.outcomes import resolve_by_hand
from ring_mcp.ledger.base import BilledDay, Ledger, WrongSum
from tests.fake_clock import START
from tests.jobs.engine import clip_plan
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import (
    HOLDER,
    NO_CAPS,
    OUTPUT,
    PRICE_USD,
    audit_row,
    carried,
    left_behind,
    opened,
    planned,
    sample_plan,
)
from tests.one_now import one_now

NOTHING = Decimal(0)
DAYS = [START, START - timedelta(days=1), datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 10, 31, 23, 59, tzinfo=UTC)]
amounts = st.decimals(min_value=0, max_value=1000, places=10)
plannings = st.fixed_dictionaries(
    {
        "actor_id": st.sampled_from(["anna", "bert"]),
        "sandbox": st.booleans(),
        "created_at": st.sampled_from(DAYS),
        "reserved_usd": amounts,
        "idempotency_key": st.none() | st.uuids().map(str),
    }
)


class History:
    """Jobs of one ledger, and whatever can happen to any of them."""

    def __init__(self, ledger: Ledger, database: LedgerDatabase, data: st.DataObject) -> None:
        self._ledger, self._database, self._data = ledger, database, data
        self._jobs: list[str] = []
        self._sent: dict[str, Job] = {}

    async def go_on(self) -> None:
        happenings = [
            self.open,
            *([self.carry, self.answer_late, self.park, self.lose, self.deliver] * bool(self._jobs)),
        ]
        with contextlib.suppress(JobMoved):
            await self._data.draw(st.sampled_from(happenings))()

    async def open(self) -> None:
        facts = self._data.draw(plannings)
        still = planned(**facts | {"idempotency_key": None}) if self._data.draw(st.booleans()) else None
        job = planned(**facts, kind="video", plan=clip_plan()) if still else planned(**facts)
        opened = await self._ledger.open(job, self._data.draw(st.sampled_from([NO_CAPS, CAPPED])), still)
        self._jobs += [each.id for each in (opened.job, opened.still) if each is not None]

    async def carry(self) -> None:
        """One arrow further, or a refused write."""
        job = await self._one()
        states = [state for state in JobState if _may(job, state)]
        if job.state is JobState.UNKNOWN and self._data.draw(st.booleans()):
            await self._ledger.save(job, resolve_by_hand(job, paid=self._data.draw(st.booleans()), now=START))
        elif states:
            state = self._data.draw(st.sampled_from(states))
            after = carried(job, state)
            if after.is_terminal:
                after = replace(
                    after, settled_usd=self._data.draw(amounts), billed_usd=self._data.draw(st.none() | amounts)
                )
            saved = await self._ledger.save(job, after, [audit_row()] if after.is_terminal else [])
            if state is JobState.SUBMITTING:
                self._sent[job.id] = saved
            if self._data.draw(st.integers(0, 3)) == 0:
                await self._ledger.save(job, after)

    async def answer_late(self) -> None:
        """What was called unknown, settled by a person, or ended as never sent, is under way again."""
        job = await self._one()
        state = self._data.draw(st.sampled_from([JobState.RENDERING, JobState.REFUSED]))
        if job.is_resolved_by_hand and job.id in self._sent:
            await self._ledger.save(job, replace(carried(self._sent[job.id], state), delivered_at=None))
        elif job.has_ended_unsent and (state is JobState.RENDERING or job.reserved_usd):
            await self._ledger.save(job, carried(job.recall_attempt("late", START), state))

    async def park(self) -> None:
        job = await self._one()
        if not job.is_settled:
            await self._ledger.save(job, replace(job, owner=None, due_at=START))
            await self._ledger.claim_one(HOLDER, job.id)

    async def lose(self) -> None:
        """The database loses the row, and its driver, or nobody, writes it again."""
        job = await self._one()
        self._database.query("DELETE FROM media_jobs WHERE id = :id", {"id": job.id})
        if self._data.draw(st.booleans()):
            await self._ledger.restore(job)
        else:
            self._jobs.remove(job.id)

    async def deliver(self) -> None:
        await self._ledger.mark_delivered((await self._one()).id, START)

    async def _one(self) -> Job:
        job = await self._ledger.get(self._data.draw(st.sampled_from(self._jobs)))
        assert job is not None
        return job

    async def rows(self) -> list[Job]:
        found = [await self._ledger.get(job_id) for job_id in self._jobs]
        return [job for job in found if job is not None]


CAPPED = Caps(per_day_usd=Decimal(10**9), per_month_usd=Decimal(10**9))


def _may(job: Job, state: JobState) -> bool:
    with contextlib.suppress(JobMoved):
        job.to(state)
        return True
    return False


def added_up(jobs: Sequence[Job], now: datetime, *, sandbox: bool) -> Spend:
    """What the caps have to count, from the jobs themselves."""
    jobs = [job for job in jobs if job.sandbox == sandbox]
    month = [job for job in jobs if job.created_at >= now.replace(day=1, hour=0, minute=0)]
    day = [job for job in month if job.created_at >= now.replace(hour=0, minute=0)]

    def total(some: Sequence[Job]) -> Decimal:
        return sum((job.reserved_usd if job.settled_usd is None else job.settled_usd for job in some), NOTHING)

    return Spend(
        day_usd=total(day),
        month_usd=total(month),
        day_reserved_usd=sum((job.reserved_usd for job in day if not job.is_terminal), NOTHING),
        month_reserved_usd=sum((job.reserved_usd for job in month if not job.is_terminal), NOTHING),
        unknown_jobs=sum(job.state is JobState.UNKNOWN for job in jobs),
        open_jobs=sum(not job.is_settled for job in jobs),
    )


def by_day(jobs: Sequence[Job]) -> dict[tuple[date, str], tuple[int, Decimal, Decimal]]:
    """What one actor's jobs cost, from the jobs themselves."""
    sums: dict[tuple[date, str], tuple[int, Decimal, Decimal]] = {}
    for job in jobs:
        key = (job.created_at.date(), job.plan.model)
        count, settled, reserved = sums.get(key, (0, NOTHING, NOTHING))
        open_usd = job.reserved_usd if job.settled_usd is None else NOTHING
        sums[key] = (count + 1, settled + (job.settled_usd or NOTHING), reserved + open_usd)
    return sums


@pytest.mark.parametrize("database", one_now(["sqlite", "postgres"]), indirect=True)
@given(data=st.data())
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_sums_are_those_of_the_rows_after_any_history(
    ledger: Ledger, database: LedgerDatabase, data: st.DataObject
) -> None:
    database.query("DELETE FROM media_jobs")
    history = History(ledger, database, data)
    for _ in range(data.draw(st.integers(1, 25))):
        await history.go_on()
    assert await ledger.find_wrong_sums() == []
    rows = await history.rows()
    for actor, sandbox in {(job.actor_id, job.sandbox) for job in rows}:
        days = await ledger.list_spent_days(actor, datetime(2020, 1, 1, tzinfo=UTC), sandbox=sandbox)
        own = [job for job in rows if (job.actor_id, job.sandbox) == (actor, sandbox)]
        assert {(day.day, day.model): (day.jobs, day.settled_usd, day.reserved_usd) for day in days} == by_day(own)
    for sandbox in (False, True):
        for now in (START, datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC)):
            assert await ledger.spend(now, sandbox=sandbox) == added_up(rows, now, sandbox=sandbox)


async def test_sums_hold_when_many_write_at_once(ledger: Ledger, second_ledger: Ledger) -> None:
    async def live(which: Ledger, number: int) -> None:
        job = await opened(which, JobState.STORING, created_at=DAYS[number % 2], actor_id=f"actor-{number % 3}")
        await which.save(job, carried(job, JobState.DONE, settled_usd=Decimal(number)))

    await asyncio.gather(*(live((ledger, second_ledger)[i % 2], i) for i in range(30)))
    assert await ledger.find_wrong_sums() == []
    assert (await ledger.spend(START, sandbox=False)).month_usd == sum(range(30))


async def test_what_is_spent_adds_up_over_actors_days_and_states(ledger: Ledger) -> None:
    jobs = [
        await opened(ledger, state, actor_id=actor, created_at=at, sandbox=sandbox)
        for actor in ("anna", "bert")
        for at in (DAYS[0], DAYS[1], DAYS[3])
        for state in (JobState.RENDERING, JobState.UNKNOWN, JobState.DONE)
        for sandbox in (False, True)
        if not sandbox or (actor, at) == ("anna", START)
    ]
    jobs += [await opened(ledger, actor_id="anna", reserved_usd=Decimal("0.01")) for _ in range(2)]
    for sandbox in (False, True):
        assert await ledger.spend(START, sandbox=sandbox) == added_up(jobs, START, sandbox=sandbox)
        for actor in ("anna", "bert"):
            own = added_up([job for job in jobs if job.actor_id == actor], START, sandbox=sandbox)
            assert await ledger.spend(START, sandbox=sandbox, actor_id=actor) == own


async def test_a_refused_call_counts_nothing(ledger: Ledger) -> None:
    with pytest.raises(CapExceeded):
        await ledger.open(planned(), Caps(per_day_usd=NOTHING))
    assert await ledger.find_wrong_sums() == []
    assert (await ledger.spend(START, sandbox=False)) == Spend()


async def test_a_wrong_sum_is_found_named_and_put_right(ledger: Ledger, database: LedgerDatabase) -> None:
    await opened(ledger, JobState.UNKNOWN, actor_id="anna", sandbox=True)
    await opened(ledger, JobState.DONE, actor_id="bert")
    database.query("UPDATE media_job_costs SET settled_usd_ticks = settled_usd_ticks + 5000000000")
    database.query("DELETE FROM media_job_counts WHERE actor_id = 'anna'")
    database.query("DELETE FROM media_job_costs WHERE actor_id = 'anna'")
    assert await ledger.find_wrong_sums() == [
        WrongSum(what="US dollars reserved of 2026-11-21", of="anna, sandbox", too_much=-PRICE_USD),
        WrongSum(what="US dollars settled of 2026-11-21", of="bert", too_much=Decimal("0.5")),
        WrongSum(what="jobs of unknown outcome", of="anna, sandbox", too_much=Decimal(-1)),
    ]
    database.query("UPDATE media_job_days SET jobs = jobs + 2 WHERE actor_id = 'bert'")
    assert [wrong.what for wrong in await ledger.find_wrong_sums()][-1].startswith("US dollars of +2 jobs of ")
    await ledger.recount()
    assert await ledger.find_wrong_sums() == []
    assert (await ledger.spend(START, sandbox=True)).day_reserved_usd == PRICE_USD
    assert (await ledger.spend(START, sandbox=False)).day_usd == PRICE_USD


@pytest.mark.parametrize(
    ("table", "column", "told"),
    [
        ("media_job_costs", "settled_usd_ticks", "US dollars settled of "),
        ("media_job_costs", "reserved_usd_ticks", "US dollars reserved of "),
        ("media_job_counts", "open_jobs", "open jobs"),
        ("media_job_counts", "unknown_jobs", "jobs of unknown outcome"),
        ("media_job_days", "settled_usd_ticks", "US dollars of +0 jobs of "),
        ("media_job_days", "reserved_usd_ticks", "US dollars of +0 jobs of "),
        ("media_job_days", "jobs", "US dollars of -3 jobs of "),
        ("media_job_states", "jobs", "rendering jobs"),
    ],
)
async def test_a_sum_that_says_too_little_is_found_as_well(
    ledger: Ledger, database: LedgerDatabase, table: str, column: str, told: str
) -> None:
    for state in (JobState.RENDERING, JobState.UNKNOWN, JobState.DONE):
        await opened(ledger, state)
    assert await ledger.find_wrong_sums() == []
    database.query(f"UPDATE {table} SET {column} = 0")
    wrong = await ledger.find_wrong_sums()
    assert any(each.what.startswith(told) for each in wrong)
    assert all(each.too_much < 0 or each.what.startswith("US dollars of -3 jobs") for each in wrong)
    await ledger.recount()
    assert await ledger.find_wrong_sums() == []


async def test_who_writes_while_sums_are_made_anew_is_counted(ledger: Ledger, second_ledger: Ledger) -> None:
    await asyncio.gather(*(opened(second_ledger) for _ in range(10)), *(ledger.recount() for _ in range(3)))
    assert await ledger.find_wrong_sums() == []


def lines(*days: str) -> tuple[PriceLine, ...]:
    return tuple(PriceLine(what="image", unit_usd=PRICE_USD, count=Decimal(1), as_of=day) for day in days)


async def done(
    ledger: Ledger, billed_usd: str | None = "0.07", made: int = 1, finished_at: datetime = START, **changes: Any
) -> Job:
    job = await opened(ledger, JobState.SUBMITTING, **changes)
    job = await ledger.save(job, carried(job, JobState.STORING, outputs=(Output(url=OUTPUT.url),) * made))
    billed = None if billed_usd is None else Decimal(billed_usd)
    ended = carried(job, JobState.DONE, billed_usd=billed, settled_usd=billed or PRICE_USD, finished_at=finished_at)
    return await ledger.save(job, ended)


async def test_bills_are_summed_by_day_model_and_price_list(ledger: Ledger) -> None:
    await done(ledger)
    await done(ledger, "0.05")
    await done(ledger, plan=sample_plan().model_copy(update={"prices": lines("2026-10-01")}))
    await done(ledger, kind="video", plan=clip_plan())
    await done(ledger, sandbox=True)
    model, clips = sample_plan().model, clip_plan().model
    assert sorted(await ledger.bills(START, sandbox=False), key=lambda bill: (bill.model, bill.prices_of)) == [
        bill(model, "2026-10-01", 1, "0.07"),
        bill(model, "2026-11-01", 2, "0.12"),
        bill(clips, "2026-11-01", 1, "0.07"),
    ]
    assert await ledger.bills(START + timedelta(days=1), sandbox=False) == []


async def test_bills_and_days_are_told_newest_first_from_a_day_on(ledger: Ledger) -> None:
    for days in (2, 0, 1):
        at = START - timedelta(days=days)
        await done(ledger, created_at=at, finished_at=at)
    of = [date(2026, 11, day) for day in (21, 20, 19)]
    for since, told in ((2, of), (1, of[:2]), (0, of[:1])):
        at = START - timedelta(days=since)
        assert [bill.day for bill in await ledger.bills(at, sandbox=False)] == told
        assert [day.day for day in await ledger.list_spent_days("local", at, sandbox=False)] == told


async def test_days_are_those_of_one_actor_in_one_world(ledger: Ledger, database: LedgerDatabase) -> None:
    await done(ledger, kind="video", plan=clip_plan())
    await done(ledger)
    await done(ledger, sandbox=True, plan=sample_plan().model_copy(update={"model": "played"}))
    await done(ledger, actor_id="anna", plan=sample_plan().model_copy(update={"model": "anna's"}))
    gone = await opened(ledger, plan=sample_plan().model_copy(update={"model": "gone"}))
    database.query("DELETE FROM media_jobs WHERE id = :id", {"id": gone.id})
    models = sorted([sample_plan().model, clip_plan().model])
    for actor, sandbox, told in (("local", False, models), ("local", True, ["played"]), ("anna", False, ["anna's"])):
        days = await ledger.list_spent_days(actor, START, sandbox=sandbox)
        assert [(day.model, day.jobs) for day in days] == [(model, 1) for model in told]


async def test_wrong_sums_are_told_in_one_order_each_with_its_whose(ledger: Ledger, database: LedgerDatabase) -> None:
    for actor in ("bert", "anna"):
        for sandbox in (True, False):
            for days in (0, 1):
                await opened(ledger, actor_id=actor, sandbox=sandbox, created_at=START - timedelta(days=days))
            await opened(ledger, JobState.UNKNOWN, actor_id=actor, sandbox=sandbox)
    for table in ("media_job_costs", "media_job_counts", "media_job_days", "media_job_states"):
        database.query(f"DELETE FROM {table}")
    whose = ["anna", "anna, sandbox", "bert", "bert, sandbox"]
    told = ["2026-11-20", "2026-11-21"]
    wrong = await ledger.find_wrong_sums()
    money = [(f"US dollars reserved of {day}", of) for day in told for of in whose]
    states = [(f"{state} jobs", of) for state in ("planned", "unknown") for of in ("everybody", "everybody, sandbox")]
    counts = [(what, of) for of in whose for what in ("open jobs", "jobs of unknown outcome")]
    by_model = [
        (f"US dollars of {number} jobs of {sample_plan().model} of {day}", of)
        for day, number in zip(told, (-1, -2), strict=True)
        for of in whose
    ]
    assert [(each.what, each.of) for each in wrong] == [*money, *states, *counts, *by_model]
    assert {each.too_much for each in wrong[:4]} == {-PRICE_USD}
    await ledger.recount()
    assert await ledger.find_wrong_sums() == []


def bill(model: str, prices_of: str, jobs: int, billed_usd: str) -> BilledDay:
    return BilledDay(
        day=date(2026, 11, 21),
        model=model,
        prices_of=prices_of,
        jobs=jobs,
        billed_usd=Decimal(billed_usd),
        listed_usd=jobs * PRICE_USD,
    )


@pytest.mark.parametrize(
    "facts",
    [
        {"billed_usd": None},
        {"reserved_usd": NOTHING},
        {"made": 2},
        {"plan": sample_plan().model_copy(update={"n": 2})},
        {"plan": sample_plan().model_copy(update={"prices": ()})},
        {"plan": sample_plan().model_copy(update={"prices": lines("2026-11-01", "2026-10-01")})},
        {"kind": "video", "plan": clip_plan(generation_kind="extend")},
        {"kind": "video", "plan": clip_plan(generation_kind="edit")},
    ],
    ids=["no bill", "free", "more than asked for", "fewer", "no price", "two lists", "an extension", "an edit"],
)
async def test_bills_that_say_nothing_of_the_list_are_left_out(ledger: Ledger, facts: dict[str, Any]) -> None:
    await done(ledger, **facts)
    assert await ledger.bills(START, sandbox=False) == []


async def test_states_of_many_jobs_are_told_at_once(ledger: Ledger) -> None:
    jobs = {(await opened(ledger, state)).id: state for state in JobState}
    jobs[(await left_behind(ledger)).id] = JobState.PLANNED
    assert await ledger.states([*jobs, "no-such-job"]) == jobs
    assert await ledger.states([]) == {}
