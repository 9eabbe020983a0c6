"""A request for a clip -> a plan: effective mode, model, seconds, prices. Pure.

Ring's rules: draft with an image becomes draft_i2v; remaster re-generates at a real 720p as production (production_i2v
with an image); remaster with a source clip edits that clip. Ours: extend makes a source clip longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from ring_mcp.domain import GenerationKind, ImagePlan, ImageRequest, Thumbnail, VideoPlan, VideoRequest
from ring_mcp.domain.choices import choose
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.clip_inputs import check_combination, check_inputs, clip_prices, extension_s, find_earlier
from ring_mcp.plans.effects import check_effect, check_shape
from ring_mcp.plans.image import ImageSettings, plan_image
from ring_mcp.plans.rules import (
    Variables,
    check_length,
    check_prompt,
    check_purpose,
    choice,
    choose_model,
    doubt,
    join_names,
    model_named,
    provider_named,
    provider_of,
    ratio,
    show,
    takers,
    whose,
)
from ring_mcp.plans.thumbnails import check_thumbnail
from ring_mcp.presets import ModeChoice, Presets, QualityMode, VideoModel
from ring_mcp.providers.vendors import ProviderName

REMASTER_RESOLUTION = "720p"
FIRST_FRAME_RATIO = "16:9"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """What the operator's configuration says about videos; None falls through to presets.json.

    ``impossible`` says why no clip can be made here at all.
    """

    storage_prefix: str
    models: Mapping[ProviderName, str | None]
    durations_s: Mapping[ProviderName, int | None]
    aspect_ratios: Mapping[ProviderName, str | None]
    images: ImageSettings
    variables: Variables = field(default_factory=dict)
    impossible: str | None = None

    def variable(self, provider: ProviderName, setting: str, argument: str) -> str:
        """What a refusal names: the variable where an operator has set it, else the caller's argument."""
        return self.variables.get(provider, {}).get(setting, argument)


def resolve_effective_quality_mode(
    quality_mode: str, *, has_image: bool, remaster: bool, has_source: bool, extend: bool = False
) -> tuple[str, GenerationKind]:
    """The mode that will be used, and whether a clip is generated, edited or made longer."""
    if extend:
        return "production", "extend"
    if remaster and has_source:
        return "production", "edit"
    if remaster:
        return ("production_i2v" if has_image else "production"), "generate"
    if quality_mode == "draft" and has_image:
        return "draft_i2v", "generate"
    return quality_mode, "generate"


