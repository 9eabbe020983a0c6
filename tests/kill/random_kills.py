"""A server that is killed again and again at random moments while callers go on asking."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from tests.kill.kill_client import Reply, Server, ServerDied
from tests.kill.kill_points import Kind, arguments, frame_of, tool_of
from tests.kill.kill_world import PAST_EVERY_DEADLINE_S, SHORT_LEASE_S, World
from tests.kill.victim import Fate

IN_FLIGHT = 10
ASKED_AGAIN = 3
LONGEST_LIFE_S = 2.2
KILLED_WHILE_STARTING = 0.15
"""The share of servers that die before they have said a word."""


class RandomKills:
    """``asked`` holds every request with its arguments, ``answered`` those whose caller was told the outcome."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = random.Random(seed)
        self._asked: dict[str, tuple[Kind, dict[str, Any]]] = {}
        self._answered: set[str] = set()

    async def run(self, kills: int) -> dict[str, Any]:
        state = self._world.sandbox.state
        state.configure(render_s=0.8, deferred_s=0.4)
        state.faults.add("media_slow", times=-1, bytes_per_s=100_000)
        for _ in range(kills):
            await self._live_and_die()
        state.faults.clear()
        state.configure(render_s=0.0, deferred_s=0.0)
        started_at = time.monotonic()
        last = await self._world.start(self._fate(PAST_EVERY_DEADLINE_S))
        await self._world.all_settled(90.0)
        recovered_s = time.monotonic() - started_at
        await self._every_job_is_told(last)
        await self._world.tidied()
        verdict = await self._world.judge(may_be_unknown=True)
        await last.leave()
        assert not verdict.problems, verdict.problems
        self._only_submits_are_unknown()
        return {
            "point": "random moments, 10 jobs in flight",
            "kind": "all",
            "ledger": self._world.kind,
            "kills": kills,
            **verdict.counts(),
            "recovered_s": [recovered_s],
        }

    def _fate(self, ahead_s: float = 0.0) -> Fate | None:
        return None if self._world.kind == "sqlite" else Fate(lease_s=SHORT_LEASE_S, clock_ahead_s=ahead_s)

    async def _live_and_die(self) -> None:
        if self._random.random() < KILLED_WHILE_STARTING:
            server = await self._world.start(self._fate(), greet=False)
            await asyncio.sleep(self._random.uniform(0.2, 1.0))  # the moment of the kill: not a wait for anything
            await server.kill()
            return
        server = await self._world.start(self._fate())
        calls = [asyncio.create_task(self._ask(server, prompt)) for prompt in self._chosen()]
        await asyncio.sleep(self._random.uniform(0.0, LONGEST_LIFE_S))
        await server.kill()
        await asyncio.gather(*calls)

    def _chosen(self) -> list[str]:
        """What is asked of the next server: some requests whose callers know nothing yet, and new ones."""
        waiting = [prompt for prompt in self._asked if prompt not in self._answered]
        again = self._random.sample(waiting, min(ASKED_AGAIN, len(waiting)))
        new = [self._new() for _ in range(IN_FLIGHT - len(self._world.open_rows()))]
        return again + new

    def _new(self) -> str:
        kind: Kind = self._random.choice(("image", "image", "video", "frame"))
        prompt = f"{kind} number {len(self._asked)}"
        asked = arguments(kind, prompt) | {"waitSeconds": 30}
        if self._random.random() < 0.5:
            asked["idempotencyKey"] = f"key of {prompt}"
        if kind == "image" and self._random.random() < 0.3:
            asked["n"] = 2
        self._asked[prompt] = (kind, asked)
        return prompt

    async def _ask(self, server: Server, prompt: str) -> Reply | None:
        kind, asked = self._asked[prompt]
        try:
            reply = await server.call(tool_of(kind), asked)
        except ServerDied:
            return None
        self._answered.add(prompt)
        return reply

    async def _every_job_is_told(self, server: Server) -> None:
        """Whoever asks again with the same key is told of the same job, and nothing new is paid."""
        charges_before = len(self._world.charges())
        for prompt, (kind, asked) in self._asked.items():
            rows = [row for row in self._world.rows() if row["prompt"] == prompt]
            assert len(rows) <= 1 or "idempotencyKey" not in asked
            if rows and "idempotencyKey" in asked:
                reply = await server.call(tool_of(kind), asked)
                assert reply.job_id == rows[0]["id"]
        assert len(self._world.charges()) == charges_before

    def _only_submits_are_unknown(self) -> None:
        rows = self._world.rows()
        assert all(row["provider_request_id"] is None for row in rows if row["state"] == "unknown")
        unknown = {row["prompt"] for row in rows if row["state"] == "unknown"}
        bad = [row for row in rows if row["state"] not in ("done", "unknown")]
        assert all(frame_of(row["prompt"]) in unknown for row in bad), bad
