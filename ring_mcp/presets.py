"""presets.json: quality modes, models with capabilities and life dates, dated prices.

Facts that change live in that file, never in code. ``load_presets`` names the key of whatever is wrong in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from ring_mcp.errors import ConfigError
from ring_mcp.package_data import data_path
from ring_mcp.providers.vendors import ProviderName

Usd = Annotated[Decimal, Field(ge=0, decimal_places=6)]
TokenKind = Literal["input", "text", "image", "video"]


class _Entry(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class ModeChoice(_Entry):
    """What a quality mode means with one provider; ``estimated_usd_per_second`` feeds estimatedCostUsd only."""

    model: str
    resolution: str
    estimated_usd_per_second: Usd


class QualityMode(ModeChoice):
    """One row of Ring's mode table, of the one provider that Ring has; ``providers`` are the choices of the others."""

    providers: dict[ProviderName, ModeChoice] = {}
    supports_text_to_video: bool
    requires_image_url: bool

    def of(self, provider: ProviderName) -> ModeChoice:
        return self.providers.get(provider, self)


class ImagePrices(_Entry):
    """``image_usd[quality][resolution]``; models without qualities have the one key "standard". Where the provider
    bills tokens, ``million_tokens_usd`` of each kind and ``image_tokens`` of a picture by resolution are its price."""

    as_of: date
    image_usd: dict[str, dict[str, Usd]]
    image_tokens: dict[str, Annotated[int, Field(gt=0)]] = {}
    input_image_usd: Usd = Decimal(0)
    million_tokens_usd: dict[TokenKind, Usd] = {}

    @model_validator(mode="before")
    @classmethod
    def _price_of_tokens(cls, raw: Any) -> Any:
        try:
            million_usd = Decimal(str(raw["millionTokensUsd"]["image"]))
            return {"imageUsd": {"standard": {r: million_usd * n / 10**6 for r, n in raw["imageTokens"].items()}}} | raw
        except (ArithmeticError, AttributeError, KeyError, TypeError):
            return raw  # without tokens; what is wrong with it is told below

    def of(self, quality: str | None, resolution: str) -> Decimal:
        """Dollars per picture."""
        return self.image_usd[quality or "standard"][resolution]


class VideoPrices(_Entry):
    as_of: date
    second_usd: dict[str, Usd]
    input_image_usd: Usd = Decimal(0)
    input_video_second_usd: Usd = Decimal(0)
    million_tokens_usd: dict[TokenKind, Usd] = {}


class Model(_Entry):
    """What every model has. ``retires_on`` is the first day without it.

    ``image_types`` are those of pictures that it takes, if any.
    ``redirect``: its successor then serves the name, or already from ``redirect_from``, so that nobody is surprised.
    ``own_endpoint``: an endpoint of the operator's own may serve it even then.
    """

    provider: ProviderName
    aspect_ratios: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    max_prompt_chars: int = Field(default=0, ge=0)
    image_types: tuple[str, ...] = ()
    retires_on: date | None = None
    replaced_by: str | None = None
    redirect: bool = False
    redirect_from: date | None = None
    own_endpoint: bool = False

    def is_retired(self, today: date) -> bool:
        return self.retires_on is not None and today >= self.retires_on

    def is_redirected(self, today: date) -> bool:
        """Whether its successor is asked in its place."""
        early = self.redirect_from is not None and today >= self.redirect_from
        return self.redirect and (early or self.is_retired(today))

    @model_validator(mode="after")
    def _redirects_until_it_retires(self) -> Self:
        if self.redirect_from is not None and not (self.redirect and self.is_retired(date.max)):
            raise ValueError("redirectFrom needs redirect and retiresOn")
        return self

    def _check_can_be_called(self, prices: object | None, *, with_pictures: object) -> None:
        needed = {"prices": prices, "maxPromptChars": self.max_prompt_chars}
        missing = [name for name, fact in needed.items() if not fact]
        if missing and (self.retires_on is None or self.redirect or self.own_endpoint):
            raise ValueError(f"a model that can still be called needs {' and '.join(missing)}")
        if with_pictures and not self.image_types:
            raise ValueError("a model that takes pictures needs imageTypes")


class ImageModel(Model):
    qualities: tuple[str, ...] = ()
    default_quality: str | None = None
    default_edit_quality: str | None = None
    max_n: int = Field(default=1, ge=1)
    takes_seed: bool = False
    deferred: bool = False
    max_input_images: int = 0
    prices: ImagePrices | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        self._check_can_be_called(self.prices, with_pictures=self.max_input_images)
        if self.qualities and self.default_quality not in self.qualities:
            raise ValueError("defaultQuality must be one of qualities")
        if self.default_edit_quality is not None and self.default_edit_quality not in self.qualities:
            raise ValueError("defaultEditQuality must be one of qualities")
        for quality in self.qualities or ("standard",):
            missing = [r for r in self.resolutions if self.prices and r not in self.prices.image_usd.get(quality, {})]
            if missing:
                raise ValueError(f"prices.imageUsd.{quality} lacks {', '.join(missing)}")
        return self


