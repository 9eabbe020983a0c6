"""Who waits for whom in one process, and that nobody waits for long."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ring_mcp.domain import Caps
from ring_mcp.errors import LedgerError
from ring_mcp.ledger import locks
from ring_mcp.ledger.turns import Turns
from tests.ledger_samples import planned

LIMIT_S = 60.0


async def test_two_at_a_time_take_the_same_lock_and_others_do_not_wait() -> None:
    turns = Turns(LIMIT_S, at_once=4)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(turns.take([7]))
        third = asyncio.create_task(stack.enter_async_context(turns.take([7])))
        await asyncio.sleep(0)
        async with turns.take([8]), turns.take([]) as left_s:
            assert left_s == LIMIT_S
        assert not third.done()
        await stack.pop_all().aclose()
        assert 0 < await asyncio.wait_for(third, LIMIT_S) <= LIMIT_S
    assert turns._of == {}, "of locks that nobody wants nothing is kept"


async def test_of_all_locks_together_no_more_are_taken_than_connections_allow() -> None:
    turns = Turns(0.05, at_once=2)
    async with turns.take([1]), turns.take([2]):
        with pytest.raises(LedgerError, match="is busy"):
            async with turns.take([3]):
                pass
        async with turns.take([]):
            pass
    async with turns.take([3]):
        pass


async def test_who_gives_up_or_is_cancelled_gives_its_turn_back() -> None:
    turns = Turns(0.05, at_once=4)
    async with turns.take([1]), turns.take([1]):
        with pytest.raises(LedgerError, match="is busy"):
            async with turns.take([0, 1]):
                pass
        waiting = asyncio.create_task(turns.take([0, 1]).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert turns._of == {}


def test_the_same_request_is_the_same_lock_and_another_is_not() -> None:
    job = planned(request_hash="v1:a", actor_id="anna")
    same = planned(request_hash="v1:a", actor_id="anna")
    others = [
        planned(request_hash="v1:b", actor_id="anna"),
        planned(request_hash="v1:a", actor_id="bert"),
        planned(request_hash="v1:a", actor_id="anna", sandbox=True),
        planned(request_hash="v1:a", actor_id="anna", idempotency_key="mine"),
        planned(request_hash="v1:a", actor_id="anna\0v1:a"),
    ]
    assert locks.of_request(job) == locks.of_request(same)
    assert len({locks.of_request(each) for each in (job, *others)}) == 6
    keyed = [planned(request_hash=hash_, idempotency_key="mine") for hash_ in ("v1:a", "v1:b")]
    assert len({locks.of_request(each) for each in keyed}) == 1, "a key stands for one request"
    assert all(-(2**63) <= locks.of_request(each) < 2**63 for each in others)


def test_a_still_is_locked_by_its_key_and_by_what_is_asked() -> None:
    clip, other = planned(), planned()
    still = planned(request_hash="v1:still", idempotency_key="first-frame:1")
    again = planned(request_hash="v1:still", idempotency_key="first-frame:2")
    both = set(locks.of_opening(clip, still)) & set(locks.of_opening(other, again))
    assert len(both) == 1
    assert locks.of_opening(clip, still) == sorted(locks.of_opening(clip, still))
    assert len(locks.of_opening(clip, still)) == 3
    assert locks.of_opening(clip, None) == [locks.of_request(clip)]


@pytest.mark.parametrize(
    ("caps", "is_capped"),
    [
        (Caps(), False),
        (Caps(per_call_usd=planned().reserved_usd, max_usd=planned().reserved_usd), False),
        (Caps(per_day_usd=planned().reserved_usd), True),
        (Caps(per_month_usd=planned().reserved_usd), True),
    ],
)
def test_only_who_counts_what_others_spend_waits_for_them(caps: Caps, is_capped: bool) -> None:
    assert locks.is_capped(caps) is is_capped
    assert locks.of_spending(False) != locks.of_spending(True)
