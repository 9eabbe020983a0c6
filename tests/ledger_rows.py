"""Many finished jobs at once, past the ledger: of five actors, spread over sixty days, made by the database itself."""

from __future__ import annotations

import json
from typing import Any

from ring_mcp.ledger.rows import COLUMNS, column, json_text
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import ACCOUNT, OUTPUT, TROUBLE, sample_asset, sample_plan

ACTORS = 5
DAYS = 60
SAME = "v1:asked for again and again"
"""The request of every second job of actor-0: delivered each time."""

_STATE = "CASE n % 25 WHEN 10 THEN 'failed' WHEN 2 THEN 'refused' ELSE 'done' END"
_VALUES: dict[str, str] = {
    "kind": "CASE n % 4 WHEN 0 THEN 'video' ELSE 'image' END",
    "state": _STATE,
    "version": "5",
    "actor_id": f"'actor-' || (n % {ACTORS})",
    "request_hash": f"CASE n % {2 * ACTORS} WHEN 0 THEN :same ELSE 'v1:' || n END",
    "idempotency_key": f"CASE WHEN n % 3 = 1 AND n % {2 * ACTORS} <> 0 THEN 'key-' || n END",
    "parent_job_id": "CASE n % 25 WHEN 5 THEN 'clip-of-' || n END",
    "ref_code": "CASE n % 2 WHEN 0 THEN 'ref-' || (n % 6) END",
    "clip_id": "CASE n % 2 WHEN 0 THEN 'clip-' || (n % 4) END",
    "pipeline_request_id": "CASE n % 4 WHEN 0 THEN 'campaign-' || (n % 8) END",
    "key_fingerprint": ":fingerprint",
    "owner": "'long-gone-' || (n % 9)",
    "attempt_token": "'attempt-' || n",
    "provider_request_id": "'request-' || n",
    "served_model": "'grok-imagine-image-2.0'",
    "progress": "100",
    "outputs": ":outputs",
    "assets": f"CASE WHEN {_STATE} = 'done' THEN :assets ELSE '[]' END",
    "failure": f"CASE WHEN {_STATE} <> 'done' THEN :failure END",
    "warnings": "'[]'",
    "plan": ":plan",
    "reserved_usd_ticks": "600000000",
    "billed_usd_ticks": f"CASE WHEN {_STATE} = 'done' THEN 600000000 END",
    "settled_usd_ticks": f"CASE WHEN {_STATE} = 'failed' THEN 0 ELSE 600000000 END",
}
_TIMES = ("created_at", "updated_at", "finished_at", "delivered_at", "submit_deadline_at")


def add_finished_jobs(database: LedgerDatabase, jobs: int) -> None:
    """Write them, newest last (the last ones a minute ago), with their sums, and let the database look at what it has.

    Without triggers, which would take minutes for a million rows: whoever needs the sums has them made anew. Indexes
    are made at the end.
    """
    is_sqlite = database.kind == "sqlite"
    values = {column(name): "NULL" for name in COLUMNS} | _VALUES
    at = "strftime('%Y-%m-%dT%H:%M:%S', 'now', '-' || ((:jobs - n) * :step_s + 60) || ' seconds') || '.000000+00:00'"
    values |= dict.fromkeys(_TIMES, at if is_sqlite else "now() - make_interval(secs => (:jobs - n) * :step_s + 60)")
    values["id"] = "lower(hex(randomblob(16)))" if is_sqlite else "md5(CAST(n AS text))"
    values["sandbox"] = "0" if is_sqlite else "false"
    if is_sqlite:
        numbers = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :jobs)"
    else:
        numbers = "WITH numbers AS (SELECT n FROM generate_series(1, :jobs) AS n)"
        for name in ("outputs", "assets", "failure", "warnings", "plan"):
            values[name] = f"CAST({values[name]} AS jsonb)"
        values = {name: _in_postgres(value) for name, value in values.items()}
    parameters: dict[str, Any] = {
        "jobs": jobs,
        "step_s": DAYS * 86_400 / jobs,
        "same": SAME,
        "fingerprint": ACCOUNT.key_fingerprint,
        "plan": json_text(sample_plan().model_dump(mode="json")),
        "outputs": json.dumps([OUTPUT.model_dump(mode="json")]),
        "assets": json.dumps([sample_asset().model_dump(mode="json")]),
        "failure": json_text(TROUBLE.model_dump(mode="json")),
    }
    with database.transaction() as transaction:
        afterwards = [*_silence(database, transaction), *_drop_indexes(database, transaction)]
        transaction.query(
            f"INSERT INTO media_jobs ({', '.join(values)}) {numbers} SELECT {', '.join(values.values())} FROM numbers",
            parameters,
        )
        for statement in afterwards:
            transaction.query(statement)
    database.query("ANALYZE")


def _in_postgres(value: str) -> str:
    """Its driver takes a lone % for a parameter, and it wants to know what a parameter is."""
    for name in ("same", "fingerprint"):
        value = value.replace(f":{name}", f"CAST(:{name} AS text)")
    return value.replace(" % ", " %% ")


def _silence(database: LedgerDatabase, transaction: Any) -> list[str]:
    """Take the triggers away; the answer brings them back."""
    if database.kind == "postgres":
        transaction.query("ALTER TABLE media_jobs DISABLE TRIGGER USER")
        return ["ALTER TABLE media_jobs ENABLE TRIGGER USER"]
    found = transaction.query("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'media_jobs'")
    for trigger in found:
        transaction.query(f"DROP TRIGGER {trigger['name']}")
    return [trigger["sql"] for trigger in found]


def _drop_indexes(database: LedgerDatabase, transaction: Any) -> list[str]:
    """Take those away that keep nothing from being written; the answer brings them back."""
    if database.kind == "sqlite":
        found = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'media_jobs' AND sql IS NOT NULL"
        )
    else:
        found = (
            "SELECT indexname AS name, indexdef AS sql FROM pg_indexes"
            " WHERE schemaname = 'public' AND tablename = 'media_jobs' AND indexname <> 'media_jobs_pkey'"
        )
    indexes = transaction.query(found)
    for index in indexes:
        transaction.query(f"DROP INDEX {index['name']}")
    return [index["sql"] for index in indexes]
