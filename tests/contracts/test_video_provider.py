"""What every provider of clips promises, whichever it is: against its emulated service, on a real socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Output, VideoPlan, VideoRequest
from ring_mcp.errors import (
    Billed,
    ContentRefused,
    CreditsExhausted,
    GenerationFailed,
    JobExpired,
    MediaGone,
    MediaTooLarge,
    OutcomeUnknown,
    PrivateAddress,
    ProviderAuthError,
    ProviderBadReply,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
)
from ring_mcp.media.identify import hash_file, identify
from ring_mcp.media.natives import InThisProcess
from ring_mcp.plans.image import ImageSettings
from ring_mcp.plans.video import VideoSettings, plan_video
from ring_mcp.presets import VideoModel
from ring_mcp.providers.base import Accepted, Finished, Inputs, MediaProvider, Running
from ring_mcp.providers.google.videos import GoogleVideos
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.fault_kinds import FAULT_KINDS
from tests.cases.given_media import make_clip
from tests.contracts.provider_services import (
    KEYS,
    MAKERS,
    OLD_SPELLING,
    PRESETS,
    TODAY,
    WRONG_KEY,
    InstantClock,
    opened_maker,
)
from tests.fake_clock import let_pass
from tests.one_now import one_now

LIMIT_S = 60.0
SETTINGS = VideoSettings(
    storage_prefix="generated/videos",
    models={},
    durations_s={},
    aspect_ratios={},
    images=ImageSettings(
        default_provider="xai", storage_prefix="generated", models={}, aspect_ratios={}, resolutions={}
    ),
)
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5E"
    "rkJggg=="
)


@dataclass
class Service:
    """A provider, and the emulated service that it talks to, seen from behind."""

    name: str
    provider: MediaProvider
    sandbox: SandboxServer
    clock: InstantClock
    spool: Path

    def plan(self, **asked: Any) -> VideoPlan:
        asked = {"prompt": "a boat turns into the wind", "duration_s": 3, "provider": self.name, **asked}
        return plan_video(VideoRequest(**asked), SETTINGS, PRESETS, TODAY.date())

    async def submit(self, plan: VideoPlan | None = None, deadline_s: float = LIMIT_S) -> str:
        """With everything that the plan takes in, which the tests give as data URIs."""
        plan = plan or self.plan()
        given = Inputs(
            image_url=plan.image_url,
            last_frame_url=plan.last_frame_url,
            reference_images=plan.reference_images,
            video_url=plan.source_video_url,
        )
        sending = self.provider.submit(plan, given, spool=self.spool / "job", deadline_s=deadline_s)
        answer = await asyncio.wait_for(sending, 2 * LIMIT_S)
        assert isinstance(answer, Accepted), "a clip takes too long to wait for it in the call"
        return answer.provider_request_id

    async def look(self, handle: str, plan: VideoPlan | None = None) -> Running | Finished:
        return await self.provider.check(plan or self.plan(), handle)

    async def result(self, plan: VideoPlan | None = None) -> Finished:
        handle = await self.submit(plan)
        for _ in range(50):
            answer = await self.look(handle, plan)
            if isinstance(answer, Finished):
                return answer
        raise AssertionError("the job does not end")

    async def failure(self, attempt: Any) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            await asyncio.wait_for(attempt, 3 * LIMIT_S)
        return caught.value

    def arm(self, fault: str, **options: Any) -> None:
        self.sandbox.state.faults.add(fault, **options)

    def is_price_of(self, plan: VideoPlan, billed_usd: Decimal) -> bool:
        """Whether a plan has quoted this. Google counts tokens, its price for a second is rounded up."""
        if self.name == "google":
            return 0 <= plan.list_usd - billed_usd <= plan.list_usd * Decimal("0.02") + Decimal("0.002")
        return billed_usd == plan.list_usd

    @property
    def posts(self) -> int:
        return sum(request["method"] == "POST" for request in self.sandbox.state.requests)

    @property
    def accepted(self) -> int:
        return len(self.sandbox.state.books.charges())

    @property
    def billed_usd(self) -> Decimal:
        return Decimal(self.sandbox.state.books.total_ticks) / 10**10


@asynccontextmanager
async def opened(name: str, sandbox: SandboxServer, spool: Path, key: str) -> AsyncIterator[Service]:
    clock = InstantClock()
    async with opened_maker("video", name, sandbox, clock, key) as provider:
        yield Service(name, provider, sandbox, clock, spool)


@pytest.fixture(params=MAKERS["video"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def service(kind: str, sandbox: SandboxServer, tmp_path: Path) -> AsyncIterator[Service]:
    async with opened(kind, sandbox, tmp_path, KEYS[kind]) as found:
        yield found


async def test_a_clip_arrives_whole_and_is_billed_as_quoted(service: Service, tmp_path: Path) -> None:
    plan = service.plan()
    result = await service.result(plan)
    (output,) = result.outputs
    assert result.billed_usd == service.billed_usd
    assert service.is_price_of(plan, service.billed_usd)
    done = await service.provider.download(output, tmp_path / "clip")
    assert (done.size_bytes, done.sha256) == hash_file(tmp_path / "clip")
    media = identify(
        tmp_path / "clip", InThisProcess(), size_bytes=done.size_bytes, sha256=done.sha256, expected="video"
    )
    assert (media.content_type, media.duration_s) == ("video/mp4", Decimal(3))
    assert (service.posts, service.accepted) == (1, 1)


async def test_what_can_be_planned_is_accepted_at_its_price(service: Service) -> None:
    ratios = PRESETS.video_models[service.plan().model].aspect_ratios
    all_asked: list[dict[str, Any]] = [{"aspect_ratio": ratio} for ratio in ratios]
    all_asked += [{"quality_mode": mode, "image_url": PIXEL if "i2v" in mode else None} for mode in PRESETS.modes]
    for asked in all_asked:
        before_usd = service.billed_usd
        plan = service.plan(**asked)
        await service.submit(plan)
        assert service.is_price_of(plan, service.billed_usd - before_usd), asked


async def test_every_model_in_every_size_is_accepted_at_its_price(kind: str, tmp_path: Path) -> None:
    """What a call can name: the emulated service has tables of its own, so that a model that it lacks fails here.

    With a service of its own, whose stop drops the large clips that nobody waits for.
    """
    known = {name: model for name, model in PRESETS.video_models.items() if model.provider == kind}
    living = {name: model for name, model in known.items() if not model.is_retired(TODAY.date())}
    assert living
    with SandboxServer() as sandbox:
        sandbox.state.configure(show_prompt=False)
        async with opened(kind, sandbox, tmp_path, KEYS[kind]) as service:
            for name, model in living.items():
                images = [None] * model.text_to_video + [PIXEL] * model.image_to_video
                for resolution, image_url in product(model.resolutions, images):
                    before_usd = service.billed_usd
                    plan = service.plan(model=name, resolution=resolution, image_url=image_url)
                    await service.submit(plan)
                    billed_usd = service.billed_usd - before_usd
                    assert service.is_price_of(plan, billed_usd), (name, resolution, image_url)


def data_uri_of_clip(folder: Path, seconds: int) -> str:
    path = folder / f"{seconds}.mp4"
    make_clip(path, "libx264", seconds, (1280, 720))  # what all quotes of a source are made for
    return f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"


def ways_to_give(model: VideoModel, clip: str, seconds: int) -> list[dict[str, Any]]:
    """Everything that a model takes beside words and a first frame: each way, in each size, one and all of them."""
    ways: list[dict[str, Any]] = []
    if model.last_frame:
        ways.append({"image_url": PIXEL, "last_frame_url": PIXEL})
    counts = {1, model.max_reference_images} if model.max_reference_images else set()
    ways += [
        {"reference_images": (PIXEL,) * count, "resolution": size, "duration_s": model.min_duration_s}
        for count, size in product(counts, model.reference_resolutions)
    ]
    source = {"source_video_url": clip, "source_s": Decimal(seconds), "duration_s": None}
    if model.edit:
        ways += [{**source, "remaster": True, "resolution": size} for size in model.edit_resolutions or (None,)]
    if model.extend:
        ways += [{**source, "extend_s": added_s} for added_s in (model.min_extend_s, model.max_extend_s)]
    return ways


@pytest.mark.parametrize("kind", one_now(MAKERS["video"]), indirect=True)
async def test_every_way_to_give_media_is_accepted_at_its_price(kind: str, tmp_path: Path) -> None:
    known = {name: model for name, model in PRESETS.video_models.items() if model.provider == kind}
    clip, checked = data_uri_of_clip(tmp_path, 3), 0
    with SandboxServer() as sandbox:
        sandbox.state.configure(show_prompt=False)
        async with opened(kind, sandbox, tmp_path, KEYS[kind]) as service:
            for name, model in known.items():
                if model.is_retired(TODAY.date()):
                    continue
                for way in ways_to_give(model, clip, 3):
                    before_usd = service.billed_usd
                    plan = service.plan(model=name, **way)
                    await service.submit(plan)
                    billed_usd = service.billed_usd - before_usd
                    shown = {key: value for key, value in way.items() if key != "source_video_url"}
                    assert service.is_price_of(plan, billed_usd), (name, shown, plan.list_usd, billed_usd)
                    checked += 1
    assert checked >= 8


MADE_FROM_A_CLIP: dict[str, tuple[dict[str, Any], int]] = {
    "an edit lasts as long as its source": ({"remaster": True}, 3),
    "an extension has both in one file": ({"extend_s": 3}, 6),
}


@pytest.mark.parametrize(("asked", "made_s"), MADE_FROM_A_CLIP.values(), ids=MADE_FROM_A_CLIP)
async def test_a_clip_from_a_clip_has_the_length_it_should(
    service: Service, asked: dict[str, Any], made_s: int, tmp_path: Path
) -> None:
    source = {"source_video_url": data_uri_of_clip(tmp_path, 3), "source_s": Decimal(3), "duration_s": None}
    plan = service.plan(**source, **asked)
    result = await service.result(plan)
    assert result.billed_usd == service.billed_usd
    (output,) = result.outputs
    await service.provider.download(output, tmp_path / "clip")
    size_bytes, sha256 = hash_file(tmp_path / "clip")
    media = identify(tmp_path / "clip", InThisProcess(), size_bytes=size_bytes, sha256=sha256, expected="video")
    assert media.duration_s is not None
    assert round(media.duration_s, 1) == made_s


@pytest.mark.parametrize("asked", [{"remaster": True}, {"extend_s": 3}])
async def test_a_source_that_is_too_long_is_refused_unbilled(
    service: Service, asked: dict[str, Any], tmp_path: Path
) -> None:
    source = {"source_video_url": data_uri_of_clip(tmp_path, 16), "source_s": Decimal(16), "duration_s": None}
    error = await service.failure(service.submit(service.plan(**source, **asked)))
    assert (type(error), error.billed) == (ProviderRejected, "no")
    assert "video" in error.message
    assert (service.posts, service.accepted) == (1, 0)


@pytest.mark.parametrize("kind", ["google"])
@pytest.mark.parametrize("asked", [{"remaster": True}, {"extend_s": 3}])
async def test_a_region_without_edits_is_told_in_googles_words(
    service: Service, asked: dict[str, Any], tmp_path: Path
) -> None:
    service.sandbox.state.configure(google_takes_uploads=False)
    source = {"source_video_url": data_uri_of_clip(tmp_path, 3), "source_s": Decimal(3), "duration_s": None}
    error = await service.failure(service.submit(service.plan(**source, **asked)))
    assert (type(error), error.billed, service.accepted) == (ContentRefused, "no", 0)
    assert "sensitive words" in error.message
    assert "European Economic Area" in error.next_action


@pytest.mark.parametrize(
    "prompt", ["Ein Leuchtturm – „schön“ 🗼", 'quotes " and \\ backslashes', "two\nlines", "x" * 5000]
)
async def test_a_prompt_arrives_as_it_was_written(service: Service, prompt: str) -> None:
    await service.submit(service.plan(prompt=prompt))
    (charge,) = service.sandbox.state.books.charges()
    assert charge.prompt == prompt


async def test_a_job_runs_until_done_and_looking_is_free(service: Service) -> None:
    service.sandbox.state.configure(render_s=3600.0)
    handle = await service.submit()
    for _ in range(4):
        answer = await service.look(handle)
        assert isinstance(answer, Running)
        assert answer.progress is None or 0 <= answer.progress < 100
    billed_usd = service.billed_usd
    service.sandbox.state.skip(3600.0)
    results = [await service.look(handle) for _ in range(2)]
    assert all(isinstance(result, Finished) and len(result.outputs) == 1 for result in results)
    assert (service.posts, service.accepted, service.billed_usd) == (1, 1, billed_usd)


async def test_the_same_request_twice_is_two_jobs_and_two_bills(service: Service) -> None:
    handles = [await service.submit() for _ in range(2)]
    assert len(set(handles)) == service.accepted == 2


async def test_a_bill_that_differs_from_the_list_is_reported_as_it_is(service: Service) -> None:
    service.sandbox.state.configure(price_factor=2.5)
    plan = service.plan()
    assert (await service.result(plan)).billed_usd == service.billed_usd >= 2 * plan.list_usd


async def test_a_provider_that_says_nothing_of_the_cost_gives_no_figure(service: Service) -> None:
    handle = await service.submit()
    service.arm("usage_null", method="GET")
    answer = await service.look(handle)
    assert isinstance(answer, Finished)
    assert answer.billed_usd is None


async def test_a_missing_key_is_told_before_anything_is_sent(kind: str, sandbox: SandboxServer, tmp_path: Path) -> None:
    async with opened(kind, sandbox, tmp_path, "") as service:
        with pytest.raises(ProviderAuthError, match="_API_KEY is not configured") as caught:
            service.provider.check_ready()
        assert (caught.value.billed, caught.value.provider) == ("no", service.name)
        assert isinstance(await service.failure(service.submit()), ProviderAuthError)
    assert service.posts == 0


@pytest.mark.parametrize("style", ["new", "old"])
async def test_a_wrong_key_is_told_as_such(kind: str, sandbox: SandboxServer, tmp_path: Path, style: str) -> None:
    if style == "old":
        sandbox.state.configure(**OLD_SPELLING[kind])
    async with opened(kind, sandbox, tmp_path, WRONG_KEY) as stranger:
        error = await stranger.failure(stranger.submit())
        assert type(error) is ProviderAuthError
        assert (error.billed, stranger.posts, stranger.accepted) == ("no", 1, 0)
        assert WRONG_KEY not in f"{error!r} {error.__cause__!r}"


Meaning = tuple[type[ProviderError], Billed]
UNKNOWN: Meaning = (OutcomeUnknown, "unknown")
REFUSALS: list[tuple[str, dict[str, Any], Meaning, Meaning, int]] = [
    ("rate_limited", {"retry_after": 3}, (RateLimited, "no"), (RateLimited, "no"), 4),
    ("credits_exhausted", {}, (CreditsExhausted, "no"), (CreditsExhausted, "no"), 1),
    ("credits_exhausted", {"status": 402}, (CreditsExhausted, "no"), (CreditsExhausted, "no"), 1),
    ("bare_422", {}, (ProviderRejected, "no"), UNKNOWN, 1),
    ("moderated", {}, (ContentRefused, "yes"), (ContentRefused, "no"), 1),
    ("status", {}, UNKNOWN, UNKNOWN, 1),
    ("html_502", {}, UNKNOWN, UNKNOWN, 1),
    ("html_502", {"status": 404}, UNKNOWN, UNKNOWN, 1),
    ("html_502", {"status": 403}, UNKNOWN, UNKNOWN, 1),
    ("truncated_json", {}, UNKNOWN, UNKNOWN, 1),
    ("no_request_id", {}, UNKNOWN, UNKNOWN, 1),
    ("no_request_id", {"empty": True}, UNKNOWN, UNKNOWN, 1),
    ("drop_before_accept", {}, UNKNOWN, UNKNOWN, 1),
    ("drop_after_accept", {}, UNKNOWN, UNKNOWN, 1),
]


@pytest.mark.parametrize("style", ["new", "old"])
@pytest.mark.parametrize(
    ("fault", "options", "xai", "google", "posts"), REFUSALS, ids=[f"{row[0]} {row[1]}" for row in REFUSALS]
)
async def test_a_refused_paid_request_is_told_apart_never_paid_twice(
    service: Service, fault: str, options: dict[str, Any], xai: Meaning, google: Meaning, posts: int, style: str
) -> None:
    if style == "old":
        service.sandbox.state.configure(**OLD_SPELLING[service.name])
    service.arm(fault, times=-1, method="POST", **options)
    error = await service.failure(service.submit())
    assert (type(error), error.billed) == {"xai": xai, "google": google}[service.name]
    assert service.posts == posts
    assert service.accepted <= 1


@pytest.mark.parametrize("kind", ["google"])
async def test_a_quota_of_the_day_is_not_waited_out(service: Service) -> None:
    service.arm("rate_limited", times=-1, method="POST", per_day=True)
    error = await service.failure(service.submit())
    assert (type(error), error.billed, service.posts) == (QuotaExhausted, "no", 1)


@pytest.mark.parametrize("kind", ["google"])
@pytest.mark.parametrize("status", [500, 503, 504])
async def test_a_failure_in_googles_words_may_be_tried_again(service: Service, status: int) -> None:
    service.arm("google_error", method="POST", status=status)
    error = await service.failure(service.submit())
    assert (type(error), error.billed, error.retryable) == (ProviderUnavailable, "no", True)
    assert service.billed_usd == 0


async def test_a_request_past_its_deadline_is_unknown_and_sent_once(service: Service) -> None:
    service.arm("stall", seconds=60.0)
    failing = asyncio.create_task(service.failure(service.submit()))
    async with asyncio.timeout(LIMIT_S):
        while service.posts == 0:
            await asyncio.sleep(0.01)
    let_pass(LIMIT_S)
    error = await asyncio.wait_for(failing, LIMIT_S)
    assert type(error) is OutcomeUnknown
    assert (error.billed, service.posts) == ("unknown", 1)


PASSING = ["poll_500", "poll_drop", "poll_unknown_status", "html_502", "rate_limited", "truncated_json",
           "drop_before_accept", "credits_exhausted", "poll_400"]  # fmt: skip


@pytest.mark.parametrize("fault", PASSING)
async def test_no_trouble_while_looking_ends_a_job(service: Service, fault: str) -> None:
    handle = await service.submit()
    service.arm(fault, method="GET")
    try:
        assert isinstance(await service.look(handle), Running)
    except ProviderError as exc:
        assert not isinstance(exc, ContentRefused | GenerationFailed)  # noqa: PT017 - it may also run on
        assert not isinstance(exc, JobExpired) or exc.retryable  # noqa: PT017
        assert exc.billed != "no"  # noqa: PT017
    assert isinstance(await service.look(handle), Finished)
    assert service.accepted == 1


@pytest.mark.parametrize("kind", ["google"])
async def test_a_clip_inside_a_look_is_fetched_by_another_look(service: Service, tmp_path: Path) -> None:
    service.sandbox.state.configure(google_clips_inside=True)
    result = await service.result()
    (output,) = result.outputs
    assert output.url is not None
    assert output.url.startswith(service.sandbox.url)
    assert result.billed_usd == service.billed_usd
    for _ in range(2):
        done = await service.provider.download(output, tmp_path / "clip")
        assert (done.size_bytes, done.sha256) == hash_file(tmp_path / "clip")
        media = identify(
            tmp_path / "clip", InThisProcess(), size_bytes=done.size_bytes, sha256=done.sha256, expected="video"
        )
        assert media.duration_s == Decimal(3)
    service.sandbox.state.configure(google_clips_inside=True, retention_s=60.0)
    service.sandbox.state.skip(61.0)
    error = await service.failure(service.provider.download(output, tmp_path / "clip"))
    assert type(error) is MediaGone
    assert (service.posts, service.accepted) == (1, 1)


@pytest.mark.parametrize("kind", ["google"])
async def test_a_job_that_is_cancelled_ends_for_good_with_its_bill(service: Service) -> None:
    service.sandbox.state.configure(render_s=3600.0)
    plan = service.plan()
    handle = await service.submit(plan)
    assert isinstance(service.provider, GoogleVideos)
    for _ in range(2):
        error = await service.failure(service.provider.cancel(plan, handle))
        assert (type(error), error.billed_usd) == (GenerationFailed, service.billed_usd)
        assert "(cancelled)" in error.message
    assert 0 < service.billed_usd < plan.list_usd / 10
    service.sandbox.state.skip(3600.0)
    assert type(await service.failure(service.look(handle, plan))) is GenerationFailed


@pytest.mark.parametrize("kind", ["google"])
async def test_a_job_that_was_done_before_cancelling_is_finished(service: Service) -> None:
    handle = await service.submit()
    assert isinstance(service.provider, GoogleVideos)
    assert isinstance(await service.look(handle), Finished)
    assert isinstance(await service.provider.cancel(service.plan(), handle), Finished)
    unknown = await service.failure(service.provider.cancel(service.plan(), "no-such-job"))
    assert type(unknown) is JobExpired
    service.arm("drop_before_accept", method="POST")
    assert type(await service.failure(service.provider.cancel(service.plan(), handle))) is ProviderUnavailable


ENDINGS: dict[str, tuple[str, dict[str, Any], type[ProviderError]]] = {
    "failed": ("poll_failed", {}, GenerationFailed),
    "failed and billed": ("poll_failed", {"billed": True}, GenerationFailed),
    "moderation as a failure": ("poll_failed", {"message": "Rejected by content moderation (safety)."}, ContentRefused),
    "moderation as an error": ("poll_moderated_400", {}, ContentRefused),
    "moderation as a job without a clip": ("respect_moderation_false", {}, ContentRefused),
    "expired": ("poll_expired", {}, JobExpired),
    "not known": ("poll_404", {"times": -1}, JobExpired),
}


@pytest.mark.parametrize(("fault", "options", "is_a"), ENDINGS.values(), ids=ENDINGS)
async def test_a_job_that_ended_badly_says_so_every_time(
    service: Service, fault: str, options: dict[str, Any], is_a: type[ProviderError]
) -> None:
    handle = await service.submit()
    service.arm(fault, **options)
    for _ in range(2):
        error = await service.failure(service.look(handle))
        assert type(error) is is_a
        assert error.billed != "no"
        assert error.billed_usd in (None, service.billed_usd)


@pytest.mark.parametrize("handle", ["no-such-job", "../../models", "..", "a/b?c=d#e", "%2e%2e", "ключ", "x" * 3000])
async def test_a_job_that_nobody_knows_has_expired_whatever_its_handle(service: Service, handle: str) -> None:
    error = await service.failure(service.look(handle))
    assert isinstance(error, JobExpired | ProviderUnavailable | ProviderRejected)
    assert service.accepted == 0


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_clip_whose_address_has_expired_is_gone(service: Service, status: int, tmp_path: Path) -> None:
    service.sandbox.state.configure(url_ttl_s=60.0, expired_status=status)
    (output,) = (await service.result()).outputs
    service.sandbox.state.skip(61.0)
    error = await service.failure(service.provider.download(output, tmp_path / "part"))
    assert type(error) is MediaGone
    assert error.billed == "yes"


LOSSES: list[tuple[str, dict[str, Any], type[ProviderError]]] = [
    ("media_status", {}, ProviderUnavailable),
    ("media_drop", {}, ProviderUnavailable),
    ("media_truncated", {}, ProviderUnavailable),
    ("media_huge", {}, MediaTooLarge),
    ("media_redirect", {}, PrivateAddress),
    ("media_redirect", {"location": "http://localhost:1/"}, PrivateAddress),
    ("media_redirect", {"location": "file:///etc/passwd"}, ProviderBadReply),
]


@pytest.mark.parametrize(("fault", "options", "is_a"), LOSSES, ids=[f"{row[0]} {row[1]}" for row in LOSSES])
async def test_a_download_that_fails_may_be_repeated_and_costs_nothing_more(
    service: Service, fault: str, options: dict[str, Any], is_a: type[ProviderError], tmp_path: Path
) -> None:
    (output,) = (await service.result()).outputs
    service.arm(fault, **options)
    error = await service.failure(service.provider.download(output, tmp_path / "part"))
    assert type(error) is is_a
    done = await service.provider.download(output, tmp_path / "part")
    assert (done.size_bytes, done.sha256) == hash_file(tmp_path / "part")
    assert (service.posts, service.accepted) == (1, 1)


SLOW: dict[str, dict[str, Any]] = {
    "slow_reply": {"seconds": 0.0},
    "stall": {"seconds": 0.0},
    "media_slow": {"bytes_per_s": 10**8},
}
FAULTS = [name for name, kind in FAULT_KINDS.items() if kind.where not in ("ringbase", "upload")]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_raises_a_provider_error_and_hides_no_bill(
    service: Service, fault: str, method: str, tmp_path: Path
) -> None:
    service.arm(fault, method=method, times=3, **SLOW.get(fault, {}))
    try:
        (output,) = (await service.result()).outputs
        assert isinstance(output, Output)
        await service.provider.download(output, tmp_path / "part")
    except ProviderError as exc:
        if exc.billed == "no":
            assert service.billed_usd == 0
        assert exc.billed_usd in (None, service.billed_usd)  # noqa: PT017
    assert service.accepted <= 1
