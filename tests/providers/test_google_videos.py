"""Google's dialect for clips: what is asked, and what every documented and every broken answer means. No I/O."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.domain import PriceLine, VideoPlan
from ring_mcp.errors import (
    Billed,
    ContentRefused,
    GenerationFailed,
    JobExpired,
    MediaGone,
    OutcomeUnknown,
    ProviderAuthError,
    ProviderBadReply,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.providers.base import Accepted, Finished, Inputs, Running
from ring_mcp.providers.google.videos import (
    GoogleVideos,
    explain_refusal,
    read_check,
    read_inside,
    read_submit,
    submit_body,
)
from tests.fake_clock import FakeClock, let_pass
from tests.providers.provider_samples import NOW, is_one_line, plain, reply
from tests.providers.raw_server import Connection, RawServer, answering, http

PRICES = {"input": Decimal("1.50"), "text": Decimal("9"), "video": Decimal("12")}
URL = "https://generativelanguage.googleapis.com/v1beta/files/abc:download?alt=media"
CLIP = {"type": "video", "mime_type": "video/mp4", "uri": URL}
USAGE = {
    "total_input_tokens": 10,
    "total_output_tokens": 46336,
    "output_tokens_by_modality": [{"modality": "video", "tokens": 46336}],
}
COST = Decimal("0.556047")
INPUT_COST = Decimal("0.000015")


def video_plan(**changes: Any) -> VideoPlan:
    price = PriceLine(what="video, second", unit_usd=Decimal("0.0696"), count=Decimal(8), as_of="2026-11-11")
    facts: dict[str, Any] = {
        "provider": "google",
        "requested_model": "gemini-omni-1.2-flash",
        "model": "gemini-omni-1.2-flash",
        "prompt": "waves",
        "quality_mode": "production",
        "duration_s": 8,
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "storage_prefix": "generated/videos",
        "estimated_usd": Decimal("0.56"),
        "prices": (price,),
    }
    return VideoPlan(**facts | changes)


def ended(*content: Any, status: str = "completed", usage: Any = USAGE, **more: Any) -> dict[str, Any]:
    steps = [
        {"type": "user_input", "content": [{"type": "video", "uri": "https://example.com/not-this-one"}]},
        {"type": "model_output", "content": list(content)},
    ]
    return {"id": "v1_x", "model": "m", "status": status, "steps": steps, "usage": usage, **more}


def read(body: Any, status: int = 200) -> Running | Finished:
    return read_check(reply(status, body), PRICES, NOW)


def failure(body: Any, status: int = 200) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        read(body, status)
    return caught.value


def test_a_clip_is_asked_for_in_the_background_with_documented_fields_only() -> None:
    body = submit_body(video_plan(), Inputs())
    assert body == {
        "model": "gemini-omni-1.2-flash",
        "input": "waves",
        "background": True,
        "response_format": {
            "type": "video",
            "delivery": "uri",
            "aspect_ratio": "16:9",
            "resolution": "720p",
            "duration": "8s",
        },
    }


def test_a_first_frame_goes_along_as_bytes_before_the_words() -> None:
    body = submit_body(video_plan(), Inputs(image_url="data:image/png;base64,aGVsbG8="))
    assert body["input"] == [
        {"type": "image", "data": "aGVsbG8=", "mime_type": "image/png"},
        {"type": "text", "text": "waves"},
    ]
    assert body["generation_config"] == {"video_config": {"task": "image_to_video"}}


@pytest.mark.parametrize("kind", ["edit", "extend"])
def test_a_clip_of_googles_own_is_named_and_not_given(kind: str) -> None:
    body = submit_body(video_plan(generation_kind=kind), Inputs(video_url=MP4_URI), follows="v1_before")
    assert (body["input"], body["previous_interaction_id"]) == ("waves", "v1_before")
    assert body["generation_config"] == {"video_config": {"task": kind}}
    assert "store" not in body  # it is stored unless one says otherwise


PNG_URI, JPEG_URI, MP4_URI = "data:image/png;base64,YQ==", "data:image/jpeg;base64,Yg==", "data:video/mp4;base64,Yw=="
PNG_PART = {"type": "image", "data": "YQ==", "mime_type": "image/png"}
JPEG_PART = {"type": "image", "data": "Yg==", "mime_type": "image/jpeg"}
MP4_PART = {"type": "video", "data": "Yw==", "mime_type": "video/mp4"}
ALL_ASKED = {"aspect_ratio": "16:9", "resolution": "720p", "duration": "8s"}
WAYS: dict[str, tuple[dict[str, Any], Inputs, str, list[dict[str, str]], dict[str, str]]] = {
    "first and last frame": (
        {},
        Inputs(image_url=PNG_URI, last_frame_url=JPEG_URI),
        "image_to_video",
        [PNG_PART, JPEG_PART],
        ALL_ASKED,
    ),
    "references": (
        {},
        Inputs(reference_images=(PNG_URI, JPEG_URI)),
        "reference_to_video",
        [PNG_PART, JPEG_PART],
        ALL_ASKED,
    ),
    "an edit, which is refused a duration": (
        {"generation_kind": "edit", "aspect_ratio": None},
        Inputs(video_url=MP4_URI),
        "edit",
        [MP4_PART],
        {"resolution": "720p"},
    ),
    "an extension, in its source's shape and size": (
        {"generation_kind": "extend", "aspect_ratio": None, "resolution": None},
        Inputs(video_url=MP4_URI),
        "extend",
        [MP4_PART],
        {"duration": "8s"},
    ),
}


@pytest.mark.parametrize(("changes", "given_media", "task", "parts", "asked"), WAYS.values(), ids=WAYS)
def test_what_media_are_for_goes_along_as_the_task(
    changes: dict[str, Any], given_media: Inputs, task: str, parts: list[dict[str, str]], asked: dict[str, str]
) -> None:
    body = submit_body(video_plan(**changes), given_media)
    assert body["input"] == [*parts, {"type": "text", "text": "waves"}]
    assert body["generation_config"] == {"video_config": {"task": task}}
    assert body["response_format"] == {"type": "video", "delivery": "uri", **asked}
    assert body["background"] is True


@pytest.mark.parametrize(
    "body", [{}, [], None, {"id": ""}, {"id": 5}, {"id": "a\nb"}, {"name": "x"}, {"id": "x" * 1_000_000}]
)
def test_a_start_without_a_readable_id_is_a_lost_reply(body: Any) -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        read_submit(reply(200, body))
    assert (caught.value.billed, caught.value.provider, caught.value.http_status) == ("unknown", "google", 200)


def test_a_start_gives_the_id() -> None:
    assert read_submit(reply(200, {"id": "v1_x", "status": "queued"})).provider_request_id == "v1_x"


@pytest.mark.parametrize(
    "status", ["queued", "in_progress", "requires_action", "requires_continuation", "reviewing", None, 5]
)
def test_a_job_runs_on_with_every_word_that_is_no_end(status: Any) -> None:
    assert read(ended(status=status)) == Running()


CLIPS: dict[str, tuple[dict[str, Any], str, Decimal | None]] = {
    "a clip": (ended(CLIP), URL, COST),
    "beside a text": (ended({"type": "text", "text": "Here."}, CLIP), URL, COST),
    "without alt=media": (ended(CLIP | {"uri": URL.partition("?")[0]}), URL, COST),
    "with another query": (ended(CLIP | {"uri": "https://h.test/a?x=1"}), "https://h.test/a?x=1&alt=media", COST),
    "inside the answer": (ended({"type": "video", "data": "aGVsbG8="}), "data:;base64,aGVsbG8=", COST),
    "in what was cut off": (ended(CLIP, status="incomplete"), URL, COST),
    "with thoughts on the bill": (
        ended(CLIP, usage=USAGE | {"total_thought_tokens": 1000}),
        URL,
        COST + Decimal("0.009"),
    ),
    "a bill without details": (
        ended(CLIP, usage={"total_input_tokens": 10, "total_output_tokens": 46336}),
        URL,
        COST,
    ),
    "a bill of the prompt only": (ended(CLIP, usage={"total_input_tokens": 10}), URL, None),
    "no bill": (ended(CLIP, usage=None), URL, None),
}


@pytest.mark.parametrize(("body", "url", "cost"), CLIPS.values(), ids=CLIPS)
def test_a_clip_is_found_and_its_tokens_are_priced(body: dict[str, Any], url: str, cost: Decimal | None) -> None:
    found = read(body)
    assert isinstance(found, Finished)
    (output,) = found.outputs
    assert (output.url, found.billed_usd, found.served_model) == (url, cost, "m")


def test_one_clip_is_kept_with_the_type_that_it_says() -> None:
    found = read(ended({**CLIP, "mime_type": "video/webm"}, CLIP))
    assert isinstance(found, Finished)
    assert [output.content_type for output in found.outputs] == ["video/webm"]
    for content in ({"type": "video", "uri": URL}, {"type": "video", "data": "aGVsbG8="}):
        found = read(ended(content))
        assert isinstance(found, Finished)
        assert found.outputs[0].content_type == "video/mp4"


TEXT = {"type": "text", "text": "I cannot\nmake it."}
PROMPT_ONLY = {"total_input_tokens": 10}
EMPTY: dict[str, tuple[Any, type[ProviderError], Billed, Decimal | None]] = {
    "completed with a text": (ended(TEXT, usage=PROMPT_ONLY), ContentRefused, "yes", INPUT_COST),
    "completed with a text, no word of a bill": (ended(TEXT, usage=None), ContentRefused, "unknown", None),
    "failed": (
        ended(status="failed", usage=None, error={"code": "internal", "message": "x"}),
        GenerationFailed,
        "unknown",
        None,
    ),
    "failed for safety": (
        ended(status="failed", usage=None, error={"code": "SAFETY", "message": "x"}),
        ContentRefused,
        "unknown",
        None,
    ),
    **{
        f"failed for its {word}": (
            ended(status="failed", usage=None, error={"code": "x", "message": f"It is against the {word}."}),
            ContentRefused,
            "unknown",
            None,
        )
        for word in ("safety rules", "prohibited uses", "policy", "policies", "sensitive words")
    },
    "failed for its input": (
        ended(status="failed", usage=None, error={"code": "x", "message": "Input blocked: The prompt could not be"}),
        ContentRefused,
        "unknown",
        None,
    ),
    "cancelled": (ended(status="cancelled", usage=PROMPT_ONLY), GenerationFailed, "yes", INPUT_COST),
    "incomplete": (ended(status="incomplete", usage=None), GenerationFailed, "unknown", None),
    "over budget": (ended(status="budget_exceeded", usage=None), GenerationFailed, "unknown", None),
}


@pytest.mark.parametrize(("body", "is_a", "billed", "cost"), EMPTY.values(), ids=EMPTY)
def test_an_end_without_a_clip_says_why_and_what_it_cost(
    body: Any, is_a: type[ProviderError], billed: Billed, cost: Decimal | None
) -> None:
    error = failure(body)
    assert type(error) is is_a
    assert (error.billed, error.billed_usd, error.provider) == (billed, cost, "google")
    assert is_one_line(error)


NOT_YET: dict[str, dict[str, Any]] = {
    "nothing": ended(usage=None),
    "no steps": {"id": "x", "status": "completed"},
    "empty steps": {"id": "x", "status": "completed", "steps": [], "usage": USAGE},
    "a clip without an address": ended({"type": "video"}, usage=None),
    "a clip of no text": ended({"type": "video", "data": 7}, usage=None),
    "an empty clip": ended({"type": "video", "data": ""}, usage=None),
    "a clip with an address that is none": ended(CLIP | {"uri": "javascript:alert(1)"}),
    "a clip that was billed, and a text": ended(TEXT),
}


@pytest.mark.parametrize("body", NOT_YET.values(), ids=NOT_YET)
def test_completed_is_looked_at_again_while_its_clip_may_still_come(body: dict[str, Any]) -> None:
    error = failure(body)
    assert type(error) is ProviderBadReply
    assert error.billed == "unknown"
    assert "names no clip yet" in error.message


def test_what_the_model_says_in_place_of_a_clip_is_told() -> None:
    assert (
        failure(ended(TEXT, usage=PROMPT_ONLY)).message
        == "Google video generation ended without a clip (completed): I cannot make it."
    )


def test_an_end_without_a_word_is_told_by_its_status() -> None:
    told = failure(ended(status="cancelled", usage=None)).message
    assert told == "Google video generation ended without a clip (cancelled)"


LOOK_URL = "https://generativelanguage.googleapis.com/v1beta/interactions/v1_x"


def test_a_clip_inside_a_look_is_kept_by_its_address() -> None:
    inside = reply(200, ended({"type": "video", "data": "aGVsbG8="}))
    for url in (LOOK_URL, f"{LOOK_URL}/cancel"):
        found = read_check(replace(inside, url=url), PRICES, NOW)
        assert isinstance(found, Finished)
        assert [output.url for output in found.outputs] == [url]
    assert read_inside(inside, NOW) == "aGVsbG8="


@pytest.mark.parametrize(
    ("status", "body", "is_a"),
    [
        (200, ended(CLIP), MediaGone),
        (200, [], MediaGone),
        (200, ended({"type": "text", "data": "aGVsbG8="}), MediaGone),
        (200, ended({"type": "video", "data": 7}), MediaGone),
        (200, ended({"type": "video", "data": ""}), MediaGone),
        (404, {"error": {"code": "not_found", "message": "Interaction x"}}, MediaGone),
        (503, "<html>", ProviderUnavailable),
        (400, {"error": {"code": 400, "message": "Invalid interaction name.", "status": "X"}}, MediaGone),
    ],
)
def test_a_look_without_its_clip_is_told_apart(status: int, body: Any, is_a: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as caught:
        read_inside(reply(status, body), NOW)
    assert type(caught.value) is is_a
    assert caught.value.billed != "no"
    assert caught.value.http_status == (None if status == 200 else status)


@pytest.mark.parametrize(("kind", "is_explained"), [("generate", False), ("edit", True), ("extend", True)])
def test_a_refused_clip_of_ones_own_is_explained_by_its_region(kind: str, is_explained: bool) -> None:
    with pytest.raises(ContentRefused) as caught, explain_refusal(video_plan(generation_kind=kind)):
        raise ContentRefused("the prompt contains sensitive words", provider="google")
    assert ("European Economic Area" in caught.value.next_action) is is_explained


def error_body(message: str, code: Any = 400) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": "INVALID_ARGUMENT"}}


LOOKS: dict[str, tuple[int, Any, type[ProviderError]]] = {
    "an id that is unknown": (400, error_body("Invalid interaction name."), JobExpired),
    "an id that is unknown, with a code of text": (400, error_body("Invalid interaction name.", "bad"), JobExpired),
    "an id that is not found": (404, {"error": {"code": "not_found", "message": "Interaction x"}}, JobExpired),
    "another 400": (400, error_body("Something else"), ProviderUnavailable),
    "another 404": (404, "Not Found", ProviderUnavailable),
    "sensitive words": (400, error_body("The prompt contains sensitive words"), ContentRefused),
    "a word of safety": (400, error_body("blocked", "safety_violation"), ContentRefused),
    "a wrong key": (400, error_body("API key not valid."), ProviderAuthError),
    "no rights": (403, error_body("no"), ProviderAuthError),
    "too many": (429, error_body("quota"), RateLimited),
    "broken": (500, error_body("x"), ProviderUnavailable),
    "a page": (502, "<html>", ProviderUnavailable),
    "a list": (200, [], ProviderBadReply),
    "no JSON": (200, "{", ProviderBadReply),
}


@pytest.mark.parametrize(("status", "body", "is_a"), LOOKS.values(), ids=LOOKS)
def test_a_look_that_fails_tells_nothing_of_the_bill(status: int, body: Any, is_a: type[ProviderError]) -> None:
    error = failure(body, status)
    assert type(error) is is_a
    assert error.billed == "unknown"
    if is_a is JobExpired:
        assert error.retryable is (status == 400), "the same words come for a job that is alive"
    assert is_one_line(error)


NAMES = st.sampled_from(
    ["id", "status", "steps", "type", "content", "uri", "data", "mime_type", "text", "usage", "total_output_tokens",
     "output_tokens_by_modality", "modality", "tokens", "error", "code", "message", "model"]
)  # fmt: skip
WORDS = st.text(max_size=6) | st.sampled_from(["completed", "failed", "model_output", "video", "https://h.test/\ud800"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=15,
)


@given(ANYTHING, st.sampled_from([200, 201, 400, 404, 429, 500]))
def test_no_answer_raises_anything_but_a_provider_error(body: Any, status: int) -> None:
    answer = reply(status, json.dumps(body))
    for look in (lambda: read_check(answer, PRICES, NOW), lambda: read_submit(answer)):
        try:
            found = look()
        except ProviderError as exc:
            assert is_one_line(exc)  # noqa: PT017 - most are errors
            continue
        if isinstance(found, Finished):
            assert all(output.url and output.url.isprintable() for output in found.outputs)


@pytest.mark.parametrize(
    ("handle", "path"),
    [("v1_Ab-9", "v1_Ab-9"), ("../../v1/models", "..%2F..%2Fv1%2Fmodels"), ("a?b=c#d", "a%3Fb%3Dc%23d")],
)
async def test_a_handle_leads_look_and_cancellation_to_its_own_job(handle: str, path: str) -> None:
    async with RawServer(answering(http(200, {"status": "in_progress"}))) as server, plain(server.url) as provider_http:
        google = GoogleVideos(provider_http, has_key=True, token_prices={}, clock=FakeClock())
        assert isinstance(await google.check(video_plan(), handle), Running)
        assert isinstance(await google.cancel(video_plan(), handle), Running)
    asked = [(seen.method, seen.path) for seen in server.requests]
    assert asked == [("GET", f"/interactions/{path}"), ("POST", f"/interactions/{path}/cancel")]


@pytest.mark.parametrize(("took_s", "is_given_anew"), [(0, True), (10, True), (11, False)])
async def test_a_clip_that_google_no_longer_has_is_given_anew_in_time(took_s: int, is_given_anew: bool) -> None:
    clock = FakeClock()
    clock.advance(1000)

    async def refuse_once(connection: Connection) -> None:
        while await connection.request() is not None:
            if len(server.requests) == 1:
                clock.advance(took_s)
                await connection.send(http(400, error_body("Invalid interaction name.")))
            else:
                await connection.send(http(200, {"id": "v1_x"}))

    plan = video_plan(generation_kind="edit", follows="v1_before", source_video_url="https://example.com/a.mp4")
    async with RawServer(refuse_once) as server, plain(server.url) as provider_http:
        google = GoogleVideos(provider_http, has_key=True, token_prices={}, clock=clock)
        asking = google.submit(plan, Inputs(video_url=MP4_URI), spool=Path("spool"), deadline_s=60.0)
        if is_given_anew:
            made = await asking
            assert isinstance(made, Accepted)
            assert made.provider_request_id == "v1_x"
        else:
            with pytest.raises(ProviderRejected, match="Invalid interaction name"):
                await asking
        bodies = [json.loads(seen.body) for seen in server.requests]
    assert ["previous_interaction_id" in body for body in bodies] == [True, False][: 2 if is_given_anew else 1]


async def test_a_clip_that_is_given_anew_has_the_time_that_is_left() -> None:
    clock = FakeClock()

    async def refuse(connection: Connection) -> None:
        while await connection.request() is not None:
            if len(server.requests) == 1:
                clock.advance(4)
                await connection.send(http(400, error_body("Invalid interaction name.")))
            else:
                let_pass(57)  # of sixty seconds, four of which are gone
                await connection.until_client_leaves()

    plan = video_plan(generation_kind="edit", follows="v1_before", source_video_url="https://example.com/a.mp4")
    async with RawServer(refuse) as server, plain(server.url, limit_s=1000.0) as provider_http:
        google = GoogleVideos(provider_http, has_key=True, token_prices={}, clock=clock)
        with pytest.raises(OutcomeUnknown, match="Video start timed out after 56000ms"):
            await google.submit(plan, Inputs(video_url=MP4_URI), spool=Path("spool"), deadline_s=60.0)


async def test_a_clip_that_is_refused_twice_is_told_with_both_reasons() -> None:
    answers = [http(400, error_body("Invalid interaction name.")), http(400, error_body("The clip is too long."))]
    plan = video_plan(generation_kind="edit", follows="v1_before", source_video_url="https://example.com/a.mp4")
    async with RawServer(answering(*answers)) as server, plain(server.url) as provider_http:
        google = GoogleVideos(provider_http, has_key=True, token_prices={}, clock=FakeClock())
        with pytest.raises(ProviderRejected) as caught:
            await google.submit(plan, Inputs(video_url=MP4_URI), spool=Path("spool"), deadline_s=60.0)
    told = "Google: The clip is too long. (and of its own clip it says: Google: Invalid interaction name.)"
    assert caught.value.message == told
