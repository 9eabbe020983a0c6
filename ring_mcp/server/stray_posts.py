"""POSTs to ``/mcp`` that are no message, answered as over stdio: the SDK answers them in pydantic's words, which repeat
what was sent, and leaves out whose request it was."""

from __future__ import annotations

import asyncio
import json
from codecs import BOM_UTF8
from typing import Any

import mcp_types as types
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ring_mcp.server.lines import read_again, with_whole_id

_CODES = (types.PARSE_ERROR, types.INVALID_PARAMS)


async def answer_strays(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Lets ``app`` answer, and says it in our own words if that is 400. A byte order mark in front is no part of a
    message, and case none of a media type."""
    pieces = list[bytes]()
    held: Message | None = None

    async def keep() -> Message:
        message = await receive()
        if piece := message.get("body"):
            if not pieces and piece.startswith(BOM_UTF8):
                message = {**message, "body": piece.removeprefix(BOM_UTF8)}
            if not pieces and not message.get("more_body"):
                message = {**message, "body": _with_whole_id(message["body"])}
            pieces.append(message["body"])
        return message

    async def tell(message: Message) -> None:
        nonlocal held
        if message["type"] == "http.response.start":
            if message["status"] == 400:
                held = message
                return
            pieces.clear()  # a call may take minutes, and nobody looks at its body again
        elif held is not None:
            start, held = held, None
            said = None if message.get("more_body") else await asyncio.to_thread(_retell, message, b"".join(pieces))
            if said is not None:
                others = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                start = {**start, "headers": [*others, (b"content-length", str(len(said)).encode())]}
                message = {**message, "body": said}
            await send(start)
        await send(message)

    headers = [(name, value.lower() if name == b"content-type" else value) for name, value in scope["headers"]]
    await app({**scope, "headers": headers}, keep, tell)


def _with_whole_id(body: bytes) -> bytes:
    # Latin-1 keeps every byte, whatever they are.
    return with_whole_id(body.decode("latin-1")).encode("latin-1")


def _retell(answer: Message, body: bytes) -> bytes | None:
    """None for an answer that names its request, or is about something else: it stays as it is."""
    try:
        told = json.loads(answer.get("body", b""))
    except ValueError:
        return None
    error = told.get("error") if isinstance(told, dict) else None
    if not isinstance(error, dict) or told.get("id") is not None or error.get("code") not in _CODES:
        return None
    return json.dumps({"jsonrpc": "2.0", **_say_fault(body)}).encode()


def _say_fault(body: bytes) -> dict[str, Any]:
    try:
        types.jsonrpc_message_adapter.validate_json(body.decode(), by_name=False)
    except UnicodeDecodeError:
        return _fault(None, types.PARSE_ERROR, "the message is not UTF-8 text")
    except ValidationError as exc:
        found = read_again(exc)
    else:
        return _fault(None, types.INVALID_REQUEST, "the message is none that is served here")
    if isinstance(found, list):
        if not found:
            return _fault(None, types.INVALID_REQUEST, "the body must be a JSON-RPC message")
        # One answer for all of a batch, which has no id of its own.
        one = found[0]
        return _fault(one.id if len(found) == 1 else None, one.error.code, one.error.message)
    # Over stdio such text gets as far as the tool, which names the argument.
    text = "the message must be valid Unicode text: half a surrogate pair (\\ud800 to \\udfff) stands in it"
    return _fault(getattr(found, "id", None), types.INVALID_PARAMS, text)


def _fault(request_id: str | int | None, code: int, text: str) -> dict[str, Any]:
    return {"id": request_id, "error": {"code": code, "message": text}}
