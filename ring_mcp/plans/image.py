"""A request for pictures -> a plan: every default filled in, every limit checked, priced. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ring_mcp.domain import ImagePlan, ImageRequest, PriceLine
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.rules import checked_prompt, checked_purpose, choice, living_model, provider_named, ratio
from ring_mcp.presets import Presets, ProviderName


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """What the operator's configuration says about images; None falls through to presets.json.

    ``own_endpoints``: providers whose address is one of the operator's own.
    """

    default_provider: ProviderName
    storage_prefix: str
    models: Mapping[ProviderName, str | None]
    aspect_ratios: Mapping[ProviderName, str | None]
    resolutions: Mapping[ProviderName, str | None]
    own_endpoints: frozenset[ProviderName] = frozenset()


def plan_image(request: ImageRequest, settings: ImageSettings, presets: Presets, today: date) -> ImagePlan:
    """Quote and run both call this.

    Raises InvalidRequest (with the field and what is allowed) or ModelRetired (with the successor's name).
    """
    prompt = checked_prompt(request.prompt, presets.limits.max_prompt_chars)
    provider = image_provider(request.provider, settings, presets)
    defaults = presets.defaults.image[provider]
    requested_model = request.model or settings.models.get(provider) or defaults.model
    name, model, warnings = living_model(
        requested_model, presets.image_models, provider, today, own_endpoint=provider in settings.own_endpoints
    )
    aspect_ratio = ratio(
        request.aspect_ratio or settings.aspect_ratios.get(provider) or defaults.aspect_ratio,
        model.aspect_ratios,
        name,
    )
    resolution = choice(
        "resolution",
        (request.resolution or settings.resolutions.get(provider) or defaults.resolution).lower(),
        model.resolutions,
        name,
    )
    n = 1 if request.n is None else request.n
    if not 1 <= n <= model.max_n:
        raise InvalidRequest(f"n must be between 1 and {model.max_n} for {name}, got {n}")
    if request.seed is not None and not model.takes_seed:
        warnings.append(f"seed was not used: {name} has no seed, so the same prompt gives another picture each time")

    quality = model.default_quality
    if model.prices is None:
        raise InvalidRequest(f"model {name} has no price in presets.json, so it is not called")
    price = PriceLine(
        what=" ".join(part for part in ("image,", name, quality, resolution) if part),
        unit_usd=model.prices.of(quality, resolution),
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


def image_provider(asked: str | None, settings: ImageSettings, presets: Presets) -> ProviderName:
    """Who makes the picture. Raises InvalidRequest with the names there are."""
    return provider_named(asked or settings.default_provider, presets.defaults.image)
