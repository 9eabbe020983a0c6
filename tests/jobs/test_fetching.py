"""Outputs that came inside an answer: from this spool, from where machines share them, and who may call them lost."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ring_mcp import telemetry
from ring_mcp.domain import Failure, Job, JobState, MediaFile, Output
from ring_mcp.errors import LocalPolicy, ProviderBadReply, StorageError, StorageRefused
from ring_mcp.jobs.fetching import OnlyCopyGone
from ring_mcp.jobs.outcomes import Park, Pause
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.storing import LET_GO_AFTER_S, NOTHING_IS_LOST_FOR_S
from ring_mcp.media.decoding import Decoder
from ring_mcp.media.natives import Natives
from ring_mcp.providers.base import Downloaded, Finished
from tests.fake_clock import LIMIT_S, FakeClock
from tests.jobs.engine import Engine, clip_plan, engine_on, new_id, started_engine
from tests.jobs.scripted_provider import FILES, ScriptedProvider, finished, jpeg
from tests.jobs.shared_folder import SharedFolder
from tests.ledger_samples import carried
from tests.media_bytes import mp4

AWAY = StorageError("the bucket is away")


@pytest.fixture
def place(tmp_path: Path) -> SharedFolder:
    return SharedFolder(tmp_path / "shared")


@pytest.fixture
async def mine(tmp_path: Path, clock: FakeClock, place: SharedFolder) -> AsyncIterator[Engine]:
    """The machine that got the answer."""
    async with started_engine(tmp_path / "mine", clock, shared=place) as engine:
        engine.pictures.answers_with_result = True
        yield engine


@pytest.fixture
async def theirs(mine: Engine, tmp_path: Path, clock: FakeClock, place: SharedFolder) -> AsyncIterator[Engine]:
    """Another machine, with a state folder of its own, at the same ledger."""
    engine = engine_on(mine.ledger, clock, tmp_path / "theirs", shared=place)
    engine.pictures.answers_with_result = True
    yield engine
    await engine.sharing.aclose()


async def answered(mine: Engine, pictures: int = 1) -> JobRecord:
    """The record of a job whose pictures came inside its answer, which lies in the spool of this machine."""
    job_id = new_id()
    outputs = tuple(Output(spool_path=f"{job_id}-{index}.inline") for index in range(pictures))
    for output in outputs:
        (mine.spool / (output.spool_path or "")).write_bytes(jpeg())
    job = await mine.new(id=job_id)
    job = await mine.ledger.save(job, carried(job, JobState.SUBMITTING))
    mine.answers.write(job.id, job.attempt_token or "", Finished(outputs=outputs))
    return mine.record(await mine.ledger.save(job, carried(job, JobState.STORING, outputs=outputs)))


async def made(engine: Engine, *, clip: bool = False) -> Job:
    """A job whose one picture, or clip, lies at an address of its provider's."""
    job = await engine.new(clip_plan() if clip else None)
    job = await engine.ledger.save(job, carried(job, JobState.SUBMITTING))
    outputs = finished(ending="mp4" if clip else "jpg").outputs
    saved: Job = await engine.ledger.save(job, carried(job, JobState.STORING, outputs=outputs))
    return saved


def picture(engine: Engine, record: JobRecord, index: int = 0) -> Path:
    return engine.spool / f"{record.job.id}-{index}.inline"


def left(engine: Engine) -> list[str]:
    return sorted(path.name for path in engine.spool.iterdir())


async def test_a_picture_is_taken_from_where_it_is_shared(mine: Engine, theirs: Engine, place: SharedFolder) -> None:
    record = theirs.record((await answered(mine)).job)
    await mine.sharing.lay_down_answer(record.job.id)
    assert await theirs.steps.advance(record, theirs.clock.now(), 0) is None
    await theirs.sharing.aclose()
    assert (record.job.state, theirs.pictures.fetched) == (JobState.DONE, [])
    assert (left(theirs), place.names()) == ([], []), "it goes with its job"


async def test_the_machine_that_has_it_asks_nobody(mine: Engine, place: SharedFolder) -> None:
    record = await answered(mine)
    place.trouble = AWAY
    assert await mine.storing.store(record, 0) is None
    assert record.job.state is JobState.DONE
    assert place.asked == []
    assert left(mine) == [], "the answer goes with its picture"


