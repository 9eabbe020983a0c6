"""Questions about spending on both databases: a yes opens one job, of one actor, at its price, in time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.domain import Caps, Job, JobState
from ring_mcp.domain.consent import APPROVAL_LIFE, QUESTION_LIFE, ConfirmationNeeded, Question, Terms
from ring_mcp.errors import CapExceeded
from ring_mcp.ledger.base import JobQuery, Ledger
from ring_mcp.ledger.questions import MAX_OPEN_ITEMS
from tests.fake_clock import START
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import NO_CAPS, PRICE_USD, carried, planned

ZERO = Decimal(0)
YES = Terms(above_usd=ZERO, question_id="q", accepted=True)
APPROVED = Terms(above_usd=ZERO, question_id="q")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> LedgerDatabase:
    found: LedgerDatabase = request.getfixturevalue(request.param)
    return found


def item(subject: str = "v1:one", **facts: Any) -> Question:
    asked_at: datetime = facts.pop("asked_at", START)
    given: dict[str, Any] = {"id": "q", "actor_id": "local", "sandbox": False, "usd": PRICE_USD, "what": "a picture"}
    return Question(
        **(given | {"subject": subject, "asked_at": asked_at, "expires_at": asked_at + QUESTION_LIFE} | facts)
    )


def wanted(**facts: Any) -> Job:
    return planned(**({"request_hash": "v1:one"} | facts))


async def jobs(ledger: Ledger) -> int:
    return len((await ledger.list_jobs(JobQuery())).jobs)


async def test_a_yes_opens_one_job_and_names_it(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item()])
        opened = await ledger.open(wanted(), NO_CAPS, None, YES)
        [used] = await ledger.get_question("q")
    assert not opened.joined
    assert (used.job_id, used.used_at, used.approved_at) == (opened.job.id, START, START)


async def test_without_a_yes_nothing_is_opened(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item()])
        for terms in (APPROVED, Terms(above_usd=ZERO), Terms(above_usd=ZERO, question_id="none", accepted=True)):
            with pytest.raises(ConfirmationNeeded) as refusal:
                await ledger.open(wanted(), NO_CAPS, None, terms)
            assert "the question is asked again, at the present price" in refusal.value.next_action
        assert await jobs(ledger) == 0


async def test_what_is_below_the_bound_needs_no_yes(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        assert not (await ledger.open(wanted(), NO_CAPS, None, Terms(above_usd=PRICE_USD))).joined
        assert not (await ledger.open(planned(), NO_CAPS, None, None)).joined


@pytest.mark.parametrize(
    "other",
    [
        {"request_hash": "v1:two"},
        {"actor_id": "somebody else"},
        {"sandbox": True},
        {"reserved_usd": PRICE_USD + Decimal("0.01")},
        {"created_at": START + QUESTION_LIFE},
    ],
)
async def test_a_yes_is_for_one_call_of_one_actor_at_its_price(database: LedgerDatabase, other: dict[str, Any]) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item()])
        with pytest.raises(ConfirmationNeeded):
            await ledger.open(wanted(**other), NO_CAPS, None, YES)
        assert await jobs(ledger) == 0
        assert not (await ledger.open(wanted(), NO_CAPS, None, YES)).joined


async def test_a_yes_given_again_is_its_job_whatever_became_of_it(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item()])
        first = (await ledger.open(wanted(), NO_CAPS, None, YES)).job
        for state in (JobState.SUBMITTING, JobState.STORING, JobState.DONE):
            first = await ledger.save(first, carried(first, state))
        await ledger.mark_delivered(first.id, START)
        again = await ledger.open(wanted(), NO_CAPS, None, YES)
        assert (again.joined, again.job.id) == (True, first.id)
        with pytest.raises(ConfirmationNeeded):
            await ledger.open(wanted(), NO_CAPS, None, Terms(above_usd=ZERO))


async def test_one_yes_in_twenty_calls_at_once_opens_one_job(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item()])
        opened = await asyncio.gather(*(ledger.open(wanted(), NO_CAPS, None, YES) for _ in range(20)))
        assert len({each.job.id for each in opened}) == 1
        assert sum(not each.joined for each in opened) == 1
        assert await jobs(ledger) == 1


async def test_what_a_cap_refuses_uses_no_yes_up(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item()])
        with pytest.raises(CapExceeded):
            await ledger.open(wanted(), Caps(per_day_usd=ZERO), None, YES)
        [row] = await ledger.get_question("q")
        assert (row.used_at, row.approved_at) == (None, None)


async def test_an_approval_counts_once_and_for_an_hour(database: LedgerDatabase) -> None:
    late = START + timedelta(hours=20)
    async with database.started() as ledger:
        await ledger.put_question([item()])
        assert await ledger.approve_question("q", late) == 1
        assert await ledger.approve_question("q", late) == 0
        with pytest.raises(ConfirmationNeeded):
            await ledger.open(wanted(created_at=late + APPROVAL_LIFE), NO_CAPS, None, APPROVED)
        in_time = late + APPROVAL_LIFE - timedelta(seconds=1)
        assert not (await ledger.open(wanted(created_at=in_time), NO_CAPS, None, APPROVED)).joined
        assert await ledger.find_questions("local", "v1:one", in_time, sandbox=False) == []


async def test_what_was_declined_used_or_is_too_old_cannot_be_approved(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item()])
        assert await ledger.approve_question("q", START + QUESTION_LIFE) == 0
        await ledger.drop_question("q")
        assert await ledger.approve_question("q", START) == 0
        await ledger.put_question([item()])
        await ledger.open(wanted(), NO_CAPS, None, YES)
        await ledger.drop_question("q")
        assert len(await ledger.get_question("q")) == 1
        assert await ledger.approve_question("q", START) == 0


async def test_each_item_of_a_question_is_used_by_its_own_call(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item("v1:one"), item("v1:two")])
        for subject in ("v1:one", "v1:two"):
            assert not (await ledger.open(wanted(request_hash=subject), NO_CAPS, None, YES)).joined
        assert {row.subject for row in await ledger.get_question("q") if row.job_id} == {"v1:one", "v1:two"}


async def test_questions_are_found_with_all_their_items(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item("v1:one"), item("v1:two")])
        await ledger.put_question([item("v1:one", id="newer", asked_at=START + timedelta(minutes=1))])
        found = await ledger.find_questions("local", "v1:one", START, sandbox=False)
        assert [(row.id, row.subject) for row in found if row.id == "newer"] == [("newer", "v1:one")]
        assert {(row.id, row.subject) for row in found} == {("newer", "v1:one"), ("q", "v1:one"), ("q", "v1:two")}
        assert found[0].id == "newer"
        assert await ledger.find_questions("another", "v1:one", START, sandbox=False) == []
        assert await ledger.find_questions("local", "v1:one", START, sandbox=True) == []
        assert {row.id for row in await ledger.list_questions(START, 10)} == {"newer", "q"}


async def test_an_approval_is_found_however_often_it_was_asked_since(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item("v1:one"), item("v1:two")])
        await ledger.approve_question("q", START)
        for n in range(20):
            await ledger.put_question([item("v1:one", id=f"newer-{n}", asked_at=START + timedelta(seconds=n))])
        found = await ledger.find_questions("local", "v1:one", START, sandbox=False)
        assert [(row.id, row.subject) for row in found[:3]] == [
            ("q", "v1:one"),
            ("q", "v1:two"),
            ("newer-19", "v1:one"),
        ]
        await ledger.open(wanted(), NO_CAPS, None, APPROVED)
        left = await ledger.find_questions("local", "v1:one", START, sandbox=False)
        assert "q" not in {row.id for row in left}


async def test_old_and_too_many_questions_go(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item(id="old")])
        later = START + QUESTION_LIFE
        await ledger.put_question([item(id="next", asked_at=later)])
        assert await ledger.get_question("old") == []
        await ledger.put_question([item(id="approved", asked_at=later)])
        await ledger.approve_question("approved", later)
        many = [item(f"v1:{n}", id="many", asked_at=later + timedelta(minutes=1)) for n in range(MAX_OPEN_ITEMS)]
        await ledger.put_question(many)
        assert await ledger.get_question("next") == []
        assert len(await ledger.get_question("many")) == MAX_OPEN_ITEMS
        assert len(await ledger.get_question("approved")) == 1


async def test_too_many_questions_of_one_actor_cost_no_other_theirs(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        others = [item(id="anna's", actor_id="anna"), item(id="played", sandbox=True)]
        approved = item(id="approved")
        for each in (*others, approved):
            await ledger.put_question([each])
        await ledger.approve_question("approved", START)
        sizes = {"first": 100, "second": 200, "third": 100, "fourth": 200}
        for n, (name, size) in enumerate(sizes.items()):
            at = START + timedelta(minutes=n)
            await ledger.put_question([item(f"v1:{k}", id=name, asked_at=at) for k in range(size)])
        left = {name: len(await ledger.get_question(name)) for name in sizes}
        assert left == {"first": 0, "second": 0, "third": 100, "fourth": 200}, "a question goes as a whole"
        assert [each.id for each in others if not await ledger.get_question(each.id)] == []
        assert len(await ledger.get_question("approved")) == 1


async def test_one_actor_may_have_four_hundred_unanswered_items(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        for other in (item(id="anna's", actor_id="anna"), item(id="played", sandbox=True), item(id="answered")):
            await ledger.put_question([other])
        await ledger.approve_question("answered", START)
        sizes = {"first": 200, "second": 199, "third": 1, "fourth": 1}
        left = []
        for n, (name, size) in enumerate(sizes.items()):
            at = START + timedelta(minutes=n)
            await ledger.put_question([item(f"v1:{k}", id=name, asked_at=at) for k in range(size)])
            left.append(len(await ledger.get_question("first")))
        assert left == [200, 200, 200, 0]
        assert len(await ledger.get_question("second")) == 199


async def test_waiting_questions_are_listed_newest_first_while_they_can_be_answered(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        for name, minutes in (("first", 1), ("third", 3), ("second", 2)):
            at = START + timedelta(minutes=minutes)
            await ledger.put_question([item(id=name, asked_at=at, actor_id=f"actor of {name}")])
        now = START + QUESTION_LIFE + timedelta(minutes=1)
        assert [each.id for each in await ledger.list_questions(now, 10)] == ["third", "second"], "one ends now"
        assert [each.id for each in await ledger.list_questions(START, 2)] == ["third", "second"]
        await ledger.approve_question("third", START)
        assert [each.id for each in await ledger.list_questions(START, 10)] == ["second", "first"]


async def test_the_newest_question_that_can_be_answered_is_found_first(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        for name, minutes in (("first", 1), ("fourth", 4), ("second", 2), ("third", 3)):
            await ledger.put_question([item(id=name, asked_at=START + timedelta(minutes=minutes))])
        await ledger.put_question([item("v1:another", id="another", asked_at=START + timedelta(minutes=5))])
        found = await ledger.find_questions("local", "v1:one", START, sandbox=False)
        assert [each.id for each in found] == ["fourth", "third", "second"]
        ends_at = START + QUESTION_LIFE + timedelta(minutes=3)
        found = await ledger.find_questions("local", "v1:one", ends_at, sandbox=False)
        assert [each.id for each in found] == ["fourth"]
        for name, minutes in (("second", 5), ("first", 6)):
            await ledger.approve_question(name, START + timedelta(minutes=minutes))
        found = await ledger.find_questions("local", "v1:one", START, sandbox=False)
        assert [each.id for each in found] == ["second", "first", "fourth", "third"]


@pytest.mark.parametrize("other", [{"actor_id": "somebody else"}, {"sandbox": True}, {"request_hash": "v1:two"}])
async def test_a_used_yes_leads_nobody_else_to_its_job(database: LedgerDatabase, other: dict[str, Any]) -> None:
    async with database.started() as ledger:
        await ledger.put_question([item()])
        first = await ledger.open(wanted(), NO_CAPS, None, YES)
        await ledger.put_question([item(id="unused")])
        for terms in (YES, Terms(above_usd=ZERO, question_id="none", accepted=True)):
            with pytest.raises(ConfirmationNeeded):
                await ledger.open(wanted(**other), NO_CAPS, None, terms)
        assert (await ledger.list_jobs(JobQuery())).jobs == [first.job]


async def test_a_question_is_what_was_asked_word_for_word(database: LedgerDatabase) -> None:
    asked = item(usd=Decimal("1.23456789"), what="a picture \x00 of a gull", sandbox=True, actor_id="anna")
    async with database.started() as ledger:
        await ledger.put_question([asked])
        assert await ledger.get_question("q") == [replace(asked, what="a picture \ufffd of a gull")]
