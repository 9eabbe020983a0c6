"""Shared by tools: arguments of those that cost money or return pictures, and annotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ring_mcp.conductors.results import Standing
from ring_mcp.domain import usd
from ring_mcp.domain.consent import NOBODY, Asking, Mark, Reply
from ring_mcp.domain.fields import Dollars, Flag, Key, WaitSeconds
from ring_mcp.tools.tool import Arguments, Notes

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

PreviewSize = Annotated[Literal["none", "small"] | None, Field(description="A picture of it.")]


def call_notes(wait_s: float, preview: str) -> Notes:
    """Notes on the arguments above that depend on the configuration."""
    return {"waitSeconds": f"Default: {wait_s:g}.", "preview": f"Default: {preview}."}


CONFIRMED = "confirmed"


class _Confirmation(Arguments):
    confirmed: Flag | None = None


def take_confirmation(given: Mapping[str, Any]) -> tuple[dict[str, Any], Asking]:
    """A REST call's arguments without ``confirmed``, and how its caller is asked. Raises InvalidRequest.

    True: the program vouches that a person agreed. False: the program asks the person itself if the answer says so.
    Not given: nobody can be asked. Not an argument of the tools, since a model would set it by itself.
    """
    rest = {name: value for name, value in given.items() if name != CONFIRMED}
    # Through the reader of all arguments: "true" is a yes, and nothing else that one might guess at.
    confirmed = _Confirmation.parse({CONFIRMED: given.get(CONFIRMED)}).confirmed
    if confirmed is None:
        return rest, NOBODY
    return rest, Asking(confirmed=True) if confirmed else Asking(ask=_leave_unanswered)


async def _leave_unanswered(mark: Mark, text: str) -> Reply:
    return Reply.CANCEL


def describe_standing(actor: Standing) -> str:
    """What an actor has spent and may spend, in one line for a model."""
    spent = f"{usd(actor.spent_today_usd)} today, {usd(actor.spent_this_month_usd)} this month"
    return f"{actor.id}: spent {spent}{'' if actor.may_spend else '; may look and not spend'}"


def annotate_paid() -> ToolAnnotations:
    """Annotations of a tool that spends money at an external service, again with every call."""
    # Loaded here: to load it takes a third of a second, which commands that speak no MCP are spared.
    from mcp_types import ToolAnnotations

    return ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)


def free() -> ToolAnnotations:
    """Annotations of a tool that only reads, and may be called as often as one likes."""
    from mcp_types import ToolAnnotations

    return ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
