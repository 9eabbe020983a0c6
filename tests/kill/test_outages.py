"""Storage, database or provider away for a while: what was paid for still arrives, once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.ledger.postgres import migrate
from ring_mcp.sandbox.server import SandboxServer
from tests.kill.kill_client import Server
from tests.kill.kill_points import RINGBASE, Kind, arguments, tool_of
from tests.kill.kill_world import PAST_EVERY_DEADLINE_S, SHORT_LEASE_S, LedgerKind, MakeWorld, World, until
from tests.kill.victim import Fate
from tests.postgres_server import PostgresServer, fresh_database
from tests.server.wire import path_of

BOTH = ["sqlite", "postgres"]
UPLOAD = "/ringbase/api/v1/upload"


async def paid_once_and_there(world: World, *, uploads: int | None = None) -> None:
    verdict = await world.judge()
    assert not verdict.problems, verdict.problems
    assert (verdict.submitted, verdict.twice, verdict.lost) == (1, 0, 0)
    assert [row["state"] for row in world.rows()] == ["done"]
    if uploads is not None:
        assert len(world.sandbox.state.uploads.all()) == uploads


async def begin(server: Server, kind: Kind, wait_s: float = 0, **more: Any) -> str:
    asked = arguments(kind, "the one") | {"waitSeconds": wait_s} | more
    return (await server.call(tool_of(kind), asked)).job_id


async def finish(server: Server, job_id: str) -> dict[str, Any]:
    return (await server.call("ring-job-get", {"jobId": job_id, "waitSeconds": 60}, 90.0)).data


# Storage.


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_result_waits_for_storage_that_is_away_and_is_stored_once(kind: Kind, make_world: MakeWorld) -> None:
    world = await make_world("sqlite")
    world.environment |= RINGBASE
    faults = world.sandbox.state.faults
    down = faults.add("ringbase_status", times=-1)
    server = await world.start()
    job_id = await begin(server, kind)
    await until("an upload was refused", lambda: down.hits >= 2)
    assert (await server.call("ring-job-get", {"jobId": job_id, "waitSeconds": 0})).data["state"] == "storing"
    faults.clear()
    assert (await finish(server, job_id))["state"] == "done"
    await paid_once_and_there(world, uploads=1)
    await server.leave()


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("ledger", BOTH)
async def test_a_result_survives_a_kill_while_storage_is_away(
    ledger: LedgerKind, kind: Kind, make_world: MakeWorld
) -> None:
    world = await make_world(ledger)
    world.environment |= RINGBASE
    faults = world.sandbox.state.faults
    down = faults.add("ringbase_status", times=-1)
    victim = await world.start(_short_lease(world))
    job_id = await begin(victim, kind)
    await until("an upload was refused", lambda: down.hits)
    await victim.kill()
    hits = down.hits
    successor = await world.start(_short_lease(world))
    await until("the next server has tried, too", lambda: down.hits > hits)
    assert world.asked("GET", "/media/") == 1, "what is in the spool is not fetched again"
    faults.clear()
    assert (await finish(successor, job_id))["state"] == "done"
    await paid_once_and_there(world, uploads=1)
    await successor.leave()


def _short_lease(world: World, ahead_s: float = 0.0) -> Fate | None:
    return None if world.kind == "sqlite" else Fate(lease_s=SHORT_LEASE_S, clock_ahead_s=ahead_s)


# The provider.


@pytest.mark.kill
@pytest.mark.parametrize(
    ("fault", "times"), [("poll_500", 5), ("poll_drop", 5), ("poll_400", 4), ("poll_empty_202", 8)]
)
async def test_polls_that_fail_for_a_while_do_not_end_a_job(fault: str, times: int, make_world: MakeWorld) -> None:
    world = await make_world("sqlite")
    armed = world.sandbox.state.faults.add(fault, times=times)
    server = await world.start()
    assert (await finish(server, await begin(server, "video")))["state"] == "done"
    assert armed.hits == times
    await paid_once_and_there(world)
    await server.leave()


@pytest.mark.kill
async def test_a_provider_away_for_long_costs_nothing_more(make_world: MakeWorld) -> None:
    world = await make_world("sqlite")
    faults = world.sandbox.state.faults
    away = faults.add("poll_500", times=-1)
    server = await world.start()
    job_id = await begin(server, "video")
    for lives in range(1, 4):
        hits = away.hits
        await until("it was asked in vain", lambda: away.hits >= hits + 2)  # noqa: B023 - awaited in the same turn
        await server.kill()
        server = await world.start()
        assert lives
    faults.clear()
    assert (await finish(server, job_id))["state"] == "done"
    await paid_once_and_there(world)
    await server.leave()


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_connection_dropped_after_accepting_is_unknown_never_sent_again(
    kind: Kind, make_world: MakeWorld
) -> None:
    world = await make_world("sqlite")
    world.sandbox.state.faults.add("drop_after_accept")
    server = await world.start()
    asked = arguments(kind, "the one") | {"waitSeconds": 20}
    told = await server.call(tool_of(kind), asked)
    assert (told.content["code"], told.content["billed"]) == ("unknown_outcome", "unknown")
    again = await server.call(tool_of(kind), asked)
    await server.kill()
    server = await world.start()
    after_a_restart = await server.call(tool_of(kind), asked)
    assert {reply.job_id for reply in (told, again, after_a_restart)} == {told.job_id}
    verdict = await world.judge(may_be_unknown=True)
    assert not verdict.problems, verdict.problems
    assert (verdict.submitted, verdict.twice, verdict.unknown) == (1, 0, 1)
    await server.leave()


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_download_that_is_cut_again_and_again_arrives_whole(kind: Kind, make_world: MakeWorld) -> None:
    world = await make_world("sqlite")
    cut = world.sandbox.state.faults.add("media_truncated", times=4)
    server = await world.start()
    assert (await finish(server, await begin(server, kind)))["state"] == "done"
    assert cut.hits == 4
    await paid_once_and_there(world)
    await server.leave()


# A ledger that has written what it says it could not.


@pytest.mark.kill
@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("image", "rendering"),
        ("image", "storing"),
        ("image", "partly"),
        ("image", "done"),
        ("video", "rendering"),
        ("video", "storing"),
        ("video", "done"),
    ],
)
async def test_a_write_whose_confirmation_was_lost_counts_once(kind: Kind, state: str, make_world: MakeWorld) -> None:
    world = await make_world("sqlite")
    if state == "storing":  # it is written where the result cannot be fetched at once
        world.sandbox.state.faults.add("media_status")
    server = await world.start(Fate(at="save", when="after", state=state, lose=True))
    more = {"n": 2} if kind == "image" else {}
    job_id = await begin(server, kind, **more)
    assert (await finish(server, job_id))["state"] == "done"
    await until("no facts are kept aside any more", lambda: not world.left_in("unwritten"), 10.0)
    await paid_once_and_there(world)
    await server.leave()


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["image", "video"])
async def test_an_intent_whose_confirmation_was_lost_is_sent_once(kind: Kind, make_world: MakeWorld) -> None:
    """Nothing is sent without it; it is written again, and found."""
    world = await make_world("sqlite")
    server = await world.start(Fate(at="save", when="after", state="submitting", lose=True))
    asked = arguments(kind, "the one") | {"waitSeconds": 40, "idempotencyKey": "a key"}
    told = await server.call(tool_of(kind), asked)
    assert (told.is_error, told.data["state"]) == (False, "done")
    assert (await server.call(tool_of(kind), asked)).data["jobId"] == told.data["jobId"]
    verdict = await world.judge()
    assert not verdict.problems, verdict.problems
    assert verdict.submitted == 1
    await server.leave()


# A server that is asked to stop.


@pytest.mark.kill
@pytest.mark.parametrize("ledger", BOTH)
async def test_a_server_that_is_stopped_leaves_its_jobs_to_the_next(ledger: LedgerKind, make_world: MakeWorld) -> None:
    world = await make_world(ledger)
    world.sandbox.state.configure(render_s=600.0)
    server = await world.start()
    job_id = await begin(server, "video")
    await until("it is polled", lambda: world.asked("GET", "/videos/"))
    server.signal(signal.SIGTERM)
    assert await server.ended() == 0
    world.sandbox.state.configure(render_s=0.0)
    successor = await world.start()
    assert (await finish(successor, job_id))["state"] == "done"
    await paid_once_and_there(world)
    await successor.leave()


@pytest.mark.kill
@pytest.mark.parametrize(("stall_s", "state"), [(0.3, "done"), (30.0, "unknown")])
async def test_a_stopped_server_waits_a_moment_for_its_answer(
    stall_s: float, state: str, make_world: MakeWorld
) -> None:
    world = await make_world("sqlite")
    world.sandbox.state.faults.add("stall", seconds=stall_s)
    server = await world.start()
    await begin(server, "video")
    await until("it is accepted", lambda: world.charges("the one"))
    server.signal(signal.SIGTERM)
    assert await server.ended() == 0
    successor = await world.start()
    await world.all_settled()
    assert [row["state"] for row in world.rows()] == [state]
    verdict = await world.judge(may_be_unknown=True)
    assert not verdict.problems, verdict.problems
    assert (verdict.submitted, verdict.twice, verdict.lost) == (1, 0, 0)
    await successor.leave()


# The database. It is shut down and started again in the middle of a job, so each test has a server of its own.


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@asynccontextmanager
async def world_on(database: PostgresServer, folder: Path, sandbox: SandboxServer) -> AsyncIterator[World]:
    with fresh_database(database.url(), migrated=False) as url:
        await migrate(url)
        world = World(folder, sandbox, "postgres", url)
        try:
            yield world
        finally:
            await world.close()


def kept_aside(world: World) -> list[str]:
    return [name for name in world.left_in("unwritten") if name.endswith(".json")]


async def answering(database: PostgresServer) -> None:
    await asyncio.to_thread(database.start)


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_result_is_delivered_without_database_and_its_row_follows(
    kind: Kind, database: PostgresServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with world_on(database, tmp_path, sandbox) as world:
        sandbox.state.configure(render_s=600.0, deferred_s=600.0)
        server = await world.start()
        call = asyncio.create_task(begin_and_tell(server, kind))
        await until("it is being made", lambda: any(row["state"] == "rendering" for row in world.rows()))
        await asyncio.to_thread(database.stop)
        sandbox.state.configure(render_s=0.0, deferred_s=0.0)
        data = await call
        assert data["state"] == "done"
        assert path_of((data.get("video") or data["images"][0])["url"]).is_file()
        assert any("ledger" in warning for warning in data["warnings"])
        assert kept_aside(world)
        await answering(database)
        await until("the row has followed", lambda: not kept_aside(world))
        await paid_once_and_there(world)
        assert world.log.read_text().count("Traceback") == 0


async def begin_and_tell(server: Server, kind: Kind) -> dict[str, Any]:
    asked = arguments(kind, "the one") | {"waitSeconds": 120}
    return (await server.call(tool_of(kind), asked, 150.0)).data


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["image", "video"])
async def test_an_id_that_only_the_state_folder_holds_survives_a_kill(
    kind: Kind, database: PostgresServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    """The database goes away while the request is under way, and the server dies before it is back."""
    async with world_on(database, tmp_path, sandbox) as world:
        sandbox.state.faults.add("stall", seconds=3.0)
        victim = await world.start(_short_lease(world))
        job_id = await begin(victim, kind)
        await until("it is accepted", lambda: world.charges("the one"))
        await asyncio.to_thread(database.stop)
        await until("the id is kept aside", lambda: kept_aside(world))
        await victim.kill()
        await answering(database)
        # Its clock is past the deadline: without the facts in the folder it would call the job unknown.
        successor = await world.start(_short_lease(world, PAST_EVERY_DEADLINE_S))
        assert (await finish(successor, job_id))["state"] == "done"
        await paid_once_and_there(world)


@pytest.mark.kill
async def test_a_finished_job_that_only_the_state_folder_holds_survives_a_kill(
    database: PostgresServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with world_on(database, tmp_path, sandbox) as world:
        sandbox.state.configure(render_s=600.0)
        victim = await world.start(_short_lease(world))
        job_id = await begin(victim, "video")
        await until("it is being made", lambda: (world.row("the one") or {}).get("state") == "rendering")
        await asyncio.to_thread(database.stop)
        sandbox.state.configure(render_s=0.0)
        folder = world.state / "unwritten"
        await until("it is done", lambda: any('"done"' in path.read_text() for path in folder.glob("*.json")))
        await victim.kill()
        await answering(database)
        fetched = world.asked("GET", "/media/")
        successor = await world.start(_short_lease(world))
        assert (await finish(successor, job_id))["state"] == "done"
        assert world.asked("GET", "/media/") == fetched
        await paid_once_and_there(world)


@pytest.mark.kill
async def test_nothing_is_sent_without_database_and_no_job_sticks(
    database: PostgresServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    """The database goes away between a still and its clip: the intent cannot be written, so nothing is sent."""
    async with world_on(database, tmp_path, sandbox) as world:
        sandbox.state.configure(deferred_s=600.0)
        server = await world.start()
        job_id = await begin(server, "frame")
        await until("the still is being made", lambda: any(row["state"] == "rendering" for row in world.rows()))
        await asyncio.to_thread(database.stop)
        sandbox.state.configure(deferred_s=0.0)
        await until("the still is there", lambda: kept_aside(world), 60.0)
        await answering(database)
        told = await server.call("ring-job-get", {"jobId": job_id, "waitSeconds": 90}, 120.0)
        assert told.is_error or told.data["state"] == "done"
        await world.all_settled(90.0)
        assert len(world.charges("the one")) <= 1
        assert len(world.charges()) <= 2
        verdict = await world.judge()
        assert not verdict.problems, verdict.problems
