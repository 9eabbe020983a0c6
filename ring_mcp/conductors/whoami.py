"""Who calls, at which server, and what they may still spend. Spends nothing."""

from __future__ import annotations

import contextlib

from pydantic import Field

from ring_mcp.clock import Clock
from ring_mcp.conductors.results import Usd, Wire
from ring_mcp.domain import Caps, cap_left
from ring_mcp.domain.consent import Rule
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger

GATEWAY = "/api/mcp/v1"


class Actor(Wire):
    id: str
    email: str | None = None
    name: str | None = None


class Context(Wire):
    """Ring's fields first, ours below."""

    clone_name: str
    base_url: str | None = None
    role: str = "superadmin"
    actor: Actor
    gateway: str = GATEWAY
    token_name: str | None = Field(None, description="The name before the token in RING_MCP_SERVICE_TOKENS.")
    server_version: str | None = None
    sandbox: bool | None = None
    cap_left_usd: dict[str, Usd] | None = Field(None, description="What may be spent. Absent: no cap is set.")
    confirm: str | None = Field(None, description="ask or require: spending has to be agreed to.")
    confirm_above_usd: Usd | None = None


class WhoamiConductor:
    """``default_actor`` is who calls without a name of their own; ``base_url`` where this server is reached."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        caps: Caps,
        clock: Clock,
        version: str,
        sandbox: bool,
        clone_name: str,
        base_url: str | None,
        default_actor: Actor,
        rule: Rule,
    ) -> None:
        self._ledger = ledger
        self._caps = caps
        self._clock = clock
        self._version = version
        self._sandbox = sandbox
        self._clone_name = clone_name
        self._base_url = base_url
        self._default_actor = default_actor
        self._rule = rule

    async def describe(self, actor_id: str) -> Context:
        """With what the caps leave, where the ledger can tell."""
        is_default = actor_id == self._default_actor.id
        left = None
        with contextlib.suppress(LedgerError):
            left = cap_left(self._caps, await self._ledger.spend(self._clock.now(), sandbox=self._sandbox))
        return Context(
            clone_name=self._clone_name,
            base_url=self._base_url,
            actor=self._default_actor if is_default else Actor(id=actor_id, name=actor_id),
            token_name=None if is_default else actor_id,
            server_version=self._version,
            sandbox=self._sandbox,
            cap_left_usd=left or None,
            confirm=None if self._rule.mode == "off" else self._rule.mode,
            confirm_above_usd=None if self._rule.mode == "off" else self._rule.above_usd,
        )