def plan_video(request: VideoRequest, settings: VideoSettings, presets: Presets, today: date) -> VideoPlan:
    """Quote and run both call this.

    Raises InvalidRequest (with the field and what is allowed) or ModelRetired (with the successor's name).
    """
    if settings.impossible is not None:
        raise InvalidRequest(settings.impossible)
    prompt = check_prompt(request.prompt)
    warnings: list[str] = []
    provider = _provider(request, presets)
    check_combination(request)
    mode_name, kind, quality = _mode(request, presets)
    mode = quality.of(provider)
    requested = _choose_requested_model(request, settings, presets, kind, mode, provider)
    is_operators = not request.model and requested == settings.models.get(provider)
    model_field = settings.variable(provider, "video_model", "model") if is_operators else "model"
    name, model, model_warnings = choose_model(requested, presets.video_models, provider, today, field=model_field)
    requested = model_named(requested, presets.video_models) or requested
    warnings += model_warnings
    if model_field != "model" and kind == "generate" and name != mode.model:
        warnings.append(f"{model_field}: {name} makes it, in place of {mode.model} of qualityMode {mode_name}")
    if request.provider is None and provider != presets.video_providers[0]:
        warnings.append(whose(provider, requested))
    check_length(prompt, name, model)
    if model.download_needs_key and not request.persist:
        warnings.append("the provider's address opens with its key only; persistToFilebase: true makes a copy")
    has_image = bool(request.image_url or request.first_frame_prompt)
    from_text = kind == "generate" and not has_image and not request.reference_images
    if from_text and quality.requires_image_url:  # whichever model is named: the mode says what is wanted
        raise InvalidRequest(
            f"qualityMode {mode_name} requires imageUrl (image-to-video only); give imageUrl or firstFramePrompt"
        )
    _check_capabilities(name, model, kind, presets, has_image=has_image, from_text=from_text)
    warnings += check_effect(request, kind, model)
    if request.extend_s is not None:
        duration_s = extension_s(request.extend_s, name, model)
    elif kind == "edit" and request.source_s is not None:
        duration_s = max(1, round(request.source_s))
    else:
        duration_s = _duration(request, settings, presets, model, name)
    purpose = check_purpose(request.purpose, "video", warnings)
    if kind == "generate":
        shape = _shape(request, settings, presets, model, name, mode, warnings)
    else:
        shape = {"aspect_ratio": None, "resolution": _choose_size_of_edit(request, model) if kind == "edit" else None}
    check_inputs(request, kind, name, model, presets, shape["resolution"], duration_s)
    first_frame = _first_frame(request, settings, provider, presets, today, warnings) if kind == "generate" else None
    earlier = find_earlier(request, kind, model, today)
    return VideoPlan(
        provider=provider,
        requested_model=requested,
        model=name,
        prompt=prompt,
        quality_mode=mode_name,
        generation_kind=kind,
        duration_s=duration_s,
        image_url=request.image_url if kind == "generate" else None,
        first_frame=first_frame,
        reference_images=request.reference_images,
        last_frame_url=request.last_frame_url,
        source_video_url=request.source_video_url,
        follows=earlier.request_id if earlier else None,
        remaster_from_request_id=request.remaster_from_request_id,
        clip_id=request.clip_id,
        pipeline_request_id=request.pipeline_request_id,
        purpose=purpose,
        ref_code=request.ref_code,
        persist=request.persist,
        thumbnail=_thumbnail(request, warnings),
        storage_prefix=settings.storage_prefix,
        estimated_usd=(mode.estimated_usd_per_second * duration_s).quantize(Decimal("0.01"), ROUND_HALF_UP),
        prices=clip_prices(request, kind, name, model, shape["resolution"], duration_s, earlier),
        warnings=tuple(warnings),
        **shape,
    )


def _provider(request: VideoRequest, presets: Presets) -> ProviderName:
    """Who is asked for, else whose the model is."""
    if request.provider is None:
        return provider_of(request.model, presets.video_models) or presets.video_providers[0]
    return provider_named(request.provider, presets.video_providers)


def _mode(request: VideoRequest, presets: Presets) -> tuple[str, GenerationKind, QualityMode]:
    asked = request.quality_mode or presets.defaults.video.quality_mode
    wanted = choose(asked, presets.modes)
    if wanted is None:
        raise InvalidRequest(f"qualityMode must be one of {join_names(presets.modes)}, got {show(asked)}")
    name, kind = resolve_effective_quality_mode(
        wanted,
        has_image=bool(request.image_url or request.first_frame_prompt),
        remaster=request.remaster,
        has_source=bool(request.source_video_url),
        extend=request.extend_s is not None,
    )
    return name, kind, next(mode for key, mode in presets.modes.items() if key == name)


def _choose_requested_model(
    request: VideoRequest,
    settings: VideoSettings,
    presets: Presets,
    kind: GenerationKind,
    mode: ModeChoice,
    provider: ProviderName,
) -> str:
    if request.model:
        return request.model
    # The operator's model is for clips made anew: not every one can edit or extend, and these have models of their own.
    if kind == "generate" or provider != presets.video_providers[0]:
        return settings.models.get(provider) or mode.model
    return presets.defaults.video.remaster_edit_model if kind == "edit" else presets.defaults.video.extend_model