async def test_whatever_an_answer_held_is_handed_out_at_once_with_a_warning(mine: Engine) -> None:
    record = await answered(mine)
    picture(mine, record).write_bytes(b"<html>no picture</html>")
    assert await mine.storing.store(record, 0) is None
    (asset,) = record.job.assets
    assert (record.job.state, asset.size_bytes) == (JobState.DONE, 23)
    assert "it is kept as it came" in record.job.warnings[0]


async def test_while_the_storage_is_away_it_is_tried_again(mine: Engine, theirs: Engine, place: SharedFolder) -> None:
    record = theirs.record((await answered(mine)).job)
    place.trouble = AWAY
    assert isinstance(await theirs.storing.store(record, 0), Pause)
    assert record.job.failure is not None
    assert (record.job.failure.code, record.job.failure.billed) == ("storage_failed", "yes")


@pytest.mark.parametrize("trouble", [None, AWAY, StorageRefused("no rights")])
async def test_another_machine_never_calls_it_lost(
    mine: Engine, theirs: Engine, place: SharedFolder, clock: FakeClock, trouble: StorageError | None
) -> None:
    record = theirs.record((await answered(mine)).job)
    place.trouble = trouble
    for tries in range(20):
        assert isinstance(await theirs.storing.store(record, tries), Pause | Park)
        clock.advance(24 * 3600)
    waiting = record.job
    assert (waiting.state, waiting.outputs[0].lost_because) == (JobState.STORING, None)
    place.trouble = None
    await mine.sharing.lay_down_answer(record.job.id)
    assert await theirs.storing.store(record, 0) is None
    assert record.job.state is JobState.DONE


async def test_the_machine_that_got_it_calls_it_lost_after_a_while(
    mine: Engine, clock: FakeClock, place: SharedFolder
) -> None:
    record = await answered(mine)
    picture(mine, record).unlink()
    assert isinstance(await mine.storing.store(record, 0), Pause)
    clock.advance(LET_GO_AFTER_S - 1)
    assert isinstance(await mine.storing.store(record, 1), Pause), "somebody may be restoring it"
    assert record.job.state is JobState.STORING
    clock.advance(1)
    assert await mine.storing.store(record, 2) is None
    assert (record.job.state, record.job.settled_usd) == (JobState.EXPIRED, record.job.reserved_usd)
    assert record.job.failure is not None
    assert (record.job.failure.billed, "gone from the spool" in record.job.failure.message) == ("yes", True)


async def test_it_is_not_lost_while_the_storage_cannot_say_so(
    mine: Engine, clock: FakeClock, place: SharedFolder
) -> None:
    record = await answered(mine)
    await mine.sharing.lay_down_answer(record.job.id)
    picture(mine, record).unlink()
    place.trouble = AWAY
    for tries in range(20):
        assert isinstance(await mine.storing.store(record, tries), Pause | Park)
        clock.advance(3600)
    place.trouble = None
    assert await mine.storing.store(record, 0) is None
    assert record.job.state is JobState.DONE


async def test_what_was_gone_before_a_start_is_not_lost_soon_after_it(mine: Engine, clock: FakeClock) -> None:
    """Somebody has repaired the disk meanwhile, and it comes a moment later than the server."""
    record = await answered(mine)
    picture(mine, record).unlink()
    assert isinstance(await mine.storing.store(record, 0), Pause)
    clock.advance(LET_GO_AFTER_S)
    after = engine_on(mine.ledger, clock, mine.state)
    again = after.record(await after.row(record.job))
    assert NOTHING_IS_LOST_FOR_S == 60.0
    clock.advance(NOTHING_IS_LOST_FOR_S - 1)
    assert isinstance(await after.storing.store(again, 0), Pause | Park)
    picture(mine, record).write_bytes(jpeg())
    assert await after.storing.store(again, 1) is None
    assert again.job.state is JobState.DONE


