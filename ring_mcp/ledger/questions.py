"""Questions about spending. A confirmation can be used once: in the transaction that opens the job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from ring_mcp.domain import Job
from ring_mcp.domain.consent import APPROVAL_LIFE, ConfirmationNeeded, Question, Terms
from ring_mcp.ledger.rows import Dialect, encode, storable, ticks_to_usd, usd_to_ticks
from ring_mcp.ledger.statements import Row, Statement, Transaction

MAX_OPEN_ITEMS = 400
"""Unanswered items that one actor may have; beyond that, the oldest questions are removed."""

# A bound that is never reached: a person types each approval, and it lasts an hour.
_APPROVED_LOOKED_AT = 100
# The newest are those that a person has seen; a question that is missed is only asked again.
_OPEN_LOOKED_AT = 3


def put_question(items: Sequence[Question], dialect: Dialect) -> Transaction[None]:
    """Write the items of one question. Expired ones are removed, and the oldest beyond MAX_OPEN_ITEMS."""
    first = items[0]
    now = dialect.time(first.asked_at)
    yield Statement("DELETE FROM media_job_questions WHERE expires_at <= :now", {"now": now})
    whose = {
        "actor_id": encode("actor_id", first.actor_id, dialect),
        "sandbox": encode("sandbox", first.sandbox, dialect),
    }
    rows = yield Statement(
        "SELECT asked_at FROM media_job_questions WHERE actor_id = :actor_id AND sandbox = :sandbox"
        " AND approved_at IS NULL ORDER BY asked_at DESC LIMIT 1 OFFSET :kept",
        {**whose, "kept": max(0, MAX_OPEN_ITEMS - len(items))},
    )
    # By the instant, which all items of a question share: a question is removed as a whole or not at all.
    if rows:
        yield Statement(
            "DELETE FROM media_job_questions WHERE actor_id = :actor_id AND sandbox = :sandbox"
            " AND approved_at IS NULL AND asked_at <= :oldest",
            {**whose, "oldest": rows[0]["asked_at"]},
        )
    for item in items:
        yield Statement(
            "INSERT INTO media_job_questions"
            " (id, subject, actor_id, sandbox, usd_ticks, what, asked_at, expires_at)"
            " VALUES (:id, :subject, :actor_id, :sandbox, :usd, :what, :now, :expires_at)",
            {
                **whose,
                "id": item.id,
                "subject": item.subject,
                "usd": usd_to_ticks(item.usd),
                "what": storable(item.what),
                "now": now,
                "expires_at": dialect.time(item.expires_at),
            },
        )


def get_question(question_id: str, dialect: Dialect) -> Transaction[list[Question]]:
    rows = yield Statement("SELECT * FROM media_job_questions WHERE id = :id ORDER BY subject", {"id": question_id})
    return [_decode(row, dialect) for row in rows]


def find_questions(
    actor_id: str, subject: str, now: datetime, sandbox: bool, dialect: Dialect
) -> Transaction[list[Question]]:
    """All items of the questions about this request that a person has approved, then of the newest unanswered ones.

    Approved ones are found however often the same was asked since.
    """
    about = {
        "actor_id": encode("actor_id", actor_id, dialect),
        "sandbox": encode("sandbox", sandbox, dialect),
        "subject": subject,
        "now": dialect.time(now),
    }
    found: list[Question] = []
    for approved, limit in (("NOT NULL", _APPROVED_LOOKED_AT), ("NULL", _OPEN_LOOKED_AT)):
        rows = yield Statement(
            "SELECT id FROM media_job_questions WHERE actor_id = :actor_id AND sandbox = :sandbox"  # noqa: S608
            f" AND subject = :subject AND approved_at IS {approved} AND used_at IS NULL AND expires_at > :now"
            " ORDER BY asked_at DESC LIMIT :limit",
            {**about, "limit": limit},
        )
        for row in rows:
            found += yield from get_question(row["id"], dialect)
    return found


def list_questions(now: datetime, limit: int, dialect: Dialect) -> Transaction[list[Question]]:
    """Items of all actors that wait for a person's answer, newest first."""
    rows = yield Statement(
        "SELECT * FROM media_job_questions WHERE approved_at IS NULL ORDER BY asked_at DESC LIMIT :limit",
        {"limit": limit},
    )
    # Not in the statement, whose index is by ``asked_at``; expired items are removed with the next question anyway.
    return [item for item in (_decode(row, dialect) for row in rows) if item.expires_at > now]


