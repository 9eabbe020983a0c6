"""A fleet on one PostgreSQL: that nothing is lost or paid twice in it whatever dies, and what it costs.

    uv run python -m tests.benchmarks fleet --rounds 3000

Two servers that open jobs, three workers that drive them, all real programs, against the sandbox. ``--rounds`` is how
many jobs, two thirds of them clips. While they are under way workers are killed at random, one sleeps past its heart's
limit, the database is restarted twice, and the servers are replaced. Then: what one, two and three workers carry, and
ten thousand open clips on one worker. The proof is judged: it raises AssertionError if a cent is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import psycopg

from ring_mcp.ledger.postgres import migrate
from ring_mcp.ledger.rows import TICKS_PER_USD, Dialect, encode_job
from ring_mcp.sandbox.server import SandboxServer
from tests.benchmarks.measuring import Series, folder, rss_mib, show, title
from tests.benchmarks.open_jobs import KB_IN_MIB, count_looks, sample_open_job
from tests.kill.kill_client import REAL_SERVER, Server, ServerDied
from tests.kill.kill_points import Kind, arguments, tool_of
from tests.kill.kill_world import World, until
from tests.postgres_server import PostgresServer, fresh_database

SERVERS, WORKERS = 2, 3
CALLS_AT_ONCE = 24
KILL_EVERY_S = (2.0, 6.0)
SLEEP_PAST_LEASE_S = 75.0
CALL_AGAIN_LIMIT_S = 600.0
END_LIMIT_S = 900.0
CARRIED = 300
OPEN_CLIPS = 10_000
HELD_LIMIT_S = 300.0
WATCH_S = 30.0
PICTURES_BESIDE = 21
_OPEN = "finished_at IS NULL AND state <> 'unknown'"
_LEFT = f"""
    SELECT owner, CAST(MAX(extract(epoch FROM now() - heartbeat)) AS double precision) AS heartbeat_age_s
    FROM media_jobs LEFT JOIN ring_mcp_pgqueuer AS task ON task.dedupe_key = media_jobs.id
    WHERE {_OPEN} AND owner IS NOT NULL GROUP BY owner"""
"""Whose jobs are still whose, and how long ago the heart of the oldest one's task has beaten."""


@dataclass
class Place:
    """One fleet. ``died_at``: when the process of each owner was killed; ``last_seen_at``: when it still had a job."""

    world: World
    database: PostgresServer
    servers: list[Server] = field(default_factory=list)
    workers: dict[str, Server] = field(default_factory=dict)
    died_at: dict[str, float] = field(default_factory=dict)
    last_seen_at: dict[str, float] = field(default_factory=dict)
    struck: Counter[str] = field(default_factory=Counter)

    async def start_worker(self) -> str:
        """Its name, under which it owns jobs."""
        log = self.world.folder / f"worker-{uuid4()}.log"
        server = await Server.start(
            (*REAL_SERVER, "worker"), self.world.environment, self.world.folder, log, greet=False
        )
        said = await until(
            "a worker has begun", lambda: re.search(r"carries jobs on as (\S+),", log.read_text()), 120.0
        )
        self.workers[said[1]] = server
        return str(said[1])

    async def start_server(self) -> Server:
        return await self.world.start()

    def count_open(self) -> int:
        return int(self.world.query(f"SELECT COUNT(*) AS jobs FROM media_jobs WHERE {_OPEN}")[0]["jobs"])


def run(jobs: int) -> None:
    asyncio.run(_run(jobs))


async def _run(jobs: int) -> None:
    async with _place() as place:
        await _prove(place, jobs)
    baseline = 0.0
    title(f"fleet: {CARRIED} jobs that wait, carried by one, two and three workers ({os.cpu_count()} cores)")
    for workers in range(1, WORKERS + 1):
        async with _place() as place:
            _lift_rates(place)  # the two clips a second of one account would be all that is measured
            baseline = await _carry(place, workers, baseline)
    async with _place(render_s=36_000.0) as place, _place() as idle:
        await _hold(place, idle)


