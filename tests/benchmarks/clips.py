"""Clips: a thousand in flight in one process, a very large one, and the way home of one of 10 MB.

    uv run python -m tests.benchmarks clips --rounds 11

Goals (nothing is judged, only printed): 1,000 jobs at the default poll interval take at most 200 MB over idle and 35 %
of one core, and no poll is late by more than one interval; a clip of 200 MB takes at most 32 MB over idle.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import statistics
import struct
import threading
import time
from datetime import datetime
from pathlib import Path

import httpx2

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_XAI_KEY
from tests.benchmarks.measuring import folder, rss_mib, title
from tests.server.wire import RingProcess, environment

JOBS = 1000
WATCH_S = 30.0
INTERVAL_S = 5.0
LARGE_BYTES = 200 * 1000 * 1000
USUAL_BYTES = 10 * 1000 * 1000
MIB_IN_MB = 2**20 / 10**6


def run(rounds: int) -> None:
    in_flight()
    large()
    way_home(rounds)


def in_flight() -> None:
    title(f"clips: {JOBS} jobs in flight in one process, polled every {INTERVAL_S:.0f} s")
    with SandboxServer(settings={"render_s": 3600}) as sandbox, folder() as home:
        env = environment(home, RING_SANDBOX=sandbox.url)
        with RingProcess(env, home) as ring:
            ring.health()
            idle_mib = rss_mib(ring.pid)
            started = time.perf_counter()
            begun = [
                ring.begin("ring-video-create", {"prompt": f"clip {i}", "duration": 1, "waitSeconds": 0})
                for i in range(JOBS)
            ]
            for each in begun:
                ring.finish(each, 120.0)
            while len(sandbox.state.books.charges()) < JOBS:
                time.sleep(0.05)
            submitted_s = time.perf_counter() - started
            time.sleep(2 * INTERVAL_S)  # let the first polls pass: the measurement is of the steady state
            polls = Polls(sandbox)
            cpu_s, cpu_started = cpu_seconds(ring.pid), time.perf_counter()
            polls.watch(WATCH_S)
            cpu_percent = (cpu_seconds(ring.pid) - cpu_s) / (time.perf_counter() - cpu_started) * 100
            busy_mib = rss_mib(ring.pid)
    gaps_s = polls.gaps_s()
    late = sum(gap > 2 * INTERVAL_S for gap in gaps_s)
    print(f"  submitted in {submitted_s:.1f} s; {len(gaps_s)} gaps between polls of {polls.jobs} jobs seen")
    print(f"  memory:      {idle_mib:.0f} MiB idle, {busy_mib:.0f} MiB busy: {over(idle_mib, busy_mib)}")
    print(f"  processor:   {cpu_percent:.0f} % of one core")
    print(f"  gap:         median {statistics.median(gaps_s):.2f} s, longest {max(gaps_s):.2f} s, late: {late}")


class Polls:
    """What the sandbox is asked, collected while it is watched: its log keeps the last thousand requests alone."""

    def __init__(self, sandbox: SandboxServer) -> None:
        self._sandbox = sandbox
        self._seen: dict[str, set[str]] = {}

    def watch(self, seconds: float) -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for request in list(self._sandbox.state.requests):
                if request["method"] == "GET" and "/videos/" in str(request["path"]):
                    self._seen.setdefault(str(request["path"]), set()).add(str(request["at"]))
            time.sleep(1.0)

    @property
    def jobs(self) -> int:
        return len(self._seen)

    def gaps_s(self) -> list[float]:
        gaps = []
        for instants in self._seen.values():
            at = sorted(datetime.fromisoformat(instant).timestamp() for instant in instants)
            gaps += [later - earlier for earlier, later in itertools.pairwise(at)]
        return gaps


def large() -> None:
    title(f"clips: one of {LARGE_BYTES / 1e6:.0f} MB from provider to storage")
    with SandboxServer() as sandbox, folder() as home:
        grow(sandbox, "large", LARGE_BYTES)
        with RingProcess(environment(home, RING_SANDBOX=sandbox.url), home) as ring:
            ring.call("ring-video-create", {"prompt": "warm up", "duration": 1})
            idle_mib = rss_mib(ring.pid)
            peak = Peak(ring.pid)
            started = time.perf_counter()
            clip = ring.call("ring-video-create", {"prompt": "large", "duration": 1}).data["video"]
            took_s = time.perf_counter() - started
            peak_mib = peak.stop()
    print(f"  {clip['size']:,} bytes in {took_s:.1f} s")
    print(f"  memory:      {idle_mib:.0f} MiB idle, {peak_mib:.0f} MiB at most: {over(idle_mib, peak_mib)}")


def way_home(rounds: int) -> None:
    title(f"clips: from the provider's done to the stored result, {USUAL_BYTES / 1e6:.0f} MB, {rounds} rounds")
    with SandboxServer() as sandbox, folder() as home, folder() as files:
        for i in range(rounds):
            grow(sandbox, f"usual {i}", USUAL_BYTES)
        ours_ms, bare_ms = [], []
        with RingProcess(environment(home, RING_SANDBOX=sandbox.url), home) as ring, bare_client() as client:
            ring.call("ring-video-create", {"prompt": "warm up", "duration": 1})
            for i in range(rounds):
                data = ring.call("ring-video-create", {"prompt": f"usual {i}", "duration": 1}).data
                done_at = next(
                    str(r["at"])
                    for r in reversed(sandbox.state.requests)
                    if str(r["path"]).endswith(data["requestId"]) and r["status"] == 200
                )
                ours_ms.append((finished_at(home, data["jobId"]) - timestamp(done_at)) * 1000)
                started = time.perf_counter()
                fetch(client, data["video"]["temporaryUrl"], files / "spool.mp4")
                shutil.copyfile(files / "spool.mp4", files / f"{i}.mp4")
                bare_ms.append((time.perf_counter() - started) * 1000)
    ours, bare = statistics.median(ours_ms), statistics.median(bare_ms)
    print(f"  ring-mcp:    {ours:.1f} ms at the median (measured, hashed, synced, recorded, with preview)")
    print(f"  bare:        {bare:.1f} ms at the median, download and copy")
    print(f"  ratio:       {ours / bare:.2f}")


def bare_client() -> httpx2.Client:
    return httpx2.Client(trust_env=False, timeout=30, headers={"authorization": f"Bearer {DEFAULT_XAI_KEY}"})


def grow(sandbox: SandboxServer, prompt: str, size_bytes: int) -> None:
    """Have the sandbox render a clip, and make its file larger by a box that players skip: its cache keeps the file."""
    with bare_client() as client:
        body = {
            "model": "grok-imagine-video",
            "prompt": prompt,
            "duration": 1,
            "resolution": "480p",
            "aspect_ratio": "16:9",
        }
        request_id = client.post(f"{sandbox.xai_base_url}/videos/generations", json=body).json()["request_id"]
        while (answer := client.get(f"{sandbox.xai_base_url}/videos/{request_id}")).status_code != 200:
            time.sleep(0.02)
    name = answer.json()["video"]["url"].rsplit("/", 1)[-1]
    path = next(item.path for item in sandbox.state.media.all() if item.name == name)
    missing_bytes = size_bytes - path.stat().st_size
    with path.open("ab") as file:
        file.write(struct.pack(">I4sQ", 1, b"free", missing_bytes))
        file.truncate(size_bytes)


def fetch(client: httpx2.Client, url: str, path: Path) -> None:
    with client.stream("GET", url) as response, path.open("wb") as file:
        for chunk in response.iter_bytes(256 * 1024):
            file.write(chunk)


def finished_at(home: Path, job_id: str) -> float:
    with sqlite3.connect(home / "state" / "sandbox" / "ledger.db") as ledger:
        (text,) = ledger.execute("SELECT finished_at FROM media_jobs WHERE id = ?", (job_id,)).fetchone()
    return timestamp(text)


def timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def over(idle_mib: float, then_mib: float) -> str:
    return f"{(then_mib - idle_mib) * MIB_IN_MB:.0f} MB more"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Peak:
    """The most memory that a process has while this looks."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._mib = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stopped.wait(0.02):
            self._mib = max(self._mib, rss_mib(self._pid))

    def stop(self) -> float:
        self._stopped.set()
        self._thread.join(5.0)
        return self._mib
