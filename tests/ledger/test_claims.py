"""Taking over, statement by statement: who is looked up, whose jobs are found, and what comes in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ring_mcp.domain import Account, JobState
from ring_mcp.errors import JobMoved
from ring_mcp.ledger import claims
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.statements import Transaction
from tests.fake_clock import START
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import HOLDER, sample_job
from tests.migrated_file import put_migrated_file

T = TypeVar("T")

SQLITE = Dialect(text_times=True)
OTHER_KEY = Account(provider="xai", key_fingerprint="key-9")


@pytest.fixture
def rows(sqlite: LedgerDatabase) -> LedgerDatabase:
    put_migrated_file(Path(sqlite.address))
    return sqlite


def put(rows: LedgerDatabase, state: JobState = JobState.PLANNED, **facts: Any) -> str:
    job = sample_job(state, **facts)
    rows.insert("media_jobs", rows.columns(replace(job, owner=facts.get("owner"))))
    return job.id


def run(rows: LedgerDatabase, transaction: Transaction[T], *, before_the_last: str = "SELECT 1") -> T:
    """What a transaction answers. ``before_the_last``: what another one does before its second statement."""
    with rows.transaction() as connection:
        found: list[dict[str, Any]] | None = None
        while True:
            try:
                statement = next(transaction) if found is None else transaction.send(found)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if found is not None:
                connection.query(before_the_last)
            found = connection.query(statement.sql, statement.parameters)


def find(rows: LedgerDatabase, *dead: str, limit: int = 100, now: datetime = START) -> list[str]:
    return run(rows, claims.find_free_jobs(dead, HOLDER, now, limit, False, SQLITE))


def test_every_other_owner_of_an_open_job_is_looked_up_once(rows: LedgerDatabase) -> None:
    for owner in ("b", "me", "d", "b", "e", None):
        put(rows, owner=owner)
    for owner in ("a", "c", "f"):
        put(rows, JobState.DONE, owner=owner)
    put(rows, JobState.DONE, owner="b")
    assert run(rows, claims.open_owners("me")) == ["b", "d", "e"]


def test_the_longest_due_jobs_come_first_whosever_they_were(rows: LedgerDatabase) -> None:
    owners = ("dead", None, "gone", "dead", None, "alive")
    jobs = [put(rows, owner=owner, due_at=START - timedelta(seconds=n)) for n, owner in enumerate(owners)]
    assert find(rows, "gone", "dead") == [jobs[4], jobs[3], jobs[2], jobs[1], jobs[0]]
    assert find(rows, "gone", "dead", limit=3) == [jobs[4], jobs[3], jobs[2]]
    assert find(rows, "dead", now=START - timedelta(seconds=3)) == [jobs[4], jobs[3]]


def test_of_very_many_dead_owners_fifty_are_looked_at_each_time(rows: LedgerDatabase) -> None:
    """SQLite refuses a statement of more than 500 parts."""
    dead = [f"dead-{n:03}" for n in range(600)]
    jobs = [put(rows, owner=owner) for owner in dead[:60]]
    assert set(find(rows, *reversed(dead))) == set(jobs[:50])


def test_a_job_taken_over_meanwhile_is_not_handed_over(rows: LedgerDatabase) -> None:
    job_id = put(rows, JobState.RENDERING)
    free = claims.match_unowned([], SQLITE)
    giving = claims.hand_over(job_id, OTHER_KEY, False, free, START, SQLITE)
    with pytest.raises(JobMoved, match=f"job {job_id} was changed by another process first"):
        run(rows, giving, before_the_last="UPDATE media_jobs SET version = version + 1")
    giving = claims.hand_over(job_id, OTHER_KEY, False, free, START, SQLITE)
    assert run(rows, giving).account == OTHER_KEY


def test_an_account_without_marks_holds_no_marked_job(rows: LedgerDatabase) -> None:
    nameless = replace(HOLDER, accounts=(Account(provider="xai"),))
    put(rows)
    unmarked = put(rows, key_fingerprint=None)
    assert run(rows, claims.find_free_jobs([], nameless, START, 10, False, SQLITE)) == [unmarked]
