"""Files that dead processes left behind: gone when nobody can want them any more, and not before."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ring_mcp.domain import TERMINAL, Job, JobState
from ring_mcp.errors import LedgerError
from ring_mcp.jobs import tidying
from ring_mcp.jobs.tidying import (
    KEEP_INPUTS_S,
    Leftover,
    _is_from_before,
    list_leftovers,
    remove_old_files,
    remove_old_inputs,
    tidy_after,
    tidy_spool,
)
from ring_mcp.ledger.base import Ledger
from tests.fake_clock import FakeClock
from tests.jobs.engine import Engine, new_id
from tests.jobs.scripted_provider import finished, jpeg
from tests.ledger_samples import carried

KEEP_S = 30 * 24 * 3600.0
TRY_AGAIN_S = tidying._TRY_AGAIN_S
FILES_AT_ONCE = tidying._FILES_AT_ONCE
_S = JobState


async def in_state(engine: Engine, state: JobState) -> Job:
    ways = {
        _S.PLANNED: (),
        _S.SUBMITTING: (_S.SUBMITTING,),
        _S.STORING: (_S.SUBMITTING, _S.STORING),
        _S.UNKNOWN: (_S.SUBMITTING, _S.UNKNOWN),
        _S.DONE: (_S.SUBMITTING, _S.STORING, _S.DONE),
        _S.REFUSED: (_S.SUBMITTING, _S.REFUSED),
        _S.EXPIRED: (_S.SUBMITTING, _S.EXPIRED),
        _S.FAILED: (_S.SUBMITTING, _S.FAILED),
        _S.RENDERING: (_S.SUBMITTING, _S.RENDERING),
    }
    job = await engine.new()
    for step in ways[state]:
        job = await engine.ledger.save(job, carried(job, step))
    return job


def left(engine: Engine) -> set[str]:
    return {path.name for path in engine.spool.iterdir()}


async def tidied(engine: Engine) -> None:
    ledger: Ledger = engine.ledger
    await engine.clock.play(tidy_spool(engine.spool, ledger, engine.clock, KEEP_S))


@pytest.mark.parametrize("state", list(JobState))
async def test_files_of_a_job_go_when_it_has_ended(engine: Engine, state: JobState) -> None:
    job = await in_state(engine, state)
    names = {f"{job.id}-0.media", f"{job.id}-1.inline", f"{job.id}-thumbnail.png"}
    for name in names:
        (engine.spool / name).write_bytes(b"x")
    await tidied(engine)
    assert left(engine) == (set() if state in TERMINAL else names)


async def test_what_a_killed_download_has_left_goes_also_of_an_open_job(engine: Engine) -> None:
    job = await in_state(engine, _S.STORING)
    dead, alive = engine.spool / f"{job.id}-0.0.part", engine.spool / f"{job.id}-0.1.part"
    for path in (dead, alive):
        path.write_bytes(b"x")
    an_hour_ago = time.time() - tidying._PART_IS_DEAD_AFTER_S
    os.utime(dead, (an_hour_ago, an_hour_ago))
    await tidied(engine)
    assert left(engine) == {alive.name}
    assert tidying._PART_IS_DEAD_AFTER_S == 3600.0


async def test_what_an_open_job_has_stays_however_old_it_is(engine: Engine) -> None:
    job = await in_state(engine, _S.STORING)
    path = engine.spool / f"{job.id}-0.media"
    path.write_bytes(b"x")
    os.utime(path, (0, 0))
    await tidied(engine)
    assert left(engine) == {path.name}
    assert await list_leftovers(engine.state, engine.ledger, KEEP_S) == []


async def test_files_of_no_job_that_is_known_are_left(engine: Engine) -> None:
    names = {f"{new_id()}-0.media", f"input-{'0' * 64}", "something.else"}
    for name in names:
        (engine.spool / name).write_bytes(b"x")
    await tidied(engine)
    assert left(engine) == names


async def test_a_file_that_cannot_be_removed_does_not_keep_the_others(engine: Engine) -> None:
    first, second = await in_state(engine, _S.DONE), await in_state(engine, _S.DONE)
    for job in (first, second):
        (engine.spool / f"{job.id}-0.media").write_bytes(b"x")
    stubborn = engine.spool / f"{first.id}-1.media"
    stubborn.mkdir()
    await tidied(engine)
    assert left(engine) == {stubborn.name}


async def test_a_ledger_that_is_away_is_asked_again_in_a_minute(engine: Engine, clock: FakeClock) -> None:
    job = await in_state(engine, _S.DONE)
    (engine.spool / f"{job.id}-0.media").write_bytes(b"x")
    engine.ledger.fail("states", 2)
    await tidied(engine)
    assert clock.pauses_s == [TRY_AGAIN_S, TRY_AGAIN_S]
    assert left(engine) == set()
    assert TRY_AGAIN_S == 60.0


async def test_the_ledger_is_asked_for_many_files_at_a_time(engine: Engine) -> None:
    job = await in_state(engine, _S.DONE)
    names = [f"{new_id()}-0.media" for _ in range(FILES_AT_ONCE)]
    for name in (*names, f"{job.id}-0.media"):
        (engine.spool / name).write_bytes(b"x")
    engine.ledger.calls.clear()
    await tidied(engine)
    assert [call for call in engine.ledger.calls if call == "states"] == ["states", "states"]
    assert left(engine) == set(names)


async def test_without_a_spool_there_is_nothing_to_tidy(engine: Engine) -> None:
    engine.spool.rmdir()
    await asyncio.wait_for(tidy_spool(engine.spool, engine.ledger, engine.clock, KEEP_S), 10)


def test_what_is_older_than_a_month_is_forgotten_and_nothing_younger(tmp_path: Path) -> None:
    first, second = tmp_path / "spool", tmp_path / "previews"
    for folder in (first, second):
        folder.mkdir()
        for name, age_s in (("old", KEEP_S + 60), ("young", KEEP_S - 60), ("new", 0)):
            path = folder / name
            path.write_bytes(b"x")
            os.utime(path, (time.time() - age_s,) * 2)
    remove_old_files([first, tmp_path / "not there", second], KEEP_S)
    for folder in (first, second):
        assert sorted(path.name for path in folder.iterdir()) == ["new", "young"]
    assert KEEP_S == 30 * 24 * 3600


def test_what_is_old_and_cannot_be_removed_is_left(tmp_path: Path) -> None:
    for name in ("a folder", "old"):
        path = tmp_path / name
        path.mkdir() if name == "a folder" else path.write_bytes(b"x")
        os.utime(path, (0, 0))
    (tmp_path / "to nowhere").symlink_to(tmp_path / "gone")
    remove_old_files([tmp_path], KEEP_S)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a folder", "to nowhere"]


@pytest.mark.parametrize("state", list(JobState))
async def test_what_would_go_is_what_goes(engine: Engine, state: JobState) -> None:
    job, long_ago = await in_state(engine, state), time.time() - KEEP_S - 60
    (engine.spool / f"{job.id}-0.media").write_bytes(b"x")
    for name in ("input-old", "input-new"):
        (engine.spool / name).write_bytes(b"xx")
    os.utime(engine.spool / "input-old", (long_ago, long_ago))
    found = await list_leftovers(engine.spool.parent, engine.ledger, KEEP_S)
    before = left(engine)
    await tidied(engine)
    assert {each.path.name for each in found} == before - left(engine)
    # A plan from before may need what was given for it.
    assert ("input-old" in {each.path.name for each in found}) == (state is not _S.PLANNED)


async def test_previews_are_left_over_when_they_are_old(engine: Engine) -> None:
    previews, now_s = engine.state / "previews", time.time()
    previews.mkdir()
    for name, age_s in (("old.jpg", KEEP_S + 60), ("young.jpg", KEEP_S - 60)):
        (previews / name).write_bytes(b"xxx")
        os.utime(previews / name, (now_s - age_s,) * 2)
    assert await list_leftovers(engine.state, engine.ledger, KEEP_S) == [
        Leftover(path=previews / "old.jpg", what="old previews", size_bytes=3)
    ]


async def test_what_is_gone_before_it_is_measured_is_not_left_over(engine: Engine) -> None:
    job = await in_state(engine, _S.DONE)
    kept, gone = (engine.spool / f"{job.id}-{index}.media" for index in range(2))
    kept.write_bytes(b"xx")
    gone.symlink_to(engine.spool / "nothing")  # listed, and not there to be looked at
    assert await list_leftovers(engine.state, engine.ledger, KEEP_S) == [
        Leftover(path=kept, what="spool files of ended jobs", size_bytes=2)
    ]


async def test_the_ledger_is_asked_for_many_leftovers_at_a_time(engine: Engine) -> None:
    job, long_ago = await in_state(engine, _S.DONE), time.time() - KEEP_S - 60
    for number in range(FILES_AT_ONCE):
        path = engine.spool / f"{job.id}-{number}.media"
        path.write_bytes(b"")
    last = engine.spool / "z"
    last.write_bytes(b"")
    os.utime(last, (long_ago, long_ago))
    engine.ledger.calls.clear()
    found = await list_leftovers(engine.state, engine.ledger, KEEP_S)
    assert (len(found), engine.ledger.calls.count("states")) == (FILES_AT_ONCE + 1, 2)
    assert (found[-1].path, found[-1].what) == (last, "old spool files")
    assert FILES_AT_ONCE == 500, "the ledger answers for so many in one statement"


async def test_what_a_start_would_still_tell_the_ledger_is_not_left_over(engine: Engine) -> None:
    answered, kept = await in_state(engine, _S.FAILED), await in_state(engine, _S.DONE)
    engine.answers.write(answered.id, "token", finished())
    engine.write_ahead.keep(kept, [])
    for job in (answered, kept):
        (engine.spool / f"{job.id}-0.inline").write_bytes(b"x")
    assert await list_leftovers(engine.spool.parent, engine.ledger, KEEP_S) == []


async def test_what_a_courier_still_holds_is_not_left_over(engine: Engine) -> None:
    """Another machine has called the job unknown, a person has settled it, and the disk is full here."""
    job = await in_state(engine, JobState.FAILED)
    with engine.answers.expect(job.id):
        assert await list_leftovers(engine.state, engine.ledger, KEEP_S) == []
    (engine.spool / f"{job.id}-courier.lock").touch()
    [leftover] = await list_leftovers(engine.state, engine.ledger, KEEP_S)
    assert leftover.path.name == f"{job.id}-courier.lock"


async def test_what_cannot_be_taken_up_yet_is_not_tidied_away(engine: Engine) -> None:
    """Of one job the answer cannot be read now, of another a courier is still writing it; both rows have ended."""
    unread, awaited, ended = [await in_state(engine, _S.FAILED) for _ in range(3)]
    for job in (unread, awaited, ended):
        (engine.spool / f"{job.id}-0.inline").write_bytes(jpeg())
    path = engine.spool / f"{unread.id}-answer.json"
    engine.answers.write(unread.id, "token", finished())
    aside = path.rename(path.with_name("aside"))
    path.symlink_to(path.name)
    with engine.answers.expect(awaited.id):
        await engine.clock.play(tidy_after(engine.runner.catch_up, engine.spool, engine.ledger, engine.clock, KEEP_S))
        aside.replace(path)
        kept = {f"{job.id}-0.inline" for job in (unread, awaited)}
        assert left(engine) == {*kept, path.name, f"{awaited.id}-courier.lock"}


async def test_ends_kept_aside_are_written_before_the_spool_is_tidied(engine: Engine) -> None:
    job = await in_state(engine, _S.STORING)
    engine.write_ahead.keep(carried(job, _S.DONE), [])
    (engine.spool / f"{job.id}-0.media").write_bytes(b"x")
    engine.ledger.fail("save")
    tidying_up = tidy_after(engine.runner.catch_up, engine.spool, engine.ledger, engine.clock, KEEP_S)
    await engine.clock.play(tidying_up)
    assert (await engine.row(job)).state is _S.DONE
    assert left(engine) == set()
    assert engine.clock.pauses_s == [TRY_AGAIN_S]


def give(engine: Engine, name: str, before: datetime, by_s: float = 0.0) -> Path:
    path = engine.spool / name
    path.write_bytes(b"x")
    os.utime(path, (before.timestamp() - by_s,) * 2)
    return path


@pytest.mark.parametrize(("before_s", "is_before"), [(1000.0, False), (1000.5, True)])
def test_what_was_written_at_that_very_time_is_not_from_before(
    tmp_path: Path, before_s: float, is_before: bool
) -> None:
    path = tmp_path / "a"
    path.touch()
    os.utime(path, (1000.0, 1000.0))
    assert _is_from_before(path, before_s) is is_before


async def test_given_media_stay_for_a_day_and_nothing_else_is_touched(engine: Engine) -> None:
    now = datetime.now(UTC)
    give(engine, "input-old", now, KEEP_INPUTS_S + 60)
    give(engine, "another-old", now, KEEP_INPUTS_S + 60)
    give(engine, "input-young", now, KEEP_INPUTS_S - 60)
    (engine.spool / "input-folder").mkdir()
    os.utime(engine.spool / "input-folder", (0, 0))
    await remove_old_inputs(engine.spool, engine.ledger)
    assert left(engine) == {"another-old", "input-folder", "input-young"}
    assert KEEP_INPUTS_S == 24 * 3600


async def test_what_a_plan_may_need_stays_however_long_its_line_is(engine: Engine) -> None:
    job = await in_state(engine, _S.PLANNED)
    needed = give(engine, f"input-{'1' * 64}", job.created_at, KEEP_INPUTS_S - 60)
    give(engine, f"input-{'2' * 64}", job.created_at, KEEP_INPUTS_S + 60)
    await remove_old_inputs(engine.spool, engine.ledger)
    assert left(engine) == {needed.name}
    assert await list_leftovers(engine.spool.parent, engine.ledger, KEEP_INPUTS_S) == []
    await engine.clock.play(tidy_spool(engine.spool, engine.ledger, engine.clock, KEEP_INPUTS_S))
    assert left(engine) == {needed.name}
    for step in (_S.SUBMITTING, _S.RENDERING):  # it was sent with what it needs
        job = await engine.ledger.save(job, carried(job, step))
    [leftover] = await list_leftovers(engine.spool.parent, engine.ledger, KEEP_INPUTS_S)
    assert leftover.path == needed
    await remove_old_inputs(engine.spool, engine.ledger)
    assert left(engine) == set()


async def test_what_a_plan_of_the_sandbox_may_need_stays_too(engine: Engine) -> None:
    job = await engine.new(sandbox=True)
    needed = give(engine, f"input-{'1' * 64}", job.created_at, KEEP_INPUTS_S - 60)
    give(engine, f"input-{'2' * 64}", job.created_at, KEEP_INPUTS_S + 60)
    await remove_old_inputs(engine.spool, engine.ledger)
    assert left(engine) == {needed.name}


async def test_nothing_given_goes_while_nobody_knows_the_plans(engine: Engine) -> None:
    given = give(engine, "input-old", datetime.now(UTC), KEEP_INPUTS_S + 60)
    engine.ledger.fail("count_jobs")
    with pytest.raises(LedgerError):
        await remove_old_inputs(engine.spool, engine.ledger)
    assert left(engine) == {given.name}
