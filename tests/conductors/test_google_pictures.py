"""Pictures from Google through the whole product: several calls for one job, and what is on record of each."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.app import open_app
from ring_mcp.config import load_config
from ring_mcp.domain import ImageRequest, JobState, VideoRequest
from ring_mcp.errors import InvalidRequest, ModelRetired, ProviderAuthError
from ring_mcp.ledger.base import JobQuery
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_GOOGLE_KEY
from tests.conductors.running import ACTOR, LIMIT_S, charges, job_of, running, spool_is_empty

CAT = ImageRequest(prompt="a cat on a wall", provider="google")
CATS = ImageRequest(prompt="cats", provider="google", n=3)


def posts(sandbox: SandboxServer) -> int:
    return sum(request["method"] == "POST" for request in sandbox.state.requests)


def billed_usd(sandbox: SandboxServer) -> Decimal:
    return Decimal(sandbox.state.books.total_ticks) / 10**10


async def test_a_picture_is_stored_with_its_row_and_its_tokens_cost(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert result.success
        (image,) = result.images
        assert (image.content_type, image.width, image.height) == ("image/jpeg", 1024, 1024)
        assert result.estimated_cost_usd == Decimal("0.0336225")  # the picture, and 15 bytes of prompt
        assert result.billed_cost_usd == billed_usd(sandbox) == Decimal("0.033606")
        row = (await app.ledger.records("generated_images", [image.record_id]))[0]
        assert (row["provider"], row["servedModel"]) == ("google", "gemini-nano-banana-2.1")
        assert charges(sandbox) == 1
        assert await spool_is_empty(tmp_path)


async def test_every_picture_is_a_call_and_a_record_of_its_own(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(show_prompt=True)
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CATS, actor_id=ACTOR)
        assert len({image.sha256 for image in result.images}) == 3
        assert len({image.record_id for image in result.images}) == 3
        assert result.billed_cost_usd == billed_usd(sandbox)
        assert charges(sandbox) == 3


async def test_a_long_prompt_is_reserved_for_before_it_is_billed(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        asked = ImageRequest(prompt="a cat on a wall, " * 500, provider="google", n=2)
        quote = await app.images.quote(asked)
        result = await app.images.generate(asked, actor_id=ACTOR)
        job = await job_of(app, result.job_id)
        assert job.billed_usd is not None
        assert job.billed_usd == billed_usd(sandbox) > 2 * Decimal("0.0336") * Decimal("1.09")
        assert job.reserved_usd == quote.total_usd
        assert job.reserved_usd >= job.billed_usd


async def test_a_blocked_one_leaves_the_others_and_says_its_cost(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("google_blocked", after=1)
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CATS, actor_id=ACTOR)
        assert result.success
        assert len(result.images) == 2
        assert result.billed_cost_usd == billed_usd(sandbox)
        counted, lost = result.warnings or ()
        assert counted == "Google returned 2 of 3 images"
        assert "of 3 is lost: Google returned no image data (IMAGE_SAFETY)" in lost
        assert lost.endswith("; it was billed")
        assert (await job_of(app, result.job_id)).state is JobState.DONE
        assert await spool_is_empty(tmp_path)


async def test_one_whose_answer_is_lost_leaves_the_others_and_the_whole_reservation(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    sandbox.state.faults.add("drop_after_accept")
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CATS, actor_id=ACTOR)
        assert len(result.images) == 2
        assert result.billed_cost_usd is None
        job = await job_of(app, result.job_id)
        assert job.settled_usd == job.reserved_usd == Decimal("0.100818")
        assert any("whether it was billed is not known" in warning for warning in result.warnings or ())
        assert (posts(sandbox), charges(sandbox)) == (3, 3)


async def test_a_picture_cut_off_inside_its_answer_is_kept(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("cut_picture")
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CATS, actor_id=ACTOR)
        assert result.success
        assert len(result.images) == 3
        (doubt,) = result.warnings or ()
        assert "of 3: an image was expected, but the provider sent a damaged or incomplete JPEG file of" in doubt
        assert doubt.endswith("it is kept as it came")
        assert {image.content_type for image in result.images} == {"image/jpeg"}
        assert result.billed_cost_usd == billed_usd(sandbox)
        assert await spool_is_empty(tmp_path)


async def test_one_that_is_overloaded_leaves_the_bill_of_the_others(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("google_error", status=503)
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CATS, actor_id=ACTOR)
        assert len(result.images) == 2
        assert result.billed_cost_usd == billed_usd(sandbox) > 0
        assert (await job_of(app, result.job_id)).settled_usd == billed_usd(sandbox)


async def test_an_overloaded_google_bills_nothing_and_may_be_asked_again(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    sandbox.state.faults.add("google_error", status=503)
    asked = ImageRequest(prompt="a cat on a wall", provider="google")
    async with running(sandbox, tmp_path) as app:
        first = await app.images.generate(asked, actor_id=ACTOR)
        assert first.failure is not None
        assert (first.failure.code, first.failure.billed, first.failure.retryable) == (
            "provider_unavailable",
            "no",
            True,
        )
        assert (await job_of(app, first.job_id)).settled_usd == 0
        assert (await app.images.generate(asked, actor_id=ACTOR)).success


@pytest.mark.parametrize("n", [1, 2])
async def test_a_lost_connection_is_an_unknown_outcome_that_is_not_sent_again(
    sandbox: SandboxServer, tmp_path: Path, n: int
) -> None:
    sandbox.state.faults.add("drop_after_accept", times=-1)
    asked = ImageRequest(prompt="lost", provider="google", n=n, idempotency_key="once")
    async with running(sandbox, tmp_path) as app:
        first = await app.images.generate(asked, actor_id=ACTOR)
        again = await app.images.generate(asked, actor_id=ACTOR)
        assert (first.state, again.job_id) == ("unknown", first.job_id)
        job = await job_of(app, first.job_id)
        assert job.settled_usd is None
        assert job.failure is not None
        assert (job.failure.code, job.failure.billed) == ("unknown_outcome", "unknown")
        assert (posts(sandbox), charges(sandbox)) == (n, n)


async def test_a_refusal_of_every_picture_is_billed_with_what_was_counted(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    sandbox.state.faults.add("google_blocked", times=-1, reason="PROHIBITED_CONTENT", in_prompt=True)
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CATS, actor_id=ACTOR)
        assert (result.success, result.state) == (False, "refused")
        job = await job_of(app, result.job_id)
        assert job.failure is not None
        assert (job.failure.code, job.failure.billed) == ("content_refused", "yes")
        assert job.settled_usd == job.billed_usd == billed_usd(sandbox) > 0


async def test_an_identical_call_joins_and_pays_nothing(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(image_delay_s=0.5)
    async with running(sandbox, tmp_path) as app:
        results = await asyncio.gather(*(app.images.generate(CAT, actor_id=ACTOR) for _ in range(5)))
        assert len({result.job_id for result in results}) == 1
        assert charges(sandbox) == 1


async def test_a_call_that_is_cancelled_leaves_and_the_paid_picture_still_lands(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    sandbox.state.configure(image_delay_s=0.5)
    async with running(sandbox, tmp_path) as app:
        call = asyncio.create_task(app.images.generate(CAT, actor_id=ACTOR))
        async with asyncio.timeout(LIMIT_S):
            while charges(sandbox) == 0:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert (result.success, result.joined, charges(sandbox)) == (True, True, 1)


async def test_a_first_frame_from_google_starts_a_clip_from_xai(sandbox: SandboxServer, tmp_path: Path) -> None:
    request = VideoRequest(
        prompt="the beam sweeps", first_frame_prompt="a lighthouse", image_provider="google", duration_s=1
    )
    async with running(sandbox, tmp_path) as app:
        quote = await app.videos.quote(request)
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.success
        assert (result.provider, result.quality_mode) == ("xai", "draft_i2v")
        assert result.first_frame is not None
        assert result.first_frame.width == 1360
        jobs = (await app.ledger.list_jobs(JobQuery())).jobs
        still = next(job for job in jobs if job.kind == "image")
        assert (still.plan.provider, still.parent_job_id) == ("google", result.job_id)
        assert sum(job.reserved_usd for job in jobs) == quote.total_usd


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"aspect_ratio": "2:1"}, r"got '2:1'; the nearest are 16:9 and 21:9$"),
        ({"resolution": "2k"}, "resolution must be one of 1k for gemini-nano-banana-2.1"),
        ({"n": 5}, "n must be between 1 and 4"),
        ({"model": "grok-imagine-image"}, "model must be one of gemini-nano-banana-2.1"),
        ({"model": "imagen-4.0-generate-001"}, "retired by its provider on 2026-08-17; use gemini-nano-banana-2.1"),
        ({"model": "imagen-4.0-ultra-generate-001"}, "use gemini-3-pro-image instead"),
    ],
)
async def test_what_google_cannot_make_is_refused_before_any_spend(
    sandbox: SandboxServer, tmp_path: Path, changes: dict[str, object], text: str
) -> None:
    async with running(sandbox, tmp_path) as app:
        with pytest.raises(InvalidRequest, match=text):
            await app.images.generate(ImageRequest(**{"prompt": "x", "provider": "google", **changes}), actor_id=ACTOR)  # type: ignore[arg-type]
    assert list(sandbox.state.requests) == []


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_an_endpoint_of_ones_own_is_asked_for_imagen(
    sandbox: SandboxServer, tmp_path: Path, version: str
) -> None:
    sandbox.state.configure(google_imagen=True)
    config = load_config(
        {
            "GOOGLE_GENAI_BASE_URL": f"{sandbox.url}/google/{version}",
            "GEMINI_API_KEY": DEFAULT_GOOGLE_KEY,
            "RING_STATE_DIR": str(tmp_path),
        },
        folder=tmp_path,
    )
    imagen = ImageRequest(prompt="x", provider="google", model="imagen-4.0-generate-001", n=2, aspect_ratio="16:9")
    async with open_app(config) as app:
        result = await app.images.generate(imagen, actor_id=ACTOR)
        assert (result.success, len(result.images), result.billed_cost_usd) == (True, 2, None)
        assert (await job_of(app, result.job_id)).settled_usd == Decimal("0.08")
        assert any("was retired by its provider on 2026-08-17" in warning for warning in result.warnings or ())
        made = await app.images.generate(CAT, actor_id=ACTOR)
        assert made.success
    assert charges(sandbox) == 2


async def test_a_public_address_refuses_imagen_and_a_missing_key_is_named(tmp_path: Path) -> None:
    public = "https://generativelanguage.googleapis.com/v1"
    config = load_config({"GOOGLE_GENAI_BASE_URL": public, "RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)
    async with open_app(config) as app:
        with pytest.raises(ModelRetired):
            app.images.plan(ImageRequest(prompt="x", provider="google", model="imagen-4.0-fast-generate-001"))
        with pytest.raises(ProviderAuthError, match=r"^GOOGLE_GENAI_API_KEY is not configured$"):
            await app.images.generate(CAT, actor_id=ACTOR)
        checks = {check.name: check for check in (await app.health.check()).checks}
        assert checks["provider google"].detail == "not in use: GOOGLE_GENAI_API_KEY is not configured"


@pytest.mark.parametrize(
    ("key", "asked", "words"),
    [
        ("GEMINI_API_KEY", ImageRequest(prompt="x"), "Call again with provider google"),
        ("GEMINI_API_KEY", VideoRequest(prompt="x"), "Call again with provider google"),
        ("GEMINI_API_KEY", VideoRequest(prompt="x", provider="google", first_frame_prompt="y"), "imageProvider google"),
        ("XAI_API_KEY", ImageRequest(prompt="x", provider="google"), "Call again with provider xai"),
        ("", ImageRequest(prompt="x"), "Set a valid provider key"),
    ],
)
async def test_whoever_has_the_other_key_is_told_how_to_go_on(
    key: str, asked: ImageRequest | VideoRequest, words: str, tmp_path: Path
) -> None:
    given = {"RING_STATE_DIR": str(tmp_path), **({key: "k" * 39} if key else {})}
    async with open_app(load_config(given, folder=tmp_path)) as app:
        with pytest.raises(ProviderAuthError, match="is not configured") as told:
            await (app.images.quote(asked) if isinstance(asked, ImageRequest) else app.videos.quote(asked))
    assert words in told.value.next_action
