"""Who calls, at which server, and what they may still spend. Spends nothing."""

from __future__ import annotations

import contextlib
from typing import Any

from pydantic import Field

from ring_mcp.conductors.allowance import Allowance
from ring_mcp.conductors.results import Usd, Wire
from ring_mcp.domain.consent import Rule
from ring_mcp.errors import LedgerError

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
    token_name: str | None = Field(
        None, description="The name before the token in RING_MCP_SERVICE_TOKENS, or in the ledger."
    )
    server_version: str | None = None
    sandbox: bool | None = None
    cap_left_usd: dict[str, Usd] | None = Field(None, description="What may be spent. Absent: no cap is set.")
    confirm: str | None = Field(None, description="ask or require: spending has to be agreed to.")
    confirm_above_usd: Usd | None = None
    may_spend: bool | None = Field(None, description="Of an actor of the ledger; as are the next ones.")
    caps_usd: dict[str, Usd] | None = Field(None, description="perCall, perDay, perMonth: this actor's own.")
    spent_today_usd: Usd | None = Field(None, description="By this actor, with what is reserved.")
    spent_this_month_usd: Usd | None = None


class WhoamiConductor:
    """``default_actor``: who calls without a token; ``base_url``: where this server is reached."""

    def __init__(
        self,
        *,
        allowance: Allowance,
        version: str,
        sandbox: bool,
        clone_name: str,
        base_url: str | None,
        default_actor: Actor,
        rule: Rule,
    ) -> None:
        self._allowance = allowance
        self._version = version
        self._sandbox = sandbox
        self._clone_name = clone_name
        self._base_url = base_url
        self._default_actor = default_actor
        self._rule = rule

    async def describe(self, actor_id: str) -> Context:
        """The caller's context, with what the caps leave if the ledger answers."""
        is_default = actor_id == self._default_actor.id
        left, own = None, dict[str, Any]()
        # Answered without the ledger too: it is what one asks when something does not work.
        with contextlib.suppress(LedgerError):
            allowed = await self._allowance.read(actor_id)
            left = allowed.left
            if allowed.standing is not None:
                # By Python names, which are those of Context's fields.
                own = allowed.standing.model_dump(by_alias=False, exclude={"id"})
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
            **own,
        )
