"""How the emulated Google says no: ``{"error": {code, message, status, details}}``, sometimes inside an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ring_mcp.sandbox.state.settings import Settings

TYPE_PREFIX = "type.googleapis.com/google.rpc."
QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)
DEPLETED = (
    "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project "
    "and billing."
)
STATUSES = {
    400: ("FAILED_PRECONDITION", "User location is not supported for the API use."),
    403: ("PERMISSION_DENIED", "The caller does not have permission."),
    404: ("NOT_FOUND", "Requested entity was not found."),
    500: ("INTERNAL", "An internal error has occurred. Please retry or report in the developer forum."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}


class GoogleRefusal(Exception):
    """An error answer of the emulated Google. Raised anywhere in a handler."""

    def __init__(self, status: int, word: str, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.word = word
        self.message = message
        self.details = list(details)


def invalid(message: str) -> GoogleRefusal:
    """400: the request is not one."""
    return GoogleRefusal(400, "INVALID_ARGUMENT", message)


def unknown_name(name: str, at: str) -> GoogleRefusal:
    """400: protobuf's sentence for a field that does not exist."""
    where = f" at '{at}'" if at else ""
    return invalid(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')


def model_unknown(model: str, version: str, method: str) -> GoogleRefusal:
    return GoogleRefusal(
        404,
        "NOT_FOUND",
        f"models/{model} is not found for API version {version}, or is not supported for {method}. Call "
        "ModelService.ListModels to see the list of available models and their supported methods.",
    )


def interaction_unknown() -> GoogleRefusal:
    """400, not 404; now and then also for one that is alive."""
    return invalid("Invalid interaction name.")


def bad_key() -> GoogleRefusal:
    """400, not 401: that is how the real one does it."""
    reason = {"@type": f"{TYPE_PREFIX}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    return GoogleRefusal(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [reason])


def no_key() -> GoogleRefusal:
    return GoogleRefusal(
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other "
        "form of API consumer identity to call this API.",
    )


def rate_limited(retry_delay_s: float = 41) -> GoogleRefusal:
    """429: how long to wait stands in the body, and in no header."""
    return GoogleRefusal(
        429,
        "RESOURCE_EXHAUSTED",
        QUOTA,
        [
            {"@type": f"{TYPE_PREFIX}QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]},
            {"@type": f"{TYPE_PREFIX}RetryInfo", "retryDelay": f"{retry_delay_s:g}s"},
        ],
    )


def quota_of_the_day() -> GoogleRefusal:
    """429 that no pause changes: it names the quota, and how long to wait as if that helped."""
    violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
    refusal = rate_limited()
    refusal.details[0] = {"@type": f"{TYPE_PREFIX}QuotaFailure", "violations": [violation]}
    return refusal


def credits_exhausted(status: int = 429) -> GoogleRefusal:
    """402 by Google's documents, 429 as it was captured."""
    return GoogleRefusal(status, "RESOURCE_EXHAUSTED", DEPLETED)


INTERACTION_WORDS = {
    "INVALID_ARGUMENT": "invalid_request",
    "FAILED_PRECONDITION": "failed_precondition",
    "PERMISSION_DENIED": "permission_denied",
    "NOT_FOUND": "not_found",
    "INTERNAL": "api_error",
    "UNAVAILABLE": "service_unavailable",
    "DEADLINE_EXCEEDED": "deadline_exceeded",
}
"""The words of the Interactions API (ai.google.dev, api-errors page, autumn 2026)."""


def interaction_word(refusal: GoogleRefusal) -> str:
    """What stands in ``code`` of its body, where the other methods have a number."""
    if refusal.word != "RESOURCE_EXHAUSTED":
        return INTERACTION_WORDS.get(refusal.word, refusal.word.lower())
    if refusal.message == DEPLETED:
        return "payment_required"
    return "quota_exceeded" if "PerDay" in str(refusal.details) else "rate_limit_exceeded"


def error_for(path: str, refusal: GoogleRefusal, settings: Settings) -> Response:
    """The refusal in the form that the method at ``path`` has; the key is refused in front of all of them."""
    if "/interactions" not in path or refusal.status == 403 or "API_KEY_INVALID" in str(refusal.details):
        return error_json(refusal, settings)
    error: dict[str, Any] = {"code": interaction_word(refusal), "message": refusal.message}
    if refusal.details:
        error["details"] = refusal.details
    return JSONResponse({"error": error}, refusal.status)


def error_json(refusal: GoogleRefusal, settings: Settings) -> Response:
    error: dict[str, Any] = {"code": refusal.status, "message": refusal.message, "status": refusal.word}
    if refusal.details:
        error["details"] = refusal.details
    body: Any = {"error": error}
    return JSONResponse([body] if settings.google_error_array else body, refusal.status)


async def answer_google_refusal(request: Request, exc: Exception) -> Response:
    """Starlette's handler."""
    assert isinstance(exc, GoogleRefusal)
    return error_for(request.url.path, exc, request.app.state.sandbox.settings)