class VideoModel(Model):
    """``video_codecs`` are those of MP4 files that it edits, ``image_sets_ratio``: a first frame decides the shape.
    ``download_needs_key``: its addresses are not for all.
    ``*_extend_s`` are the seconds that an extension adds, ``*_extend_input_s`` those of the clip it starts from."""

    text_to_video: bool = False
    image_to_video: bool = False
    last_frame: bool = False
    edit: bool = False
    extend: bool = False
    image_sets_ratio: bool = False
    video_codecs: tuple[str, ...] = ()
    download_needs_key: bool = False
    min_duration_s: int = 1
    max_duration_s: int = 15
    max_edit_input_s: Decimal | None = None
    min_extend_s: int = 1
    max_extend_s: int = 15
    min_extend_input_s: Decimal | None = None
    max_extend_input_s: Decimal | None = None
    max_reference_images: int = 0
    max_reference_duration_s: int = 15
    reference_resolutions: tuple[str, ...] = ()
    prices: VideoPrices | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        self._check_can_be_called(self.prices, with_pictures=self.image_to_video or self.max_reference_images)
        missing = [r for r in self.resolutions if self.prices and r not in self.prices.second_usd]
        if missing:
            raise ValueError(f"prices.secondUsd lacks {', '.join(missing)}")
        if self.extend and self.max_extend_input_s is None:
            raise ValueError("a model that extends clips needs maxExtendInputS, for which its price is reserved")
        if (self.edit or self.extend) and not self.video_codecs:
            raise ValueError("a model that takes clips needs videoCodecs")
        if self.max_reference_images and not set(self.reference_resolutions) & set(self.resolutions):
            raise ValueError("a model with maxReferenceImages needs referenceResolutions out of its resolutions")
        return self


class ImageDefaults(_Entry):
    model: str
    aspect_ratio: str
    resolution: str
    first_frame_resolution: str


class VideoDefaults(_Entry):
    quality_mode: str
    duration: int
    aspect_ratio: str
    poll_interval_ms: int
    poll_timeout_ms: int
    remaster_edit_model: str
    extend_model: str


class Defaults(_Entry):
    image: dict[ProviderName, ImageDefaults]
    video: VideoDefaults


class Limits(_Entry):
    price_max_age_days: int


class Presets(_Entry):
    """The whole of presets.json."""

    schema_version: Literal["1.0"]
    updated: date
    notes: dict[str, str] = {}
    limits: Limits
    defaults: Defaults
    modes: dict[Literal["draft", "draft_i2v", "production", "production_i2v"], QualityMode]
    image_models: dict[str, ImageModel]
    video_models: dict[str, VideoModel]

    @property
    def default_models(self) -> tuple[str, ...]:
        """Every model that is used when nobody names one, each once."""
        video = self.defaults.video
        images = (chosen.model for chosen in self.defaults.image.values())
        modes = (name for provider in self.video_providers for name in self.mode_models(provider))
        return tuple(dict.fromkeys([*images, *modes, video.remaster_edit_model, video.extend_model]))

    @property
    def image_providers(self) -> tuple[ProviderName, ...]:
        """Who can be asked for pictures."""
        return tuple(self.defaults.image)

    @property
    def video_providers(self) -> tuple[ProviderName, ...]:
        """Who can be asked for clips, first the one who is asked when nobody says whom."""
        modes = tuple(self.modes.values())
        return (self.video_models[modes[0].model].provider, *modes[0].providers)

    def mode_models(self, provider: ProviderName) -> tuple[str, ...]:
        """What the quality modes take from this provider, each once."""
        chosen = (mode.of(provider).model for mode in self.modes.values())
        return tuple(dict.fromkeys(name for name in chosen if self.video_models[name].provider == provider))

    def token_prices(self) -> Mapping[str, Mapping[str, Decimal]]:
        """By model: what a million tokens of each kind cost, in dollars."""
        models: Mapping[str, ImageModel | VideoModel] = {**self.image_models, **self.video_models}
        priced = {name: model.prices for name, model in models.items()}
        return {
            name: {str(kind): usd for kind, usd in prices.million_tokens_usd.items()}
            for name, prices in priced.items()
            if prices is not None
        }

    @model_validator(mode="after")
    def _tables_agree(self) -> Self:
        from ring_mcp.presets_agreement import check_agreement

        check_agreement(self)
        return self


def load_presets(path: Path | None = None) -> Presets:
    """Read and check presets.json. Raises ConfigError that names the file and the key of every fault."""
    path = path or data_path("presets.json")
    try:
        return Presets.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise ConfigError([f"{path.name} cannot be read: {exc.strerror}"]) from exc
    except json.JSONDecodeError as exc:
        raise ConfigError([f"{path.name} is not JSON: {exc.msg} at line {exc.lineno}"]) from exc
    except ValidationError as exc:
        faults = [f"{path.name}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in exc.errors()]
        raise ConfigError(faults) from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigError([f"{path.name} is not readable JSON ({type(exc).__name__})"]) from exc
