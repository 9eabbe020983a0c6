"""Many calls at once over two server processes: caps hold, and identical calls are one job."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.app import open_app
from ring_mcp.config import load_config
from ring_mcp.domain import ImageRequest, VideoRequest
from tests.kill.kill_client import Reply, Server
from tests.kill.kill_points import Kind, arguments, tool_of
from tests.kill.kill_world import LedgerKind, MakeWorld, World

AT_ONCE = 20
ALLOWED = 3
JOINED_WITHIN_S = 3.0

LEDGERS = ["sqlite", pytest.param("postgres", marks=pytest.mark.kill)]


async def price_usd(kind: Kind, folder: Path) -> Decimal:
    """What the smallest job of this kind may cost at most, without the still that it may need."""
    config = load_config({"XAI_API_KEY": "none", "RING_STATE_DIR": str(folder / "quotes")}, folder=folder)
    async with open_app(config) as app:
        if kind == "image":
            return app.images.plan(ImageRequest(prompt="any", resolution="1k")).list_usd
        still = "any" if kind == "frame" else None
        request = VideoRequest(prompt="any", duration_s=1, resolution="480p", first_frame_prompt=still)
        return app.videos.plan(request).list_usd


async def two_servers(world: World) -> list[Server]:
    return list(await asyncio.gather(world.start(), world.start()))


async def judged(world: World, submitted: int) -> None:
    await world.all_settled()
    verdict = await world.judge()
    assert not verdict.problems, verdict.problems
    assert (verdict.submitted, verdict.twice, verdict.lost) == (submitted, 0, 0)


@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("kind", ["image", pytest.param("video", marks=pytest.mark.kill)])
async def test_of_twenty_parallel_calls_a_cap_for_three_submits_exactly_three(
    ledger: LedgerKind, kind: Kind, make_world: MakeWorld
) -> None:
    world = await make_world(ledger)
    cap = ALLOWED * await price_usd(kind, world.folder)
    world.environment["RING_MAX_USD_PER_DAY"] = str(cap)
    servers = await two_servers(world)
    calls = [
        servers[number % 2].call(tool_of(kind), arguments(kind, f"number {number}") | {"waitSeconds": 40})
        for number in range(AT_ONCE)
    ]
    replies = await asyncio.gather(*calls)
    codes = Counter(reply.content.get("code", "made") for reply in replies)
    assert codes == {"made": ALLOWED, "cap_exceeded": AT_ONCE - ALLOWED}
    refusal = next(reply for reply in replies if reply.is_error)
    assert refusal.content["billed"] == "no"
    assert "RING_MAX_USD_PER_DAY" in refusal.text
    assert len(world.charges()) == ALLOWED
    await judged(world, ALLOWED)
    assert (await world.spend()).day_usd == cap


@pytest.mark.kill
@pytest.mark.parametrize("ledger", ["sqlite", "postgres"])
async def test_a_cap_without_room_for_the_still_pays_nothing(ledger: LedgerKind, make_world: MakeWorld) -> None:
    world = await make_world(ledger)
    """The cap has room for clip and still together, but a picture was made today, so that only the clip fits."""
    picture_usd = await price_usd("image", world.folder)
    world.environment["RING_MAX_USD_PER_DAY"] = str(picture_usd + await price_usd("frame", world.folder))
    server = await world.start()
    assert not (await server.call(tool_of("image"), arguments("image", "a picture"))).is_error
    reply = await server.call(tool_of("frame"), arguments("frame", "a clip") | {"waitSeconds": 40})
    assert "RING_MAX_USD_PER_DAY" in reply.text
    assert (reply.content["code"], reply.content["billed"]) == ("cap_exceeded", "no")
    await judged(world, 1)
    assert (await world.spend()).day_usd <= picture_usd


def one_job(replies: list[Reply]) -> str:
    ids = {reply.job_id for reply in replies}
    assert len(ids) == 1
    assert all(reply.data["state"] == "done" for reply in replies)
    return ids.pop()


@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize(
    "kind", ["image", *(pytest.param(kind, marks=pytest.mark.kill) for kind in ("video", "frame"))]
)
async def test_twenty_identical_calls_are_one_job_and_a_later_another(
    ledger: LedgerKind, kind: Kind, make_world: MakeWorld
) -> None:
    world = await make_world(ledger)
    servers = await two_servers(world)
    asked = arguments(kind, "the same") | {"waitSeconds": 40}
    each = 2 if kind == "frame" else 1
    # Whoever calls after the answer is not of the twenty any more, and one of two servers may be slow to begin.
    world.sandbox.state.configure(render_s=JOINED_WITHIN_S, deferred_s=JOINED_WITHIN_S)
    replies = await asyncio.gather(*(servers[number % 2].call(tool_of(kind), asked) for number in range(AT_ONCE)))
    world.sandbox.state.configure(render_s=0, deferred_s=0)
    first = one_job(replies)
    assert len(world.charges()) == each
    later = await servers[1].call(tool_of(kind), asked)
    assert later.job_id != first
    await judged(world, 2 * each)


@pytest.mark.kill
@pytest.mark.parametrize("ledger", ["sqlite", "postgres"])
@pytest.mark.parametrize("kind", ["image", "frame"])
async def test_twenty_calls_with_one_key_are_one_job_for_ever(
    ledger: LedgerKind, kind: Kind, make_world: MakeWorld
) -> None:
    world = await make_world(ledger)
    servers = await two_servers(world)
    asked = arguments(kind, "the same") | {"waitSeconds": 40, "idempotencyKey": "one key"}
    replies = await asyncio.gather(*(servers[number % 2].call(tool_of(kind), asked) for number in range(AT_ONCE)))
    first = one_job(replies)
    for server in servers:
        assert (await server.call(tool_of(kind), asked)).job_id == first
        await server.kill()
    successor = await world.start()
    assert (await successor.call(tool_of(kind), asked)).job_id == first
    other = await successor.call(tool_of(kind), asked | {"prompt": "something else"})
    assert other.content["code"] == "invalid_request"
    assert first in other.text
    await judged(world, 2 if kind == "frame" else 1)
