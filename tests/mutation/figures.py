"""What a sample says of the whole: the share that is seen, with the interval in which it lies in 95 of 100 samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.96
"""Standard deviations on either side, for 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """``of_all``: how many faults there are where these were drawn."""

    seen: int
    drawn: int
    of_all: int


def interval(seen: int, drawn: int) -> tuple[float, float]:
    """Wilson's interval: it also holds for few faults, and where all were seen."""
    if not drawn:
        return 0.0, 1.0
    share, square = seen / drawn, _Z * _Z
    middle = (share + square / (2 * drawn)) / (1 + square / drawn)
    reach = _Z * math.sqrt(share * (1 - share) / drawn + square / (4 * drawn * drawn)) / (1 + square / drawn)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def together(shares: Sequence[Share]) -> tuple[float, float, float]:
    """The share of several samples as one, and its interval: each weighs as much as what it was drawn from.

    For the interval two seen and two unseen are added to each sample: where all were seen it would have no width.
    """
    drawn = [share for share in shares if share.drawn]
    whole = sum(share.of_all for share in drawn)
    if not whole:
        return 0.0, 0.0, 1.0
    estimate = variance = 0.0
    for share in drawn:
        weight, likely = share.of_all / whole, (share.seen + 2) / (share.drawn + 4)
        estimate += weight * share.seen / share.drawn
        variance += weight * weight * likely * (1 - likely) / (share.drawn + 4)
    reach = _Z * math.sqrt(variance)
    return estimate, max(0.0, estimate - reach), min(1.0, estimate + reach)
