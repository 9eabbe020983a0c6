"""ring-whoami: as which actor, and at which server, an agent works. Spends nothing."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ring_mcp.conductors.whoami import Context, WhoamiConductor
from ring_mcp.domain import usd
from ring_mcp.domain.caps import WINDOW_WORDS
from ring_mcp.tools.paid import free
from ring_mcp.tools.tool import Answer, Arguments, Caller, Tool

DESCRIPTION = "Tells as whom you call, at which server, whether it is a sandbox, and what may still be spent. Free."


class WhoamiArguments(Arguments):
    pass


class WhoamiResult(BaseModel):
    """The ``data`` of ring-whoami as the list of tools describes it: short, since every list carries it."""

    model_config = ConfigDict(extra="allow")


def whoami_tool(whoami: WhoamiConductor) -> Tool[WhoamiArguments]:
    async def handle(arguments: WhoamiArguments, caller: Caller) -> Answer:
        context = await whoami.describe(caller.actor_id)
        return Answer(data=context.data(), text=describe_context(context))

    return Tool(
        name="ring-whoami",
        title="Who am I here?",
        description=DESCRIPTION,
        arguments=WhoamiArguments,
        output=WhoamiResult,
        annotations=free(),
        handler=handle,
    )


def describe_context(context: Context) -> str:
    actor, version = context.actor, f", ring-mcp {context.server_version}" if context.server_version else ""
    lines = [f"{actor.name or actor.id} ({actor.id}) at {context.clone_name}{version}"]
    if context.base_url:
        lines.append(f"reached at {context.base_url}{context.gateway}")
    if context.token_name:
        lines.append(f"by the token named {context.token_name}")
    if context.sandbox:
        lines.append("SANDBOX: nothing is real, and nobody pays what is spent")
    if context.may_spend is False:
        lines.append("may look and not spend")
    if context.spent_today_usd is not None and context.spent_this_month_usd is not None:
        lines.append(f"spent {usd(context.spent_today_usd)} today, {usd(context.spent_this_month_usd)} this month")
    left = [f"{usd(amount)} {WINDOW_WORDS[name]}" for name, amount in (context.cap_left_usd or {}).items()]
    lines.append(f"may still spend: {', '.join(left)}" if left else "no cap on spending is known")
    return "\n".join(lines)
