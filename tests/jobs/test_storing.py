"""The last leg of a job: fetched, measured, stored and recorded, each output by itself, whatever is in the way."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from PIL import Image, ImageStat

from ring_mcp import telemetry
from ring_mcp.domain import Job, JobState, MediaFile, MediaKind, Output, Thumbnail
from ring_mcp.errors import (
    JobExpired,
    LocalPolicy,
    MediaGone,
    MediaTooLarge,
    PrivateAddress,
    ProviderBadReply,
    ProviderError,
    ProviderUnavailable,
    StorageError,
    StorageRefused,
    StorageUnclear,
)
from ring_mcp.jobs.outcomes import Park, Pause, back_off_s, failure_of, slow_look_s
from ring_mcp.jobs.previews import PreviewMaker
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.rendering import (
    GONE_AFTER_S,
    LOOKS_BEFORE_GONE,
    TRIES_BEFORE_CUT_IS_TAKEN,
    TRIES_BEFORE_TAKEN,
    pause_after_gone_s,
)
from ring_mcp.jobs.storing import FRAME_WITHIN_S, LET_GO_AFTER_S, MEDIA_GONE_AFTER_S, NOTHING_IS_LOST_FOR_S
from ring_mcp.media.decoding import Decoder, Decoders
from ring_mcp.processes import open_decoders
from ring_mcp.providers.base import Downloaded, Finished, Running
from ring_mcp.storage.base import StoredFile
from tests.fake_clock import LIMIT_S, START, FakeClock, let_pass
from tests.jobs.engine import Engine, clip_plan, new_id, started_engine
from tests.jobs.scripted_provider import FILES, ScriptedProvider, jpeg
from tests.jobs.test_events import Traced
from tests.ledger_samples import PRICE_USD, carried, sample_asset, sample_plan
from tests.media.stand_ins import DIES, HANGS, standing_in

FIRST_PAUSE_S = 0.5
BILLED = Decimal("0.05")
AWAY = StorageError("the bucket is away")
EPOCH_MS = int(START.timestamp() * 1000)


async def storing_job(engine: Engine, *outputs: Output, **changes: Any) -> JobRecord:
    """The record of a job whose outputs can be fetched: one at an address, unless others are given."""
    plan = changes.get("plan", sample_plan())
    ending = "jpg" if plan.kind == "image" else "mp4"
    job = await engine.new(**changes)
    job = await engine.ledger.save(job, carried(job, JobState.SUBMITTING))
    found = outputs or (Output(url=f"https://made.example/0.{ending}"),)
    return engine.record(await engine.ledger.save(job, carried(job, JobState.STORING, outputs=found)))


def addresses(count: int) -> tuple[Output, ...]:
    return tuple(Output(url=f"https://made.example/{number}.jpg") for number in range(count))


def spooled(engine: Engine) -> list[str]:
    return sorted(path.name for path in engine.spool.iterdir())


async def test_a_picture_is_stored_measured_recorded_and_settled(engine: Engine, clock: FakeClock) -> None:
    record = await storing_job(engine, billed_usd=BILLED)
    clock.advance(4)
    assert await engine.storing.store(record, 0) is None
    job = await engine.row(record.job)
    assert (job.state, job.settled_usd, job.progress) == (JobState.DONE, BILLED, 100)
    assert (job.finished_at, job.due_at, job.failure, job.warnings) == (clock.now(), None, None, ())
    (asset,) = job.assets
    content = Path(asset.local_path or "").read_bytes()
    assert content == FILES["jpg"]
    assert (asset.size_bytes, asset.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (asset.index, asset.content_type, asset.width_px, asset.height_px) == (0, "image/jpeg", 64, 36)
    assert asset.content_credentials == "absent", "it was looked for them"
    assert asset.record_id == str(uuid.uuid5(uuid.UUID(job.id), "0"))
    assert asset.key.startswith(f"generated/image/{EPOCH_MS}-0-")
    assert asset.key.endswith(".jpg")
    (row,) = await engine.ledger.records("generated_images", [asset.record_id])
    assert (row["url"], row["jobId"], row["index"]) == (asset.url, job.id, 0)
    assert spooled(engine) == []


async def test_each_output_is_fetched_and_stored_in_steps_of_its_job(engine: Engine) -> None:
    record = await storing_job(engine, *addresses(2))
    tracer = Traced()
    with telemetry.trace(tracer):
        await engine.storing.store(record, 0)
    steps = ["download", "store", "download", "store", "settle"]
    assert [name for name, _, _ in tracer.asked] == [f"{step} {record.job.plan.model}" for step in steps]


async def test_storage_is_told_what_a_file_is(engine: Engine) -> None:
    record = await storing_job(engine)
    await engine.storing.store(record, 0)
    plan = record.job.plan
    expected = {"source": "xai", "model": plan.model, "purpose": "image", "jobId": record.job.id}
    assert engine.storage.told == [expected]


async def test_a_clip_has_a_key_of_its_mode_and_kind(engine: Engine) -> None:
    record = await storing_job(engine, plan=clip_plan())
    assert await engine.storing.store(record, 0) is None
    (asset,) = record.job.assets
    assert asset.key.startswith(f"generated/videos/video/draft/generate/{EPOCH_MS}-")
    assert (asset.content_type, asset.key[-4:]) == ("video/mp4", ".mp4")
    (row,) = await engine.ledger.records("generated_videos", [asset.record_id])
    assert (row["generationKind"], row["jobId"]) == ("generate", record.job.id)


async def test_outputs_are_stored_in_order_and_the_last_ends_the_job(engine: Engine) -> None:
    record = await storing_job(engine, *addresses(3))
    engine.pictures.files += [jpeg("red"), jpeg("green"), jpeg("blue")]
    assert await engine.storing.store(record, 0) is None
    assert engine.pictures.fetched == [output.url for output in addresses(3)]
    assert [asset.index for asset in record.job.assets] == [0, 1, 2]
    assert len({asset.sha256 for asset in record.job.assets}) == 3
    assert len(set(engine.storage.put_keys)) == 3
    assert len(await engine.ledger.records("generated_images", [a.record_id for a in record.job.assets])) == 3
    assert record.job.state is JobState.DONE
    assert spooled(engine) == []


async def test_what_is_stored_or_fetched_is_so_once(engine: Engine) -> None:
    record = await storing_job(engine, *addresses(2))
    engine.storage.troubles += [AWAY]
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    assert record.job.assets == ()
    engine.pictures.files += [ProviderUnavailable("503")]
    assert await engine.storing.store(record, 1) == Pause(2 * FIRST_PAUSE_S, failed=True)
    assert [asset.index for asset in (await engine.row(record.job)).assets] == [0]
    assert await engine.storing.store(record, 2) is None
    assert len(engine.pictures.fetched) == 3  # the first, the second in vain, the second
    first, again, second = engine.storage.put_keys
    assert first == again != second


async def test_a_restart_stores_the_file_that_lies_there(engine: Engine) -> None:
    record = await storing_job(engine)
    engine.storage.troubles += [AWAY]
    await engine.storing.store(record, 0)
    assert spooled(engine) == [f"{record.job.id}-0.media"]
    after = engine.record(await engine.row(record.job))
    assert await engine.storing.store(after, 0) is None
    assert len(engine.pictures.fetched) == 1
    assert len(set(engine.storage.put_keys)) == 1


@pytest.mark.parametrize("tries", [0, 1, 4, 50])
async def test_a_storage_that_is_away_is_tried_again_with_back_off(engine: Engine, tries: int) -> None:
    record = await storing_job(engine)
    engine.storage.troubles += [AWAY]
    assert await engine.storing.store(record, tries) == Pause(back_off_s(tries, FIRST_PAUSE_S), failed=True)
    job = await engine.row(record.job)
    assert job.state is JobState.STORING
    assert job.failure is not None
    assert (job.failure.code, job.failure.message) == ("storage_failed", "the bucket is away")
    assert (job.failure.billed, job.failure.retryable) == ("yes", True)
    assert "ring-job-get" in job.failure.next_action


async def test_the_same_trouble_is_written_once(engine: Engine) -> None:
    record = await storing_job(engine)
    engine.storage.troubles += [AWAY, StorageError(AWAY.message), StorageError("the bucket is full")]
    await engine.storing.store(record, 0)
    told = await engine.row(record.job)
    await engine.storing.store(record, 1)
    assert await engine.row(record.job) == told
    await engine.storing.store(record, 2)
    failure = (await engine.row(record.job)).failure
    assert failure is not None
    assert failure.message == "the bucket is full"
    await engine.storing.store(record, 3)
    done = await engine.row(record.job)
    assert (done.state, done.failure) == (JobState.DONE, None)


@pytest.mark.parametrize(
    ("error", "look_again_s"),
    [
        (StorageRefused("the token is wrong"), slow_look_s(0.0)),
        (StorageUnclear("it said yes, in HTML"), None),
    ],
)
async def test_a_storage_that_refuses_parks_the_job_until_somebody_has_changed_something(
    engine: Engine, error: StorageRefused, look_again_s: float | None
) -> None:
    record = await storing_job(engine)
    engine.storage.troubles += [error]
    parked = await engine.storing.store(record, 0)
    assert isinstance(parked, Park)
    assert (parked.failure.code, parked.failure.billed, parked.failure.retryable) == (error.code, "yes", False)
    assert parked.look_again_s == look_again_s
    assert await engine.storing.store(record, 0) is None


@pytest.mark.parametrize("error", [MediaTooLarge("900 MB"), PrivateAddress("10.0.0.1")])
async def test_a_rule_of_ours_parks_the_job_with_its_setting(engine: Engine, error: LocalPolicy) -> None:
    record = await storing_job(engine)
    engine.pictures.files += [error]
    parked = await engine.storing.store(record, 0)
    assert isinstance(parked, Park)
    assert (parked.failure.code, parked.failure.next_action) == (error.code, error.next_action)
    assert parked.look_again_s is not None
    assert record.job.outputs[0].lost_because is None


async def test_an_only_copy_is_lost_ten_minutes_after_and_a_minute_up(engine: Engine, clock: FakeClock) -> None:
    """Soon after a start a disk may not be there yet. ``test_fetching`` has what else may be in its way."""
    clock.advance(1000)
    inline, began_s = engine.spool / f"{new_id()}-0.inline", clock.monotonic()
    record = await storing_job(engine, Output(spool_path=inline.name))
    engine.answers.write(record.job.id, record.job.attempt_token or "", Finished(outputs=record.job.outputs))
    engine.storing._began_s = began_s
    assert isinstance(await engine.storing.store(record, 0), Pause)
    engine.storing._began_s = began_s + LET_GO_AFTER_S - NOTHING_IS_LOST_FOR_S + 0.5
    clock.advance(LET_GO_AFTER_S)
    assert isinstance(await engine.storing.store(record, 0), Pause), "the server has been up for less than a minute"
    clock.advance(0.5)
    assert await engine.storing.store(record, 0) is None
    assert record.job.state is JobState.EXPIRED
    assert NOTHING_IS_LOST_FOR_S == 60.0


async def test_what_cannot_be_stored_for_long_is_looked_at_slowly(engine: Engine, clock: FakeClock) -> None:
    record = await storing_job(engine)
    engine.storage.troubles += [AWAY] * 3
    await engine.storing.store(record, 0)
    clock.advance(LET_GO_AFTER_S)
    assert isinstance(await engine.storing.store(record, 9), Pause)
    assert LET_GO_AFTER_S == 600.0
    clock.advance(1)
    parked = await engine.storing.store(record, 9)
    assert isinstance(parked, Park)
    assert parked.look_again_s == slow_look_s(LET_GO_AFTER_S + 1)


@pytest.mark.parametrize("error", [ProviderUnavailable("503"), ProviderError("odd")])
async def test_a_provider_that_is_away_is_asked_again_however_often(engine: Engine, error: ProviderError) -> None:
    record = await storing_job(engine)
    engine.pictures.files += [error]
    assert await engine.storing.store(record, 100) == Pause(60.0, failed=True)
    assert record.job.outputs[0].lost_because is None


GONE = MediaGone("HTTP 404", http_status=404)


async def with_handle(engine: Engine, count: int = 1) -> JobRecord:
    """A job whose provider can be asked for fresh addresses."""
    return await storing_job(engine, *addresses(count), provider_request_id="request-7")


async def test_a_dead_address_is_asked_for_anew_from_the_second_time_on(engine: Engine) -> None:
    record = await with_handle(engine)
    engine.pictures.files += [GONE, GONE]
    fresh = Output(url="https://made.example/fresh.jpg")
    engine.pictures.looks += [Finished(outputs=(fresh,))]
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    assert engine.pictures.looked_for == []
    assert await engine.storing.store(record, 1) == Pause(2 * FIRST_PAUSE_S, failed=True)
    assert engine.pictures.looked_for == ["request-7"]
    assert (await engine.row(record.job)).outputs == (fresh,)
    assert await engine.storing.store(record, 2) is None
    assert engine.pictures.fetched[-1] == fresh.url


async def test_a_provider_that_is_away_has_said_nothing_of_an_address(engine: Engine) -> None:
    record = await with_handle(engine)
    engine.pictures.files += [GONE, GONE]
    engine.pictures.looks += [ProviderUnavailable("503")]
    await engine.storing.store(record, 0)
    assert await engine.storing.store(record, 1) == Pause(2 * FIRST_PAUSE_S, failed=True)
    assert record.job.failure is not None
    assert (record.job.failure.code, record.job.failure.billed) == ("provider_unavailable", "yes")
    assert record.job.outputs == addresses(1)


async def test_a_job_denied_for_hours_has_lost_what_is_missing(engine: Engine, clock: FakeClock) -> None:
    record = await with_handle(engine, 2)
    engine.pictures.files += [jpeg(), *[GONE] * 99]
    await engine.storing.store(record, 0)
    for seen in range(1, LOOKS_BEFORE_GONE):
        engine.pictures.looks += [JobExpired("no such job")]
        assert await engine.storing.store(record, seen) == Pause(pause_after_gone_s(seen, 5.0), failed=True)
    clock.advance(GONE_AFTER_S)
    engine.pictures.looks += [JobExpired("no such job")]
    assert await engine.storing.store(record, 1) is None
    job = await engine.row(record.job)
    assert (job.state, [asset.index for asset in job.assets]) == (JobState.DONE, [0])
    assert job.warnings == ("output 2 of 2 is lost: no such job",)


async def test_a_file_that_stays_gone_is_lost_after_days(engine: Engine, clock: FakeClock) -> None:
    record = await with_handle(engine)
    engine.pictures.files += [GONE] * 99
    for _ in range(LOOKS_BEFORE_GONE - 1):
        assert await engine.storing.store(record, 1) is not None
    clock.advance(MEDIA_GONE_AFTER_S)
    assert MEDIA_GONE_AFTER_S == 48 * 3600
    assert await engine.storing.store(record, 1) is None
    job = await engine.row(record.job)
    assert (job.state, job.settled_usd, job.assets) == (JobState.EXPIRED, PRICE_USD, ())
    assert job.failure is not None
    assert (job.failure.code, job.failure.billed) == ("expired", "yes")
    assert job.failure.message == f"output 1 of 1 is lost: {GONE.message}"
    assert job.failure.next_action == JobExpired.next_action


@pytest.mark.parametrize("error", [GONE, ProviderBadReply("an HTML page"), ProviderUnavailable("503")])
async def test_one_that_cannot_be_fetched_does_not_take_the_others_along(engine: Engine, error: ProviderError) -> None:
    record = await storing_job(engine, *addresses(2))
    engine.pictures.files += [error, jpeg()]
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    job = await engine.row(record.job)
    assert (job.state, [asset.index for asset in job.assets]) == (JobState.STORING, [1])
    assert await engine.storing.store(record, 1) is None
    assert sorted(asset.index for asset in record.job.assets) == [0, 1]


async def test_a_file_that_is_gone_however_often_may_come_back_in_days(engine: Engine, clock: FakeClock) -> None:
    record = await with_handle(engine)
    engine.pictures.files += [GONE] * 99
    await engine.storing.store(record, 1)
    clock.advance(MEDIA_GONE_AFTER_S - 1)
    for _ in range(2 * LOOKS_BEFORE_GONE):
        assert await engine.storing.store(record, 1) is not None


async def test_a_file_gone_twice_in_days_is_not_lost(engine: Engine, clock: FakeClock) -> None:
    record = await with_handle(engine)
    engine.pictures.files += [GONE] * 2
    await engine.storing.store(record, 1)
    clock.advance(MEDIA_GONE_AFTER_S)
    assert isinstance(await engine.storing.store(record, 1), Park), "the clock may have been set"
    assert record.job.outputs[0].lost_because is None


async def test_an_answer_that_lists_another_number_of_outputs_changes_nothing(engine: Engine) -> None:
    record = await with_handle(engine, 2)
    engine.pictures.files += [GONE] * 4
    engine.pictures.looks += [Finished(outputs=addresses(1))]
    await engine.storing.store(record, 0)
    await engine.storing.store(record, 1)
    assert record.job.outputs == addresses(2)


@pytest.mark.parametrize("answer", [Running(), Finished(outputs=addresses(1))], ids=["running", "the same"])
async def test_an_answer_without_a_fresh_address_is_not_written(engine: Engine, answer: Running | Finished) -> None:
    record = await with_handle(engine)
    engine.pictures.files += [GONE] * 2
    engine.pictures.looks += [answer]
    await engine.storing.store(record, 0)
    told = await engine.row(record.job)
    assert await engine.storing.store(record, 1) == Pause(2 * FIRST_PAUSE_S, failed=True)
    assert engine.pictures.looked_for == ["request-7"]
    assert await engine.row(record.job) == told


async def test_an_output_that_was_lost_is_not_asked_for_again(engine: Engine) -> None:
    lost = Output(url="https://made.example/0.jpg", lost_because="gone")
    record = await storing_job(engine, lost, *addresses(2)[1:])
    assert await engine.storing.store(record, 0) is None
    assert engine.pictures.fetched == [addresses(2)[1].url]


async def test_bytes_that_are_no_picture_are_thrown_away_and_asked_for_again(engine: Engine) -> None:
    record = await storing_job(engine)
    engine.pictures.files += [b"<html>not yet</html>", jpeg()]
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    assert spooled(engine) == []
    failure = (await engine.row(record.job)).failure
    assert failure is not None
    assert "HTML" in failure.message
    assert await engine.storing.store(record, 1) is None
    assert record.job.state is JobState.DONE


async def test_a_picture_where_a_clip_was_asked_for_is_not_taken(engine: Engine) -> None:
    record = await storing_job(engine, plan=clip_plan())
    engine.clips.files += [jpeg()]
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    assert engine.storage.put_keys == []


class BreaksOff(ScriptedProvider):
    """Its first download ends in the middle."""

    async def download(self, output: Output, path: Path) -> Downloaded:
        if not self.fetched:
            path.write_bytes(b"half of it")
            self.files.append(ProviderUnavailable("the connection broke"))
        return await super().download(output, path)


async def test_a_download_that_broke_off_is_no_file(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, pictures=BreaksOff()) as engine:
        record = await storing_job(engine)
        await engine.storing.store(record, 0)
        assert spooled(engine) == []
        assert await engine.storing.store(record, 1) is None
        assert record.job.state is JobState.DONE
        assert len(engine.pictures.fetched) == 2


async def test_a_spool_that_cannot_be_written_is_told_and_tried_again(engine: Engine) -> None:
    record = await storing_job(engine)
    engine.spool.rmdir()
    engine.spool.write_text("a file where the folder should be")
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    failure = (await engine.row(record.job)).failure
    assert failure is not None
    assert failure.message == f"the spool folder {engine.spool} cannot be written: File exists"
    assert (failure.code, failure.billed) == ("storage_failed", "yes")
    engine.spool.unlink()
    assert await engine.storing.store(record, 1) is None


async def test_a_spool_file_that_cannot_be_read_is_fetched_again(engine: Engine) -> None:
    record = await storing_job(engine)
    in_its_place = engine.spool / f"{record.job.id}-0.media"
    in_its_place.mkdir()
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    failure = (await engine.row(record.job)).failure
    assert failure is not None
    assert failure.message.startswith("the spool file cannot be read: ")
    assert (failure.code, failure.billed) == ("storage_failed", "yes")
    in_its_place.rmdir()
    assert await engine.storing.store(record, 1) is None
    assert record.job.state is JobState.DONE


async def test_a_job_that_began_on_another_machine_finds_a_spool(engine: Engine) -> None:
    record = await storing_job(engine)
    engine.spool.rmdir()
    assert await engine.storing.store(record, 0) is None
    assert record.job.state is JobState.DONE


async def test_a_picture_that_came_with_the_answer_is_taken_from_the_disk(engine: Engine) -> None:
    job_id = str(uuid.uuid4())
    inline = engine.spool / f"{job_id}-0.inline"
    inline.write_bytes(jpeg())
    record = await storing_job(engine, Output(spool_path=str(inline)), id=job_id)
    assert await engine.storing.store(record, 0) is None
    assert (record.job.state, engine.pictures.fetched) == (JobState.DONE, [])
    assert spooled(engine) == []


async def test_a_picture_of_another_machine_waits_for_that_machine(engine: Engine) -> None:
    record = await storing_job(engine, Output(spool_path=str(engine.spool / "elsewhere.inline")))
    parked = await engine.storing.store(record, 50)
    assert isinstance(parked, Park)
    assert "is not in the spool of this machine" in parked.failure.message
    assert "the machine that made the request" in parked.failure.next_action
    assert (engine.pictures.fetched, record.job.state) == ([], JobState.STORING)


async def test_a_clip_not_to_be_kept_is_done_without_a_copy(engine: Engine) -> None:
    record = await storing_job(engine, plan=clip_plan(persist=False))
    assert await engine.storing.store(record, 0) is None
    job = await engine.row(record.job)
    assert (job.state, job.assets, job.settled_usd) == (JobState.DONE, (), job.reserved_usd)
    assert job.outputs[0].url is not None
    assert (engine.clips.fetched, engine.storage.put_keys) == ([], [])


async def test_a_job_whose_outputs_are_all_stored_only_has_to_end(engine: Engine) -> None:
    record = await storing_job(engine)
    record = engine.record(await engine.ledger.save(record.job, replace(record.job, assets=(sample_asset(),))))
    assert await engine.storing.store(record, 0) is None
    assert (record.job.state, engine.pictures.fetched) == (JobState.DONE, [])


@pytest.fixture
def previews(tmp_path: Path) -> Path:
    return tmp_path / "previews"


async def test_a_finished_job_has_one_small_preview_of_all_its_pictures(
    tmp_path: Path, clock: FakeClock, previews: Path
) -> None:
    async with started_engine(tmp_path, clock, previews=previews) as engine:
        record = await storing_job(engine, *addresses(2))
        engine.pictures.files += [jpeg("red"), jpeg("blue")]
        await engine.storing.store(record, 0)
        (preview,) = previews.iterdir()
        assert preview.name == f"{record.job.id}.jpg"
        assert previews.stat().st_mode & 0o777 == 0o700
        with Image.open(preview) as picture:
            halves = (
                picture.crop((0, 0, 30, 30)),
                picture.crop((picture.width - 30, picture.height - 30, *picture.size)),
            )
            red_or_blue = {mean[0] > mean[2] for mean in (ImageStat.Stat(half).mean for half in halves)}
        assert red_or_blue == {True, False}


async def test_a_clip_without_a_readable_picture_has_no_preview_and_is_done(
    tmp_path: Path, clock: FakeClock, previews: Path
) -> None:
    async with started_engine(tmp_path, clock, previews=previews) as engine:
        record = await storing_job(engine, plan=clip_plan())
        await engine.storing.store(record, 0)
        assert record.job.state is JobState.DONE
        assert list(previews.iterdir()) == []


async def test_a_preview_that_cannot_be_kept_is_no_reason_to_fail(
    tmp_path: Path, clock: FakeClock, previews: Path, caplog: pytest.LogCaptureFixture
) -> None:
    previews.write_text("a file where the folder should be")
    async with started_engine(tmp_path, clock, previews=previews) as engine:
        record = await storing_job(engine)
        assert await engine.storing.store(record, 0) is None
        assert (record.job.state, record.job.warnings) == (JobState.DONE, ())
    assert f"job {record.job.id}: no preview" in caplog.text


async def test_a_sidecar_stands_beside_every_output_and_its_trouble_is_a_warning(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with started_engine(tmp_path, clock, sidecars=True) as engine:
        record = await storing_job(engine, *addresses(2))
        engine.pictures.files += [jpeg("red"), jpeg("blue")]
        assert await engine.storing.store(record, 0) is None
        keys = [asset.key for asset in record.job.assets]
        assert engine.storage.put_keys == [keys[0], f"{keys[0]}.json", keys[1], f"{keys[1]}.json"]
        for asset in record.job.assets:
            told = json.loads(Path((asset.sidecar_url or "").removeprefix("file://")).read_text())
            assert told["asset"]["sha256"] == asset.sha256
        rows = await engine.ledger.records("generated_images", [asset.record_id for asset in record.job.assets])
        assert sorted(str(row["sidecarUrl"]) for row in rows) == sorted(str(a.sidecar_url) for a in record.job.assets)


async def test_what_a_storage_calls_a_file_and_its_sidecars_trouble_are_recorded(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with started_engine(tmp_path, clock, sidecars=True) as engine:
        put = engine.storage.put

        async def put_files_alone(key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
            if key.endswith(".json"):
                raise AWAY
            return replace(await put(key, media, metadata), file_id="f-1")

        engine.storage.put = put_files_alone  # type: ignore[method-assign]
        record = await storing_job(engine)
        assert await engine.storing.store(record, 0) is None
        job = await engine.row(record.job)
        [asset] = job.assets
        assert (asset.file_id, job.warnings) == (
            "f-1",
            ("output 1 is stored, its sidecar is not: the bucket is away",),
        )


async def test_a_preview_put_off_is_made_when_all_is_stored(engine: Engine, tmp_path: Path) -> None:
    previews = PreviewMaker(tmp_path / "previews", open_decoders().results, at_once=False)
    engine.storing._previews = previews
    record = await storing_job(engine)
    engine.storage.troubles += [AWAY]
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    await previews.wait(record.job.id)
    assert not (tmp_path / "previews").exists()
    assert await engine.storing.store(record, 1) is None
    assert [path.stem for path in (tmp_path / "previews").iterdir()] == [record.job.id]


async def test_a_thumbnail_that_cannot_be_made_is_a_warning(engine: Engine) -> None:
    record = await storing_job(engine, plan=clip_plan(thumbnail=Thumbnail()))
    assert await engine.storing.store(record, 0) is None
    job = await engine.row(record.job)
    assert job.state is JobState.DONE
    assert job.warnings == ("no thumbnail was made: the clip's first picture cannot be decoded",)


@pytest.mark.parametrize("trouble", [None, AWAY])
async def test_a_frame_of_another_machine_is_fetched_for_a_thumbnail_alone(
    engine: Engine, trouble: StorageError | None
) -> None:
    brought = list[str]()

    async def bring(job: Job) -> None:
        brought.append(job.id)
        if trouble is not None:
            raise trouble

    engine.sharing.bring_inputs = bring  # type: ignore[method-assign]
    bare = await storing_job(engine, plan=clip_plan())
    shown = await storing_job(engine, plan=clip_plan(thumbnail=Thumbnail()))
    for record in (bare, shown):
        assert await engine.storing.store(record, 0) is None
        assert record.job.state is JobState.DONE
    assert brought == [shown.job.id]


async def test_a_result_waits_ten_seconds_for_its_frame(engine: Engine) -> None:
    async def bring(job: Job) -> None:
        let_pass(FRAME_WITHIN_S)
        await asyncio.Event().wait()

    engine.sharing.bring_inputs = bring  # type: ignore[method-assign]
    record = await storing_job(engine, plan=clip_plan(thumbnail=Thumbnail()))
    async with asyncio.timeout(LIMIT_S):
        assert await engine.storing.store(record, 0) is None
    assert record.job.state is JobState.DONE
    assert FRAME_WITHIN_S == 10.0, "a caller waits for the result, and the thumbnail is a courtesy"


async def test_what_is_hard_to_store_is_tried_ever_less_often(engine: Engine, clock: FakeClock) -> None:
    job = await engine.new()
    engine.storage.troubles += [AWAY] * 9
    await clock.play(engine.runner.drive(job))
    assert (await engine.row(job)).state is JobState.DONE
    assert sum(clock.pauses_s) == sum([0.5, 1, 2, 4, 8, 16, 32, 60, 60])
    assert (len(engine.pictures.fetched), len(engine.pictures.submitted)) == (1, 1)


@pytest.mark.parametrize(
    ("code", "limit_s", "told"), [(DIES, 60.0, "its decoder died of it"), (HANGS, 0.3, "it takes longer than 0.3 s")]
)
@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_result_that_breaks_its_decoder_is_delivered_with_a_warning(
    clock: FakeClock, tmp_path: Path, code: str, limit_s: float, told: str, kind: MediaKind
) -> None:
    with standing_in(code, max_wall_s=limit_s) as broken:
        decoders = Decoders(results=broken, given=broken)
        plan = sample_plan() if kind == "image" else clip_plan(thumbnail=Thumbnail())
        async with started_engine(tmp_path, clock, decoders=decoders, previews=tmp_path / "previews") as engine:
            record = await storing_job(engine, plan=plan)
            assert await engine.storing.store(record, 0) is None
            job = await engine.row(record.job)
    (asset,) = job.assets
    assert job.state is JobState.DONE
    assert asset.content_type == ("image/jpeg" if kind == "image" else "video/mp4")
    assert (asset.width_px, asset.duration_s) == (None, None)
    assert job.warnings[0].startswith("output 1 of 1: its size and length are not known: ")
    assert told in job.warnings[0]
    assert len(job.warnings) == (1 if kind == "image" else 2)
    assert Path(asset.local_path or "").read_bytes() == FILES["jpg" if kind == "image" else "mp4"]


async def test_a_result_is_delivered_where_no_decoder_can_be_started(clock: FakeClock, tmp_path: Path) -> None:
    def refuse(theirs: object) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    none = Decoder(refuse)
    async with started_engine(tmp_path, clock, decoders=Decoders(results=none, given=none)) as engine:
        record = await storing_job(engine)
        engine.pictures.files += [b"<!doctype html><html>sign in</html>"]
        assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)  # no decoder says this
        assert await engine.storing.store(record, 1) is None
        (warning,) = record.job.warnings
    assert "no decoder can be started on this machine (Resource temporarily unavailable)" in warning


# Clips that were cut off on their way


async def stored_in_the_end(engine: Engine, clock: FakeClock, *files: object) -> Job:
    record = await storing_job(engine, plan=clip_plan())
    engine.clips.files += files
    return await clock.play(engine.runner.drive(record.job))


async def test_a_clip_that_is_cut_for_minutes_comes_whole_in_the_end(engine: Engine, clock: FakeClock) -> None:
    """A proxy cuts every download, for longer than a few tries take."""
    job = await stored_in_the_end(engine, clock, *[FILES["mp4"][:-100]] * TRIES_BEFORE_CUT_IS_TAKEN)
    (asset,) = job.assets
    assert (job.state, job.warnings, asset.size_bytes) == (JobState.DONE, (), len(FILES["mp4"]))
    assert clock.monotonic() > 300
    assert spooled(engine) == []


async def test_a_clip_that_is_always_cut_is_kept_and_told_of(engine: Engine, clock: FakeClock) -> None:
    cut = FILES["mp4"][:-100]
    job = await stored_in_the_end(engine, clock, *[cut] * 99)
    (asset,) = job.assets
    assert (job.state, asset.size_bytes) == (JobState.DONE, len(cut))
    assert len(engine.clips.fetched) == TRIES_BEFORE_CUT_IS_TAKEN + 1
    assert job.warnings == (
        f"output 1 of 1: a video was expected, but the provider sent an incomplete MP4 file of {len(cut)} bytes; it is "
        "kept as it came, and ends early or does not play: its temporary address may give the whole clip for some time "
        "yet",
    )
    assert clock.monotonic() < LET_GO_AFTER_S


def clip_in_pieces(path: Path, *, lasts_s: int) -> tuple[bytes, bytes]:
    """A real clip, and the same cut off between two of its pieces."""
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("h264", rate=24)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 64, "yuv420p", 12
        for number in range(24 * lasts_s):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    starts = [match.start() - 4 for match in re.finditer(b"moof", data)]
    return data, data[: starts[len(starts) // 2]]


async def test_a_clip_that_was_cut_between_its_pieces_is_fetched_again(
    engine: Engine, clock: FakeClock, tmp_path: Path
) -> None:
    whole, cut = clip_in_pieces(tmp_path / "clip.mp4", lasts_s=6)
    job = await stored_in_the_end(engine, clock, *[cut] * TRIES_BEFORE_TAKEN, whole)
    (asset,) = job.assets
    assert (job.state, job.warnings, asset.size_bytes) == (JobState.DONE, (), len(whole))


@pytest.mark.parametrize(("plan", "tries"), [({}, TRIES_BEFORE_TAKEN + 1), ({"generation_kind": "extend"}, 1)])
async def test_a_clip_that_stays_much_shorter_than_asked_is_told(
    engine: Engine, clock: FakeClock, tmp_path: Path, plan: dict[str, Any], tries: int
) -> None:
    """Nobody knows how long an extended one should be."""
    _, cut = clip_in_pieces(tmp_path / "clip.mp4", lasts_s=6)
    engine.clips.files += [cut] * 99
    record = await storing_job(engine, plan=clip_plan(duration_s=6, **plan))
    job = await clock.play(engine.runner.drive(record.job))
    (asset,) = job.assets
    told = (
        f"output 1 of 1: the clip lasts {asset.duration_s:.1f} s, and 6 s were asked for: if it ends early, its "
        "temporary address may give the whole clip for some time yet"
    )
    assert (job.state, job.warnings) == (JobState.DONE, () if plan else (told,))
    assert len(engine.clips.fetched) == tries


async def test_a_short_clip_whose_address_has_expired_is_kept(engine: Engine, clock: FakeClock, tmp_path: Path) -> None:
    _, cut = clip_in_pieces(tmp_path / "clip.mp4", lasts_s=6)
    engine.clips.files += [cut, *[MediaGone("404")] * 9999]
    engine.clips.looks += [JobExpired("no such job")] * 99
    record = await storing_job(engine, plan=clip_plan(duration_s=6))
    job = await clock.play(engine.runner.drive(record.job))
    while not job.is_settled:
        clock.advance(3600.0)
        job = await clock.play(engine.runner.drive(replace(job, owner=engine.ledger.owner)))
    (warning,) = job.warnings
    assert (job.state, warning.endswith(" s, and 6 s were asked for")) == (JobState.DONE, True)


@pytest.mark.parametrize("trouble", [AWAY, StorageRefused("no rights"), StorageUnclear("no word")])
@pytest.mark.parametrize("kind", ["short", "cut", "no clip"])
async def test_what_was_taken_in_the_end_outlives_its_address(
    engine: Engine, clock: FakeClock, tmp_path: Path, trouble: StorageError, kind: str
) -> None:
    """By the time it can be stored its address serves nothing any more."""
    _, short = clip_in_pieces(tmp_path / "clip.mp4", lasts_s=6)
    engine.clips.files += [{"short": short, "cut": FILES["mp4"][:-100], "no clip": bytes(99)}[kind]] * 99
    engine.storage.troubles += [trouble]
    record = await storing_job(engine, plan=clip_plan(duration_s=6))
    tries = 0
    while engine.storage.troubles:
        await engine.storing.store(record, tries)
        tries += 1
    await record.write(replace(record.job, failure=failure_of(trouble, record.job.id)))  # as where it is parked
    engine.clips.files.clear()
    engine.clips.files += [MediaGone("404")] * 9
    assert await engine.storing.store(record, 0) is None
    assert (record.job.state, len(record.job.assets), len(record.job.warnings)) == (JobState.DONE, 1, 1)


async def test_cut_downloads_are_counted_whatever_breaks_between_them(engine: Engine, clock: FakeClock) -> None:
    """A proxy under load cuts some, and refuses others with a 502."""
    cut = FILES["mp4"][:-100]
    job = await stored_in_the_end(engine, clock, *[cut, ProviderUnavailable("HTTP 502", billed="yes")] * 99)
    while not job.is_settled:  # it is parked after ten minutes
        job = await clock.play(engine.runner.drive(replace(job, owner=engine.ledger.owner)))
    (asset,) = job.assets
    assert (job.state, asset.size_bytes, len(job.warnings)) == (JobState.DONE, len(cut), 1)
    assert len(engine.clips.fetched) == 2 * TRIES_BEFORE_CUT_IS_TAKEN + 1


async def test_what_breaks_after_a_cut_download_is_told(engine: Engine) -> None:
    record = await storing_job(engine, plan=clip_plan())
    engine.clips.files += [FILES["mp4"][:-100], ProviderUnavailable("HTTP 502", billed="yes")]
    for tries in range(2):
        await engine.storing.store(record, tries)
    failure = (await engine.row(record.job)).failure
    assert failure is not None
    assert (failure.message, failure.billed) == ("HTTP 502", "yes")


async def test_a_cut_clip_is_not_lost_while_its_folder_cannot_be_used(engine: Engine) -> None:
    record = await storing_job(engine, plan=clip_plan())
    engine.clips.files += [FILES["mp4"][:-100]]
    await engine.storing.store(record, 0)
    aside = engine.spool.with_name("aside")
    engine.spool.rename(aside)
    engine.spool.write_text("a file where the folder should be")
    assert await engine.storing._lose_missing(record, "nothing is served any more", 0) == Pause(
        FIRST_PAUSE_S, failed=True
    )
    assert record.job.state is JobState.STORING
    engine.spool.unlink()
    aside.rename(engine.spool)
    assert await engine.storing._lose_missing(record, "nothing is served any more", 0) is None
    assert (record.job.state, len(record.job.assets)) == (JobState.DONE, 1)


async def test_a_cut_clip_that_was_unreadable_at_first_is_fetched_again(engine: Engine) -> None:
    """As where too many files were open when it had come."""
    record = await storing_job(engine, plan=clip_plan())
    fetched = engine.spool / f"{record.job.id}-0.media"
    fetched.mkdir()
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    fetched.rmdir()
    fetched.write_bytes(FILES["mp4"][:-100])
    assert await engine.storing.store(record, 1) == Pause(2 * FIRST_PAUSE_S, failed=True)
    assert await engine.storing.store(record, 0) is None
    (asset,) = record.job.assets
    assert (asset.size_bytes, record.job.warnings) == (len(FILES["mp4"]), ())


async def test_a_cut_clip_that_came_after_a_full_disk_is_fetched_again(engine: Engine) -> None:
    """Its process was killed before it looked at what had come."""
    record = await storing_job(engine, plan=clip_plan())
    engine.spool.rmdir()
    engine.spool.write_text("a file where the folder should be")
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    engine.spool.unlink()
    engine.spool.mkdir()
    (engine.spool / f"{record.job.id}-0.media").write_bytes(FILES["mp4"][:-100])
    assert await engine.storing.store(record, 1) == Pause(2 * FIRST_PAUSE_S, failed=True)
    assert await engine.storing.store(record, 0) is None
    (asset,) = record.job.assets
    assert (asset.size_bytes, record.job.warnings) == (len(FILES["mp4"]), ())


async def test_a_cut_picture_that_came_after_another_was_stored_is_fetched_again(engine: Engine) -> None:
    """The storage was away before, and the process was killed before it looked at what had come."""
    record = await storing_job(engine, *addresses(2))
    engine.storage.troubles += [AWAY]
    engine.pictures.files += [jpeg(), asyncio.CancelledError()]
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    with pytest.raises(asyncio.CancelledError):
        await engine.storing.store(record, 1)
    record = engine.record(await engine.row(record.job))
    (engine.spool / f"{record.job.id}-1.media").write_bytes(jpeg()[:-100])
    assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    assert await engine.storing.store(record, 1) is None
    assert ([asset.size_bytes for asset in record.job.assets], record.job.warnings) == ([len(jpeg())] * 2, ())


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_short_clip_is_better_than_more_bytes_of_something_else(
    engine: Engine, clock: FakeClock, tmp_path: Path, is_first: bool
) -> None:
    """As of a proxy, which answers in its own way now and then."""
    _, short = clip_in_pieces(tmp_path / "clip.mp4", lasts_s=6)
    other = bytes(2 * len(short))
    engine.clips.files += [*([short, other] if is_first else [other, short]), *[MediaGone("404")] * 9999]
    record = await storing_job(engine, plan=clip_plan(duration_s=6))
    for tries in range(2):
        await engine.storing.store(record, tries)
    assert await engine.storing._lose_missing(record, "nothing is served any more", 0) is None
    (asset,) = record.job.assets
    assert (asset.content_type, asset.size_bytes) == ("video/mp4", len(short))


async def test_a_short_clip_is_taken_though_something_else_was_longer(
    engine: Engine, clock: FakeClock, tmp_path: Path
) -> None:
    _, short = clip_in_pieces(tmp_path / "clip.mp4", lasts_s=6)
    engine.clips.files += [bytes(2 * len(short)), *[short] * 99]
    record = await storing_job(engine, plan=clip_plan(duration_s=6))
    job = await clock.play(engine.runner.drive(record.job))
    (asset,) = job.assets
    assert (asset.content_type, asset.size_bytes) == ("video/mp4", len(short))


async def test_what_waits_for_storage_is_on_the_disk_before_it_is_noted(engine: Engine) -> None:
    """From then on it is taken as it is: a loss of power must not cut it."""
    record = await storing_job(engine)
    engine.storage.troubles += [AWAY]
    saves_before: list[int] = []

    def note(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ == "fsync":
            saves_before.append(engine.ledger.calls.count("save"))

    saves = engine.ledger.calls.count("save")
    threading.setprofile(note)  # of the thread that writes
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    try:
        assert await engine.storing.store(record, 0) == Pause(FIRST_PAUSE_S, failed=True)
    finally:
        threading.setprofile(None)
    assert saves_before == [saves]
    assert engine.ledger.calls.count("save") == saves + 1


async def test_of_many_cut_downloads_the_longest_is_taken(engine: Engine, clock: FakeClock) -> None:
    whole = FILES["mp4"]
    job = await stored_in_the_end(engine, clock, whole[:-200], whole[:-100], *[whole[:-300]] * 99)
    (asset,), (warning,) = job.assets, job.warnings
    assert (job.state, asset.size_bytes) == (JobState.DONE, len(whole) - 100)
    assert asset.sha256 == hashlib.sha256(whole[:-100]).hexdigest()
    assert f"an incomplete MP4 file of {len(whole) - 100} bytes" in warning
    assert len(engine.clips.fetched) == TRIES_BEFORE_CUT_IS_TAKEN + 1
    assert spooled(engine) == []


@pytest.mark.parametrize("word", [JobExpired("no such job"), None], ids=["its job is gone", "its job is done"])
@pytest.mark.parametrize("troubles", [[], [AWAY]], ids=["", "its storage is away"])
async def test_a_cut_clip_is_better_than_none(
    engine: Engine,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    word: JobExpired | None,
    troubles: list[StorageError],
) -> None:
    """Its address serves nothing any more before it came whole, or was cut often enough to be taken."""
    cuts = [FILES["mp4"][:-200], FILES["mp4"][:-100], FILES["mp4"][:-300]]
    record = await storing_job(engine, plan=clip_plan())
    engine.clips.files += [*cuts, *[MediaGone("404")] * 9999]
    engine.clips.looks += [word] * 99 if word is not None else []
    engine.storage.troubles += troubles
    job = await clock.play(engine.runner.drive(record.job))
    while not job.is_settled:
        clock.advance(3600.0)
        job = await clock.play(engine.runner.drive(replace(job, owner=engine.ledger.owner)))
    (asset,) = job.assets
    assert (job.state, asset.size_bytes) == (JobState.DONE, len(cuts[1])), "the longest one"
    (warning,) = job.warnings
    assert "; it is kept as it came, and ends early or does not play" in warning
    assert troubles or warning.endswith("play"), "nothing is served elsewhere any more"
    assert "internal error" not in caplog.text
