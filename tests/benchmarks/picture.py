"""One picture: ring-image-create over stdio with SQLite and local storage, and the bare HTTP calls that it is made of.

Both against the same sandbox, a process of its own without any delay, at the same default size; then against one that
takes half a second for a picture. The bare client keeps one connection and syncs nothing to disk; ring-mcp syncs three
commits, the file and its folder, so the figures depend on the disk. ``TMPDIR=/dev/shm`` takes the disk out of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from pathlib import Path

import httpx2

from ring_mcp.sandbox.state.settings import DEFAULT_XAI_KEY
from tests.benchmarks.measuring import BARE, RING, Pipe, Series, folder, sandbox, show, title
from tests.server.wire import environment

WARM_UP = 5
SLOW_S, SLOW_ROUNDS = 0.5, 9


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


def run(rounds: int) -> None:
    title(f"picture: one call at a time, {rounds} times each, interleaved")
    deferred, plain = (
        Series("bare HTTP: deferred POST, poll, download, write"),
        Series("bare HTTP: POST, download, write"),
    )
    shown, unseen = Series("ring-image-create, with preview"), Series("ring-image-create, without preview")
    nothing = Series("round trip of a tool that does nothing")
    commit, file = Series("one synced commit of SQLite on this disk"), Series("one synced file of 120 kB on this disk")
    every = [deferred, plain, shown, unseen, nothing, commit, file]
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(sandbox())
        home, other, files = (stack.enter_context(folder()) for _ in range(3))
        ring = stack.enter_context(Pipe(RING, environment(home, RING_SANDBOX=url), home))
        blind_env = environment(other, RING_SANDBOX=url, RING_RESULT_PREVIEW="off")
        blind = stack.enter_context(Pipe(RING, blind_env, other))
        idle = stack.enter_context(Pipe(BARE, environment(files), files))
        client, disk = BareClient(url, files), Disk(files)
        stack.callback(client.close)
        stack.callback(disk.close)
        for server in (ring, blind, idle):
            server.initialize()

        def prompt() -> str:
            return f"picture {next(numbers)}"

        for number in range(WARM_UP + rounds):
            if number == WARM_UP:
                for series in every:
                    series.values_ms.clear()
            deferred.measure(lambda: client.make(prompt(), deferred=True))
            shown.measure(lambda: ring.call("ring-image-create", {"prompt": prompt()}))
            plain.measure(lambda: client.make(prompt(), deferred=False))
            unseen.measure(lambda: blind.call("ring-image-create", {"prompt": prompt()}))
            nothing.measure(lambda: idle.call("nothing", {}))
            commit.measure(disk.commit)
            file.measure(disk.keep_file)
        slow, slow_bare = Series("ring-image-create, half a second"), Series("bare HTTP: deferred, half a second")
        httpx2.post(f"{url}/control/settings", json={"deferred_s": SLOW_S}, trust_env=False).raise_for_status()
        for _ in range(min(rounds, SLOW_ROUNDS)):
            slow_bare.measure(lambda: client.make(prompt(), deferred=True))
            slow.measure(lambda: ring.call("ring-image-create", {"prompt": prompt()}))
        every += [slow_bare, slow]
    show(every)
    print(f"  half a second: {slow.median_ms / slow_bare.median_ms:.2f} times")
    for ours in (shown, unseen):
        for theirs in (deferred, plain):
            over_ms, ratio = ours.median_ms - theirs.median_ms, ours.median_ms / theirs.median_ms
            print(f"  {ours.name} - {theirs.name.partition(',')[0]}: {over_ms:.1f} ms more, {ratio:.1f} times")
    print("  goal: at most 15 ms more")
