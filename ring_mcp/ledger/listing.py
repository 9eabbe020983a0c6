"""Lists of jobs, page by page: every page is read from an index, with one row more than it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ring_mcp.domain import JobState
from ring_mcp.ledger.base import JobPage, JobQuery
from ring_mcp.ledger.rows import Dialect, decode_job, encode
from ring_mcp.ledger.statements import Statement, Transaction


def list_jobs(query: JobQuery, dialect: Dialect) -> Transaction[JobPage]:
    limit = max(1, query.limit)
    where, parameters = list[str](), dict[str, Any]()
    created_at = _time_in_list(query, "created_at", dialect)
    for name in ("actor_id", "kind", "clip_id", "pipeline_request_id", "ref_code"):
        if (value := getattr(query, name)) is not None:
            where.append(f"{name} = :{name}")
            parameters[name] = encode(name, value, dialect)
    if query.since is not None:
        where.append(f"{created_at} >= {_time_in_list(query, ':since', dialect)}")
        parameters["since"] = dialect.time(query.since)
    if query.before is not None:
        rows = yield _find_cursor(query, dialect)
        # The place of a row that is gone is not known: better no page than a wrong one.
        if not rows:
            return JobPage(jobs=[])
        # By the id as well: jobs of one instant would be skipped or repeated.
        where.append(f"({created_at}, id) < ({_time_in_list(query, ':before_at', dialect)}, :before)")
        parameters |= {"before": query.before, "before_at": rows[0]["created_at"]}
    rows = yield Statement(
        _select_newest(
            where,
            None if query.states is None else sorted(set(query.states)),
            f"ORDER BY {created_at} DESC, id DESC LIMIT :limit",
        ),
        # One more than is shown, to know whether there is another page.
        {**parameters, **_number_states(query), "limit": limit + 1},
    )
    jobs = [decode_job(row, dialect) for row in rows[:limit]]
    return JobPage(jobs=jobs, cursor=jobs[-1].id if len(rows) > limit else None)


def _find_cursor(query: JobQuery, dialect: Dialect) -> Statement:
    """Selects when the cursor's job was made, if it is of the list's actor: otherwise a cursor would tell whether
    another actor's job exists."""
    if query.actor_id is None:
        return Statement("SELECT created_at FROM media_jobs WHERE id = :before", {"before": query.before})
    return Statement(
        "SELECT created_at FROM media_jobs WHERE id = :before AND actor_id = :actor_id",
        {"before": query.before, "actor_id": encode("actor_id", query.actor_id, dialect)},
    )


def _number_states(query: JobQuery) -> dict[str, str]:
    return {f"state{i}": str(state) for i, state in enumerate(sorted(set(query.states or ())))}


def _time_in_list(query: JobQuery, name: str, dialect: Dialect) -> str:
    if query.actor_id is None:
        return dialect.time_in_list(name, "everybody" if query.states is None else "everybody by state")
    more = (query.states, query.kind, query.clip_id, query.pipeline_request_id, query.ref_code)
    return dialect.time_in_list(name, "actor" if all(each is None for each in more) else "actor and more")


def _select_newest(where: Sequence[str], states: Sequence[JobState] | None, newest_first: str) -> str:
    """Selects the newest jobs. Those of several states are among the newest of each, so the index is read in its order
    for each state."""
    if states is None or len(states) <= 1:
        # An empty list of states means none of them, and must not become all.
        conditions = [*where, *([] if states is None else ["state = :state0" if states else "1 = 0"])]
        return f"SELECT * FROM media_jobs WHERE {' AND '.join(conditions or ['1 = 1'])} {newest_first}"  # noqa: S608
    each = [
        f"SELECT * FROM (SELECT * FROM media_jobs WHERE {' AND '.join([*where, f'state = :state{i}'])}"  # noqa: S608
        f" {newest_first}) AS of_state_{i}"
        for i in range(len(states))
    ]
    return f"SELECT * FROM ({' UNION ALL '.join(each)}) AS of_all_states {newest_first}"  # noqa: S608