async def test_what_is_gone_a_minute_after_a_start_is_lost(mine: Engine, clock: FakeClock) -> None:
    record = await answered(mine)
    picture(mine, record).unlink()
    assert isinstance(await mine.storing.store(record, 0), Pause)
    clock.advance(LET_GO_AFTER_S)
    after = engine_on(mine.ledger, clock, mine.state)
    again = after.record(await after.row(record.job))
    clock.advance(NOTHING_IS_LOST_FOR_S)
    assert await after.storing.store(again, 0) is None
    assert again.job.state is JobState.EXPIRED


async def test_a_clock_that_is_set_loses_no_picture(mine: Engine, clock: FakeClock) -> None:
    clock.advance(LET_GO_AFTER_S)
    record = await answered(mine)
    picture(mine, record).unlink()
    assert isinstance(await mine.storing.store(record, 0), Pause)
    clock.set_by(LET_GO_AFTER_S)
    assert isinstance(await mine.storing.store(record, 1), Pause)


async def test_a_lost_picture_does_not_take_the_others_along(mine: Engine, clock: FakeClock) -> None:
    record = await answered(mine, 2)
    picture(mine, record, 0).unlink()
    assert isinstance(await mine.storing.store(record, 0), Pause)
    assert [asset.index for asset in record.job.assets] == [1]
    clock.advance(LET_GO_AFTER_S)
    assert await mine.storing.store(record, 1) is None
    assert record.job.state is JobState.DONE
    assert [output.lost_because is None for output in record.job.outputs] == [False, True]
    assert "output 1 of 2 is lost" in record.job.warnings[0]


async def test_a_lost_picture_takes_none_along_that_lies_there(mine: Engine, clock: FakeClock) -> None:
    """That one cannot be stored as it is, and somebody may restore it."""
    record = await answered(mine, 2)
    picture(mine, record, 0).unlink()
    picture(mine, record, 1).write_bytes(b"")
    for tries in range(3):
        assert isinstance(await mine.storing.store(record, tries), Pause | Park)
        clock.advance(LET_GO_AFTER_S)
    assert record.job.state is JobState.STORING
    assert [output.lost_because for output in record.job.outputs] == [None, None]


async def test_what_the_errors_of_a_missing_file_say(mine: Engine, theirs: Engine) -> None:
    record = await answered(mine)
    picture(mine, record).unlink()
    with pytest.raises(OnlyCopyGone, match="gone from the spool of the machine that got it") as gone:
        await mine.storing._fetching.fetch(record.job, 0)
    assert (gone.value.billed, "Restore the spool folder" in gone.value.next_action) == ("yes", True)
    with pytest.raises(LocalPolicy, match="is not in the spool of this machine, nor shared by another") as elsewhere:
        await theirs.storing._fetching.fetch(record.job, 0)
    assert (elsewhere.value.billed, "the machine that made the request" in elsewhere.value.next_action) == ("yes", True)


async def test_the_path_in_an_older_row_is_a_name_in_this_spool(mine: Engine) -> None:
    job_id = new_id()
    (mine.spool / f"{job_id}-0.inline").write_bytes(jpeg())
    job = await mine.new(id=job_id)
    job = await mine.ledger.save(job, carried(job, JobState.SUBMITTING))
    older = (Output(spool_path=f"/elsewhere/spool/{job_id}-0.inline"),)
    record = mine.record(await mine.ledger.save(job, carried(job, JobState.STORING, outputs=older)))
    assert await mine.storing.store(record, 0) is None
    assert (record.job.state, left(mine)) == (JobState.DONE, [])


