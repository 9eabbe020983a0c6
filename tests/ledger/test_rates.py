"""What a bucket's statements are made of; ``tests/contracts/test_ledger_rates.py`` asks both databases what they do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ring_mcp.domain import RateBucket, Spacing
from ring_mcp.domain.rates import Asking
from ring_mcp.ledger import rates
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.rows import Dialect
from tests.fake_clock import FakeClock
from tests.ledger_databases import LedgerDatabase

BUCKET = RateBucket(sandbox=True, account="xai/one", model="a model", asking="look")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize("text_times", [True, False])
def test_a_request_is_taken_in_one_statement(text_times: bool) -> None:
    taking = rates.take(BUCKET, Spacing(second_s=0.5), 1, 5.0, NOW, Dialect(text_times=text_times))
    statement = next(taking)
    assert ("clock_timestamp()" in statement.sql) is not text_times
    with pytest.raises(StopIteration) as ended:
        taking.send([{"wait_s": 7.5}])
    assert (ended.value.value.wait_s, ended.value.value.taken) == (7.5, False)


def test_nobody_takes_more_than_a_bounded_number_at_once() -> None:
    statement = next(rates.take(BUCKET, Spacing(second_s=0.5), 10**9, 5.0, NOW, Dialect(text_times=True)))
    assert statement.parameters["count"] == rates.MOST_AT_ONCE


# What a file's ledger does is exact, for its time is this machine's.

LIMIT = Spacing(second_s=2.0, second_slack_s=3.0, minute_s=5.0, minute_slack_s=7.0, unknown_s=1.0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def ledger(sqlite: LedgerDatabase, clock: FakeClock) -> AsyncIterator[Ledger]:
    async with sqlite.started(clock) as started:
        yield started


def about(value: Any) -> Any:
    """Times are seconds since 1970, which leaves a few digits for their fractions."""
    return pytest.approx(value, abs=1e-4)


def write(database: LedgerDatabase, **facts: float) -> None:
    database.query(f"UPDATE provider_rates SET {', '.join(f'{name} = :{name}' for name in facts)}", facts)


async def ahead(ledger: Ledger) -> tuple[float, float, float, float]:
    """How far the second, the minute and the pause are ahead, and how many times slower the bucket is."""
    [state] = await ledger.rates(None, sandbox=True)
    return state.second_ahead_s, state.minute_ahead_s, state.paused_s, state.slowed


async def test_a_bucket_begins_with_what_is_taken_first(ledger: Ledger) -> None:
    assert (await ledger.take_rate(BUCKET, LIMIT, 3, 0.0)).wait_s == 0.0
    assert await ahead(ledger) == about((6.0, 15.0, 0.0, 1.0))


async def test_a_slowed_bucket_is_filled_so_many_times_faster(
    ledger: Ledger, sqlite: LedgerDatabase, clock: FakeClock
) -> None:
    """Where a number is not known, a step of its own comes to it, for every time that it is slower."""
    await ledger.take_rate(BUCKET, LIMIT, 1, 0.0)
    write(sqlite, slowed=3.0, slowed_at=clock.now().timestamp())
    assert (await ledger.take_rate(BUCKET, LIMIT, 2, 0.0)).taken
    assert await ahead(ledger) == about((2.0 + 2 * (3 * 2.0 + 2 * 1.0), 5.0 + 2 * 3 * 5.0, 0.0, 3.0))
    # The slack is as many times longer: 18 - 9 of the second, 35 - 21 of the minute.
    assert (await ledger.take_rate(BUCKET, LIMIT, 1, 0.0)).wait_s == about(14.0)


@pytest.mark.parametrize(
    ("name", "slowed", "wait_s"),
    [
        ("second_at", 1.0, 5.0 + 16 * 2.0),
        ("minute_at", 1.0, 5.0 + 16 * 5.0),
        ("paused_until", 1.0, 60.0),
        ("second_at", 4.0, 5.0 + 16 * (4 * 2.0 + 3 * 1.0)),
        ("minute_at", 4.0, 5.0 + 16 * 4 * 5.0),
    ],
)
async def test_no_time_is_further_ahead_than_correct_clocks_can_make_it(
    ledger: Ledger, sqlite: LedgerDatabase, clock: FakeClock, name: str, slowed: float, wait_s: float
) -> None:
    now = clock.now().timestamp()
    await ledger.take_rate(BUCKET, LIMIT, 1, 0.0)
    write(sqlite, slowed=slowed, slowed_at=now, **{name: now + 1e6})
    refused = await ledger.take_rate(BUCKET, LIMIT, 1, 5.0)
    assert (refused.wait_s, refused.taken) == (about(wait_s), False)
    clock.advance(wait_s - 5.0)
    is_over = (await ledger.take_rate(BUCKET, LIMIT, 1, 5.0)).taken
    assert is_over is (slowed == 1.0), "while it recovers, less may run ahead, too"


async def test_what_can_leave_at_the_horizon_is_taken(ledger: Ledger) -> None:
    await ledger.take_rate(BUCKET, LIMIT, 5, 0.0)
    assert not (await ledger.take_rate(BUCKET, LIMIT, 1, 17.75)).taken
    given = await ledger.take_rate(BUCKET, LIMIT, 1, 18.0)
    assert (given.wait_s, given.taken) == (18.0, True)


async def test_refusals_within_two_seconds_of_the_first_are_one(ledger: Ledger, clock: FakeClock) -> None:
    await ledger.slow_down(BUCKET, 0.0)
    clock.advance(1.75)
    await ledger.slow_down(BUCKET, 0.0)
    assert (await ahead(ledger))[3] == about(2.0 - 1.75 / 30)
    clock.advance(0.25)
    await ledger.slow_down(BUCKET, 0.0)
    twice = 2 * (2.0 - 2.0 / 30)
    assert (await ahead(ledger))[3] == about(twice)
    clock.advance(15.0)
    assert (await ahead(ledger))[3] == about(twice - 0.5)


async def test_the_first_refusal_counts_beside_the_first_request(ledger: Ledger) -> None:
    await ledger.take_rate(BUCKET, LIMIT, 1, 0.0)
    await ledger.slow_down(BUCKET, 30.0)
    assert await ahead(ledger) == about((2.0, 5.0, 30.0, 2.0))


async def test_a_pause_is_never_made_shorter_nor_a_bucket_endlessly_slow(ledger: Ledger, clock: FakeClock) -> None:
    await ledger.slow_down(BUCKET, 50.0)
    for _ in range(9):
        clock.advance(3.0)
        await ledger.slow_down(BUCKET, 1.0)
    assert await ahead(ledger) == about((0.0, 0.0, 23.0, 16.0))


@pytest.mark.parametrize(("behind_s", "goes_back"), [(10.0, False), (10.5, True)])
async def test_a_clock_ten_seconds_behind_was_not_set_back(
    ledger: Ledger, clock: FakeClock, behind_s: float, goes_back: bool
) -> None:
    await ledger.slow_down(BUCKET, 40.0)
    await ledger.take_rate(BUCKET, LIMIT, 16, 60.0)
    before = await ahead(ledger)
    clock.advance(-behind_s)
    moved_s = 0.0 if goes_back else behind_s
    assert (await ahead(ledger))[:3] == about(tuple(each + moved_s for each in before[:3]))
    await ledger.slow_down(BUCKET, 0.0)
    assert (await ahead(ledger))[:3] == about(tuple(each + moved_s for each in before[:3]))


async def test_buckets_are_told_in_the_order_of_their_names(ledger: Ledger) -> None:
    names: list[tuple[str, str, Asking]] = [
        ("xai/b", "m", "look"),
        ("xai/a", "n", "look"),
        ("xai/a", "m", "submit"),
        ("xai/a", "m", "look"),
    ]
    for account, model, asking in names:
        bucket = replace(BUCKET, account=account, model=model, asking=asking)
        await ledger.take_rate(bucket, LIMIT, 1, 0.0)
    found = [each.bucket for each in await ledger.rates(None, sandbox=True)]
    assert [(each.account, each.model, each.asking) for each in found] == sorted(names)
