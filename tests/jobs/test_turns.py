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


async def test_after_a_clip_pictures_go_first_as_often_again(steps: Steps) -> None:
    for _ in range(20):
        await steps.add("ann", "image")
    for _ in range(3):
        await steps.add("bob", "video")
    ran = await steps.end()
    assert [number for number, who in enumerate(ran[1:], 1) if who == "bob video"] == [8, 16, 22]


async def test_a_step_that_is_cancelled_while_it_waits_takes_no_turn(steps: Steps) -> None:
    await steps.add("ann", "video")
    leaving = await steps.add("bob", "video")
    await steps.add("cid", "video")
    leaving.cancel()
    assert await steps.end() == ["ann video", "cid video"]
    assert steps.turns.waiting == 0


async def test_unless_told_otherwise_sixty_four_steps_run_at_once() -> None:
    steps = Steps(Turns())
    for _ in range(70):
        await steps.add("ann", "video")
    assert (steps.running, steps.turns.waiting) == (64, 6)
    await steps.end()


async def test_a_turn_offered_to_one_who_is_leaving_goes_to_the_next(steps: Steps) -> None:
    async with steps.turns.take(planned()):
        leaving = await steps.add("bob", "video")
        await steps.add("cid", "video")
        leaving.cancel()  # and the turn comes before it has left the line
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await steps.end()
    assert (steps.ran, steps.turns.waiting) == (["cid video"], 0)


async def test_who_leaves_as_the_turn_comes_takes_no_other_along(steps: Steps) -> None:
    async with steps.turns.take(planned()):
        leaving = await steps.add("bob", "video")
        for _ in range(2):
            await steps.add("bob", "video")
        leaving.cancel()  # and the turn comes before it has left the line
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await steps.end() == ["bob video"] * 2


async def test_of_two_who_wait_one_leaves_and_the_other_keeps_his_place(steps: Steps) -> None:
    async with steps.turns.take(planned()):
        leaving = await steps.add("bob", "video")
        await steps.add("bob", "video")
        leaving.cancel()
        await asyncio.wait({leaving})
        assert steps.turns.waiting == 1
    assert await steps.end() == ["bob video"]


async def test_a_step_that_stands_aside_lets_another_go_and_comes_back(steps: Steps) -> None:
    waits_for, did = asyncio.Event(), list[str]()

    async def stand_aside() -> None:
        async with steps.turns.take(planned()) as turn:
            assert turn.is_held
            async with turn.aside():
                did.append("aside")
                assert not turn.is_held
                await waits_for.wait()
            assert turn.is_held
            did.append("back")

    standing = asyncio.create_task(stand_aside())
    await steps.add("bob", "video")
    assert (did, steps.running) == (["aside"], 1)
    waits_for.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert (did, steps.turns.waiting) == (["aside"], 1), "bob has the turn"
    await steps.end()
    await asyncio.wait_for(standing, LIMIT_S)
    assert did == ["aside", "back"]
    async with asyncio.timeout(LIMIT_S), steps.turns.take(planned()):
        assert await steps.add("cid", "image")
        assert steps.turns.waiting == 1, "it was one turn all the time"


async def test_a_step_cancelled_while_it_stands_aside_gives_no_turn_back_twice(steps: Steps) -> None:
    async def stand_aside() -> None:
        async with steps.turns.take(planned()) as turn, turn.aside():
            await asyncio.Event().wait()

    standing = asyncio.create_task(stand_aside())
    await asyncio.sleep(0)
    standing.cancel()
    await asyncio.wait({standing})
    for _ in range(2):
        await steps.add("ann", "video")
    assert (steps.running, steps.turns.waiting) == (1, 1)
    await steps.end()


@pytest.mark.parametrize(("kind", "first"), [("video", True), ("image", False)])
async def test_who_says_so_goes_before_or_behind_his_kind(
    steps: Steps, kind: Literal["image", "video"], first: bool
) -> None:
    order = list[str]()

    async def go(name: str, first: bool | None, kind: Literal["image", "video"]) -> None:
        async with steps.turns.take(planned(kind=kind), first=first):
            order.append(name)

    async with steps.turns.take(planned()):
        going = [asyncio.create_task(go("other", not first, kind)), asyncio.create_task(go("said so", first, kind))]
        await asyncio.sleep(0)
    await asyncio.wait_for(asyncio.gather(*going), LIMIT_S)
    assert order == (["said so", "other"] if first else ["other", "said so"])


async def test_a_turn_given_to_one_who_is_cancelled_meanwhile_is_passed_on(steps: Steps) -> None:
    async with steps.turns.take(planned()):
        leaving = await steps.add("bob", "video")
        await steps.add("cid", "video")
    leaving.cancel()  # it has the turn, and has not run yet
    await steps.end()
    assert steps.ran == ["cid video"]
    async with asyncio.timeout(LIMIT_S), steps.turns.take(planned()):
        assert steps.turns.waiting == 0