async def test_two_processes_in_one_folder_never_write_into_one_file(
    mine: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    """One was only paused: it goes on with its download of a job that another one has by now."""
    job = await made(mine)
    other = engine_on(mine.ledger, clock, mine.state)
    whole, is_half_way = jpeg(), asyncio.Event()

    class Paused(ScriptedProvider):
        async def download(self, output: Output, path: Path) -> Downloaded:
            with path.open("wb") as file:
                file.write(whole[:10])
                file.flush()
                is_half_way.set()
                await go_on.wait()
                file.write(whole[10:])
            return Downloaded(size_bytes=len(whole), sha256=hashlib.sha256(whole).hexdigest())

    go_on, paused = asyncio.Event(), engine_on(mine.ledger, clock, mine.state, pictures=Paused())
    late = asyncio.create_task(paused.storing._fetching.fetch(job, 0))
    async with asyncio.timeout(LIMIT_S):
        await is_half_way.wait()
        media = await other.storing._fetching.fetch(job, 0)
        go_on.set()
        await late
    assert media.path.read_bytes() == whole
    assert left(mine) == [media.path.name]


async def test_what_killed_downloads_left_goes_when_their_job_has_ended(mine: Engine) -> None:
    """The process that ends a job is seldom the last to start; no start would clear up for months."""
    job = await made(mine)
    for number in range(3):  # of three kills; a fourth download has a file of its own beside them
        (mine.spool / f"{job.id}-0.{number}.part").write_bytes(b"half")
    record = mine.record(job)
    assert await mine.storing.store(record, 0) is None
    await mine.storing.leave(record)
    assert (record.job.state, left(mine)) == (JobState.DONE, [])


async def test_after_very_many_kills_a_download_goes_on_all_the_same(mine: Engine) -> None:
    job = await made(mine)
    parts = [f"{job.id}-0.{number}.part" for number in range(16)]
    for part in parts:
        (mine.spool / part).write_bytes(b"half")
    whole = (await mine.storing._fetching.fetch(job, 0)).path
    assert whole.is_file()
    assert left(mine) == sorted([*parts[:-1], whole.name]), "no more lie there than are looked for at the end"


@pytest.mark.parametrize("content", [b"<html>sorry</html>", jpeg()[:100], b""])
async def test_what_is_no_picture_is_fetched_anew(mine: Engine, content: bytes) -> None:
    job = await made(mine)
    mine.pictures.files += [content]
    with pytest.raises(ProviderBadReply):
        await mine.storing._fetching.fetch(job, 0)
    # Of a picture that was cut off somebody may be glad, if nothing better comes.
    assert left(mine) == ([f"{job.id}-0.refused"] if content[:1] == b"\xff" else [])
    media = await mine.storing._fetching.fetch(job, 0)
    assert media.path.read_bytes() == jpeg()
    assert (media.size_bytes, media.sha256) == (len(jpeg()), hashlib.sha256(jpeg()).hexdigest())
    assert len(mine.pictures.fetched) == 2


async def test_what_came_often_as_no_picture_is_taken_as_it_is(mine: Engine) -> None:
    job = await made(mine)
    often = Failure(code=ProviderBadReply.code, message="cut", billed="yes", seen=100)
    mine.pictures.files += [jpeg()[:100]]
    media = await mine.storing._fetching.fetch(replace(job, failure=often), 0)
    assert (media.size_bytes, (media.doubt or "").endswith("it is kept as it came")) == (100, True)


@pytest.mark.parametrize(("is_cut", "tries"), [(False, 6), (True, 12)])
async def test_a_clip_that_is_cut_is_asked_for_more_often(mine: Engine, is_cut: bool, tries: int) -> None:
    """What is no clip at all will be none the next time; one that breaks off on its way may come whole."""
    job = await made(mine, clip=True)
    mine.clips.files += [FILES["mp4"][:-100] if is_cut else bytes(99)] * 2
    trouble = Failure(code=ProviderBadReply.code, message="cut", billed="yes", seen=tries - 1)
    with pytest.raises(ProviderBadReply):
        await mine.storing._fetching.fetch(replace(job, failure=trouble), 0)
    often = trouble.model_copy(update={"seen": tries})
    media = await mine.storing._fetching.fetch(replace(job, failure=often), 0)
    assert "it is kept as it came" in (media.doubt or "")


async def test_a_clip_in_place_of_a_picture_is_none(mine: Engine) -> None:
    job = await made(mine)
    mine.pictures.files += [mp4()]
    with pytest.raises(ProviderBadReply, match="MP4"):
        await mine.storing._fetching.fetch(job, 0)


async def test_an_only_copy_is_never_thrown_away(mine: Engine) -> None:
    record = await answered(mine)
    picture(mine, record).write_bytes(b"")
    with pytest.raises(ProviderBadReply):
        await mine.storing._fetching.fetch(record.job, 0)
    assert picture(mine, record).exists()


async def test_what_somebody_tidied_up_meanwhile_was_no_picture_either(mine: Engine) -> None:
    job = await made(mine)

    class Tidying:
        async def run(self, look: object) -> None:
            mine.storing._fetching.path_of(job, 0).unlink()
            raise ProviderBadReply("no picture")

    decoder: Any = Tidying()
    mine.storing._fetching._decoder = decoder
    with pytest.raises(ProviderBadReply):
        await mine.storing._fetching.fetch(job, 0)


async def test_a_machine_that_never_had_the_job_makes_its_spool(mine: Engine, theirs: Engine) -> None:
    job = await made(mine)
    shutil.rmtree(theirs.state)
    assert (await theirs.storing._fetching.fetch(job, 0)).path.read_bytes() == jpeg()
    assert theirs.spool.stat().st_mode & 0o777 == 0o700


async def test_a_download_is_nobody_elses_and_leaves_nothing_when_it_fails(mine: Engine, clock: FakeClock) -> None:
    modes: list[int] = []

    class Full(ScriptedProvider):
        async def download(self, output: Output, path: Path) -> Downloaded:
            modes.append(path.stat().st_mode & 0o777)
            raise OSError(28, "No space left on device")

    job = await made(mine)
    engine = engine_on(mine.ledger, clock, mine.state, pictures=Full())
    with pytest.raises(StorageError) as caught:
        await engine.storing._fetching.fetch(job, 0)
    assert caught.value.message == f"the spool folder {mine.spool} cannot be written: No space left on device"
    assert (modes, left(mine)) == ([0o600], [])


async def test_a_spool_file_that_cannot_be_read_is_told_as_such(mine: Engine) -> None:
    job = await made(mine)
    mine.storing._fetching.path_of(job, 0).mkdir()
    with pytest.raises(StorageError, match=r"^the spool file cannot be read: "):
        await mine.storing._fetching.fetch(job, 0)


class HeldDecoder:
    """It is told what to look at, and comes to it when it is let go."""

    def __init__(self, decoder: Decoder, told: list[str]) -> None:
        self._decoder = decoder
        self._told = told
        self.let_go = asyncio.Event()

    async def run(self, work: Callable[[Natives], MediaFile]) -> MediaFile:
        self._told.append("look")
        await self.let_go.wait()
        return await self._decoder.run(work)


async def test_a_preview_waits_in_line_while_its_picture_is_measured(mine: Engine) -> None:
    job, told, begun = await made(mine), list[str](), asyncio.Event()
    fetching = mine.storing._fetching
    held = HeldDecoder(fetching._decoder, told)
    fetching._decoder = held  # type: ignore[assignment]

    def begin() -> None:
        told.append(f"beside, of {mine.spool.joinpath(f'{job.id}-0.media').stat().st_size} bytes")
        begun.set()

    looking = asyncio.create_task(fetching.fetch(job, 0, beside=begin))
    async with asyncio.timeout(LIMIT_S):
        await begun.wait()
        held.let_go.set()
        media = await looking
    assert told == ["look", f"beside, of {media.size_bytes} bytes"]


async def test_a_longer_copy_that_lies_aside_has_the_preview(mine: Engine) -> None:
    often = Failure(code=ProviderBadReply.code, message="cut", billed="yes", seen=100)
    job, whole = replace(await made(mine, clip=True), failure=often), FILES["mp4"]
    path = mine.spool / f"{job.id}-0.media"
    path.write_bytes(whole[:-200])
    path.with_suffix(".refused").write_bytes(whole[:-100])
    shown = list[int]()
    media = await mine.storing._fetching.fetch(job, 0, beside=lambda: shown.append(path.stat().st_size))
    assert (shown[-1], media.size_bytes) == (len(whole) - 100, len(whole) - 100)


async def test_a_download_is_a_step_of_its_job(mine: Engine) -> None:
    asked: list[str] = []

    class Tracer:
        def span(self, name: str, *_: object, is_served: bool) -> Any:
            asked.append(name)
            return telemetry.NOTHING

    job = await made(mine)
    tracer: Any = Tracer()
    with telemetry.trace(tracer):
        await mine.storing._fetching.fetch(job, 0)
    assert asked == [f"download {job.plan.model}"]
