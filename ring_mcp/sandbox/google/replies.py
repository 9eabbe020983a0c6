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


def credits_exhausted() -> GoogleRefusal:
    return GoogleRefusal(429, "RESOURCE_EXHAUSTED", DEPLETED)


def error_json(refusal: GoogleRefusal, settings: Settings) -> Response:
    error: dict[str, Any] = {"code": refusal.status, "message": refusal.message, "status": refusal.word}
    if refusal.details:
        error["details"] = refusal.details
    body: Any = {"error": error}
    return JSONResponse([body] if settings.google_error_array else body, refusal.status)


async def answer_google_refusal(request: Request, exc: Exception) -> Response:
    """Starlette's handler."""
    assert isinstance(exc, GoogleRefusal)
    return error_json(exc, request.app.state.sandbox.settings)
