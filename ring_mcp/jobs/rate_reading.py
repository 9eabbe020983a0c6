"""How full the rate buckets of provider accounts are, for health reports and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ring_mcp.domain import MediaKind, RateLimit, RateState, space_out
from ring_mcp.domain.rates import Asking, RateReading
from ring_mcp.ledger.base import Ledger
from ring_mcp.presets import Presets


class ReadsRates(Protocol):
    """Reads how full the buckets are."""

    async def read(self) -> Sequence[RateReading]:
        """Raises LedgerError."""


class EveryRate:
    """Reads the buckets of all accounts in the ledger, whoever has their keys."""

    def __init__(self, ledger: Ledger, presets: Presets, *, sandbox: bool) -> None:
        self._ledger = ledger
        self._presets = presets
        self._sandbox = sandbox

    async def read(self) -> Sequence[RateReading]:
        states = await self._ledger.rates(None, sandbox=self._sandbox)
        return [read_bucket(state, self._presets) for state in states]


def read_bucket(state: RateState, presets: Presets, *, waiting: int = 0) -> RateReading:
    """A bucket's reading; ``waiting``: how many jobs wait for it in this process."""
    bucket = state.bucket
    # An account's name begins with its provider's (``jobs.rates``).
    provider = bucket.account.partition("/")[0]
    kind: MediaKind = "image" if bucket.model in presets.image_models else "video"
    return RateReading(
        provider=provider,
        model=bucket.model,
        asking=bucket.asking,
        full=state.fullness(space_out(find_limit(presets, bucket.model, provider, kind, bucket.asking))),
        slowed=state.slowed,
        paused_s=state.paused_s,
        waiting=waiting,
    )


def find_limit(presets: Presets, model: str, provider: str, kind: MediaKind, asking: Asking) -> RateLimit:
    rates = presets.rates_of(model, provider, kind)
    return (rates.submits if asking == "submit" else rates.looks).limit()
