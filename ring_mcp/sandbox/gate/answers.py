"""Faults that answer in place of the service: nothing is accepted, nothing is billed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from ring_mcp.sandbox.google import replies as google_replies
from ring_mcp.sandbox.state.faults import Fault
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.wire import hang_up, read_to_end, while_connected
from ring_mcp.sandbox.xai import replies as xai_replies

DROPS = frozenset(("drop_before_accept", "poll_drop", "media_drop"))
DELAYS = frozenset(("slow_reply", "ringbase_slow"))
_CHUNK_BYTES = 64 * 1024
_MAGIC = {"video/mp4": b"\x00\x00\x00\x18ftypmp42", "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"}


async def answer_instead(fault: Fault, state: SandboxState, scope: Scope, receive: Receive, send: Send) -> None:
    """Gives the fault's answer, or none at all."""
    # As a real server, which has the request before it says no: else a client would fail in the middle of sending.
    await read_to_end(receive)
    if fault.name in DROPS:
        await hang_up(scope, receive)
    elif fault.name == "media_huge":
        await _stream(fault, receive, send)
    else:
        await _ANSWERS[fault.name](fault, state, scope["path"])(scope, receive, send)


def _status(fault: Fault, _state: SandboxState, _path: str) -> Response:
    body = fault["body"]
    if isinstance(body, str):
        content, content_type = body.encode(), fault["content_type"] or "text/plain; charset=utf-8"
    else:
        content, content_type = json.dumps(body).encode(), fault["content_type"] or "application/json"
    headers = {str(name): str(value) for name, value in fault["headers"].items()}
    return Response(content, fault["status"], {"content-type": content_type, **headers})


def _rate_limited(fault: Fault, state: SandboxState, path: str) -> Response:
    if path.startswith("/google/"):
        if fault["per_day"]:
            return google_replies.error_for(path, google_replies.quota_of_the_day(), state.settings)
        # The real sentence has had 41 seconds (provider reference 3.3), and a date is three seconds ahead as at xAI.
        delay_s = {None: 41.0, "date": 3.0}.get(fault["retry_after"]) or float(fault["retry_after"])
        return google_replies.error_for(path, google_replies.rate_limited(delay_s), state.settings)
    if "/videos/" in path:
        text = xai_replies.rate_limit_text("grok-imagine-video-1.5", state.settings.video_rps)
    else:
        text = xai_replies.rate_limit_text("grok-imagine-image-2.0", state.settings.image_rps)
    headers = xai_replies.retry_after_header(fault["retry_after"])
    return _error(state, 429, "resource-exhausted", text, headers)


def _credits_exhausted(fault: Fault, state: SandboxState, path: str) -> Response:
    if path.startswith("/google/"):
        return google_replies.error_for(path, google_replies.credits_exhausted(fault["status"]), state.settings)
    # The newest spelling on record is still the old sentence.
    return _error(state, fault["status"], "Some resource has been exhausted", xai_replies.CREDITS_EXHAUSTED)


def _bare_422(fault: Fault, _state: SandboxState, _path: str) -> Response:
    text = fault["text"] or str(xai_replies.unprocessable("missing field `prompt`", 10))
    return PlainTextResponse(text, 422)


def _poll_404(_fault: Fault, state: SandboxState, path: str) -> Response:
    # Google has no 404 for it: an unknown id is a 400, and so is a spurious look (provider reference 3.4).
    if path.startswith("/google/"):
        return google_replies.error_for(path, google_replies.interaction_unknown(), state.settings)
    kind = "video" if "/videos/" in path else "image"
    return _error(state, 404, "not-found", f"No deferred {kind} could be found with the given request_id")


def _poll_400(_fault: Fault, state: SandboxState, path: str) -> Response:
    if path.startswith("/google/"):
        return google_replies.error_for(path, google_replies.interaction_unknown(), state.settings)
    return _error(state, 400, "invalid-argument", "The request could not be processed.")


def _poll_unknown_status(fault: Fault, _state: SandboxState, _path: str) -> Response:
    return JSONResponse({"status": fault["status"], "progress": 12})


def _google_error(fault: Fault, state: SandboxState, path: str) -> Response:
    word, text = google_replies.STATUSES.get(fault["status"], ("UNKNOWN", "Unknown error."))
    refusal = google_replies.GoogleRefusal(fault["status"], word, text)
    return google_replies.error_for(path, refusal, state.settings)


def _ringbase_status(fault: Fault, _state: SandboxState, _path: str) -> Response:
    body = fault["body"]
    if isinstance(body, str):
        return PlainTextResponse(body, fault["status"])
    return JSONResponse({"success": False, "error": "Upload failed"} if body is None else body, fault["status"])


def _error(
    state: SandboxState, status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    return xai_replies.error_json(status, code, message, code_style=state.settings.code_style, headers=headers)


_ANSWERS: dict[str, Callable[[Fault, SandboxState, str], Response]] = {
    "status": _status,
    "rate_limited": _rate_limited,
    "credits_exhausted": _credits_exhausted,
    "html_502": lambda fault, *_: xai_replies.html_page(fault["status"]),
    "bare_422": _bare_422,
    "poll_404": _poll_404,
    "poll_400": _poll_400,
    "poll_500": lambda fault, state, _path: _error(state, fault["status"], "internal", "Internal error."),
    "poll_empty_202": lambda *_: Response(status_code=202),
    "poll_unknown_status": _poll_unknown_status,
    "media_status": lambda fault, *_: PlainTextResponse("unavailable", fault["status"]),
    "media_html": lambda *_: HTMLResponse("<!DOCTYPE html><title>Sign in</title><p>Please sign in.</p>"),
    "media_redirect": lambda fault, *_: RedirectResponse(fault["location"], 302),
    "google_error": _google_error,
    "ringbase_status": _ringbase_status,
    "ringbase_html": lambda fault, *_: xai_replies.html_page(fault["status"]),
    "ringbase_401": lambda *_: JSONResponse({"success": False, "error": "Invalid ServiceAccount token"}, 401),
}


async def _stream(fault: Fault, receive: Receive, send: Send) -> None:
    size_bytes: int = fault["bytes"]
    headers: list[tuple[bytes, bytes]] = [(b"content-type", fault["content_type"].encode())]
    if fault["declared"]:
        headers.append((b"content-length", str(size_bytes).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    # The right first bytes, so that only a client's size limit stops it.
    chunk: Any = _MAGIC.get(fault["content_type"], b"").ljust(_CHUNK_BYTES, b"\x00")
    sent_bytes = 0

    async def step() -> bool:
        nonlocal chunk, sent_bytes
        part = chunk[: size_bytes - sent_bytes]
        sent_bytes += len(part)
        await send({"type": "http.response.body", "body": part, "more_body": sent_bytes < size_bytes})
        chunk = bytes(_CHUNK_BYTES)
        # To send to a reader that is quick never waits, and nobody else would have a turn.
        await asyncio.sleep(0)
        return sent_bytes < size_bytes

    await while_connected(receive, step)
