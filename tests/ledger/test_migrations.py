"""The numbered files of sql/, and ledgers of older versions: what stands in them goes on."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ring_mcp.domain import DRIVEN, Account, Holder, Job, JobState
from ring_mcp.ledger.migrations import migrations, pending
from ring_mcp.ledger.postgres import migrate
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import HOLDER, opened, sample_job

GOOGLE = Account(provider="google", key_fingerprint="f" * 32)


def make_first_version(database: LedgerDatabase) -> None:
    first = migrations(database.kind)[0]
    if database.kind == "sqlite":
        Path(database.address).parent.mkdir()
        with sqlite3.connect(database.address) as connection:
            connection.executescript(f"{first.sql}\nPRAGMA user_version = 1;")
        connection.close()
    else:
        with psycopg.connect(database.address) as server:
            server.execute(first.sql)


async def bring_up_to_date(database: LedgerDatabase) -> None:
    if database.kind == "postgres":
        assert await migrate(database.address) == [migration.name for migration in migrations("postgres")[1:]]


def old_row(database: LedgerDatabase, job: Job) -> dict[str, Any]:
    later = ("endpoint", "account_id", "key_fingerprint")
    return {name: value for name, value in database.columns(job).items() if name not in later} | {"attempts": 3}


@pytest.fixture(params=["sqlite", "postgres"])
def old(request: pytest.FixtureRequest) -> LedgerDatabase:
    """A ledger as the first version made it, with a job in each state, real and of the sandbox."""
    name = "sqlite" if request.param == "sqlite" else "empty_postgres"
    database: LedgerDatabase = request.getfixturevalue(name)
    make_first_version(database)
    for state in JobState:
        for sandbox in (False, True):
            job = sample_job(state, id=f"{state}-{sandbox}", sandbox=sandbox, key_fingerprint=None)
            database.insert("media_jobs", old_row(database, job))
    return database


async def test_old_rows_read_as_before(old: LedgerDatabase) -> None:
    await bring_up_to_date(old)
    async with old.started() as ledger:
        for state in JobState:
            job = await ledger.get(f"{state}-False")
            assert job is not None
            expected = sample_job(state, id=job.id, key_fingerprint=None)
            random = ("attempt_token", "assets", "request_hash")
            assert job == replace(expected, **{name: getattr(job, name) for name in random})
            assert not job.account.is_recorded


async def test_old_jobs_are_carried_on_by_any_account_of_their_provider(old: LedgerDatabase) -> None:
    await bring_up_to_date(old)
    async with old.started() as ledger:
        assert await ledger.claim(Holder(sandbox=False, accounts=(GOOGLE,)), 100, parked=True) == []
        real = await ledger.claim(HOLDER, 100, parked=True)
        assert {job.id for job in real} == {f"{state}-False" for state in DRIVEN}
        played = await ledger.claim(replace(HOLDER, sandbox=True), 100, parked=True)
        assert {job.id for job in played} == {f"{state}-True" for state in DRIVEN}


async def test_new_jobs_stand_beside_old_ones(old: LedgerDatabase) -> None:
    await bring_up_to_date(old)
    async with old.started() as ledger:
        job = await opened(ledger, JobState.STORING)
        assert await ledger.get(job.id) == job
    [row] = old.query("SELECT provider FROM media_jobs WHERE id = :id", {"id": job.id})
    assert row == {"provider": "xai"}


async def test_a_column_that_nobody_read_is_gone(old: LedgerDatabase) -> None:
    await bring_up_to_date(old)
    async with old.started():
        [row] = old.query("SELECT * FROM media_jobs WHERE id = 'planned-False'")
    assert "attempts" not in row


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_the_files_are_numbered_from_one_without_a_gap(backend: str) -> None:
    found = migrations(backend)
    assert [each.version for each in found] == list(range(1, len(found) + 1))
    assert all(each.name.startswith(f"{each.version:03}_") and each.name.endswith(".sql") for each in found)
    assert "CREATE TABLE" in found[0].sql


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_what_was_applied_is_not_pending_and_the_rest_is(backend: str) -> None:
    every = migrations(backend)
    assert pending(backend, []) == every
    assert pending(backend, [1]) == every[1:]
    assert pending(backend, {each.version for each in every}) == []
    assert [each.version for each in pending(backend, [every[-1].version])] == [each.version for each in every[:-1]]


def test_each_backend_has_its_own() -> None:
    assert migrations("sqlite")[0].sql != migrations("postgres")[0].sql
    assert migrations("unheard-of") == []
