"""What every call to the emulated xAI goes through: the key, the JSON, the rate limit, moderation."""

from __future__ import annotations

import json
import random

from starlette.requests import Request

from ring_mcp.sandbox.state.books import Charge
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.wire import NOTES, hide_bytes
from ring_mcp.sandbox.xai import replies
from ring_mcp.sandbox.xai.catalogue import MAX_PROMPT_CHARACTERS
from ring_mcp.sandbox.xai.fields import Fields
from ring_mcp.sandbox.xai.replies import BareRefusal, XaiRefusal, invalid


def check_key(request: Request, state: SandboxState) -> str:
    """The caller's key. A missing header is 401, a wrong key 400: that is how the real one does it."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise XaiRefusal(401, "unauthenticated:no-credentials", "No credentials provided")
    if key not in state.settings.xai_keys:
        masked = f"{key[:2]}***{key[-2:]}"
        raise invalid(f"Incorrect API key provided: {masked}. You can obtain an API key from https://console.x.ai.")
    return key


def team_of(request: Request, state: SandboxState) -> str:
    """The team that the caller's key belongs to: its account, for jobs and bills."""
    return state.settings.xai_teams.get(check_key(request, state), replies.TEAM_ID)


async def read_paid_call(request: Request, state: SandboxState) -> Fields:
    """The JSON body of a create call whose sender may spend money."""
    check_key(request, state)
    # Who asks comes before what is asked: nobody without a key that works learns what is wrong with a request.
    if state.settings.team_blocked:
        raise XaiRefusal(403, "permission-denied", "The team is blocked and cannot make requests.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BareRefusal(415, "Expected request with `Content-Type: application/json`")
    try:
        body = json.loads(await request.body())
    except ValueError as exc:
        raise replies.unprocessable(f"invalid JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise replies.unprocessable("invalid type, expected a JSON object")
    request.scope[NOTES]["body"] = hide_bytes(body)
    return Fields(body)


def read_prompt(fields: Fields, *, required: bool) -> str:
    """The prompt, within the length that the model list promises."""
    prompt = fields.require_text("prompt") if required else fields.text("prompt")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise invalid(f"Prompt length {len(prompt)} exceeds the maximum of {MAX_PROMPT_CHARACTERS} characters.")
    return prompt


def check_rate(request: Request, state: SandboxState, model: str, rate_rps: float) -> None:
    """Counts the call against the limit of the key and the model, when the limit is on."""
    settings = state.settings
    if not settings.rate_limit or state.buckets.take(check_key(request, state), model, rate_rps):
        return
    retry_after: int | str | None = {"none": None, "seconds": 3, "date": "date"}[settings.retry_after]
    text = replies.rate_limit_text(model, rate_rps)
    raise XaiRefusal(429, "resource-exhausted", text, headers=replies.retry_after_header(retry_after))


def record(request: Request, state: SandboxState, charge: Charge) -> Charge:
    """Puts the accepted call into the books; raises when moderation then refuses what was made."""
    charge.cost_ticks = int(charge.cost_ticks * state.settings.price_factor)
    # Booked before it is refused: what moderation holds back was made, and is billed (provider reference 1.8).
    state.books.add(charge)
    fault = state.faults.take("inside", request.method, request.url.path, ("moderated",))
    if fault is not None or random.random() < state.settings.moderation_rate:
        charge.moderated, charge.state = True, "moderated"
        raise refuse_as_moderated(charge)
    return charge


def refuse_as_moderated(charge: Charge) -> XaiRefusal:
    """The refusal that is billed."""
    text = f"Generated {charge.kind} rejected by content moderation."
    return XaiRefusal(400, "imagine:content-moderated", text, cost_ticks=charge.cost_ticks)


def usage(charge: Charge) -> dict[str, int]:
    return {"cost_in_usd_ticks": charge.cost_ticks}
