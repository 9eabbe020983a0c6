"""What every ledger promises of the requests that may be made: counted for all processes together, in one statement."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ring_mcp.domain import Given, RateBucket, RateLimit, space_out
from ring_mcp.domain.rates import LONGEST_PAUSE_S, MOST_SLOWED, RECOVERS_IN_S, Spacing
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.rates import CLOCKS_DIFFER_S
from tests.fake_clock import FakeClock
from tests.ledger_databases import LedgerDatabase

BUCKET = RateBucket(sandbox=False, account="xai/one", model="grok-imagine-video", asking="submit")
SLOW = Spacing(second_s=1000.0)
"""So slow that a busy machine's pauses are nothing beside it."""

NEAR_S = 200.0
"""What a busy machine may take between two statements here, at the most."""

FOREVER_S = 1e6


async def take(ledger: Ledger, count: int = 1, *, horizon_s: float = FOREVER_S, spacing: Spacing = SLOW) -> Given:
    return await ledger.take_rate(BUCKET, spacing, count, horizon_s)


def let_pass(database: LedgerDatabase, clock: FakeClock, seconds: float) -> None:
    """Time goes by: of a shared database its own clock would have to, so everything in it becomes older instead."""
    if database.kind == "sqlite":
        clock.advance(seconds)
    else:
        names = ("asked_at", "start_at", "second_at", "minute_at", "paused_until", "slowed_at")
        sets = ", ".join(f"{name} = {name} - :seconds" for name in names)
        database.query(f"UPDATE provider_rates SET {sets}", {"seconds": seconds})


def is_about(given: Given, wait_s: float) -> bool:
    return wait_s - NEAR_S <= given.wait_s <= wait_s


async def test_requests_are_given_one_after_another_to_all_processes(ledger: Ledger, second_ledger: Ledger) -> None:
    waits = [await take(each) for each in (ledger, second_ledger, ledger, second_ledger)]
    assert waits[0].wait_s == 0
    assert all(is_about(given, number * 1000.0) for number, given in enumerate(waits))
    assert all(given.taken for given in waits)


async def test_nothing_is_given_twice_to_those_who_ask_at_once(ledger: Ledger, second_ledger: Ledger) -> None:
    given = await asyncio.gather(*(take(each) for _ in range(5) for each in (ledger, second_ledger)))
    assert [round((each.wait_s + NEAR_S / 2) / 1000) for each in sorted(given, key=lambda each: each.wait_s)] == [
        *range(10)
    ]


async def test_what_is_far_away_is_told_and_not_taken(ledger: Ledger) -> None:
    await take(ledger)
    for _ in range(3):
        refused = await take(ledger, horizon_s=5.0)
        assert not refused.taken
        assert is_about(refused, 1000.0)
    assert is_about(await take(ledger), 1000.0), "who was refused has taken nothing"


async def test_several_requests_are_taken_in_one(ledger: Ledger) -> None:
    assert (await take(ledger, 4)).wait_s == 0
    assert is_about(await take(ledger), 4000.0)


async def test_what_nobody_asked_for_is_not_saved_up(
    ledger: Ledger, database: LedgerDatabase, clock: FakeClock
) -> None:
    await take(ledger)
    let_pass(database, clock, 50_000.0)
    assert (await take(ledger)).wait_s == 0
    assert is_about(await take(ledger), 1000.0)


async def test_both_numbers_are_kept_to(ledger: Ledger, database: LedgerDatabase, clock: FakeClock) -> None:
    spacing = Spacing(second_s=1000.0, minute_s=3000.0, minute_slack_s=6000.0)
    waits = [await take(ledger, spacing=spacing) for _ in range(6)]
    assert all(
        is_about(given, due_s)
        for given, due_s in zip(waits, (0.0, 1000.0, 2000.0, 3000.0, 6000.0, 9000.0), strict=True)
    ), "the second's number while there is slack, then the minute's"


@pytest.mark.parametrize(
    "other",
    [
        replace(BUCKET, sandbox=True),
        replace(BUCKET, account="xai/two"),
        replace(BUCKET, model="grok-imagine-image"),
        replace(BUCKET, asking="look"),
    ],
)
async def test_each_account_model_and_kind_is_counted_for_itself(ledger: Ledger, other: RateBucket) -> None:
    await take(ledger, 100)
    assert (await ledger.take_rate(other, SLOW, 1, FOREVER_S)).wait_s == 0


async def test_a_refusal_pauses_everybody_and_halves_the_rate(ledger: Ledger, second_ledger: Ledger) -> None:
    await take(ledger, spacing=Spacing(second_s=0.001))
    await second_ledger.slow_down(BUCKET, LONGEST_PAUSE_S)
    assert 0 < (await take(ledger)).wait_s <= LONGEST_PAUSE_S
    assert 1000.0 < (await take(second_ledger)).wait_s <= 2000.0 + LONGEST_PAUSE_S


