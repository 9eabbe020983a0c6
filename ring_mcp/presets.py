"""presets.json: quality modes, models with capabilities and life dates, dated prices; and the image plan made of them.

Facts that change live in that file, never in code. ``load_presets`` names the key of whatever is wrong in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from ring_mcp.domain import ImagePlan, ImageRequest, PriceLine
from ring_mcp.errors import ConfigError, InvalidRequest, ModelRetired
from ring_mcp.package_data import data_path

ProviderName = Literal["xai", "google"]
Usd = Annotated[Decimal, Field(ge=0, decimal_places=6)]


class _Entry(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class QualityMode(_Entry):
    """One row of Ring's mode table; ``estimated_usd_per_second`` feeds estimatedCostUsd only."""

    model: str
    resolution: str
    estimated_usd_per_second: Usd
    supports_text_to_video: bool
    requires_image_url: bool


class ImagePrices(_Entry):
    """``image_usd[quality][resolution]``; models without qualities have the one key "standard"."""

    as_of: date
    image_usd: dict[str, dict[str, Usd]]
    input_image_usd: Usd = Decimal(0)


class VideoPrices(_Entry):
    as_of: date
    second_usd: dict[str, Usd]
    input_image_usd: Usd = Decimal(0)
    input_video_second_usd: Usd = Decimal(0)


class _Model(_Entry):
    provider: ProviderName
    aspect_ratios: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    retires_on: date | None = None
    replaced_by: str | None = None
    redirect: bool = False

    def is_retired(self, today: date) -> bool:
        return self.retires_on is not None and today >= self.retires_on


class ImageModel(_Model):
    qualities: tuple[str, ...] = ()
    default_quality: str | None = None
    max_n: int = Field(default=1, ge=1)
    takes_seed: bool = False
    deferred: bool = False
    max_input_images: int = 0
    prices: ImagePrices | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.prices is None:
            if self.retires_on is None or self.redirect:
                raise ValueError("a model that can still be called needs prices")
            return self
        for quality in self.qualities or ("standard",):
            missing = [r for r in self.resolutions if r not in self.prices.image_usd.get(quality, {})]
            if missing:
                raise ValueError(f"prices.imageUsd.{quality} lacks {', '.join(missing)}")
        return self

    def image_price(self, quality: str | None, resolution: str) -> Decimal:
        assert self.prices is not None, "plan_image lets no model through that has no prices"
        return self.prices.image_usd[quality or "standard"][resolution]


class VideoModel(_Model):
    text_to_video: bool = False
    image_to_video: bool = False
    edit: bool = False
    extend: bool = False
    min_duration_s: int = 1
    max_duration_s: int = 15
    max_edit_input_s: Decimal | None = None
    prices: VideoPrices | None = None


class ImageDefaults(_Entry):
    model: str
    aspect_ratio: str
    resolution: str


class VideoDefaults(_Entry):
    quality_mode: str
    duration: int
    aspect_ratio: str
    poll_interval_ms: int
    poll_timeout_ms: int
    remaster_edit_model: str


class Defaults(_Entry):
    image: dict[ProviderName, ImageDefaults]
    video: VideoDefaults


class Limits(_Entry):
    max_prompt_chars: int
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

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for mode_name, mode in self.modes.items():
            if mode.model not in self.video_models:
                raise ValueError(f"modes.{mode_name}.model names {mode.model!r}, which videoModels does not have")
        for provider, chosen in self.defaults.image.items():
            if chosen.model not in self.image_models:
                raise ValueError(
                    f"defaults.image.{provider}.model names {chosen.model!r}, which imageModels does not have"
                )
        for table, models in (("imageModels", self.image_models), ("videoModels", self.video_models)):
            for name, model in models.items():
                if model.replaced_by is not None and model.replaced_by not in models:
                    raise ValueError(f"{table}.{name}.replacedBy names {model.replaced_by!r}, which {table} lacks")
                if model.is_retired(date.max) and model.replaced_by is None:
                    raise ValueError(f"{table}.{name} retires but has no replacedBy")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """What the operator's configuration says about images; None falls through to presets.json."""

    default_provider: ProviderName
    storage_prefix: str
    models: Mapping[ProviderName, str | None]
    aspect_ratios: Mapping[ProviderName, str | None]
    resolutions: Mapping[ProviderName, str | None]


