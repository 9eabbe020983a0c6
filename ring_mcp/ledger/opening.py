"""The transaction that opens a job: whether the request has one already, what the caps leave, the still of a clip."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

from ring_mcp.domain import Caps, Job, JobState, Spend, check_caps
from ring_mcp.domain.consent import Terms
from ring_mcp.errors import InvalidRequest
from ring_mcp.ledger import actors, locks
from ring_mcp.ledger.base import Opened
from ring_mcp.ledger.questions import find_used, use_answer
from ring_mcp.ledger.rows import Dialect, decode_job, encode
from ring_mcp.ledger.spending import sum_costs
from ring_mcp.ledger.statements import COST_NOTHING, Statement, Transaction
from ring_mcp.ledger.transactions import get_job, insert_job

_LOOKED_AT_STILLS = 100


def open_job(
    job: Job,
    caps: Caps,
    dialect: Dialect,
    still: Job | None = None,
    terms: Terms | None = None,
    token_mark: datetime | None = None,
) -> Transaction[Opened]:
    """Open a job, or join the one that stands for the same request. Under locks: nobody opens the same request at the
    same time, and if a cap is set, nobody spends who counts against it.

    What the actor may do is read here, so that one who was just revoked spends nothing more, nor an old token of theirs
    (``token_mark``) once they have a new one. A confirmation that is used again leads to the job that it opened,
    whatever became of that since. Raises CapExceeded, ConfirmationNeeded, InvalidRequest, LookOnly or Unauthorized.
    """
    yield from dialect.take_locks(locks.of_opening(job, still))
    # Held to the end: whoever revokes the actor is told that nothing is spent from then on.
    member = yield from actors.find_member(job.actor_id, dialect, hold=True)
    if member is not None:
        member.check_may_spend(token_mark)
    existing = yield from find_same_request(job, dialect)
    if existing is None and (used_by := (yield from find_used(job, terms, dialect))) is not None:
        existing = yield from get_job(used_by, dialect)
    if existing is not None:
        return Opened(job=existing, joined=True)
    needed_usd = job.reserved_usd
    unused = (yield from find_unused_still(still, dialect)) if still is not None else None
    standing = unused
    if still is not None and standing is None:
        standing = yield from find_same_request(still, dialect)
    if still is not None and standing is None:
        needed_usd += still.reserved_usd
    own = member.caps if member is not None else Caps()
    # Only here: a call that joins a job spends nothing and need not wait for this lock.
    yield from dialect.take_locks(locks.of_money(caps, own, job.actor_id, sandbox=job.sandbox))
    for each, of in ((caps, None), (own, job.actor_id)):
        spend = Spend()
        # Sums are read only if a cap is compared with them.
        if locks.is_capped(each):
            spend = yield from sum_costs(job.created_at, job.sandbox, dialect, of)
        check_caps(needed_usd, spend, each, job.created_at, of=of)
    # After the caps: a call that they refuse must not use up a person's confirmation.
    yield from use_answer(job, needed_usd, terms, dialect)
    if still is not None:
        if standing is None:
            yield from insert_job(still, dialect)
        elif unused is not None or standing.state is JobState.DONE:
            standing = yield from _give_still(standing, job)
        # A still that is done was paid for by an earlier call, and must not be billed to this one again.
        is_paid = standing is not None and standing.state is JobState.DONE
        taken = {"frame_job_id": (standing or still).id, "frame_was_paid": is_paid}
        still = standing or still
        job = replace(job, plan=job.plan.model_copy(update=taken))
    yield from insert_job(job, dialect)
    return Opened(job=job, joined=False, still=still)


def find_unused_still(still: Job, dialect: Dialect) -> Transaction[Job | None]:
    """A still that looks the same and whose clip has ended without a result, done or still being made (that is paid
    for as well). Not one whose clip ended because an input could not be read, which may have been this still.

    Only the newest are searched: a free one is taken by the next call that wants it, so it is never far behind.
    """
    asked = {
        "looked_at": _LOOKED_AT_STILLS,
        "actor_id": encode("actor_id", still.actor_id, dialect),
        "sandbox": encode("sandbox", still.sandbox, dialect),
        "hash": still.request_hash,
    }
    rows = yield Statement(
        "SELECT still.*, clip.failure AS clip_failure, clip.attempt_token AS clip_attempt FROM"
        " (SELECT * FROM media_jobs WHERE actor_id = :actor_id AND sandbox = :sandbox AND request_hash = :hash"
        " AND state = 'done' AND parent_job_id IS NOT NULL ORDER BY created_at DESC LIMIT :looked_at) AS still"
        " JOIN media_jobs AS clip ON clip.id = still.parent_job_id"
        " WHERE clip.state IN ('failed', 'refused', 'expired') ORDER BY still.created_at DESC LIMIT 10",
        asked,
    )
    for row in rows:
        failure = row["clip_failure"] if isinstance(row["clip_failure"], dict) else json.loads(row["clip_failure"])
        # A clip that was not sent because of an unreadable input may have failed for this still, and so would the next.
        if row["clip_attempt"] is not None or failure["code"] != InvalidRequest.code:
            return decode_job(row, dialect)
    # None of unknown outcome: the clip would wait for a person.
    rows = yield Statement(
        "SELECT still.* FROM (SELECT * FROM media_jobs WHERE actor_id = :actor_id AND sandbox = :sandbox"
        " AND request_hash = :hash AND finished_at IS NULL AND parent_job_id IS NOT NULL"
        " ORDER BY created_at DESC LIMIT :looked_at) AS still JOIN media_jobs AS clip ON clip.id = still.parent_job_id"
        " WHERE still.state <> 'unknown' AND clip.state IN ('failed', 'refused', 'expired')"
        " ORDER BY still.created_at DESC LIMIT 10",
        asked,
    )
    under_way = (decode_job(row, dialect) for row in rows)
    # None of another account: perhaps nobody with its key comes by to finish it, and the clip would wait.
    return next((job for job in under_way if not job.account.is_recorded or job.account.is_same(still.account)), None)


def _give_still(still: Job, clip: Job) -> Transaction[Job]:
    """Make it the still of this clip and of no other."""
    # No version is compared: the lock of the request keeps other openers away. And while the still is being made, its
    # version stays as its driver knows it, which never writes this column.
    rows = yield Statement(
        "UPDATE media_jobs SET parent_job_id = :clip, version = version + :counted WHERE id = :id RETURNING version",
        {"clip": clip.id, "id": still.id, "counted": int(still.is_terminal)},
    )
    return replace(still, parent_job_id=clip.id, version=int(rows[0]["version"]))


def find_same_request(job: Job, dialect: Dialect) -> Transaction[Job | None]:
    """The job that already stands for this request, if there is one. Raises InvalidRequest if its key has another.

    With a key: the job that has the key, unless it is known to have cost nothing. Without: an identical one that is
    open or unknown, or whose outcome was never delivered.
    """
    if job.idempotency_key is not None:
        found = yield from find_job(job.actor_id, job.idempotency_key, job.sandbox, dialect)
        if found is not None and found.request_hash != job.request_hash:
            raise InvalidRequest(
                f"idempotencyKey {job.idempotency_key!r} already stands for another request (job {found.id}); "
                "use a new key for a new request, the same key only to repeat one"
            )
        return found
    # A job that is joined was never delivered (an open one is not), or is unknown. Each case has its own index.
    same = "actor_id = :actor_id AND sandbox = :sandbox AND request_hash = :hash AND idempotency_key IS NULL"
    rows = yield Statement(
        "SELECT * FROM (SELECT * FROM (SELECT * FROM media_jobs"  # noqa: S608
        f" WHERE {same} AND delivered_at IS NULL AND NOT {COST_NOTHING} ORDER BY created_at DESC LIMIT 1) AS untold"
        " UNION ALL SELECT * FROM (SELECT * FROM media_jobs"
        f" WHERE {same} AND state = 'unknown' ORDER BY created_at DESC LIMIT 1) AS of_unknown_outcome"
        ") AS standing ORDER BY created_at DESC LIMIT 1",
        {
            "actor_id": encode("actor_id", job.actor_id, dialect),
            "sandbox": encode("sandbox", job.sandbox, dialect),
            "hash": job.request_hash,
        },
    )
    return decode_job(rows[0], dialect) if rows else None


def find_job(actor_id: str, key: str, sandbox: bool, dialect: Dialect) -> Transaction[Job | None]:
    """The job that the key stands for; one that is known to have cost nothing has freed it."""
    rows = yield Statement(
        "SELECT * FROM media_jobs WHERE actor_id = :actor_id AND sandbox = :sandbox"  # noqa: S608
        f" AND idempotency_key = :key AND NOT {COST_NOTHING}",
        {
            "actor_id": encode("actor_id", actor_id, dialect),
            "sandbox": encode("sandbox", sandbox, dialect),
            "key": encode("idempotency_key", key, dialect),
        },
    )
    return decode_job(rows[0], dialect) if rows else None
