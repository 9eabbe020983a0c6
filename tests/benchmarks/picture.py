"""One picture: ring-image-create over stdio with SQLite and local storage, and the bare HTTP calls that it is made of.

Both against the same sandbox, a process of its own without any delay, at the same default size; then against one that
takes half a second for a picture. The bare client keeps one connection and syncs nothing to disk; ring-mcp syncs three
commits, the file and its folder, so the figures depend on the disk. ``TMPDIR=/dev/shm`` takes the disk out of them.

Before each measurement all of them rest: what a server does after its answer (a preview that nobody waits for) would
otherwise be in the figure of whatever is asked next.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import httpx2

from ring_mcp.sandbox.state.settings import DEFAULT_XAI_KEY
from tests.benchmarks.measuring import BARE, RING, Pipe, Series, folder, sandbox, show, title
from tests.server.wire import environment

WARM_UP = 5
SLOW_S, SLOW_ROUNDS = 0.5, 9
REST_S = 0.03
BEFORE = "RING_BENCHMARK_BEFORE"
"""The variable that names an older checkout: its servers are asked in turn with ours, in the same run."""


class BareClient:
    """What one would write in an afternoon."""

    def __init__(self, url: str, target: Path) -> None:
        self._client = httpx2.Client(
            base_url=f"{url}/xai/v1/", headers={"Authorization": f"Bearer {DEFAULT_XAI_KEY}"}, trust_env=False
        )
        self._target = target

    def close(self) -> None:
        self._client.close()

    def make(self, prompt: str, *, deferred: bool) -> None:
        """Ask, for a deferred picture look until it is there, fetch it, write it to a file."""
        body = {
            "model": "grok-imagine-image-2.0",
            "prompt": prompt,
            "n": 1,
            "aspect_ratio": "1:1",
            "resolution": "2k",
            "response_format": "url",
            "deferred": deferred,
        }
        answer = self._client.post("images/generations", json=body).raise_for_status().json()
        while "data" not in answer:
            reply = self._client.get(f"images/{answer['request_id']}").raise_for_status()
            answer = {**answer, **(reply.json() if reply.content else {})}
        content = self._client.get(answer["data"][0]["url"]).raise_for_status().content
        (self._target / f"{prompt}.jpg").write_bytes(content)


class Disk:
    """What it takes to have something surely on this disk: a figure to read the others by."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._database = sqlite3.connect(place / "disk.db", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE note (text)")

    def commit(self) -> None:
        self._database.execute("INSERT INTO note VALUES (?)", ["x" * 2000])

    def keep_file(self) -> None:
        with (self._place / "disk.jpg").open("wb") as file:
            file.write(b"x" * 120_000)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        self._database.close()


class Program:
    """Two servers of one program, with previews and without. ``tree``: the checkout that it is run from, or ours."""

    def __init__(self, name: str, url: str, stack: contextlib.ExitStack, tree: str | None = None) -> None:
        self.shown = Series(f"{name}, with preview")
        self.unseen = Series(f"{name}, without preview")
        self.slow = Series(f"{name}, half a second")
        other = {"PYTHONPATH": tree} if tree else {}
        self.pipe = self._open(stack, RING_SANDBOX=url, **other)
        self._blind = self._open(stack, RING_SANDBOX=url, RING_RESULT_PREVIEW="off", **other)
        self._cpu_ms = 0.0

    @staticmethod
    def _open(stack: contextlib.ExitStack, **variables: str) -> Pipe:
        home = stack.enter_context(folder())
        pipe = stack.enter_context(Pipe(RING, environment(home, **variables), home))
        pipe.initialize()
        return pipe

    def forget(self) -> None:
        """What was measured so far was to warm up."""
        self._cpu_ms = self.pipe.cpu_ms()
        for series in (self.shown, self.unseen):
            series.values_ms.clear()

    def ask(self, prompt: Callable[[], str]) -> None:
        rest()
        self.shown.measure(lambda: self.pipe.call("ring-image-create", {"prompt": prompt()}))
        rest()
        self.unseen.measure(lambda: self._blind.call("ring-image-create", {"prompt": prompt()}))

    def ask_slow(self, prompt: Callable[[], str]) -> None:
        self.slow.measure(lambda: self.pipe.call("ring-image-create", {"prompt": prompt()}))

    @property
    def cpu_ms(self) -> float:
        """Processor time of one picture so far, the decoder's left out."""
        return (self.pipe.cpu_ms() - self._cpu_ms) / max(1, len(self.shown.values_ms))


def rest() -> None:
    """Let what was asked before end; its program is not told, so there is nothing to wait for."""
    time.sleep(REST_S)


def run(rounds: int) -> None:
    title(f"picture: one call at a time, {rounds} times each, interleaved")
    deferred, plain = (
        Series("bare HTTP: deferred POST, poll, download, write"),
        Series("bare HTTP: POST, download, write"),
    )
    slow_bare = Series("bare HTTP: deferred, half a second")
    nothing = Series("round trip of a tool that does nothing")
    commit, file = Series("one synced commit of SQLite on this disk"), Series("one synced file of 120 kB on this disk")
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:
        url, files = stack.enter_context(sandbox()), stack.enter_context(folder())
        programs = [Program("ring-image-create", url, stack)]
        if before := os.environ.get(BEFORE):
            programs.insert(0, Program("before", url, stack, before))
        idle = stack.enter_context(Pipe(BARE, environment(files), files))
        idle.initialize()
        client, disk = BareClient(url, files), Disk(files)
        stack.callback(client.close)
        stack.callback(disk.close)

        def prompt() -> str:
            return f"picture {next(numbers)}"

        for number in range(WARM_UP + rounds):
            if number == WARM_UP:
                for series in (deferred, plain, nothing, commit, file):
                    series.values_ms.clear()
                for program in programs:
                    program.forget()
            rest()
            deferred.measure(lambda: client.make(prompt(), deferred=True))
            for program in programs:
                program.ask(prompt)
            rest()
            plain.measure(lambda: client.make(prompt(), deferred=False))
            nothing.measure(lambda: idle.call("nothing", {}))
            commit.measure(disk.commit)
            file.measure(disk.keep_file)
        cpu_ms = [program.cpu_ms for program in programs]
        httpx2.post(f"{url}/control/settings", json={"deferred_s": SLOW_S}, trust_env=False).raise_for_status()
        for _ in range(min(rounds, SLOW_ROUNDS)):
            slow_bare.measure(lambda: client.make(prompt(), deferred=True))
            for program in programs:
                program.ask_slow(prompt)
    ours = [each for program in programs for each in (program.shown, program.unseen)]
    show([deferred, plain, *ours, nothing, commit, file, slow_bare, *(program.slow for program in programs)])
    for each in ours:
        for theirs in (deferred, plain):
            over_ms, ratio = each.median_ms - theirs.median_ms, each.median_ms / theirs.median_ms
            print(f"  {each.name} - {theirs.name.partition(',')[0]}: {over_ms:.1f} ms more, {ratio:.1f} times")
    for program, spent_ms in zip(programs, cpu_ms, strict=True):
        ratio = program.slow.median_ms / slow_bare.median_ms
        print(f"  {program.slow.name}: {ratio:.2f} times; processor {spent_ms:.1f} ms a picture")
    print("  goal: at most 9 ms more without a preview and 13 with one; 1.3 times for half a second")
