"""Two servers on one ledger, both alive, or one of them only asleep: a job has one driver, and is paid once."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from tests.kill.kill_client import Reply, Server
from tests.kill.kill_points import RINGBASE, Kind, arguments, tool_of
from tests.kill.kill_world import PAST_EVERY_DEADLINE_S, LedgerKind, MakeWorld, World, until
from tests.kill.victim import Fate

LEASE_S = 1.5
STALL_S = 40.0
"""How long a provider says nothing: longer than another server needs to start and to take over."""

AWAKE = Fate(lease_s=LEASE_S)
AWAKE_AND_AHEAD = Fate(lease_s=LEASE_S, clock_ahead_s=PAST_EVERY_DEADLINE_S)


async def ask(server: Server, kind: Kind, prompt: str, **more: Any) -> Reply:
    return await server.call(tool_of(kind), arguments(kind, prompt) | more)


async def both(world: World, fate: Fate | None = None) -> tuple[Server, Server]:
    first, second = await asyncio.gather(world.start(fate), world.start(fate))
    return first, second


async def paid_once_and_all_there(world: World, jobs: int) -> None:
    verdict = await world.judge()
    assert not verdict.problems, verdict.problems
    assert (verdict.submitted, verdict.twice, verdict.lost) == (jobs, 0, 0)


@pytest.mark.kill
@pytest.mark.parametrize("ledger", ["sqlite", "postgres"])
async def test_two_living_servers_never_drive_the_same_job(ledger: LedgerKind, make_world: MakeWorld) -> None:
    world = await make_world(ledger)
    world.environment |= RINGBASE
    world.sandbox.state.configure(render_s=4.0, deferred_s=4.0)  # long enough for either to look for jobs twice
    first, second = await both(world)
    kinds: list[Kind] = ["image", "video", "frame"] * 3
    prompts = {f"{kind} {number}": kind for number, kind in enumerate(kinds)}
    handles = await asyncio.gather(*(ask(first, kind, prompt, waitSeconds=0) for prompt, kind in prompts.items()))

    def made() -> list[dict[str, Any]]:
        return [row for row in world.rows() if row["provider_request_id"]]

    await until("all that can be are being made", lambda: len(made()) == len(kinds))
    owners = {row["id"]: row["owner"] for row in made()}
    replies = await asyncio.gather(
        *(second.call("ring-job-get", {"jobId": handle.job_id, "waitSeconds": 40}) for handle in handles),
        *(ask(second, kind, prompt, waitSeconds=40) for prompt, kind in prompts.items()),
    )
    assert [reply.job_id for reply in replies] == [handle.job_id for handle in handles] * 2
    assert all(reply.data["state"] == "done" for reply in replies)
    assert {row["id"]: row["owner"] for row in world.rows() if row["id"] in owners} == owners
    stills = kinds.count("frame")
    assert world.asked("POST", "/ringbase/api/v1/upload") == len(kinds) + stills
    await paid_once_and_all_there(world, len(kinds) + stills)
    await first.leave()
    await second.leave()


@pytest.mark.kill
@pytest.mark.parametrize("ledger", ["sqlite", "postgres"])
async def test_the_jobs_of_a_killed_server_go_over_to_the_living_one(ledger: LedgerKind, make_world: MakeWorld) -> None:
    world = await make_world(ledger)
    world.sandbox.state.configure(render_s=600.0, deferred_s=600.0)
    fate = AWAKE if ledger == "postgres" else None
    first = await world.start(fate)
    kinds: list[Kind] = ["image", "video", "image", "video"]
    for number, kind in enumerate(kinds):
        await ask(first, kind, f"{kind} {number}", waitSeconds=0)
    await until("all are being made", lambda: all(row["provider_request_id"] for row in world.rows()))
    owners = {row["owner"] for row in world.rows()}
    assert len(owners) == 1, "all of them are the first one's"
    second = await world.start(fate)  # on PostgreSQL two that live share what either opens
    await first.kill()
    world.sandbox.state.configure(render_s=0.0, deferred_s=0.0)
    await world.all_settled(20.0)
    await paid_once_and_all_there(world, len(kinds))
    await second.leave()


async def asleep_for_longer_than_its_lease(world: World, sleeper: Server, job_id: str, owner: str) -> dict[str, Any]:
    """Stop it until another one has the job; that row."""
    sleeper.signal(signal.SIGSTOP)

    def taken_over() -> dict[str, Any] | None:
        row = next(row for row in world.rows() if row["id"] == job_id)
        return row if row["owner"] != owner else None

    row = await until("another one takes the job over", taken_over, 30.0)
    assert isinstance(row, dict)
    return row


@pytest.mark.kill
async def test_a_server_that_slept_cannot_overwrite_its_successor(make_world: MakeWorld) -> None:
    world = await make_world("postgres")
    world.sandbox.state.configure(render_s=600.0)
    sleeper = await world.start(AWAKE)
    call = asyncio.create_task(ask(sleeper, "video", "a clip", waitSeconds=40))
    row = await until("it is polled", lambda: world.asked("GET", "/videos/") >= 2 and world.row("a clip"))
    other = await world.start(AWAKE)
    await asleep_for_longer_than_its_lease(world, sleeper, row["id"], row["owner"])
    world.sandbox.state.configure(render_s=0.0)
    await world.all_settled()
    ended = world.row("a clip")
    sleeper.signal(signal.SIGCONT)
    reply = await call  # whoever asked the sleeper gets what the other one has made
    assert reply.data["state"] == "done"
    after = world.row("a clip")
    assert ended is not None
    assert after is not None
    facts = ("state", "owner", "assets", "settled_usd_ticks", "finished_at")
    assert [after[name] for name in facts] == [ended[name] for name in facts]
    await paid_once_and_all_there(world, 1)
    await sleeper.leave()
    await other.leave()


@pytest.mark.kill
async def test_a_sleepers_late_answer_is_not_lost_to_its_successor(
    make_world: MakeWorld,
) -> None:
    world = await make_world("postgres")
    stall = world.sandbox.state.faults.add("stall", seconds=STALL_S)
    sleeper = await world.start(AWAKE)
    call = asyncio.create_task(ask(sleeper, "video", "a clip", waitSeconds=60))
    await until("it is accepted", lambda: stall.hits and world.charges("a clip"))
    other = await world.start(AWAKE)
    row = world.row("a clip")
    assert row is not None
    taken = await asleep_for_longer_than_its_lease(world, sleeper, row["id"], row["owner"])
    assert taken["state"] == "submitting"
    sleeper.signal(signal.SIGCONT)
    assert (await call).data["state"] == "done"
    told = await other.call("ring-job-get", {"jobId": row["id"], "waitSeconds": 40})
    assert told.data["state"] == "done", "the one that had taken it over lets go of it"
    await paid_once_and_all_there(world, 1)
    await sleeper.leave()
    await other.leave()


@pytest.mark.kill
async def test_a_late_answer_wins_over_unknown(make_world: MakeWorld) -> None:
    world = await make_world("postgres")
    stall = world.sandbox.state.faults.add("stall", seconds=STALL_S)
    sleeper = await world.start(AWAKE)
    call = asyncio.create_task(ask(sleeper, "video", "a clip", waitSeconds=60))
    await until("it is accepted", lambda: stall.hits and world.charges("a clip"))
    other = await world.start(AWAKE_AND_AHEAD)
    row = world.row("a clip")
    assert row is not None
    await asleep_for_longer_than_its_lease(world, sleeper, row["id"], row["owner"])
    await until("it is given up", lambda: (world.row("a clip") or row)["state"] == "unknown")
    told = await other.call("ring-job-get", {"jobId": row["id"], "waitSeconds": 0})
    assert told.content["code"] == "unknown_outcome"
    sleeper.signal(signal.SIGCONT)
    assert (await call).data["state"] == "done"
    now = await other.call("ring-job-get", {"jobId": row["id"], "waitSeconds": 40})
    assert now.data["state"] == "done"
    await paid_once_and_all_there(world, 1)
    await sleeper.leave()
    await other.leave()


@pytest.mark.kill
async def test_two_who_fetch_the_same_clip_at_once_do_not_spoil_it(make_world: MakeWorld) -> None:
    """The sleeper wakes up in the middle of its download, in the same spool folder."""
    world = await make_world("postgres")
    state = world.sandbox.state
    state.faults.add("media_slow", times=2, bytes_per_s=40_000)
    sleeper = await world.start(AWAKE)
    big = {"duration": 15, "resolution": "720p", "waitSeconds": 60}
    call = asyncio.create_task(ask(sleeper, "video", "a clip", **big))

    def downloads() -> int:
        return len([r for r in list(state.requests) if r["path"].startswith("/media/")])

    await until("it is being fetched", lambda: downloads() == 1)
    row = world.row("a clip")
    assert row is not None
    other = await world.start(AWAKE)
    await asleep_for_longer_than_its_lease(world, sleeper, row["id"], row["owner"])
    await until("it is being fetched by the other one, too", lambda: downloads() == 2)
    sleeper.signal(signal.SIGCONT)
    assert (await call).data["state"] == "done"
    await world.all_settled()
    made = state.media.find(world.rows()[0]["outputs"][0]["url"].rsplit("/", 1)[-1])
    assert made is not None
    assert world.rows()[0]["assets"][0]["size_bytes"] == made.path.stat().st_size
    await paid_once_and_all_there(world, 1)
    await sleeper.leave()
    await other.leave()


@pytest.mark.kill
async def test_on_one_machine_a_server_that_sleeps_keeps_its_jobs(make_world: MakeWorld) -> None:
    """The lock of a stopped process is held: nobody takes over from somebody who may wake up."""
    world = await make_world("sqlite")
    world.sandbox.state.configure(render_s=0.5)
    sleeper, other = await both(world)
    call = asyncio.create_task(ask(sleeper, "video", "a clip", waitSeconds=40))
    await until("its handle is written", lambda: (world.row("a clip") or {}).get("provider_request_id"))
    row = world.the_row("a clip")
    sleeper.signal(signal.SIGSTOP)
    asked = await ask(other, "video", "a clip", waitSeconds=5)  # the other one looks for jobs twice meanwhile
    assert asked.data["state"] == "rendering"
    after = world.row("a clip")
    assert after is not None
    assert (after["owner"], after["version"]) == (row["owner"], row["version"])
    sleeper.signal(signal.SIGCONT)
    assert (await call).data["state"] == "done"
    await paid_once_and_all_there(world, 1)
    await sleeper.leave()
    await other.leave()
