"""Servers that die at the same point, one after another; each carries on what the one before it has left."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from tests.kill.kill_client import Reply, Server, ServerDied
from tests.kill.kill_points import Kind, Point, arguments, frame_of, tool_of
from tests.kill.kill_world import PAST_EVERY_DEADLINE_S, SHORT_LEASE_S, LedgerKind, MakeWorld, World, until
from tests.kill.victim import Fate

KILLED = -9
PLAIN = Fate(lease_s=SHORT_LEASE_S)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the server that dies was asked for. ``in_a_hurry``: the caller comes back at once and asks again; otherwise
    nobody asks until the job is settled."""

    prompt: str
    arguments: dict[str, Any]
    in_a_hurry: bool


class Deaths:
    """``die`` and ``recover`` in turns, in one world."""

    def __init__(self, world: World, point: Point, kind: Kind) -> None:
        self._world = world
        self._point = point
        self._kind = kind
        self._starts = 0
        world.environment |= point.environment

    async def run(self, repetitions: Sequence[int]) -> list[dict[str, Any]]:
        """A line of the table for each kill. Fails if anything is not as the point demands."""
        lines: list[dict[str, Any]] = []
        unfinished: Request | None = None
        for number in repetitions:
            request = self._request(number)
            server = await self._recover(unfinished, request, lines)
            await self._die(server, request)
            unfinished = request
        last = await self._recover(unfinished, None, lines)
        await last.kill()
        return lines

    def _request(self, number: int) -> Request:
        """The first without a key, the others with one; after the third the caller is in a hurry."""
        prompt = f"{self._kind} {uuid.uuid4()}"
        asked = arguments(self._kind, prompt) | {"waitSeconds": 40}
        if number > 0 or self._point.keyed_only:
            asked["idempotencyKey"] = f"key of {prompt}"
        if self._point.pictures > 1:
            asked["n"] = self._point.pictures
        return Request(prompt=prompt, arguments=asked, in_a_hurry=number > 1)

    # One server: it finishes what is left, and dies of the next request.

    async def _recover(self, request: Request | None, then: Request | None, lines: list[dict[str, Any]]) -> Server:
        """The next server, once it has finished this request; the line for the table is added."""
        if request is not None and self._has_a_deadline() and not lines:
            await self._nobody_gives_up_before_the_deadline()
        started_at = time.monotonic()
        server = await self._world.start(self._fate(then))
        if request is None:
            return server
        if not request.in_a_hurry:
            await self._world.all_settled()
            recovered_s = time.monotonic() - started_at
        reply = await server.call(tool_of(self._kind), request.arguments)
        if request.in_a_hurry:
            await self._world.all_settled()
            recovered_s = time.monotonic() - started_at
        self._check(request, reply)
        verdict = await self._world.judge(about=request.prompt, may_be_unknown=self._point.somebody_must_resolve)
        assert not verdict.problems, verdict.problems
        if self._point.somebody_must_resolve:
            await self._resolve(server, request)
        line = {"point": self._point.name, "kind": self._kind, "ledger": self._world.kind, "kills": 1}
        lines.append(line | verdict.counts() | {"recovered_s": [recovered_s]})
        return server

    async def _die(self, server: Server, request: Request) -> None:
        state, point = self._world.sandbox.state, self._point
        state.requests.clear()
        point.arrange(state)
        call = asyncio.create_task(server.call(tool_of(self._kind), request.arguments))
        if point.fate is None:
            await until(point.name, lambda: point.reached(self._world, request.prompt))
            await server.kill()
        else:
            assert await server.ended(45.0) == KILLED
        with contextlib.suppress(ServerDied) if point.may_answer else pytest.raises(ServerDied):
            await call
        state.faults.clear()
        state.configure(render_s=0.0, deferred_s=0.0)

    def _fate(self, request: Request | None) -> Fate | None:
        """None is the real program. PostgreSQL's lease is too long for a test, and SQLite needs a launcher to die at a
        point of its own."""
        self._starts += 1
        fate = None
        if request is not None and self._point.fate is not None:
            fate = replace(self._point.fate, prompt=request.prompt)
        if self._world.kind == "sqlite":
            return fate
        ahead_s = self._starts * PAST_EVERY_DEADLINE_S if self._has_a_deadline() else 0.0
        return replace(fate or PLAIN, lease_s=SHORT_LEASE_S, clock_ahead_s=ahead_s)

    # PostgreSQL: the owner of a submit may only be silent, and its answer may yet come.

    def _has_a_deadline(self) -> bool:
        return self._world.kind == "postgres" and self._point.somebody_must_resolve

    async def _nobody_gives_up_before_the_deadline(self) -> None:
        """A server whose clock is right takes the submit over, and waits."""
        orphan = self._submitting()
        ahead_s = self._starts * PAST_EVERY_DEADLINE_S
        server = await self._world.start(replace(PLAIN, clock_ahead_s=ahead_s))
        await until("it has been taken over", lambda: self._submitting()["owner"] != orphan["owner"])
        reply = await server.call("ring-job-get", {"jobId": orphan["id"], "waitSeconds": 0})
        assert reply.data["state"] == "submitting"
        await server.kill()

    def _submitting(self) -> dict[str, Any]:
        return next(row for row in self._world.rows() if row["state"] == "submitting")

    # What has to be true afterwards.

    def _check(self, request: Request, reply: Reply) -> None:
        point, world = self._point, self._world
        row = world.the_row(request.prompt)
        assert reply.job_id == row["id"], "the same request after the crash is the same job"
        assert row["state"] == point.outcome, row["failure"]
        assert len(world.charges(request.prompt)) == point.accepted
        if self._kind == "frame":
            still = frame_of(request.prompt)
            assert world.the_row(still)["state"] == point.still
            assert len(world.charges(still)) == point.still_accepted
        if point.outcome == "done":
            assert reply.data["state"] == "done"
            assert len(row["assets"]) == point.pictures
            return
        assert reply.is_error
        assert (reply.content["code"], reply.content["billed"]) == ("unknown_outcome", "unknown")

    async def _resolve(self, server: Server, request: Request) -> None:
        """The unknown job is shown as such; a person settles it, and its reservation ends."""
        world = self._world
        prompt = request.prompt if self._point.outcome == "unknown" else frame_of(request.prompt)
        row = world.the_row(prompt)
        listed = (await server.call("ring-job-list", {"state": "unknown"})).data["jobs"]
        assert [job["jobId"] for job in listed] == [row["id"]]
        paid = bool(world.charges(prompt))
        await world.cli("jobs", "resolve", row["id"], "--paid" if paid else "--not-paid")
        settled = world.the_row(prompt)
        assert settled["state"] == "failed"
        assert settled["settled_usd_ticks"] == (row["reserved_usd_ticks"] if paid else 0)
        if self._point.outcome == "planned":
            await self._go_on_without_the_still(server, request, paid)
        spend = await world.spend()
        assert (spend.unknown_jobs, spend.month_reserved_usd) == (0, Decimal(0))

    async def _go_on_without_the_still(self, server: Server, request: Request, paid: bool) -> None:
        """The clip ends at no cost of its own, and no second still is made."""
        clip = self._world.the_row(request.prompt)
        reply = await server.call("ring-job-get", {"jobId": clip["id"], "waitSeconds": 40})
        assert (reply.content["code"], reply.content["billed"]) == ("first_frame_failed", "yes" if paid else "no"), (
            reply.text
        )
        assert len(self._world.charges(frame_of(request.prompt))) == (1 if paid else 0)
        assert not self._world.charges(request.prompt)


async def kill_again_and_again(
    make_world: MakeWorld, ledger: LedgerKind, point: Point, kind: Kind, repetitions: Sequence[int] = range(3)
) -> list[dict[str, Any]]:
    """One kill at this point for each repetition."""
    return await Deaths(await make_world(ledger), point, kind).run(repetitions)
