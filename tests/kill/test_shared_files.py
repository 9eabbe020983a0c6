"""What came inside an answer, and what callers gave along, on a machine that dies: the others have it."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.state.settings import DEFAULT_GOOGLE_KEY
from tests.jobs.scripted_provider import jpeg
from tests.kill.kill_client import Server, ServerDied
from tests.kill.kill_world import SHORT_LEASE_S, TOOL, MakeWorld, World, until
from tests.kill.victim import Fate
from tests.s3_servers import BUCKET, KEY_ID, SECRET, BucketServer, bucket_server

DAYS_S = 3 * 86400.0
PICTURE = {"prompt": "the one", "provider": "google", "resolution": "1k"}
GIVEN = f"data:image/jpeg;base64,{base64.b64encode(jpeg()).decode()}"
LIVING = Fate(lease_s=SHORT_LEASE_S)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[BucketServer]:
    with bucket_server(tmp_path / "s3") as server:
        yield server


async def world_with(make_world: MakeWorld, bucket: BucketServer) -> World:
    """A fleet on one PostgreSQL with one bucket; programs start on its first machine."""
    world = await make_world("postgres")
    world.bucket = bucket.bucket
    world.environment |= {
        "FILE_BACKEND": "s3",
        "RING_S3_BUCKET": BUCKET,
        "AWS_ENDPOINT_URL_S3": bucket.url,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "GOOGLE_GENAI_BASE_URL": world.sandbox.google_base_url,
        "GOOGLE_GENAI_API_KEY": DEFAULT_GOOGLE_KEY,
    }
    world.move_to("first")
    return world


def shared(bucket: BucketServer) -> list[str]:
    return sorted(path.name for path in (bucket.bucket / "spool").glob("*"))


def away(path: str) -> None:
    raise ConnectionError("the bucket is away")


async def ask(server: Server, **more: Any) -> None:
    await server.call(TOOL["image"], PICTURE | more)


async def killed(world: World, fate: Fate) -> None:
    """A picture is asked for, and the server dies of it."""
    victim = await world.start(fate)
    with pytest.raises(ServerDied):
        await ask(victim)
    await victim.ended()


async def look(server: Server, world: World, wait_s: float = 0.0) -> None:
    """Whoever asks for a job wakes it; what he is told depends on how slow everything is just now."""
    await server.call("ring-job-get", {"jobId": world.the_row("the one")["id"], "waitSeconds": wait_s})


async def paid_once_and_there(world: World, bucket: BucketServer) -> None:
    await until("what was shared is gone", lambda: not shared(bucket))
    verdict = await world.judge()
    assert not verdict.problems, verdict.problems
    assert (verdict.submitted, verdict.twice, verdict.lost) == (1, 0, 0)
    assert [row["state"] for row in world.rows()] == ["done"]


@pytest.mark.kill
@pytest.mark.parametrize(
    "fate",
    [
        Fate(at="save", when="before", state="storing", lease_s=SHORT_LEASE_S),
        Fate(at="save", when="after", state="storing", lease_s=SHORT_LEASE_S),
        Fate(at="put", when="before", lease_s=SHORT_LEASE_S),
        Fate(at="put", when="after", lease_s=SHORT_LEASE_S),
        Fate(at="save", when="before", state="done", lease_s=SHORT_LEASE_S),
    ],
    ids=["answer not in the row", "answer in the row", "not stored", "stored", "not done"],
)
async def test_a_picture_inside_an_answer_outlives_its_machine(
    fate: Fate, make_world: MakeWorld, bucket: BucketServer
) -> None:
    world = await world_with(make_world, bucket)
    await killed(world, fate)
    job_id = world.the_row("the one")["id"]
    assert shared(bucket) == [f"{job_id}-0.inline", f"{job_id}-answer.json"]
    world.move_to("second")
    second = await world.start(LIVING)
    await world.all_settled()
    await paid_once_and_there(world, bucket)
    await second.leave()


@pytest.mark.kill
async def test_an_answer_that_comes_after_the_kill_is_shared_all_the_same(
    make_world: MakeWorld, bucket: BucketServer
) -> None:
    world = await world_with(make_world, bucket)
    world.sandbox.state.faults.add("stall", seconds=5.0)
    first = await world.start(LIVING)
    await ask(first, waitSeconds=0)
    await until("it is accepted", lambda: world.charges("the one"))
    await first.kill()
    assert shared(bucket) == []
    world.move_to("second")
    second = await world.start(LIVING)
    await until("the answer is shared", lambda: len(shared(bucket)) == 2)
    await world.all_settled()
    await paid_once_and_there(world, bucket)
    await second.leave()


@pytest.mark.kill
async def test_what_a_server_was_given_is_read_by_a_worker_elsewhere(
    make_world: MakeWorld, bucket: BucketServer
) -> None:
    world = await world_with(make_world, bucket)
    world.environment["RING_DRIVE"] = "off"
    server = await world.start()
    asked = {"prompt": "the one", "duration": 1, "resolution": "480p", "imageUrl": GIVEN, "waitSeconds": 0}
    await server.call(TOOL["video"], asked)
    await server.kill()
    assert len(shared(bucket)) == 1
    world.environment["RING_DRIVE"] = "on"
    world.move_to("second")
    await world.start_worker()
    await world.all_settled()
    await until("nothing of it is left but what was given", lambda: len(world.left_in("spool")) <= 1)
    assert [name.partition("-")[0] for name in world.left_in("spool")] == ["input"], "it stays for a day"
    for path in (world.state / "spool").iterdir():
        path.unlink()
    await paid_once_and_there(world, bucket)


@pytest.mark.kill
async def test_what_could_not_be_shared_at_opening_is_shared_later(make_world: MakeWorld, bucket: BucketServer) -> None:
    world = await world_with(make_world, bucket)
    world.environment["RING_DRIVE"] = "off"
    server = await world.start()
    bucket.before = away
    asked = {"prompt": "the one", "duration": 1, "resolution": "480p", "imageUrl": GIVEN, "waitSeconds": 0}
    await server.call(TOOL["video"], asked)
    bucket.before = lambda path: None
    assert shared(bucket) == []
    world.environment["RING_DRIVE"] = "on"
    world.move_to("second")
    await world.start_worker()
    # A minute until it is shared, and another one until the clip looks again.
    await until("the clip is there", lambda: world.the_row("the one")["state"] == "done", 180.0)
    await until("what was shared is gone", lambda: not shared(bucket))
    assert len(world.charges("the one")) == 1
    await server.leave()


@pytest.mark.kill
async def test_no_picture_is_made_again_after_the_database_fell_back(
    make_world: MakeWorld, bucket: BucketServer
) -> None:
    world = await world_with(make_world, bucket)
    await killed(world, Fate(at="save", when="before", state="storing", lease_s=SHORT_LEASE_S))
    plan = "state = 'planned', attempt_token = NULL, submit_deadline_at = NULL, version = 1, updated_at = created_at"
    assert world.query(f"UPDATE media_jobs SET {plan} RETURNING id")
    world.move_to("second")
    second = await world.start(LIVING)
    await world.all_settled()
    await paid_once_and_there(world, bucket)
    await second.leave()


@pytest.mark.kill
async def test_while_the_bucket_is_away_one_machine_has_the_picture(
    make_world: MakeWorld, bucket: BucketServer
) -> None:
    world = await world_with(make_world, bucket)
    bucket.before = away
    first = await world.start(LIVING)
    await ask(first, waitSeconds=0)
    await until("its answer is in the row", lambda: world.the_row("the one")["state"] == "storing", 90.0)
    await until("it could not be stored", lambda: world.the_row("the one")["failure"])
    await first.kill()
    world.move_to("second")
    second = await world.start(LIVING)
    await look(second, world)
    assert world.the_row("the one")["state"] == "storing"
    bucket.before = lambda path: None
    await until("the other knows", lambda: _says(world, "nor shared by another"), 90.0)
    assert shared(bucket) == []
    world.move_to("first")
    back = await world.start(LIVING)
    # Whoever is given it before it is shared again says so, and waits.
    for _ in range(20):
        await look(back, world, 10)
        if world.the_row("the one")["state"] == "done":
            break
    await until("its own machine has tidied up, whoever stored it", lambda: not world.left_in("spool"), 90.0)
    await paid_once_and_there(world, bucket)
    await second.leave()
    await back.leave()


def _says(world: World, text: str) -> bool:
    return text in str((world.the_row("the one")["failure"] or {}).get("message"))


@pytest.mark.kill
async def test_only_the_machine_that_got_it_calls_a_picture_lost(make_world: MakeWorld, bucket: BucketServer) -> None:
    world = await world_with(make_world, bucket)
    await killed(world, Fate(at="put", when="before", lease_s=SHORT_LEASE_S))
    for path in (*(bucket.bucket / "spool").iterdir(), *(world.state / "spool").glob("*.inline")):
        path.unlink()
    world.move_to("second")
    for ahead_s in (0.0, DAYS_S):
        second = await world.start(Fate(lease_s=SHORT_LEASE_S, clock_ahead_s=ahead_s))
        await look(second, world)
        await until("it waits", lambda: _says(world, "nor shared by another"))
        await second.kill()
    assert world.the_row("the one")["state"] == "storing"
    world.move_to("first")
    for ahead_s, ends in ((DAYS_S, False), (DAYS_S + 700.0, True)):
        first = await world.start(Fate(lease_s=SHORT_LEASE_S, clock_ahead_s=ahead_s))
        with contextlib.suppress(ServerDied):
            await look(first, world)
        if ends:  # with the second look, for nothing is lost in the first minute
            await until("it is lost", lambda: world.the_row("the one")["state"] == "expired", 150.0)
        else:
            await until("it is missed", lambda: _says(world, "gone from the spool of the machine that got it"))
        await first.kill()
    row = world.the_row("the one")
    assert row["settled_usd_ticks"] == row["billed_usd_ticks"], "the provider had made it"
    assert len(world.charges("the one")) == 1
