"""The vendors' tables of what an answer means: every row has an example, and the example gets the row's meaning."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from ring_mcp import errors
from ring_mcp.domain import consent, team
from ring_mcp.errors import OutcomeUnknown, ProviderError, ProviderUnavailable
from ring_mcp.providers.google import outcomes as google_outcomes
from ring_mcp.providers.google import replies as google_replies
from ring_mcp.providers.outcomes import ANY_STATUS, Form, Row, Said, row_of
from ring_mcp.providers.replies import Reply
from ring_mcp.providers.xai import outcomes as xai_outcomes
from ring_mcp.providers.xai import replies as xai_replies
from tests.providers.provider_samples import NOW, is_one_line, reply

HTML = "<!DOCTYPE html><html><head><title>Gateway</title></head><body>api key safety not found</body></html>"
BILL = {"usage": {"cost_in_usd_ticks": 200_000_000}}


def xai(status: int, code: str, error: str, **more: Any) -> Reply:
    return reply(status, {"code": code, "error": error, **more})


def google(status: int, word: str, message: str, *details: Mapping[str, Any]) -> Reply:
    """As ``generateContent`` says it, in the array that its front end puts round it."""
    return reply(status, [{"error": {"code": status, "message": message, "status": word, "details": list(details)}}])


def interactions(status: int, code: str, message: str) -> Reply:
    return reply(status, {"error": {"code": code, "message": message}})


def quota(quota_id: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota_id}]}


DEPLETED = "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing."
OVER_QUOTA = "You exceeded your current quota, please check your plan and billing details."
WRONG_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}

XAI: dict[str, list[Reply]] = {
    "moderation refused it; what it cost stands in usage, if anywhere": [
        xai(400, "imagine:content-moderated", "Generated image rejected by content moderation.", **BILL),
        xai(400, "Client specified an invalid argument", "Generated video rejected by content moderation."),
        xai(400, "imagine:content-moderated", "No."),
        xai(400, "invalid-argument", "It violates usage guidelines."),
        xai(400, "invalid-argument", "SAFETY_CHECK failed."),
        reply(400, "Generated image rejected by content moderation."),
    ],
    "the credits are used up": [
        xai(
            429,
            "Some resource has been exhausted",
            "Your team has either used all available credits or reached its monthly spending limit.",
        ),
        xai(403, "permission-denied", "The credits of the team are used up."),
        xai(429, "resource-exhausted", "The monthly spending limit is reached."),
        xai(429, "usage-exhausted", "No more."),
        reply(429, "Your team has used all available credits."),
    ],
    "payment is required": [xai(402, "resource-exhausted", "Payment is required.")],
    "the key is wrong": [
        xai(400, "invalid-argument", "Incorrect API key provided: xa***gA."),
        reply(400, "Incorrect API key provided: xa***gA."),
    ],
    "there is no key, or it has no rights, or its team is blocked": [
        xai(401, "unauthenticated:no-credentials", "No credentials provided"),
        xai(403, "permission-denied", "The team is blocked."),
    ],
    "too many requests": [
        xai(429, "resource-exhausted", "Too many requests for team 5a0db0c5 and model x."),
        reply(429, HTML, content_type="text/html"),
        reply(429),
    ],
    "a field is missing or of the wrong type": [
        reply(422, "Failed to deserialize the JSON body into the target type: missing field 'prompt'"),
    ],
    "there is no such route: a wrong XAI_API_BASE_URL": [reply(404, "Not Found", content_type="text/plain")],
    "it says what it cost, whatever else it says": [xai(500, "internal", "Internal error.", **BILL)],
    "the request is refused": [
        xai(400, "invalid-argument", "Duration 15s exceeds the maximum allowed."),
        xai(404, "not-found", "The model X does not exist or your team does not have access to it."),
        xai(413, "invalid-argument", "Too large."),
        xai(415, "invalid-argument", "Expected JSON"),
        xai(422, "invalid-argument", "missing field 'prompt'"),
    ],
    "the service itself does not know the job": [
        xai(404, "not-found", "No deferred video could be found with the given request_id"),
        xai(404, "Some requested entity was not found", "It is not there."),
        xai(404, "not-found", "It is not there."),
        xai(404, "invalid-argument", "No deferred image could be found"),
    ],
    "anything else: 408, 409, 499, 5xx, a redirect, a page or a word that is not xAI's": [
        *(reply(status, HTML, content_type="text/html") for status in (301, 400, 401, 403, 404, 422, 500, 502, 520)),
        *(xai(status, "aborted", "It was aborted.") for status in (408, 409, 499, 500, 503, 529)),
        reply(404, "404 page not found"),
        reply(403, {"message": "Forbidden"}),
        reply(400, "Bad Request"),
        reply(400, {"error": " "}),
        reply(302, location="/elsewhere"),
    ],
    "anything else": [
        reply(404, HTML, content_type="text/html"),
        reply(404, "Not Found"),
        reply(404, {"error": {"message": "Invalid URL (GET /v1/videos/1)", "type": "invalid_request_error"}}),
        xai(400, "service-unavailable", "Moderation service unavailable"),
        xai(400, "invalid-argument", "The request could not be processed."),
        xai(500, "internal", "Internal error."),
        reply(410),
        reply(204),
        reply(301, location="/elsewhere"),
    ],
}
XAI["it cannot be asked now"] = [reply(404, HTML, content_type="text/html"), xai(500, "internal", "x"), reply(410)]
GOOGLE: dict[str, list[Reply]] = {
    "the key is wrong": [
        google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", WRONG_KEY),
        google(400, "INVALID_ARGUMENT", "It is not valid.", WRONG_KEY),
        google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    ],
    "there is no key, or it has no rights": [
        google(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers."),
        interactions(401, "authentication", "The API key is missing."),
        interactions(403, "permission_denied", "No permission."),
    ],
    "the prepaid credits are used up": [
        google(402, "RESOURCE_EXHAUSTED", DEPLETED),
        interactions(402, "payment_required", DEPLETED),
    ],
    "the prepaid credits are used up, as a 429": [google(429, "RESOURCE_EXHAUSTED", DEPLETED)],
    "the quota of the day is used up, or there is none": [
        google(429, "RESOURCE_EXHAUSTED", OVER_QUOTA, quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")),
        google(429, "RESOURCE_EXHAUSTED", f"{OVER_QUOTA}\n* Quota exceeded for metric: x, limit: 0, model: y"),
        interactions(429, "quota_exceeded", "You have exceeded your daily quota."),
        google(429, "RESOURCE_EXHAUSTED", OVER_QUOTA, quota("requests_per_day")),
        google(429, "RESOURCE_EXHAUSTED", "Quota of requests per day."),
    ],
    "too many requests": [
        google(429, "RESOURCE_EXHAUSTED", OVER_QUOTA, quota("GenerateRequestsPerMinutePerProject")),
        interactions(429, "rate_limit_exceeded", "Slow down."),
        reply(429, HTML, content_type="text/html"),
    ],
    "safety refused it": [
        interactions(400, "safety_violation", "The prompt was refused."),
        google(400, "INVALID_ARGUMENT", "The input was blocked for safety reasons."),
        google(400, "INVALID_ARGUMENT", "Prohibited use."),
        google(400, "INVALID_ARGUMENT", "The prompt contains sensitive words."),
    ],
    "the service itself failed, or was overloaded": [
        google(500, "INTERNAL", "An internal error has occurred."),
        google(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        google(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
        interactions(500, "api_error", "An unexpected error."),
        interactions(503, "service_unavailable", "Overloaded."),
    ],
    "the request is refused": [
        google(400, "INVALID_ARGUMENT", "Aspect ratio '2:1' is not supported for this model."),
        google(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        google(404, "NOT_FOUND", "models/imagen is not found for API version v1beta."),
        google(400, "INVALID_ARGUMENT", "The safety service is unavailable."),
        google(400, "INVALID_ARGUMENT", "The safety filter: try again."),
        google(400, "INVALID_ARGUMENT", "The safety filter timed out."),
        google(400, "INVALID_ARGUMENT", "The safety filter: timeout."),
        google(413, "INVALID_ARGUMENT", "Too large."),
        google(422, "INVALID_ARGUMENT", "Not understood."),
        interactions(400, "invalid_request", "The value is not supported."),
        interactions(416, "out_of_range", "Outside the valid range."),
    ],
    "anything else: 408, 409, 499, 5xx without Google's words, a redirect, a page": [
        *(reply(status, HTML, content_type="text/html") for status in (301, 400, 401, 403, 404, 500, 502, 503, 504)),
        *(google(status, "ABORTED", "It was aborted.") for status in (408, 409, 499, 501)),
        reply(500, {"error": {"message": "upstream: unavailable", "type": "server_error", "code": "500"}}),
        reply(503, {"error": "unavailable"}),
        reply(500, {"error": {"code": "internal", "status": "INTERNAL"}}),
        reply(400, {"error": {"message": "Bad request"}}),
        reply(400, []),
        reply(403, {"message": "Forbidden"}),
        reply(502),
    ],
    "it does not know the job, as it says now and then of one that runs, too": [
        google(400, "INVALID_ARGUMENT", "Invalid interaction name."),
        interactions(400, "invalid_request", "Invalid interaction name."),
    ],
    "it does not know the job": [
        google(404, "NOT_FOUND", "Requested entity was not found."),
        interactions(404, "not_found", "Result not found."),
    ],
    "anything else": [
        reply(404, HTML, content_type="text/html"),
        reply(404, "Not Found"),
        reply(410),
        google(400, "INVALID_ARGUMENT", "Something else about an interaction."),
        google(400, "INVALID_ARGUMENT", "The safety service is unavailable, try again."),
        google(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        reply(301, location="/elsewhere"),
    ],
}
GOOGLE["it cannot be asked now"] = [reply(404, HTML, content_type="text/html"), google(503, "UNAVAILABLE", "x")]
Read = Callable[..., ProviderError]
TABLES: dict[str, tuple[tuple[Row, ...], Read, Callable[[Reply], Said], dict[str, list[Reply]]]] = {
    "xAI, paid": (xai_outcomes.PAID, xai_replies.read_paid_error, xai_replies.read_words, XAI),
    "xAI, look": (xai_outcomes.LOOK, xai_replies.read_look_error, xai_replies.read_words, XAI),
    "xAI, free": (xai_outcomes.FREE, xai_replies.read_error, xai_replies.read_words, XAI),
    "Google, paid": (google_outcomes.PAID, google_replies.read_paid_error, google_replies.read_words, GOOGLE),
    "Google, look": (google_outcomes.LOOK, google_replies.read_look_error, google_replies.read_words, GOOGLE),
    "Google, free": (google_outcomes.FREE, google_replies.read_error, google_replies.read_words, GOOGLE),
}
ROWS = [pytest.param(row, table, id=f"{name}: {row.when}") for name, (table, *_) in TABLES.items() for row in table]


def of_table(table: tuple[Row, ...]) -> tuple[Read, Callable[[Reply], Said], dict[str, list[Reply]]]:
    return next(rest for rows, *rest in TABLES.values() if rows is table)  # type: ignore[return-value]


@pytest.mark.parametrize(("row", "table"), ROWS)
def test_every_row_has_an_example_that_gets_its_meaning(row: Row, table: tuple[Row, ...]) -> None:
    read, said_in, examples = of_table(table)
    for example in examples[row.when]:
        assert row_of(said_in(example), table) is row
        error = read(example, NOW, what="image generation")
        assert type(error) is row.error
        assert error.billed == ("yes" if error.billed_usd else row.billed)
        assert error.retryable == (row.error.retryable if row.retryable is None else row.retryable)
        assert error.http_status == example.status
        assert is_one_line(error)


USUALLY_BILLED = {"paid": "no", "look": "unknown", "free": "no"}
BILLED_OTHERWISE = {
    "xAI, paid": {
        "moderation refused it; what it cost stands in usage, if anywhere": "unknown",
        "it says what it cost, whatever else it says": "yes",
        "anything else: 408, 409, 499, 5xx, a redirect, a page or a word that is not xAI's": "unknown",
    },
    "Google, paid": {
        "anything else: 408, 409, 499, 5xx without Google's words, a redirect, a page": "unknown",
    },
}


@pytest.mark.parametrize("name", TABLES)
def test_what_is_known_of_the_bill_depends_on_what_was_asked(name: str) -> None:
    usual = USUALLY_BILLED[name.rpartition(" ")[2]]
    otherwise = {row.when: row.billed for row in TABLES[name][0] if row.billed != usual}
    assert otherwise == BILLED_OTHERWISE.get(name, {})


def test_of_an_answer_nothing_is_taken_for_granted() -> None:
    row = Row(when="", statuses=ANY_STATUS, error=ProviderUnavailable, billed="no", source="")
    bare = Said(status=500, text="away")
    assert replace(row, form=Form.TEXT, words=("away",)).is_for(bare), "it is no page"
    assert not replace(row, form=Form.OWN, words=("away",)).is_for(bare), "it is not in the vendor's own form"
    assert not replace(row, form=Form.ANY, with_bill=True).is_for(bare), "it carries no bill"


@pytest.mark.parametrize("status", [100, 599, 999])
@pytest.mark.parametrize("name", TABLES)
def test_whatever_the_status_there_is_a_row(name: str, status: int) -> None:
    assert row_of(Said(status=status), TABLES[name][0]).form is Form.ANY


def test_only_of_a_job_that_may_live_asking_again_helps() -> None:
    said = {row.when: row.retryable for table, *_ in TABLES.values() for row in table if row.retryable is not None}
    assert said == {"it does not know the job, as it says now and then of one that runs, too": True}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_ends_with_its_one_row_for_everything(name: str) -> None:
    *rows, last = TABLES[name][0]
    assert (last.form, last.codes, last.words, last.with_bill) == (Form.ANY, frozenset(), (), False)
    assert not any(row.is_for(Said(status=status)) for row in rows for status in (300, 404, 500))


@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_called_unbilled_without_the_providers_words(name: str) -> None:
    table = TABLES[name][0]
    for row in table[:-1] if name.endswith("free") else table:
        if row.billed == "no":
            assert row.form is not Form.ANY or row.statuses == (429,)
        assert row.source


@pytest.mark.parametrize("name", ["xAI, paid", "Google, paid"])
def test_what_a_paid_request_leaves_open_is_an_unknown_outcome(name: str) -> None:
    for row in TABLES[name][0]:
        if issubclass(row.error, ProviderUnavailable | OutcomeUnknown):
            assert (row.error is OutcomeUnknown) == (row.billed == "unknown")


def test_the_drawing_of_the_error_tree_shows_every_error_under_its_parent() -> None:
    assert errors.__doc__ is not None
    parents: list[str] = []
    drawn: dict[str, str | None] = {}
    for line in errors.__doc__.splitlines():
        mark = max(line.find("├─ "), line.find("└─ "))
        if mark < 0 and not line.startswith("RingError "):
            continue
        depth, name = (mark // 3 + 1, line[mark + 3 :].split()[0]) if mark >= 0 else (0, "RingError")
        parents[depth:] = [name]
        drawn[name] = parents[depth - 1] if depth else None
    real = {
        name: None if value is errors.RingError else value.__bases__[0].__name__
        for module in (errors, consent, team)
        for name, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, errors.RingError)
    }
    assert drawn == real
