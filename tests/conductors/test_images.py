"""ImageConductor: what a caller gets, what is on record, and what was paid, whatever happens on the way."""

from __future__ import annotations

import asyncio
import hashlib
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.app import App, open_app
from ring_mcp.conductors.results import GenerateImageResult
from ring_mcp.config import load_config
from ring_mcp.domain import ImageRequest, JobState
from ring_mcp.errors import CapExceeded, InvalidRequest, ProviderAuthError, StorageError
from ring_mcp.jobs.rendering import TRIES_BEFORE_TAKEN
from ring_mcp.jobs.storing import MEDIA_GONE_AFTER_S
from ring_mcp.ledger.base import JobQuery
from ring_mcp.sandbox.server import SandboxServer
from tests.conductors.running import ACTOR, LIMIT_S, charges, job_of, running, settled, spool_is_empty
from tests.fake_clock import FakeClock, HurryingClock

CAT = ImageRequest(prompt="a cat on a wall")


async def test_a_picture_ends_in_storage_with_its_row_and_its_cost(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert result.success
        assert result.error is None
        image = result.images[0]
        content = Path(image.local_path or "").read_bytes()
        assert hashlib.sha256(content).hexdigest() == image.sha256
        assert (image.size, image.content_type, image.width, image.height) == (len(content), "image/jpeg", 2048, 2048)
        assert result.url == image.url == Path(image.local_path or "").as_uri()
        job = await job_of(app, result.job_id)
        assert (job.state, job.settled_usd, job.billed_usd) == (JobState.DONE, Decimal("0.06"), Decimal("0.06"))
        row = (await app.ledger.records("generated_images", [image.record_id]))[0]
        assert row["prompt"] == "a cat on a wall"
        assert row["actorId"] == ACTOR
        assert (row["url"], row["size"], row["jobId"]) == (image.url, image.size, job.id)
        assert charges(sandbox) == 1
        assert await spool_is_empty(tmp_path)


async def test_every_picture_of_a_call_is_stored_and_recorded_by_itself(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(ImageRequest(prompt="cats", n=3, purpose="og"), actor_id=ACTOR)
        assert len({image.sha256 for image in result.images}) == 3
        keys = [Path(image.local_path or "").name for image in result.images]
        assert [key.split("-")[1] for key in keys] == ["0", "1", "2"]
        rows = await app.ledger.records("generated_images", [image.record_id for image in result.images])
        assert sorted(str(row["url"]) for row in rows) == sorted(image.url for image in result.images)
        assert charges(sandbox) == 1


@pytest.mark.parametrize(
    "request_",
    [
        CAT,
        ImageRequest(prompt="x", n=10),
        ImageRequest(prompt="x", resolution="1k"),
        ImageRequest(prompt="x", model="grok-imagine-image", n=2),
        ImageRequest(prompt="x", model="grok-imagine-image-quality", resolution="1.5k"),
    ],
)
async def test_a_quote_is_what_is_reserved_and_what_is_billed(
    sandbox: SandboxServer, tmp_path: Path, request_: ImageRequest
) -> None:
    async with running(sandbox, tmp_path) as app:
        quote = await app.images.quote(request_)
        assert charges(sandbox) == 0
        result = await app.images.generate(request_, actor_id=ACTOR)
        job = await job_of(app, result.job_id)
        assert quote.total_usd == quote.estimated_cost_usd == job.reserved_usd == job.billed_usd
        assert (quote.model, quote.resolution, quote.warnings) == (result.model, result.resolution, result.warnings)


async def test_a_cancelled_call_leaves_and_the_paid_picture_still_lands(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(deferred_s=60)
    async with running(sandbox, tmp_path) as app:
        call = asyncio.create_task(app.images.generate(CAT, actor_id=ACTOR))
        async with asyncio.timeout(LIMIT_S):
            while charges(sandbox) == 0:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        sandbox.state.skip(61)
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert result.success
        assert result.joined
        assert charges(sandbox) == 1


async def test_twenty_identical_calls_at_once_are_one_paid_job(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        results = await asyncio.gather(*(app.images.generate(CAT, actor_id=ACTOR) for _ in range(20)))
        assert len({result.job_id for result in results}) == 1
        assert sum(not result.joined for result in results) == 1
        assert charges(sandbox) == 1


async def test_an_identical_call_after_delivery_is_a_new_picture(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        first = await app.images.generate(CAT, actor_id=ACTOR)
        second = await app.images.generate(CAT, actor_id=ACTOR)
        assert first.job_id != second.job_id
        assert charges(sandbox) == 2


async def test_the_same_key_is_the_same_picture_for_good(sandbox: SandboxServer, tmp_path: Path) -> None:
    keyed = ImageRequest(prompt="a cat", idempotency_key="k1")
    async with running(sandbox, tmp_path) as app:
        first = await app.images.generate(keyed, actor_id=ACTOR)
        again = await app.images.generate(keyed, actor_id=ACTOR)
        assert first.job_id == again.job_id
        assert again.images == first.images
        with pytest.raises(InvalidRequest, match="already stands for another request"):
            await app.images.generate(ImageRequest(prompt="a dog", idempotency_key="k1"), actor_id=ACTOR)
        assert charges(sandbox) == 1


async def test_a_quote_says_what_its_key_stands_for(sandbox: SandboxServer, tmp_path: Path) -> None:
    keyed = ImageRequest(prompt="a cat", idempotency_key="k1")
    async with running(sandbox, tmp_path) as app:
        assert not (await app.images.quote(keyed, actor_id=ACTOR)).warnings
        made = await app.images.generate(keyed, actor_id=ACTOR)
        again = await app.images.quote(keyed, actor_id=ACTOR)
        assert [f"job {made.job_id} is joined" in warning for warning in again.warnings or ()] == [True]
        with pytest.raises(InvalidRequest, match="already stands for another request"):
            await app.images.quote(ImageRequest(prompt="a dog", idempotency_key="k1"), actor_id=ACTOR)
        assert not (await app.images.quote(keyed, actor_id="somebody else")).warnings
        assert charges(sandbox) == 1


async def test_a_key_may_be_used_again_after_an_attempt_that_cost_nothing(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    keyed = ImageRequest(prompt="a cat", idempotency_key="k1")
    sandbox.state.faults.add("credits_exhausted")
    async with running(sandbox, tmp_path) as app:
        refused = await app.images.generate(keyed, actor_id=ACTOR)
        assert refused.failure is not None
        assert (refused.failure.code, refused.failure.billed) == ("credits_exhausted", "no")
        assert (await app.images.generate(keyed, actor_id=ACTOR)).success
        assert charges(sandbox) == 1


async def test_a_refused_prompt_is_billed_as_the_provider_says(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("moderated")
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert not result.success
        assert result.failure is not None
        assert (result.failure.code, result.failure.billed) == ("content_refused", "yes")
        job = await job_of(app, result.job_id)
        assert (job.state, job.settled_usd) == (JobState.REFUSED, Decimal("0.06"))


@pytest.mark.parametrize("fault", ["drop_after_accept", "html_502"])
async def test_a_submit_without_an_answer_is_unknown_and_never_sent_again(
    sandbox: SandboxServer, tmp_path: Path, fault: str
) -> None:
    sandbox.state.faults.add(fault)
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert result.failure is not None
        assert (result.state, result.failure.code, result.failure.billed) == ("unknown", "unknown_outcome", "unknown")
        again = await app.images.generate(CAT, actor_id=ACTOR)
        assert again.job_id == result.job_id
        assert again.joined
        spend = await app.ledger.spend((await job_of(app, result.job_id)).created_at, sandbox=True)
        assert (spend.day_reserved_usd, spend.unknown_jobs) == (Decimal("0.06"), 1)
    assert len([r for r in sandbox.state.requests if r["path"].endswith("/images/generations")]) == 1


async def test_a_picture_that_is_gone_does_not_take_the_others_along(sandbox: SandboxServer, tmp_path: Path) -> None:
    """It is looked for as long as its provider keeps results, and is lost by itself."""
    sandbox.state.faults.add("media_status", path="/media/", times=-1, after=1, status=410)
    clock = FakeClock()
    settings = {"RING_SANDBOX": sandbox.url, "RING_STATE_DIR": str(tmp_path)}
    async with open_app(load_config(settings, folder=tmp_path), clock=clock) as app:
        opened = await app.images.generate(ImageRequest(prompt="cats", n=2), actor_id=ACTOR, wait_s=0)
        async with asyncio.timeout(LIMIT_S):
            while not (job := await job_of(app, opened.job_id)).is_settled:
                clock.advance(600 if job.state is JobState.STORING else 1)
                await asyncio.sleep(0.01)
        assert job.finished_at is not None
        assert (job.finished_at - job.created_at).total_seconds() >= MEDIA_GONE_AFTER_S
        result = await app.calls.deliver(job)
        assert isinstance(result, GenerateImageResult)
        assert result.success
        assert len(result.images) == 1
        assert any("output 2 of 2 is lost" in warning for warning in result.warnings or ())


async def in_the_end(app: App, request: ImageRequest) -> GenerateImageResult:
    """What comes of a request that is waited for however long it takes."""
    opened = await app.images.generate(request, actor_id=ACTOR, wait_s=0)
    result = await app.calls.deliver(await settled(app, opened.job_id))
    assert isinstance(result, GenerateImageResult)
    return result


async def test_a_damaged_picture_is_asked_for_again_then_kept(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("media_huge", times=-1, bytes=5000, content_type="image/jpeg")
    async with running(sandbox, tmp_path, HurryingClock(200.0)) as app:
        result = await in_the_end(app, CAT)
        assert result.success
        (image,) = result.images
        assert (image.size, image.content_type) == (5000, "image/jpeg")
        (doubt,) = result.warnings or ()
        assert doubt.endswith("a damaged or incomplete JPEG file of 5000 bytes; it is kept as it came")
        assert charges(sandbox) == 1
    fetched = [request for request in sandbox.state.requests if request["path"].startswith("/media/")]
    assert len(fetched) == TRIES_BEFORE_TAKEN + 1


async def test_a_page_in_place_of_a_picture_is_never_taken_for_it(sandbox: SandboxServer, tmp_path: Path) -> None:
    page = sandbox.state.faults.add("media_html", times=TRIES_BEFORE_TAKEN + 2)
    async with running(sandbox, tmp_path, HurryingClock(200.0)) as app:
        result = await in_the_end(app, CAT)
        assert result.success
        assert (result.warnings or (), result.images[0].content_type) == ((), "image/jpeg")
    assert page.hits == TRIES_BEFORE_TAKEN + 2


async def test_an_unreadable_yes_of_the_storage_leaves_one_copy(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("ringbase_no_url")
    async with running(sandbox, tmp_path, FILE_BACKEND="ringbase") as app:
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert result.failure is not None
        assert (result.failure.code, result.failure.billed, result.state) == ("storage_unclear", "yes", "storing")
        assert len(sandbox.state.uploads.all()) == 1


async def test_fewer_pictures_than_asked_for_are_delivered_with_a_warning(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    sandbox.state.faults.add("partial", keep=1)
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(ImageRequest(prompt="cats", n=3), actor_id=ACTOR)
        assert result.success
        assert len(result.images) == 1
        assert result.warnings == ("xAI returned 1 of 3 images",)


@pytest.mark.parametrize("faults", [["ignore_deferred"], ["ignore_deferred", "b64"]])
async def test_pictures_that_come_with_the_answer_are_taken_as_they_are(
    sandbox: SandboxServer, tmp_path: Path, faults: list[str]
) -> None:
    for fault in faults:
        sandbox.state.faults.add(fault)
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(ImageRequest(prompt="cats", n=2), actor_id=ACTOR)
        assert result.success
        assert len(result.images) == 2
        assert await spool_is_empty(tmp_path)


async def test_without_the_providers_figure_the_list_price_counts(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("usage_null", times=-1)
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert result.billed_cost_usd is None
        assert (await job_of(app, result.job_id)).settled_usd == Decimal("0.06")


async def test_storage_that_comes_back_gets_the_picture_that_was_paid_for(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    sandbox.state.faults.add("ringbase_status", times=5)
    async with running(sandbox, tmp_path, HurryingClock(), FILE_BACKEND="ringbase") as app:
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert result.success
        assert result.url is not None
        assert result.url.startswith(sandbox.url)
        assert charges(sandbox) == 1


async def test_a_refused_upload_is_told_and_made_good_after_restart(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(ringbase_tokens=["another"])
    async with running(sandbox, tmp_path, FILE_BACKEND="ringbase") as app:
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert not result.success
        assert result.failure is not None
        assert (result.failure.code, result.failure.billed, result.state) == ("storage_refused", "yes", "storing")
    sandbox.state.configure(ringbase_tokens=["sandbox-ringbase-token"])
    async with running(sandbox, tmp_path, FILE_BACKEND="ringbase") as app:
        assert (await settled(app, result.job_id)).state is JobState.DONE
        assert (await app.images.generate(CAT, actor_id=ACTOR)).job_id == result.job_id
    assert charges(sandbox) == 1


async def test_a_job_goes_on_with_the_next_start(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(deferred_s=60)
    async with running(sandbox, tmp_path) as app:
        handle = await app.images.generate(CAT, actor_id=ACTOR, wait_s=0.2)
        assert handle.success
        assert handle.url is None
        assert handle.next_action is not None
        assert handle.job_id is not None
        assert handle.job_id in handle.next_action
    sandbox.state.skip(61)
    async with running(sandbox, tmp_path) as app:
        assert (await settled(app, handle.job_id)).state is JobState.DONE
    assert charges(sandbox) == 1


async def test_outlasting_the_time_out_keeps_the_job(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(deferred_s=60)
    async with running(sandbox, tmp_path, IMAGE_GEN_POLL_TIMEOUT_MS="300") as app:
        late = await app.images.generate(CAT, actor_id=ACTOR)
        assert not late.success
        assert late.failure is not None
        assert late.failure.code == "timeout"
        assert late.failure.message.startswith("Image generation timed out after 300ms")
        sandbox.state.skip(61)
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert result.success
        assert result.job_id == late.job_id
    assert charges(sandbox) == 1


async def test_a_slow_answer_is_really_aborted_at_the_time_out(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("stall", seconds=30)
    async with running(sandbox, tmp_path, IMAGE_GEN_POLL_TIMEOUT_MS="300") as app:
        result = await app.images.generate(CAT, actor_id=ACTOR)
        assert result.failure is not None
        assert result.failure.message.startswith("Image generation timed out after 300ms; the request was aborted")
        assert result.failure.billed == "unknown"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("RING_MAX_USD_PER_CALL", "0.05", "RING_MAX_USD_PER_CALL is $0.05 and this call needs up to $0.06"),
        ("RING_MAX_USD_PER_DAY", "0.1", "RING_MAX_USD_PER_DAY is $0.10: $0.06 used, $0.00 reserved"),
        ("RING_MAX_USD_PER_MONTH", "0.1", "RING_MAX_USD_PER_MONTH is $0.10: $0.06 used"),
    ],
)
async def test_a_cap_refuses_before_anything_is_spent(
    sandbox: SandboxServer, tmp_path: Path, name: str, value: str, text: str
) -> None:
    async with running(sandbox, tmp_path) as app:
        await app.images.generate(CAT, actor_id=ACTOR)
    async with running(sandbox, tmp_path, **{name: value}) as app:
        quote = await app.images.quote(CAT)
        assert any("it would be refused" in warning for warning in quote.warnings or ())
        with pytest.raises(CapExceeded) as refusal:
            await app.images.generate(CAT, actor_id=ACTOR)
        assert text in refusal.value.message
    assert charges(sandbox) == 1


async def test_twenty_calls_against_a_cap_for_three_pay_three_times(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, RING_MAX_USD_PER_DAY="0.20") as app:
        calls = (app.images.generate(ImageRequest(prompt=f"cat {i}"), actor_id=ACTOR) for i in range(20))
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, CapExceeded) for result in results) == 17
    assert charges(sandbox) == 3


async def test_without_a_key_nothing_is_called_and_nothing_is_written(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, RING_SANDBOX="", XAI_API_BASE_URL=sandbox.xai_base_url) as app:
        with pytest.raises(ProviderAuthError, match="XAI_API_KEY is not configured"):
            await app.images.generate(CAT, actor_id=ACTOR)
        assert not (await app.ledger.list_jobs(JobQuery())).jobs
    assert not sandbox.state.requests


async def test_a_state_folder_not_writable_is_found_before_the_spend(sandbox: SandboxServer, tmp_path: Path) -> None:
    blocked = tmp_path / "sandbox" / "spool"
    blocked.parent.mkdir()
    blocked.write_text("a file where the folder should be")
    async with running(sandbox, tmp_path) as app:
        with pytest.raises(StorageError, match="nothing was spent"):
            await app.images.generate(CAT, actor_id=ACTOR)
    assert charges(sandbox) == 0
