"""A server that opens and workers that drive, real programs on one PostgreSQL: workers are killed and replaced."""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial
from typing import Any

import pytest

from tests.kill.kill_client import Reply, Server
from tests.kill.kill_points import Kind, arguments, tool_of
from tests.kill.kill_world import KILLS, MakeWorld, World, until

TAKE_OVER_LIMIT_S = 90.0
"""What is promised for a process that dies without a word: its lease of a minute, and a moment to look."""

HAND_OVER_LIMIT_S = 30.0
"""Half a lease: whoever has taken a job within it was given it."""


async def ask(server: Server, kind: Kind, prompt: str, **more: Any) -> Reply:
    return await server.call(tool_of(kind), arguments(kind, prompt) | more)


async def fleet(make_world: MakeWorld) -> tuple[World, Server]:
    """A world in which servers open jobs and leave them to workers, and one such server."""
    world = await make_world("postgres")
    world.environment["RING_DRIVE"] = "off"
    world.sandbox.state.configure(render_s=600.0, deferred_s=600.0)
    return world, await world.start()


async def open_jobs(world: World, server: Server, jobs: int) -> None:
    for number in range(jobs):
        kind: Kind = "video" if number % 2 else "image"
        await ask(server, kind, f"{kind} {number}", waitSeconds=0)
    await until("all are being made", lambda: all(row["provider_request_id"] for row in world.rows()))


def owners(world: World) -> set[str]:
    return {row["owner"] for row in world.rows()}


def has_none_of(world: World, before: set[str]) -> bool:
    return not owners(world) & before


async def ends_well(world: World, jobs: int) -> dict[str, int]:
    world.sandbox.state.configure(render_s=0.0, deferred_s=0.0)
    await world.all_settled(TAKE_OVER_LIMIT_S)
    verdict = await world.judge()
    assert not verdict.problems, verdict.problems
    assert (verdict.submitted, verdict.twice, verdict.lost) == (jobs, 0, 0)
    return verdict.counts()


@pytest.mark.kill
async def test_workers_drive_what_a_server_opens_and_tell_it(make_world: MakeWorld) -> None:
    world, server = await fleet(make_world)
    world.sandbox.state.configure(render_s=0.5, deferred_s=0.5)
    waiting = [asyncio.create_task(ask(server, "image", f"image {i}", waitSeconds=50)) for i in range(4)]
    await until("they are opened", lambda: len(world.rows()) == 4)
    assert {row["state"] for row in world.rows()} == {"planned"}, "nobody is there to drive them"
    await world.start_worker()
    assert [(await each).data["state"] for each in waiting] == ["done"] * 4
    await ends_well(world, 4)


@pytest.mark.kill
async def test_a_killed_workers_jobs_go_over_within_the_promised_time(
    make_world: MakeWorld, record_property: Any
) -> None:
    world, server = await fleet(make_world)
    worker = await world.start_worker()
    await open_jobs(world, server, 6)
    before = owners(world)
    await world.start_worker()
    began_at = time.monotonic()
    await worker.kill()
    await until("another one has them all", partial(has_none_of, world, before), TAKE_OVER_LIMIT_S)
    took_s = time.monotonic() - began_at
    counts = await ends_well(world, 6)
    line = {"point": "a worker that holds 6 jobs", "kind": "both", "ledger": "postgres", "kills": 1}
    record_property(KILLS, [line | counts | {"recovered_s": [took_s]}])


@pytest.mark.kill
async def test_a_worker_told_to_end_hands_its_jobs_over_at_once(make_world: MakeWorld, record_property: Any) -> None:
    world, server = await fleet(make_world)
    worker = await world.start_worker()
    await open_jobs(world, server, 6)
    for replaced in range(2):  # a rolling restart
        before = owners(world)
        following = await world.start_worker()
        began_at = time.monotonic()
        worker.signal(signal.SIGTERM)
        await until("another one has them all", partial(has_none_of, world, before), HAND_OVER_LIMIT_S)
        took_s = time.monotonic() - began_at
        assert await worker.ended(HAND_OVER_LIMIT_S) == 0
        worker = following
        line = {"point": f"SIGTERM, worker {replaced + 1}", "kind": "both", "ledger": "postgres", "kills": 1}
        lines = [line | {"submitted": 0, "twice": 0, "lost": 0, "unknown": 0, "recovered_s": [took_s]}]
        record_property(KILLS, lines)
    await ends_well(world, 6)
