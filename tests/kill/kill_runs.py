"""One kill at one point, what the next server makes of it, and the verdict."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from kill_client import Reply, Server, ServerDied
from kill_points import Kind, Point, arguments, frame_of, tool_of
from kill_world import PAST_EVERY_DEADLINE_S, SHORT_LEASE_S, LedgerKind, MakeWorld, World, until
from victim import Fate

KILLED = -9
PLAIN = Fate(lease_s=SHORT_LEASE_S)


class Kill:
    """A request, the death of the server that had it, and the next server. ``in_a_hurry``: the caller comes back at
    once and asks again; otherwise nobody asks until the job is settled."""

    def __init__(self, world: World, point: Point, kind: Kind, *, keyed: bool, in_a_hurry: bool) -> None:
        self.world = world
        self.point = point
        self.kind = kind
        self.in_a_hurry = in_a_hurry
        self.prompt = f"{kind} {uuid.uuid4()}"
        self.arguments = arguments(kind, self.prompt) | {"waitSeconds": 40}
        if keyed or point.keyed_only:
            self.arguments["idempotencyKey"] = f"key of {self.prompt}"
        if point.pictures > 1:
            self.arguments["n"] = point.pictures

    async def run(self) -> dict[str, Any]:
        """The line for the table. Fails if anything is not as the point demands."""
        self.world.environment |= self.point.environment
        await self._die()
        before = self.world.row(self.prompt)
        assert before is not None
        successor, reply, recovered_s = await self._recover()
        assert reply.job_id == before["id"], "the same request after the crash is the same job"
        self._check(reply)
        verdict = await self.world.judge(may_be_unknown=self.point.somebody_must_resolve)
        assert not verdict.problems, verdict.problems
        if self.point.somebody_must_resolve:
            await self._resolve(successor)
        await successor.kill()
        return {
            "point": self.point.name,
            "kind": self.kind,
            "ledger": self.world.kind,
            "kills": 1,
            "submitted": verdict.submitted,
            "twice": verdict.twice,
            "lost": verdict.lost,
            "unknown": verdict.unknown,
            "recovered_s": [recovered_s],
        }

    async def _die(self) -> None:
        state, point = self.world.sandbox.state, self.point
        point.arrange(state)
        victim = await self.world.start(self._launched(point.fate))
        call = asyncio.create_task(victim.call(tool_of(self.kind), self.arguments))
        if point.fate is None:
            await until(point.name, lambda: point.reached(self.world, self.prompt))
            await victim.kill()
        else:
            assert await victim.ended(45.0) == KILLED
        with pytest.raises(ServerDied):
            await call
        state.faults.clear()
        state.configure(render_s=0.0, deferred_s=0.0)

    def _launched(self, fate: Fate | None) -> Fate | None:
        """The real program wherever it will do: PostgreSQL's lease is too long for a test."""
        if self.world.kind == "sqlite":
            return fate
        return replace(fate or PLAIN, lease_s=SHORT_LEASE_S)

    async def _recover(self) -> tuple[Server, Reply, float]:
        """The next server, what it tells the caller, and the seconds from its start until the job was settled."""
        ahead_s = 0.0
        if self.world.kind == "postgres" and self.point.somebody_must_resolve:
            await self._nobody_gives_up_before_the_deadline()
            ahead_s = PAST_EVERY_DEADLINE_S
        started_at = time.monotonic()
        fate = None if self.world.kind == "sqlite" else Fate(lease_s=SHORT_LEASE_S, clock_ahead_s=ahead_s)
        successor = await self.world.start(fate)
        if not self.in_a_hurry:
            await self.world.all_settled()
            recovered_s = time.monotonic() - started_at
        reply = await successor.call(tool_of(self.kind), self.arguments)
        if self.in_a_hurry:
            await self.world.all_settled()
            recovered_s = time.monotonic() - started_at
        return successor, reply, recovered_s

    async def _nobody_gives_up_before_the_deadline(self) -> None:
        """On PostgreSQL the owner of a submit may only be silent: its answer may yet come, so the next one waits."""
        orphan = await until("a submit is under way", self._submitting)
        successor = await self.world.start(PLAIN)
        await until("it has been taken over", lambda: self._submitting()["owner"] != orphan["owner"])
        reply = await successor.call("ring-job-get", {"jobId": orphan["id"], "waitSeconds": 0})
        assert reply.data["state"] == "submitting"
        await successor.kill()

    def _submitting(self) -> dict[str, Any]:
        return next(row for row in self.world.rows() if row["state"] == "submitting")

    def _check(self, reply: Reply) -> None:
        point = self.point
        row = self.world.row(self.prompt)
        assert row is not None
        assert row["state"] == point.outcome, row["failure"]
        assert len(self.world.charges(self.prompt)) == point.accepted
        if self.kind == "frame":
            still = self.world.row(frame_of(self.prompt))
            assert still is not None
            assert still["state"] == point.still
            assert len(self.world.charges(frame_of(self.prompt))) == point.still_accepted
        if point.outcome == "done":
            assert reply.data["state"] == "done"
            assert len(row["assets"]) == point.pictures
            return
        assert reply.is_error
        assert (reply.content["code"], reply.content["billed"]) == ("unknown_outcome", "unknown")

    async def _resolve(self, server: Server) -> None:
        """The unknown job is shown as such; a person settles it, and its reservation ends."""
        prompt = self.prompt if self.point.outcome == "unknown" else frame_of(self.prompt)
        row = self.world.row(prompt)
        assert row is not None
        listed = (await server.call("ring-job-list", {"state": "unknown"})).data["jobs"]
        assert [job["jobId"] for job in listed] == [row["id"]]
        paid = bool(self.world.charges(prompt))
        await self.world.cli("jobs", "resolve", row["id"], "--paid" if paid else "--not-paid")
        settled = self.world.row(prompt)
        assert settled is not None
        assert settled["state"] == "failed"
        assert settled["settled_usd_ticks"] == (row["reserved_usd_ticks"] if paid else 0)
        if self.point.outcome == "planned":
            await self._go_on_without_the_still(server, paid)
        spend = await self.world.spend()
        assert (spend.unknown_jobs, spend.month_reserved_usd) == (0, 0)

    async def _go_on_without_the_still(self, server: Server, paid: bool) -> None:
        """Of a still that was paid for no second one is made; of one that was not, the clip is made after all."""
        clip = self.world.row(self.prompt)
        assert clip is not None
        reply = await server.call("ring-job-get", {"jobId": clip["id"], "waitSeconds": 40})
        if paid:
            assert reply.content["code"] == "first_frame_failed"
        else:
            assert reply.data["state"] == "done"
        assert len(self.world.charges(frame_of(self.prompt))) == 1
        assert len(self.world.charges(self.prompt)) == (0 if paid else 1)


async def kill_again_and_again(
    make_world: MakeWorld, ledger: LedgerKind, point: Point, kind: Kind, repetitions: Sequence[int] = range(3)
) -> list[dict[str, Any]]:
    """A kill at this point for each repetition: without a key, with one, and with a caller who comes back at once."""
    return [
        await Kill(await make_world(ledger), point, kind, keyed=number == 1, in_a_hurry=number == 2).run()
        for number in repetitions
    ]
