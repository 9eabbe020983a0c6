"""A request for pictures -> a plan: every default filled in, every limit checked, priced. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from ring_mcp.domain import ImagePlan, ImageRequest, PriceLine
from ring_mcp.domain.choices import choose
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.effects import check_shape
from ring_mcp.plans.rules import (
    Variables,
    check_length,
    check_prompt,
    check_purpose,
    choice,
    choose_model,
    doubt,
    join_counts,
    join_names,
    model_named,
    prompt_price,
    provider_named,
    provider_of,
    ratio,
    takers,
    whose,
)
from ring_mcp.presets import ImageModel, Presets
from ring_mcp.providers.vendors import ProviderName

GIVEN_RATIO = "auto"
"""The shape of the picture that is given along: what an edit has, unless another is asked for."""

RINGS_SIZE = "2k"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """What the operator's configuration says about images; None falls through to presets.json.

    ``own_endpoints``: providers whose address is one of the operator's own. ``variables`` are named where what the
    operator has set is refused, for then nothing that the caller gave is.
    """

    default_provider: ProviderName
    storage_prefix: str
    models: Mapping[ProviderName, str | None]
    aspect_ratios: Mapping[ProviderName, str | None]
    resolutions: Mapping[ProviderName, str | None]
    own_endpoints: frozenset[ProviderName] = frozenset()
    variables: Variables = field(default_factory=dict)

    def variable(self, provider: ProviderName, setting: str, argument: str) -> str:
        """What a refusal names: the variable where an operator has set it, else the caller's argument."""
        return self.variables.get(provider, {}).get(setting, argument)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """What the caller calls the fields of the request: a refusal that names another one cannot be obeyed."""

    prompt: str = "prompt"
    provider: str = "provider"
    model: str = "model"
    resolution: str = "resolution"


_SEEDS = 2**31
"""Those of a provider are whole numbers of 32 bits with a sign: beyond, one of several pictures would be paid alone."""

_OF_A_PICTURE = _Names()
_OF_A_FIRST_FRAME = _Names(
    prompt="firstFramePrompt", provider="imageProvider", model="imageModel", resolution="imageResolution"
)


def plan_image(
    request: ImageRequest,
    settings: ImageSettings,
    presets: Presets,
    today: date,
    *,
    is_first_frame: bool = False,
) -> ImagePlan:
    """Quote and run both call this. ``is_first_frame``: the request is the part of a clip's that is about its still.

    Raises InvalidRequest (with the field and what is allowed) or ModelRetired (with the successor's name).
    """
    names = _OF_A_FIRST_FRAME if is_first_frame else _OF_A_PICTURE
    prompt = check_prompt(request.prompt, names.prompt)
    provider = _provider(request, settings, presets, names)
    defaults = presets.defaults.image[provider]
    requested_model = request.model or settings.models.get(provider) or defaults.model
    name, model, warnings = choose_model(
        requested_model,
        presets.image_models,
        provider,
        today,
        field=names.model if request.model else settings.variable(provider, "image_model", names.model),
        own_endpoint=provider in settings.own_endpoints,
    )
    # In the registry's spelling: rows, sidecars and bills of one model are to have one name.
    requested_model = model_named(requested_model, presets.image_models) or requested_model
    if request.provider is None and provider != settings.default_provider:
        warnings.append(whose(provider, requested_model, names.provider))
    # By the model that is really asked, which may be the successor of the one that was named.
    check_length(prompt, name, model, names.prompt)
    if request.reference_images:
        _check_references(request, name, model, presets)
        aspect_ratio = _ratio_of_edit(request, name, model, warnings)
    else:
        wanted = request.aspect_ratio or settings.aspect_ratios.get(provider) or defaults.aspect_ratio
        named = settings.variable(provider, "image_aspect_ratio", "aspectRatio")
        aspect_ratio = ratio(wanted, model.aspect_ratios, name, "aspectRatio" if request.aspect_ratio else named)
    usual = settings.resolutions.get(provider) or defaults.resolution
    if is_first_frame:
        usual = defaults.first_frame_resolution
    resolution = _size(request, settings, names, usual, name, model, warnings)
    # Not ``or``: 0 was asked for, and is refused with what is possible.
    n = 1 if request.n is None else request.n
    if not 1 <= n <= model.max_n:
        raise InvalidRequest(f"n must be between 1 and {model.max_n} for {name}, got {n}")
    if request.seed is not None and not model.takes_seed:
        warnings.append(f"seed was not used: {name} has no seed, so the same prompt gives another picture each time")
    elif request.seed is not None and not -_SEEDS <= request.seed <= _SEEDS - n:
        counted = f" with n={n}, since each picture has the next one" if n > 1 else ""
        raise InvalidRequest(f"seed must be between {-_SEEDS} and {_SEEDS - n} for {name}{counted}")

    # "auto" is the provider's own word for a quality that is left out.
    asked_quality = None if choose(request.quality or "", ("auto",)) else request.quality
    quality = _quality(asked_quality, request, name, model, presets)
    # Without a price nothing could be reserved, and no cap would hold it.
    if model.prices is None:
        raise InvalidRequest(f"model {name} has no price in presets.json, so it is not called")
    price = PriceLine(
        what=" ".join(part for part in ("image,", name, quality, resolution) if part),
        unit_usd=model.prices.of(quality, resolution),
        count=Decimal(n),
        as_of=model.prices.as_of.isoformat(),
    )
    prices, calls = [price], model.count_calls(n)
    # By requests and not by pictures made: each request is given all of them along.
    if request.reference_images:
        prices.append(
            PriceLine(
                what="reference image given to the model",
                unit_usd=model.prices.input_image_usd,
                count=Decimal(len(request.reference_images) * calls),
                as_of=price.as_of,
            )
        )
    prices += prompt_price(prompt, model.prices.million_tokens_usd, calls, price.as_of)
    return ImagePlan(
        provider=provider,
        requested_model=requested_model,
        model=name,
        prompt=prompt,
        n=n,
        aspect_ratio=aspect_ratio,
        resolution=resolution,
        quality=quality,
        asked_quality=quality if asked_quality else None,
        reference_images=request.reference_images,
        # Dropped where it means nothing: two requests that make the same picture are to have the same hash.
        seed=request.seed if model.takes_seed else None,
        deferred=model.deferred,
        purpose=check_purpose(request.purpose, "image", warnings),
        ref_code=request.ref_code,
        storage_prefix=settings.storage_prefix,
        prices=tuple(prices),
        warnings=tuple(warnings),
    )


