"""Faults of a media download: the file is served, and something happens to it on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ring_mcp.sandbox.state.faults import Fault
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.wire import hang_up


async def serve_bent(
    fault: Fault, state: SandboxState, app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Serves a media file the way the fault says."""
    bent = _STREAMS[fault.name]
    await bent(fault, state, app, scope, receive, send)


async def _truncate(fault: Fault, _: SandboxState, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    left_bytes = 0
    cut = False

    async def pass_part(message: Message) -> None:
        nonlocal left_bytes, cut
        if cut:
            return
        if message["type"] == "http.response.start":
            promised_bytes = int(MutableHeaders(scope=message).get("content-length", "0"))
            left_bytes = promised_bytes // 2 if fault["sent_bytes"] is None else fault["sent_bytes"]
            await send(message)
            return
        part = message.get("body", b"")[:left_bytes]
        left_bytes -= len(part)
        cut = left_bytes == 0
        # Never the last part: uvicorn would notice that bytes are missing.
        await send({**message, "body": part, "more_body": True})

    await app(scope, receive, pass_part)
    await hang_up(scope, receive)


async def _slow(fault: Fault, state: SandboxState, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    # Ten small steps a second: in one step of a second a client would see nothing, and then all of it.
    step_bytes = max(1, fault["bytes_per_s"] // 10)

    async def drip(message: Message) -> None:
        body = message.get("body", b"")
        if len(body) <= step_bytes:
            await send(message)
            return
        for start in range(0, len(body), step_bytes):
            more_body = message.get("more_body", False) or start + step_bytes < len(body)
            await send({**message, "body": body[start : start + step_bytes], "more_body": more_body})
            await state.pause(0.1)

    await app(scope, receive, drip)


async def _wrong_type(fault: Fault, _: SandboxState, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    async def relabel(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["content-type"] = fault["content_type"]
        await send(message)

    await app(scope, receive, relabel)


async def _no_range(
    _fault: Fault, _state: SandboxState, app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]
    await app({**scope, "headers": kept}, receive, send)


_STREAMS: dict[str, Callable[[Fault, SandboxState, ASGIApp, Any, Receive, Send], Awaitable[None]]] = {
    "media_truncated": _truncate,
    "media_slow": _slow,
    "media_wrong_type": _wrong_type,
    "media_no_range": _no_range,
}
