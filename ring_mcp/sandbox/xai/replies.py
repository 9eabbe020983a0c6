"""How the emulated xAI says no: flat ``{code, error}``, bare text, and the sentences seen in the field."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

TEAM_ID = "5a0db0c5-0000-4000-8000-73616e64626f"

OLD_CODES = {
    "invalid-argument": "Client specified an invalid argument",
    "not-found": "Some requested entity was not found",
    "resource-exhausted": "Some resource has been exhausted",
    "permission-denied": "The caller does not have permission to execute the specified operation",
    "failed-precondition": "The system is not in a state required for the operation's execution",
    # The old word for every bad argument: only the sentence beside it tells of moderation (provider reference 2.6).
    "imagine:content-moderated": "Client specified an invalid argument",
}

CREDITS_EXHAUSTED = "Your team has either used all available credits or reached its monthly spending limit."

HTML_PAGE = """<!DOCTYPE html>
<html lang="en-US"><head><title>api.x.ai | {status}: Bad gateway</title></head>
<body><h1>Bad gateway <span>Error code {status}</span></h1><p>The web server reported a bad gateway error.</p></body></html>
"""  # noqa: E501


class XaiRefusal(Exception):
    """An error answer of the emulated xAI. Raised anywhere in a handler; ``code`` is the new spelling."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        cost_ticks: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.cost_ticks = cost_ticks
        self.headers = headers


class BareRefusal(Exception):
    """An error answer in plain text, as the layers in front of xAI's own code give it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def invalid(message: str) -> XaiRefusal:
    """400: the request is understood and not allowed."""
    return XaiRefusal(400, "invalid-argument", message)


def unprocessable(problem: str, column: int = 1) -> BareRefusal:
    """422: the JSON does not have the right fields or types."""
    text = f"Failed to deserialize the JSON body into the target type: {problem} at line 1 column {column}"
    return BareRefusal(422, text)


def model_unknown(model: str) -> XaiRefusal:
    message = (
        f"The model {model} does not exist or your team {TEAM_ID} does not have access to it. "
        "Please ensure you're using the correct API key."
    )
    return XaiRefusal(404, "not-found", message)


def rate_limit_text(model: str, rate_rps: float) -> str:
    return (
        f"Too many requests for team {TEAM_ID} and model {model}. Your team's rate limit is — Requests per Second "
        f"(actual/limit): {rate_rps:g}/{rate_rps:g}. Your rate limit tier is determined based on your historical API "
        "spend. To learn how to increase your rate limit tier, please visit "
        "https://console.x.ai/team/default/rate-limits."
    )


def retry_after_header(retry_after: int | str | None) -> dict[str, str]:
    """Seconds, the word ``date`` for an HTTP date three seconds ahead, or None for no header."""
    if retry_after is None:
        return {}
    return {"retry-after": http_date(3) if retry_after == "date" else str(retry_after)}


def http_date(ahead_s: float) -> str:
    return formatdate(time.time() + ahead_s, usegmt=True)


def error_json(
    status: int,
    code: str,
    message: str,
    *,
    code_style: str,
    cost_ticks: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """The flat error body; ``usage`` stands in it when the refused call was billed."""
    body: dict[str, Any] = {"code": OLD_CODES.get(code, code) if code_style == "old" else code, "error": message}
    if cost_ticks is not None:
        body["usage"] = {"cost_in_usd_ticks": cost_ticks}
    return JSONResponse(body, status, headers)


def html_page(status: int) -> Response:
    return HTMLResponse(HTML_PAGE.format(status=status), status)


async def answer_refusal(request: Request, exc: Exception) -> Response:
    """Starlette's handler for both kinds of refusal."""
    settings = request.app.state.sandbox.settings
    if isinstance(exc, BareRefusal):
        if settings.unprocessable_as_json:
            return error_json(exc.status, "invalid-argument", exc.text, code_style=settings.code_style)
        return PlainTextResponse(exc.text, exc.status)
    assert isinstance(exc, XaiRefusal)
    return error_json(
        exc.status,
        exc.code,
        exc.message,
        code_style=settings.code_style,
        cost_ticks=exc.cost_ticks,
        headers=exc.headers,
    )
