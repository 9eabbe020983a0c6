"""A start with very many open jobs: how soon all are held, what they cost, and what a picture takes beside them.

    uv run python -m tests.benchmarks open --rounds 31

Goals (nothing is judged, only printed): with 10,000 open rows all are held within 10 s, at 15 kB each; a picture beside
them takes at most 1.5 times what it takes on an idle server. Both servers are asked in turn, so that a machine under
load slows both. The provider is looked at by turns: the looks of every second are printed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from ring_mcp.domain import Job, JobState
from ring_mcp.ledger.rows import Dialect, encode_job
from ring_mcp.sandbox.server import SandboxServer
from tests.benchmarks.measuring import Series, folder, rss_mib, show, title
from tests.jobs.engine import clip_plan
from tests.ledger_samples import sample_job
from tests.server.wire import RingProcess, environment

JOBS = 10_000
HELD_LIMIT_S = 120.0
WATCH_S = 30.0
KB_IN_MIB = 2**20 / 10**3


def run(rounds: int) -> None:
    title(f"open: a start with {JOBS:,} clips under way, and {rounds} pictures beside them")
    with (
        SandboxServer(settings={"render_s": 36_000, "show_prompt": False}) as sandbox,
        folder() as idle,
        folder() as busy,
    ):
        with RingProcess(environment(busy, RING_SANDBOX=sandbox.url), busy) as maker:
            maker.call("ring-video-create", {"prompt": "the first of many", "duration": 1, "waitSeconds": 0})
            _wait_for_charge(sandbox)
        _leave_behind(busy / "state" / "sandbox" / "ledger.db", sandbox)
        quiet_env = environment(idle, RING_SANDBOX=sandbox.url)
        with RingProcess(quiet_env, idle) as quiet:
            quiet.create(prompt="warm up")
            idle_mib = rss_mib(quiet.pid)
            started = time.perf_counter()
            with RingProcess(environment(busy, RING_SANDBOX=sandbox.url), busy) as crowded:
                first = Series("first picture after the start")
                first.measure(lambda: crowded.create(prompt="warm up"))
                held_s = _wait_until_held(busy / "state" / "sandbox" / "ledger.db", started)
                alone, beside = Series("picture, idle server"), Series(f"picture beside {JOBS:,} open jobs")
                for number in range(rounds):
                    alone.measure(partial(quiet.create, prompt=f"picture {number}"))
                    beside.measure(partial(crowded.create, prompt=f"picture {number}"))
                looks = count_looks(sandbox, WATCH_S)
                busy_mib = rss_mib(crowded.pid)
    show([first, alone, beside])
    print(f"  ratio:       {beside.median_ms / alone.median_ms:.2f}")
    print(f"  held:        all after {held_s:.1f} s")
    print(
        f"  memory:      {idle_mib:.0f} MiB idle, {busy_mib:.0f} MiB busy: "
        f"{(busy_mib - idle_mib) * KB_IN_MIB / JOBS:.1f} kB a job"
    )
    print(f"  looks:       {statistics.median(looks):.0f} a second at the median, {max(looks)} at the most")


def _wait_for_charge(sandbox: SandboxServer) -> None:
    give_up_at = time.monotonic() + HELD_LIMIT_S
    while not any(job.kind == "video" for job in sandbox.state.jobs.all()) and time.monotonic() < give_up_at:
        time.sleep(0.05)


def _leave_behind(path: Path, sandbox: SandboxServer) -> None:
    """Rows as a dead process leaves them, and the provider's side of each: like the one that was really made."""
    first = next(job for job in sandbox.state.jobs.all() if job.kind == "video")
    with contextlib.closing(sqlite3.connect(path)) as ledger:
        for _ in range(JOBS):
            theirs = replace(first, id=str(uuid.uuid4()))
            sandbox.state.jobs._jobs[theirs.id] = theirs
            row = encode_job(sample_open_job(theirs.id), Dialect(text_times=True))
            names = ", ".join(row)
            ledger.execute(
                f"INSERT INTO media_jobs ({names}) VALUES ({', '.join(f':{name}' for name in row)})",
                row,
            )
        ledger.commit()


def sample_open_job(request_id: str) -> Job:
    before = datetime.now(UTC) - timedelta(minutes=5)
    plan = clip_plan(prompt=f"a lighthouse at dusk, the beam sweeps over the bay, gulls, slow dolly in {request_id}")
    job = sample_job(JobState.RENDERING, kind="video", plan=plan, sandbox=True, key_fingerprint=None, created_at=before)
    return replace(job, owner="a process that died", provider_request_id=request_id)


def _wait_until_held(path: Path, started: float) -> float:
    """Seconds from ``started`` until no row is left to the dead."""
    free = "SELECT COUNT(*) FROM media_jobs WHERE finished_at IS NULL AND owner = 'a process that died'"
    with contextlib.closing(sqlite3.connect(path)) as ledger:
        while time.perf_counter() - started < HELD_LIMIT_S:
            if ledger.execute(free).fetchone() == (0,):
                break
            time.sleep(0.2)
    return time.perf_counter() - started


def count_looks(sandbox: SandboxServer, seconds: float) -> Sequence[int]:
    """How many looks came in each whole second; the sandbox remembers a thousand requests."""
    seen: dict[str, int] = {}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for request in list(sandbox.state.requests):
            if request["method"] == "GET" and "/videos/" in str(request["path"]):
                seen[f"{request['at']} {request['path']}"] = int(datetime.fromisoformat(str(request["at"])).timestamp())
        time.sleep(0.5)
    by_second: dict[int, int] = {}
    for second in seen.values():
        by_second[second] = by_second.get(second, 0) + 1
    return [by_second[second] for second in sorted(by_second)[1:-1]] or [0]
