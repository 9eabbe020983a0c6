"""The tasks of jobs: queued with the row, at rest, asked for, given to another account."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from ring_mcp import telemetry
from ring_mcp.domain import Account, Holder, Job, JobState
from ring_mcp.errors import LedgerError
from ring_mcp.ledger import tasks
from ring_mcp.ledger.postgres_session import drive, open_connection
from ring_mcp.ledger.statements import Transaction
from ring_mcp.ledger.tasks import CLIP, PICTURE, TABLE, name_entrypoint
from ring_mcp.metrics import Registry
from tests.fake_clock import START, FakeClock
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
    assert (CLIP, PICTURE) == (0, 1), "servers of an older version queue into the same line"


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
    assert name_entrypoint(ACCOUNT, sandbox=False) == "ring-mcp/real/xai/956db3a823fbd383", "older tasks have it"
    assert name_entrypoint(ACCOUNT, sandbox=True).startswith("ring-mcp/sandbox/xai/")
    assert not any(str(ACCOUNT.key_fingerprint)[:8] in name for name in names)


def test_names_in_the_database_are_those_that_its_triggers_know() -> None:
    found = (TABLE, tasks.JOBS_CHANNEL, tasks.WAKE_CHANNEL, tasks.ACCOUNTS_CHANNEL)
    assert found == ("ring_mcp_pgqueuer", "ring_mcp_jobs", "ring_mcp_wake", "ring_mcp_accounts")


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


async def test_a_job_asked_for_is_due_and_a_driven_one_marked(postgres: LedgerDatabase) -> None:
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


async def test_what_a_live_process_has_or_takes_soon_is_not_stranded(postgres: LedgerDatabase) -> None:
    async with postgres.started(grace_s=3600.0) as ledger:
        job = await opened(ledger, JobState.RENDERING)
        for status, due_in, heart_still_for, is_stranded in (
            ("queued", "0", "1 day", False),
            ("queued", "-2 hours", "0", True),
            ("queued", "2 hours", "0", True),
            ("picked", "-2 hours", "0", False),
            ("picked", "0", "2 minutes", True),
            ("exception", "0", "0", True),
        ):
            postgres.query(
                f"UPDATE {TABLE} SET status = '{status}', execute_after = now() + interval '{due_in}',"
                f" heartbeat = now() - interval '{heart_still_for}'"
            )
            found = await ledger.list_stranded(Holder(sandbox=False), job.id)
            assert bool(found) is is_stranded, (status, due_in, heart_still_for)
        postgres.query(f"UPDATE {TABLE} SET status = 'queued', execute_after = now(), dedupe_key = 'another'")
        assert len(await ledger.list_stranded(Holder(sandbox=False), job.id)) == 1


async def test_a_task_taken_from_the_dead_is_fresh_and_unmarked(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        job = await opened(ledger, JobState.RENDERING)
        await be_driven(ledger, job)
        await run(postgres, tasks.ask_for(job))
        assert not await run(postgres, tasks.pick(job, ME, 60.0)), "a live process has it"
        postgres.query(f"UPDATE {TABLE} SET heartbeat = now() - interval '61 seconds'")
        assert await run(postgres, tasks.pick(job, ME, 60.0))
        assert task_of(postgres, job) == {"status": "picked", "owner": ME, "headers": None, "is_due": True}
        assert not await run(postgres, tasks.pick(job, ledger.owner, 60.0)), "its heart beats again"
        assert await run(postgres, tasks.pick(job, ME, 60.0))
        postgres.query(f"DELETE FROM {TABLE}")
        assert await run(postgres, tasks.pick(job, ME, 60.0)), "the task was lost"
        assert task_of(postgres, job)["owner"] == ME


async def test_what_one_process_lets_go_of_is_due_and_others_keep_theirs(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        mine, theirs = await opened(ledger), await opened(ledger)
        await run(postgres, tasks.pick(mine, ME, 60.0))
        await be_driven(ledger, theirs)
        postgres.query(f"UPDATE {TABLE} SET execute_after = now() + interval '1 hour', heartbeat = '2026-01-01'")
        assert await run(postgres, tasks.beat(ME)) == {mine.id}
        beaten = postgres.query(f"SELECT dedupe_key FROM {TABLE} WHERE heartbeat > now() - interval '1 hour'")
        assert beaten == [{"dedupe_key": mine.id}]
        await run(postgres, tasks.release_all(ME))
        assert task_of(postgres, mine) == {"status": "queued", "owner": None, "headers": None, "is_due": True}
        kept = {"status": "picked", "owner": ledger.owner, "headers": None, "is_due": False}
        assert task_of(postgres, theirs) == kept
        await run(postgres, tasks.wake_resting([name_entrypoint(ACCOUNT, sandbox=False)]))
        assert task_of(postgres, theirs) == kept, "what is driven does not rest"


async def test_a_task_ends_or_rests_beside_others_of_its_owner(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        jobs = [await opened(ledger) for _ in range(3)]
        for job in jobs:
            await be_driven(ledger, job)
        await run(postgres, tasks.finish(jobs[0].id, ledger.owner, None))
        await run(postgres, tasks.finish(jobs[1].id, ledger.owner, 3600.0))
        assert task_of(postgres, jobs[1]) == {"status": "queued", "owner": None, "headers": None, "is_due": False}
        kept = {"status": "picked", "owner": ledger.owner, "headers": None, "is_due": True}
        assert task_of(postgres, jobs[2]) == kept
        assert len(postgres.query(f"SELECT id FROM {TABLE}")) == 2


async def test_queueing_again_takes_no_mark_away_and_wakes_nobody_s_task(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        resting, driven = await opened(ledger), await opened(ledger)
        await be_driven(ledger, driven)
        asked = """'{"asked": true}'"""
        postgres.query(f"UPDATE {TABLE} SET execute_after = now() + interval '1 hour', headers = {asked}")
        postgres.query(f"UPDATE {TABLE} SET headers = NULL WHERE status = 'picked'")
        for job in (resting, driven):
            await run(postgres, tasks.enqueue(job))
        woken = {"status": "queued", "owner": None, "headers": {"asked": True}, "is_due": True}
        assert task_of(postgres, resting) == woken
        left = {"status": "picked", "owner": ledger.owner, "headers": None, "is_due": False}
        assert task_of(postgres, driven) == left
        await run(postgres, tasks.ask_for(driven))
        assert task_of(postgres, driven) == left | {"headers": {"asked": True}}


async def test_a_job_handed_over_loses_its_own_task_alone(postgres: LedgerDatabase) -> None:
    to = Account(provider="xai", key_fingerprint="key-9")
    async with postgres.started() as ledger:
        given, kept = await opened(ledger), await opened(ledger)
        await ledger.hand_over(given.id, to, sandbox=False)
    found = postgres.query(f"SELECT dedupe_key, entrypoint FROM {TABLE} ORDER BY id")
    assert [tuple(row.values()) for row in found] == [
        (kept.id, name_entrypoint(ACCOUNT, sandbox=False)),
        (given.id, name_entrypoint(to, sandbox=False)),
    ]


async def test_a_task_that_is_over_is_no_task(postgres: LedgerDatabase) -> None:
    async with postgres.started() as ledger:
        jobs = sorted([await opened(ledger) for _ in range(3)], key=lambda job: job.id)
        await be_driven(ledger, jobs[0])
        postgres.query(f"UPDATE {TABLE} SET status = 'exception' WHERE dedupe_key = :id", {"id": jobs[2].id})
        assert await run(postgres, tasks.enqueue_forgotten(jobs[0].id, 2)) == (1, jobs[2].id)
        assert await run(postgres, tasks.enqueue_forgotten("", 4)) == (0, "")


@pytest.mark.parametrize("endpoint", [None, "proxy.example"])
async def test_an_accounts_id_is_written_beside_its_own_key_alone(
    postgres: LedgerDatabase, endpoint: str | None
) -> None:
    known = Account(provider="xai", endpoint=endpoint, account_id="team", key_fingerprint="key")
    accounts = [
        replace(known, endpoint=each, account_id=team, key_fingerprint=key)
        for each in (None, "proxy.example")
        for team in (None, "another team")
        for key in ("key", "another")
    ]
    async with postgres.started() as ledger:
        for account in accounts:
            facts = {name: getattr(account, name) for name in ("endpoint", "account_id", "key_fingerprint")}
            await opened(ledger, **facts)
        names = [name_entrypoint(account, sandbox=False) for account in accounts]
        await ledger.complete_account(replace(known, provider="google"))
        await ledger.complete_account(known)
    rows = {row["entrypoint"]: row for row in postgres.query("SELECT * FROM media_job_accounts")}
    found = [rows[name]["account_id"] for name in names]
    fits = [(each.endpoint, each.account_id, each.key_fingerprint) == (endpoint, None, "key") for each in accounts]
    assert found == ["team" if fit else each.account_id for fit, each in zip(fits, accounts, strict=True)]


async def test_who_queues_a_due_task_again_makes_it_no_younger(postgres: LedgerDatabase) -> None:
    """Otherwise a job that nobody takes would never count as stranded while people look at it."""
    ago = f"SELECT execute_after < now() - interval '1 hour' AS is_old FROM {TABLE}"
    async with postgres.started() as ledger:
        job = await opened(ledger)
        postgres.query(f"UPDATE {TABLE} SET execute_after = now() - interval '2 hours'")
        await run(postgres, tasks.enqueue(job))
        assert postgres.query(ago) == [{"is_old": True}]
        postgres.query(f"""UPDATE {TABLE} SET headers = '{{"asked": true}}'""")
        for asked in (False, True):
            await run(postgres, tasks.enqueue(job, asked=asked))
        assert postgres.query(ago) == [{"is_old": True}]


async def test_a_job_taken_over_is_written_once_and_counted(postgres: LedgerDatabase) -> None:
    clock = FakeClock(START + timedelta(minutes=5))
    async with postgres.started() as ending:
        job, other = [await opened(ending, JobState.RENDERING) for _ in range(2)]
    async with postgres.started(clock) as heir:
        with telemetry.measure(Registry()) as registry:
            taken = await heir.claim_one(HOLDER, job.id)
            assert taken == replace(job, owner=heir.owner, version=job.version + 1, updated_at=clock.now())
            assert await heir.claim_one(HOLDER, job.id) == taken == await heir.get(job.id)
        assert await heir.get(other.id) == other
    assert registry.to_text().count('ring_mcp_jobs_taken_over_total{kind="image"} 1.0') == 1
