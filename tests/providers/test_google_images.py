"""Google's dialect for pictures: what is asked, and what every documented and every broken answer means. No I/O."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.domain import ImagePlan, Output
from ring_mcp.errors import (
    Billed,
    ContentRefused,
    GenerationFailed,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.providers.base import Finished, Inputs
from ring_mcp.providers.google.images import read_reply, requests_of, together
from ring_mcp.providers.google.replies import cost_usd, read_paid_error, tokens_of
from tests.providers.provider_samples import NOW, image_plan, is_one_line, reply

MODEL = "gemini-nano-banana-2.1"
PRICES = {"input": Decimal("1.50"), "text": Decimal("7.50"), "image": Decimal("30")}
PICTURE = {"inlineData": {"mimeType": "image/jpeg", "data": "aGVsbG8="}}
USAGE = {
    "promptTokenCount": 10,
    "candidatesTokenCount": 1120,
    "totalTokenCount": 1130,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}
COST = Decimal("0.033615")
HUNDRED = Decimal("0.00075")  # tokens of text
ONE = Output(url="data:;base64,aGVsbG8=", content_type="image/jpeg")


def plan(**changes: Any) -> ImagePlan:
    return image_plan(**{"model": MODEL, "deferred": False, **changes})


def answer(*parts: Any, usage: Any = USAGE, **candidate: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    return {"candidates": [{"content": content, "finishReason": "STOP", **candidate}], "usageMetadata": usage}


def read(body: Any, status: int = 200) -> Finished:
    return read_reply(reply(status, body), PRICES)


def test_a_lost_reply_keeps_what_it_was_answered_with() -> None:
    error = refused({})
    assert isinstance(error, OutcomeUnknown)
    assert (error.provider, error.http_status) == ("google", 200)


def refused(body: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        read(body)
    return caught.value


@given(
    prompt=st.text(min_size=1, max_size=40),
    n=st.integers(1, 4),
    ratio=st.sampled_from(["1:1", "16:9", "1:8"]),
    resolution=st.sampled_from(["1k", "2k"]),
    seed=st.none() | st.integers(0, 1000),
)
def test_every_picture_is_one_call_with_documented_fields_only(
    prompt: str, n: int, ratio: str, resolution: str, seed: int | None
) -> None:
    calls = requests_of(plan(prompt=prompt, n=n, aspect_ratio=ratio, resolution=resolution, seed=seed), Inputs())
    assert [path for path, _ in calls] == [f"models/{MODEL}:generateContent"] * n
    for index, (_, body) in enumerate(calls):
        config: dict[str, Any] = {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": ratio, "imageSize": resolution.upper()},
        }
        if seed is not None:
            config["seed"] = seed + index
        assert body == {"contents": [{"role": "user", "parts": [{"text": prompt}]}], "generationConfig": config}
        assert json.loads(json.dumps(body)) == body


@pytest.mark.parametrize("ratio", ["auto", "16:9"])
def test_given_pictures_stand_before_the_words_in_each_call(ratio: str) -> None:
    given = Inputs(reference_images=("data:image/png;base64,aGVsbG8=", "data:image/jpeg;base64,d29ybGQ="))
    calls = requests_of(plan(n=2, aspect_ratio=ratio), given)
    assert len(calls) == 2
    for _, body in calls:
        (content,) = body["contents"]
        assert content["parts"] == [
            {"inlineData": {"mimeType": "image/png", "data": "aGVsbG8="}},
            {"inlineData": {"mimeType": "image/jpeg", "data": "d29ybGQ="}},
            {"text": "a lighthouse at dusk"},
        ]
        shape = {} if ratio == "auto" else {"aspectRatio": "16:9"}
        assert body["generationConfig"]["imageConfig"] == {**shape, "imageSize": "1K"}


def test_the_name_of_a_model_leads_to_no_other_place() -> None:
    ((path, _),) = requests_of(plan(model="a/b?c"), Inputs())
    assert path == "models/a%2Fb%3Fc:generateContent"


def test_imagen_makes_all_pictures_in_one_call() -> None:
    ((path, body),) = requests_of(plan(model="imagen-4.0-generate-001", n=3, resolution="2k", seed=7), Inputs())
    assert path == "models/imagen-4.0-generate-001:predict"
    assert body["parameters"] == {"sampleCount": 3, "aspectRatio": "1:1", "sampleImageSize": "2K"}
    assert body["instances"] == [{"prompt": "a lighthouse at dusk"}]


PICTURES: dict[str, tuple[Any, int, Decimal | None]] = {
    "a picture": (answer(PICTURE), 1, COST),
    "after a text": (answer({"text": "Here it is."}, PICTURE), 1, COST),
    "after thoughts, of which one is a draft": (
        answer({"text": "Hm.", "thought": True}, PICTURE | {"thought": True}, PICTURE),
        1,
        COST,
    ),
    "in the other spelling": (answer({"inline_data": {"mime_type": "image/png", "data": "aGVsbG8="}}), 1, COST),
    "without a type": (answer({"inlineData": {"data": "aGVsbG8="}}), 1, COST),
    "beside a sound": (answer({"inlineData": {"mimeType": "audio/wav", "data": "aGVsbG8="}}, PICTURE), 1, COST),
    "beside what is no part": (answer(None, 3, "x", {"inlineData": None}, PICTURE), 1, COST),
    "with thoughts on the bill": (answer(PICTURE, usage=USAGE | {"thoughtsTokenCount": 100}), 1, COST + HUNDRED),
    "with text on the bill": (answer(PICTURE, usage=USAGE | {"candidatesTokenCount": 1220}), 1, COST + HUNDRED),
    "a bill without details": (
        answer(PICTURE, usage={"promptTokenCount": 10, "candidatesTokenCount": 1120}),
        1,
        COST,
    ),
    "a bill of the prompt only": (answer(PICTURE, usage={"promptTokenCount": 10}), 1, None),
    "no bill": (answer(PICTURE, usage=None), 1, None),
    "an empty bill": (answer(PICTURE, usage={}), 1, None),
    "a bill that is none": (answer(PICTURE, usage={"candidatesTokenCount": "many"}), 1, None),
    "a negative bill": (answer(PICTURE, usage={"candidatesTokenCount": -5}), 1, None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "count", "cost"), PICTURES.values(), ids=PICTURES)
def test_a_picture_is_found_wherever_it_stands_and_its_tokens_are_priced(
    body: Any, count: int, cost: Decimal | None
) -> None:
    found = read(body)
    assert (len(found.outputs), found.warnings) == (count, ())
    assert all(output.url == ONE.url for output in found.outputs)
    assert found.billed_usd == cost


@pytest.mark.parametrize("count", [2, 100_000])
def test_more_pictures_than_asked_for_are_told_and_not_kept(count: int) -> None:
    found = read(answer(*[PICTURE] * count))
    assert found.outputs == (ONE,)
    assert found.warnings == (f"Google returned {count} images to a request for 1; 1 of them are kept",)
    predicted = read_reply(reply(200, {"predictions": [{"bytesBase64Encoded": "aGVsbG8="}] * count}), PRICES, 1)
    assert (len(predicted.outputs), predicted.warnings) == (1, found.warnings)


@pytest.mark.parametrize("spelling", [("inlineData", "mimeType"), ("inline_data", "mime_type")])
@pytest.mark.parametrize("mime_type", ["IMAGE/JPEG", "application/octet-stream", "Image/Avif", "", None])
def test_a_picture_is_taken_however_its_type_is_written(mime_type: str | None, spelling: tuple[str, str]) -> None:
    part, kind = spelling
    (found,) = read(answer({part: {kind: mime_type, "data": "aGVsbG8="}})).outputs
    assert found == Output(url=ONE.url, content_type=mime_type.lower() or None if mime_type is not None else None)


def test_a_model_without_token_prices_gives_no_figure() -> None:
    assert read_reply(reply(200, answer(PICTURE)), {}).billed_usd is None
    assert cost_usd({"input": 1, "video": 1}, PRICES) is None


def test_the_model_that_has_served_is_kept() -> None:
    assert read(answer(PICTURE) | {"modelVersion": "gemini-nano-banana-2.1-001"}).served_model is not None


BILLED_PROMPT = {"promptTokenCount": 10, "totalTokenCount": 10}
PROMPT_COST = Decimal("0.000015")
EMPTY: dict[str, tuple[Any, type[ProviderError], Billed, Decimal | None]] = {
    **{
        reason: (answer(usage=BILLED_PROMPT, finishReason=reason), ContentRefused, "yes", PROMPT_COST)
        for reason in (
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "IMAGE_RECITATION", "NO_IMAGE"),
            *("PROHIBITED_CONTENT", "SAFETY", "RECITATION", "BLOCKLIST", "SPII"),
        )
    },
    "blocked, with what was made on the bill": (answer(finishReason="IMAGE_SAFETY"), ContentRefused, "yes", COST),
    "blocked, without a bill": (answer(usage=None, finishReason="IMAGE_SAFETY"), ContentRefused, "unknown", None),
    "a blocked prompt": (
        {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": BILLED_PROMPT},
        ContentRefused,
        "yes",
        PROMPT_COST,
    ),
    "a blocked prompt, candidates empty": (
        {"promptFeedback": {"blockReason": "OTHER"}, "candidates": []},
        ContentRefused,
        "unknown",
        None,
    ),
    "text in place of a picture": (answer({"text": "I cannot."}), GenerationFailed, "yes", COST),
    "thoughts only": (answer(PICTURE | {"thought": True}, usage=None), GenerationFailed, "unknown", None),
    "cut off": (answer(usage=None, finishReason="MAX_TOKENS"), GenerationFailed, "unknown", None),
    "a reason of the future": (answer(usage=None, finishReason="NEW"), GenerationFailed, "unknown", None),
    "no candidates": ({"candidates": []}, OutcomeUnknown, "unknown", None),
    "no candidates, with a bill": ({"usageMetadata": BILLED_PROMPT}, GenerationFailed, "yes", PROMPT_COST),
    "candidates that are none": ({"candidates": [None, 3]}, OutcomeUnknown, "unknown", None),
    "no content": ({"candidates": [{"finishReason": "STOP"}]}, GenerationFailed, "unknown", None),
    "a picture of no text": (answer({"inlineData": {"data": 7}}, usage=None), GenerationFailed, "unknown", None),
    "an empty picture": (answer({"inlineData": {"data": ""}}, usage=None), GenerationFailed, "unknown", None),
    "nothing": ({}, OutcomeUnknown, "unknown", None),
    "a list": ([], OutcomeUnknown, "unknown", None),
    "no JSON": ("<html>", OutcomeUnknown, "unknown", None),
    "half of it": ('{"candidates": [', OutcomeUnknown, "unknown", None),
    "no predictions": ({"predictions": []}, GenerationFailed, "unknown", None),
    "every prediction filtered": ({"predictions": [{"raiFilteredReason": "x"}]}, ContentRefused, "unknown", None),
}


@pytest.mark.parametrize(("body", "is_a", "billed", "cost"), EMPTY.values(), ids=EMPTY)
def test_an_answer_without_a_picture_says_why_and_what_it_cost(
    body: Any, is_a: type[ProviderError], billed: Billed, cost: Decimal | None
) -> None:
    error = refused(body)
    assert type(error) is is_a
    assert (error.billed, error.billed_usd, error.provider) == (billed, cost, "google")
    assert is_one_line(error)


def test_words_in_place_of_a_picture_are_one_line() -> None:
    error = refused(answer({"text": "hidden", "thought": True}, {"text": "I\ncannot."}, finishReason="NO_IMAGE"))
    assert error.message == "Google returned no image data (NO_IMAGE): I cannot."


def test_imagen_pictures_that_were_filtered_are_lost_by_themselves() -> None:
    kept = {"bytesBase64Encoded": "aGVsbG8=", "mimeType": "image/png"}
    odd = [{}, None, kept | {"bytesBase64Encoded": 7}, kept | {"bytesBase64Encoded": ""}]
    body = {"predictions": [{"raiFilteredReason": "Codes: 1"}, kept, *odd]}
    found = read_reply(reply(200, body), PRICES, n=4)
    assert [output.lost_because for output in found.outputs] == ["Google refused it: Codes: 1", None]
    assert found.billed_usd is None


def error_body(word: str, text: str, *details: Any, code: Any = 0) -> dict[str, Any]:
    return {"error": {"code": code, "message": text, "status": word, "details": list(details)}}


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "41s"}
DELAYS: list[tuple[Any, dict[str, str], float | None]] = [
    ("41s", {}, 41.0),
    ("0.5s", {}, 0.5),
    ("41.234567s", {"retry_after": "7"}, 41.234567),
    ("86400s", {}, 60.0),
    (None, {"retry_after": "3600"}, 60.0),
    (None, {"retry_after": "7"}, 7.0),
    ("soon", {}, None),
    (41, {}, None),
    ("-3s", {}, None),
    (None, {}, None),
]


@pytest.mark.parametrize(("delay", "headers", "expected"), DELAYS)
def test_how_long_to_wait_is_read_from_the_body(delay: Any, headers: dict[str, str], expected: float | None) -> None:
    body = error_body("RESOURCE_EXHAUSTED", "quota", {"reason": "x"}, RETRY | {"retryDelay": delay})
    error = read_paid_error(reply(429, body, **headers), NOW, what="image generation")
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == expected


SAYS: list[tuple[int, Any, str]] = [
    (503, {"error": "unavailable"}, "Google: unavailable"),
    (500, error_body("INTERNAL", "It broke."), "Google: It broke."),
    (500, error_body("INTERNAL", "  "), "Google: INTERNAL"),
    (500, {"error": {"code": 5}}, "Google image generation failed (500)"),
    (502, "<html>api key</html>", "Google image generation failed (502)"),
    (502, "upstream\ndown", "Google: upstream down"),
    (401, error_body("X", "no", code=401), "Google refused the key in GOOGLE_GENAI_API_KEY (401): no"),
]


@pytest.mark.parametrize(("status", "body", "told"), SAYS)
def test_an_error_is_told_in_googles_own_words_if_it_has_any(status: int, body: Any, told: str) -> None:
    assert read_paid_error(reply(status, body), NOW, what="image generation").message == told


@pytest.mark.parametrize(
    ("value", "tokens"),
    [(0, 0), (1, 1), (999_999_999, 999_999_999), (10**9, 0), (-1, 0), (True, 0), (1.5, 0), ("5", 0), (None, 0)],
)
def test_a_count_of_tokens_is_a_sane_number_or_none_at_all(value: Any, tokens: int) -> None:
    assert tokens_of(value) == tokens


MADE = Finished(outputs=(ONE,), billed_usd=Decimal("0.03"), served_model="m")
NOT_BILLED = RateLimited("slow down")
BLOCKED = ContentRefused("blocked", billed_usd=Decimal("0.01"))
BLOCKED_SILENTLY = ContentRefused("blocked")
BROKEN = OutcomeUnknown("502")
OVERLOADED = ProviderUnavailable("503", billed="no")
GONE = OutcomeUnknown("the connection broke")
NEVER_LEFT = ProviderUnavailable("no connection", billed="no")

SOME: dict[str, tuple[list[Any], str, Decimal | None]] = {
    "not billed": ([MADE, NOT_BILLED, MADE], "slow down; it was not billed", Decimal("0.06")),
    "billed": ([BLOCKED, MADE], "blocked; it was billed", Decimal("0.04")),
    "not known, refused": ([MADE, BLOCKED_SILENTLY], "blocked; whether it was billed is not known", None),
    "overloaded": ([MADE, MADE, MADE, OVERLOADED], "503; it was not billed", Decimal("0.09")),
    "not known, broken": ([BROKEN, MADE], "502; whether it was billed is not known", None),
    "not known, gone": ([MADE, GONE], "the connection broke; whether it was billed is not known", None),
}


@pytest.mark.parametrize(("answers", "lost", "cost"), SOME.values(), ids=SOME)
def test_a_failed_call_leaves_the_others_and_tells_its_bill(
    answers: list[Any], lost: str, cost: Decimal | None
) -> None:
    found = together(answers, plan(n=len(answers)))
    assert [output.lost_because for output in found.outputs if output.lost_because] == [lost]
    assert len(found.outputs) == len(answers)
    assert found.billed_usd == cost
    fewer, *more = found.warnings
    assert fewer == f"Google returned {len(answers) - 1} of {len(answers)} images"
    assert bool(more) is (cost is None)


def test_calls_that_all_succeed_are_one_result_without_a_warning() -> None:
    assert together([MADE, MADE], plan(n=2)) == Finished(
        outputs=(ONE, ONE), billed_usd=Decimal("0.06"), served_model="m"
    )


def test_bills_are_told_where_not_all_are_known() -> None:
    *_, made = together([MADE, MADE, GONE, NOT_BILLED], plan(n=4)).warnings
    assert made == "3 of 4 requests were billed $0.06; of the others it is not known"
    with pytest.raises(OutcomeUnknown, match=r"1 of 2 requests were billed \$0\.01; of the others it is not known"):
        together([BLOCKED, GONE], plan(n=2))
    with pytest.raises(OutcomeUnknown, match=r"^none of 2 images was made: the connection broke$"):
        together([GONE, GONE], plan(n=2))


def test_of_calls_that_failed_the_lost_one_is_told() -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        together([OVERLOADED, OutcomeUnknown("502", http_status=502)], plan(n=2))
    assert (caught.value.provider, caught.value.http_status) == ("google", 502)


def test_one_call_that_failed_is_told_in_its_own_words() -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        together([OVERLOADED], plan(n=1))
    assert caught.value.message == "503"


NONE: dict[str, tuple[list[ProviderError], type[ProviderError], Billed, Decimal | None]] = {
    "all overloaded": ([OVERLOADED, OVERLOADED], ProviderUnavailable, "no", Decimal(0)),
    "all refused before anything was made": ([NOT_BILLED, NEVER_LEFT], RateLimited, "no", Decimal(0)),
    "one may have been accepted": ([NOT_BILLED, GONE], OutcomeUnknown, "unknown", None),
    "one may have been accepted, others are billed": ([BLOCKED, BROKEN], OutcomeUnknown, "unknown", None),
    "one is billed": ([NOT_BILLED, BLOCKED], ContentRefused, "yes", Decimal("0.01")),
    "all are billed": ([BLOCKED, BLOCKED], ContentRefused, "yes", Decimal("0.02")),
    "one is billed, of one nobody says": ([BLOCKED, BLOCKED_SILENTLY], ContentRefused, "yes", None),
    "of one nobody says, one is billed": ([BLOCKED_SILENTLY, BLOCKED], ContentRefused, "yes", None),
    "of another nobody says": ([NOT_BILLED, GenerationFailed("cut off")], RateLimited, "unknown", None),
    "nobody says": ([NOT_BILLED, BLOCKED_SILENTLY], ContentRefused, "unknown", None),
}


@pytest.mark.parametrize(("errors", "is_a", "billed", "cost"), NONE.values(), ids=NONE)
def test_without_any_picture_the_error_tells_the_bill_of_all_calls(
    errors: list[ProviderError], is_a: type[ProviderError], billed: Billed, cost: Decimal | None
) -> None:
    copies = [type(error)(error.message, billed=error.billed, billed_usd=error.billed_usd) for error in errors]
    with pytest.raises(ProviderError) as caught:
        together(copies, plan(n=len(errors)))
    assert type(caught.value) is is_a
    assert (caught.value.billed, caught.value.billed_usd) == (billed, cost)
    assert caught.value.message.startswith(f"none of {len(errors)} images was made: ")


NAMES = st.sampled_from(
    ["candidates", "content", "parts", "inlineData", "data", "mimeType", "thought", "text", "finishReason", "error",
     "promptFeedback", "blockReason", "usageMetadata", "candidatesTokenCount", "candidatesTokensDetails", "modality",
     "predictions", "bytesBase64Encoded", "raiFilteredReason", "details", "retryDelay", "message", "status", "code"]
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(ANYTHING, st.sampled_from([200, 400, 429, 500]))
def test_no_answer_raises_anything_but_a_provider_error(body: Any, status: int) -> None:
    try:
        if status != 200:
            raise read_paid_error(reply(status, body), NOW, what="image generation")
        assert read(body).outputs
    except ProviderError as exc:
        assert is_one_line(exc)  # noqa: PT017 - most are errors
