"""Every transaction of the ledger but those of taking over (``claims``), written once for both backends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from ring_mcp.clock import to_iso
from ring_mcp.domain import AuditRecord, Job, Spend, day_start, month_start
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.ledger.base import JobPage, JobQuery
from ring_mcp.ledger.rows import (
    Dialect,
    decode_job,
    diff_columns,
    encode,
    encode_job,
    json_text,
    ticks_to_usd,
)
from ring_mcp.ledger.statements import (
    COST_NOTHING,
    DRIVEN_SQL,
    TERMINAL_SQL,
    Row,
    Statement,
    Transaction,
    in_list,
)


def insert_job(job: Job, dialect: Dialect) -> Transaction[None]:
    values = encode_job(job, dialect)
    names = ", ".join(values)
    placeholders = ", ".join(f":{name}" for name in values)
    yield Statement(f"INSERT INTO media_jobs ({names}) VALUES ({placeholders})", values)  # noqa: S608


def spend_at(now: datetime, sandbox: bool, dialect: Dialect) -> Transaction[Spend]:
    day, month = day_start(now), month_start(now)
    open_part = f"CASE WHEN state IN {TERMINAL_SQL} THEN 0 ELSE reserved_usd_ticks END"
    cost = "COALESCE(settled_usd_ticks, reserved_usd_ticks)"
    rows = yield Statement(
        "SELECT COALESCE(SUM("  # noqa: S608
        f"{cost}), 0) AS month, COALESCE(SUM({open_part}), 0) AS month_reserved,"
        f" COALESCE(SUM(CASE WHEN created_at >= :day THEN {cost} ELSE 0 END), 0) AS day,"
        f" COALESCE(SUM(CASE WHEN created_at >= :day THEN {open_part} ELSE 0 END), 0) AS day_reserved"
        " FROM media_jobs WHERE sandbox = :sandbox AND created_at >= :month",
        {"day": dialect.time(day), "month": dialect.time(month), "sandbox": encode("sandbox", sandbox, dialect)},
    )
    row = rows[0]
    counted = yield Statement(
        "SELECT state, COUNT(*) AS jobs FROM media_jobs"  # noqa: S608
        f" WHERE sandbox = :sandbox AND (state = 'unknown' OR state IN {DRIVEN_SQL}) GROUP BY state",
        {"sandbox": encode("sandbox", sandbox, dialect)},
    )
    unsettled = {each["state"]: int(each["jobs"]) for each in counted}
    unknown_jobs = unsettled.pop("unknown", 0)
    return Spend(
        day_usd=ticks_to_usd(row["day"]) or Decimal(0),
        month_usd=ticks_to_usd(row["month"]) or Decimal(0),
        day_reserved_usd=ticks_to_usd(row["day_reserved"]) or Decimal(0),
        month_reserved_usd=ticks_to_usd(row["month_reserved"]) or Decimal(0),
        unknown_jobs=unknown_jobs,
        open_jobs=sum(unsettled.values()),
    )


def get_job(job_id: str, dialect: Dialect) -> Transaction[Job | None]:
    rows = yield Statement("SELECT * FROM media_jobs WHERE id = :id", {"id": job_id})
    return decode_job(rows[0], dialect) if rows else None


def complete_id(part: str) -> Transaction[list[str]]:
    """By the primary key: whatever order the database's texts have, "g" comes after every digit of an id."""
    rows = yield Statement(
        "SELECT id FROM media_jobs WHERE id >= :part AND id < :beyond ORDER BY id LIMIT 2",
        {"part": part, "beyond": f"{part}g"},
    )
    return [str(row["id"]) for row in rows if str(row["id"]).startswith(part)]


