"""The transactions of taking over: which open jobs a process may have, and which it may not.

Only a process that holds a job's account may carry it on: one WHERE clause (``_match_held``) for both databases.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ring_mcp import metrics, telemetry
from ring_mcp.domain import DRIVEN, Account, Holder, Job, JobState
from ring_mcp.errors import InvalidRequest, JobMoved, NotFound
from ring_mcp.ledger.base import Stranded
from ring_mcp.ledger.rows import Dialect, decode_job, encode
from ring_mcp.ledger.statements import IS_DRIVEN, Condition, Statement, Transaction

# Each is a branch of one UNION ALL, of which SQLite takes 500; owners left out are still dead the next time.
_OWNERS_AT_ONCE = 50

_MARKS = ("endpoint", "account_id", "key_fingerprint")


def _match_held(holder: Holder, dialect: Dialect) -> tuple[str, dict[str, Any]]:
    """The condition that a row is of an account that ``holder`` holds; see ``Holder.holds``."""
    parameters: dict[str, Any] = {"sandbox": encode("sandbox", holder.sandbox, dialect)}
    accounts = []
    for i, account in enumerate(holder.accounts):
        parameters[f"provider{i}"] = account.provider
        # IS NULL, since ``= NULL`` is true of no row.
        there = "endpoint IS NULL"
        if account.endpoint is not None:
            there = f"endpoint = :endpoint{i}"
            parameters[f"endpoint{i}"] = account.endpoint
        marks = []
        for name in ("account_id", "key_fingerprint"):
            if (mark := getattr(account, name)) is not None:
                marks.append(f"{name} = :{name}{i}")
                parameters[f"{name}{i}"] = mark
        # An account without marks holds nothing: an empty condition would hold everybody's jobs.
        same = f"({there} AND ({' OR '.join(marks)}))" if marks else "(1 = 0)"
        not_recorded = "(account_id IS NULL AND key_fingerprint IS NULL)"
        accounts.append(f"(provider = :provider{i} AND ({same} OR {not_recorded}))")
    return f"(sandbox = :sandbox AND ({' OR '.join(accounts) or '1 = 0'}))", parameters


def match_unowned(dead: Collection[str], dialect: Dialect) -> list[Condition]:
    """Two conditions, each with its own index: a job has no owner, or a dead one."""
    return [("owner IS NULL", {}), (f"owner {dialect.is_any_of('dead')}", {"dead": dialect.any_of(dead)})]


def _free(dead: Collection[str], dialect: Dialect) -> tuple[str, dict[str, Any]]:
    """The condition that a job is open and that no live process drives it."""
    free, parameters = _any_of(match_unowned(dead, dialect))
    return f"({IS_DRIVEN} AND {free})", parameters


def _any_of(conditions: Sequence[Condition]) -> tuple[str, dict[str, Any]]:
    """The condition that one of these holds."""
    parameters = {name: value for _, of in conditions for name, value in of.items()}
    return f"({' OR '.join(each for each, _ in conditions)})", parameters


def open_owners(me: str) -> Transaction[list[str]]:
    """The other processes that own open jobs. Each is looked up in the index after the previous one, so that not all
    of their rows are read."""
    rows = yield Statement(
        "WITH RECURSIVE each_one(owner) AS ("
        "SELECT MIN(owner) FROM media_jobs WHERE finished_at IS NULL AND owner IS NOT NULL UNION ALL"
        " SELECT (SELECT MIN(owner) FROM media_jobs WHERE finished_at IS NULL AND owner > each_one.owner)"
        " FROM each_one WHERE each_one.owner IS NOT NULL"
        ") SELECT owner FROM each_one WHERE owner IS NOT NULL AND owner <> :me",
        {"me": me},
    )
    return [row["owner"] for row in rows]


def find_free_jobs(
    dead: Collection[str],
    holder: Holder,
    now: datetime,
    limit: int,
    parked: bool,
    dialect: Dialect,
    job_id: str | None = None,
) -> Transaction[list[str]]:
    """The ids of jobs that have no owner or a dead one, of the accounts that ``holder`` holds, the longest due first.

    They are read owner by owner, in index order; if very many owners are dead, some are left for the next call.
    """
    held, parameters = _match_held(holder, dialect)
    parameters |= {"limit": limit, "now": dialect.time(now)}
    # A job that is asked for is taken whether it is due or not.
    if job_id is not None:
        free, of_free = _free(dead, dialect)
        rows = yield Statement(
            f"SELECT id FROM media_jobs WHERE id = :id AND {free} AND {held}",  # noqa: S608
            {**parameters, **of_free, "id": job_id},
        )
        return [row["id"] for row in rows]
    is_due = "" if parked else " AND due_at <= :now"
    owners = {f"dead{i}": owner for i, owner in enumerate(sorted(dead)[:_OWNERS_AT_ONCE])}
    each = [
        "SELECT id, due_at FROM (SELECT id, due_at, owner FROM media_jobs"  # noqa: S608
        f" WHERE {whose} AND {IS_DRIVEN}{is_due} AND {held}"
        # By the owner too, although a branch has only one: then it is the order of the index, and nothing is sorted.
        f" ORDER BY owner, due_at LIMIT :limit) AS free_{i}"
        for i, whose in enumerate(["owner IS NULL", *(f"owner = :{name}" for name in owners)])
    ]
    rows = yield Statement(
        f"SELECT id FROM ({' UNION ALL '.join(each)}) AS free ORDER BY due_at LIMIT :limit",  # noqa: S608
        {**parameters, **owners},
    )
    return [row["id"] for row in rows]


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
    found = yield from find_free_jobs(dead, holder, now, limit, parked, dialect, job_id)
    if not found:
        return []
    # Read for the metric of takeovers, before the UPDATE, which returns only the new owner.
    before = yield Statement(
        f"SELECT owner, state, kind FROM media_jobs WHERE id {dialect.is_any_of('ids')}",  # noqa: S608
        {"ids": dialect.any_of(found)},
    )
    # No condition again: only SQLite is asked so, where nobody writes between these statements.
    rows = yield Statement(
        "UPDATE media_jobs SET owner = :me, version = version + 1, updated_at = :now"  # noqa: S608
        f" WHERE id {dialect.is_any_of('ids')} RETURNING *",
        {"me": me, "now": dialect.time(now), "ids": dialect.any_of(found)},
    )
    for each in before:
        count_takeover(each["owner"], each["state"], each["kind"])
    return [decode_job(row, dialect) for row in rows]


def count_takeover(owner: str | None, state: str, kind: str) -> None:
    """Count that a started job was taken from ``owner``. If the commit that follows fails, it is counted in excess."""
    if owner is not None and state != JobState.PLANNED:
        telemetry.count(metrics.TAKEOVERS, kind)


def select_owned_jobs(me: str, holder: Holder, dialect: Dialect) -> Transaction[set[str]]:
    """The ids of open jobs that this process owns and may carry on."""
    held, parameters = _match_held(holder, dialect)
    rows = yield Statement(
        f"SELECT id FROM media_jobs WHERE owner = :me AND {IS_DRIVEN} AND {held}",  # noqa: S608
        {**parameters, "me": me},
    )
    return {row["id"] for row in rows}


def select_stranded_jobs(
    free: Sequence[Condition], holder: Holder, dialect: Dialect, job_id: str | None = None
) -> Transaction[list[Stranded]]:
    """Open jobs that have no live driver and that ``holder`` must leave alone, by account, the oldest first.

    ``free``: conditions of which one has to hold. A single job is looked at whether it is of the sandbox or not.
    """
    held, parameters = _match_held(holder, dialect)
    for _, of_free in free:
        parameters |= of_free
    asked = "sandbox = :sandbox" if job_id is None else "id = :id"
    facts = ", ".join(("provider", "sandbox", *_MARKS))
    # A SELECT for each condition: an OR of both would use the index of neither. IS NOT TRUE, since comparing a mark
    # that a row lacks gives NULL, and so does its NOT: such a row would be in nobody's list.
    all_free = " UNION ALL ".join(
        f"SELECT {facts}, created_at FROM media_jobs"  # noqa: S608
        f" WHERE {is_free} AND {IS_DRIVEN} AND {asked} AND {held} IS NOT TRUE"
        for is_free, _ in free
    )
    rows = yield Statement(
        f"SELECT {facts}, COUNT(*) AS jobs, MIN(created_at) AS since FROM ({all_free}) AS free"  # noqa: S608
        f" GROUP BY {facts} ORDER BY since",
        {**parameters, "id": job_id},
    )
    found = []
    for row in rows:
        account = Account(provider=row["provider"], **{name: row[name] for name in _MARKS})
        since = dialect.read_time(row["since"])
        assert since is not None, "no row is without it"
        found.append(Stranded(account=account, sandbox=bool(row["sandbox"]), jobs=int(row["jobs"]), since=since))
    return found


def complete_account(account: Account, dialect: Dialect) -> Transaction[None]:
    """Write the provider's own id into open rows that have only the key's fingerprint.

    The version stays, so as not to disturb the job's driver; no ordinary write has these columns.
    """
    there = "endpoint IS NULL" if account.endpoint is None else "endpoint = :endpoint"
    yield Statement(
        "UPDATE media_jobs SET account_id = :account_id"  # noqa: S608
        f" WHERE finished_at IS NULL AND provider = :provider AND {there}"
        " AND key_fingerprint = :key_fingerprint AND account_id IS NULL",
        {"provider": account.provider, **{name: getattr(account, name) for name in _MARKS}},
    )


def mark_in_line(job_ids: Collection[str], me: str, now: datetime, dialect: Dialect) -> Transaction[None]:
    """Note that jobs of this process still wait in line. Their versions stay, as above."""
    yield Statement(
        f"UPDATE media_jobs SET in_line_at = :now WHERE id {dialect.is_any_of('ids')}"  # noqa: S608
        f" AND owner = :me AND state = '{JobState.PLANNED}'",
        {"now": dialect.time(now), "ids": dialect.any_of(job_ids), "me": me},
    )


def hand_over(
    job_id: str, to: Account, sandbox: bool, free: Sequence[Condition], now: datetime, dialect: Dialect
) -> Transaction[Job]:
    """Give an open job that is ``free`` to another account of its provider; it is due at once.

    Raises NotFound, InvalidRequest or JobMoved.
    """
    is_free, of_free = _any_of(free)
    rows = yield Statement(
        f"SELECT media_jobs.*, {is_free} AS is_free FROM media_jobs WHERE id = :id",  # noqa: S608
        {**of_free, "id": job_id},
    )
    if not rows:
        raise NotFound(f"there is no job {job_id!r}; `ring-mcp jobs list` shows the newest")
    before = decode_job(rows[0], dialect)
    _check_hand_over(before, to, sandbox, is_free=bool(rows[0]["is_free"]))
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
        # A process that took the job since it was read has raised its version, and keeps it.
        f"UPDATE media_jobs SET {sets} WHERE id = :id_ AND version = :version_ RETURNING id",  # noqa: S608
        {**values, "id_": job_id, "version_": before.version},
    )
    if not rows:
        raise JobMoved(f"job {job_id} was changed by another process first")
    return after


def _check_hand_over(job: Job, to: Account, sandbox: bool, *, is_free: bool) -> None:
    if job.state not in DRIVEN:
        raise InvalidRequest(f"job {job.id} is {job.state}: only a job that is under way can be handed over")
    if job.sandbox != sandbox:
        raise InvalidRequest(f"job {job.id} is {'of the sandbox' if job.sandbox else 'a real one'}, and this is not")
    if job.plan.provider != to.provider:
        raise InvalidRequest(f"job {job.id} belongs to {job.account}: it cannot go to {to}")
    if job.account.is_same(to):
        raise InvalidRequest(f"job {job.id} belongs to this account already: `ring-mcp jobs resume {job.id}`")
    if not is_free:
        raise InvalidRequest(f"job {job.id} is being carried on by a process that holds its account")