def plan_image(request: ImageRequest, settings: ImageSettings, presets: Presets, today: date) -> ImagePlan:
    """Fill in every default, check every limit, price it. Pure: quote and run both call this.

    Raises InvalidRequest (with the field and what is allowed) or ModelRetired (with the successor's name).
    """
    prompt = checked_prompt(request.prompt, presets.limits.max_prompt_chars)
    provider = _provider(request, settings, presets)
    defaults = presets.defaults.image[provider]
    requested_model = request.model or settings.models.get(provider) or defaults.model
    name, model, warnings = _living_image_model(requested_model, provider, presets, today)

    aspect_ratio = _choice(
        "aspectRatio",
        request.aspect_ratio,
        settings.aspect_ratios.get(provider) or defaults.aspect_ratio,
        model.aspect_ratios,
        name,
    )
    resolution = _choice(
        "resolution",
        request.resolution and request.resolution.lower(),
        settings.resolutions.get(provider) or defaults.resolution,
        model.resolutions,
        name,
    )
    n = 1 if request.n is None else request.n
    if not 1 <= n <= model.max_n:
        raise InvalidRequest(f"n must be between 1 and {model.max_n} for {name}, got {n}")
    if request.seed is not None and not model.takes_seed:
        warnings.append(f"seed was not used: {name} has no seed, so the same prompt gives another picture each time")

    quality = model.default_quality
    assert model.prices is not None, "_living_image_model returns priced models only"
    label = f"{name} {quality} {resolution}" if quality else f"{name} {resolution}"
    price = PriceLine(
        what=f"image, {label}",
        unit_usd=model.image_price(quality, resolution),
        count=Decimal(n),
        as_of=model.prices.as_of.isoformat(),
    )
    return ImagePlan(
        provider=provider,
        requested_model=requested_model,
        model=name,
        prompt=prompt,
        n=n,
        aspect_ratio=aspect_ratio,
        resolution=resolution,
        quality=quality,
        seed=request.seed if model.takes_seed else None,
        deferred=model.deferred,
        purpose=checked_purpose(request.purpose, "image", warnings),
        ref_code=request.ref_code,
        storage_prefix=settings.storage_prefix,
        prices=(price,),
        warnings=tuple(warnings),
    )


def checked_prompt(prompt: str, max_chars: int) -> str:
    """The prompt without surrounding blanks. Raises InvalidRequest if nothing is left or it cannot be sent."""
    prompt = prompt.strip()
    if not prompt:
        raise InvalidRequest("prompt is required")
    if len(prompt) > max_chars:
        raise InvalidRequest(f"prompt may have {max_chars} characters at most, got {len(prompt)}")
    return prompt


def checked_purpose(purpose: str | None, default: str, warnings: list[str]) -> str:
    """``purpose`` as one safe path segment.

    Anything that looks like a path is refused; other characters outside A-Z a-z 0-9 _ - become ``_``, with a warning.
    """
    if purpose is None or not purpose.strip():
        return default
    if "/" in purpose or "\\" in purpose or ".." in purpose or len(purpose) > 100:
        raise InvalidRequest("purpose must be one path segment of at most 100 letters, digits, '_' and '-', like 'og'")
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in purpose.strip())
    if safe != purpose:
        warnings.append(f"purpose is stored as {safe!r}")
    return safe


def _provider(request: ImageRequest, settings: ImageSettings, presets: Presets) -> ProviderName:
    wanted = request.provider or settings.default_provider
    for provider in presets.defaults.image:
        if provider == wanted.strip().lower():
            return provider
    raise InvalidRequest(f"provider must be one of {_listed(presets.defaults.image)}, got {wanted!r}")


def _living_image_model(
    requested: str, provider: ProviderName, presets: Presets, today: date
) -> tuple[str, ImageModel, list[str]]:
    model = presets.image_models.get(requested)
    living = [n for n, m in presets.image_models.items() if m.provider == provider and not m.is_retired(today)]
    if model is None or model.provider != provider:
        raise InvalidRequest(f"model must be one of {_listed(living)} for provider {provider}, got {requested!r}")
    if not model.is_retired(today):
        return requested, model, []
    assert model.replaced_by is not None, "presets.json is checked for this"
    successor = presets.image_models[model.replaced_by]
    if not model.redirect:
        raise ModelRetired(
            f"model {requested} was retired by its provider on {model.retires_on}; use {model.replaced_by} instead"
        )
    quality = f" at quality {successor.default_quality}" if successor.default_quality else ""
    warning = f"{requested} was retired on {model.retires_on}: {model.replaced_by}{quality} serves it now"
    return model.replaced_by, successor, [warning]


def _choice(field: str, wanted: str | None, default: str, allowed: tuple[str, ...], model: str) -> str:
    value = (wanted if wanted is not None else default).strip()
    if value not in allowed:
        raise InvalidRequest(f"{field} must be one of {_listed(allowed)} for {model}, got {value!r}")
    return value


def _listed(names: Mapping[ProviderName, object] | list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)
