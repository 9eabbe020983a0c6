"""What several tools have in common: arguments of those that cost money or bring pictures, and annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ring_mcp.conductors.results import Standing
from ring_mcp.domain import usd
from ring_mcp.domain.fields import Dollars, Flag, Key, WaitSeconds
from ring_mcp.tools.tool import Notes

if TYPE_CHECKING:
    from mcp_types import ToolAnnotations

DryRun = Annotated[Flag, Field(description="Only tell the price.")]

IdempotencyKey = Annotated[
    Key | None,
    Field(description="The same on a retry, new for another result."),
]

MaxUsd = Annotated[Dollars | None, Field(description="Refuse to spend more.")]

Wait = Annotated[
    WaitSeconds | None,
    Field(description="Waits for the result."),
]

PreviewSize = Annotated[Literal["none", "small"] | None, Field(description="A picture of it in the answer.")]


def call_notes(wait_s: float, preview: str) -> Notes:
    """What the running configuration says of the arguments above."""
    return {"waitSeconds": f"Default: {wait_s:g}.", "preview": f"Default: {preview}."}


def describe_standing(actor: Standing) -> str:
    """What an actor of the ledger has spent, for a model."""
    spent = f"{usd(actor.spent_today_usd)} today, {usd(actor.spent_this_month_usd)} this month"
    return f"{actor.id}: spent {spent}{'' if actor.may_spend else '; may look and not spend'}"


def annotate_paid() -> ToolAnnotations:
    """Spends money at a service outside, and every call may spend again."""
    from mcp_types import ToolAnnotations

    return ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)


def free() -> ToolAnnotations:
    """Reads what is here; may be called as often as one likes."""
    from mcp_types import ToolAnnotations

    return ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
