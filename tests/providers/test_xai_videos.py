"""xAI's dialect for clips: what is asked, and what every documented and every broken answer means. No I/O."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.domain import Output, PriceLine, VideoPlan
from ring_mcp.errors import (
    ContentRefused,
    GenerationFailed,
    JobExpired,
    OutcomeUnknown,
    ProviderBadReply,
    ProviderError,
    ProviderUnavailable,
)
from ring_mcp.providers.base import Accepted, Finished, Inputs, Running
from ring_mcp.providers.replies import Reply
from ring_mcp.providers.xai.videos import read_check, read_submit, submit_request
from tests.providers.provider_samples import NOW, is_one_line, reply

UNKNOWN = "No deferred video could be found with the given request_id"
URL = "https://vidgen.x.ai/xai-vidgen-bucket/xai-video-1.mp4"
VIDEO = {"url": URL, "duration": 6, "respect_moderation": True}
USAGE = {"usage": {"cost_in_usd_ticks": 2_500_000_000}}
DONE = {"status": "done", "video": VIDEO, "model": "grok-imagine-video", "progress": 100, **USAGE}
CLIP = Finished(
    outputs=(Output(url=URL, content_type="video/mp4", duration_s=Decimal(6)),),
    billed_usd=Decimal("0.25"),
    served_model="grok-imagine-video",
)
MODERATED = "Generated video rejected by content moderation."


def video_plan(**changed: Any) -> VideoPlan:
    price = PriceLine(what="video, second", unit_usd=Decimal("0.05"), count=Decimal(6), as_of="2026-09-29")
    facts: dict[str, Any] = {
        "provider": "xai",
        "requested_model": "grok-imagine-video",
        "model": "grok-imagine-video",
        "prompt": "waves",
        "quality_mode": "draft",
        "duration_s": 6,
        "aspect_ratio": "16:9",
        "resolution": "480p",
        "storage_prefix": "generated/videos",
        "estimated_usd": Decimal("0.30"),
        "prices": (price,),
    }
    return VideoPlan(**facts | changed)


def checked(answer: Reply) -> Running | Finished:
    return read_check(answer, NOW)


def test_a_clip_from_text_is_asked_for_with_everything_that_was_planned() -> None:
    path, body = submit_request(video_plan(), Inputs())
    assert path == "videos/generations"
    assert body == {
        "model": "grok-imagine-video",
        "prompt": "waves",
        "duration": 6,
        "resolution": "480p",
        "aspect_ratio": "16:9",
    }


def test_a_clips_picture_is_where_xai_looks_and_sets_the_ratio() -> None:
    path, body = submit_request(video_plan(), Inputs(image_url="https://x.test/a.jpg"))
    assert path == "videos/generations"
    assert body["image"] == {"url": "https://x.test/a.jpg"}
    assert set(body) == {"model", "prompt", "duration", "resolution", "image"}


def test_an_edit_takes_the_clip_and_nothing_that_shapes_it() -> None:
    inputs = Inputs(image_url="https://x.test/a.jpg", video_url="https://x.test/a.mp4")
    path, body = submit_request(video_plan(generation_kind="edit"), inputs)
    assert path == "videos/edits"
    assert body == {"model": "grok-imagine-video", "prompt": "waves", "video": {"url": "https://x.test/a.mp4"}}


A, FILE = "https://x.test/a.jpg", "file_a128090d-f0c9-4873-bd84-e499777e7417"


def test_an_extension_takes_the_clip_and_the_seconds_to_add() -> None:
    plan = video_plan(generation_kind="extend", duration_s=4)
    path, body = submit_request(plan, Inputs(video_url="data:video/mp4;base64,AAAA"))
    assert path == "videos/extensions"
    video = {"url": "data:video/mp4;base64,AAAA"}
    assert body == {"model": "grok-imagine-video", "prompt": "waves", "video": video, "duration": 4}


def test_references_go_along_in_order_with_the_ratio_of_the_clip() -> None:
    path, body = submit_request(video_plan(), Inputs(reference_images=(A, FILE)))
    assert path == "videos/generations"
    assert body["reference_images"] == [{"url": A}, {"file_id": FILE}]
    assert body["aspect_ratio"] == "16:9"
    assert not {"image", "last_frame"} & set(body)


def test_a_last_frame_goes_along_with_the_first() -> None:
    path, body = submit_request(video_plan(), Inputs(image_url=A, last_frame_url=FILE))
    assert path == "videos/generations"
    assert (body["image"], body["last_frame"]) == ({"url": A}, {"file_id": FILE})
    assert "aspect_ratio" not in body


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_start_gives_the_handle(status: int) -> None:
    assert read_submit(reply(status, {"request_id": "r-1", "x": 1})) == Accepted(provider_request_id="r-1")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"<html>", b"{}", b'{"request_id": ""}', b'{"request_id": 5}',
             b'{"request_id": "a\\u0000"}', b'{"request_id": "\\ud800"}', b'{"request_id', b"[" * 50_000,
             b'{"request_id": "%s"}' % (b"x" * 1_000_000)]
)  # fmt: skip
def test_a_start_without_a_readable_handle_is_a_lost_reply(body: bytes) -> None:
    with pytest.raises(OutcomeUnknown, match="no request_id") as caught:
        read_submit(reply(200, body))
    assert caught.value.billed == "unknown"


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"{}", b"<html>"])
def test_a_202_means_still_running_with_or_without_a_body(body: bytes) -> None:
    assert checked(reply(202, body)) == Running()


@pytest.mark.parametrize(("status", "word"), [(202, "pending"), (200, "pending"), (200, "reviewing"), (200, 5)])
@pytest.mark.parametrize("beside", [{}, {"video": VIDEO}, {"video": {"url": None, "respect_moderation": False}}])
def test_progress_is_passed_on_also_for_unknown_words(status: int, word: Any, beside: dict[str, Any]) -> None:
    assert checked(reply(status, {"status": word, "progress": 45, **beside})) == Running(progress=45)


@pytest.mark.parametrize("video", [None, {}, {"url": None}, {"url": None, "respect_moderation": True}])
def test_without_status_and_clip_it_is_still_running(video: Any) -> None:
    assert checked(reply(200, {"video": video, "progress": 45})) == Running(progress=45)


@pytest.mark.parametrize(
    "body",
    [
        DONE,
        {key: value for key, value in DONE.items() if key != "status"},
        {"status": "done", "response": {key: value for key, value in DONE.items() if key != "status"}},
        {**DONE, "video": {**VIDEO, "url": None, "file_output": {"public_url": URL}}},
        {**DONE, "video": {**VIDEO, "url": 5, "file_output": {"public_url": URL}}},
        {**DONE, "video": {"url": URL, "duration": 6}},
    ],
    ids=["today", "without status", "nested", "stored", "stored, odd url", "without respect_moderation"],
)
def test_a_done_job_gives_its_clip_and_its_bill_in_every_shape(body: dict[str, Any]) -> None:
    assert checked(reply(200, body)) == CLIP


@pytest.mark.parametrize("duration", [0.5, 1, 3599])
def test_a_duration_of_less_than_an_hour_is_kept(duration: float) -> None:
    answer = checked(reply(200, {**DONE, "video": {**VIDEO, "duration": duration}}))
    assert isinstance(answer, Finished)
    assert answer.outputs[0].duration_s == Decimal(str(duration))


@pytest.mark.parametrize("duration", [None, 0, -1, True, "6", 3600, 1e9, float("nan"), float("inf")])
def test_a_duration_that_is_none_is_left_out(duration: Any) -> None:
    answer = checked(reply(200, {**DONE, "video": {**VIDEO, "duration": duration}}))
    assert isinstance(answer, Finished)
    assert answer.outputs[0].duration_s is None


@pytest.mark.parametrize("status", [{"status": "done"}, {}])
@pytest.mark.parametrize("url", ["", None, URL])
def test_a_clip_that_moderation_holds_back_is_a_refusal_with_its_bill(status: dict[str, str], url: str | None) -> None:
    body = {**status, "video": {"url": url, "duration": 6, "respect_moderation": False}, **USAGE}
    with pytest.raises(ContentRefused) as caught:
        checked(reply(200, body))
    assert caught.value.billed_usd == Decimal("0.25")


@pytest.mark.parametrize("code", ["imagine:content-moderated", "Client specified an invalid argument"])
def test_moderation_in_a_poll_is_a_refusal_with_its_bill(code: str) -> None:
    with pytest.raises(ContentRefused) as caught:
        checked(reply(400, {"code": code, "error": MODERATED, **USAGE}))
    assert caught.value.billed_usd == Decimal("0.25")


def test_moderation_as_a_failure_is_a_refusal() -> None:
    with pytest.raises(ContentRefused):
        checked(reply(200, {"status": "failed", "error": {"code": "invalid_argument", "message": MODERATED}}))


@pytest.mark.parametrize("nested", [False, True])
def test_a_failed_job_says_why(nested: bool) -> None:
    failed = {"error": {"code": "internal_error", "message": "It did not work."}}
    with pytest.raises(GenerationFailed, match=r"internal_error: It did not work\."):
        checked(reply(200, {"status": "failed", "response": failed} if nested else {"status": "failed", **failed}))


@pytest.mark.parametrize(
    "video",
    [None, {}, [], "x", {"url": ""}, {"url": None}, {"url": "http://h/\ud800"}, {"url": "javascript:alert(1)"},
     {"url": "https://h/" + "x" * 9000}],
)  # fmt: skip
def test_a_done_job_without_a_clip_is_looked_at_again(video: Any) -> None:
    with pytest.raises(ProviderBadReply, match="names no clip yet") as caught:
        checked(reply(200, {"status": "done", "video": video, **USAGE}))
    assert caught.value.billed == "unknown"


@pytest.mark.parametrize(
    ("given", "url"),
    [("/files/a.mp4", "https://api.x.test/files/a.mp4"), ("a.mp4?x=1", "https://api.x.test/v1/videos/a.mp4?x=1"),
     ("//cdn.x.test/a.mp4", "https://cdn.x.test/a.mp4")],
)  # fmt: skip
def test_a_relative_address_is_one_from_where_it_was_asked(given: str, url: str) -> None:
    answer = replace(reply(200, {"status": "done", "video": {"url": given}}), url="https://api.x.test/v1/videos/r-1")
    found = checked(answer)
    assert isinstance(found, Finished)
    assert found.outputs[0].url == url


def test_a_name_of_a_model_without_measure_is_left_out() -> None:
    found = checked(reply(200, {**DONE, "model": "x" * 72_000}))
    assert isinstance(found, Finished)
    assert found.served_model is None


@pytest.mark.parametrize(
    "answer",
    [reply(404, {"code": "not-found", "error": UNKNOWN}), reply(404, {"error": {"message": UNKNOWN}}),
     reply(200, {"status": "expired"})],
    ids=["404", "404, nested", "expired"],
)  # fmt: skip
def test_a_job_is_gone_when_xai_itself_says_so(answer: Reply) -> None:
    with pytest.raises(JobExpired):
        checked(answer)


@pytest.mark.parametrize(
    "body", [b"", b"Not Found", b"<html>404</html>", b'{"error": "Not Found"}', b'{"message": "x"}']
)
@pytest.mark.parametrize("status", [404, 410])
def test_a_404_in_other_words_ends_no_job(status: int, body: bytes) -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        checked(reply(status, body))
    assert caught.value.billed == "unknown"


@pytest.mark.parametrize("status", [204, 302, 400, 401, 403, 429, 500, 502])
def test_an_error_of_a_poll_ends_no_job(status: int) -> None:
    with pytest.raises(ProviderError) as caught:
        checked(reply(status))
    assert not isinstance(caught.value, ContentRefused | GenerationFailed | JobExpired)
    assert caught.value.billed == "unknown"


KEYS = st.sampled_from(
    ["request_id", "status", "video", "usage", "error", "code", "message", "url", "file_output", "public_url",
     "progress", "model", "cost_in_usd_ticks", "response", "duration", "respect_moderation"]
)  # fmt: skip
WORDS = st.text(max_size=20) | st.sampled_from(["done", "failed", "expired", "pending", URL, "\ud800", "\0"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=15,
)


def outcome_of(read: Any, answer: Reply) -> object:
    try:
        return read(answer)
    except ProviderError as exc:
        return exc


@given(status=st.integers(200, 599), answer=st.dictionaries(KEYS, ANY_JSON, max_size=8) | ANY_JSON)
def test_no_answer_however_shaped_raises_anything_but_a_provider_error(status: int, answer: Any) -> None:
    for read in (read_submit, checked):
        outcome = outcome_of(read, reply(status, answer))
        if isinstance(outcome, ProviderError):
            assert is_one_line(outcome)
        if isinstance(outcome, Finished):
            assert all(output.url and output.url.isprintable() for output in outcome.outputs)


@given(status=st.integers(200, 599), body=st.binary(max_size=100), cut=st.integers(0, 200))
def test_no_bytes_raise_anything_but_a_provider_error(status: int, body: bytes, cut: int) -> None:
    whole = json.dumps(DONE).encode()
    for read in (read_submit, checked):
        for content in (body, whole[:cut], whole[:cut] + body):
            outcome = outcome_of(read, reply(status, content))
            assert not isinstance(outcome, ProviderError) or is_one_line(outcome)
