"""What every provider of pictures promises, whichever it is: against its emulated service, on a real socket."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ring_mcp.domain import ImagePlan, ImageRequest
from ring_mcp.errors import (
    Billed,
    ContentRefused,
    CreditsExhausted,
    GenerationFailed,
    InvalidRequest,
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
from ring_mcp.plans.image import ImageSettings, plan_image
from ring_mcp.providers.base import Accepted, Finished, Inputs, MediaProvider, Running
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.fault_kinds import FAULT_KINDS
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

LIMIT_S = 60.0
SETTINGS = ImageSettings(
    default_provider="xai", storage_prefix="generated", models={}, aspect_ratios={}, resolutions={}
)


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (48, 32), "green").save(content, "PNG")
    return content.getvalue()


PNG = png()


@dataclass
class Service:
    """A provider, and the emulated service that it talks to, seen from behind."""

    name: str
    provider: MediaProvider
    sandbox: SandboxServer
    clock: InstantClock
    spool: Path

    def plan(self, **asked: Any) -> ImagePlan:
        asked = {"prompt": "a lighthouse at dusk", "resolution": "1k", "provider": self.name} | asked
        return plan_image(ImageRequest(**asked), SETTINGS, PRESETS, TODAY.date())

    async def submit(self, plan: ImagePlan | None = None, deadline_s: float = LIMIT_S) -> Accepted | Finished:
        plan = plan or self.plan()
        given = Inputs(reference_images=plan.reference_images)
        submit = self.provider.submit(plan, given, spool=self.spool / "job", deadline_s=deadline_s)
        return await asyncio.wait_for(submit, 2 * LIMIT_S)

    async def result(self, plan: ImagePlan | None = None) -> Finished:
        """Everything from the request to the finished pictures."""
        plan = plan or self.plan()
        answer: Accepted | Finished | Running = await self.submit(plan)
        handle = answer.provider_request_id if isinstance(answer, Accepted) else ""
        for _ in range(50):
            if isinstance(answer, Finished):
                return answer
            answer = await self.provider.check(plan, handle)
        raise AssertionError("the job does not end")

    async def handle(self, plan: ImagePlan) -> str:
        answer = await self.submit(plan)
        assert isinstance(answer, Accepted)
        return answer.provider_request_id

    async def failure(self, attempt: Any) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            await asyncio.wait_for(attempt, 3 * LIMIT_S)
        return caught.value

    def calls(self, n: int) -> int:
        """How many paid requests a plan of n pictures takes."""
        return n if self.name == "google" else 1

    def is_price_of(self, plan: ImagePlan, billed_usd: Decimal) -> bool:
        """Whether a plan has quoted this. Google counts tokens: of the prompt as many as there can be are quoted, of
        thoughts none. Otherwise it never bills more."""
        if self.name == "google":
            thoughts_usd = plan.n * Decimal("0.002") * self.sandbox.state.settings.google_thoughts
            prompt_usd = sum((line.total_usd for line in plan.prices if line.what.startswith("prompt")), Decimal(0))
            return plan.list_usd - prompt_usd <= billed_usd <= plan.list_usd + thoughts_usd
        return billed_usd == plan.list_usd

    def spell(self, style: str) -> None:
        if style == "old":
            self.sandbox.state.configure(**OLD_SPELLING[self.name])

    def arm(self, fault: str, **options: Any) -> None:
        self.sandbox.state.faults.add(fault, **options)

    @property
    def posts(self) -> int:
        """Paid requests that reached the service, accepted or not."""
        return sum(request["method"] == "POST" for request in self.sandbox.state.requests)

    @property
    def accepted(self) -> int:
        return len(self.sandbox.state.books.charges())

    @property
    def billed_usd(self) -> Decimal:
        """What the service has really billed."""
        return Decimal(self.sandbox.state.books.total_ticks) / 10**10


@asynccontextmanager
async def opened(name: str, sandbox: SandboxServer, spool: Path, key: str) -> AsyncIterator[Service]:
    clock = InstantClock()
    async with opened_maker("image", name, sandbox, clock, key) as provider:
        yield Service(name, provider, sandbox, clock, spool)


WITH_HANDLE = pytest.mark.parametrize("kind", ["xai"])
"""For what only a provider promises that gives a handle, or an address: Google's pictures come inside its answer."""


