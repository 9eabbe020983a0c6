"""Whose a job is: what every ledger lets a process touch, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ring_mcp.domain import DRIVEN, Account, Holder, JobState
from ring_mcp.errors import InvalidRequest
from ring_mcp.ledger.base import Ledger
from tests.fake_clock import START, FakeClock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import ACCOUNT, HOLDER, be_driven, left_behind, opened, sample_plan
from tests.one_now import one_now

SETTLED = [state for state in JobState if state not in DRIVEN]
ELSEWHERE = "proxy.example"
ACCOUNTS = [
    Account(provider=provider, endpoint=endpoint, account_id=account_id, key_fingerprint=fingerprint)
    for provider in ("xai", "google")
    for endpoint in (None, ELSEWHERE)
    for account_id in (None, "team-1", "team-2")
    for fingerprint in (None, "key-1", "key-2")
]
HOLDERS = [
    *(Holder(sandbox=sandbox, accounts=(account,)) for sandbox in (False, True) for account in ACCOUNTS[1::4]),
    Holder(sandbox=False, accounts=(ACCOUNTS[1], ACCOUNTS[-1])),
    Holder(sandbox=False),
]


def of(account: Account, **facts: Any) -> dict[str, Any]:
    """What makes a sample job one of this account."""
    marks = {name: getattr(account, name) for name in ("endpoint", "account_id", "key_fingerprint")}
    return {"plan": sample_plan().model_copy(update={"provider": account.provider}), **marks, **facts}


@pytest.mark.parametrize("database", one_now(["sqlite", "postgres"]), indirect=True)
async def test_jobs_are_taken_over_by_their_accounts_holder_alone(ledger: Ledger, database: LedgerDatabase) -> None:
    jobs = [
        await left_behind(ledger, JobState.RENDERING, **of(account, sandbox=sandbox))
        for account in ACCOUNTS
        for sandbox in (False, True)
    ]
    for holder in HOLDERS:
        theirs = {job.id for job in jobs if holder.holds(job.account, sandbox=job.sandbox)}
        stranded = {job.account for job in jobs if job.id not in theirs and job.sandbox == holder.sandbox}
        assert {each.account for each in await ledger.list_stranded(holder)} == stranded
        assert {job.id for job in jobs if await ledger.claim_one(holder, job.id) is not None} == theirs
        database.let_go()


@pytest.mark.parametrize(
    ("mine", "theirs", "is_mine"),
    [
        ({"key_fingerprint": "key-1"}, {"key_fingerprint": "key-1"}, True),
        ({"key_fingerprint": "key-1"}, {"key_fingerprint": "key-2"}, False),
        ({"key_fingerprint": "key-2", "account_id": "team"}, {"key_fingerprint": "key-1", "account_id": "team"}, True),
        ({"key_fingerprint": "key-1", "account_id": "team"}, {"key_fingerprint": "key-1"}, True),
        ({"key_fingerprint": "key-1"}, {"key_fingerprint": "key-1", "account_id": "team"}, True),
        ({"key_fingerprint": "key-2"}, {"key_fingerprint": "key-1", "account_id": "team"}, False),
        ({"key_fingerprint": "key-1"}, {"key_fingerprint": "key-1", "endpoint": ELSEWHERE}, False),
        ({"key_fingerprint": "key-1", "endpoint": ELSEWHERE}, {"key_fingerprint": "key-1"}, False),
        ({"key_fingerprint": "key-1", "endpoint": "proxy"}, {"key_fingerprint": "key-1", "endpoint": "proxy"}, True),
        ({"key_fingerprint": "key-1"}, {}, True),
    ],
)
async def test_one_job_is_claimed_with_a_key_of_its_own_account(
    ledger: Ledger, mine: dict[str, str], theirs: dict[str, str], is_mine: bool
) -> None:
    job = await left_behind(ledger, JobState.RENDERING, **of(Account(provider="xai", **theirs)))
    holder = Holder(sandbox=False, accounts=(Account(provider="xai", **mine),))
    assert (await ledger.claim_one(holder, job.id) is not None) == is_mine


async def test_a_job_of_a_living_process_is_not_stranded_whoever_asks(ledger: Ledger, database: LedgerDatabase) -> None:
    nobody = Holder(sandbox=False)
    async with database.started() as ending:
        job = await opened(ending, JobState.STORING)
        await be_driven(ending, job)
        assert await ledger.list_stranded(nobody) == await ledger.list_stranded(nobody, job.id) == []
    [stranded] = await ledger.list_stranded(nobody, job.id)
    assert (stranded.account, stranded.jobs, stranded.since) == (ACCOUNT, 1, job.created_at)
    assert await ledger.list_stranded(HOLDER, job.id) == []
    assert await ledger.list_stranded(nobody, "no-such-job") == []


async def test_one_job_of_the_other_world_is_told_of_by_its_id(ledger: Ledger) -> None:
    played = await left_behind(ledger, JobState.RENDERING, sandbox=True)
    await left_behind(ledger, JobState.RENDERING, sandbox=True)
    [found] = await ledger.list_stranded(HOLDER, played.id)
    assert (found.account, found.sandbox, found.jobs) == (ACCOUNT, True, 1)
    assert await ledger.list_stranded(HOLDER) == []


@pytest.mark.parametrize("state", SETTLED)
async def test_what_has_ended_or_is_unknown_is_not_stranded(ledger: Ledger, state: JobState) -> None:
    job = await left_behind(ledger, state) if state is JobState.UNKNOWN else await opened(ledger, state)
    assert await ledger.list_stranded(Holder(sandbox=False), job.id) == []


async def test_stranded_jobs_are_counted_by_account_the_oldest_first(ledger: Ledger) -> None:
    for minutes, account in enumerate([ACCOUNTS[1], ACCOUNTS[2], ACCOUNTS[1], ACCOUNTS[2], ACCOUNTS[2]]):
        await left_behind(ledger, **of(account, created_at=START - timedelta(minutes=minutes)))
    await left_behind(ledger, **of(ACCOUNTS[1], sandbox=True))
    found = await ledger.list_stranded(HOLDER)
    assert [(each.account, each.jobs) for each in found] == [(ACCOUNTS[2], 3), (ACCOUNTS[1], 2)]
    assert found[0].since == START - timedelta(minutes=4)


async def test_the_providers_own_id_completes_rows_that_know_the_key_alone(ledger: Ledger) -> None:
    known = Account(provider="xai", account_id="team-1", key_fingerprint="key-1")
    fits = [await opened(ledger, state, **of(ACCOUNTS[1])) for state in (JobState.RENDERING, JobState.UNKNOWN)]
    other = [
        await opened(ledger, JobState.RENDERING, **of(account))
        for account in (
            Account(provider="xai", key_fingerprint="key-2"),
            Account(provider="xai", endpoint=ELSEWHERE, key_fingerprint="key-1"),
            Account(provider="google", key_fingerprint="key-1"),
            Account(provider="xai", account_id="team-2", key_fingerprint="key-1"),
            Account(provider="xai"),
        )
    ]
    other.append(await opened(ledger, JobState.DONE, **of(ACCOUNTS[1])))
    await ledger.complete_account(known)
    for job in fits:
        assert await ledger.get(job.id) == replace(job, account_id="team-1")
        assert (await ledger.save(job, replace(job, progress=50))).progress == 50, "its driver is not disturbed"
    assert [await ledger.get(job.id) for job in other] == other
    await ledger.complete_account(replace(known, endpoint=ELSEWHERE))
    completed = [await ledger.get(job.id) for job in other]
    assert completed == [other[0], replace(other[1], account_id="team-1"), *other[2:]]
    rotated = Holder(sandbox=False, accounts=(replace(known, key_fingerprint="key-9"),))
    assert rotated.holds(known, sandbox=False)


async def test_no_ordinary_write_changes_whose_a_job_is(ledger: Ledger) -> None:
    job = await opened(ledger, JobState.RENDERING)
    await ledger.save(job, replace(job, progress=9, endpoint=ELSEWHERE, account_id="team", key_fingerprint="key"))
    stored = await ledger.get(job.id)
    assert stored is not None
    assert (stored.progress, stored.account) == (9, ACCOUNT)


async def test_a_job_handed_over_is_due_for_the_new_account(
    ledger: Ledger, second_ledger: Ledger, clock: FakeClock
) -> None:
    to = Account(provider="xai", account_id="team-9", key_fingerprint="key-9")
    job = await left_behind(ledger, JobState.STORING, due_at=None)
    clock.advance(300)
    given = await second_ledger.hand_over(job.id, to, sandbox=False)
    assert (given.due_at, given.updated_at) == (clock.now(), clock.now())
    assert given == await ledger.get(job.id)
    assert (given.account, given.owner, given.version) == (to, None, job.version + 1)
    assert given.warnings == (f"handed over from {ACCOUNT} to {to}",)
    assert await ledger.claim_one(HOLDER, job.id) is None
    assert await ledger.claim_one(Holder(sandbox=False, accounts=(to,)), job.id) is not None


async def test_a_job_goes_over_only_when_nobody_alive_has_it(ledger: Ledger, database: LedgerDatabase) -> None:
    to = Account(provider="xai", key_fingerprint="key-9")
    async with database.started() as ending:
        job = await opened(ending, JobState.RENDERING)
        await be_driven(ending, job)
        with pytest.raises(InvalidRequest, match="is being carried on by a process that holds its account"):
            await ledger.hand_over(job.id, to, sandbox=False)
    wrong = [
        (job.id, to, True, "is a real one, and this is not"),
        (job.id, Account(provider="google", key_fingerprint="key-9"), False, "it cannot go to"),
        (job.id, ACCOUNT, False, "belongs to this account already"),
        ("no-such-job", to, False, "there is no job"),
    ]
    played = await left_behind(ledger, JobState.RENDERING, sandbox=True)
    wrong.append((played.id, to, False, "is of the sandbox, and this is not"))
    for state in SETTLED:
        wrong.append(((await opened(ledger, state)).id, to, False, f"is {state}: only a job that is under way"))
    for job_id, account, sandbox, text in wrong:
        with pytest.raises(InvalidRequest, match=text):
            await ledger.hand_over(job_id, account, sandbox=sandbox)
    assert await ledger.get(job.id) == job
    assert (await ledger.hand_over(job.id, to, sandbox=False)).account == to
