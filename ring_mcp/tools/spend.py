"""ring-spend: what was spent today and this month, and what the caps leave. Spends nothing."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ring_mcp.conductors.spending import Spending, SpendingConductor, Window
from ring_mcp.domain import usd
from ring_mcp.tools.paid import describe_standing, free
from ring_mcp.tools.tool import Answer, Arguments, Caller, Tool

DESCRIPTION = "Tells what was spent today and this month, what is reserved or unknown, and what the caps leave. Free."


class SpendArguments(Arguments):
    pass


class ToldSpending(BaseModel):
    """The ``data`` of ring-spend as the list of tools describes it: short, since every list carries it."""

    model_config = ConfigDict(extra="allow")


def spend_tool(spending: SpendingConductor) -> Tool[SpendArguments]:
    async def handle(arguments: SpendArguments, caller: Caller) -> Answer:
        told = await spending.describe(caller.actor_id)
        return Answer(data=told.data(), text=_text(told))

    return Tool(
        name="ring-spend",
        title="What was spent",
        description=DESCRIPTION,
        arguments=SpendArguments,
        output=ToldSpending,
        annotations=free(),
        handler=handle,
    )


def _text(told: Spending) -> str:
    lines = ["SANDBOX: nobody pays this."] if told.sandbox else []
    lines += [f"today, {_window(told.today)}", f"this month, {_window(told.this_month)}"]
    if told.cap_per_call_usd is not None:
        lines.append(f"a call may cost at most {usd(told.cap_per_call_usd)}")
    lines.append(f"jobs under way: {told.open_jobs}, of unknown outcome: {told.unknown_jobs}")
    if told.confirm is not None and told.confirm_above_usd is not None:
        lines.append(f"above {usd(told.confirm_above_usd)} a person is asked first ({told.confirm})")
    lines += [describe_standing(told.actor)] if told.actor is not None else []
    return "\n".join(lines)


def _window(window: Window) -> str:
    # Other periods may have been asked for, which such a tool drops like any argument: whose sums these are is said.
    used = f"{window.period}: {usd(window.used_usd)} used, {usd(window.reserved_usd)} reserved"
    if window.cap_usd is None or window.left_usd is None:
        return f"{used}, no cap"
    return f"{used}, {usd(window.left_usd)} left of {usd(window.cap_usd)} until {window.resets_at}"