@pytest.fixture(params=MAKERS["image"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def service(kind: str, sandbox: SandboxServer, tmp_path: Path) -> AsyncIterator[Service]:
    async with opened(kind, sandbox, tmp_path, KEYS[kind]) as service:
        yield service


@pytest.fixture
async def stranger(kind: str, sandbox: SandboxServer, tmp_path: Path) -> AsyncIterator[Service]:
    """The same, with a key that the service does not know."""
    async with opened(kind, sandbox, tmp_path, WRONG_KEY) as service:
        yield service


WAYS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "with a handle": ("xai", (), {}),
    "at once, by address": ("xai", ("ignore_deferred",), {}),
    "at once, inside the answer": ("xai", ("ignore_deferred", "b64"), {}),
    "without the word done": ("xai", ("done_without_status",), {}),
    "stored by the provider": ("xai", ("url_in_file_output",), {}),
    "in the April shape": ("xai", ("legacy_revised_prompt",), {}),
    "inside the answer to a poll": ("xai", ("b64",), {}),
    "one in each answer": ("google", (), {}),
    "after thoughts and text": ("google", (), {"google_thoughts": True}),
}


@pytest.mark.parametrize(("kind", "faults", "settings"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("n", [1, 3])
async def test_pictures_arrive_whole_and_are_billed_as_quoted(
    service: Service, faults: tuple[str, ...], settings: dict[str, Any], n: int, tmp_path: Path
) -> None:
    for fault in faults:
        service.arm(fault)
    service.sandbox.state.configure(**settings)
    plan = service.plan(n=n)
    result = await service.result(plan)
    assert len(result.outputs) == n
    assert result.warnings == ()
    assert result.billed_usd == service.billed_usd
    assert service.is_price_of(plan, service.billed_usd)
    for index, output in enumerate(result.outputs):
        path = service.spool / (output.spool_path or f"{index}.part")
        if output.spool_path is None:
            done = await service.provider.download(output, path)
            assert (done.size_bytes, done.sha256) == hash_file(path)
        size_bytes, sha256 = hash_file(path)
        media = identify(path, InThisProcess(), size_bytes=size_bytes, sha256=sha256, expected="image")
        assert media.content_type == "image/jpeg"
        assert media.width_px == media.height_px
    assert service.posts == service.accepted == service.calls(n)


async def test_what_can_be_planned_is_accepted_at_its_price(service: Service) -> None:
    living = {
        name: model
        for name, model in PRESETS.image_models.items()
        if model.provider == service.name and not model.is_retired(TODAY.date())
    }
    assert living
    for name, model in living.items():
        asked: list[dict[str, Any]] = [{"aspect_ratio": ratio} for ratio in model.aspect_ratios]
        asked += [{"resolution": resolution, "n": n} for resolution in model.resolutions for n in (1, 2, model.max_n)]
        for each in asked:
            before_usd = service.billed_usd
            plan = service.plan(model=name, **each)
            await service.submit(plan)
            assert service.is_price_of(plan, service.billed_usd - before_usd), (name, each)


@pytest.mark.parametrize(
    "prompt", ["Ein Leuchtturm – „schön“ 🗼", 'quotes " and \\ backslashes', "two\nlines", "<b>&amp;</b>", "x" * 5000]
)
async def test_a_prompt_arrives_as_it_was_written(service: Service, prompt: str) -> None:
    await service.submit(service.plan(prompt=prompt))
    (charge,) = service.sandbox.state.books.charges()
    assert charge.prompt == prompt


@WITH_HANDLE
async def test_a_job_runs_until_done_and_looking_is_free(service: Service) -> None:
    service.sandbox.state.configure(deferred_s=3600.0)
    plan = service.plan()
    handle = await service.handle(plan)
    for _ in range(4):
        answer = await service.provider.check(plan, handle)
        assert isinstance(answer, Running)
        assert answer.progress is None or 0 <= answer.progress < 100
    service.sandbox.state.skip(3600.0)
    results = [await service.provider.check(plan, handle) for _ in range(2)]
    assert all(isinstance(result, Finished) and len(result.outputs) == 1 for result in results)
    assert (service.posts, service.billed_usd) == (1, plan.list_usd)


async def test_the_same_request_twice_is_two_jobs_and_two_bills(service: Service) -> None:
    answers = [await service.submit() for _ in range(2)]
    assert len({answer.provider_request_id for answer in answers if isinstance(answer, Accepted)}) in (0, 2)
    assert service.accepted == 2


async def test_twenty_requests_at_once_are_twenty_jobs(service: Service) -> None:
    answers = await asyncio.gather(*(service.submit() for _ in range(20)))
    assert len({answer.provider_request_id for answer in answers if isinstance(answer, Accepted)}) in (0, 20)
    assert (service.posts, service.accepted) == (20, 20)


async def test_fewer_pictures_than_asked_for_come_with_a_warning(service: Service) -> None:
    service.arm("google_blocked" if service.name == "google" else "partial")
    result = await service.result(service.plan(n=3))
    assert sum(output.lost_because is None for output in result.outputs) == 2
    assert "2 of 3" in result.warnings[0]


async def test_given_pictures_are_used_and_billed_or_refused_when_planned(service: Service) -> None:
    encoded = base64.b64encode(PNG).decode()
    picture = f"data:image/png;base64,{encoded}"
    [default] = [each.model for name, each in PRESETS.defaults.image.items() if name == service.name]
    most = PRESETS.image_models[default].max_input_images
    for count in {min(1, most), most} - {0}:
        service.sandbox.state.books.clear()
        service.sandbox.state.requests.clear()
        plan = service.plan(reference_images=(picture,) * count, n=2)
        result = await service.result(plan)
        assert len(result.outputs) == 2
        assert result.billed_usd == service.billed_usd
        assert service.is_price_of(plan, service.billed_usd), (count, plan.list_usd, service.billed_usd)
        sent = [str(request["body"]) for request in service.sandbox.state.requests if request["method"] == "POST"]
        assert {body.count(encoded[:60]) for body in sent} == {count}
    with pytest.raises(InvalidRequest, match="reference images"):
        service.plan(reference_images=(picture,) * (most + 1))


async def test_every_model_that_edits_takes_all_it_may_at_its_price(service: Service) -> None:
    picture = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    models = {name: model for name, model in PRESETS.image_models.items() if model.provider == service.name}
    editing = {n: m for n, m in models.items() if m.max_input_images and not m.is_retired(TODAY.date())}
    assert editing
    for name, model in editing.items():
        for size, count, n in product(model.resolutions, {1, model.max_input_images}, (1, 2)):
            before_usd = service.billed_usd
            plan = service.plan(model=name, reference_images=(picture,) * count, resolution=size, n=n)
            await service.submit(plan)
            billed_usd = service.billed_usd - before_usd
            assert service.is_price_of(plan, billed_usd), (name, size, count, n, plan.list_usd, billed_usd)


@pytest.mark.parametrize(
    ("asked", "is_wide"), [(None, True), ("9:16", False)], ids=["its own shape", "the shape that is asked"]
)
@pytest.mark.parametrize("kind", ["google"])
async def test_an_edit_by_google_has_its_shape(
    service: Service, asked: str | None, is_wide: bool, tmp_path: Path
) -> None:
    picture = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    result = await service.result(service.plan(reference_images=(picture,), aspect_ratio=asked))
    (output,) = result.outputs
    assert output.spool_path is not None
    with Image.open(service.spool / output.spool_path) as image:
        assert (image.width > image.height) is is_wide


async def test_a_bill_that_differs_from_the_list_is_reported_as_it_is(service: Service) -> None:
    service.sandbox.state.configure(price_factor=2.5)
    plan = service.plan()
    result = await service.result(plan)
    assert result.billed_usd == service.billed_usd
    assert service.billed_usd >= plan.prices[0].total_usd * Decimal("2.5")


async def test_a_provider_that_says_nothing_of_the_cost_gives_no_figure(service: Service) -> None:
    service.arm("usage_null", method="POST" if service.name == "google" else "GET")
    assert (await service.result()).billed_usd is None


async def test_a_missing_key_is_told_before_anything_is_sent(kind: str, sandbox: SandboxServer, tmp_path: Path) -> None:
    async with opened(kind, sandbox, tmp_path, "") as service:
        with pytest.raises(ProviderAuthError, match="_API_KEY is not configured") as caught:
            service.provider.check_ready()
        assert (caught.value.billed, caught.value.provider) == ("no", service.name)
        assert isinstance(await service.failure(service.submit()), ProviderAuthError)
    assert service.posts == 0


async def test_a_configured_key_is_ready_without_asking_anybody(service: Service) -> None:
    service.provider.check_ready()
    assert list(service.sandbox.state.requests) == []


@pytest.mark.parametrize("style", ["new", "old"])
async def test_a_wrong_key_is_told_as_such_and_not_repeated(stranger: Service, style: str) -> None:
    stranger.spell(style)
    error = await stranger.failure(stranger.submit())
    assert type(error) is ProviderAuthError
    assert (error.billed, stranger.posts, stranger.accepted) == ("no", 1, 0)
    assert WRONG_KEY not in f"{error!r} {error.__cause__!r}"


@dataclass(frozen=True)
class Refusal:
    """A fault of the paid request. ``posts`` is how often it reaches the service."""

    fault: str
    is_a: type[ProviderError]
    billed: Billed
    posts: int = 1
    times: int = -1
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return " ".join([self.fault, *(f"{name}={value}" for name, value in self.options)])


UNCLEAR = (301, 400, 401, 403, 404, 408, 409, 422, 499, 500, 502, 503, 504)
"""Statuses that prove nothing without words of the provider itself."""

EVERYWHERE = [
    Refusal("rate_limited", RateLimited, "no", posts=4, options=(("retry_after", 3),)),
    Refusal("credits_exhausted", CreditsExhausted, "no"),
    Refusal("credits_exhausted", CreditsExhausted, "no", options=(("status", 402),)),
    *(Refusal("status", OutcomeUnknown, "unknown", options=(("status", status),)) for status in UNCLEAR),
    *(Refusal("html_502", OutcomeUnknown, "unknown", options=(("status", status),)) for status in UNCLEAR),
    Refusal("truncated_json", OutcomeUnknown, "unknown"),
    Refusal("drop_before_accept", OutcomeUnknown, "unknown"),
    Refusal("drop_after_accept", OutcomeUnknown, "unknown"),
]
BLOCKS = ["IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "IMAGE_RECITATION", "NO_IMAGE",
          "PROHIBITED_CONTENT", "SAFETY", "RECITATION", "BLOCKLIST", "SPII"]  # fmt: skip
REFUSALS = {
    "xai": [
        *EVERYWHERE,
        Refusal("bare_422", ProviderRejected, "no"),
        Refusal("moderated", ContentRefused, "yes"),
        Refusal("no_request_id", OutcomeUnknown, "unknown"),
    ],
    "google": [
        *EVERYWHERE,
        *(Refusal("google_blocked", ContentRefused, "yes", options=(("reason", reason),)) for reason in BLOCKS),
        Refusal("google_blocked", ContentRefused, "yes", options=(("reason", "OTHER"), ("in_prompt", True))),
        Refusal("google_blocked", ContentRefused, "unknown", options=(("billed", False),)),
        Refusal("google_blocked", GenerationFailed, "yes", options=(("reason", "MAX_TOKENS"),)),
        Refusal("google_blocked", GenerationFailed, "yes", options=(("reason", "A_WORD_OF_THE_FUTURE"),)),
        *(
            Refusal("google_error", is_a, "no", options=(("status", status),))
            for status, is_a in (
                (400, ProviderRejected),
                (403, ProviderAuthError),
                (404, ProviderRejected),
                (500, ProviderUnavailable),
                (503, ProviderUnavailable),
                (504, ProviderUnavailable),
            )
        ),
        Refusal("rate_limited", QuotaExhausted, "no", options=(("per_day", True),)),
        Refusal("bare_422", OutcomeUnknown, "unknown"),
    ],
}


@pytest.mark.parametrize("style", ["new", "old"])
@pytest.mark.parametrize(
    ("kind", "refusal"),
    [pytest.param(kind, each, id=f"{kind} {each.name}") for kind, several in REFUSALS.items() for each in several],
)
async def test_a_refused_paid_request_is_told_apart_never_paid_twice(
    service: Service, refusal: Refusal, style: str
) -> None:
    service.spell(style)
    service.arm(refusal.fault, times=refusal.times, method="POST", **dict(refusal.options))
    error = await service.failure(service.submit())
    assert type(error) is refusal.is_a
    assert error.billed == refusal.billed
    assert service.posts == refusal.posts
    assert service.accepted <= 1
    if error.billed_usd is not None:
        assert error.billed_usd == service.billed_usd


@pytest.mark.parametrize(("retry_after", "times"), [(None, 1), (3, 2), ("date", 1)])
async def test_a_rate_limit_is_waited_out_and_paid_once(service: Service, retry_after: Any, times: int) -> None:
    service.arm("rate_limited", times=times, retry_after=retry_after)
    await service.submit()
    assert (service.posts, service.accepted) == (times + 1, 1)
    assert len(service.clock.slept_s) == times
    if retry_after == 3:
        assert service.clock.slept_s == [3.0, 3.0]


@pytest.mark.parametrize("kind", ["google"])
async def test_of_four_pictures_a_quota_of_the_day_costs_one_request_each(service: Service) -> None:
    service.arm("rate_limited", times=-1, per_day=True)
    error = await service.failure(service.submit(service.plan(n=4)))
    assert type(error) is QuotaExhausted
    assert (error.billed, error.retryable) == ("no", False)
    assert (service.posts, service.accepted) == (4, 0)


@pytest.mark.parametrize("kind", ["google"])
async def test_an_overloaded_picture_leaves_the_bill_of_the_others(service: Service) -> None:
    service.arm("google_error", status=503)
    result = await service.submit(service.plan(n=4))
    assert isinstance(result, Finished)
    assert sum(output.lost_because is None for output in result.outputs) == 3
    assert result.billed_usd == service.billed_usd > 0


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
    assert f"timed out after {LIMIT_S * 1000:.0f}ms" in error.message


async def test_a_service_that_is_not_there_costs_nothing(kind: str, tmp_path: Path) -> None:
    sandbox = SandboxServer().start()
    async with opened(kind, sandbox, tmp_path, KEYS[kind]) as service:
        sandbox.stop()
        error = await service.failure(service.submit())
    assert type(error) is ProviderUnavailable
    assert error.billed == "no"


PASSING = ["no_data", "empty_data", "empty_item", "poll_400", "poll_500", "poll_drop", "poll_empty_202",
           "poll_unknown_status", "html_502", "rate_limited", "truncated_json", "drop_before_accept",
           "credits_exhausted"]  # fmt: skip


@WITH_HANDLE
@pytest.mark.parametrize("fault", PASSING)
async def test_no_trouble_while_looking_ends_a_job(service: Service, fault: str) -> None:
    plan = service.plan()
    handle = await service.handle(plan)
    service.arm(fault, method="GET")
    try:
        assert isinstance(await service.provider.check(plan, handle), Running)
    except ProviderError as exc:
        assert not isinstance(exc, ContentRefused | GenerationFailed | JobExpired)  # noqa: PT017 - it may also run on
    assert isinstance(await service.provider.check(plan, handle), Finished)
    assert service.accepted == 1


ENDINGS: dict[str, tuple[str, dict[str, Any], type[ProviderError]]] = {
    **{
        code: ("poll_failed", {"code": code}, GenerationFailed)
        for code in (
            "invalid_argument",
            "permission_denied",
            "failed_precondition",
            "service_unavailable",
            "internal_error",
        )
    },
    "moderation as a failure": ("poll_failed", {"message": "Rejected by content moderation."}, ContentRefused),
    "moderation as an error": ("poll_moderated_400", {}, ContentRefused),
    "expired": ("poll_expired", {}, JobExpired),
    "not known": ("poll_404", {"times": -1}, JobExpired),
}


@WITH_HANDLE
@pytest.mark.parametrize(("fault", "options", "is_a"), ENDINGS.values(), ids=ENDINGS)
async def test_a_job_that_ended_badly_says_so_every_time(
    service: Service, fault: str, options: dict[str, Any], is_a: type[ProviderError]
) -> None:
    plan = service.plan()
    handle = await service.handle(plan)
    service.arm(fault, **options)
    for _ in range(2):
        error = await service.failure(service.provider.check(plan, handle))
        assert type(error) is is_a
        assert error.billed != "no"
        assert error.billed_usd in (None, service.billed_usd)


@pytest.mark.parametrize(
    "handle", ["no-such-job", "../../models", "..", ".", "a/b?c=d#e", "%2e%2e", "ключ", "a b", "x" * 3000]
)
async def test_a_job_that_nobody_knows_has_expired_whatever_its_handle(service: Service, handle: str) -> None:
    error = await service.failure(service.provider.check(service.plan(), handle))
    assert isinstance(error, JobExpired | ProviderUnavailable | ProviderRejected)
    assert service.accepted == 0


@WITH_HANDLE
@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("fault", ["html_502", "status"])
async def test_a_page_of_a_proxy_ends_no_job(service: Service, fault: str, status: int) -> None:
    plan = service.plan()
    handle = await service.handle(plan)
    service.arm(fault, method="GET", status=status)
    error = await service.failure(service.provider.check(plan, handle))
    assert type(error) is ProviderUnavailable
    assert isinstance(await service.provider.check(plan, handle), Finished)


@WITH_HANDLE
@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_picture_whose_address_has_expired_is_gone(service: Service, status: int, tmp_path: Path) -> None:
    service.sandbox.state.configure(url_ttl_s=60.0, expired_status=status)
    result = await service.result()
    service.sandbox.state.skip(61.0)
    error = await service.failure(service.provider.download(result.outputs[0], tmp_path / "part"))
    assert type(error) is MediaGone
    assert error.billed == "yes"


@dataclass(frozen=True)
class Loss:
    """A fault of a download."""

    fault: str
    is_a: type[ProviderError]
    options: tuple[tuple[str, Any], ...] = ()


LOSSES = [
    Loss("media_status", ProviderUnavailable),
    Loss("media_drop", ProviderUnavailable),
    Loss("media_truncated", ProviderUnavailable),
    Loss("media_huge", MediaTooLarge),
    Loss("media_huge", MediaTooLarge, (("declared", False),)),
    Loss("media_redirect", PrivateAddress),
    Loss("media_redirect", PrivateAddress, (("location", "http://localhost:1/"),)),
    Loss("media_redirect", PrivateAddress, (("location", "http://[::1]:1/"),)),
    Loss("media_redirect", ProviderBadReply, (("location", "file:///etc/passwd"),)),
]


@WITH_HANDLE
@pytest.mark.parametrize("loss", LOSSES, ids=[f"{loss.fault} {dict(loss.options)}" for loss in LOSSES])
async def test_a_download_that_fails_may_be_repeated_and_costs_nothing_more(
    service: Service, loss: Loss, tmp_path: Path
) -> None:
    (output,) = (await service.result()).outputs
    service.arm(loss.fault, **dict(loss.options))
    error = await service.failure(service.provider.download(output, tmp_path / "part"))
    assert type(error) is loss.is_a
    done = await service.provider.download(output, tmp_path / "part")
    assert done.sha256 == hashlib.sha256((tmp_path / "part").read_bytes()).hexdigest()
    assert (service.posts, service.accepted) == (1, 1)


SLOW: dict[str, dict[str, Any]] = {
    "slow_reply": {"seconds": 0.0},
    "stall": {"seconds": 0.0},
    "media_slow": {"bytes_per_s": 10**8},
}
FAULTS = [name for name, kind in FAULT_KINDS.items() if kind.where not in ("ringbase", "upload", "video_poll")]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_raises_a_provider_error_and_hides_no_bill(
    service: Service, fault: str, method: str, tmp_path: Path
) -> None:
    service.arm(fault, method=method, times=3, **SLOW.get(fault, {}))
    plan = service.plan(n=2)
    try:
        for index, output in enumerate((await service.result(plan)).outputs):
            if output.url is not None:
                await service.provider.download(output, tmp_path / f"{index}.part")
    except ProviderError as exc:
        if exc.billed == "no":
            assert service.billed_usd == 0
        assert exc.billed_usd in (None, service.billed_usd)  # noqa: PT017
    assert service.accepted <= service.calls(plan.n)
