"""Faults that bend the JSON of an answer which the service has already given, and billed.

Each returns None when the answer is not of the kind it bends: the fault then waits for the next one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from ring_mcp.sandbox.state.faults import Fault
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.wire import Reply

Payload = dict[str, Any]


def bend(fault: Fault, state: SandboxState, reply: Reply) -> Reply | None:
    """The answer as the fault makes it look, or None when the fault does not apply."""
    try:
        payload = json.loads(reply.body)
    except ValueError:
        return None
    if not isinstance(payload, dict) or not reply.accepted:
        return None
    # With a length that fits: to HTTP nothing is wrong, and only a parser finds out.
    if fault.name == "truncated_json":
        return reply.with_body(reply.body[: len(reply.body) // 2])
    bent = _SHAPES[fault.name](payload, fault, state)
    return None if bent is None else reply.with_body(json.dumps(bent).encode())


def _items(payload: Payload) -> list[Payload] | None:
    items = payload.get("data")
    return items if isinstance(items, list) and items else None


def _partial(payload: Payload, fault: Fault, _: SandboxState) -> Payload | None:
    items = _items(payload)
    if items is None:
        return None
    keep = len(items) - 1 if fault["keep"] is None else fault["keep"]
    return payload | {"data": items[:keep]}


def _empty_data(payload: Payload, _fault: Fault, _state: SandboxState) -> Payload | None:
    return payload | {"data": []} if _items(payload) else None


def _no_data(payload: Payload, _fault: Fault, _state: SandboxState) -> Payload | None:
    return {key: value for key, value in payload.items() if key != "data"} if _items(payload) else None


def _empty_item(payload: Payload, _fault: Fault, _state: SandboxState) -> Payload | None:
    items = _items(payload)
    return payload | {"data": [{"mime_type": "image/jpeg"}, *items[1:]]} if items else None


def _b64(payload: Payload, _: Fault, state: SandboxState) -> Payload | None:
    items = _items(payload)
    if items is None:
        return None
    bent = []
    for item in items:
        found = state.media.find(str(item.get("url", "")).rsplit("/", 1)[-1])
        if found is None:
            return None
        content = base64.b64encode(found.path.read_bytes()).decode()
        bent.append({"b64_json": content, "mime_type": "image/jpeg"})
    return payload | {"data": bent}


def _legacy_revised_prompt(payload: Payload, _fault: Fault, _state: SandboxState) -> Payload | None:
    items = _items(payload)
    # As in the specification of April (provider reference 1.4), where it was required and always empty.
    return payload | {"data": [item | {"revised_prompt": ""} for item in items]} if items else None


def _usage_null(payload: Payload, _fault: Fault, _state: SandboxState) -> Payload | None:
    name = "usageMetadata" if "usageMetadata" in payload else "usage"
    return payload | {name: None} if name in payload else None


def _no_request_id(payload: Payload, fault: Fault, _: SandboxState) -> Payload | None:
    name = next((name for name in ("request_id", "id") if name in payload), None)
    if name is None:
        return None
    rest = {key: value for key, value in payload.items() if key != name}
    return rest | {name: ""} if fault["empty"] else rest


def _done_without_status(payload: Payload, _fault: Fault, _state: SandboxState) -> Payload | None:
    if payload.get("status") != "done":
        return None
    return {key: value for key, value in payload.items() if key != "status"}


def _legacy_nested(payload: Payload, _fault: Fault, _state: SandboxState) -> Payload | None:
    if payload.get("status") != "done":
        return None
    return {"status": "done", "response": {key: value for key, value in payload.items() if key != "status"}}


def _url_in_file_output(payload: Payload, _fault: Fault, _state: SandboxState) -> Payload | None:
    if payload.get("status") != "done":
        return None
    if "video" in payload:
        return payload | {"video": _file_image(payload["video"])}
    return payload | {"data": [_file_image(item) for item in payload.get("data", [])]}


def _file_image(item: Payload) -> Payload:
    url = item.get("url")
    output = {"file_id": "file_sandbox", "filename": "result", "public_url": url}
    return item | {"url": None, "file_output": output}


def _cut_picture(payload: Payload, _fault: Fault, _state: SandboxState) -> Payload | None:
    candidates = payload.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        return None
    parts = candidates[0].get("content", {}).get("parts")
    if not parts or "inlineData" not in parts[-1]:
        return None
    content = base64.b64decode(parts[-1]["inlineData"]["data"])
    # Everything at once that a decoder may stumble over, for these bytes come once and are paid for.
    half = base64.urlsafe_b64encode(content[: len(content) // 2]).decode().rstrip("=")
    cut = {"inlineData": {"mimeType": "application/octet-stream", "data": half}}
    content_of = candidates[0]["content"] | {"parts": [*parts[:-1], cut]}
    return payload | {"candidates": [candidates[0] | {"content": content_of}]}


_SHAPES: dict[str, Callable[[Payload, Fault, SandboxState], Payload | None]] = {
    "partial": _partial,
    "empty_data": _empty_data,
    "no_data": _no_data,
    "empty_item": _empty_item,
    "b64": _b64,
    "legacy_revised_prompt": _legacy_revised_prompt,
    "usage_null": _usage_null,
    "no_request_id": _no_request_id,
    "done_without_status": _done_without_status,
    "legacy_nested": _legacy_nested,
    "url_in_file_output": _url_in_file_output,
    "cut_picture": _cut_picture,
    "ringbase_no_url": lambda payload, _fault, _state: {k: v for k, v in payload.items() if k != "url"},
}

BENDING = frozenset((*_SHAPES, "truncated_json"))
