"""The numbered files of sql/, and ledgers of older versions: what stands in them goes on."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ring_mcp.domain import DRIVEN, Account, Caps, Holder, Job, JobState
from ring_mcp.ledger.migrations import list_pending, migrations
from ring_mcp.ledger.postgres import migrate
from tests.fake_clock import START
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import HOLDER, PRICE_USD, opened, planned, sample_job

BILLED_USD = Decimal("0.07")
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
        names = [migration.name for migration in migrations("postgres")[1:]]
        assert await migrate(database.address) == [*names, "PgQueuer's tables"]


def old_job(state: JobState, **facts: Any) -> Job:
    job = sample_job(state, key_fingerprint=None, **facts)
    return replace(job, billed_usd=BILLED_USD) if state is JobState.DONE else job


def old_row(database: LedgerDatabase, job: Job) -> dict[str, Any]:
    later = ("endpoint", "account_id", "key_fingerprint", "in_line_at")
    return {name: value for name, value in database.columns(job).items() if name not in later} | {"attempts": 3}


@pytest.fixture(params=["sqlite", "postgres"])
def old(request: pytest.FixtureRequest) -> LedgerDatabase:
    """A ledger as the first version made it, with a job in each state, real and of the sandbox."""
    name = "sqlite" if request.param == "sqlite" else "empty_postgres"
    database: LedgerDatabase = request.getfixturevalue(name)
    make_first_version(database)
    for state in JobState:
        for sandbox in (False, True):
            job = old_job(state, id=f"{state}-{sandbox}", sandbox=sandbox)
            database.insert("media_jobs", old_row(database, job))
    return database


async def test_old_rows_read_as_before(old: LedgerDatabase) -> None:
    await bring_up_to_date(old)
    async with old.started() as ledger:
        for state in JobState:
            job = await ledger.get(f"{state}-False")
            assert job is not None
            expected = old_job(state, id=job.id)
            random = ("attempt_token", "assets", "request_hash")
            assert job == replace(expected, **{name: getattr(job, name) for name in random})
            assert not job.account.is_recorded


async def test_old_jobs_are_carried_on_by_any_account_of_their_provider(old: LedgerDatabase) -> None:
    await bring_up_to_date(old)
    async with old.started() as ledger:
        for holder, theirs in (
            (Holder(sandbox=False, accounts=(GOOGLE,)), set[str]()),
            (HOLDER, {f"{state}-False" for state in DRIVEN}),
            (replace(HOLDER, sandbox=True), {f"{state}-True" for state in DRIVEN}),
        ):
            rows = [f"{state}-{sandbox}" for state in JobState for sandbox in (False, True)]
            assert {job_id for job_id in rows if await ledger.claim_one(holder, job_id) is not None} == theirs


async def test_old_jobs_are_counted(old: LedgerDatabase) -> None:
    await bring_up_to_date(old)
    async with old.started() as ledger:
        assert await ledger.find_wrong_sums() == []
        for sandbox in (False, True):
            spend = await ledger.spend(START, sandbox=sandbox)
            assert (spend.open_jobs, spend.unknown_jobs) == (len(DRIVEN), 1)
            assert spend.day_usd == spend.month_usd == len(JobState) * PRICE_USD
            assert spend.day_reserved_usd == (len(DRIVEN) + 1) * PRICE_USD
            [bill] = await ledger.bills(START, sandbox=sandbox)
            assert (bill.jobs, bill.billed_usd, bill.listed_usd) == (1, BILLED_USD, PRICE_USD)


async def test_an_old_call_is_joined_and_not_paid_again(old: LedgerDatabase) -> None:
    await bring_up_to_date(old)
    async with old.started() as ledger:
        for state in (JobState.RENDERING, JobState.UNKNOWN, JobState.DONE):
            before = await ledger.get(f"{state}-False")
            assert before is not None
            again = await ledger.open(planned(request_hash=before.request_hash), Caps(per_day_usd=Decimal(0)))
            assert (again.joined, again.job) == (True, before)


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
def test_the_files_are_numbered_from_one_and_no_number_twice(backend: str) -> None:
    found = migrations(backend)
    versions = [each.version for each in found]
    assert (versions[0], versions) == (1, sorted(set(versions)))
    assert all(each.name.startswith(f"{each.version:03}_") and each.name.endswith(".sql") for each in found)
    assert "CREATE TABLE" in found[0].sql


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_what_was_applied_is_not_pending_and_the_rest_is(backend: str) -> None:
    every = migrations(backend)
    assert list_pending(backend, []) == every
    assert list_pending(backend, [1]) == every[1:]
    assert list_pending(backend, {each.version for each in every}) == []
    assert [each.version for each in list_pending(backend, [every[-1].version])] == [
        each.version for each in every[:-1]
    ]


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_the_files_read_alike_whatever_the_locale(backend: str) -> None:
    """psql reads them in the encoding of whoever runs it."""
    assert [each.name for each in migrations(backend) if not each.sql.isascii()] == []


def test_each_backend_has_its_own() -> None:
    assert migrations("sqlite")[0].sql != migrations("postgres")[0].sql
    assert migrations("unheard-of") == []