@contextlib.asynccontextmanager
async def _place(**settings: float) -> AsyncIterator[Place]:
    async with contextlib.AsyncExitStack() as stack:
        home = stack.enter_context(folder())
        sandbox = await stack.enter_async_context(SandboxServer(settings={"show_prompt": False, **settings}))
        database = await asyncio.to_thread(PostgresServer)
        stack.push_async_callback(asyncio.to_thread, database.close)
        url = stack.enter_context(fresh_database(database.url(), migrated=False))
        await migrate(url)
        world = World(home, sandbox, "postgres", url)
        world.environment |= {"RING_DRIVE": "off", "VIDEO_GEN_POLL_INTERVAL_MS": "1000", "FILE_BACKEND": "ringbase"}
        place = Place(world, database)
        stack.push_async_callback(_end, place)
        yield place


def _lift_rates(place: Place) -> None:
    overlay = place.world.folder / "rates.json"
    lifted = {"submits": {"perSecond": 1000, "perMinute": 60_000}, "looks": {"perSecond": 1000}}
    overlay.write_text(json.dumps({"limits": {"rates": {"xai": {"image": lifted, "video": lifted}}}}))
    place.world.environment["RING_PRESETS_FILE"] = str(overlay)


async def _end(place: Place) -> None:
    for worker in place.workers.values():
        worker.signal(signal.SIGCONT)
        await worker.kill()
    await place.world.close()


# The proof


async def _prove(place: Place, jobs: int) -> None:
    title(f"fleet: {jobs} jobs, {SERVERS} servers, {WORKERS} workers, one PostgreSQL, and what befalls them")
    place.world.sandbox.state.configure(render_s=4.0, deferred_s=0.5)
    chance = random.Random(20261129)
    place.servers = [await place.start_server() for _ in range(SERVERS)]
    for _ in range(WORKERS):
        await place.start_worker()
    started_at = time.monotonic()
    refused: list[str] = []
    befalling = asyncio.create_task(_befall(place, chance, jobs))
    watching = asyncio.create_task(_watch_owners(place))
    try:
        await _ask_for_all(place, jobs, chance, refused)
        asked_s = time.monotonic() - started_at
        await befalling
        await until("every job has ended", lambda: place.count_open() == 0, END_LIMIT_S, 1.0)
        took_s = time.monotonic() - started_at
    finally:
        for task in (befalling, watching):
            task.cancel()
        await asyncio.gather(befalling, watching, return_exceptions=True)
    await _judge(place, jobs, refused)
    print(
        f"  in all:      {took_s:.0f} s, the last was opened after {asked_s:.0f} s; {jobs / took_s:.1f} jobs a second"
    )
    late = {owner: place.last_seen_at.get(owner, 0.0) - at for owner, at in place.died_at.items()}
    print(f"  befell it:   {dict(place.struck)}")
    print(f"  taken over:  at the worst {max(late.values(), default=0.0):.0f} s after a death")


async def _ask_for_all(place: Place, jobs: int, chance: random.Random, refused: list[str]) -> None:
    gate = asyncio.Semaphore(CALLS_AT_ONCE)

    async def ask(number: int) -> None:
        kind: Kind = "image" if number % 3 == 0 else "video"
        prompt = f"{kind} {number}"
        wanted = arguments(kind, prompt) | {"idempotencyKey": prompt, "waitSeconds": 0}
        async with gate, asyncio.timeout(CALL_AGAIN_LIMIT_S):
            while True:
                server = chance.choice(place.servers)
                with contextlib.suppress(ServerDied):
                    reply = await server.call(tool_of(kind), wanted, CALL_AGAIN_LIMIT_S)
                    if not reply.is_error:
                        return
                    if reply.content.get("code") not in ("ledger_unavailable", "unknown_outcome"):
                        refused.append(f"{prompt}: {reply.text[:200]}")
                        return
                    if reply.content.get("code") == "unknown_outcome":
                        return
                await asyncio.sleep(0.5)

    await asyncio.gather(*(ask(number) for number in range(jobs)))


async def _befall(place: Place, chance: random.Random, jobs: int) -> None:
    """Kills every few seconds; the rest once or twice, by how far the jobs have come."""
    sleeper: asyncio.Task[None] | None = None
    events = [(0.15, _put_to_sleep), (0.3, _restart_database), (0.5, _replace_servers), (0.7, _restart_database)]
    while (done := await asyncio.to_thread(_count_ended, place)) < jobs * 0.9:
        if events and done >= events[0][0] * jobs:
            _, strike = events.pop(0)
            if strike is _put_to_sleep:
                sleeper = asyncio.create_task(strike(place))
            else:
                await strike(place)
        await _kill_one(place, chance)
        await asyncio.sleep(chance.uniform(*KILL_EVERY_S))  # how often one dies: not a wait for anything
    for _, strike in events:
        await strike(place)
    if sleeper is not None:
        await sleeper


