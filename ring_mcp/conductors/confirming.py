"""Confirmation of spending: whether a call needs a person's consent, and how it gets it.

The question is in the ledger before anybody is asked, so that the answer may come to another process or from a person's
terminal; it is used up where the job is opened (``ledger.questions``).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ring_mcp.clock import Clock
from ring_mcp.conductors.results import JobResult
from ring_mcp.domain import Plan, VideoPlan, usd
from ring_mcp.domain.consent import (
    QUESTION_LIFE,
    Asking,
    ConfirmationNeeded,
    Item,
    Mark,
    Question,
    Reply,
    Rule,
    SpendingDeclined,
    Terms,
)
from ring_mcp.domain.fields import printable
from ring_mcp.ledger.base import Ledger

_SHOWN_CHARS = 200
_SHOWN_ITEMS = 10
# Short, since a person types it. Guessing one is useless: it is approved at a terminal with the server's settings.
_ID_BYTES = 5
_UNTOLD = ("success", "dryRun", "prompt")
_CAPS = {"perCall": "per call", "today": "today", "thisMonth": "this month"}

Quote = Callable[[], Awaitable[JobResult | Mapping[str, Any]]]
"""Returns what the call would cost, as a dry run does. Raises CapExceeded for what would be refused anyway."""


class Confirming:
    """``rule`` is the operator's; ``sandbox``: whether the money is the sandbox's."""

    def __init__(self, rule: Rule, ledger: Ledger, clock: Clock, *, sandbox: bool) -> None:
        self._rule = rule
        self._ledger = ledger
        self._clock = clock
        self._sandbox = sandbox

    @property
    def sandbox(self) -> bool:
        return self._sandbox

    def applies_to(self, asking: Asking) -> bool:
        """Whether such a caller may need a confirmation at all."""
        return self._rule.mode != "off" and not asking.confirmed

    def without_answer(self) -> Terms:
        """The terms without a confirmation: only what is below the operator's limit may be spent."""
        return Terms(above_usd=self._rule.above_usd)

    async def settle(self, items: Sequence[Item], asking: Asking, actor_id: str, quote: Quote) -> Terms | None:
        """The terms under which these requests of one call may be opened; None if no confirmation is needed.

        Raises SpendingDeclined or ConfirmationNeeded with the quote, what ``quote`` raises, LedgerError, and what
        ``asking.ask`` raises to have the same call made again with the answer.
        """
        total_usd = sum((item.usd for item in items), Decimal(0))
        if not self.applies_to(asking):
            return None
        if not self._rule.covers(total_usd):
            return self.without_answer()
        if asking.answer is not None:
            mark, reply = asking.answer
            # A client may send any id and any answer: it counts only if the question was about these requests.
            if self._is_about(await self._ledger.get_question(mark.question_id), items, actor_id):
                return await self._take(reply, mark, quote, total_usd)
        approved, open_id = await self._find(items, actor_id)
        if approved is not None:
            return Terms(above_usd=self._rule.above_usd, question_id=approved)
        # In mode "ask", a client that cannot be asked is let through; "require" refuses it.
        if asking.ask is None and self._rule.mode == "ask":
            return None
        # Before the question is written: what a cap refuses anyway is raised here, and nobody is asked in vain.
        told = await quote()
        # The same row if the same call is made again, or a person would find a list of equal questions.
        question_id = open_id or await self._put(items, actor_id)
        if asking.ask is None:
            raise self._refuse(question_id, total_usd, told, "nobody can be asked here")
        # With the time of asking: the question itself may be hours old.
        mark = Mark(question_id, self._clock.now())
        reply = await asking.ask(mark, question_text(items, total_usd, told, sandbox=self._sandbox))
        return await self._take(reply, mark, quote, total_usd, told)

    async def _take(
        self,
        reply: Reply,
        mark: Mark,
        quote: Quote,
        total_usd: Decimal,
        told: JobResult | Mapping[str, Any] | None = None,
    ) -> Terms:
        if reply is Reply.ACCEPT:
            return Terms(above_usd=self._rule.above_usd, question_id=mark.question_id, accepted=True)
        # Before the quote, which takes time of its own.
        is_read = mark.is_read_by(self._clock.now())
        told = await quote() if told is None else told
        if reply is Reply.DECLINE and is_read:
            # A no is final: the question cannot be approved from a terminal later.
            await self._ledger.drop_question(mark.question_id)
            raise SpendingDeclined(
                f"the person declined to spend up to {usd(total_usd)}; nothing was spent",
                extra={"quote": quote_facts(told)},
            )
        # Some clients cancel or decline by themselves: a person can still approve either.
        why = "the client said no sooner than a person can read" if reply is Reply.DECLINE else "nobody has answered"
        raise self._refuse(mark.question_id, total_usd, told, why)

    def _refuse(
        self, question_id: str, total_usd: Decimal, told: JobResult | Mapping[str, Any], why: str
    ) -> ConfirmationNeeded:
        switch = " --sandbox" if self._sandbox else ""
        return ConfirmationNeeded(
            f"this would spend up to {usd(total_usd)}, which has to be agreed to first, and {why}; nothing was spent",
            next_action=(
                f"Tell the person: `ring-mcp approve {question_id}{switch}`, typed at a terminal of the server's own "
                "settings, lets exactly this call through once. Make the same call again after that. No tool can "
                "approve it."
            ),
            extra={"approvalId": question_id, "quote": quote_facts(told)},
        )

    def _is_about(self, asked: Sequence[Question], items: Sequence[Item], actor_id: str) -> bool:
        """Whether this question was put to this actor about all these items, at no lower price. A used item counts: its
        request is a retry, which opens nothing."""
        known = {item.subject: item for item in asked if (item.actor_id, item.sandbox) == (actor_id, self._sandbox)}
        now = self._clock.now()
        return bool(items) and all(
            (found := known.get(item.subject)) is not None
            and (found.used_at is not None or (found.usd >= item.usd and found.expires_at > now))
            for item in items
        )

    async def _find(self, items: Sequence[Item], actor_id: str) -> tuple[str | None, str | None]:
        """The id of an approved question about these items, if any; else that of an open one, to be put again."""
        # By the first item: a question about all of them is about this one too.
        rows = await self._ledger.find_questions(actor_id, items[0].subject, self._clock.now(), sandbox=self._sandbox)
        by_id: dict[str, dict[str, Question]] = {}
        for row in rows:
            by_id.setdefault(row.id, {})[row.subject] = row
        open_id = None
        for question_id, of in by_id.items():
            free = [of.get(item.subject) for item in items]
            if not all(
                row is not None and row.used_at is None and row.usd >= item.usd
                for row, item in zip(free, items, strict=True)
            ):
                continue
            if all(row is not None and row.approved_at is not None for row in free):
                return question_id, None
            prices = {item.subject: item.usd for item in items}
            # An open question is put again only for exactly these items and prices, whose sum the person reads. An
            # approved one may be about more, or at higher prices.
            if open_id is None and {subject: row.usd for subject, row in of.items()} == prices:
                open_id = question_id
        return None, open_id

    async def _put(self, items: Sequence[Item], actor_id: str) -> str:
        question_id, now = secrets.token_hex(_ID_BYTES), self._clock.now()
        await self._ledger.put_question(
            [
                Question(
                    id=question_id,
                    actor_id=actor_id,
                    sandbox=self._sandbox,
                    subject=item.subject,
                    usd=item.usd,
                    what=item.what,
                    asked_at=now,
                    expires_at=now + QUESTION_LIFE,
                )
                for item in items
            ]
        )
        return question_id


