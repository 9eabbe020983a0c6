"""The rounds of the upkeep of a fleet, without a database: what each of them does, in which order, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ring_mcp.domain import Account, Holder
from ring_mcp.errors import LedgerError
from ring_mcp.jobs.reconciling import Reconciler
from ring_mcp.ledger import tasks
from tests.fake_clock import FakeClock
from tests.jobs.engine import until
from tests.ledger_samples import HOLDER

OWN = [tasks.name_entrypoint(account, sandbox=False) for account in HOLDER.accounts]
OTHERS = {"ring-mcp/real/xai/another key of the account"}
AWAY = LedgerError("the ledger is away")


class Fleet:
    """All that a round calls, in one: ``did`` has it in order, ``troubles`` what the next rounds meet."""

    def __init__(self) -> None:
        self.holder = HOLDER
        self.did: list[Any] = []
        self.troubles: list[LedgerError | None] = []
        self.forgotten: list[tuple[int, str] | None] = []
        self.announce: Callable[[str], None] = lambda said: None
        self.in_round: Callable[[], None] = lambda: None

    def on(self, channel: str, heard: Callable[[str], None]) -> None:
        assert channel == tasks.ACCOUNTS_CHANNEL
        self.announce = heard

    async def run(self, transaction: Any, *, alone_as: int | None = None) -> Any:
        """As the channel does it: nothing of the transaction but its name and what it was given."""
        given = {name: value for name, value in transaction.gi_frame.f_locals.items() if name != "transaction"}
        transaction.close()
        self.did.append((transaction.__name__, *given.values(), *([alone_as] if alone_as is not None else [])))
        if transaction.__name__ == "select_entrypoints":
            return OTHERS
        if transaction.__name__ == "enqueue_forgotten":
            return self.forgotten.pop(0) if self.forgotten else (0, "")
        return None

    def register(self, entrypoints: Collection[str]) -> None:
        self.did.append(("register", entrypoints))

    async def catch_up(self) -> None:
        self.did.append("catch up")
        self.in_round()
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble

    async def mark_waiting(self) -> None:
        self.did.append("mark waiting")

    async def look_for_strangers(self) -> None:
        self.did.append("look for strangers")

    def count(self, what: str) -> int:
        return sum(each == what or each[0] == what for each in self.did)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@asynccontextmanager
async def upkeep(fleet: Fleet, clock: FakeClock) -> AsyncIterator[None]:
    """It runs inside, and its first round is over."""
    here: Any = fleet
    running = asyncio.create_task(Reconciler(here, here, here, here, clock).run())
    try:
        await until(lambda: running.done() or clock.sleepers == 1)
        yield
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def one_more(fleet: Fleet, clock: FakeClock) -> None:
    rounds = fleet.count("catch up")
    clock.advance(clock.next_wake_s or 0.0)
    await until(lambda: fleet.count("catch up") > rounds and clock.sleepers == 1)


async def test_a_first_round_does_everything_in_its_order(fleet: Fleet, clock: FakeClock) -> None:
    async with upkeep(fleet, clock):
        pass
    assert fleet.did == [
        "catch up",
        ("register", OWN),
        ("select_entrypoints", HOLDER),
        ("register", OTHERS),
        ("wake_resting", OTHERS),
        ("enqueue_forgotten", "", 1000, 0x72696E68),
        "mark waiting",
        "look for strangers",
        ("prune_log",),
    ]


async def test_later_rounds_come_every_five_seconds_and_do_the_seldom_seldom(fleet: Fleet, clock: FakeClock) -> None:
    async with upkeep(fleet, clock):
        for _ in range(120):
            await one_more(fleet, clock)
    assert set(clock.pauses_s) == {5.0}
    for each in ("catch up", "select_entrypoints", "enqueue_forgotten", "mark waiting"):
        assert fleet.count(each) == 121
    assert (fleet.count("look for strangers"), fleet.count("prune_log"), fleet.count("wake_resting")) == (41, 2, 1)


async def test_what_rests_is_woken_when_more_accounts_are_held(fleet: Fleet, clock: FakeClock) -> None:
    more = Account(provider="google", key_fingerprint="a" * 32)
    async with upkeep(fleet, clock):
        fleet.holder = Holder(sandbox=True, accounts=(*HOLDER.accounts, more))
        for _ in range(3):
            await one_more(fleet, clock)
    assert fleet.count("wake_resting") == 2
    assert ("register", [tasks.name_entrypoint(each, sandbox=True) for each in fleet.holder.accounts]) in fleet.did


async def test_pages_of_rows_follow_each_other_while_there_are_any(
    fleet: Fleet, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.forgotten += [(1000, "row 1000"), (7, "row 2000"), (0, "row 3000"), None]
    async with upkeep(fleet, clock):
        await one_more(fleet, clock)
        await one_more(fleet, clock)
    asked = [each[1] for each in fleet.did if each[0] == "enqueue_forgotten"]
    assert asked == ["", "row 1000", "row 2000", "row 3000", "row 3000"], "another process has done the fourth"
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"{count} open jobs had no task, and have one now" for count in (1000, 7)]


async def test_a_ledger_that_is_away_is_told_of_once_each_time(
    fleet: Fleet, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.troubles += [None, AWAY, AWAY, LedgerError("it is full"), None, AWAY]
    async with upkeep(fleet, clock):
        for _ in range(6):
            await one_more(fleet, clock)
    why = ["the ledger is away", "it is full", "the ledger is away"]
    assert [record.getMessage() for record in caplog.records] == [f"open jobs cannot be looked for: {s}" for s in why]
    assert (fleet.count("mark waiting"), fleet.count("look for strangers")) == (3, 1), "what failed was no round"


async def test_a_new_account_is_looked_for_at_once(fleet: Fleet, clock: FakeClock) -> None:
    async with upkeep(fleet, clock):
        fleet.announce("")
        await until(lambda: fleet.count("mark waiting") == 2 and clock.sleepers == 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert fleet.count("catch up") == 2, "one announcement is one round"
        assert clock.monotonic() == 0.0


async def test_an_account_announced_in_the_middle_of_a_round_begins_another(fleet: Fleet, clock: FakeClock) -> None:
    def announce_once() -> None:
        fleet.in_round = lambda: None
        fleet.announce("")

    fleet.in_round = announce_once
    async with upkeep(fleet, clock):
        await until(lambda: fleet.count("mark waiting") == 2)