def _count_ended(place: Place) -> int:
    try:
        found = place.world.query(
            "SELECT COUNT(*) AS jobs FROM media_jobs WHERE finished_at IS NOT NULL OR state='unknown'"
        )
    except psycopg.OperationalError:  # it is being restarted
        return 0
    return int(found[0]["jobs"])


async def _kill_one(place: Place, chance: random.Random) -> None:
    awake = [owner for owner in place.workers if owner not in place.died_at]
    owner = chance.choice(awake)
    worker = place.workers.pop(owner)
    await worker.kill()
    place.died_at[owner] = time.monotonic()
    place.struck["workers killed"] += 1
    await place.start_worker()


async def _put_to_sleep(place: Place) -> None:
    """A worker that stops for longer than its heart may, and wakes up."""
    owner, worker = place.workers.popitem()
    worker.signal(signal.SIGSTOP)
    place.struck["workers asleep"] += 1
    await place.start_worker()
    await asyncio.sleep(SLEEP_PAST_LEASE_S)  # how long it sleeps: not a wait for anything
    worker.signal(signal.SIGCONT)
    place.workers[owner] = worker


async def _restart_database(place: Place) -> None:
    await asyncio.to_thread(place.database.stop)
    await asyncio.to_thread(place.database.start)
    place.struck["database restarts"] += 1


async def _replace_servers(place: Place) -> None:
    for index, old in enumerate(place.servers):
        place.servers[index] = await place.start_server()
        old.close_stdin()
        with contextlib.suppress(TimeoutError):
            await old.ended(120.0)
        place.struck["servers replaced"] += 1


async def _watch_owners(place: Place) -> None:
    while True:
        with contextlib.suppress(psycopg.OperationalError):
            rows = await asyncio.to_thread(place.world.query, _LEFT)
            now = time.monotonic()
            for row in rows:
                died_at = place.died_at.get(row["owner"], now)
                # A heart that has beaten since is another's, who died in turn before the row was his.
                if row["heartbeat_age_s"] is None or row["heartbeat_age_s"] >= now - died_at:
                    place.last_seen_at[row["owner"]] = now
        await asyncio.sleep(0.5)


async def _judge(place: Place, jobs: int, refused: Sequence[str]) -> None:
    """Every job has ended, none was sent twice, and the books are the ledger."""
    world = place.world
    verdict = await world.judge(may_be_unknown=True)
    rows = world.rows()
    settled = sum(int(row["settled_usd_ticks"] or 0) for row in rows)
    unknown = [row for row in rows if row["state"] == "unknown"]
    reserved = sum(int(row["reserved_usd_ticks"]) for row in unknown)
    billed = sum(charge.cost_ticks for charge in world.charges())
    why = Counter(row["failure"]["code"] for row in rows if row["state"] not in ("done", "unknown"))
    print(
        f"  jobs:        {dict(Counter(row['state'] for row in rows))}; refused {len(refused)}; failed by {dict(why)}"
    )
    print(f"  the money:   {verdict.submitted} accepted, {verdict.twice} twice, {verdict.lost} lost; billed")
    print(
        f"               {Decimal(billed) / TICKS_PER_USD} USD, settled {Decimal(settled) / TICKS_PER_USD}, and"
        f" {Decimal(billed - settled) / TICKS_PER_USD} of {len(unknown)} whose server died in mid request"
    )
    problems = [each for each in verdict.problems if not each.startswith("left in ")]
    assert not problems, problems[:20]
    # Its caller is told that nothing was started, and to call again: a database that is being restarted.
    assert set(why) <= {"ledger_unavailable"}, why
    assert not refused, refused[:20]
    assert len(rows) == jobs
    assert 0 <= billed - settled <= reserved


# What it costs