def describe_plan(plan: Plan) -> str:
    """A plan in one line for a person. The prompt may be a model's words: it comes last, quoted and in one line."""
    facts = [plan.provider, plan.model, plan.resolution or ""]
    if isinstance(plan, VideoPlan):
        facts = [f"a clip of {plan.duration_s} s", plan.quality_mode or "", *facts]
        facts += ["with a first frame"] if plan.first_frame is not None else []
    else:
        facts = ["a picture" if plan.n == 1 else f"{plan.n} pictures", *facts]
    return f"{', '.join(fact for fact in facts if fact)}: {_in_quotes(plan.prompt)}"


def clip_text(clip_id: str, quote: Mapping[str, Any]) -> str:
    """A script's clip in one line for a person, from the ``data`` of its quote."""
    names = ("duration", "qualityMode", "model", "resolution")
    facts = [f"{quote[name]} s" if name == "duration" else str(quote[name]) for name in names if quote.get(name)]
    return f"{_in_quotes(clip_id)}, {', '.join(facts)}: {_in_quotes(str(quote.get('prompt', '')))}"


def _in_quotes(text: str) -> str:
    # Cut first, since a prompt may be long; with room for characters that cleaning removes.
    words = " ".join(printable(text[: 4 * _SHOWN_CHARS]).split())
    return f"“{words if len(words) <= _SHOWN_CHARS else f'{words[:_SHOWN_CHARS]} …'}”"


def question_text(
    items: Sequence[Item], total_usd: Decimal, told: JobResult | Mapping[str, Any], *, sandbox: bool
) -> str:
    """The question for a person: the price first, what the caps leave, and then what it is for."""
    facts = quote_facts(told)
    lines = [f"Spend up to {usd(total_usd)} on the operator's own provider key?"]
    if sandbox:
        lines = [f"SANDBOX: test media, nobody pays. Spend up to {usd(total_usd)} of the sandbox's money?"]
    for price in facts.get("prices", ()):
        lines.append(
            f"{price['count']:g} x {usd(Decimal(str(price['unitUsd'])))} {price['what']} (list of {price['asOf']})"
        )
    left = facts.get("capLeftUsd") or {}
    caps = ", ".join(f"{usd(Decimal(str(amount)))} {_CAPS.get(name, name)}" for name, amount in left.items())
    lines.append(f"Caps leave: {caps}" if caps else "No cap on spending is set.")
    if len(items) > 1:
        lines.append(f"{len(items)} clips:")
    lines += [f"{usd(item.usd)} {item.what}" if len(items) > 1 else item.what for item in items[:_SHOWN_ITEMS]]
    if len(items) > _SHOWN_ITEMS:
        lines.append(f"and {len(items) - _SHOWN_ITEMS} more")
    return "\n".join(lines)


def quote_facts(told: JobResult | Mapping[str, Any]) -> dict[str, Any]:
    """A quote for programs, without the caller's own words."""
    data = told.data() if isinstance(told, JobResult) else told
    return {name: value for name, value in data.items() if name not in _UNTOLD and value != []}
