"""A preview is a courtesy: written where it can be, and a line in the log where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ring_mcp.domain import JobState
from ring_mcp.jobs.previews import keep_preview
from ring_mcp.processes import open_decoders
from tests.jobs.scripted_provider import jpeg
from tests.ledger_samples import sample_job


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
