"""Results in a private bucket: plain addresses in every row, signed ones for whoever asks, each time new ones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from PIL import Image

from ring_mcp.app import App
from ring_mcp.conductors.results import GenerateImageResult, GenerateVideoResult
from ring_mcp.conductors.signed_urls import for_caller
from ring_mcp.domain import ImageRequest, Thumbnail, VideoPlan, VideoRequest
from ring_mcp.errors import InvalidRequest, ProviderBadReply, StorageError
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.presets import load_presets
from ring_mcp.processes import open_decoders
from ring_mcp.providers.base import Downloaded
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.storage.base import Address
from ring_mcp.storage.local import LocalStorage
from ring_mcp.tools.job_answers import answer
from ring_mcp.tools.job_list import JobListArguments, list_jobs
from tests.conductors.running import ACTOR, charges, running
from tests.postgres_server import fresh_database, server_url
from tests.s3_servers import BUCKET, KEY_ID, SECRET, BucketServer, bucket_server


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[BucketServer]:
    with bucket_server(tmp_path / "s3") as server:
        yield server


def settings(bucket: BucketServer, **more: str) -> dict[str, str]:
    return {
        "FILE_BACKEND": "s3",
        "RING_S3_BUCKET": BUCKET,
        "RING_S3_PREFIX": "ring",
        "AWS_ENDPOINT_URL": bucket.url,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        **more,
    }


def opened(url: str) -> bytes:
    with urlopen(url, timeout=60) as response:
        content: bytes = response.read()
        return content


def is_signed(url: str | None) -> bool:
    return "X-Amz-Signature=" in (url or "")


async def picture(app: App) -> GenerateImageResult:
    return await app.images.generate(ImageRequest(prompt="A kite", aspect_ratio="1:1"), actor_id=ACTOR)


async def test_a_result_has_a_signed_address_that_opens_and_says_until_when(
    bucket: BucketServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path, **settings(bucket)) as app:
        result = await picture(app)
    assert is_signed(result.url)
    assert urlsplit(result.url or "").path.startswith(f"/{BUCKET}/ring/sandbox/generated/")
    content = await asyncio.to_thread(opened, result.url or "")
    assert hashlib.sha256(content).hexdigest() == result.images[0].sha256
    assert any("expire at 20" in warning and "ring-job-get" in warning for warning in result.warnings or ())
    assert answer(result, app.previews).links[0][1] == urlsplit(result.url or "").path.rsplit("/", 1)[1]


async def test_no_signature_is_written_anywhere_and_every_look_gives_a_new_one(
    bucket: BucketServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path, **settings(bucket)) as app:
        result = await picture(app)
        job = await app.ledger.get(result.job_id or "")
        assert job is not None
        again = await app.calls.deliver(job)
        listed = await list_jobs(app.ledger, app.storage, JobListArguments(), ACTOR)
        read = json.loads((await app.resources().read(f"ring://jobs/{job.id}", ACTOR)).text or "")
        (row,) = await app.ledger.records("generated_images", [job.assets[0].record_id])
    assert isinstance(again, GenerateImageResult)
    assert all(is_signed(url) for url in (again.url, listed.jobs[0].url, read["url"]))
    assert row["url"] == job.assets[0].url == (result.url or "").partition("?")[0]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "ledger.db" for path in written)
    assert not [path for path in written if b"X-Amz-" in path.read_bytes() or SECRET.encode() in path.read_bytes()]


async def test_a_clip_starts_from_a_still_or_an_address_of_the_bucket(
    bucket: BucketServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path, **settings(bucket)) as app:
        made = await app.videos.generate(
            VideoRequest(prompt="It turns", duration_s=1, first_frame_prompt="A boat"), actor_id=ACTOR
        )
        assert made.first_frame is not None
        given = await app.videos.generate(
            VideoRequest(prompt="It turns back", duration_s=1, image_url=made.first_frame.url), actor_id=ACTOR
        )
        job = await app.ledger.get(given.job_id or "")
    for result in (made, given):
        assert isinstance(result, GenerateVideoResult)
        assert result.success, result.error
        assert result.video is not None
        assert is_signed(result.video.url)
    assert is_signed(made.first_frame.url)
    assert job is not None
    assert getattr(job.plan, "image_url", None) == made.first_frame.url.partition("?")[0]


async def test_a_thumbnails_address_opens_and_its_row_has_the_plain_one(
    bucket: BucketServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path, **settings(bucket)) as app:
        request = VideoRequest(prompt="It turns", duration_s=1, first_frame_prompt="A boat", thumbnail=Thumbnail())
        made = await app.videos.generate(request, actor_id=ACTOR)
        job = await app.ledger.get(made.job_id or "")
    assert made.thumbnail is not None, made.warnings
    content = await asyncio.to_thread(opened, made.thumbnail.url)
    assert hashlib.sha256(content).hexdigest() == made.thumbnail.sha256
    assert made.video is not None
    assert is_signed(made.video.url)
    assert job is not None
    assert isinstance(job.plan, VideoPlan)
    assert job.plan.made_thumbnail is not None
    assert job.plan.made_thumbnail.url == made.thumbnail.url.partition("?")[0] != made.thumbnail.url


async def test_a_bucket_that_is_away_for_a_moment_costs_no_second_still(
    bucket: BucketServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    stored: list[str] = []

    def away_once_it_is_stored(path: str) -> None:
        if "first-frame" in path and stored:
            bucket.answers.append((503, "<Error><Code>SlowDown</Code></Error>"))
        stored.extend([path] if "first-frame" in path else [])

    bucket.before = away_once_it_is_stored
    async with running(sandbox, tmp_path, **settings(bucket)) as app:
        request = VideoRequest(prompt="It turns", provider="google", duration_s=3, first_frame_prompt="A boat")
        first = await app.videos.generate(request, actor_id=ACTOR)
        assert (first.success, first.state) == (False, "planned")
        assert first.failure is not None
        assert (first.failure.code, first.failure.retryable) == ("storage_failed", True)
        assert charges(sandbox) == 1
        bucket.before = lambda path: None
        bucket.answers.clear()
        again = await app.videos.generate(request, actor_id=ACTOR)
        assert (again.success, again.job_id, again.state) == (True, first.job_id, "done"), again.error
        assert charges(sandbox) == 2


def starting_from(image_url: str) -> VideoPlan:
    return VideoPlan(
        provider="xai",
        requested_model="grok-imagine-video-1.5",
        model="grok-imagine-video-1.5",
        prompt="waves",
        quality_mode="draft_i2v",
        duration_s=6,
        image_url=image_url,
        storage_prefix="generated/videos",
        estimated_usd=Decimal("0.48"),
        prices=(),
    )


async def test_a_still_that_the_provider_cannot_reach_is_sent_as_bytes(bucket: BucketServer, tmp_path: Path) -> None:
    async def on_a_private_network(url: str) -> None:
        raise ProviderBadReply("refused to fetch: it is on a private network")

    async def never(url: str, path: Path, max_bytes: int) -> Downloaded:
        raise AssertionError("our own files are not fetched like a stranger's")

    storage = bucket.storage()
    inputs = MediaInputs(
        storage,
        fetch=never,
        check_address=on_a_private_network,
        decoder=open_decoders().given,
        sizes=load_presets().limits.input_bytes,
        folders=[],
        spool=tmp_path,
    )
    still = bucket.bucket / "still.jpg"
    Image.new("RGB", (64, 64), "navy").save(still)
    sent = (await inputs.for_provider(starting_from(f"{bucket.url}/{BUCKET}/still.jpg"))).image_url
    assert sent is not None
    assert base64.b64decode(sent.removeprefix("data:image/jpeg;base64,")) == still.read_bytes()
    with pytest.raises(InvalidRequest, match=r"imageUrl cannot be used: S3 download failed.*NoSuchKey"):
        await inputs.for_provider(starting_from(f"{bucket.url}/{BUCKET}/gone.jpg"))
    assert list(tmp_path.glob("input-*")) == []


async def test_a_result_that_cannot_be_signed_is_delivered_with_a_warning(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    class Unsigned(LocalStorage):
        async def address(self, url: str, key: str | None = None) -> Address:
            raise StorageError("there are no credentials")

    async with running(sandbox, tmp_path) as app:
        result = await picture(app)
        job = await app.ledger.get(result.job_id or "")
    assert job is not None
    shared = await for_caller(job, Unsigned(tmp_path))
    assert shared.assets == job.assets
    assert "no credentials" in shared.warnings[-1]


async def test_with_a_public_base_url_the_address_is_plain_everywhere(
    bucket: BucketServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    public = f"{bucket.url}/{BUCKET}/ring"
    async with running(sandbox, tmp_path, **settings(bucket, RING_S3_PUBLIC_BASE_URL=public)) as app:
        result = await picture(app)
    assert (result.url or "").startswith(f"{public}/sandbox/generated/")
    assert not is_signed(result.url)
    assert await asyncio.to_thread(opened, result.url or "")
    assert not any("expire" in warning for warning in result.warnings or ())


async def test_a_refused_upload_comes_home_when_the_bucket_is_there(
    bucket: BucketServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    bucket.bucket.rmdir()
    async with running(sandbox, tmp_path, **settings(bucket)) as app:
        result = await picture(app)
        assert not result.success
        assert "NoSuchBucket" in (result.error or "")
        health = await app.health.check()
        assert next(check for check in health.checks if check.name == "storage").status == "error"
        bucket.bucket.mkdir()
        job = await app.ledger.get(result.job_id or "")
        assert job is not None
        await app.queue.adopt(job)
        job = await app.watch.wait(job.id, 10.0)
        assert job is not None
        assert (await app.calls.deliver(job)).success
    assert len(sandbox.state.books.charges()) == 1


@pytest.mark.parametrize("fleet", [False, True], ids=["one machine", "a fleet"])
async def test_a_picture_inside_an_answer_is_shared_until_its_job_ends(
    bucket: BucketServer, sandbox: SandboxServer, tmp_path: Path, fleet: bool
) -> None:
    with fresh_database(server_url()) if fleet else nullcontext() as url:
        more = {} if url is None else {"DATABASE_URL": url}
        async with running(sandbox, tmp_path, **settings(bucket, **more)) as app:
            asked = ImageRequest(prompt="A kite", provider="google", resolution="1k")
            result = await app.images.generate(asked, actor_id=ACTOR)
            health = await app.health.check()
    assert result.success
    names = [f"{result.job_id}-0.inline", f"{result.job_id}-answer.json"]
    done = [request.split(" ")[0] + " " + request.rpartition("/")[2].partition("?")[0] for request in bucket.requests]
    laid = [f"{method} {name}" for method in ("PUT", "DELETE") for name in names]
    # Asked before: a database that fell back might have the request made again.
    asked_for = [f"GET {names[1]}", *laid] if fleet else []
    assert [each for each in done if (result.job_id or "") in each] == asked_for
    assert [path for path in bucket.objects() if path.parent.name == "spool"] == []
    assert all(check.name != "shared files" for check in health.checks)
