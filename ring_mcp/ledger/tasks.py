"""The tasks of PgQueuer as the ledger sees them: one for each open job, in the same database.

A task says that a job is to be carried on, and by whom: ``queue_manager_id`` is the ledger's ``owner``, and the
``heartbeat`` of a picked task says whether that process is alive. What becomes of the job is only in its row. Here is
what has to happen in one transaction with the row; the rest is PgQueuer's own (``jobs.queue.pgqueuer``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from datetime import datetime
from typing import Any

from ring_mcp.domain import Account, Holder, Job
from ring_mcp.ledger.base import Opened
from ring_mcp.ledger.claims import count_takeover
from ring_mcp.ledger.rows import Dialect, decode_job
from ring_mcp.ledger.statements import IS_DRIVEN, Condition, Row, Statement, Transaction

PREFIX = "ring_mcp_"
TABLE = f"{PREFIX}pgqueuer"
_OPEN_TASK = "status IN ('queued', 'picked') AND dedupe_key IS NOT NULL"
"""The predicate of PgQueuer's unique index on the key, as ON CONFLICT has to repeat it."""

JOBS_CHANNEL, WAKE_CHANNEL, ACCOUNTS_CHANNEL = f"{PREFIX}jobs", f"{PREFIX}wake", f"{PREFIX}accounts"
"""Channels of notifications: a job's row has changed (its id and owner); a caller asks for a job; there is a new
account. The first and the last are sent by triggers (``sql/postgres/004_tasks.sql``)."""

_DIALECT = Dialect(text_times=False)

PICTURE, CLIP = 1, 0
"""Priorities: a picture takes seconds, and its caller waits for it."""


def name_entrypoint(account: Account, *, sandbox: bool) -> str:
    """The entrypoint under which the jobs of an account are queued. It tells nothing about the key."""
    marks = json.dumps([account.endpoint, account.account_id, account.key_fingerprint])
    world = "sandbox" if sandbox else "real"
    return f"ring-mcp/{world}/{account.provider}/{hashlib.sha256(marks.encode()).hexdigest()[:16]}"


def _parameters_of(job: Job) -> dict[str, Any]:
    account = job.account
    return {
        "id": job.id,
        "priority": PICTURE if job.kind == "image" else CLIP,
        "entrypoint": name_entrypoint(account, sandbox=job.sandbox),
        "payload": job.id.encode(),
        "sandbox": job.sandbox,
        "provider": account.provider,
        "endpoint": account.endpoint,
        "account_id": account.account_id,
        "key_fingerprint": account.key_fingerprint,
    }


def enqueue(job: Job, *, asked: bool = False) -> Transaction[None]:
    """Make sure that an open job has a task that is due. ``asked``: a caller asks for it.

    A resting task becomes due now. A picked task is marked if the job is asked for: it will not rest then.
    """
    parameters = _parameters_of(job) | {"headers": '{"asked": true}' if asked else None}
    yield Statement(
        # The account first: a task whose entrypoint nobody can look up would be given to nobody.
        "INSERT INTO media_job_accounts (entrypoint, sandbox, provider, endpoint, account_id, key_fingerprint)"
        " VALUES (:entrypoint, :sandbox, :provider, :endpoint, :account_id, :key_fingerprint)"
        " ON CONFLICT (entrypoint) DO NOTHING",
        parameters,
    )
    yield Statement(
        f"INSERT INTO {TABLE} AS task (priority, entrypoint, payload, status, dedupe_key, headers)"  # noqa: S608
        # Selected from the row: a job that has ended meanwhile gets no task.
        " SELECT :priority, :entrypoint, :payload, 'queued', id, CAST(:headers AS jsonb) FROM media_jobs"
        f" WHERE id = :id AND {IS_DRIVEN}"
        f" ON CONFLICT (dedupe_key) WHERE {_OPEN_TASK}"
        " DO UPDATE SET headers = COALESCE(excluded.headers, task.headers),"
        " execute_after = CASE WHEN task.status = 'queued' THEN now() ELSE task.execute_after END"
        " WHERE (task.headers IS NULL AND excluded.headers IS NOT NULL)"
        " OR (task.status = 'queued' AND task.execute_after > now())",
        parameters,
    )


