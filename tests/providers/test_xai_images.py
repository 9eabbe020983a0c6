"""xAI's dialect for pictures: what is asked, and what every documented and every broken answer means. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ring_mcp.domain import ImagePlan, Output
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
from ring_mcp.providers.xai.images import read_check, read_submit, submit_request
from tests.providers.provider_samples import NOW, image_plan, is_one_line, reply

URL = "https://imgen.x.ai/xai-imgen/xai-tmp-imgen-1.jpg"
ITEM = {"url": URL, "mime_type": "image/jpeg"}
USAGE = {"usage": {"cost_in_usd_ticks": 200_000_000}}
PICTURE = Output(url=URL, content_type="image/jpeg")
PLAN = image_plan()

DOCUMENTED = {
    "model": str,
    "prompt": str,
    "n": int,
    "aspect_ratio": str,
    "resolution": str,
    "quality": str,
    "response_format": str,
    "user": str,
    "storage_options": dict,
    "deferred": bool,
    "output": dict,
}


def submitted(answer: Reply, plan: ImagePlan = PLAN) -> Accepted | Finished:
    return read_submit(answer, plan)


def checked(answer: Reply, plan: ImagePlan = PLAN) -> Running | Finished:
    return read_check(answer, plan, NOW)


def submit_body(plan: ImagePlan) -> dict[str, Any]:
    path, body = submit_request(plan, Inputs())
    assert path == "images/generations"
    return body


PLANS = st.builds(
    image_plan,
    prompt=st.text(min_size=1, max_size=50),
    n=st.integers(1, 10),
    aspect_ratio=st.sampled_from(["1:1", "19.5:9", "21:9", "auto"]),
    resolution=st.sampled_from(["1k", "1.5k", "2k"]),
    seed=st.none() | st.integers(),
    deferred=st.booleans(),
)


@given(PLANS)
def test_a_request_has_documented_fields_of_the_documented_types_only(plan: ImagePlan) -> None:
    body = submit_body(plan)
    assert set(body) <= set(DOCUMENTED)
    assert all(type(value) is DOCUMENTED[name] for name, value in body.items())
    assert json.loads(json.dumps(body)) == body


@given(PLANS)
def test_a_request_asks_for_what_was_planned_and_priced(plan: ImagePlan) -> None:
    body = submit_body(plan)
    assert (body["model"], body["prompt"], body["n"]) == (plan.model, plan.prompt, plan.n)
    assert (body["aspect_ratio"], body["resolution"]) == (plan.aspect_ratio, plan.resolution)


def test_pictures_are_asked_for_by_address() -> None:
    assert submit_body(PLAN)["response_format"] == "url"


@pytest.mark.parametrize("deferred", [True, False])
def test_a_handle_is_asked_for_only_from_a_model_that_gives_one(deferred: bool) -> None:
    assert submit_body(image_plan(deferred=deferred)).get("deferred", False) is deferred


A = "https://x.test/a.jpg"
INLINE = "data:image/png;base64,AAAA"
FILE = "file_a128090d-f0c9-4873-bd84-e499777e7417"


@pytest.mark.parametrize(
    ("references", "ratio", "expected"),
    [
        ((A,), "auto", {"image": {"url": A}}),
        ((A,), "16:9", {"image": {"url": A}}),
        ((INLINE,), "auto", {"image": {"url": INLINE}}),
        ((FILE,), "auto", {"image": {"file_id": FILE}}),
        ((A, FILE), "auto", {"images": [{"url": A}, {"file_id": FILE}]}),
        ((A, INLINE), "16:9", {"images": [{"url": A}, {"url": INLINE}], "aspect_ratio": "16:9"}),
    ],
)
def test_pictures_that_are_given_make_it_an_edit_which_keeps_their_ratio(
    references: tuple[str, ...], ratio: str, expected: dict[str, Any]
) -> None:
    path, body = submit_request(image_plan(aspect_ratio=ratio), Inputs(reference_images=references))
    assert path == "images/edits"
    common = ("model", "prompt", "n", "resolution", "response_format", "deferred")
    assert {name: value for name, value in body.items() if name not in common} == expected


def test_a_quality_is_asked_for_only_if_the_caller_did() -> None:
    assert "quality" not in submit_body(PLAN)
    asked = PLAN.model_copy(update={"quality": "medium", "asked_quality": "medium"})
    assert submit_body(asked)["quality"] == "medium"
    assert submit_request(asked, Inputs(reference_images=(A,)))[1]["quality"] == "medium"


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_deferred_start_gives_the_handle(status: int) -> None:
    assert submitted(reply(status, {"request_id": "r-1"})) == Accepted(provider_request_id="r-1")


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"data": None},
        {"data": []},
        {"status": "pending"},
        {"data": [], "usage": None},
        {"data": [{"b64_json": ""}]},
        {"data": "odd"},
        {"data": [{}], "usage": {"cost_in_usd_ticks": 5}},
    ],
)
def test_a_handle_without_pictures_is_kept_whatever_stands_beside_it(rest: dict[str, Any]) -> None:
    assert submitted(reply(200, {"request_id": "r-1", **rest})) == Accepted(provider_request_id="r-1")


def test_pictures_at_once_are_taken_in_place_of_a_handle() -> None:
    answer = submitted(reply(200, {"data": [ITEM], **USAGE}))
    assert answer == Finished(outputs=(PICTURE,), billed_usd=Decimal("0.02"))


def test_pictures_count_for_more_than_a_handle_beside_them() -> None:
    assert submitted(reply(200, {"request_id": "r-1", "data": [ITEM]})) == Finished(outputs=(PICTURE,))


def test_the_model_that_served_is_reported_when_the_answer_names_one() -> None:
    answer = submitted(reply(200, {"data": [ITEM], "model": "grok-imagine-image-2.0"}))
    assert isinstance(answer, Finished)
    assert answer.served_model == "grok-imagine-image-2.0"


@pytest.mark.parametrize("model", [None, "", 5, ["x"], "a\x00b", "\ud800", "x" * 72_000])
def test_a_name_of_a_model_that_is_none_is_left_out(model: Any) -> None:
    answer = submitted(reply(200, {"data": [ITEM], "model": model}))
    assert isinstance(answer, Finished)
    assert answer.served_model is None


def test_the_april_shape_with_a_revised_prompt_is_read_as_today() -> None:
    answer = submitted(reply(200, {"data": [{**ITEM, "revised_prompt": ""}], **USAGE}))
    assert answer == Finished(outputs=(PICTURE,), billed_usd=Decimal("0.02"))


@pytest.mark.parametrize(
    "usage", [None, {}, [], "free", 5, {"cost_in_usd_ticks": None}, {"cost_in_usd_ticks": "lots"}, {"input_tokens": 3}]
)
def test_an_odd_usage_is_no_amount_and_no_error(usage: Any) -> None:
    answer = submitted(reply(200, {"data": [ITEM], "usage": usage}))
    assert answer == Finished(outputs=(PICTURE,))


def test_fewer_pictures_than_asked_for_are_kept_with_a_warning() -> None:
    answer = submitted(reply(200, {"data": [ITEM, ITEM], **USAGE}), image_plan(n=3))
    assert isinstance(answer, Finished)
    assert len(answer.outputs) == 2
    assert answer.warnings == ("xAI returned 2 of 3 images",)


@pytest.mark.parametrize("count", [3, 100_000])
def test_more_pictures_than_asked_for_are_told_and_not_kept(count: int) -> None:
    for answer in (
        submitted(reply(200, {"data": [ITEM] * count}), image_plan(n=2)),
        checked(reply(200, {"status": "done", "data": [ITEM] * count}), image_plan(n=2)),
    ):
        assert isinstance(answer, Finished)
        assert answer.outputs == (PICTURE, PICTURE)
        assert answer.warnings == (f"xAI returned {count} of 2 images",)


@pytest.mark.parametrize(
    "item",
    [{}, {"mime_type": "image/jpeg"}, {"url": ""}, {"url": None, "b64_json": None}, {"url": 5, "b64_json": 5}, None,
     "x", [], {"b64_json": ""}, {"file_output": {}}, {"file_output": {"public_url": None}}, {"storage_error": "full"},
     {"url": "http://h/\ud800"}, {"url": "http://h/\x00"}],
)  # fmt: skip
def test_an_item_without_a_picture_is_left_out(item: Any) -> None:
    answer = submitted(reply(200, {"data": [item, ITEM], **USAGE}), image_plan(n=2))
    assert isinstance(answer, Finished)
    assert answer.outputs == (PICTURE,)
    assert answer.warnings == ("xAI returned 1 of 2 images",)


@pytest.mark.parametrize("url", [None, "", 5])
def test_a_stored_picture_is_found_under_its_public_url(url: Any) -> None:
    item = {"url": url, "mime_type": "image/jpeg", "file_output": {"file_id": "f", "public_url": URL}}
    assert submitted(reply(200, {"data": [item]})) == Finished(outputs=(PICTURE,))


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,", "data:;base64,"])
def test_base64_is_read_with_and_without_a_prefix(prefix: str) -> None:
    answer = submitted(reply(200, {"data": [{"b64_json": f"{prefix}/9j/4AAQ", "mime_type": "image/jpeg"}]}))
    assert isinstance(answer, Finished)
    (output,) = answer.outputs
    assert output.url == "data:;base64,/9j/4AAQ"
    assert output.content_type == "image/jpeg"


@pytest.mark.parametrize("mime_type", [None, 5, [], "a\x00b"])
def test_a_type_that_is_none_is_left_out(mime_type: Any) -> None:
    answer = submitted(reply(200, {"data": [{"url": URL, "mime_type": mime_type}]}))
    assert answer == Finished(outputs=(Output(url=URL),))


@pytest.mark.parametrize(
    "body",
    [b"", b"   ", b"null", b"5", b'"text"', b"[]", b"[{}]", b'{"data": [{"url": "https://imgen', b"<html></html>",
     b"\xff\xfe", b"[" * 50_000, b'{"a":' * 50_000],
)  # fmt: skip
def test_an_answer_that_is_no_object_is_a_lost_reply(body: bytes) -> None:
    with pytest.raises(OutcomeUnknown, match="neither a request_id nor image data") as caught:
        submitted(reply(200, body))
    assert caught.value.billed == "unknown"


@pytest.mark.parametrize(
    "body",
    [{}, {"data": None}, {"data": []}, {"data": {}}, {"data": "x"}, {"data": [None]}, {"data": [{}]},
     {"request_id": ""},
     {"request_id": None}, {"request_id": 5}, {"request_id": "", "data": []}, {"request_id": "a\ud800"},
     {"request_id": "x" * 1_000_000}],
)  # fmt: skip
def test_an_answer_without_handle_and_pictures_is_lost_or_failed(body: dict[str, Any]) -> None:
    with pytest.raises(OutcomeUnknown, match="neither a request_id nor image data") as lost:
        submitted(reply(200, body))
    assert lost.value.billed == "unknown"
    with pytest.raises(GenerationFailed, match="xAI returned no image data") as failed:
        submitted(reply(200, {**body, **USAGE}))
    assert (failed.value.billed, failed.value.billed_usd) == ("yes", Decimal("0.02"))


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"<html>", b"{}", b'{"request_id": "r", "status": "pending"}'])
def test_a_202_means_still_running_with_or_without_a_body(body: bytes) -> None:
    assert checked(reply(202, body)) == Running()


@pytest.mark.parametrize("status", [202, 200])
@pytest.mark.parametrize(("said", "progress"), [(0, 0), (45, 45), (45.9, 45), (100, 99), ("45", None), (True, None)])
def test_progress_is_passed_on_when_it_is_one(status: int, said: Any, progress: int | None) -> None:
    assert checked(reply(status, {"status": "pending", "progress": said})) == Running(progress=progress)


@pytest.mark.parametrize("status", ["pending", "reviewing", "queued", "", 5, ["done"], {}])
@pytest.mark.parametrize("beside", [{}, {"data": None}, {"data": [ITEM]}])
def test_a_status_word_that_nobody_knows_means_still_running(status: Any, beside: dict[str, Any]) -> None:
    """Whatever stands beside it."""
    assert checked(reply(200, {"status": status, **beside})) == Running()


def test_without_status_and_pictures_it_is_still_running() -> None:
    assert checked(reply(200, {"request_id": "r", "data": None, "progress": 45})) == Running(progress=45)


def test_a_done_job_gives_its_pictures_and_its_bill() -> None:
    body = {"request_id": "r", "status": "done", "data": [ITEM], **USAGE}
    assert checked(reply(200, body)) == Finished(outputs=(PICTURE,), billed_usd=Decimal("0.02"))


def test_a_done_job_without_the_word_is_done() -> None:
    assert checked(reply(200, {"request_id": "r", "data": [ITEM]})) == Finished(outputs=(PICTURE,))


def test_a_done_job_with_fewer_pictures_warns() -> None:
    answer = checked(reply(200, {"status": "done", "data": [ITEM]}), image_plan(n=4))
    assert isinstance(answer, Finished)
    assert answer.warnings == ("xAI returned 1 of 4 images",)


@pytest.mark.parametrize("data", [[], [{}], None, "x"])
def test_a_done_job_without_pictures_is_looked_at_again(data: Any) -> None:
    with pytest.raises(ProviderBadReply, match="names no image yet"):
        checked(reply(200, {"status": "done", "data": data, **USAGE}))


def test_pictures_that_moderation_holds_back_are_a_refusal_with_its_bill() -> None:
    held = {"status": "done", "data": [{"url": None}, {"url": None, "respect_moderation": False}], **USAGE}
    with pytest.raises(ContentRefused) as caught:
        checked(reply(200, held))
    assert caught.value.billed_usd == Decimal("0.02")


@pytest.mark.parametrize(
    "code", ["invalid_argument", "permission_denied", "failed_precondition", "service_unavailable", "internal_error"]
)
def test_a_failed_job_says_why(code: str) -> None:
    with pytest.raises(GenerationFailed, match=f"{code}: It did not work"):
        checked(reply(200, {"status": "failed", "error": {"code": code, "message": "It did not work."}}))


def test_a_failed_job_that_moderation_stopped_is_a_refusal() -> None:
    error = {"code": "invalid_argument", "message": "Generated image rejected by content moderation."}
    with pytest.raises(ContentRefused):
        checked(reply(200, {"status": "failed", "error": error}))


def test_moderation_in_a_poll_is_a_refusal_with_its_bill() -> None:
    body = {"code": "imagine:content-moderated", "error": "Generated image rejected by content moderation.", **USAGE}
    with pytest.raises(ContentRefused) as caught:
        checked(reply(400, body))
    assert caught.value.billed_usd == Decimal("0.02")


def test_an_expired_job_has_expired() -> None:
    with pytest.raises(JobExpired) as caught:
        checked(reply(200, {"request_id": "r", "status": "expired", **USAGE}))
    assert (caught.value.provider, caught.value.billed_usd) == ("xai", Decimal("0.02"))


def test_a_job_that_xai_itself_does_not_know_has_expired() -> None:
    with pytest.raises(JobExpired) as caught:
        checked(reply(404, {"code": "not-found", "error": "No deferred image could be found"}))
    assert caught.value.http_status == 404


@pytest.mark.parametrize("body", [b"", b"Not Found", b"<html>404</html>"])
def test_a_404_in_other_words_ends_no_job(body: bytes) -> None:
    with pytest.raises(ProviderUnavailable):
        checked(reply(404, body))


@pytest.mark.parametrize("status", [204, 302, 400, 401, 403, 429, 500, 502, 529])
def test_an_error_of_a_poll_ends_no_job(status: int) -> None:
    with pytest.raises(ProviderError) as caught:
        checked(reply(status))
    assert not isinstance(caught.value, ContentRefused | GenerationFailed | JobExpired)
    assert caught.value.billed == "unknown"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b'{"status": "do', b"<html></html>", b"[" * 50_000])
def test_a_poll_without_an_object_ends_no_job(body: bytes) -> None:
    with pytest.raises(ProviderBadReply):
        checked(reply(200, body))


KEYS = st.sampled_from(
    ["request_id", "status", "data", "usage", "error", "code", "message", "url", "b64_json", "mime_type", "file_output",
     "public_url", "progress", "model", "cost_in_usd_ticks", "response", "storage_error"]
)  # fmt: skip
ANY_TEXT = st.text(max_size=20) | st.sampled_from(
    ["done", "failed", "expired", "pending", URL, "data:", "\ud800", "\x00"]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=15,
)
ANY_ANSWER = st.dictionaries(KEYS, ANY_JSON, max_size=8) | ANY_JSON


def outcome_of(read: Callable[[Reply], object], answer: Reply) -> object:
    try:
        return read(answer)
    except ProviderError as exc:
        return exc


@given(status=st.integers(200, 599), answer=ANY_ANSWER)
@example(status=200, answer={"data": [{"url": "data:"}]})
@example(status=200, answer={"data": [{"b64_json": "\u043a\u043b\u044e\u0447"}]})
def test_no_answer_however_shaped_raises_anything_but_a_provider_error(status: int, answer: Any) -> None:
    for read in (submitted, checked):
        outcome = outcome_of(read, reply(status, answer))
        if isinstance(outcome, ProviderError):
            assert is_one_line(outcome)
        if isinstance(outcome, Finished):
            assert outcome.outputs
            assert all(output.url and output.url.isprintable() for output in outcome.outputs)
        if isinstance(outcome, Accepted):
            assert re.fullmatch(r"\S(.*\S)?", outcome.provider_request_id)


@given(status=st.integers(200, 599), body=st.binary(max_size=200), cut=st.integers(0, 200))
def test_no_bytes_raise_anything_but_a_provider_error(status: int, body: bytes, cut: int) -> None:
    whole = json.dumps({"request_id": "r", "status": "done", "data": [ITEM, ITEM], **USAGE}).encode()
    for read in (submitted, checked):
        for content in (body, whole[:cut], whole[:cut] + body):
            outcome = outcome_of(read, reply(status, content))
            assert not isinstance(outcome, ProviderError) or is_one_line(outcome)
