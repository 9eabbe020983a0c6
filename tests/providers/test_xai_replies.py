"""Every way xAI is known to say no (reference provider-apis.md 1.9), and every way nobody has seen yet."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ring_mcp.errors import (
    Billed,
    ContentRefused,
    CreditsExhausted,
    GenerationFailed,
    OutcomeUnknown,
    ProviderAuthError,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.providers.replies import Reply, retry_after_s
from ring_mcp.providers.xai.replies import (
    error_text,
    progress_of,
    read_billed_usd,
    read_error,
    read_failed_job,
    read_look_error,
    read_paid_error,
)
from tests.providers.provider_samples import NOW, is_one_line, reply

WHAT = "image generation"
HTML = (
    "<!DOCTYPE html>\n<html><head><title>502 Bad gateway</title></head><body>api key credits moderation</body></html>"
)
OLD_ARGUMENT = "Client specified an invalid argument"
OLD_EXHAUSTED = "Some resource has been exhausted"
OLD_NOT_FOUND = "Some requested entity was not found"
OLD_DENIED = "The caller does not have permission to execute the specified operation"
RATE_LIMIT = (
    "Too many requests for team 5a0db0c5 and model grok-imagine-video-1.5. Your team's rate limit is — Requests per "
    "Second (actual/limit): 2/2. Your rate limit tier is determined based on your historical API spend."
)
DESERIALIZE = "Failed to deserialize the JSON body into the target type: missing field 'prompt' at line 10 column 1"
NO_CREDITS = "Your team has either used all available credits or reached its monthly spending limit."
NO_MODEL = "The model X does not exist or your team 5a0db0c5 does not have access to it."
MODERATED_CODE = "imagine:content-moderated"
MODERATED = "Generated image rejected by content moderation."


@dataclass(frozen=True)
class Row:
    """A row of the reference's table. ``codes`` are the spellings that have been seen for it, newest first.

    ``own_only``: nothing in its words tells that xAI says it, so that only its own form of JSON does.
    """

    what: str
    status: int
    codes: tuple[str, ...]
    says: str
    is_a: type[ProviderError]
    billed: Billed
    ticks: int | None = None
    own_only: bool = False

    @property
    def usd(self) -> Decimal | None:
        return None if self.ticks is None else Decimal(self.ticks) / 10**10


TABLE = (
    Row(
        "a wrong key",
        400,
        ("invalid-argument", OLD_ARGUMENT),
        "Incorrect API key provided: xa***gA. You can obtain an API key from https://console.x.ai.",
        ProviderAuthError,
        "no",
    ),
    Row(
        "a bad argument",
        400,
        ("invalid-argument", OLD_ARGUMENT),
        "Duration 15s exceeds the maximum allowed for reference-to-video, which is 10s.",
        ProviderRejected,
        "no",
        own_only=True,
    ),
    Row(
        "moderation, with its bill",
        400,
        (MODERATED_CODE, OLD_ARGUMENT),
        MODERATED,
        ContentRefused,
        "yes",
        200_000_000,
    ),
    Row("moderation, free of charge", 400, (MODERATED_CODE, OLD_ARGUMENT), MODERATED, ContentRefused, "no", 0),
    Row("moderation, no word of a bill", 400, (MODERATED_CODE, OLD_ARGUMENT), MODERATED, ContentRefused, "unknown"),
    Row(
        "zero data retention",
        400,
        ("invalid-argument", OLD_ARGUMENT),
        "Zero Data Retention teams must provide output.upload_url for video generation.",
        ProviderRejected,
        "no",
        own_only=True,
    ),
    Row(
        "no key",
        401,
        ("unauthenticated:no-credentials",),
        "No credentials provided",
        ProviderAuthError,
        "no",
        own_only=True,
    ),
    Row(
        "a text that is not allowed",
        403,
        ("permission-denied", OLD_DENIED),
        "Content violates usage guidelines. SAFETY_CHECK_TYPE_VIOLENCE",
        ContentRefused,
        "unknown",
    ),
    Row(
        "a blocked team",
        403,
        ("permission-denied", OLD_DENIED, "unauthorized:blocked-user"),
        "The team is blocked and cannot make requests.",
        ProviderAuthError,
        "no",
        own_only=True,
    ),
    Row(
        "a bad OAuth token",
        403,
        ("unauthenticated:bad-credentials",),
        "The OAuth2 access token could not be validated.",
        ProviderAuthError,
        "no",
        own_only=True,
    ),
    Row("an unknown model", 404, ("not-found", OLD_NOT_FOUND), NO_MODEL, ProviderRejected, "no", own_only=True),
    Row("an unknown route", 404, (), "Not Found", ProviderRejected, "no"),
    Row(
        "a form in place of JSON",
        415,
        (),
        "Expected `Content-Type: application/json`",
        ProviderRejected,
        "no",
        own_only=True,
    ),
    Row("a missing field", 422, ("invalid-argument", OLD_ARGUMENT), DESERIALIZE, ProviderRejected, "no"),
    Row("the rate limit", 429, ("resource-exhausted", OLD_EXHAUSTED), RATE_LIMIT, RateLimited, "no"),
    Row("no credits", 429, ("resource-exhausted", OLD_EXHAUSTED), NO_CREDITS, CreditsExhausted, "no"),
    Row(
        "the free share is used up",
        429,
        ("subscription:free-usage-exhausted",),
        "You have used up what is free this month: credits are needed.",
        CreditsExhausted,
        "no",
    ),
    Row("no credits, forbidden", 403, ("permission-denied", OLD_DENIED), NO_CREDITS, CreditsExhausted, "no"),
    Row(
        "payment required",
        402,
        ("resource-exhausted", OLD_EXHAUSTED),
        NO_CREDITS,
        CreditsExhausted,
        "no",
        own_only=True,
    ),
    Row("a time-out of a proxy", 408, (), "Request Timeout", OutcomeUnknown, "unknown"),
    *(
        Row(f"{status}", status, ("internal", "unavailable"), "It is unavailable.", OutcomeUnknown, "unknown")
        for status in (409, 499, 500, 502, 503, 504, 520, 529)
    ),
    Row("an error with a bill", 500, ("internal",), "Internal error.", GenerationFailed, "yes", 600_000_000),
)


def spellings(row: Row) -> Iterator[tuple[str, Reply]]:
    """The row as every shape that a client must accept."""
    usage = {} if row.ticks is None else {"usage": {"cost_in_usd_ticks": row.ticks}}
    for code in row.codes or ("",):
        named = {"code": code} if code else {}
        yield f"flat {code}", reply(row.status, {**named, "error": row.says, **usage})
        yield f"nested {code}", reply(row.status, {"error": {"message": row.says, "type": "x", **named}, **usage})
        yield f"nested with usage {code}", reply(row.status, {"error": {"message": row.says, **named, **usage}})
    yield "string", reply(row.status, {"error": row.says, **usage})
    if not row.own_only:
        yield from foreign_spellings(row)


def foreign_spellings(row: Row) -> Iterator[tuple[str, Reply]]:
    """The row's words without xAI's own form around them."""
    usage = {} if row.ticks is None else {"usage": {"cost_in_usd_ticks": row.ticks}}
    yield "message", reply(row.status, {"message": row.says, **usage})
    if row.ticks is None:
        yield "bare text", reply(row.status, f"\n{row.says}\r\n", content_type="text/plain")
        yield "text as JSON", reply(row.status, row.says, content_type="application/json")


CASES = [pytest.param(row, answer, id=f"{row.what}, {shape}") for row in TABLE for shape, answer in spellings(row)]


@pytest.mark.parametrize(("row", "answer"), CASES)
def test_every_known_refusal_becomes_its_error_in_every_shape_and_spelling(row: Row, answer: Reply) -> None:
    error = read_paid_error(answer, NOW, what=WHAT)
    assert type(error) is row.is_a
    assert (error.billed, error.billed_usd) == (row.billed, row.usd)
    assert (error.provider, error.http_status) == ("xai", row.status)
    # On one line, with the provider's own sentence.
    assert row.says[:280] in error.message
    assert "xAI" in error.message
    assert is_one_line(error)


FOREIGN = [
    pytest.param(answer, id=f"{row.what}, {shape}")
    for row in TABLE
    if row.own_only
    for shape, answer in foreign_spellings(row)
]


@pytest.mark.parametrize("answer", FOREIGN)
def test_a_refusal_in_another_form_is_unknown(answer: Reply) -> None:
    error = read_paid_error(answer, NOW, what=WHAT)
    assert type(error) is OutcomeUnknown
    assert error.billed == "unknown"


@pytest.mark.parametrize(
    ("status", "code", "is_a"),
    [
        (400, "imagine:content-moderated", ContentRefused),
        (429, "subscription:free-usage-exhausted", CreditsExhausted),
    ],
)
def test_a_code_decides_where_the_sentence_is_silent_however_deep_it_stands(
    status: int, code: str, is_a: type[ProviderError]
) -> None:
    for body in (
        {"code": code, "error": "No."},
        {"error": {"code": code, "message": "No."}},
        {"error": {"code": code}},
    ):
        assert type(read_paid_error(reply(status, body), NOW, what=WHAT)) is is_a


@pytest.mark.parametrize("content_type", ["text/html; charset=UTF-8", "", "text/plain"])
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 408, 409, 422, 499, 500, 502, 503, 504, 520, 529])
def test_a_proxys_page_is_not_quoted_and_unknown(status: int, content_type: str) -> None:
    error = read_paid_error(reply(status, HTML, content_type=content_type), NOW, what=WHAT)
    assert type(error) is OutcomeUnknown
    assert error.message == f"xAI {WHAT} failed ({status})"
    assert error.billed == "unknown"


def test_too_many_requests_are_too_many_whoever_says_so() -> None:
    assert type(read_paid_error(reply(429, HTML, content_type="text/html"), NOW, what=WHAT)) is RateLimited


@pytest.mark.parametrize("status", [500, 429, 400])
@pytest.mark.parametrize(
    "body", [b"", b"  ", b"{}", b"[]", b"null", b'{"error": null}', b'{"error": {}}', b"\xff\xfe\x00"]
)
def test_an_answer_that_says_nothing_is_told_by_its_status(status: int, body: bytes) -> None:
    error = read_paid_error(reply(status, body), NOW, what=WHAT)
    assert is_one_line(error)
    assert error.http_status == status


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("3", 3.0),
        ("0", 0.0),
        (" 2.5 ", 2.5),
        ("3600", 60.0),
        (format_datetime(NOW + timedelta(seconds=41), usegmt=True), 41.0),
        (format_datetime(NOW - timedelta(seconds=41), usegmt=True), 0.0),
        ("Sat, 21 Nov 2026 14:00:10 +0200", 10.0),
        ("Sat, 21 Nov 2026 12:00:10 -0000", 10.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("-5", 0.0),
        ("Sat, 21 Nov 99999999999999999999 12:00:00 GMT", None),
    ],
)
def test_a_rate_limit_tells_seconds_or_a_date(value: str, expected_s: float | None) -> None:
    error = read_paid_error(reply(429, {"error": RATE_LIMIT}, retry_after=value), NOW, what=WHAT)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == expected_s


def test_a_rate_limit_without_the_header_says_nothing_of_when() -> None:
    error = read_paid_error(reply(429, {"error": RATE_LIMIT}), NOW, what=WHAT)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s is None


def test_a_minute_is_the_longest_wait_that_is_believed() -> None:
    assert retry_after_s({"retry-after": "1e12"}, NOW) == 60.0
    assert retry_after_s({"retry-after": "Fri, 21 Nov 2036 12:00:00 GMT"}, NOW) == 60.0


@given(st.text(string.printable, max_size=40) | st.text(max_size=20) | st.floats().map(str) | st.datetimes().map(str))
def test_any_retry_after_is_seconds_of_at_most_a_minute_or_nothing(value: str) -> None:
    seconds = retry_after_s({"retry-after": value}, NOW)
    assert seconds is None or 0.0 <= seconds <= 60.0


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["code", "error", "message", "usage", "cost_in_usd_ticks", "type", "status"])
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
ANY_BODY = (
    ANY_JSON.map(lambda value: json.dumps(value).encode())
    | ANY_JSON.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | st.binary(max_size=80)
    | st.sampled_from([HTML.encode(), b"[" * 50_000, b'{"error":' * 50_000, b'{"error": 1e400}', b'{"usage":'])
    | st.sampled_from([row.says for row in TABLE]).map(str.encode)
)  # fmt: skip


@given(status=st.integers(300, 599), body=ANY_BODY)
@example(status=500, body=b'{"usage": {"cost_in_usd_ticks": ' + b"9" * 5000 + b"}}")
@example(status=400, body=b'{"usage": {"cost_in_usd_ticks": "1e999999999"}, "error": "moderation"}')
@example(status=400, body=b'{"error": "\\ud800 \\u0000 \\u202e \\n moderation"}')
def test_no_status_and_no_body_falls_through_the_tables(status: int, body: bytes) -> None:
    for read in (read_paid_error, read_look_error, read_error):
        error = read(reply(status, body), NOW, what=WHAT)
        assert type(error) is not ProviderError
        assert isinstance(error, ProviderError)
        assert error.http_status == status
        assert is_one_line(error)
        assert len(error.message) < 400
        if error.billed_usd is not None:
            assert error.billed == ("yes" if error.billed_usd else "no")
        elif read is read_look_error:
            assert error.billed == "unknown"


def test_a_status_alone_proves_nothing_but_that_a_limit_was_reached() -> None:
    for status in range(300, 600):
        paid, look = (read(reply(status), NOW, what=WHAT) for read in (read_paid_error, read_look_error))
        assert type(paid) is (RateLimited if status == 429 else OutcomeUnknown), status
        assert type(look) is (RateLimited if status == 429 else ProviderUnavailable), status
        assert (paid.billed, look.billed) == ("no" if status == 429 else "unknown", "unknown"), status


@pytest.mark.parametrize(
    ("ticks", "usd"),
    [
        (200_000_000, Decimal("0.02")),
        (0, Decimal(0)),
        (1, Decimal("0.0000000001")),
        (2.5e9, Decimal("0.25")),
        ("600000000", Decimal("0.06")),
        (10**14, Decimal(10_000)),
        (10**16, Decimal(1_000_000)),
        (10**16 + 1, None),
        (-1, None),
        (True, None),
        (None, None),
        ("many", None),
        ([1], None),
        ({}, None),
        (float("nan"), None),
        (float("inf"), None),
        ("sNaN", None),
        ("1e999999999", None),
        ("1e300", None),
        (10**40, None),
    ],
)
def test_ticks_are_dollars_and_nonsense_is_no_amount(ticks: Any, usd: Decimal | None) -> None:
    assert read_billed_usd({"usage": {"cost_in_usd_ticks": ticks}}) == usd


@pytest.mark.parametrize(
    "body", [None, [], "x", 5, {}, {"usage": None}, {"usage": []}, {"usage": {}}, {"usage": "free"}]
)
def test_an_answer_without_usage_has_no_amount(body: Any) -> None:
    assert read_billed_usd(body) is None


@pytest.mark.parametrize(
    ("said", "progress"),
    [(0, 0), (45, 45), (45.9, 45), (99, 99), (100, 99), (-3, 0), (1e300, 99), (float("inf"), 99), (float("nan"), None),
     (True, None), ("45", None), (None, None), ([], None)],
)  # fmt: skip
def test_progress_is_a_whole_number_below_a_hundred_or_nothing(said: Any, progress: int | None) -> None:
    assert progress_of({"progress": said}) == progress


FAILURE_CODES = [
    "invalid_argument",
    "permission_denied",
    "failed_precondition",
    "service_unavailable",
    "internal_error",
]


@pytest.mark.parametrize("code", FAILURE_CODES)
def test_a_failed_job_keeps_code_and_sentence_of_the_provider(code: str) -> None:
    error = read_failed_job({"status": "failed", "error": {"code": code, "message": "The model\nwas busy."}}, WHAT)
    assert type(error) is GenerationFailed
    assert f"{code}: The model was busy." in error.message
    assert error.billed == "unknown"


def test_a_failed_job_keeps_its_bill_whatever_ended_it() -> None:
    error = read_failed_job({"error": "it broke", "usage": {"cost_in_usd_ticks": 500_000_000}}, WHAT)
    assert type(error) is GenerationFailed
    assert error.billed_usd == Decimal("0.05")


@pytest.mark.parametrize("said", ["Moderation service unavailable.", "Content moderation timed out, try again."])
def test_moderation_that_is_away_refuses_nothing(said: str) -> None:
    body = {"code": "service-unavailable", "error": said}
    assert type(read_look_error(reply(400, body), NOW, what=WHAT)) is ProviderUnavailable
    assert type(read_paid_error(reply(400, body), NOW, what=WHAT)) is ProviderRejected
    assert type(read_failed_job({"error": {"code": "service_unavailable", "message": said}}, WHAT)) is GenerationFailed


@pytest.mark.parametrize("code", FAILURE_CODES)
def test_a_failed_job_that_moderation_stopped_is_a_refusal_with_its_bill(code: str) -> None:
    body = {"error": {"code": code, "message": MODERATED}, "usage": {"cost_in_usd_ticks": 200_000_000}}
    error = read_failed_job(body, WHAT)
    assert type(error) is ContentRefused
    assert (error.billed, error.billed_usd) == ("yes", Decimal("0.02"))


@pytest.mark.parametrize("error", [None, {}, "", [], {"code": None, "message": None}, {"code": "", "message": ""}])
def test_a_failed_job_without_a_reason_says_so(error: Any) -> None:
    assert read_failed_job({"error": error}, WHAT).message == f"xAI {WHAT} failed: no reason given"


@given(st.dictionaries(st.sampled_from(["error", "usage", "code", "message"]), ANY_JSON))
def test_a_failed_job_of_any_shape_is_one_line(body: dict[str, Any]) -> None:
    error = read_failed_job(body, WHAT)
    assert is_one_line(error)
    assert len(error.message) < 400


def test_a_blank_error_gives_way_to_what_stands_beside_it() -> None:
    assert error_text(reply(400, {"error": " ", "message": "the prompt is too long"})) == "the prompt is too long"
    assert error_text(reply(400, {"error": " ", "code": "prompt_too_long"})) == "prompt_too_long"