async def _carry(place: Place, workers: int, baseline: float) -> float:
    """Jobs that wait already, so that nothing but the workers is measured. The jobs a second of one worker."""
    world = place.world
    server = await place.start_server()
    place.servers = [server]
    await _ask_for_all(place, CARRIED, random.Random(1), [])
    before = _count_transactions(place)
    for _ in range(workers):
        await place.start_worker()
    await until("every job has ended", lambda: place.count_open() == 0, END_LIMIT_S, 0.25)
    first, last = world.query("SELECT MIN(finished_at) AS first, MAX(finished_at) AS last FROM media_jobs")[0].values()
    rate = (CARRIED - 1) / max(0.001, (last - first).total_seconds())
    cpu_s = sum(_cpu_s(worker.pid) for worker in place.workers.values())
    print(
        f"  workers: {workers}   {rate:6.1f} jobs a second ({rate / (baseline or rate):.2f} times one's),"
        f" {1000 * cpu_s / CARRIED:.0f} ms of the workers' processor each,"
        f" {(_count_transactions(place) - before) / CARRIED:.1f} transactions each"
    )
    return baseline or rate


def _count_transactions(place: Place) -> int:
    rows = place.world.query("SELECT xact_commit AS done FROM pg_stat_database WHERE datname = current_database()")
    return int(rows[0]["done"])


def _cpu_s(pid: int) -> float:
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


async def _hold(place: Place, idle: Place) -> None:
    title(f"fleet: {OPEN_CLIPS:,} open clips on one worker, and {PICTURES_BESIDE} pictures beside them and beside none")
    server, quiet = await place.start_server(), await idle.start_server()
    await idle.start_worker()
    await server.call("ring-video-create", {"prompt": "the first of many", "duration": 1, "waitSeconds": 0})
    place.servers = [server]
    owner = await place.start_worker()
    worker = place.workers[owner]
    await until("the first is made", lambda: place.world.query("SELECT 1 FROM media_jobs WHERE state = 'rendering'"))
    empty_mib = rss_mib(worker.pid)
    await asyncio.to_thread(_leave_behind, place)
    started_at = time.monotonic()
    left = f"SELECT COUNT(*) AS jobs FROM media_jobs WHERE {_OPEN} AND owner IS DISTINCT FROM '{owner}'"
    await until("all are held", lambda: place.world.query(left)[0]["jobs"] == 0, HELD_LIMIT_S, 0.5)
    held_s = time.monotonic() - started_at
    alone, beside = Series("picture, idle fleet"), Series(f"picture beside {OPEN_CLIPS:,} open clips")
    for number in range(PICTURES_BESIDE):
        for series, asked in ((alone, quiet), (beside, server)):
            began_at = time.perf_counter()
            reply = await asked.call("ring-image-create", {"prompt": f"picture {number}", "resolution": "1k"})
            series.values_ms.append((time.perf_counter() - began_at) * 1000)
            assert reply.data["state"] == "done"
    before_s = _cpu_s(worker.pid)
    by_second = await asyncio.to_thread(count_looks, place.world.sandbox, WATCH_S)
    cpu_s, looks_s = _cpu_s(worker.pid) - before_s, statistics.mean(by_second)
    full_mib = rss_mib(worker.pid)
    show([alone, beside])
    print(f"  ratio:       {beside.median_ms / alone.median_ms:.2f}")
    print(f"  held:        all after {held_s:.0f} s")
    print(
        f"  memory:      {empty_mib:.0f} MiB, then {full_mib:.0f}:"
        f" {(full_mib - empty_mib) * KB_IN_MIB / OPEN_CLIPS:.1f} kB a job"
    )
    print(f"  looks:       {looks_s:.0f} a second; {cpu_s / WATCH_S:.0%} of a core")
    print(
        f"               {1000 * cpu_s / WATCH_S / looks_s:.1f} CPU seconds per 1,000, all else of the worker included"
    )


def _leave_behind(place: Place) -> None:
    """Rows as a dead process leaves them, and the provider's side of each: like the one that was really made."""
    jobs = place.world.sandbox.state.jobs
    first = next(job for job in jobs.all() if job.kind == "video")
    like = place.world.query("SELECT endpoint, account_id, key_fingerprint FROM media_jobs LIMIT 1")[0]
    rows = []
    for _ in range(OPEN_CLIPS):
        theirs = replace(first, id=str(uuid4()))
        jobs._jobs[theirs.id] = theirs
        job = replace(sample_open_job(theirs.id), sandbox=False, **like)
        rows.append(encode_job(job, Dialect(text_times=False)))
    names = list(rows[0])
    marks = ", ".join(f"%({name})s" for name in names)
    with psycopg.connect(str(place.world._database_url)) as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO media_jobs ({', '.join(names)}) VALUES ({marks})", rows)
