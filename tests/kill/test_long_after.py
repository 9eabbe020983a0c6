"""Servers that come back long after the crash, find rubbish, or have to wait for a lease of full length."""

from __future__ import annotations

import pytest

from tests.kill.kill_client import Reply, Server, ServerDied
from tests.kill.kill_points import Kind, arguments, frame_of, tool_of
from tests.kill.kill_world import MakeWorld, World, until
from tests.kill.victim import Fate

STALE_S = 700.0
"""A plan that is this old is not started any more."""

TAKE_OVER_LIMIT_S = 90.0
"""What is promised for a process that dies without a word."""


async def ask_for_a_framed_clip(server: Server) -> Reply:
    asked = arguments("frame", "a clip") | {"idempotencyKey": "a key", "waitSeconds": 40}
    return await server.call(tool_of("frame"), asked)


async def killed(world: World, fate: Fate, kind: Kind) -> None:
    """A job of this kind, and the death of its server."""
    victim = await world.start(fate)
    with pytest.raises(ServerDied):
        await victim.call(tool_of(kind), arguments(kind, "a clip"))
    await victim.ended()


@pytest.mark.kill
async def test_a_plan_found_too_late_is_not_started(make_world: MakeWorld) -> None:
    world = await make_world("sqlite")
    await killed(world, Fate(at="save", when="before", kind="image", state="submitting"), "frame")
    late = await world.start(Fate(clock_ahead_s=STALE_S))
    await world.all_settled()
    assert {row["prompt"]: row["state"] for row in world.rows()} == {
        "a clip": "failed",
        frame_of("a clip"): "failed",
    }
    assert world.charges() == []
    assert (await world.spend()).month_usd == 0
    await late.leave()


@pytest.mark.kill
async def test_an_unknown_still_is_never_made_again_for_its_key(
    make_world: MakeWorld,
) -> None:
    world = await make_world("sqlite")
    world.sandbox.state.faults.add("drop_after_accept")
    server = await world.start()
    assert (await ask_for_a_framed_clip(server)).content["code"] == "unknown_outcome"
    await server.kill()
    late = await world.start(Fate(clock_ahead_s=STALE_S))
    await world.all_settled()
    for _ in range(2):
        assert (await ask_for_a_framed_clip(late)).is_error
    assert len(world.charges(frame_of("a clip"))) == 1
    assert world.charges("a clip") == []
    await late.leave()


@pytest.mark.kill
async def test_after_a_failed_clip_the_same_key_pays_no_second_still(
    make_world: MakeWorld,
) -> None:
    world = await make_world("sqlite")
    world.sandbox.state.faults.add("status", status=403, path="/videos/generations", body={"code": "no", "error": "no"})
    server = await world.start()
    refused = await ask_for_a_framed_clip(server)
    assert refused.content["billed"] == "yes", "the call has bought a still, and no clip"
    assert (await ask_for_a_framed_clip(server)).data["state"] == "done"
    assert len(world.charges(frame_of("a clip"))) == 1
    assert len(world.charges("a clip")) == 1
    await server.leave()


@pytest.mark.kill
async def test_rubbish_among_the_facts_kept_aside_keeps_no_job_from_going_on(make_world: MakeWorld) -> None:
    world = await make_world("sqlite")
    await killed(world, Fate(at="save", when="after", state="rendering"), "video")
    folder = world.state / "unwritten"
    folder.mkdir()
    for name, text in {"1": "", "2": "{", "3": "[]", "4": '{"job": {}, "records": []}', "5": "\0\xff"}.items():
        (folder / f"{name}.json").write_text(text, encoding="latin-1")
    server = await world.start()
    await world.all_settled()
    assert [row["state"] for row in world.rows()] == ["done"]
    assert world.left_in("unwritten") == [f"{number}.stale" for number in range(1, 6)]
    await server.leave()


@pytest.mark.kill
async def test_with_the_lease_of_the_product_jobs_go_over_in_time(make_world: MakeWorld) -> None:
    world = await make_world("postgres")
    world.sandbox.state.configure(render_s=600.0)
    first = await world.start()
    await first.call(tool_of("video"), arguments("video", "a clip") | {"waitSeconds": 0})
    await until("it is being made", lambda: (world.row("a clip") or {}).get("state") == "rendering")
    second = await world.start()  # only now: two servers share what either opens
    await first.kill()
    world.sandbox.state.configure(render_s=0.0)
    await world.all_settled(TAKE_OVER_LIMIT_S)
    verdict = await world.judge()
    assert not verdict.problems, verdict.problems
    assert (verdict.submitted, verdict.twice, verdict.lost) == (1, 0, 0)
    await second.leave()
