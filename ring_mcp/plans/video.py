"""A request for a clip -> a plan: effective mode, model, seconds, prices. Pure.

Ring's rules: draft with an image becomes draft_i2v; remaster re-generates at a real 720p as production (production_i2v
with an image); remaster with a source clip edits that clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from ring_mcp.domain import GenerationKind, ImagePlan, ImageRequest, PriceLine, VideoPlan, VideoRequest
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.image import ImageSettings, image_provider, plan_image
from ring_mcp.plans.rules import checked_prompt, checked_purpose, choice, listed, living_model, provider_named, ratio
from ring_mcp.presets import ModeChoice, Presets, ProviderName, VideoModel

DEFAULT_PROVIDER: ProviderName = "xai"
PROVIDERS: tuple[ProviderName, ...] = ("xai", "google")
REMASTER_RESOLUTION = "720p"
FIRST_FRAME_RATIO = "16:9"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """What the operator's configuration says about xAI's videos; None falls through to presets.json."""

    storage_prefix: str
    model: str | None
    duration_s: int | None
    aspect_ratio: str | None
    images: ImageSettings


def resolve_effective_quality_mode(
    quality_mode: str, *, has_image: bool, remaster: bool, has_source: bool
) -> tuple[str, GenerationKind]:
    """The mode that will be used, and whether a clip is generated or edited."""
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
    prompt = checked_prompt(request.prompt, presets.limits.max_prompt_chars)
    warnings: list[str] = []
    provider = provider_named(request.provider or DEFAULT_PROVIDER, PROVIDERS)
    if provider != DEFAULT_PROVIDER:
        settings = replace(settings, model=None, duration_s=None, aspect_ratio=None)
    mode_name, kind, mode = _mode(request, presets, provider)
    requested = _requested_model(request, settings, presets, kind, mode, provider)
    name, model, model_warnings = living_model(requested, presets.video_models, provider, today)
    warnings += model_warnings
    if model.download_needs_key and not request.persist:
        warnings.append("the provider's address opens with its key only; persistToFilebase: true makes a copy")
    has_image = bool(request.image_url or request.first_frame_prompt)
    _check_capabilities(name, model, kind, has_image)
    duration_s = _duration(request, settings, presets, model, name)
    purpose = checked_purpose(request.purpose, "video", warnings)
    if kind == "edit":
        shape: Mapping[str, str | None] = {"aspect_ratio": None, "resolution": None}
        warnings += _ignored_by_edits(request)
    else:
        shape = _shape(request, settings, presets, model, name, mode, warnings)
    first_frame = _first_frame(request, settings, presets, today, warnings) if kind == "generate" else None
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
        source_video_url=request.source_video_url,
        remaster_from_request_id=request.remaster_from_request_id,
        clip_id=request.clip_id,
        pipeline_request_id=request.pipeline_request_id,
        purpose=purpose,
        ref_code=request.ref_code,
        persist=request.persist,
        storage_prefix=settings.storage_prefix,
        estimated_usd=(mode.estimated_usd_per_second * duration_s).quantize(Decimal("0.01"), ROUND_HALF_UP),
        prices=_prices(name, model, kind, shape["resolution"], duration_s, has_image, bool(request.duration_s)),
        warnings=tuple(warnings),
        **shape,
    )


def _mode(request: VideoRequest, presets: Presets, provider: ProviderName) -> tuple[str, GenerationKind, ModeChoice]:
    wanted = request.quality_mode or presets.defaults.video.quality_mode
    if wanted not in presets.modes:
        raise InvalidRequest(f"qualityMode must be one of {listed(presets.modes)}, got {wanted!r}")
    name, kind = resolve_effective_quality_mode(
        wanted,
        has_image=bool(request.image_url or request.first_frame_prompt),
        remaster=request.remaster,
        has_source=bool(request.source_video_url),
    )
    return name, kind, next(mode for key, mode in presets.modes.items() if key == name).of(provider)


def _requested_model(
    request: VideoRequest,
    settings: VideoSettings,
    presets: Presets,
    kind: GenerationKind,
    mode: ModeChoice,
    provider: ProviderName,
) -> str:
    if request.model:
        return request.model
    if kind == "edit" and provider == DEFAULT_PROVIDER:
        return presets.defaults.video.remaster_edit_model
    return settings.model or mode.model


def _check_capabilities(name: str, model: VideoModel, kind: GenerationKind, has_image: bool) -> None:
    if kind == "edit" and model.provider != DEFAULT_PROVIDER:
        raise InvalidRequest(
            f"{name} cannot edit a clip by its address; leave sourceVideoUrl out to make it anew at "
            f"{REMASTER_RESOLUTION}, or take provider {DEFAULT_PROVIDER}"
        )
    if kind == "edit" and not model.edit:
        raise InvalidRequest(f"{name} cannot edit a clip; leave model out: remaster with a source edits with another")
    if kind == "generate" and not has_image and not model.text_to_video:
        raise InvalidRequest(f"{name} requires imageUrl (image-to-video only); give imageUrl or firstFramePrompt")
    if kind == "generate" and has_image and not model.image_to_video:
        raise InvalidRequest(f"{name} takes no image; leave out imageUrl and firstFramePrompt")


def _duration(request: VideoRequest, settings: VideoSettings, presets: Presets, model: VideoModel, name: str) -> int:
    duration_s = request.duration_s or settings.duration_s or presets.defaults.video.duration
    if request.duration_s == 0 or not model.min_duration_s <= duration_s <= model.max_duration_s:
        got = request.duration_s if request.duration_s is not None else duration_s
        raise InvalidRequest(
            f"duration must be a whole number of seconds from {model.min_duration_s} to {model.max_duration_s} "
            f"for {name}, got {got}"
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
    resolution = (request.resolution or mode.resolution).lower()
    if request.remaster and resolution != REMASTER_RESOLUTION:
        if request.resolution:
            warnings.append(f"remaster makes a real {REMASTER_RESOLUTION}: resolution {resolution} was not used")
        resolution = REMASTER_RESOLUTION
    wanted = request.aspect_ratio or settings.aspect_ratio or presets.defaults.video.aspect_ratio
    shape = ratio(wanted, model.aspect_ratios, name)
    if request.image_url and request.aspect_ratio and model.image_sets_ratio:
        warnings.append("aspectRatio is not used: a clip that starts from an image takes the image's own ratio")
    if request.source_video_url:
        warnings.append("sourceVideoUrl is only recorded: it is edited when remaster is true")
    return {"aspect_ratio": shape, "resolution": choice("resolution", resolution, model.resolutions, name)}


def _ignored_by_edits(request: VideoRequest) -> list[str]:
    ignored = {
        "aspectRatio": request.aspect_ratio,
        "resolution": request.resolution,
        "imageUrl": request.image_url,
        "firstFramePrompt": request.first_frame_prompt,
    }
    return [f"{name} is not used: an edit keeps the source clip's shape" for name, value in ignored.items() if value]


def _first_frame(
    request: VideoRequest, settings: VideoSettings, presets: Presets, today: date, warnings: list[str]
) -> ImagePlan | None:
    """The still's own plan; an image that is given wins, and then none is paid for."""
    if not request.first_frame_prompt:
        return None
    if request.image_url:
        warnings.append("firstFramePrompt is not used: imageUrl was given")
        return None
    provider = image_provider(request.image_provider, settings.images, presets)
    checked_prompt(request.first_frame_prompt, presets.limits.max_prompt_chars, "firstFramePrompt")
    still = ImageRequest(
        prompt=request.first_frame_prompt,
        provider=provider,
        model=request.image_model,
        aspect_ratio=request.aspect_ratio or settings.aspect_ratio or FIRST_FRAME_RATIO,
        resolution=request.image_resolution or presets.defaults.image[provider].first_frame_resolution,
        purpose=request.purpose or "first-frame",
        ref_code=request.ref_code,
    )
    plan = plan_image(still, settings.images, presets, today)
    warnings += [f"first frame: {warning}" for warning in plan.warnings]
    return plan