async def test_refusals_side_by_side_count_once_and_later_ones_add_up(
    ledger: Ledger, database: LedgerDatabase, clock: FakeClock
) -> None:
    await ledger.slow_down(BUCKET, 0.0)
    let_pass(database, clock, -3600.0)  # the last refusal lies an hour ahead: a clock was wrong
    for _ in range(3):
        await ledger.slow_down(BUCKET, 0.0)
    [state] = await ledger.rates(["xai/one"], sandbox=False)
    assert 1.0 <= state.slowed <= MOST_SLOWED
    for _ in range(10):
        let_pass(database, clock, 3.0)
        await ledger.slow_down(BUCKET, 0.0)
    [state] = await ledger.rates(["xai/one"], sandbox=False)
    assert MOST_SLOWED - NEAR_S / RECOVERS_IN_S <= state.slowed <= MOST_SLOWED


async def test_the_rate_recovers_while_nothing_is_refused(
    ledger: Ledger, database: LedgerDatabase, clock: FakeClock
) -> None:
    for _ in range(10):
        await ledger.slow_down(BUCKET, 1.0)
        let_pass(database, clock, 3.0)
    let_pass(database, clock, RECOVERS_IN_S * MOST_SLOWED)
    [state] = await ledger.rates(["xai/one"], sandbox=False)
    assert (state.slowed, state.paused_s) == (1.0, 0.0)
    await take(ledger)
    assert is_about(await take(ledger), 1000.0)


async def test_an_account_without_numbers_is_held_back_after_a_refusal_alone(ledger: Ledger) -> None:
    unknown = space_out(RateLimit())
    assert [(await take(ledger, spacing=unknown)).wait_s for _ in range(5)] == [0] * 5
    await ledger.slow_down(BUCKET, LONGEST_PAUSE_S)
    assert 0 < (await take(ledger, spacing=unknown)).wait_s <= LONGEST_PAUSE_S


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("wrong_by_s", [-1e9, -10_800.0, 10_800.0])
async def test_a_clock_that_was_wrong_stops_an_account_for_a_minute(
    ledger: Ledger, database: LedgerDatabase, clock: FakeClock, wrong_by_s: float, refused: bool
) -> None:
    limit = space_out(RateLimit(per_second=2.0, per_minute=60.0))
    for _ in range(30):
        await take(ledger, spacing=limit, horizon_s=5.0)
    if refused:
        await ledger.slow_down(BUCKET, LONGEST_PAUSE_S)
    let_pass(database, clock, wrong_by_s)
    while not (given := await take(ledger, spacing=limit, horizon_s=5.0)).taken:
        assert given.wait_s <= LONGEST_PAUSE_S
        let_pass(database, clock, given.wait_s)
        [state] = await ledger.rates(None, sandbox=False)
        assert state.paused_s <= 1.0, "what is waited for once is over"


WRONG_BY_S = [60.0, 10_800.0, 1e9]


@pytest.mark.parametrize("wrong_by_s", WRONG_BY_S)
async def test_a_bucket_goes_back_with_the_clock(
    ledger: Ledger, second_ledger: Ledger, database: LedgerDatabase, clock: FakeClock, wrong_by_s: float
) -> None:
    waits = [await take(ledger) for _ in range(3)]
    let_pass(database, clock, -wrong_by_s)
    [state] = await second_ledger.rates(None, sandbox=False)
    assert 3000.0 - NEAR_S <= state.second_ahead_s <= 3000.0
    waits += [await take(each) for each in (second_ledger, ledger)]
    assert all(is_about(given, number * 1000.0) for number, given in enumerate(waits))


@pytest.mark.parametrize("wrong_by_s", WRONG_BY_S)
async def test_what_a_clock_that_was_ahead_has_written_is_not_waited_for(
    ledger: Ledger, database: LedgerDatabase, clock: FakeClock, wrong_by_s: float
) -> None:
    """Its pause lasts as long as it would have, from when somebody asks again."""
    quick = space_out(RateLimit(per_second=10.0))
    await take(ledger, spacing=quick)
    let_pass(database, clock, wrong_by_s)
    await ledger.slow_down(BUCKET, LONGEST_PAUSE_S)
    let_pass(database, clock, -wrong_by_s)
    [state] = await ledger.rates(None, sandbox=False)
    assert (0 < state.paused_s <= LONGEST_PAUSE_S, 1.0 <= state.slowed <= 2.0) == (True, True)
    assert 0 < (await take(ledger, spacing=quick, horizon_s=0.0)).wait_s <= LONGEST_PAUSE_S
    let_pass(database, clock, LONGEST_PAUSE_S)
    [state] = await ledger.rates(None, sandbox=False)
    assert state.paused_s == 0.0
    assert (await take(ledger, spacing=quick, horizon_s=5.0)).wait_s == 0.0


