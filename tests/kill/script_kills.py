"""``ring-mcp script`` that is killed again and again while somebody reads its manifest all the time."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.kill.kill_client import END_LIMIT_S, REAL_SERVER
from tests.kill.kill_world import World, until

CLIPS = 6
LONGEST_LIFE_S = 3.0
"""From its first request on: how long a run takes to start says something of the machine alone."""

RUN_LIMIT_S = 60.0
DONE, FAILED, UNDER_WAY = 0, 1, 3


def clips(numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Every second one starts from a still of its own."""
    return [
        {
            "id": f"clip-{number}",
            "duration": 1,
            "prompt": f"clip number {number}",
            **({"firstFrame": {"imagePrompt": f"still {number}", "imageResolution": "1k"}} if number % 2 else {}),
        }
        for number in numbers
    ]


class ScriptRuns:
    """Runs of scripts in one folder, on one manifest."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.manifest = world.folder / "output" / "manifest.json"

    def write(self, name: str, numbers: Sequence[int]) -> None:
        request = {"schemaVersion": "1.0", "requestId": "killed", "clips": clips(numbers)}
        (self.world.folder / name).write_text(json.dumps(request))

    async def start(self, name: str) -> asyncio.subprocess.Process:
        with self.world.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *REAL_SERVER,
                "script",
                name,
                "--json",
                env=self.world.environment,
                cwd=self.world.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )

    async def ended(self, process: asyncio.subprocess.Process) -> tuple[int, dict[str, Any]]:
        """Exit status, and what was told of each clip by its id."""
        try:
            output, _ = await asyncio.wait_for(process.communicate(), RUN_LIMIT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        told = json.loads(output)
        return process.returncode, {clip["id"]: clip for clip in told["clips"]}

    async def live_and_die(self, name: str, life_s: float) -> bool:
        """Whether it was killed: it may have come to its end before."""
        requests = self.world.sandbox.state.requests
        asked = len(requests)
        process = await self.start(name)
        await until("a run asks or ends", lambda: len(requests) > asked or process.returncode is not None, RUN_LIMIT_S)
        try:
            await asyncio.wait_for(process.wait(), life_s)
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
        output, _ = await asyncio.wait_for(process.communicate(), END_LIMIT_S)
        assert output or process.returncode == -signal.SIGKILL
        return process.returncode == -signal.SIGKILL

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in json.loads(self.manifest.read_bytes())["clips"]}

    @contextmanager
    def watched(self) -> Iterator[Counter[str]]:
        """Somebody reads the manifest all the time; "bad" counts the times that it was none, or that a row was lost."""
        seen: Counter[str] = Counter()
        stop = threading.Event()

        def read() -> None:
            known: set[str] = set()
            while not stop.is_set():
                try:
                    content = json.loads(self.manifest.read_bytes())
                    now = {row["_key"] for row in content["clips"]}
                    seen["bad" if known - now or content["version"] != 3 else "good"] += 1
                    known |= now
                except FileNotFoundError:
                    seen["bad" if known else "none yet"] += 1
                except (ValueError, KeyError):
                    seen["bad"] += 1

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield seen
        finally:
            stop.set()
            reader.join(END_LIMIT_S)


class ScriptKills(ScriptRuns):
    """Each life goes on with what the one before it has left; the last one is not killed."""

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(world)
        self._random = random.Random(seed)

    async def run(self, kills: int) -> dict[str, Any]:
        """A line of the table."""
        state = self.world.sandbox.state
        state.configure(render_s=15.0, deferred_s=5.0)
        state.faults.add("media_slow", times=-1, bytes_per_s=20_000)
        self.write("script.json", range(CLIPS))
        died = in_flight = 0
        with self.watched() as seen:
            while died < kills:
                life_s = self._random.uniform(0.0, LONGEST_LIFE_S)
                if await self.live_and_die("script.json", life_s):
                    died += 1
                    in_flight += bool(self.world.open_rows())
            state.faults.clear()
            state.configure(render_s=0.0, deferred_s=0.0)
            status, told = await self.ended(await self.start("script.json"))
        assert seen["bad"] == 0, seen
        assert seen["good"] > kills
        assert in_flight >= kills // 2, f"only {in_flight} kills had something to kill"
        self._every_clip_is_accounted_for(status, told)
        server = await self.world.start()  # it tidies the spool, which a command leaves to others
        await self.world.tidied()
        verdict = await self.world.judge(may_be_unknown=True)
        await server.leave()
        assert not verdict.problems, verdict.problems
        assert verdict.twice == verdict.lost == 0
        return {
            "point": f"script of {CLIPS}, {in_flight} with jobs open",
            "kind": "script",
            "ledger": self.world.kind,
            "kills": kills,
            **verdict.counts(),
            "recovered_s": [],
        }

    def _every_clip_is_accounted_for(self, status: int, told: dict[str, Any]) -> None:
        """Done; or a paid request of it, or of its still, was cut off, is unknown, and stays reserved."""
        jobs = {row["prompt"]: row for row in self.world.rows()}
        rows, waiting = self.rows(), 0
        assert len(told) == len(rows) == CLIPS
        for number in range(CLIPS):
            clip, job = told[f"clip-{number}"], jobs[f"clip number {number}"]
            assert clip["jobId"] == job["id"]
            if job["state"] == "done":
                assert (clip["status"], rows[clip["id"]]["status"]) == ("done", "done")
                assert rows[clip["id"]]["url"] == job["assets"][0]["url"]
                continue
            cut = job if job["state"] == "unknown" else jobs[f"still {number}"]
            assert (cut["state"], cut["provider_request_id"]) == ("unknown", None)
            assert clip["billed"] == "unknown"
            assert rows[clip["id"]]["status"] == ("error" if cut is job else "pending")
            waiting += cut is not job
        unknown = any(clip["status"] == "error" for clip in told.values())
        assert status == (FAILED if unknown else UNDER_WAY if waiting else DONE)
