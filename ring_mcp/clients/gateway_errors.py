"""What a gateway's refusal, its absence or a lost reply is to whoever asked it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ring_mcp.errors import RingError


class GatewayAway(RingError):
    """The server cannot be reached, or is not to be disturbed now. Nothing was started by this request."""

    code = "gateway_away"
    retryable = True
    next_action = "See that `ring-mcp serve` runs there, or correct --gateway or RING_API_BASE_URL."
    retry_after_s = 1.0


class TooManyCalls(GatewayAway):
    """This actor is above its rate there; ``retry_after_s`` is the server's own word."""


class GatewayRefusal(RingError):
    """The server's own words. ``extra`` is what it said beside them, as in its answer."""

    def __init__(self, status: int, facts: Mapping[str, Any]) -> None:
        billed = facts.get("billed")
        super().__init__(
            str(facts.get("error") or f"HTTP {status}"),
            # What is refused with 4xx was refused before anything was started; of a fault over there nobody knows.
            billed=billed if billed in ("yes", "no", "unknown") else "no" if status < 500 else "unknown",
            # Only if it says so itself: a word that is missing must not have a paid call made again.
            retryable=facts.get("retryable") is True,
            next_action=str(facts.get("nextAction") or NEXT.get(status, "")),
            job_id=facts.get("jobId"),
        )
        self.code = str(facts.get("code") or _CODES.get(status, "error"))
        told = ("success", "error", "code", "billed", "retryable", "nextAction", "jobId")
        self.extra = {key: value for key, value in facts.items() if key not in told}


_CODES = {401: "unauthorized", 404: "not_found"}
NEXT = {
    401: "Set RING_SERVICE_TOKEN to one of the tokens in the server's RING_MCP_SERVICE_TOKENS.",
    404: "See that this is the address of a `ring-mcp serve`, without a path.",
    421: "Add the name to RING_ALLOWED_HOSTS of the server.",
}


def as_lost_reply(text: str) -> RingError:
    """Nobody knows whether the server started what was asked for."""
    joins = "`ring-mcp jobs list` shows whether it was started; the same command again then joins it."
    return RingError(text, billed="unknown", next_action=joins)