def _check_capabilities(
    name: str, model: VideoModel, kind: GenerationKind, presets: Presets, *, has_image: bool, from_text: bool
) -> None:
    if kind == "edit" and not model.edit:
        others = join_names(takers(presets.video_models, lambda m: m.edit))
        raise InvalidRequest(f"{name} cannot edit a clip; leave model out, or use {others}")
    if kind == "extend" and not model.extend:
        others = join_names(takers(presets.video_models, lambda m: m.extend))
        raise InvalidRequest(f"{name} cannot extend a clip; leave model out, or use {others}")
    if from_text and not model.text_to_video:
        raise InvalidRequest(f"{name} requires imageUrl (image-to-video only); give imageUrl or firstFramePrompt")
    if kind == "generate" and has_image and not model.image_to_video:
        raise InvalidRequest(f"{name} takes no image; leave out imageUrl and firstFramePrompt")


def _duration(request: VideoRequest, settings: VideoSettings, presets: Presets, model: VideoModel, name: str) -> int:
    configured_s = settings.durations_s.get(model.provider)
    duration_s = request.duration_s or configured_s or presets.defaults.video.duration
    # 0 was asked for, although ``or`` above takes it for "not given".
    if request.duration_s == 0 or not model.min_duration_s <= duration_s <= model.max_duration_s:
        named, got = settings.variable(model.provider, "video_duration_s", "duration"), duration_s
        if request.duration_s is not None:
            named, got = "duration", request.duration_s
        raise InvalidRequest(
            f"{named} must be a whole number of seconds from {model.min_duration_s} to {model.max_duration_s} "
            f"for {name}, got {got}{doubt(model, 'min_duration_s', 'max_duration_s')}"
        )
    return duration_s


def _shape(
    request: VideoRequest,
    settings: VideoSettings,
    presets: Presets,
    model: VideoModel,
    name: str,
    mode: ModeChoice,
    warnings: list[str],
) -> Mapping[str, str | None]:
    resolution = request.resolution or mode.resolution
    if request.remaster and choose(resolution, (REMASTER_RESOLUTION,)) is None:
        if request.resolution:
            warnings.append(f"remaster makes a real {REMASTER_RESOLUTION}: resolution {resolution} was not used")
        resolution = REMASTER_RESOLUTION
    wanted = request.aspect_ratio or settings.aspect_ratios.get(model.provider) or presets.defaults.video.aspect_ratio
    named = settings.variable(model.provider, "video_aspect_ratio", "aspectRatio")
    shape = ratio(wanted, model.aspect_ratios, name, "aspectRatio" if request.aspect_ratio else named)
    if request.image_url and model.image_sets_ratio:
        what = "a clip that starts from an image takes the image's own ratio"
        is_campaign = request.pipeline_request_id is not None
        warnings += check_shape(request.aspect_ratio, request.shape_px, what, is_campaign=is_campaign)
    return {"aspect_ratio": shape, "resolution": choice("resolution", resolution, model.resolutions, name)}


def _choose_size_of_edit(request: VideoRequest, model: VideoModel) -> str | None:
    """The size that is asked for, or that of every remaster; None where the source's own is the only one."""
    if not model.edit_resolutions:
        return None
    return choose(request.resolution or REMASTER_RESOLUTION, model.edit_resolutions) or REMASTER_RESOLUTION


def _first_frame(
    request: VideoRequest,
    settings: VideoSettings,
    clip_provider: ProviderName,
    presets: Presets,
    today: date,
    warnings: list[str],
) -> ImagePlan | None:
    """The still's own plan; an image that is given wins, and then none is paid for."""
    if not request.first_frame_prompt:
        return None
    if request.image_url:
        warnings.append("firstFramePrompt is not used: imageUrl was given")
        return None
    still = ImageRequest(
        prompt=request.first_frame_prompt,
        provider=request.image_provider,
        model=request.image_model,
        aspect_ratio=request.aspect_ratio or settings.aspect_ratios.get(clip_provider) or FIRST_FRAME_RATIO,
        resolution=request.image_resolution,
        purpose=request.purpose or "first-frame",
        ref_code=request.ref_code,
    )
    plan = plan_image(still, settings.images, presets, today, is_first_frame=True)
    warnings += [f"first frame: {warning}" for warning in plan.warnings]
    return plan


def _thumbnail(request: VideoRequest, warnings: list[str]) -> Thumbnail | None:
    return None if request.thumbnail is None else check_thumbnail(request.thumbnail, warnings)
