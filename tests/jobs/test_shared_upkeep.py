"""What machines share, looked after: laid down again after an outage, gone when nobody needs it, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.domain import TERMINAL, Job, JobState, Output
from ring_mcp.errors import StorageError
from ring_mcp.jobs.outcomes import resolve_by_hand
from ring_mcp.jobs.shared_names import answer_name, input_name
from ring_mcp.jobs.shared_upkeep import INPUTS_ARE_OLD_AFTER_S, LAY_DOWN_EVERY_S, SWEEP_EVERY_S, SharedUpkeep
from ring_mcp.providers.base import Finished
from tests.fake_clock import LIMIT_S, FakeClock
from tests.jobs.engine import Engine, new_id, started_engine
from tests.jobs.shared_folder import PAGE, SharedFolder
from tests.jobs.test_tidying import in_state
from tests.ledger_samples import carried

AWAY = StorageError("the bucket is away")
SHA256 = "1" * 64
_S = JobState


@pytest.fixture
def place(tmp_path: Path) -> SharedFolder:
    return SharedFolder(tmp_path / "shared")


@pytest.fixture
async def engine(tmp_path: Path, clock: FakeClock, place: SharedFolder) -> AsyncIterator[Engine]:
    async with started_engine(tmp_path / "state", clock, shared=place) as engine:
        yield engine


@pytest.fixture
def upkeep(engine: Engine, place: SharedFolder, clock: FakeClock) -> SharedUpkeep:
    def is_driven(job_id: str) -> bool:
        return any(record.job.id == job_id for record in engine.runner.records)

    late = engine.steps.apply_shared_answer
    return SharedUpkeep(place, engine.sharing, engine.answers, engine.ledger, late, is_driven, clock)


def left(engine: Engine) -> list[str]:
    return sorted(path.name for path in engine.spool.iterdir())


def answer_of(job_id: str) -> Finished:
    return Finished(outputs=(Output(spool_path=f"{job_id}-0.inline"),))


def came_here(engine: Engine, job: Job) -> list[str]:
    """What this machine got for the job: the names of its files."""
    (engine.spool / f"{job.id}-0.inline").write_bytes(b"x")
    engine.answers.write(job.id, job.attempt_token or "", answer_of(job.id))
    return [f"{job.id}-0.inline", answer_name(job.id)]


async def share_answer(engine: Engine, job: Job) -> None:
    """As another machine does it."""
    came_here(engine, job)
    await engine.sharing.lay_down_answer(job.id)
    for path in engine.spool.iterdir():
        path.unlink()


@pytest.mark.parametrize("state", list(JobState))
async def test_what_an_open_jobs_machine_has_alone_is_shared_again(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep, state: JobState
) -> None:
    job = await in_state(engine, state)
    names = came_here(engine, job)
    await upkeep.look_after_own()
    assert place.names() == ([] if state in TERMINAL else names)
    assert left(engine) == ([] if state in TERMINAL else names), "another machine has ended it"
    place.asked.clear()
    await upkeep.look_after_own()
    assert [what for what, _ in place.asked if what == "share"] == [], "what is there is not shared again"


@pytest.mark.parametrize("state", list(JobState))
async def test_what_callers_gave_along_is_shared_when_the_storage_is_back(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep, state: JobState
) -> None:
    job, unknown = await in_state(engine, state), new_id()
    owed = sorted([input_name(job.id, SHA256), input_name(unknown, SHA256)])
    for name in owed:
        (engine.spool / name).write_bytes(b"x")
    place.trouble = AWAY
    await upkeep._look_after_owed()
    assert left(engine) == [name for name in owed if state not in TERMINAL or unknown in name]
    place.trouble = None
    await upkeep.look_after_own()
    assert left(engine) == [input_name(unknown, SHA256)], "it may be about to be opened"
    assert place.names() == ([] if state in TERMINAL else [input_name(job.id, SHA256)])


async def test_a_storage_that_is_away_is_asked_once_a_round(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep
) -> None:
    for _ in range(3):
        job = await in_state(engine, _S.PLANNED)
        (engine.spool / input_name(job.id, SHA256)).write_bytes(b"x")
    place.trouble = AWAY
    await upkeep.look_after_own()
    assert len(place.asked) == 1


async def test_what_a_driver_here_or_a_late_answer_needs_stays(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep, clock: FakeClock
) -> None:
    ended, unknown = await in_state(engine, _S.DONE), await in_state(engine, _S.UNKNOWN)
    unsent, sent_again = await engine.new(), await in_state(engine, _S.DONE)
    names = [*came_here(engine, ended), *came_here(engine, unknown), *came_here(engine, unsent)]
    names += came_here(engine, replace(sent_again, attempt_token="first"))
    await engine.ledger.save(unknown, resolve_by_hand(unknown, paid=True, now=clock.now()))
    await engine.ledger.save(unsent, carried(unsent, _S.FAILED, settled_usd=Decimal(0)))
    engine.runner._records[ended.id] = engine.record(ended)
    await upkeep.look_after_own()
    assert left(engine) == sorted(names)
    del engine.runner._records[ended.id]
    await upkeep.look_after_own()
    assert left(engine) == sorted(names[2:])
    assert place.names() == [], "of what has ended nothing is shared any more"


async def test_pictures_alone_go_with_a_job_that_was_sent(
    engine: Engine, upkeep: SharedUpkeep, clock: FakeClock
) -> None:
    """Of one that counts as never sent they may be the rest of an answer, which nobody knows of yet."""
    ended, unsent = await in_state(engine, _S.DONE), await engine.new()
    await engine.ledger.save(unsent, carried(unsent, _S.FAILED, settled_usd=Decimal(0)))
    for job in (ended, unsent):
        (engine.spool / f"{job.id}-0.inline").write_bytes(b"x")
    await upkeep.look_after_own()
    assert left(engine) == [f"{unsent.id}-0.inline"]


class TakesOne(SharedFolder):
    """Is away after the first file."""

    async def share(self, name: str, path: Path) -> None:
        await super().share(name, path)
        self.trouble = AWAY


async def test_a_storage_that_goes_away_half_way_is_asked_no_more(tmp_path: Path, clock: FakeClock) -> None:
    place = TakesOne(tmp_path / "shared")
    async with started_engine(tmp_path / "state", clock, shared=place) as engine:
        for _ in range(2):
            job = await in_state(engine, _S.PLANNED)
            for digit in "12":
                (engine.spool / input_name(job.id, digit * 64)).write_bytes(b"x")
        late = engine.steps.apply_shared_answer
        await SharedUpkeep(
            place, engine.sharing, engine.answers, engine.ledger, late, lambda _: False, clock
        ).look_after_own()
        assert [what for what, _ in place.asked] == ["share"] * 2
        assert len(left(engine)) == 3


async def test_what_is_there_is_found_behind_very_many_others(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep
) -> None:
    for number in range(PAGE):
        place.put(f"-{number:04}", b"x")
    job = await in_state(engine, _S.STORING)
    for name in came_here(engine, job):
        place.put(name, b"x")
    await upkeep.look_after_own()
    assert [what for what, _ in place.asked] == ["list"]


async def test_an_answer_that_cannot_be_read_keeps_no_other_back(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep
) -> None:
    ended = [await in_state(engine, _S.DONE) for _ in range(3)]
    for job in ended:
        (engine.spool / answer_name(job.id)).mkdir()
    names = came_here(engine, await in_state(engine, _S.UNKNOWN))
    await upkeep.look_after_own()
    assert place.names() == names


async def test_what_is_there_is_not_asked_for_job_by_job(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep
) -> None:
    jobs = [await in_state(engine, _S.STORING) for _ in range(20)]
    for job in jobs:
        came_here(engine, job)
    await upkeep.look_after_own()
    assert len(place.names()) == 40
    place.asked.clear()
    await upkeep.look_after_own()
    assert [what for what, _ in place.asked] == ["list"] * 2


async def test_the_ledger_is_asked_for_many_jobs_at_a_time(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep
) -> None:
    names = [name for _ in range(501) for name in [answer_name(new_id())]]
    jobs = [await in_state(engine, _S.STORING) for _ in range(2)]
    for name in (*names, *(answer_name(job.id) for job in jobs)):
        (engine.spool / name).write_bytes(b"{}")
    engine.ledger.calls.clear()
    await upkeep.look_after_own()
    assert engine.ledger.calls.count("states") == 2, "five hundred in one statement"
    assert place.names() == sorted(answer_name(job.id) for job in jobs)


async def test_a_picture_that_may_be_half_written_is_not_shared(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep
) -> None:
    written, half = await in_state(engine, _S.STORING), await in_state(engine, _S.SUBMITTING)
    for job in (written, half):
        (engine.spool / f"{job.id}-0.inline").write_bytes(b"x")
    await upkeep.look_after_own()
    assert place.names() == [f"{written.id}-0.inline"]


@pytest.mark.parametrize("state", [each for each in JobState if each is not _S.UNKNOWN])
async def test_shared_files_go_when_their_job_has_ended(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep, state: JobState
) -> None:
    job = await in_state(engine, state)
    names = sorted([f"{job.id}-0.inline", input_name(job.id, SHA256)])
    long_ago = engine.clock.now() - timedelta(days=1000)
    for name in names:
        place.put(name, b"x", long_ago)
    reads = engine.ledger.calls.count("get")
    await upkeep.sweep()
    assert engine.ledger.calls.count("get") == reads, "no answer is among them that the row would have to be read for"
    assert place.names() == ([] if state in TERMINAL else names), "however old they are"


@pytest.mark.parametrize("state", [_S.SUBMITTING, _S.RENDERING, _S.STORING])
async def test_the_shared_answer_of_an_open_job_is_left_to_its_driver(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep, state: JobState
) -> None:
    job = await in_state(engine, state)
    await share_answer(engine, job)
    names, reads = place.names(), engine.ledger.calls.count("get")
    await upkeep.sweep()
    assert engine.ledger.calls.count("get") == reads
    assert (await engine.row(job), place.names()) == (job, names)


async def test_of_jobs_of_another_ledger_only_old_inputs_go(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep, clock: FakeClock
) -> None:
    old, young = (clock.now() - timedelta(seconds=INPUTS_ARE_OLD_AFTER_S + late_s) for late_s in (1, -1))
    job_id, another = new_id(), new_id()
    for name in (f"{job_id}-0.inline", answer_name(job_id), input_name(job_id, SHA256), "something.else"):
        place.put(name, b"x", old)
    place.put(input_name(another, SHA256), b"x", young)
    assert INPUTS_ARE_OLD_AFTER_S == 24 * 3600.0
    await upkeep.sweep()
    left = [f"{job_id}-0.inline", answer_name(job_id), input_name(another, SHA256), "something.else"]
    assert place.names() == sorted(left)


async def test_all_pages_are_swept(engine: Engine, place: SharedFolder, upkeep: SharedUpkeep) -> None:
    for number in range(PAGE - 1):
        place.put(f"-{number:04}", b"x")
        place.put(f"z{number:04}", b"x")
    for _ in range(2):
        job = await in_state(engine, _S.DONE)
        for index in range(2):
            place.put(f"{job.id}-{index}.inline", b"x")
    await upkeep.sweep()
    assert len(place.names()) == 2 * (PAGE - 1)


@pytest.mark.parametrize("others", [0, PAGE - 1], ids=["on a page", "over two pages"])
@pytest.mark.parametrize("by_hand", [False, True])
async def test_an_answer_shared_too_late_is_brought_home(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep, clock: FakeClock, by_hand: bool, others: int
) -> None:
    for number in range(others):
        place.put(f"-{number:04}", b"x")
    job = await in_state(engine, _S.UNKNOWN)
    await share_answer(engine, job)
    if by_hand:
        job = await engine.ledger.save(job, resolve_by_hand(job, paid=False, now=clock.now()))
    names = place.names()
    await upkeep.sweep()
    row = await engine.row(job)
    assert (row.state, row.outputs) == (_S.STORING, answer_of(job.id).outputs)
    assert place.names() == names, "what it brings is still needed"


async def test_an_answer_to_another_attempt_changes_nothing_and_stays(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep
) -> None:
    job = await in_state(engine, _S.UNKNOWN)
    engine.answers.write(job.id, "another attempt", answer_of(job.id))
    await engine.sharing.lay_down_answer(job.id)
    await upkeep.sweep()
    assert (await engine.row(job)).state is _S.UNKNOWN
    assert place.names() == [answer_name(job.id)]


async def running(upkeep: SharedUpkeep, clock: FakeClock, rounds: int) -> None:
    task = asyncio.create_task(upkeep.run())
    async with asyncio.timeout(LIMIT_S):
        for _ in range(rounds):
            await clock.asleep()
            clock.advance(clock.next_wake_s or 0.0)
            await asyncio.sleep(0)
        await clock.asleep()
    task.cancel()


async def test_every_minute_files_are_laid_down_and_every_hour_swept(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep, clock: FakeClock
) -> None:
    rounds = round(SWEEP_EVERY_S / LAY_DOWN_EVERY_S)
    await running(upkeep, clock, 2 * rounds)
    assert place.asked == [("list", "first")] * 3
    assert set(clock.pauses_s) == {60.0}
    assert SWEEP_EVERY_S == 3600.0


async def test_an_error_of_ours_does_not_end_the_upkeep(
    engine: Engine, place: SharedFolder, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def break_down(*_: object) -> None:
        raise ZeroDivisionError

    await share_answer(engine, await in_state(engine, _S.UNKNOWN))
    upkeep = SharedUpkeep(place, engine.sharing, engine.answers, engine.ledger, break_down, lambda _: False, clock)
    await running(upkeep, clock, 1)
    assert caplog.text.count("internal error, shared files are looked after later") == 2
    assert clock.pauses_s == [LAY_DOWN_EVERY_S] * 2, "and the sweep was tried again"


async def test_an_outage_only_puts_it_off(
    engine: Engine, place: SharedFolder, upkeep: SharedUpkeep, clock: FakeClock
) -> None:
    job, ended = await in_state(engine, _S.STORING), await in_state(engine, _S.DONE)
    names = came_here(engine, job)
    place.put(f"{ended.id}-0.inline", b"x")
    place.trouble = AWAY
    task = asyncio.create_task(upkeep.run())
    async with asyncio.timeout(LIMIT_S):
        await clock.asleep()
        place.trouble = None
        engine.ledger.fail("states")
        clock.advance(LAY_DOWN_EVERY_S)
        await asyncio.sleep(0)
        await clock.asleep()
        assert place.names() == [f"{ended.id}-0.inline"]
        clock.advance(LAY_DOWN_EVERY_S)
        await asyncio.sleep(0)
        await clock.asleep()
    task.cancel()
    assert place.names() == names