def ask_for(job: Job) -> Transaction[None]:
    """A caller asks for a job: it is due now, and its driver is woken."""
    yield from enqueue(job, asked=True)
    yield Statement(f"SELECT pg_notify('{WAKE_CHANNEL}', :id)", {"id": job.id})


def with_tasks(opening: Transaction[Opened]) -> Transaction[Opened]:
    """Enqueue what is opened in the same transaction: a job without a task would have no driver."""
    opened = yield from opening
    if not opened.joined:
        for job in (opened.job, opened.still):
            # A still that another process drives has its task there already.
            if job is not None and job.owner == opened.job.owner:
                yield from enqueue(job)
    return opened


def match_untaken(lease_s: float, grace_s: float = 0.0) -> Condition:
    """The condition that no live process has the row's task.

    A task that became due less than ``grace_s`` ago counts as taken: some process is about to take it.
    """
    alive = "task.status = 'picked' AND task.heartbeat > now() - make_interval(secs => :lease_s)"
    waits = (
        "task.status = 'queued' AND task.execute_after <= now()"
        " AND task.execute_after > now() - make_interval(secs => :grace_s)"
    )
    return (
        f"NOT EXISTS (SELECT FROM {TABLE} AS task WHERE task.dedupe_key = media_jobs.id AND (({alive}) OR ({waits})))",
        {"lease_s": lease_s, "grace_s": grace_s},
    )


def claim(me: str, holder: Holder, job_id: str, now: datetime, lease_s: float) -> Transaction[Job | None]:
    """Take a job and its task, if PgQueuer has given it to this process or no live process has it; else None."""
    rows = yield Statement(
        # Locked, and so read after a concurrent write: a job that ends at this moment is not taken.
        f"SELECT * FROM media_jobs WHERE id = :id AND {IS_DRIVEN} FOR UPDATE",  # noqa: S608
        {"id": job_id},
    )
    if not rows:
        return None
    job = decode_job(rows[0], _DIALECT)
    if not holder.holds(job.account, sandbox=job.sandbox):
        return None
    if not (yield from pick(job, me, lease_s)):
        return None
    # Opened here, or given to us before: nothing to write.
    if job.owner == me:
        return job
    rows = yield Statement(
        # The version rises, so that a process that was only paused can write no more.
        "UPDATE media_jobs SET owner = :me, version = version + 1, updated_at = :now WHERE id = :id RETURNING *",
        {"me": me, "now": now, "id": job_id},
    )
    count_takeover(job.owner, job.state, job.kind)
    return decode_job(rows[0], _DIALECT)


def pick(job: Job, me: str, lease_s: float) -> Transaction[bool]:
    """Make the job's task ours, unless a live process has it. Returns whether it is ours."""
    rows = yield Statement(
        f"INSERT INTO {TABLE} AS task (priority, entrypoint, payload, status, dedupe_key, queue_manager_id)"  # noqa: S608
        " VALUES (:priority, :entrypoint, :payload, 'picked', :id, CAST(:me AS uuid))"
        f" ON CONFLICT (dedupe_key) WHERE {_OPEN_TASK} DO UPDATE SET status = 'picked', headers = NULL,"
        " queue_manager_id = excluded.queue_manager_id, heartbeat = now(), updated = now()"
        " WHERE task.status = 'queued' OR task.queue_manager_id = excluded.queue_manager_id"
        " OR task.heartbeat <= now() - make_interval(secs => :lease_s) RETURNING id",
        _parameters_of(job) | {"me": me, "lease_s": lease_s},
    )
    return bool(rows)


def release_all(me: str) -> Transaction[None]:
    """Put back all tasks of this process, for others to take at once."""
    yield Statement(
        f"UPDATE {TABLE} SET status = 'queued', execute_after = now(), queue_manager_id = NULL, updated = now()"  # noqa: S608
        " WHERE queue_manager_id = CAST(:me AS uuid) AND status = 'picked'",
        {"me": me},
    )


