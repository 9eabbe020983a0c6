"""Team: whose a token is, how long that is believed, and that whoever is revoked is answered no further."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.conductors.team import FRESH_S, KNOWN_S, Team
from ring_mcp.domain import Member, hash_token, make_token
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.sqlite import SqliteLedger
from tests.fake_clock import START, FakeClock

LIMIT_S = 60.0


class MoodyLedger(SqliteLedger):
    """One that can be away or slow, and counts how often it was asked for tokens."""

    looks = 0
    is_away = False
    gate: asyncio.Event | None = None

    async def find_members(self, token_hashes: Collection[str]) -> dict[str, Member]:
        self.looks += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise LedgerError("the ledger is away")
        return await super().find_members(token_hashes)

    async def has_members(self) -> bool:
        self.looks += 1
        if self.is_away:
            raise LedgerError("the ledger is away")
        return await super().has_members()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def ledger(tmp_path: Path, clock: FakeClock) -> AsyncIterator[MoodyLedger]:
    ledger = MoodyLedger(tmp_path / "ledger.db", clock)
    await ledger.start()
    yield ledger
    await ledger.aclose()


@pytest.fixture
def team(ledger: MoodyLedger, clock: FakeClock) -> Team:
    return Team(ledger, clock)


async def add(ledger: MoodyLedger, name: str = "ann") -> str:
    token = make_token()
    await ledger.add_member(Member(name=name, created_at=START), hash_token(token))
    return token


async def name_of(team: Team, token: str) -> str | None:
    member = await team.recognise(token)
    return member.name if member else None


async def test_a_token_is_its_members_and_is_asked_once_a_moment(
    team: Team, ledger: MoodyLedger, clock: FakeClock
) -> None:
    token = await add(ledger)
    for _ in range(5):
        assert await name_of(team, token) == "ann"
    assert ledger.looks == 1
    clock.advance(FRESH_S)
    assert await name_of(team, token) == "ann"
    assert ledger.looks == 2


@pytest.mark.parametrize(
    "text", ["", "ringmcp_", "a-token-of-the-environment", "ringmcp_" + 44 * "a", "ringmcp_" + 42 * "a"]
)
async def test_what_is_no_token_is_asked_of_no_ledger(team: Team, ledger: MoodyLedger, text: str) -> None:
    assert await team.recognise(text) is None
    assert ledger.looks == 0


async def test_a_token_that_nobody_has_is_nobodys(team: Team, ledger: MoodyLedger) -> None:
    token = await add(ledger)
    assert await team.recognise(make_token()) is None
    assert await name_of(team, token) == "ann"
    assert await team.recognise(token[:-1] + ("A" if token[-1] != "A" else "B")) is None


async def test_many_calls_of_one_token_are_few_looks(team: Team, ledger: MoodyLedger) -> None:
    token = await add(ledger)
    assert await asyncio.gather(*(name_of(team, token) for _ in range(100))) == ["ann"] * 100
    assert ledger.looks <= 4


async def test_a_revoked_token_is_nobodys_within_a_moment(team: Team, ledger: MoodyLedger, clock: FakeClock) -> None:
    token = await add(ledger)
    assert await name_of(team, token) == "ann"
    await ledger.revoke_member("ann", START)
    clock.advance(FRESH_S)
    assert await team.recognise(token) is None


async def test_who_hears_of_a_change_asks_at_once(team: Team, ledger: MoodyLedger) -> None:
    token = await add(ledger)
    assert await name_of(team, token) == "ann"
    await ledger.revoke_member("ann", START)
    team.hear()
    assert await team.recognise(token) is None


async def test_a_look_that_began_before_a_change_is_not_believed(
    team: Team, ledger: MoodyLedger, clock: FakeClock
) -> None:
    token, ledger.gate = await add(ledger), asyncio.Event()
    asking = asyncio.create_task(name_of(team, token))
    async with asyncio.timeout(LIMIT_S):
        while not ledger.looks:
            await asyncio.sleep(0)
    team.hear()
    ledger.gate.set()
    assert await asyncio.wait_for(asking, LIMIT_S) == "ann"
    assert await name_of(team, token) == "ann"
    assert ledger.looks == 2


async def test_a_known_token_stays_known_for_a_while_without_the_ledger(
    team: Team, ledger: MoodyLedger, clock: FakeClock
) -> None:
    token, unknown = await add(ledger), await add(ledger, "bob")
    assert await name_of(team, token) == "ann"
    ledger.is_away = True
    with pytest.raises(LedgerError):
        await team.recognise(unknown)
    clock.advance(KNOWN_S - 1)
    assert await name_of(team, token) == "ann"
    clock.advance(1)
    with pytest.raises(LedgerError):
        await team.recognise(token)
    ledger.is_away = False
    clock.advance(FRESH_S)
    assert (await name_of(team, token), await name_of(team, unknown)) == ("ann", "bob")


async def test_a_ledger_that_is_away_is_not_asked_by_every_call(team: Team, ledger: MoodyLedger) -> None:
    ledger.is_away = True
    for _ in range(20):
        with pytest.raises(LedgerError):
            await team.recognise(make_token())
    assert ledger.looks == 1


async def test_once_there_was_a_token_there_is_a_team(team: Team, ledger: MoodyLedger, clock: FakeClock) -> None:
    assert not await team.exists()
    await add(ledger)
    clock.advance(FRESH_S)
    assert await team.exists()
    await ledger.revoke_member("ann", START)
    ledger.is_away = True
    clock.advance(KNOWN_S)
    assert await team.exists()


async def test_a_ledger_that_does_not_say_is_believed_for_a_minute(
    team: Team, ledger: MoodyLedger, clock: FakeClock
) -> None:
    ledger.is_away = True
    with pytest.raises(LedgerError):
        await team.exists()
    ledger.is_away = False
    clock.advance(KNOWN_S)
    assert not await team.exists()
    ledger.is_away = True
    clock.advance(KNOWN_S)
    assert not await team.exists()
    clock.advance(1)
    with pytest.raises(LedgerError):
        await team.exists()


async def test_what_is_answered_to_a_revoked_token_ends(team: Team, ledger: MoodyLedger) -> None:
    tokens = await add(ledger), await add(ledger, "bob")
    assert [await name_of(team, token) for token in tokens] == ["ann", "bob"]
    with team.attend(tokens[0]) as first, team.attend(tokens[0]) as second, team.attend(tokens[1]) as other:
        await ledger.revoke_member("ann", START)
        team.hear()
        async with asyncio.timeout(LIMIT_S):
            await first.wait()
            await second.wait()
        assert not other.is_set()
        await team.look_again()
        assert not other.is_set()


async def test_what_is_answered_ends_when_the_ledger_is_away_too_long(
    team: Team, ledger: MoodyLedger, clock: FakeClock
) -> None:
    token = await add(ledger)
    assert await name_of(team, token) == "ann"
    with team.attend(token) as gone:
        ledger.is_away = True
        clock.advance(KNOWN_S - 1)
        await team.look_again()
        assert not gone.is_set()
        clock.advance(1)
        await team.look_again()
        assert gone.is_set()


async def test_a_new_token_of_the_same_name_is_another(team: Team, ledger: MoodyLedger) -> None:
    old = await add(ledger)
    await team.recognise(old)
    with team.attend(old) as gone:
        await ledger.revoke_member("ann", START)
        new = await add(ledger)
        team.hear()
        await asyncio.wait_for(gone.wait(), LIMIT_S)
    assert (await name_of(team, old), await name_of(team, new)) == (None, "ann")


async def test_nobody_watches_when_nobody_is_there(team: Team, ledger: MoodyLedger) -> None:
    token, before = await add(ledger), asyncio.all_tasks()
    with team.attend(token), team.attend(token):
        assert len(asyncio.all_tasks() - before) == 1
    tasks: set[asyncio.Task[Any]] = asyncio.all_tasks() - before
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LIMIT_S)
    assert all(task.cancelled() for task in tasks)
