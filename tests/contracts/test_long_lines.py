"""What waits in line for the provider's rate and loses its process is not forgotten, over every ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.jobs.line_marks import MARK_EVERY_S
from ring_mcp.jobs.submitting import STALE_PLAN_S
from ring_mcp.ledger.base import Ledger
from tests.fake_clock import FakeClock
from tests.jobs.engine import Engine, clip_plan, engine_on
from tests.jobs.failing_ledger import FailingLedger
from tests.jobs.test_rates import with_rates

A_LONG_TIME_S = 1.5 * STALE_PLAN_S
BEAT_S = 15.0


class Server:
    """Processes of one ledger, one after the other, which may ask for few clips."""

    def __init__(self, ledger: Ledger, clock: FakeClock, state: Path) -> None:
        self.ledger, self.clock, self._state = ledger, clock, state
        self.opened: list[Engine] = []

    def start(self, per_minute: float = 1.0) -> Engine:
        folder = self._state / str(len(self.opened))
        presets = with_rates({"perMinute": per_minute})
        self.opened.append(engine_on(FailingLedger(self.ledger), self.clock, folder, presets=presets))
        return self.opened[-1]

    async def run(self, engine: Engine, jobs: list[Job], for_s: float) -> None:
        """Have the jobs driven for so long, with what a queue does beside it, and then lose the process."""
        driving = [asyncio.create_task(engine.runner.drive(each)) for each in jobs]
        until_s = self.clock.monotonic() + for_s
        while self.clock.monotonic() < until_s:
            await self.clock.asleep()  # whoever asks the database meanwhile must not miss the time
            self.clock.advance(min(self.clock.next_wake_s or 0.0, BEAT_S))
            await asyncio.sleep(0.001)
            await engine.runner.mark_waiting()
        for each in driving:
            each.cancel()
        await asyncio.gather(*driving, return_exceptions=True)

    async def drive(self, engine: Engine, job: Job) -> Job:
        return await self.clock.play(engine.runner.drive(job))


@pytest.fixture
async def server(ledger: Ledger, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(ledger, clock, tmp_path / "engines")
    yield server
    for engine in server.opened:
        await engine.queue.aclose()
        await engine.opening.delivery.aclose()


async def wait_in_line(server: Server) -> Job:
    """The row of a job whose turn did not come in a quarter of an hour, and whose process is gone."""
    engine = server.start()
    before = [await engine.new(clip_plan(prompt=f"before it {number}")) for number in range(40)]
    last = await engine.new(clip_plan(prompt="the last one"))
    await server.run(engine, [*before, last], A_LONG_TIME_S)
    row = await engine.row(last)
    assert (row.state, 0 < len(engine.clips.submitted) < 40) == (JobState.PLANNED, True)
    return row


async def test_who_takes_over_a_long_line_goes_on_with_it(server: Server) -> None:
    row = await wait_in_line(server)
    server.clock.advance(STALE_PLAN_S - MARK_EVERY_S - BEAT_S)  # nobody has it meanwhile
    engine = server.start(per_minute=6000.0)
    assert (await server.drive(engine, row)).state is JobState.DONE
    assert len(engine.clips.submitted) == 1


async def test_what_nobody_has_had_for_ten_minutes_is_not_started(server: Server) -> None:
    """The ledger may be a backup's, and the request may have been sent since."""
    row = await wait_in_line(server)
    server.clock.advance(STALE_PLAN_S + 1)
    engine = server.start(per_minute=6000.0)
    assert (await server.drive(engine, row)).state is JobState.FAILED
    assert engine.clips.submitted == []


async def test_a_mark_of_a_clock_that_was_ahead_is_of_now(server: Server) -> None:
    engine = server.start(per_minute=6000.0)
    job = replace(await engine.new(clip_plan()), in_line_at=server.clock.now() + timedelta(days=1))
    record = engine.record(job)
    server.clock.advance(STALE_PLAN_S + 1)
    await engine.submitting.submit(record)
    assert (record.job.state, engine.clips.submitted) == (JobState.FAILED, [])


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "postgres"], indirect=True)
async def test_a_clip_waits_with_its_still_however_long_the_line_is(server: Server) -> None:
    """In one process and in the next: the still may be paid for by then."""
    clip, _ = await server.start().new_clip_with_still()
    for engine in (server.opened[0], server.start()):
        await server.run(engine, [clip], A_LONG_TIME_S)
        clip = await engine.row(clip)
        assert (clip.state, clip.in_line_at is not None) == (JobState.PLANNED, True)


async def test_a_mark_disturbs_nobody_who_writes(server: Server, ledger: Ledger) -> None:
    job = await server.start().new(clip_plan())
    await ledger.mark_in_line([job.id])
    assert (await ledger.save(job, replace(job, progress=7))).version == job.version + 1
    row = await ledger.get(job.id)
    assert row is not None
    assert (row.in_line_at, row.progress) == (server.clock.now(), 7)


async def test_only_plans_of_this_process_are_marked(server: Server, ledger: Ledger) -> None:
    engine = server.start()
    mine, ended = await engine.new(clip_plan()), await engine.new(clip_plan(prompt="ended"))
    nobodys = await ledger.save(mine, replace(mine, owner=None))
    server.clock.advance(STALE_PLAN_S + 1)
    await engine.runner.drive(ended)
    await ledger.mark_in_line([nobodys.id, ended.id])
    assert [(await engine.row(each)).in_line_at for each in (nobodys, ended)] == [None, None]