def _prices(
    name: str,
    model: VideoModel,
    kind: GenerationKind,
    resolution: str | None,
    duration_s: int,
    has_image: bool,
    duration_is_given: bool,
) -> tuple[PriceLine, ...]:
    if model.prices is None:
        raise InvalidRequest(f"model {name} has no price in presets.json, so it is not called")
    prices, as_of = model.prices, model.prices.as_of.isoformat()
    seconds = Decimal(duration_s)
    if kind == "edit":
        if not duration_is_given and model.max_edit_input_s is not None:
            seconds = model.max_edit_input_s  # the source's length is not known: reserve for the longest
        source = PriceLine(
            what="source video, second", unit_usd=prices.input_video_second_usd, count=seconds, as_of=as_of
        )
        resolution = REMASTER_RESOLUTION
    lines = [
        PriceLine(
            what=f"video, {name} {resolution}, second",
            unit_usd=prices.second_usd[resolution or ""],
            count=seconds,
            as_of=as_of,
        )
    ]
    if kind == "edit":
        return (*lines, source)
    if has_image and prices.input_image_usd:
        lines.append(
            PriceLine(
                what="first frame given to the model", unit_usd=prices.input_image_usd, count=Decimal(1), as_of=as_of
            )
        )
    return tuple(lines)
