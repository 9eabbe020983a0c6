"""Whose step is next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

import pytest

from ring_mcp.jobs.turns import Turns
from tests.ledger_samples import planned

LIMIT_S = 60.0


class Steps:
    """Steps that each note who runs and end when they are told."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.ran: list[str] = []
        self.running = 0
        self.most = 0
        self.may_end = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def add(self, actor: str, kind: Literal["image", "video"]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._step(actor, kind))
        self.tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def _step(self, actor: str, kind: Literal["image", "video"]) -> None:
        async with self.turns.take(planned(actor_id=actor, kind=kind)):
            self.ran.append(f"{actor} {kind}")
            self.running += 1
            self.most = max(self.most, self.running)
            await self.may_end.wait()
            self.running -= 1

    async def end(self) -> Sequence[str]:
        self.may_end.set()
        await asyncio.wait_for(asyncio.gather(*self.tasks, return_exceptions=True), LIMIT_S)
        return self.ran


@pytest.fixture
def steps() -> Steps:
    return Steps(Turns(1))


async def test_no_more_steps_run_at_once_than_are_allowed() -> None:
    steps = Steps(Turns(3))
    for number in range(20):
        await steps.add(f"actor {number % 4}", "video")
    assert (steps.running, steps.turns.waiting) == (3, 17)
    await steps.end()
    assert (len(steps.ran), steps.most, steps.turns.waiting) == (20, 3, 0)


async def test_a_picture_goes_before_clips_that_have_waited_longer(steps: Steps) -> None:
    for _ in range(3):
        await steps.add("ann", "video")
    await steps.add("ann", "image")
    assert await steps.end() == ["ann video", "ann image", "ann video", "ann video"]


async def test_a_thousand_clips_of_one_actor_hold_up_nobody_else(steps: Steps) -> None:
    for _ in range(1000):
        await steps.add("ann", "video")
    await steps.add("bob", "image")
    await steps.add("cid", "video")
    assert (await steps.end())[:4] == ["ann video", "bob image", "ann video", "cid video"]
    assert len(steps.ran) == 1002


async def test_actors_take_turns_among_their_pictures(steps: Steps) -> None:
    for actor in ("ann", "ann", "ann", "bob", "cid"):
        await steps.add(actor, "image")
    assert await steps.end() == ["ann image", "ann image", "bob image", "cid image", "ann image"]


async def test_clips_are_not_starved_by_pictures(steps: Steps) -> None:
    await steps.add("bob", "video")
    for _ in range(40):
        await steps.add("ann", "image")
    await steps.add("bob", "video")
    ran = await steps.end()
    assert ran[1:].index("bob video") == 7


async def test_a_step_that_is_cancelled_while_it_waits_takes_no_turn(steps: Steps) -> None:
    await steps.add("ann", "video")
    leaving = await steps.add("bob", "video")
    await steps.add("cid", "video")
    leaving.cancel()
    assert await steps.end() == ["ann video", "cid video"]
    assert steps.turns.waiting == 0


async def test_a_turn_given_to_one_who_is_cancelled_meanwhile_is_passed_on(steps: Steps) -> None:
    async with steps.turns.take(planned()):
        leaving = await steps.add("bob", "video")
        await steps.add("cid", "video")
    leaving.cancel()  # it has the turn, and has not run yet
    await steps.end()
    assert steps.ran == ["cid video"]
    async with asyncio.timeout(LIMIT_S), steps.turns.take(planned()):
        assert steps.turns.waiting == 0
