"""A preview is a courtesy: written where it can be, and a line in the log where it cannot."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ring_mcp.domain import JobState
from ring_mcp.jobs.previews import PreviewMaker, keep_preview
from ring_mcp.media.natives import Undecodable
from ring_mcp.processes import open_decoders
from tests.jobs.scripted_provider import jpeg
from tests.ledger_samples import sample_job

LIMIT_S = 60.0


async def test_the_preview_of_a_picture_lies_under_its_jobs_id(tmp_path: Path) -> None:
    job, picture = sample_job(JobState.STORING), tmp_path / "picture"
    picture.write_bytes(jpeg())
    await keep_preview(job, [picture], tmp_path, open_decoders().results)
    with Image.open(tmp_path / f"{job.id}.jpg") as preview:
        assert preview.format == "JPEG"


@pytest.mark.parametrize("content", [b"no picture", None])
async def test_what_cannot_be_shown_leaves_nothing_and_raises_nothing(tmp_path: Path, content: bytes | None) -> None:
    job, picture = sample_job(JobState.STORING), tmp_path / "picture"
    if content is not None:
        picture.write_bytes(content)
    await keep_preview(job, [picture], tmp_path, open_decoders().results)
    assert not (tmp_path / f"{job.id}.jpg").exists()


@pytest.mark.parametrize("at_once", [True, False])
async def test_whoever_shows_a_preview_waits_for_it(tmp_path: Path, at_once: bool) -> None:
    job, picture = sample_job(JobState.STORING), tmp_path / "picture"
    picture.write_bytes(jpeg())
    maker = PreviewMaker(tmp_path, open_decoders().results, at_once=at_once)
    maker.begin(job, [picture])
    await asyncio.wait_for(maker.wait("another job"), LIMIT_S)
    await asyncio.wait_for(maker.wait(job.id), LIMIT_S)
    assert (tmp_path / f"{job.id}.jpg").exists()
    await asyncio.wait_for(maker.wait(job.id), LIMIT_S)


class BrokenDecoder:
    """It breaks as it is told."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def run(self, *_: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device", "/previews"), "no preview: No space left on device"),
        (Undecodable("its decoder died of it"), "no preview: its decoder died of it"),
        (ZeroDivisionError(), "no preview"),
    ],
)
async def test_whatever_breaks_in_a_preview_is_a_line_in_the_log(
    tmp_path: Path, error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = sample_job(JobState.STORING)
    decoder: Any = BrokenDecoder(error)
    await keep_preview(job, [], tmp_path, decoder)
    assert [record.getMessage() for record in caplog.records] == [f"job {job.id}: {told}"]


class BusyDecoder:
    """It never comes to anything."""

    def __init__(self) -> None:
        self.left = 0

    async def run(self, *_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.left += 1


async def test_a_preview_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    job, busy = sample_job(JobState.STORING), BusyDecoder()
    decoder: Any = busy
    maker = PreviewMaker(tmp_path, decoder, at_once=True)
    maker.begin(job, [])
    await asyncio.wait_for(maker.wait(job.id, 0.01), LIMIT_S)
    await asyncio.wait_for(maker.wait(job.id), LIMIT_S)
    assert busy.left == 1


async def test_a_preview_that_nobody_waits_for_may_be_dropped(tmp_path: Path) -> None:
    job, busy = sample_job(JobState.STORING), BusyDecoder()
    decoder: Any = busy
    maker = PreviewMaker(tmp_path, decoder, at_once=False)
    maker.begin(job, [])
    maker.drop(job.id)
    await asyncio.wait_for(maker.wait(job.id), LIMIT_S)
    assert busy.left == 0


async def test_without_a_folder_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    job, picture = sample_job(JobState.STORING), tmp_path / "picture"
    picture.write_bytes(jpeg())
    maker = PreviewMaker(None, open_decoders().results, at_once=True)
    maker.begin(job, [picture])
    await asyncio.wait_for(maker.wait(job.id), LIMIT_S)
    assert list(tmp_path.iterdir()) == [picture]
