"""What the tools that cost money have in common: four arguments and their annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ring_mcp.domain.fields import Dollars, Flag, Key, WaitSeconds

if TYPE_CHECKING:
    from mcp_types import ToolAnnotations

DryRun = Annotated[Flag, Field(description="true: only say what would be done and what it would cost.")]

IdempotencyKey = Annotated[
    Key | None,
    Field(
        description="Names this one paid request. Reuse the same value when you retry after an error or a lost answer; "
        "choose a new one when you want another result."
    ),
]

MaxUsd = Annotated[
    Dollars | None, Field(description="Start nothing if this call could cost more than so many US dollars.")
]

Wait = Annotated[
    WaitSeconds | None,
    Field(description="How many seconds to wait for the result before answering with its state. Default: 50."),
]


def annotate_paid(title: str) -> ToolAnnotations:
    """Spends money at a service outside, and every call may spend again."""
    from mcp_types import ToolAnnotations

    return ToolAnnotations(
        title=title, read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
    )


def free(title: str) -> ToolAnnotations:
    """Reads what is here; may be called as often as one likes."""
    from mcp_types import ToolAnnotations

    return ToolAnnotations(
        title=title, read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )
