"""The team in the ledger: who may call, what each may spend, and that it holds when many call at once."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from decimal import Decimal

import pytest

from ring_mcp.domain import Caps, Job, JobState, LookOnly, Member, hash_token, make_token
from ring_mcp.errors import CapExceeded, InvalidRequest, NotFound, RingError, Unauthorized
from ring_mcp.ledger.base import JobQuery, Ledger
from ring_mcp.token_mark import mark_token
from tests.fake_clock import START
from tests.ledger_databases import LedgerDatabase
from tests.ledger_process import other_process
from tests.ledger_samples import NO_CAPS, PRICE_USD, carried, opened, planned

FOR_THREE = Caps(per_day_usd=3 * PRICE_USD)
CENTS = Caps(per_call_usd=Decimal("0.5"), per_day_usd=Decimal("1.25"), per_month_usd=Decimal(30))


async def add(ledger: Ledger, name: str = "ann", **facts: object) -> str:
    """The hash of the new token."""
    token_hash = hash_token(make_token())
    await ledger.add_member(Member(**{"name": name, "created_at": START, **facts}), token_hash)  # type: ignore[arg-type]
    return token_hash


async def test_a_member_is_known_by_name_and_by_token(ledger: Ledger, second_ledger: Ledger) -> None:
    assert not await ledger.has_members()
    token_hash = await add(ledger, caps=CENTS, may_spend=False)
    ann = Member(name="ann", may_spend=False, caps=CENTS, created_at=START)
    for each in (ledger, second_ledger):
        assert await each.has_members()
        assert await each.find_member("ann") == ann
        assert await each.find_members([token_hash, "0" * 64]) == {token_hash: ann}
        assert await each.list_members() == [ann]
    assert await ledger.find_member("bob") is None
    assert await ledger.find_members([]) == {}


async def test_a_name_has_one_token_at_a_time(ledger: Ledger) -> None:
    first = await add(ledger)
    with pytest.raises(InvalidRequest, match="ann has a token already"):
        await add(ledger)
    assert list(await ledger.find_members([first])) == [first]


async def test_a_revoked_token_is_nobodys_and_its_name_stays(ledger: Ledger) -> None:
    token_hash, later = await add(ledger), START + timedelta(hours=1)
    revoked = await ledger.revoke_member("ann", later)
    assert revoked.revoked_at == later
    assert await ledger.find_members([token_hash]) == {}
    assert await ledger.find_member("ann") == revoked
    assert await ledger.revoke_member("ann", later + timedelta(days=1)) == revoked
    assert await ledger.has_members(), "or the last one who is revoked would open the server to everybody"
    with pytest.raises(NotFound):
        await ledger.revoke_member("bob", later)


async def test_who_was_revoked_comes_back_with_another_token(ledger: Ledger) -> None:
    old = await add(ledger, caps=CENTS)
    await ledger.revoke_member("ann", START)
    new = await add(ledger, may_spend=False)
    assert list(await ledger.find_members([old, new])) == [new]
    assert await ledger.find_member("ann") == Member(name="ann", may_spend=False, created_at=START)


async def test_revoking_one_leaves_the_others_as_they_are(ledger: Ledger) -> None:
    tokens = {name: await add(ledger, name, caps=CENTS) for name in ("carl", "ann", "bob")}
    await ledger.revoke_member("bob", START)
    assert [(each.name, each.revoked_at) for each in await ledger.list_members()] == [
        ("ann", None),
        ("bob", START),
        ("carl", None),
    ]
    tokens["bob"] = await add(ledger, "bob", created_at=START + timedelta(hours=1))
    found = await ledger.find_members(tokens.values())
    assert {found[token].name: name for name, token in tokens.items()} == {name: name for name in tokens}
    assert [each.caps for each in await ledger.list_members()] == [CENTS, Caps(), CENTS]


async def test_who_may_only_look_opens_nothing(ledger: Ledger) -> None:
    await add(ledger, may_spend=False)
    with pytest.raises(LookOnly) as refusal:
        await ledger.open(planned(actor_id="ann"), NO_CAPS)
    assert (refusal.value.code, refusal.value.billed) == ("look_only", "no")
    await ledger.open(planned(actor_id="bob"), NO_CAPS)
    assert [job.actor_id for job in (await ledger.list_jobs(JobQuery())).jobs] == ["bob"]


async def test_who_was_revoked_opens_nothing_and_joins_nothing(ledger: Ledger, second_ledger: Ledger) -> None:
    await add(ledger)
    job = planned(actor_id="ann", request_hash="v1:same")
    await second_ledger.open(job, NO_CAPS)
    await ledger.revoke_member("ann", START)
    for request_hash in ("v1:same", "v1:other"):
        with pytest.raises(Unauthorized, match="revoked"):
            await second_ledger.open(planned(actor_id="ann", request_hash=request_hash), NO_CAPS)
    assert len((await ledger.list_jobs(JobQuery())).jobs) == 1


async def test_a_cap_of_ones_own_counts_ones_own_jobs_alone(ledger: Ledger) -> None:
    await add(ledger, caps=FOR_THREE)
    for actor_id in ("bob", "ann", "bob", "ann"):
        await opened(ledger, actor_id=actor_id)
    done = await opened(ledger, JobState.STORING, actor_id="ann")
    await ledger.save(done, carried(done, JobState.DONE, settled_usd=PRICE_USD))
    with pytest.raises(CapExceeded) as refusal:
        await ledger.open(planned(actor_id="ann"), NO_CAPS)
    assert refusal.value.message == (
        "the cap per day of ann is $0.18: $0.06 used, $0.12 reserved by open jobs, $0.06 needed; "
        "it resets at 2026-11-22 00:00 UTC; nothing was spent"
    )
    await ledger.open(planned(actor_id="bob"), NO_CAPS)
    await ledger.open(planned(actor_id="ann", sandbox=True), NO_CAPS)
    await ledger.open(planned(actor_id="ann", created_at=START + timedelta(days=1)), NO_CAPS)


async def test_an_old_token_opens_nothing_once_its_name_has_a_new_one(ledger: Ledger, second_ledger: Ledger) -> None:
    # The same moment as another's, and one before it: what counts is which token, and not when.
    for made_at in (START + timedelta(hours=1), START - timedelta(hours=1)):
        await add(ledger)
        mark_token(START)
        await second_ledger.open(planned(actor_id="ann", request_hash="v1:same"), NO_CAPS)
        await ledger.revoke_member("ann", START)
        await add(ledger, created_at=made_at)
        for request_hash in ("v1:same", "v1:other"):
            with pytest.raises(Unauthorized, match="the token of ann was revoked"):
                await second_ledger.open(planned(actor_id="ann", request_hash=request_hash), NO_CAPS)
        for of_now in (made_at, None):
            mark_token(of_now)
            await second_ledger.open(planned(actor_id="ann"), NO_CAPS)
        await ledger.revoke_member("ann", START)
    assert len((await ledger.list_jobs(JobQuery())).jobs) == 5


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        (Caps(per_call_usd=Decimal("0.05")), "the cap per call of ann is $0.05 and this call needs up to $0.06"),
        (Caps(per_month_usd=Decimal("0.05")), "the cap per month of ann is $0.05: $0.00 used"),
    ],
)
async def test_each_cap_of_ones_own_is_named_when_it_refuses(ledger: Ledger, caps: Caps, words: str) -> None:
    await add(ledger, caps=caps)
    with pytest.raises(CapExceeded) as refusal:
        await ledger.open(planned(actor_id="ann"), Caps(per_day_usd=Decimal(9)))
    assert words in refusal.value.message


async def test_the_cap_over_everybody_holds_beside_ones_own(ledger: Ledger) -> None:
    await add(ledger, caps=Caps(per_day_usd=Decimal(9)))
    await opened(ledger, actor_id="bob")
    with pytest.raises(CapExceeded, match="RING_MAX_USD_PER_DAY"):
        await ledger.open(planned(actor_id="ann"), Caps(per_day_usd=PRICE_USD))


async def test_a_clip_with_its_still_needs_room_for_both(ledger: Ledger) -> None:
    await add(ledger, caps=Caps(per_call_usd=2 * PRICE_USD - Decimal("0.01")))
    with pytest.raises(CapExceeded, match=r"needs up to \$0.12"):
        await ledger.open(planned(kind="video", actor_id="ann"), NO_CAPS, planned(actor_id="ann"))


async def test_spend_is_told_of_one_actor(ledger: Ledger) -> None:
    await opened(ledger, actor_id="bob")
    unknown = await opened(ledger, JobState.SUBMITTING, actor_id="ann")
    await ledger.save(unknown, carried(unknown, JobState.UNKNOWN))
    ann, bob, all_ = [await ledger.spend(START, sandbox=False, actor_id=each) for each in ("ann", "bob", None)]
    assert (ann.day_usd, ann.unknown_jobs, ann.open_jobs) == (PRICE_USD, 1, 0)
    assert (bob.month_reserved_usd, bob.unknown_jobs, bob.open_jobs) == (PRICE_USD, 0, 1)
    assert (all_.day_usd, all_.unknown_jobs, all_.open_jobs) == (2 * PRICE_USD, 1, 1)
    assert (await ledger.spend(START, sandbox=True, actor_id="ann")).day_usd == 0


# Many at once


async def outcome(ledger: Ledger, job: Job, caps: Caps) -> str:
    try:
        return "joined" if (await ledger.open(job, caps)).joined else "opened"
    except RingError as exc:
        return exc.code


@pytest.mark.parametrize("is_known", [False, True], ids=["not read before", "read before"])
async def test_of_twenty_parallel_calls_a_cap_of_ones_own_lets_three_through(
    ledger: Ledger, second_ledger: Ledger, is_known: bool
) -> None:
    both = (ledger, second_ledger)
    await add(ledger, "ann", caps=FOR_THREE)
    await add(ledger, "bob", caps=FOR_THREE)
    if is_known:
        for each in both:
            await each.find_member("ann")
    calls = [outcome(both[i % 2], planned(actor_id=("ann", "bob")[i // 2 % 2]), NO_CAPS) for i in range(40)]
    assert sorted(await asyncio.gather(*calls)) == ["cap_exceeded"] * 34 + ["opened"] * 6
    for name in ("ann", "bob"):
        assert (await ledger.spend(START, sandbox=False, actor_id=name)).day_usd == 3 * PRICE_USD


async def test_caps_of_one_and_of_all_hold_where_servers_differ(ledger: Ledger, second_ledger: Ledger) -> None:
    """One server has a cap over everybody and the other has none: that of the actor holds over both."""
    await add(ledger, "ann", caps=FOR_THREE)
    for_five = Caps(per_day_usd=5 * PRICE_USD)
    servers = ((ledger, for_five), (second_ledger, NO_CAPS))
    calls = [outcome(server, planned(actor_id="ann"), caps) for server, caps in servers * 10]
    calls += [outcome(ledger, planned(actor_id="bob"), for_five) for _ in range(20)]
    outcomes = await asyncio.gather(*calls)
    assert outcomes[:20].count("opened") == 3
    assert 2 <= outcomes[20:].count("opened") <= 5
    assert (await ledger.spend(START, sandbox=False, actor_id="ann")).day_usd == 3 * PRICE_USD


async def test_several_processes_keep_the_cap_of_one_actor(ledger: Ledger, database: LedgerDatabase) -> None:
    await add(ledger, "ann", caps=FOR_THREE)
    async with contextlib.AsyncExitStack() as stack:
        others = [await stack.enter_async_context(other_process(database)) for _ in range(3)]
        for other in others:
            other.tell("open", jobs=[{"actor_id": "ann"}] * 6)
        answers = [answer for other in others for answer in await other.heard()]
    assert len([answer for answer in answers if answer != "cap_exceeded"]) == 3


async def test_calls_while_somebody_is_revoked_spend_nothing_after_it(ledger: Ledger, second_ledger: Ledger) -> None:
    await add(ledger, "ann")
    ended = asyncio.Event()

    async def call(number: int) -> str:
        if number >= 10:
            await asyncio.wait_for(ended.wait(), 60)
        return await outcome((ledger, second_ledger)[number % 2], planned(actor_id="ann"), NO_CAPS)

    async def revoke() -> None:
        await second_ledger.revoke_member("ann", START)
        ended.set()

    outcomes, _ = await asyncio.gather(asyncio.gather(*(call(i) for i in range(20))), revoke())
    assert outcomes[10:] == ["unauthorized"] * 10
    assert set(outcomes) <= {"opened", "unauthorized"}
    assert (await ledger.spend(START, sandbox=False)).open_jobs == outcomes.count("opened")


async def test_only_one_of_two_who_add_the_same_name_does(ledger: Ledger, second_ledger: Ledger) -> None:
    calls = [add((ledger, second_ledger)[i % 2]) for i in range(6)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, str) for answer in answers) == 1
    assert all(isinstance(answer, str | InvalidRequest) for answer in answers)


async def test_the_table_keeps_a_hash_and_no_token(ledger: Ledger, database: LedgerDatabase) -> None:
    token = make_token()
    await ledger.add_member(Member(name="ann", created_at=START), hash_token(token))
    [row] = database.query("SELECT * FROM ring_mcp_actors")
    assert row["token_sha256"] == hash_token(token)
    assert not any(token in str(value) or token[8:] in str(value) for value in row.values())
