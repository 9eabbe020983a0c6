"""What every call to the emulated Google goes through: the key, the JSON, the rate limit, the safety filter."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Mapping
from typing import Any

from starlette.requests import Request

from ring_mcp.sandbox.google import replies
from ring_mcp.sandbox.google.catalogue import CHARACTERS_PER_TOKEN, MAX_PROMPT_CHARACTERS
from ring_mcp.sandbox.google.replies import invalid, unknown_name
from ring_mcp.sandbox.state.books import Charge
from ring_mcp.sandbox.state.faults import Fault
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.wire import NOTES, hide_bytes


def check_key(request: Request, state: SandboxState) -> str:
    """The caller's key, from the header or from the address."""
    key = request.headers.get("x-goog-api-key", "") or request.query_params.get("key", "")
    if not key:
        raise replies.no_key()
    if key not in state.settings.google_keys:
        raise replies.bad_key()
    return key


async def read_paid_call(request: Request, state: SandboxState, model: str) -> dict[str, Any]:
    """The JSON body of a call whose sender may spend money, within the rate limit."""
    key = check_key(request, state)
    sent = await request.body()
    # By what was sent and before it is parsed: base64 counts, too.
    most_bytes = state.settings.google_max_request_bytes
    if len(sent) > most_bytes:
        raise invalid(f"Request payload size exceeds the limit: {most_bytes} bytes.")
    try:
        body = json.loads(sent)
    except ValueError as exc:
        raise invalid("Invalid JSON payload received. Unable to parse number.") from exc
    if not isinstance(body, dict):
        raise invalid("Invalid JSON payload received. Root element must be a message.")
    request.scope[NOTES]["body"] = hide_bytes(body)
    settings = state.settings
    if settings.rate_limit and not state.buckets.take(key, model, settings.image_rps):
        raise replies.rate_limited()
    return body


def child(body: Mapping[str, Any], name: str, at: str = "", only: Collection[str] = ()) -> dict[str, Any]:
    """An object inside the body, empty if absent. ``only``: the fields it may have."""
    value = body.get(name)
    if value is None:
        return {}
    path = f"{at}.{name}" if at else name
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at '{path}' (type.googleapis.com/google.protobuf.Struct)")
    for field in value:
        if only and field not in only:
            # Google refuses fields that it does not know: imageConfig has two here, and others on Google Cloud alone
            # (provider reference 3.2).
            raise unknown_name(field, path)
    return value


def choice(value: object, allowed: Collection[str], default: str, what: str) -> str:
    """One of the values that the model takes."""
    if value is None:
        return default
    if not isinstance(value, str) or value not in allowed:
        raise invalid(f"{what} {value!r} is not supported for this model. Supported values: {', '.join(allowed)}.")
    return value


def check_length(prompt: str) -> None:
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise invalid(f"The prompt has {len(prompt)} characters, more than the maximum of {MAX_PROMPT_CHARACTERS}.")


def prompt_tokens(prompt: str, inputs_tokens: int = 0) -> int:
    # Rounded up: the shortest prompt is a token.
    return -(-len(prompt) // CHARACTERS_PER_TOKEN) + inputs_tokens


def scale_tokens(tokens: int, state: SandboxState) -> int:
    """Tokens as they are counted while the real price drifts from the list: nobody is told an amount."""
    return int(tokens * state.settings.price_factor)


def find_block(request: Request, state: SandboxState, charge: Charge) -> Mapping[str, Any] | None:
    """The options of the block that meets this call, None for none. The books know it then."""
    fault: Fault | None = state.faults.take("inside", request.method, request.url.path, ("google_blocked",))
    if fault is None and random.random() >= state.settings.moderation_rate:
        return None
    charge.moderated, charge.state = True, "moderated"
    return {"reason": "IMAGE_SAFETY", "in_prompt": False, "billed": True} if fault is None else fault.options