@pytest.mark.parametrize("wrong_by_s", [*WRONG_BY_S, *(-each for each in WRONG_BY_S)])
async def test_no_setting_of_the_clock_fills_a_bucket_beyond_its_capacity(
    ledger: Ledger, database: LedgerDatabase, clock: FakeClock, wrong_by_s: float
) -> None:
    """There and back again: nobody is given more at once than a bucket that nobody has asked of holds."""
    spacing = Spacing(second_s=1000.0, second_slack_s=4000.0)

    async def take_all() -> int:
        given = 0
        while (await take(ledger, spacing=spacing, horizon_s=0.0)).wait_s == 0.0:
            given += 1
        return given

    assert await take_all() == 5
    for by_s in (wrong_by_s, -wrong_by_s):
        let_pass(database, clock, by_s)
        assert await take_all() <= 5
    let_pass(database, clock, -wrong_by_s)
    if wrong_by_s > 0:
        assert await take_all() == 0, "it has gone back with the clock, as empty as it was"


async def test_clocks_that_differ_a_little_do_not_move_a_bucket(
    ledger: Ledger, database: LedgerDatabase, clock: FakeClock
) -> None:
    async def used_up_at() -> float:
        [row] = database.query("SELECT second_at FROM provider_rates")
        return float(row["second_at"])

    await take(ledger)
    let_pass(database, clock, 0.1 - CLOCKS_DIFFER_S)
    before_s = await used_up_at()
    await take(ledger)
    await ledger.slow_down(BUCKET, 1.0)
    assert await used_up_at() == pytest.approx(before_s + 1000.0, abs=0.001)


async def test_the_buckets_of_an_account_can_be_read(ledger: Ledger) -> None:
    spacing = Spacing(second_s=1000.0, minute_s=4000.0)
    await take(ledger, 2, spacing=spacing)
    await ledger.take_rate(replace(BUCKET, account="xai/two"), SLOW, 1, FOREVER_S)
    [state] = await ledger.rates(["xai/one", "nobody"], sandbox=False)
    assert state.bucket == BUCKET
    assert 2000.0 - NEAR_S <= state.second_ahead_s <= 2000.0
    assert 8000.0 - NEAR_S <= state.minute_ahead_s <= 8000.0
    assert (state.slowed, state.paused_s) == (1.0, 0.0)
    assert [each.bucket.account for each in await ledger.rates(None, sandbox=False)] == ["xai/one", "xai/two"]
    assert await ledger.rates(None, sandbox=True) == []
    assert await ledger.rates(["xai/one"], sandbox=True) == []
    assert await ledger.rates([], sandbox=False) == []


async def test_a_models_duration_is_learned_by_all(ledger: Ledger, second_ledger: Ledger) -> None:
    assert await ledger.usual_duration("a clip", sandbox=False) is None
    for number in range(400):
        took_s = 80.0 + (number * 37 % 101) / 2  # evenly between 80 and 130
        usual = await (ledger, second_ledger)[number % 2].note_duration("a clip", took_s, sandbox=False)
    assert await ledger.usual_duration("a clip", sandbox=False) == usual
    assert usual.jobs == 400
    assert usual.quarter_s == pytest.approx(92.5, abs=6)
    assert usual.half_s == pytest.approx(105.0, abs=6)
    assert usual.most_s == pytest.approx(117.5, abs=6)
    assert await ledger.usual_duration("a clip", sandbox=True) is None
    assert await ledger.usual_duration("another", sandbox=False) is None


async def test_a_model_that_becomes_slower_is_followed(ledger: Ledger) -> None:
    for took_s in [100.0] * 50 + [300.0] * 60:
        usual = await ledger.note_duration("a clip", took_s, sandbox=False)
    assert usual.quarter_s <= usual.half_s <= usual.most_s
    assert usual.half_s == pytest.approx(300.0, abs=20)


async def test_one_job_says_all_that_is_known(ledger: Ledger) -> None:
    usual = await ledger.note_duration("a clip", 1e9, sandbox=False)
    assert (usual.quarter_s, usual.half_s, usual.most_s, usual.jobs) == (3600.0, 3600.0, 3600.0, 1)
    usual = await ledger.note_duration("another", -5.0, sandbox=False)
    assert usual.half_s == 0.0
