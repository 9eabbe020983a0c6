"""The tasks of jobs: queued with the row, at rest, asked for, given to another account."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import pytest

from ring_mcp.domain import Account, Holder, Job, JobState
from ring_mcp.errors import LedgerError
from ring_mcp.ledger import tasks
from ring_mcp.ledger.postgres_session import drive, open_connection
from ring_mcp.ledger.statements import Transaction
from ring_mcp.ledger.tasks import CLIP, PICTURE, TABLE, name_entrypoint
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import ACCOUNT, HOLDER, NO_CAPS, be_driven, left_behind, opened, planned

T = TypeVar("T")

ME = "11111111-2222-3333-4444-555555555555"


async def run(database: LedgerDatabase, transaction: Transaction[T]) -> T:
    async with open_connection(database.address) as connection:
        return await drive(connection, transaction)


def task_of(database: LedgerDatabase, job: Job) -> dict[str, Any]:
    [task] = database.query(
        "SELECT CAST(status AS text), CAST(queue_manager_id AS text) AS owner, headers,"
        f" execute_after <= now() AS is_due FROM {TABLE} WHERE dedupe_key = :id",
        {"id": job.id},
    )
    return task


async def test_a_job_and_its_task_are_opened_together_or_not_at_all(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        postgres.query(f"ALTER TABLE {TABLE} ADD CONSTRAINT no_such CHECK (dedupe_key <> 'no-such-job')")
        with pytest.raises(LedgerError):
            await ledger.open(planned(id="no-such-job"), NO_CAPS)
        assert await ledger.get("no-such-job") is None
        job = await opened(ledger)
        still = planned(id="of-a-clip", parent_job_id="clip")
        await ledger.open(planned(id="clip"), NO_CAPS, still)
    found = postgres.query(f"SELECT dedupe_key, priority, CAST(status AS text), entrypoint FROM {TABLE} ORDER BY id")
    entrypoint = name_entrypoint(ACCOUNT, sandbox=False)
    assert [tuple(row.values()) for row in found] == [
        (job_id, PICTURE, "queued", entrypoint) for job_id in (job.id, "clip", "of-a-clip")
    ]


async def test_a_request_that_joins_another_queues_nothing(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        await ledger.open(planned(request_hash="v1:same"), NO_CAPS)
        assert (await ledger.open(planned(request_hash="v1:same"), NO_CAPS)).joined
    assert len(postgres.query(f"SELECT id FROM {TABLE}")) == 1


async def test_a_task_that_waits_its_turn_is_not_stranded(postgres: LedgerDatabase) -> None:
    nobody = Holder(sandbox=False)
    async with postgres.started() as ledger, postgres.started(grace_s=3600.0) as patient:
        job = await opened(ledger)
        assert len(await ledger.list_stranded(nobody, job.id)) == 1
        assert await patient.list_stranded(nobody, job.id) == []
        postgres.query(f"UPDATE {TABLE} SET execute_after = now() - interval '2 hours'")
        assert len(await patient.list_stranded(nobody, job.id)) == 1
        to = Account(provider="xai", key_fingerprint="key-9")
        assert (await patient.hand_over(job.id, to, sandbox=False)).account == to
    [task] = postgres.query(f"SELECT entrypoint FROM {TABLE}")
    assert task == {"entrypoint": name_entrypoint(to, sandbox=False)}


async def test_clips_have_a_lower_priority_than_pictures(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        await opened(ledger, kind="video")
    assert postgres.query(f"SELECT priority FROM {TABLE}") == [{"priority": CLIP}]
    assert CLIP < PICTURE


def test_an_entrypoint_tells_accounts_apart_and_nothing_of_the_key() -> None:
    accounts = [
        ACCOUNT,
        replace(ACCOUNT, account_id="team"),
        replace(ACCOUNT, endpoint="proxy"),
        replace(ACCOUNT, key_fingerprint="f" * 32),
        replace(ACCOUNT, provider="google"),
    ]
    names = {name_entrypoint(account, sandbox=sandbox) for account in accounts for sandbox in (False, True)}
    assert len(names) == 10
    assert not any(str(ACCOUNT.key_fingerprint)[:8] in name for name in names)


async def test_entrypoints_are_those_of_the_holders_accounts(postgres: LedgerDatabase) -> None:
    theirs = Account(provider="xai", key_fingerprint="theirs")
    async with postgres.started() as ledger:
        await opened(ledger)
        await opened(ledger, sandbox=True)
        await opened(ledger, key_fingerprint="theirs")
        assert await run(postgres, tasks.select_entrypoints(HOLDER)) == {name_entrypoint(ACCOUNT, sandbox=False)}
        rotated = Holder(sandbox=False, accounts=(Account(provider="xai", account_id="team", key_fingerprint="new"),))
        assert await run(postgres, tasks.select_entrypoints(rotated)) == set()
        await ledger.complete_account(replace(theirs, account_id="team"))
    assert await run(postgres, tasks.select_entrypoints(rotated)) == {name_entrypoint(theirs, sandbox=False)}


async def test_a_job_that_is_asked_for_is_due_and_a_driven_one_is_marked(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        job = await opened(ledger, JobState.RENDERING)
        await be_driven(ledger, job)
        await run(postgres, tasks.finish(job.id, ledger.owner, 3600.0))
        assert task_of(postgres, job) == {"status": "queued", "owner": None, "headers": None, "is_due": False}
        await run(postgres, tasks.ask_for(job))
        asked = {"asked": True}
        assert task_of(postgres, job) == {"status": "queued", "owner": None, "headers": asked, "is_due": True}
        await be_driven(ledger, job)
        await run(postgres, tasks.ask_for(job))
        assert task_of(postgres, job) == {"status": "picked", "owner": ledger.owner, "headers": asked, "is_due": True}
        await run(postgres, tasks.finish(job.id, ledger.owner, 3600.0))
        assert task_of(postgres, job)["is_due"], "somebody has asked meanwhile: it is not laid to rest"


async def test_nobody_but_its_owner_ends_a_task_or_lays_it_to_rest(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        job = await opened(ledger)
        await be_driven(ledger, job)
        before = task_of(postgres, job)
        for rest_s in (None, 10.0):
            await run(postgres, tasks.finish(job.id, ME, rest_s))
        await run(postgres, tasks.release_all(ME))
        assert await run(postgres, tasks.beat(ME)) == set()
        assert task_of(postgres, job) == before
        assert await run(postgres, tasks.beat(ledger.owner)) == {job.id}
        await run(postgres, tasks.finish(job.id, ledger.owner, None))
    assert postgres.query(f"SELECT id FROM {TABLE}") == []


async def test_what_has_ended_gets_no_task(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        job = await opened(ledger, JobState.FAILED)
        postgres.query(f"DELETE FROM {TABLE}")
        await run(postgres, tasks.ask_for(job))
        await run(postgres, tasks.ask_for(planned()))
    assert postgres.query(f"SELECT id FROM {TABLE}") == []


async def test_rows_without_a_task_are_found_page_by_page(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        lost = [await left_behind(ledger, JobState.RENDERING) for _ in range(3)]
        postgres.query(f"DELETE FROM {TABLE}")
        kept = await opened(ledger)
        await opened(ledger, JobState.UNKNOWN)
        found, after = await run(postgres, tasks.enqueue_forgotten("", 2))
        assert after == sorted(job.id for job in [*lost, kept])[1]
        more, end = await run(postgres, tasks.enqueue_forgotten(after, 3))
        assert (found + more, end) == (3, "")
        assert await run(postgres, tasks.enqueue_forgotten("", 9)) == (0, "")


async def test_a_start_wakes_what_rests_of_its_own_accounts(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        jobs = [await opened(ledger), await opened(ledger, key_fingerprint="theirs")]
        postgres.query(f"UPDATE {TABLE} SET execute_after = now() + interval '1 hour'")
        await run(postgres, tasks.wake_resting([name_entrypoint(ACCOUNT, sandbox=False)]))
    assert [task_of(postgres, job)["is_due"] for job in jobs] == [True, False]


async def test_a_day_of_what_pgqueuer_did_is_kept(postgres: LedgerDatabase) -> None:
    for age in ("2 days", "2 hours"):
        postgres.query(
            f"INSERT INTO {TABLE}_log (job_id, status, priority, entrypoint, created)"
            f" VALUES (1, 'picked', 0, 'ring', now() - interval '{age}')"
        )
    await run(postgres, tasks.prune_log())
    assert len(postgres.query(f"SELECT id FROM {TABLE}_log")) == 1
