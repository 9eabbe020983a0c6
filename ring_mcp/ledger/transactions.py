"""Transactions that read and write one job and its audit rows, written once for both backends.

Others are in ``opening``, ``listing``, ``spending``, and ``claims`` (taking over).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from ring_mcp.clock import to_iso
from ring_mcp.domain import AuditRecord, Job, JobState
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.ledger import locks
from ring_mcp.ledger.rows import (
    Dialect,
    decode_job,
    diff_columns,
    encode,
    encode_job,
    json_text,
)
from ring_mcp.ledger.statements import (
    COST_NOTHING,
    DRIVEN_SQL,
    Row,
    Statement,
    Transaction,
)


def insert_job(job: Job, dialect: Dialect) -> Transaction[None]:
    values = encode_job(job, dialect)
    names = ", ".join(values)
    placeholders = ", ".join(f":{name}" for name in values)
    yield Statement(f"INSERT INTO media_jobs ({names}) VALUES ({placeholders})", values)  # noqa: S608


def get_job(job_id: str, dialect: Dialect) -> Transaction[Job | None]:
    rows = yield Statement("SELECT * FROM media_jobs WHERE id = :id", {"id": job_id})
    return decode_job(rows[0], dialect) if rows else None


def find_ids(beginning: str, actor_id: str | None) -> Transaction[list[str]]:
    """The first two ids with this beginning, by a range of the primary key: in every collation, "g" sorts after all
    characters of an id."""
    # Not by the actor's index, which would be read to its end.
    whose = "" if actor_id is None else " AND actor_id || '' = :actor_id"
    rows = yield Statement(
        f"SELECT id FROM media_jobs WHERE id >= :low AND id < :high{whose} ORDER BY id LIMIT 2",  # noqa: S608
        {"low": beginning, "high": f"{beginning}g", **({} if actor_id is None else {"actor_id": actor_id})},
    )
    # In a collation of a language, the range may hold other ids as well.
    return [str(row["id"]) for row in rows if str(row["id"]).startswith(beginning)]


def select_states(job_ids: Collection[str], dialect: Dialect) -> Transaction[dict[str, JobState]]:
    rows = yield Statement(
        f"SELECT id, state FROM media_jobs WHERE id {dialect.is_any_of('ids')}",  # noqa: S608
        {"ids": dialect.any_of(job_ids)},
    )
    return {row["id"]: JobState(row["state"]) for row in rows}


def save_job(before: Job, after: Job, records: Sequence[AuditRecord], dialect: Dialect) -> Transaction[Job]:
    """Write ``after`` over ``before``, with its audit rows. Raises JobMoved if the row is not ``before`` any more, and
    LedgerError if it has ended.

    The new version is higher than both, since the row may be older than ``after``. The time is compared as well: a
    database that has lost writes may give the same version twice.
    """
    if before.id != after.id or (before.is_terminal and not before.is_answered_by(after)):
        raise LedgerError(f"job {before.id} has ended and is not written again", retryable=False)
    if before.is_terminal:  # it may have to give up its key
        after = yield from _without_a_taken_key(after, dialect)
    changes = diff_columns(before, after, dialect)
    sets = "".join(f"{name} = :{name}, " for name in changes)
    version = max(before.version, after.version) + 1
    rows = yield Statement(
        f"UPDATE media_jobs SET {sets}version = :version_to_be"  # noqa: S608
        " WHERE id = :id_ AND version = :version_ AND updated_at = :updated_at_ RETURNING id",
        {
            **changes,
            "id_": before.id,
            "version_": before.version,
            "updated_at_": dialect.time(before.updated_at),
            "version_to_be": version,
        },
    )
    if not rows:
        raise JobMoved(f"job {before.id} was changed by another process first")
    # In the same transaction: no result has the id of an audit row that is not there.
    for record in records:
        yield from _write_record(record, after.updated_at, dialect)
    return replace(after, version=version)


def restore_job(job: Job, records: Sequence[AuditRecord], dialect: Dialect) -> Transaction[Job]:
    """Write a row that the database has lost, as its driver knows it. Raises JobMoved if it is there."""
    yield from dialect.take_locks([locks.of_request(job)])
    if (yield Statement("SELECT id FROM media_jobs WHERE id = :id", {"id": job.id})):
        raise JobMoved(f"job {job.id} is there: it was not lost")
    job = yield from _without_a_taken_key(job, dialect)
    job = replace(job, version=job.version + 1)
    yield from insert_job(job, dialect)
    for record in records:
        yield from _write_record(record, job.updated_at, dialect)
    return job


def _without_a_taken_key(job: Job, dialect: Dialect) -> Transaction[Job]:
    """The job without its idempotency key if another job has that key by now: a result is worth more than a key."""
    if job.idempotency_key is None:
        return job
    yield from dialect.take_locks([locks.of_request(job)])
    rows = yield Statement(
        "SELECT id FROM media_jobs WHERE actor_id = :actor_id AND sandbox = :sandbox AND idempotency_key = :key"  # noqa: S608
        f" AND id <> :id AND NOT {COST_NOTHING}",
        {
            "id": job.id,
            "key": encode("idempotency_key", job.idempotency_key, dialect),
            **{name: encode(name, getattr(job, name), dialect) for name in ("actor_id", "sandbox")},
        },
    )
    if not rows:
        return job
    taken = f"its idempotencyKey stands for job {rows[0]['id']} now"
    return replace(job, idempotency_key=None, warnings=(*job.warnings, taken))


def amend_job(job: Job, records: Sequence[AuditRecord], dialect: Dialect) -> Transaction[Job]:
    rows = yield Statement(
        "UPDATE media_jobs SET plan = :plan, warnings = :warnings, version = version + 1"
        " WHERE id = :id AND version = :version AND state = 'done' RETURNING version",
        {
            "plan": encode("plan", job.plan, dialect),
            "warnings": encode("warnings", job.warnings, dialect),
            "id": job.id,
            "version": job.version,
        },
    )
    if not rows:
        raise JobMoved(f"job {job.id} is not done, or was changed by another process first")
    for record in records:
        yield from _write_record(record, job.updated_at, dialect)
    return replace(job, version=int(rows[0]["version"]))


def _write_record(record: AuditRecord, at: datetime, dialect: Dialect) -> Transaction[None]:
    """Insert an audit row. Its id is made from the job, so that writing it again after a crash changes nothing."""
    data = {**record.data, "id": record.id, "created_at": to_iso(at), "updated_at": to_iso(at), "version": 1}
    yield Statement(
        f"INSERT INTO {record.table} (id, data, created_at, updated_at) VALUES (:id, :data, :at, :at)"  # noqa: S608
        " ON CONFLICT (id) DO NOTHING",
        {"id": record.id, "data": json_text(data), "at": dialect.time(at)},
    )


def mark_delivered(job_id: str, at: datetime, dialect: Dialect) -> Transaction[None]:
    yield Statement(
        "UPDATE media_jobs SET delivered_at = :at, version = version + 1"  # noqa: S608
        # The first time counts; and an open job has no outcome that could have been delivered.
        f" WHERE id = :id AND delivered_at IS NULL AND state NOT IN {DRIVEN_SQL}",
        {"id": job_id, "at": dialect.time(at)},
    )


def read_records(table: str, ids: Sequence[str], dialect: Dialect) -> Transaction[list[dict[str, object]]]:
    # The name becomes part of the statement: it must be one of two.
    _check_audit_table(table)
    rows = yield Statement(
        f"SELECT data FROM {table} WHERE id {dialect.is_any_of('ids')} ORDER BY id",  # noqa: S608
        {"ids": dialect.any_of(ids)},
    )
    return [_record(row) for row in rows]


def find_record(
    table: str, actor_id: str, name: str, value: str, dialect: Dialect
) -> Transaction[dict[str, object] | None]:
    _check_audit_table(table)
    if name not in ("id", "requestId", "url"):
        raise LedgerError(f"audit rows are not looked for by {name!r}")
    sought = "id" if name == "id" else dialect.fact(name)
    # By the sought value, which is rare: an index by actor or age would be read to its end.
    rows = yield Statement(
        f"SELECT data, created_at FROM {table} WHERE {sought} = :value AND {dialect.fact('actorId')} || '' = :actor_id",  # noqa: S608
        {"actor_id": actor_id, "value": value},
    )
    return _record(max(rows, key=lambda row: row["created_at"])) if rows else None


def _check_audit_table(table: str) -> None:
    if table not in ("generated_images", "generated_videos"):
        raise LedgerError(f"no audit table {table!r}")


def _record(row: Row) -> dict[str, object]:
    return json.loads(row["data"]) if isinstance(row["data"], str) else dict(row["data"])