def _size(
    request: ImageRequest,
    settings: ImageSettings,
    names: _Names,
    usual: str,
    name: str,
    model: ImageModel,
    warnings: list[str],
) -> str:
    """What is asked for, else the operator's, else the registry's.

    Ring's own client asks for first frames of 2k, whoever makes them: of a model that nobody named that is no wish.
    """
    if not request.resolution:
        is_operators = usual == settings.resolutions.get(model.provider)
        field = settings.variable(model.provider, "image_resolution", names.resolution) if is_operators else ""
        return choice(field or names.resolution, usual, model.resolutions, name)
    is_rings = names is _OF_A_FIRST_FRAME and request.model is None and choose(request.resolution, (RINGS_SIZE,))
    if is_rings and choose(RINGS_SIZE, model.resolutions) is None:
        warnings.append(f"{names.resolution} {RINGS_SIZE} is not made by {name}: it is {model.resolutions[-1]}")
        return model.resolutions[-1]
    return choice(names.resolution, request.resolution, model.resolutions, name)


def _provider(request: ImageRequest, settings: ImageSettings, presets: Presets, names: _Names) -> ProviderName:
    """Who is asked for, else whose the model is. Raises InvalidRequest with the names there are."""
    if request.provider is None:
        return provider_of(request.model, presets.image_models) or settings.default_provider
    return provider_named(request.provider, presets.image_providers, names.provider)


def _check_references(request: ImageRequest, name: str, model: ImageModel, presets: Presets) -> None:
    given, most = len(request.reference_images), model.max_input_images
    if given > most:
        takes = f"takes at most {most} reference images" if most else "takes no reference images"
        others = join_counts(takers(presets.image_models, lambda m: m.max_input_images))
        raise InvalidRequest(
            f"model {name} {takes}, got {given}; the limits are {others}{doubt(model, 'max_input_images')}"
        )


def _ratio_of_edit(request: ImageRequest, name: str, model: ImageModel, warnings: list[str]) -> str:
    """The one picture's own ratio; of several that of the first, unless the caller says another."""
    if not request.aspect_ratio or choose(request.aspect_ratio, (GIVEN_RATIO,)):
        return GIVEN_RATIO
    asked = ratio(request.aspect_ratio, model.aspect_ratios, name)
    if len(request.reference_images) == 1 and not model.edits_take_ratio:
        what = f"an edit of one image keeps that image's ratio with {name}"
        warnings += check_shape(asked, request.shape_px, what)
        return GIVEN_RATIO
    return asked


def _quality(asked: str | None, request: ImageRequest, name: str, model: ImageModel, presets: Presets) -> str | None:
    """What is made and priced; the provider's own default for edits is another than for pictures from nothing."""
    if asked is None:
        return (model.default_edit_quality if request.reference_images else None) or model.default_quality
    if not model.qualities:
        others = join_names(takers(presets.image_models, lambda m: m.qualities))
        raise InvalidRequest(f"model {name} has no quality to choose; leave quality out, or use {others}")
    return choice("quality", asked, model.qualities, name)
