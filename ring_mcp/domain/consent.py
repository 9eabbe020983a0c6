"""Consent to spending: the operator's rule, questions kept in the ledger, and answers to them.

The call is made by a model, so nothing that a model can say or compute counts as a yes: an answer comes from the
client, outside the arguments, from a person's terminal, or from the program that calls over REST.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from ring_mcp.errors import RingError

Confirm = Literal["off", "ask", "require"]

QUESTION_LIFE = timedelta(days=1)
"""How long a question can be answered."""

APPROVAL_LIFE = timedelta(hours=1)
"""How long what a person has let through may be called."""

READING_MS = 1_000
"""Nobody reads a question and says no to it in less: such a no is the client's own, as a cancel is."""

# A date that Python has: year 5138.
_MOST_DIGITS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``ask``: callers that can be asked are asked, and only the caps limit others. ``require``: nothing is spent
    without a yes. Both apply to what costs more than ``above_usd``."""

    mode: Confirm = "off"
    above_usd: Decimal = Decimal(0)

    # Above and not from: with 0 what is free is never asked about.
    def covers(self, usd: Decimal) -> bool:
        return self.mode != "off" and usd > self.above_usd


class Reply(StrEnum):
    """The answer to a question. ``CANCEL``: nobody answered; some clients send it by themselves."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One paid request that is asked about: its hash, the most it can cost, and a line that describes it."""

    subject: str
    usd: Decimal
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One item of a question: a row of ``media_job_questions``. ``id`` is shared by the items that one yes is for.

    ``approved_at``: when a person said yes; ``used_at`` and ``job_id``: when that was used, once, and by which job.
    """

    id: str
    actor_id: str
    sandbox: bool
    subject: str
    usd: Decimal
    what: str
    asked_at: datetime
    expires_at: datetime
    approved_at: datetime | None = None
    used_at: datetime | None = None
    job_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When a job may be opened although spending needs consent: it costs no more than ``above_usd``, or its item of the
    question is not used yet. ``accepted``: the answer is yes in this very call; otherwise a person has approved
    it before."""

    above_usd: Decimal
    question_id: str | None = None
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Sent out with a question and returned with its answer: the question's id, and when it was asked.

    A client could forge it, to no effect: the question is looked up in the ledger, and the time only decides between
    two ways of spending nothing.
    """

    question_id: str
    put_at: datetime | None = None

    def __str__(self) -> str:
        return self.question_id if self.put_at is None else f"{self.question_id}.{_to_ms(self.put_at)}"

    @classmethod
    def read(cls, text: str) -> Mark:
        """The mark in a text, whatever the text is; without a time if that cannot be read."""
        question_id, _, ms = text.partition(".")
        is_time = ms.isascii() and ms.isdecimal() and len(ms) <= _MOST_DIGITS
        return cls(question_id, datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(ms)) if is_time else None)

    def is_read_by(self, now: datetime) -> bool:
        """Whether a person had the time to read the question until ``now``; True if it is unknown when it was asked."""
        return self.put_at is None or _to_ms(now) - _to_ms(self.put_at) >= READING_MS


def _to_ms(at: datetime) -> int:
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


Ask = Callable[[Mark, str], Awaitable[Reply]]
"""Put a question, by its mark and in words, and wait for the reply. May raise instead: the answer then comes with the
same call, made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a caller is asked. ``confirmed``: it vouches that a person agreed. ``ask`` None: it cannot be asked.

    ``answer``: the mark of an earlier question, and the reply to it. ``terms``: agreed already, for all clips of a
    script.
    """

    confirmed: bool = False
    ask: Ask | None = None
    answer: tuple[Mark, Reply] | None = None
    terms: Terms | None = None


NOBODY = Asking()
"""A caller that cannot be asked and vouches for nothing."""


class ConfirmationNeeded(RingError):
    """``extra``: the quote, and the id with which a person can approve the call."""

    code = "confirmation_needed"
    next_action = "A person has to agree to it first; nothing was spent."

    def __init__(
        self, message: str, *, next_action: str | None = None, extra: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message, next_action=next_action)
        self.extra = dict(extra or {})


class SpendingDeclined(ConfirmationNeeded):
    """A person said no."""

    code = "declined"
    next_action = "Do not call again unless the person asks for it; nothing was spent."
