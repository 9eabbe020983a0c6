"""Whether a script fits what the caps leave, and which of its clips do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ring_mcp.domain import usd
from ring_mcp.errors import CapExceeded
from ring_mcp.scripted.clips import ClipRun

_PER_CALL = "perCall"
_CAPS = {_PER_CALL: "the cap per call", "today": "the cap per day", "thisMonth": "the cap per month"}
"""Everybody's or the actor's own: whichever leaves least."""


def without_room(clips: Sequence[ClipRun], cap_left_usd: Mapping[str, Any]) -> list[ClipRun]:
    """The clips that do not fit, when they are taken in their order and each that does is made."""
    # By their text: they come as JSON numbers, also through a gateway, and are to be cents again.
    left = {name: Decimal(str(amount)) for name, amount in cap_left_usd.items()}
    # The cap of a call is no sum: each clip is a call of its own.
    per_call_usd, windows_usd = left.pop(_PER_CALL, None), left.values()
    rest_usd, refused = min(windows_usd, default=None), list[ClipRun]()
    for clip in clips:
        price_usd = clip.quoted_usd or Decimal(0)
        if clip.status != "waiting" or not price_usd:
            continue
        is_too_much = (per_call_usd is not None and price_usd > per_call_usd) or (
            rest_usd is not None and price_usd > rest_usd
        )
        # What does not fit takes no room, so that a cheaper clip after it may still be made.
        if is_too_much:
            refused.append(clip)
        elif rest_usd is not None:
            rest_usd -= price_usd
    return refused


def refusal(clips: Sequence[ClipRun], cap_left_usd: Mapping[str, Any], how_to_split: str) -> CapExceeded | None:
    """Why nothing is started, and what would fit; None if all of it does."""
    refused = without_room(clips, cap_left_usd)
    if not refused:
        return None
    needed = [clip for clip in clips if clip.status == "waiting" and clip.quoted_usd]
    total_usd = sum((clip.quoted_usd or Decimal(0) for clip in needed), Decimal(0))
    left = ", ".join(
        f"{_CAPS.get(name, name)} leaves {usd(Decimal(str(amount)))}" for name, amount in cap_left_usd.items()
    )
    fitting = [clip.id for clip in needed if clip not in refused]
    return CapExceeded(
        f"the clips would cost {usd(total_usd)} at list prices, and {left}; nothing was spent",
        next_action=(
            f"{len(fitting)} of {len(needed)} fit: {', '.join(fitting)}. Name those alone, or {how_to_split}."
            if fitting
            else "None of them fits: take drafts or shorter clips, wait until the cap resets, or have it raised."
        ),
    )
