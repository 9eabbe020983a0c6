"""The transactions of taking over: which open jobs a process may have, and which it may not.

A job is carried on only by a process that holds its account: one WHERE clause (``_held``) says so for both databases.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from ring_mcp.domain import DRIVEN, Account, Holder, Job
from ring_mcp.errors import InvalidRequest, JobMoved, NotFound
from ring_mcp.ledger.base import Stranded
from ring_mcp.ledger.rows import Dialect, decode_job, encode
from ring_mcp.ledger.statements import DRIVEN_SQL, Statement, Transaction, in_list

_MARKS = ("endpoint", "account_id", "key_fingerprint")


def _match_held(holder: Holder, dialect: Dialect) -> tuple[str, dict[str, Any]]:
    """The condition that a row is of an account that ``holder`` holds; see ``Holder.holds``."""
    parameters: dict[str, Any] = {"sandbox": encode("sandbox", holder.sandbox, dialect)}
    accounts = []
    for i, account in enumerate(holder.accounts):
        parameters[f"provider{i}"] = account.provider
        there = "endpoint IS NULL"
        if account.endpoint is not None:
            there = f"endpoint = :endpoint{i}"
            parameters[f"endpoint{i}"] = account.endpoint
        marks = []
        for name in ("account_id", "key_fingerprint"):
            if (mark := getattr(account, name)) is not None:
                marks.append(f"{name} = :{name}{i}")
                parameters[f"{name}{i}"] = mark
        same = f"({there} AND ({' OR '.join(marks)}))" if marks else "(1 = 0)"
        not_recorded = "(account_id IS NULL AND key_fingerprint IS NULL)"
        accounts.append(f"(provider = :provider{i} AND ({same} OR {not_recorded}))")
    return f"(sandbox = :sandbox AND ({' OR '.join(accounts) or '1 = 0'}))", parameters


def _free(dead: Collection[str]) -> tuple[str, dict[str, Any]]:
    """The condition that a job is under way and that nobody alive drives it."""
    listed, parameters = in_list("dead", dead)
    return f"(state IN {DRIVEN_SQL} AND (owner IS NULL OR owner IN {listed}))", parameters


def open_owners(me: str) -> Transaction[list[str]]:
    """Who has jobs under way, beside this process."""
    rows = yield Statement(
        f"SELECT DISTINCT owner FROM media_jobs WHERE state IN {DRIVEN_SQL} AND owner IS NOT NULL AND owner <> :me",  # noqa: S608
        {"me": me},
    )
    return [row["owner"] for row in rows]


def claim_jobs(
    me: str,
    dead: Collection[str],
    holder: Holder,
    now: datetime,
    limit: int,
    parked: bool,
    dialect: Dialect,
    job_id: str | None = None,
) -> Transaction[list[Job]]:
    """Take over jobs that have no owner or a dead one, of the accounts that ``holder`` holds."""
    free, of_free = _free(dead)
    held, of_held = _match_held(holder, dialect)
    free += f" AND {held}"
    free += "" if parked else " AND due_at <= :now"
    free += "" if job_id is None else " AND id = :id"
    # Said twice: of a row that is being written just now, PostgreSQL looks at the outer conditions again.
    rows = yield Statement(
        f"UPDATE media_jobs SET owner = :me, version = version + 1, updated_at = :now WHERE {free}"  # noqa: S608
        f" AND id IN (SELECT id FROM media_jobs WHERE {free} ORDER BY created_at LIMIT :limit) RETURNING *",
        {**of_free, **of_held, "me": me, "now": dialect.time(now), "limit": limit, "id": job_id},
    )
    return [decode_job(row, dialect) for row in rows]


def select_owned_jobs(me: str, holder: Holder, dialect: Dialect) -> Transaction[set[str]]:
    """The jobs under way that this process owns and may carry on."""
    held, parameters = _match_held(holder, dialect)
    rows = yield Statement(
        f"SELECT id FROM media_jobs WHERE state IN {DRIVEN_SQL} AND owner = :me AND {held}",  # noqa: S608
        {**parameters, "me": me},
    )
    return {row["id"] for row in rows}


def select_stranded_jobs(
    dead: Collection[str], holder: Holder, dialect: Dialect, job_id: str | None = None
) -> Transaction[list[Stranded]]:
    """Jobs under way that nobody alive drives and that ``holder`` must leave alone, by account, the oldest first.

    A single job is looked at whether it is of the sandbox or not.
    """
    free, of_free = _free(dead)
    held, of_held = _match_held(holder, dialect)
    asked = "sandbox = :sandbox" if job_id is None else "id = :id"
    facts = ", ".join(("provider", "sandbox", *_MARKS))
    rows = yield Statement(
        f"SELECT {facts}, COUNT(*) AS jobs, MIN(created_at) AS since FROM media_jobs"  # noqa: S608
        f" WHERE {free} AND {asked} AND {held} IS NOT TRUE GROUP BY {facts} ORDER BY since",
        {**of_free, **of_held, "id": job_id},
    )
    found = []
    for row in rows:
        account = Account(provider=row["provider"], **{name: row[name] for name in _MARKS})
        since = dialect.read_time(row["since"])
        assert since is not None, "no row is without it"
        found.append(Stranded(account=account, sandbox=bool(row["sandbox"]), jobs=int(row["jobs"]), since=since))
    return found


def complete_account(account: Account, dialect: Dialect) -> Transaction[None]:
    """Write the provider's own id into open rows that know only the key's fingerprint.

    The version stays as it is: whoever drives such a job is not to be disturbed; no ordinary write has these columns.
    """
    there = "endpoint IS NULL" if account.endpoint is None else "endpoint = :endpoint"
    yield Statement(
        "UPDATE media_jobs SET account_id = :account_id"  # noqa: S608
        f" WHERE (state = 'unknown' OR state IN {DRIVEN_SQL}) AND provider = :provider AND {there}"
        " AND key_fingerprint = :key_fingerprint AND account_id IS NULL",
        {"provider": account.provider, **{name: getattr(account, name) for name in _MARKS}},
    )


def hand_over(
    job_id: str, to: Account, sandbox: bool, dead: Collection[str], now: datetime, dialect: Dialect
) -> Transaction[Job]:
    """Make an open job that nobody alive drives one of another account of its provider; due at once."""
    rows = yield Statement("SELECT * FROM media_jobs WHERE id = :id", {"id": job_id})
    if not rows:
        raise NotFound(f"there is no job {job_id!r}; `ring-mcp jobs list` shows the newest")
    before = decode_job(rows[0], dialect)
    _check_hand_over(before, to, sandbox, dead)
    after = replace(
        before,
        endpoint=to.endpoint,
        account_id=to.account_id,
        key_fingerprint=to.key_fingerprint,
        owner=None,
        due_at=now,
        updated_at=now,
        warnings=(*before.warnings, f"handed over from {before.account} to {to}"),
        version=before.version + 1,
    )
    changed = ("owner", "due_at", "updated_at", "warnings", "version", *_MARKS)
    sets = ", ".join(f"{name} = :{name}" for name in changed)
    values = {name: encode(name, getattr(after, name), dialect) for name in changed}
    rows = yield Statement(
        f"UPDATE media_jobs SET {sets} WHERE id = :id_ AND version = :version_ RETURNING id",  # noqa: S608
        {**values, "id_": job_id, "version_": before.version},
    )
    if not rows:
        raise JobMoved(f"job {job_id} was changed by another process first")
    return after


def _check_hand_over(job: Job, to: Account, sandbox: bool, dead: Collection[str]) -> None:
    if job.state not in DRIVEN:
        raise InvalidRequest(f"job {job.id} is {job.state}: only a job that is under way can be handed over")
    if job.sandbox != sandbox:
        raise InvalidRequest(f"job {job.id} is {'of the sandbox' if job.sandbox else 'a real one'}, and this is not")
    if job.plan.provider != to.provider:
        raise InvalidRequest(f"job {job.id} belongs to {job.account}: it cannot go to {to}")
    if job.account.is_same(to):
        raise InvalidRequest(f"job {job.id} belongs to this account already: `ring-mcp jobs resume {job.id}`")
    if job.owner is not None and job.owner not in dead:
        raise InvalidRequest(f"job {job.id} is being carried on by a process that holds its account")
