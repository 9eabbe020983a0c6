"""The prices of presets.json: by the piece, by the second, by the token; dated."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

Usd = Annotated[Decimal, Field(ge=0, decimal_places=6)]
TokenKind = Literal["input", "text", "image", "video"]


class Entry(BaseModel):
    """Base of everything in presets.json: its keys in camelCase, none that nobody knows."""

    # Deferred: a start uses few models, and nobody should wait for the validators of all.
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, defer_build=True)


class ImagePrices(Entry):
    """``image_usd[quality][resolution]``; models without qualities have the one key "standard". Where the provider
    bills tokens, ``million_tokens_usd`` of each kind and ``image_tokens`` of a picture by resolution are its price, and
    ``input_image_tokens`` that of a given one."""

    as_of: date
    image_usd: dict[str, dict[str, Usd]]
    image_tokens: dict[str, Annotated[int, Field(gt=0)]] = {}
    input_image_tokens: int = Field(default=0, ge=0)
    input_image_usd: Usd = Decimal(0)
    million_tokens_usd: dict[TokenKind, Usd] = {}

    @model_validator(mode="before")
    @classmethod
    def _price_of_tokens(cls, raw: Any) -> Any:
        try:
            # By its text: JSON's floats would bring their binary neighbours into a price.
            million_usd = {kind: Decimal(str(usd)) for kind, usd in raw["millionTokensUsd"].items()}
            made = {r: million_usd["image"] * n / 10**6 for r, n in raw["imageTokens"].items()}
            given = million_usd.get("input", Decimal(0)) * raw.get("inputImageTokens", 0) / 10**6
            # Prices that stand in the file win over those that follow from its tokens.
            return {"imageUsd": {"standard": made}, "inputImageUsd": given} | raw
        except (ArithmeticError, AttributeError, KeyError, TypeError):
            return raw  # without tokens; what is wrong with it is told below

    def of(self, quality: str | None, resolution: str) -> Decimal:
        """Dollars per picture."""
        return self.image_usd[quality or "standard"][resolution]


class VideoPrices(Entry):
    """``whole_seconds``: of a given clip, whose last one may count in full."""

    as_of: date
    second_usd: dict[str, Usd]
    input_image_usd: Usd = Decimal(0)
    input_video_second_usd: Usd = Decimal(0)
    whole_seconds: bool = False
    million_tokens_usd: dict[TokenKind, Usd] = {}
