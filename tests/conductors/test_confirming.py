"""Confirming: when somebody is asked, about what, and what the answers come to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.conductors.confirming import Confirming, clip_text, describe_plan, question_text
from ring_mcp.domain.consent import (
    APPROVAL_LIFE,
    NOBODY,
    QUESTION_LIFE,
    Asking,
    ConfirmationNeeded,
    Item,
    Mark,
    Reply,
    Rule,
    SpendingDeclined,
    Terms,
)
from ring_mcp.errors import CapExceeded
from ring_mcp.ledger.base import Ledger
from tests.fake_clock import FakeClock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import sample_plan

REQUIRE, ASK = Rule(mode="require"), Rule(mode="ask")
ONE, TWO = (Item(subject=f"v1:{name}", usd=Decimal("0.30"), what=name) for name in ("one", "two"))
QUOTE = {"success": True, "prompt": "words", "totalUsd": 0.6, "capLeftUsd": {"today": 4.4}}


class Somebody:
    """Replies after ``reads_s``."""

    def __init__(self, reply: Reply, clock: FakeClock, reads_s: float = 1.0) -> None:
        self.reply = reply
        self.asked: list[tuple[str, str]] = []
        self._clock = clock
        self._reads_s = reads_s

    async def __call__(self, mark: Mark, text: str) -> Reply:
        self.asked.append((mark.question_id, text))
        self._clock.advance(self._reads_s)
        return self.reply


async def quote() -> dict[str, Any]:
    return QUOTE


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with LedgerDatabase("sqlite", str(tmp_path / "ledger.db")).started() as ledger:
        yield ledger


def confirming(rule: Rule, ledger: Ledger, clock: FakeClock) -> Confirming:
    return Confirming(rule, ledger, clock, sandbox=False)


async def refused(confirming: Confirming, asking: Asking = NOBODY, *items: Item, actor: str = "me") -> str:
    """The id under which a person can let it through."""
    with pytest.raises(ConfirmationNeeded) as needed:
        await confirming.settle(items or (ONE,), asking, actor, quote)
    assert "approvalId" in needed.value.extra, needed.value
    return str(needed.value.extra["approvalId"])


async def test_off_and_who_vouches_need_nothing(ledger: Ledger, clock: FakeClock) -> None:
    assert await confirming(Rule(), ledger, clock).settle([ONE], NOBODY, "me", quote) is None
    assert await confirming(REQUIRE, ledger, clock).settle([ONE], Asking(confirmed=True), "me", quote) is None


async def test_the_sum_is_held_against_the_bound(ledger: Ledger, clock: FakeClock) -> None:
    asks = confirming(Rule(mode="require", above_usd=Decimal("0.30")), ledger, clock)
    assert await asks.settle([ONE], NOBODY, "me", quote) == Terms(above_usd=Decimal("0.30"))
    await refused(asks, NOBODY, ONE, TWO)


async def test_yes_is_for_the_question_that_was_put(ledger: Ledger, clock: FakeClock) -> None:
    somebody = Somebody(Reply.ACCEPT, clock)
    terms = await confirming(ASK, ledger, clock).settle([ONE, TWO], Asking(ask=somebody), "me", quote)
    [(question_id, text)] = somebody.asked
    assert terms == Terms(above_usd=Decimal(0), question_id=question_id, accepted=True)
    assert "$0.60" in text
    assert {item.subject for item in await ledger.get_question(question_id)} == {"v1:one", "v1:two"}


async def test_no_leaves_nothing_to_say_yes_to(ledger: Ledger, clock: FakeClock) -> None:
    somebody = Somebody(Reply.DECLINE, clock)
    with pytest.raises(SpendingDeclined) as declined:
        await confirming(ASK, ledger, clock).settle([ONE], Asking(ask=somebody), "me", quote)
    assert declined.value.extra == {"quote": {"totalUsd": 0.6, "capLeftUsd": {"today": 4.4}}}
    assert await ledger.get_question(somebody.asked[0][0]) == []


async def test_no_answer_leaves_the_question_to_a_person(ledger: Ledger, clock: FakeClock) -> None:
    asks, somebody = confirming(ASK, ledger, clock), Somebody(Reply.CANCEL, clock)
    question_id = await refused(asks, Asking(ask=somebody))
    assert await refused(asks, Asking(ask=somebody)) == question_id
    assert [asked for asked, _ in somebody.asked] == [question_id, question_id]
    assert await ledger.approve_question(question_id, clock.now()) == 1
    terms = await asks.settle([ONE], Asking(ask=somebody), "me", quote)
    assert terms == Terms(above_usd=Decimal(0), question_id=question_id)
    assert len(somebody.asked) == 2


async def test_a_no_that_nobody_can_have_read_is_the_clients_own(ledger: Ledger, clock: FakeClock) -> None:
    asks, client = confirming(ASK, ledger, clock), Somebody(Reply.DECLINE, clock, reads_s=0.999)
    with pytest.raises(ConfirmationNeeded, match="sooner than a person can read") as needed:
        await asks.settle([ONE], Asking(ask=client), "me", quote)
    assert needed.value.code == ConfirmationNeeded.code
    question_id = str(needed.value.extra["approvalId"])
    # Put again hours later: it counts from then, and not from when it was put first.
    clock.advance(3 * 3600)
    assert await refused(asks, Asking(ask=client)) == question_id
    assert await ledger.approve_question(question_id, clock.now()) == 1
    terms = await asks.settle([ONE], Asking(ask=client), "me", quote)
    assert terms == Terms(above_usd=Decimal(0), question_id=question_id)


@pytest.mark.parametrize(("after_s", "is_read"), [(0.0, False), (0.999, False), (1.0, True), (80000.0, True)])
async def test_a_no_beside_the_call_counts_from_its_question(
    ledger: Ledger, clock: FakeClock, after_s: float, is_read: bool
) -> None:
    asks = confirming(REQUIRE, ledger, clock)
    question_id = await refused(asks)
    mark = Mark.read(str(Mark(question_id, clock.now())))
    clock.advance(after_s)
    with pytest.raises(ConfirmationNeeded) as told:
        await asks.settle([ONE], Asking(answer=(mark, Reply.DECLINE)), "me", quote)
    assert isinstance(told.value, SpendingDeclined) is is_read
    assert (await ledger.get_question(question_id) == []) is is_read


@pytest.mark.parametrize("text", ["id", "id.", "id.-1", "id.1e9", "id.²", "id.1.2", f"id.{'9' * 30}"])
def test_a_mark_without_a_readable_time_is_of_long_ago(text: str) -> None:
    mark = Mark.read(text)
    assert mark == Mark("id")
    assert mark.is_read_by(FakeClock().now())


def test_the_latest_mark_is_a_time(clock: FakeClock) -> None:
    assert not Mark.read(f"id.{'9' * 14}").is_read_by(clock.now())


async def test_whoever_cannot_be_asked_has_the_caps_or_a_refusal(ledger: Ledger, clock: FakeClock) -> None:
    assert await confirming(ASK, ledger, clock).settle([ONE], NOBODY, "me", quote) is None
    await refused(confirming(REQUIRE, ledger, clock))


async def test_an_approval_ends_with_its_hour(ledger: Ledger, clock: FakeClock) -> None:
    asks = confirming(REQUIRE, ledger, clock)
    question_id = await refused(asks)
    await ledger.approve_question(question_id, clock.now())
    clock.advance(APPROVAL_LIFE.total_seconds())
    assert await refused(asks) != question_id


@pytest.mark.parametrize("dearer", [Decimal("0.31"), Decimal("3.00")])
async def test_a_higher_price_is_another_question(ledger: Ledger, clock: FakeClock, dearer: Decimal) -> None:
    asks = confirming(REQUIRE, ledger, clock)
    question_id = await refused(asks)
    await ledger.approve_question(question_id, clock.now())
    risen = Item(subject=ONE.subject, usd=dearer, what="one")
    assert await refused(asks, NOBODY, risen) != question_id
    answered = Asking(answer=(Mark(question_id), Reply.ACCEPT))
    assert await refused(asks, answered, risen) != question_id


async def test_an_approval_of_more_clips_is_one_of_fewer(ledger: Ledger, clock: FakeClock) -> None:
    asks = confirming(REQUIRE, ledger, clock)
    question_id = await refused(asks, NOBODY, ONE, TWO)
    assert await refused(asks, NOBODY, ONE) != question_id  # another sum: another question, until that one is approved
    await ledger.approve_question(question_id, clock.now())
    terms = await asks.settle([TWO], NOBODY, "me", quote)
    assert terms is not None
    assert terms.question_id == question_id


async def test_a_yes_counts_however_often_it_was_asked_since(ledger: Ledger, clock: FakeClock) -> None:
    asks = confirming(REQUIRE, ledger, clock)
    question_id = await refused(asks)
    for n in range(1, 9):
        clock.advance(1)
        await refused(asks, NOBODY, ONE, Item(subject=f"v1:beside-{n}", usd=Decimal(n), what="beside it"))
    await ledger.approve_question(question_id, clock.now())
    terms = await asks.settle([ONE], NOBODY, "me", quote)
    assert terms is not None
    assert terms.question_id == question_id


async def test_an_answer_counts_only_from_whom_was_asked(ledger: Ledger, clock: FakeClock) -> None:
    asks = confirming(REQUIRE, ledger, clock)
    question_id = await refused(asks)
    yes = Asking(answer=(Mark(question_id), Reply.ACCEPT))
    terms = await asks.settle([ONE], yes, "me", quote)
    assert terms == Terms(above_usd=Decimal(0), question_id=question_id, accepted=True)
    assert await refused(asks, yes, actor="another") != question_id
    assert await refused(asks, yes, TWO) != question_id
    assert await refused(asks, Asking(answer=(Mark("made up"), Reply.ACCEPT)), TWO)
    clock.advance(QUESTION_LIFE.total_seconds() + 1)
    assert await refused(asks, yes) != question_id


async def test_the_sandbox_has_questions_of_its_own(ledger: Ledger, clock: FakeClock) -> None:
    sandboxed = Confirming(REQUIRE, ledger, clock, sandbox=True)
    with pytest.raises(ConfirmationNeeded, match="agreed to first") as needed:
        await sandboxed.settle([ONE], NOBODY, "me", quote)
    assert "--sandbox" in needed.value.next_action
    assert await refused(confirming(REQUIRE, ledger, clock)) != needed.value.extra["approvalId"]


async def test_what_a_cap_refuses_is_not_written_down(ledger: Ledger, clock: FakeClock) -> None:
    async def over_the_cap() -> dict[str, Any]:
        raise CapExceeded("too much")

    with pytest.raises(CapExceeded):
        await confirming(REQUIRE, ledger, clock).settle([ONE], NOBODY, "me", over_the_cap)
    assert await ledger.list_questions(clock.now() - timedelta(hours=1), 10) == []


def test_the_words_of_a_prompt_stay_in_one_quoted_line() -> None:
    plan = sample_plan("a cat\n\nIt is free.\x1b[2J " + "x" * 500)
    line = describe_plan(plan)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 400
    assert "“a cat It is free." in line
    quoted = clip_text("one\ntwo", {"duration": 6, "model": "m", "prompt": "a\nb"})
    assert quoted == "“one two”, 6 s, m: “a b”"


def test_a_question_tells_price_caps_and_sandbox_first() -> None:
    lines = question_text([ONE], ONE.usd, QUOTE, sandbox=True).splitlines()
    assert lines[0].startswith("SANDBOX")
    assert "$0.30" in lines[0]
    assert lines[-2:] == ["Caps leave: $4.40 today", "one"]
    many = question_text([ONE] * 30, Decimal(9), {}, sandbox=False)
    assert many.splitlines()[0] == "Spend up to $9.00 on the operator's own provider key?"
    assert "No cap" in many
    assert many.splitlines()[-1] == "and 20 more"
