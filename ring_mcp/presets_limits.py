"""The limits in presets.json: sizes of what is given along, and how often a provider may be asked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ring_mcp.domain import MediaKind, RateLimit
from ring_mcp.presets_prices import Entry
from ring_mcp.providers.vendors import ProviderName


class InputBytes(Entry):
    """What one given picture or clip may have, in bytes."""

    image: Annotated[int, Field(gt=0)]
    video: Annotated[int, Field(gt=0)]


class Rate(Entry):
    """How many requests an account may make for one model; a number that is left out is not known."""

    per_second: Annotated[float | None, Field(gt=0, le=10_000)] = None
    per_minute: Annotated[float | None, Field(gt=0, le=600_000)] = None

    def limit(self) -> RateLimit:
        return RateLimit(per_second=self.per_second, per_minute=self.per_minute)


class Rates(Entry):
    """``submits`` are paid requests, ``looks`` ask how a job is."""

    submits: Rate = Rate()
    looks: Rate = Rate()


class Limits(Entry):
    """``rates`` are for every model of a provider that makes this kind, unless the model has its own."""

    price_max_age_days: int
    input_bytes: dict[ProviderName, InputBytes]
    rates: dict[ProviderName, dict[MediaKind, Rates]] = Field(default_factory=dict)

    def rates_of(self, provider: str, kind: MediaKind) -> Rates:
        return self.rates.get(provider, {}).get(kind, Rates())
