"""Which accounts a process holds: known at once by its keys, asked for the rest when there is a reason, and once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from ring_mcp.domain import Account, Holder, Job, JobState, key_fingerprint
from ring_mcp.errors import LedgerError, ProviderAuthError, ProviderRejected, ProviderUnavailable
from ring_mcp.jobs.accounts import Accounts, describe_needed_account
from tests.fake_clock import LIMIT_S, FakeClock, let_pass
from tests.jobs.engine import Engine, until
from tests.ledger_samples import ACCOUNT, HOLDER, left_behind, opened, planned, sample_plan

TEAM = "5a0db0c5-7e57"
ANOTHER_KEY = Account(provider="xai", key_fingerprint="f" * 32)
GOOGLE = Account(provider="google", key_fingerprint="9" * 32)
AWAY = ProviderUnavailable("it does not answer")


class Teller:
    """A provider that says whose the key is. ``script``: what it does first; an exception is raised."""

    def __init__(self, script: Iterable[Any] = (), team: str = TEAM) -> None:
        self.script, self.team = deque(script), team
        self.asked = 0

    async def account_id(self) -> str:
        self.asked += 1
        step = self.script.popleft() if self.script else self.team
        if isinstance(step, Exception):
            raise step
        if callable(step):
            await step()
        return self.team


def accounts_of(engine: Engine, teller: Teller | None, holder: Holder = HOLDER) -> Accounts:
    tellers: dict[str, Any] = {} if teller is None else {"xai": teller}
    return Accounts(holder, tellers, ledger=engine.ledger, clock=engine.clock, folder=engine.state / "accounts")


async def turns() -> None:
    """Let everybody have a few."""
    for _ in range(20):
        await asyncio.sleep(0)


async def learned(accounts: Accounts, clock: FakeClock) -> Account:
    """What is known of the account once everybody was asked who had to be."""
    await clock.play(accounts.learn(at_once=True))
    return accounts.at("xai")


def of(account: Account, **facts: Any) -> dict[str, Any]:
    marks = {name: getattr(account, name) for name in ("endpoint", "account_id", "key_fingerprint")}
    return {"plan": sample_plan().model_copy(update={"provider": account.provider}), **marks, **facts}


# Known at once


def test_a_fingerprint_differs_by_key_and_provider_alone() -> None:
    assert key_fingerprint("xai", "xai-key-1") == "17689a36c9948cd8de6f64f4f2b4045a"
    marks = {key_fingerprint(provider, key) for provider in ("xai", "google") for key in ("key-1", "key-2", "")}
    assert len(marks) == 6
    assert all(len(mark) == 32 and "key" not in mark for mark in marks)


def test_without_a_key_an_account_is_nobodys(engine: Engine) -> None:
    assert accounts_of(engine, None).at("google") == Account(provider="google")
    assert accounts_of(engine, None).at("xai") == ACCOUNT


# Asked for


async def test_nobody_is_asked_without_a_reason(engine: Engine, clock: FakeClock) -> None:
    teller = Teller()
    accounts = accounts_of(engine, teller)
    learning = asyncio.create_task(accounts.learn())
    await opened(engine.ledger, JobState.RENDERING)
    await accounts.look_for_strangers()
    assert not await accounts.is_stranded(planned())
    for _ in range(20):
        await asyncio.sleep(0)
    assert (teller.asked, learning.done()) == (0, False)
    learning.cancel()


async def test_a_job_that_was_opened_is_a_reason_to_ask(engine: Engine) -> None:
    teller = Teller()
    accounts = accounts_of(engine, teller)
    learning = asyncio.create_task(accounts.learn())
    assert accounts.at("xai") == ACCOUNT, "who begins a job does not wait"
    await asyncio.sleep(0)
    assert teller.asked == 0, "and it may still be refused"
    job = await opened(engine.ledger)
    await accounts.complete(job)
    await asyncio.wait_for(learning, 60)
    assert (teller.asked, accounts.at("xai")) == (1, replace(ACCOUNT, account_id=TEAM))
    assert (await engine.row(job)).account_id == TEAM


async def test_a_job_that_was_opened_while_the_provider_told_is_completed(engine: Engine, clock: FakeClock) -> None:
    accounts = accounts_of(engine, Teller())
    known = await learned(accounts, clock)
    late = await opened(engine.ledger)
    await accounts.complete(late)
    assert (await engine.row(late)).account == known
    engine.ledger.fail("complete_account")
    await accounts.complete(await opened(engine.ledger))  # it is the next start's to complete


async def test_only_what_lacks_its_account_is_completed(engine: Engine, clock: FakeClock) -> None:
    def count() -> int:
        return list(engine.ledger.calls).count("complete_account")

    accounts = accounts_of(engine, Teller())
    before = await opened(engine.ledger)
    await accounts.complete(before)
    assert count() == 0, "nobody has told yet"
    known = await learned(accounts, clock)
    assert count() == 1
    await accounts.complete(replace(before, account_id=known.account_id))
    await accounts.complete(await opened(engine.ledger, **of(GOOGLE)))
    assert count() == 1
    await accounts.complete(before)
    assert count() == 2


async def test_while_there_is_a_reason_the_ledger_is_not_asked_for_one(engine: Engine) -> None:
    accounts = accounts_of(engine, Teller())
    await accounts.complete(await opened(engine.ledger))
    await accounts.look_for_strangers()
    assert "list_stranded" not in engine.ledger.calls


async def test_open_jobs_of_another_key_are_a_reason_to_ask(engine: Engine) -> None:
    await left_behind(engine.ledger, **of(ANOTHER_KEY))
    accounts = accounts_of(engine, Teller())
    learning = asyncio.create_task(accounts.learn())
    await accounts.look_for_strangers()
    await asyncio.wait_for(learning, 60)
    assert accounts.holder.accounts == (replace(ACCOUNT, account_id=TEAM),)


async def test_an_account_is_asked_for_once_on_a_machine(engine: Engine, clock: FakeClock) -> None:
    first, second = Teller(), Teller(team="another")
    assert await learned(accounts_of(engine, first), clock) == await learned(accounts_of(engine, second), clock)
    assert (first.asked, second.asked) == (1, 0)
    other_key = replace(HOLDER, accounts=(ANOTHER_KEY,))
    assert (await learned(accounts_of(engine, second, other_key), clock)).account_id == "another"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
async def test_what_is_no_account_is_asked_for_again(engine: Engine, clock: FakeClock, content: bytes) -> None:
    await learned(accounts_of(engine, Teller()), clock)
    [kept] = (engine.state / "accounts").iterdir()
    kept.write_bytes(content)
    assert (await learned(accounts_of(engine, Teller()), clock)).account_id == TEAM
    assert kept.read_text() == TEAM


async def test_no_more_is_kept_than_an_id_can_have(engine: Engine, clock: FakeClock) -> None:
    await learned(accounts_of(engine, Teller()), clock)
    [kept] = (engine.state / "accounts").iterdir()
    kept.write_text("a" * 300)
    assert (await learned(accounts_of(engine, Teller()), clock)).account_id == "a" * 200


async def test_what_is_kept_is_the_owners_alone(engine: Engine, clock: FakeClock) -> None:
    folder = engine.state / "new" / "accounts"
    tellers: dict[str, Any] = {"xai": Teller(team="équipe")}
    accounts = Accounts(HOLDER, tellers, ledger=engine.ledger, clock=clock, folder=folder)
    await learned(accounts, clock)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == [f"xai-{ACCOUNT.key_fingerprint}"]
    tellers["xai"] = Teller(team="another")
    again = Accounts(HOLDER, tellers, ledger=engine.ledger, clock=clock, folder=folder)
    assert (await learned(again, clock)).account_id == "équipe"


async def test_a_provider_that_hangs_is_asked_again_after_ten_seconds(engine: Engine, clock: FakeClock) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    accounts = accounts_of(engine, Teller([hang]))
    learning = asyncio.create_task(accounts.learn(at_once=True))
    await asyncio.wait_for(begun.wait(), LIMIT_S)
    let_pass(7)
    await turns()
    assert clock.sleepers == 0
    let_pass(4)
    await turns()
    assert clock.sleepers == 1
    clock.advance(1)
    await asyncio.wait_for(learning, LIMIT_S)
    assert (accounts.at("xai").account_id, clock.pauses_s) == (TEAM, [1])


async def test_an_account_that_cannot_be_kept_is_known_all_the_same(engine: Engine, clock: FakeClock) -> None:
    (engine.state / "accounts").write_text("a file where the folder should be")
    assert (await learned(accounts_of(engine, Teller()), clock)).account_id == TEAM


async def test_behind_an_address_of_the_operators_it_is_asked_every_time(engine: Engine, clock: FakeClock) -> None:
    proxied = replace(HOLDER, accounts=(replace(ACCOUNT, endpoint="proxy.example"),))
    for team in ("one", "two"):
        assert (await learned(accounts_of(engine, Teller(team=team), proxied), clock)).account_id == team
    assert not (engine.state / "accounts").exists()


async def test_a_provider_that_is_away_is_asked_again_later_and_later(engine: Engine, clock: FakeClock) -> None:
    teller = Teller([AWAY] * 12)
    assert (await learned(accounts_of(engine, teller), clock)).account_id == TEAM
    assert clock.pauses_s == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]


@pytest.mark.parametrize("refusal", [ProviderAuthError("a wrong key"), ProviderRejected("no such page")])
async def test_a_provider_that_will_not_tell_is_not_asked_again(
    engine: Engine, clock: FakeClock, refusal: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    teller = Teller([refusal])
    with caplog.at_level(logging.INFO):
        assert await learned(accounts_of(engine, teller), clock) == ACCOUNT
    assert (teller.asked, clock.pauses_s) == (1, [])
    assert "xai does not say whose its key is" in caplog.text


async def test_rows_of_open_jobs_are_completed_with_what_was_told(engine: Engine, clock: FakeClock) -> None:
    before, other = await opened(engine.ledger, JobState.RENDERING), await left_behind(engine.ledger, **of(GOOGLE))
    engine.ledger.fail("complete_account", 2)
    await learned(accounts_of(engine, Teller()), clock)
    assert (await engine.row(before)).account_id == TEAM
    assert (await engine.row(other)).account_id is None
    assert clock.pauses_s == [1, 2], "a ledger that is away is tried again"


async def test_one_provider_that_hangs_keeps_nothing_waiting(engine: Engine) -> None:
    hanging = asyncio.Event()
    accounts = accounts_of(engine, Teller([hanging.wait]))
    learning = asyncio.create_task(accounts.learn(at_once=True))
    await asyncio.sleep(0)
    assert accounts.at("xai") == ACCOUNT
    assert (await engine.opening.open(sample_plan(), actor_id="me", idempotency_key=None)).job.account == ACCOUNT
    learning.cancel()


# Stranded jobs


async def test_a_job_of_another_account_is_stranded_when_nobody_alive_drives_it(engine: Engine) -> None:
    accounts = accounts_of(engine, None)
    theirs = await left_behind(engine.ledger, **of(ANOTHER_KEY))
    ours = await left_behind(engine.ledger)
    driven = await opened(engine.ledger, **of(GOOGLE))
    played = await left_behind(engine.ledger, sandbox=True)
    ended = await opened(engine.ledger, JobState.DONE, **of(ANOTHER_KEY))
    stranded = [await accounts.is_stranded(job) for job in (theirs, ours, driven, played, ended)]
    assert stranded == [True, False, False, True, False]


async def test_whoever_asks_for_another_keys_job_hears_of_its_account(
    engine: Engine,
) -> None:
    theirs = await left_behind(engine.ledger, **of(replace(ANOTHER_KEY, account_id=TEAM)))
    accounts = accounts_of(engine, Teller())
    learning = asyncio.create_task(accounts.learn())
    assert not await accounts.is_stranded(theirs)
    assert accounts.hold(theirs)
    await learning


async def test_whoever_asks_waits_three_seconds_for_a_provider(engine: Engine) -> None:
    theirs = await left_behind(engine.ledger, **of(replace(ANOTHER_KEY, account_id=TEAM)))
    accounts = accounts_of(engine, Teller())  # nobody learns here
    asking = asyncio.create_task(accounts.is_stranded(theirs))
    await until(accounts._wanted.is_set)
    let_pass(1)
    await turns()
    assert not asking.done()
    let_pass(2.5)
    await turns()
    assert asking.done()
    assert await asking


async def test_where_nobody_can_tell_nobody_is_waited_for(engine: Engine) -> None:
    theirs = await left_behind(engine.ledger, **of(ANOTHER_KEY))
    unasked, asked = accounts_of(engine, None), accounts_of(engine, Teller())
    assert not asked._told.is_set()
    await asked.learn(at_once=True)
    for accounts in (unasked, asked):
        assert accounts._told.is_set(), "that is what whoever asks waits for"
        assert await accounts.is_stranded(theirs)


async def test_a_ledger_that_is_away_is_the_askers_to_hear(engine: Engine) -> None:
    theirs = await left_behind(engine.ledger, **of(ANOTHER_KEY))
    engine.ledger.fail("list_stranded", 2)
    accounts = accounts_of(engine, None)
    with pytest.raises(LedgerError):
        await accounts.is_stranded(theirs)
    with pytest.raises(LedgerError):
        await accounts.look_for_strangers()


def test_what_is_needed_is_said_with_account_place_and_way_out() -> None:
    def said(**facts: Any) -> tuple[str, str, str]:
        needed = describe_needed_account(planned(id="a-job", **facts))
        return needed.message, needed.billed, needed.next_action

    text, billed, way_out = said(**of(ANOTHER_KEY))
    assert text == (
        "job a-job belongs to the xai account of the key with the fingerprint ffffffff, of which no running server "
        "has a key; its request was not sent yet"
    )
    assert billed == "no"
    assert "`ring-mcp jobs adopt a-job`" in way_out
    text, billed, _ = said(state=JobState.RENDERING, **of(replace(ANOTHER_KEY, account_id=TEAM, endpoint="proxy")))
    assert f"the xai at proxy account {TEAM} (the key with the fingerprint ffffffff)" in text
    assert "nothing of it is lost" in text
    assert billed == "unknown"
    text, _, way_out = said(sandbox=True)
    assert "belongs to a sandbox that is not running" in text
    assert "adopt" not in way_out
    assert "an xai account that was not recorded" in said(**of(Account(provider="xai")))[0]


async def test_a_queue_takes_all_jobs_anew_when_told_whose(engine: Engine, clock: FakeClock) -> None:
    job = await left_behind(engine.ledger, JobState.STORING, due_at=None, **of(replace(ANOTHER_KEY, account_id=TEAM)))
    await engine.queue.start(take_over=True)
    await until(lambda: engine.ledger.calls.count("claim") >= 1 and clock.sleepers >= 2)
    assert (await engine.row(job)).owner is None
    engine.accounts.holder = engine.accounts.holder.learn("xai", TEAM)
    clock.advance(2)
    assert (await engine.ended(job, upkeep=2, parked=False)).state is JobState.DONE


async def test_jobs_older_than_accounts_are_carried_on(
    engine: Engine, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def old() -> Job:
        return await left_behind(engine.ledger, JobState.STORING, **of(Account(provider="xai")))

    first = [await old(), await old()]
    await engine.queue.start(take_over=True)
    for job in first:
        await engine.ended(job, upkeep=2)
    later = await old()
    clock.advance(2)
    assert (await engine.ended(later, upkeep=2)).state is JobState.DONE
    assert caplog.text.count("from before accounts were recorded") == 1
    assert "2 open jobs from" in caplog.text
