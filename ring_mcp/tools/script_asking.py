"""Asks once, with the sum, about all clips of a script that are not paid for yet."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from ring_mcp.conductors.confirming import Confirming, clip_text
from ring_mcp.domain.consent import Asking, Item
from ring_mcp.scripted.base import Maker
from ring_mcp.tools.tool import Caller

if TYPE_CHECKING:
    from ring_mcp.scripted.run import ScriptRun


class AskedMaker(Maker, Protocol):
    """Makes clips under one approval for all of them."""

    def agree(self, asking: Asking) -> None: ...

    def subject_of(self, idempotency_key: str) -> str: ...


async def agree(run: ScriptRun, maker: AskedMaker, confirming: Confirming, caller: Caller) -> Asking:
    """Ask about all clips that are not paid for yet, each at its price. Raises CapExceeded as ``run`` does."""
    if not confirming.applies_to(caller.asking):
        return caller.asking
    items = [
        # Named as its job will be when it is opened, or the yes would not be found there.
        Item(subject=maker.subject_of(clip.key), usd=clip.quoted_usd or Decimal(0), what=clip_text(clip.id, clip.data))
        for clip in run.list_unpaid()
    ]

    async def quote() -> dict[str, Any]:
        return {
            "totalUsd": float(sum(item.usd for item in items)),
            "clips": [{"clipId": clip.id, "totalUsd": float(clip.quoted_usd or 0)} for clip in run.list_unpaid()],
            **({"capLeftUsd": run.cap_left_usd} if run.cap_left_usd else {}),
            **({"sandbox": True} if confirming.sandbox else {}),
        }

    terms = await confirming.settle(items, caller.asking, caller.actor_id, quote)
    # Whatever was agreed to holds for every clip: none of them asks again by itself.
    return Asking(confirmed=True) if terms is None else Asking(terms=terms)