def approve_question(question_id: str, now: datetime, dialect: Dialect) -> Transaction[int]:
    """Approve an unanswered question; returns how many items it has, 0 if there is none. Its life begins anew."""
    rows = yield Statement(
        "UPDATE media_job_questions SET approved_at = :now, expires_at = :expires_at"
        " WHERE id = :id AND approved_at IS NULL AND used_at IS NULL AND expires_at > :now RETURNING subject",
        {"id": question_id, "now": dialect.time(now), "expires_at": dialect.time(now + APPROVAL_LIFE)},
    )
    return len(rows)


def drop_question(question_id: str) -> Transaction[None]:
    """Remove a declined question. A used one stays, so that a retry of its call finds the job."""
    yield Statement("DELETE FROM media_job_questions WHERE id = :id AND used_at IS NULL", {"id": question_id})


def find_used(job: Job, terms: Terms | None, dialect: Dialect) -> Transaction[str | None]:
    """The id of the job that this confirmation has opened already."""
    if terms is None or terms.question_id is None:
        return None
    rows = yield Statement(
        "SELECT job_id FROM media_job_questions WHERE id = :id AND subject = :subject AND actor_id = :actor_id"
        " AND sandbox = :sandbox AND used_at IS NOT NULL",
        _name(job, terms, dialect),
    )
    return str(rows[0]["job_id"]) if rows else None


def use_answer(job: Job, needed_usd: Decimal, terms: Terms | None, dialect: Dialect) -> Transaction[None]:
    """Use up the confirmation that this job needs: one compare-and-set, in the transaction that opens it.

    Raises ConfirmationNeeded if there is none that fits: of another call or actor, used, expired, or for less money.
    """
    # Compared here again: a still that the quote counted on may be gone, and only now is it known what is spent.
    if terms is None or needed_usd <= terms.above_usd:
        return
    rows: Sequence[Row] = ()
    if terms.question_id is not None:
        is_agreed = "" if terms.accepted else " AND approved_at IS NOT NULL"
        rows = yield Statement(
            "UPDATE media_job_questions"  # noqa: S608
            " SET approved_at = COALESCE(approved_at, :now), used_at = :now, job_id = :job_id"
            " WHERE id = :id AND subject = :subject AND actor_id = :actor_id AND sandbox = :sandbox"
            f" AND used_at IS NULL AND expires_at > :now AND usd_ticks >= :needed{is_agreed} RETURNING id",
            {
                **_name(job, terms, dialect),
                "job_id": job.id,
                "now": dialect.time(job.created_at),
                "needed": usd_to_ticks(needed_usd),
            },
        )
    if not rows:
        raise ConfirmationNeeded(
            "what would be spent is no longer what was agreed to; nothing was spent",
            next_action="Make the same call again: the question is asked again, at the present price.",
        )


def _name(job: Job, terms: Terms, dialect: Dialect) -> dict[str, object]:
    return {
        "id": terms.question_id,
        "subject": job.request_hash,
        "actor_id": encode("actor_id", job.actor_id, dialect),
        "sandbox": encode("sandbox", job.sandbox, dialect),
    }


def _decode(row: Row, dialect: Dialect) -> Question:
    asked_at, expires_at = dialect.read_time(row["asked_at"]), dialect.read_time(row["expires_at"])
    assert asked_at is not None, "no row is without it"
    assert expires_at is not None, "no row is without it"
    return Question(
        id=row["id"],
        actor_id=row["actor_id"],
        sandbox=bool(row["sandbox"]),
        subject=row["subject"],
        usd=ticks_to_usd(row["usd_ticks"]) or Decimal(0),
        what=row["what"],
        asked_at=asked_at,
        expires_at=expires_at,
        approved_at=dialect.read_time(row["approved_at"]),
        used_at=dialect.read_time(row["used_at"]),
        job_id=row["job_id"],
    )