def finish(job_id: str, me: str, rest_s: float | None) -> Transaction[None]:
    """End or put back a task that this process took without PgQueuer. ``rest_s``: when it is due again; None: never."""
    ours = "dedupe_key = :id AND status = 'picked' AND queue_manager_id = CAST(:me AS uuid)"
    over = f"DELETE FROM {TABLE} WHERE {ours}"  # noqa: S608
    rests = (
        f"UPDATE {TABLE} SET status = 'queued', queue_manager_id = NULL, updated = now(), execute_after = CASE"  # noqa: S608
        # Marked: a caller has asked for the job while it was being driven, and must not wait for the rest to pass.
        f" WHEN headers IS NULL THEN now() + make_interval(secs => :rest_s) ELSE now() END WHERE {ours}"
    )
    yield Statement(over if rest_s is None else rests, {"id": job_id, "me": me, "rest_s": rest_s})


def beat(me: str) -> Transaction[set[str]]:
    """Renew the leases of this process; returns the ids of the jobs whose tasks it has."""
    rows = yield Statement(
        f"UPDATE {TABLE} SET heartbeat = now() WHERE queue_manager_id = CAST(:me AS uuid) AND status = 'picked'"  # noqa: S608
        " RETURNING dedupe_key",
        {"me": me},
    )
    return {row["dedupe_key"] for row in rows}


def wake_resting(entrypoints: Collection[str]) -> Transaction[None]:
    """Make resting tasks due now: the process that starts may have what they were lacking."""
    yield Statement(
        f"UPDATE {TABLE} SET execute_after = now() WHERE status = 'queued' AND execute_after > now()"  # noqa: S608
        " AND entrypoint = ANY(:entrypoints)",
        {"entrypoints": list(entrypoints)},
    )


def prune_log() -> Transaction[None]:
    """Keep one day of PgQueuer's log, which nothing here reads."""
    yield Statement(f"DELETE FROM {TABLE}_log WHERE created < now() - interval '1 day'")  # noqa: S608


def move(handing_over: Transaction[Job]) -> Transaction[Job]:
    """Queue a job that is handed over anew, under the entrypoint of its new account."""
    job = yield from handing_over
    yield Statement(f"DELETE FROM {TABLE} WHERE dedupe_key = :id", {"id": job.id})  # noqa: S608
    yield from enqueue(job)
    return job


def complete_account(account: Account) -> Transaction[None]:
    """Write the account's id beside the entrypoint of its key: holders of the account may take those tasks then."""
    there = "endpoint IS NULL" if account.endpoint is None else "endpoint = :endpoint"
    yield Statement(
        "UPDATE media_job_accounts SET account_id = :account_id"  # noqa: S608
        f" WHERE provider = :provider AND {there} AND key_fingerprint = :key_fingerprint AND account_id IS NULL",
        {
            "provider": account.provider,
            "endpoint": account.endpoint,
            "account_id": account.account_id,
            "key_fingerprint": account.key_fingerprint,
        },
    )


def select_entrypoints(holder: Holder) -> Transaction[set[str]]:
    """The entrypoints of the accounts that ``holder`` has, of all that ever had a job here."""
    rows = yield Statement("SELECT * FROM media_job_accounts")
    return {row["entrypoint"] for row in rows if holder.holds(_account_of(row), sandbox=row["sandbox"])}


def _account_of(row: Row) -> Account:
    return Account(**{name: row[name] for name in ("provider", "endpoint", "account_id", "key_fingerprint")})


def enqueue_forgotten(after: str, limit: int) -> Transaction[tuple[int, str]]:
    """Make sure that the next ``limit`` open rows after this id have a task each.

    Returns how many had none, and the id to go on after: "" when the end is reached.
    """
    rows = yield Statement(
        f"SELECT page.*, task.id IS NULL AS is_forgotten FROM (SELECT * FROM media_jobs WHERE {IS_DRIVEN}"  # noqa: S608
        " AND id > :after ORDER BY id LIMIT :limit) AS page"
        f" LEFT JOIN {TABLE} AS task ON task.dedupe_key = page.id AND task.status IN ('queued', 'picked')"
        " ORDER BY page.id",
        {"after": after, "limit": limit},
    )
    forgotten = [decode_job(row, _DIALECT) for row in rows if row["is_forgotten"]]
    for job in forgotten:
        yield from enqueue(job)
    return len(forgotten), rows[-1]["id"] if len(rows) == limit else ""