def list_jobs(query: JobQuery, dialect: Dialect) -> Transaction[JobPage]:
    where, parameters = ["1 = 1"], dict[str, Any]()
    limit = max(1, query.limit)
    for name in ("actor_id", "kind", "clip_id", "pipeline_request_id", "ref_code"):
        if (value := getattr(query, name)) is not None:
            where.append(f"{name} = :{name}")
            parameters[name] = value
    if query.states is not None:
        listed, values = in_list("state", query.states)
        where.append(f"state IN {listed}")
        parameters |= values
    if query.since is not None:
        where.append("created_at >= :since")
        parameters["since"] = dialect.time(query.since)
    if query.before is not None:
        where.append("(created_at, id) < (SELECT created_at, id FROM media_jobs WHERE id = :before)")
        parameters["before"] = query.before
    rows = yield Statement(
        f"SELECT * FROM media_jobs WHERE {' AND '.join(where)} ORDER BY created_at DESC, id DESC LIMIT :limit",  # noqa: S608
        {**parameters, "limit": limit + 1},
    )
    jobs = [decode_job(row, dialect) for row in rows[:limit]]
    return JobPage(jobs=jobs, cursor=jobs[-1].id if len(rows) > limit else None)


def save_job(before: Job, after: Job, records: Sequence[AuditRecord], dialect: Dialect) -> Transaction[Job]:
    """The version goes beyond both: a row may be older than what ``after`` knows, and every write is told apart.

    A database that has lost writes may give the same version to others: so the time of the write has to fit as well.
    """
    if before.id != after.id or (before.is_terminal and not before.is_answered_by(after)):
        raise LedgerError(f"job {before.id} has ended and is not written again", retryable=False)
    if before.is_terminal:
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
    for record in records:
        yield from _write_record(record, after.updated_at, dialect)
    return replace(after, version=version)


def restore_job(job: Job, records: Sequence[AuditRecord], dialect: Dialect) -> Transaction[Job]:
    """Write a row that the database has lost, from what its driver knows of it."""
    if (yield Statement("SELECT id FROM media_jobs WHERE id = :id", {"id": job.id})):
        raise JobMoved(f"job {job.id} is there: it was not lost")
    job = yield from _without_a_taken_key(job, dialect)
    job = replace(job, version=job.version + 1)
    yield from insert_job(job, dialect)
    for record in records:
        yield from _write_record(record, job.updated_at, dialect)
    return job


def _without_a_taken_key(job: Job, dialect: Dialect) -> Transaction[Job]:
    """The job without its idempotency key if that stands for another one by now: a result is worth more than a key."""
    if job.idempotency_key is None:
        return job
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
    """The id is made from the job, so that writing a row again after a crash changes nothing."""
    data = {**record.data, "id": record.id, "created_at": to_iso(at), "updated_at": to_iso(at), "version": 1}
    yield Statement(
        f"INSERT INTO {record.table} (id, data, created_at, updated_at) VALUES (:id, :data, :at, :at)"  # noqa: S608
        " ON CONFLICT (id) DO NOTHING",
        {"id": record.id, "data": json_text(data), "at": dialect.time(at)},
    )


def mark_delivered(job_id: str, at: datetime, dialect: Dialect) -> Transaction[None]:
    yield Statement(
        "UPDATE media_jobs SET delivered_at = :at, version = version + 1"  # noqa: S608
        f" WHERE id = :id AND delivered_at IS NULL AND state NOT IN {DRIVEN_SQL}",
        {"id": job_id, "at": dialect.time(at)},
    )


def read_records(table: str, ids: Sequence[str]) -> Transaction[list[dict[str, object]]]:
    _check_audit_table(table)
    listed, parameters = in_list("id", ids)
    rows = yield Statement(f"SELECT data FROM {table} WHERE id IN {listed} ORDER BY id", parameters)  # noqa: S608
    return [_record(row) for row in rows]


def find_record(
    table: str, actor_id: str, name: str, value: str, dialect: Dialect
) -> Transaction[dict[str, object] | None]:
    _check_audit_table(table)
    if name not in ("id", "requestId", "url"):
        raise LedgerError(f"audit rows are not looked for by {name!r}")
    sought = "id" if name == "id" else dialect.fact(name)
    rows = yield Statement(
        f"SELECT data FROM {table} WHERE {dialect.fact('actorId')} = :actor_id AND {sought} = :value"  # noqa: S608
        " ORDER BY created_at DESC LIMIT 1",
        {"actor_id": actor_id, "value": value},
    )
    return _record(rows[0]) if rows else None


def _check_audit_table(table: str) -> None:
    if table not in ("generated_images", "generated_videos"):
        raise LedgerError(f"no audit table {table!r}")


def _record(row: Row) -> dict[str, object]:
    return json.loads(row["data"]) if isinstance(row["data"], str) else dict(row["data"])
