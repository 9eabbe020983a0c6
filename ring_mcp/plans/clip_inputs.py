"""What a clip is made from beside its prompt (references, last frame, source clip) and what all of it costs. Pure."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_CEILING, Decimal

from ring_mcp.domain import EarlierRequest, GenerationKind, PriceLine, VideoPlan, VideoRequest
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.rules import doubt, join_counts, join_names, prompt_price, takers
from ring_mcp.presets import Presets, VideoModel

_MADE = "video, "

SOURCE_RESOLUTION = "720p"
"""What a clip that is made from another one has at most, and is priced as: the source's own size is not known here."""


def check_combination(request: VideoRequest) -> None:
    """Raises InvalidRequest for inputs of which the provider would use only some: they would be paid for in vain."""
    frames = request.image_url or request.first_frame_prompt or request.last_frame_url
    if request.extend_s is not None and not request.source_video_url:
        raise InvalidRequest("extend needs sourceVideoUrl, the clip that is made longer")
    if request.extend_s is not None and request.remaster:
        raise InvalidRequest("extend and remaster cannot be combined: extend first, then remaster the result")
    if request.reference_images and frames:
        raise InvalidRequest(
            "referenceImages cannot be combined with imageUrl, firstFramePrompt or lastFrameUrl: a clip is made from "
            "references or from frames"
        )


def check_inputs(
    request: VideoRequest,
    kind: GenerationKind,
    name: str,
    model: VideoModel,
    presets: Presets,
    resolution: str | None,
    duration_s: int,
) -> None:
    """Raises InvalidRequest if the model does not take what the request gives it, with what is possible."""
    if kind != "generate" and (request.reference_images or request.last_frame_url):
        given = "referenceImages" if request.reference_images else "lastFrameUrl"
        raise InvalidRequest(f"{given} cannot be used when a clip is made from sourceVideoUrl; leave it out")
    if request.last_frame_url and not model.last_frame:
        others = join_names(takers(presets.video_models, lambda m: m.last_frame))
        raise InvalidRequest(f"model {name} takes no last frame; leave lastFrameUrl out, or use {others}")
    if request.last_frame_url and not (request.image_url or request.first_frame_prompt):
        raise InvalidRequest("lastFrameUrl requires imageUrl, which it starts from; give imageUrl or firstFramePrompt")
    if not request.reference_images:
        return
    given_images, most = len(request.reference_images), model.max_reference_images
    if given_images > most:
        takes = f"takes at most {most} reference images" if most else "takes no reference images"
        others = join_counts(takers(presets.video_models, lambda m: m.max_reference_images))
        raise InvalidRequest(
            f"model {name} {takes}, got {given_images}; the limits are {others}{doubt(model, 'max_reference_images')}"
        )
    if duration_s > model.max_reference_duration_s:
        raise InvalidRequest(
            f"duration may be {model.max_reference_duration_s} seconds at most with referenceImages for {name}, "
            f"got {duration_s}{doubt(model, 'max_reference_duration_s')}"
        )
    if resolution not in model.reference_resolutions:
        raise InvalidRequest(
            f"resolution must be one of {join_names(model.reference_resolutions)} with referenceImages for {name}, "
            f"got {resolution!r}{doubt(model, 'reference_resolutions')}"
        )


def extension_s(extend_s: int, name: str, model: VideoModel) -> int:
    """The seconds that are added. Raises InvalidRequest with what the model can add."""
    if not model.min_extend_s <= extend_s <= model.max_extend_s:
        raise InvalidRequest(
            f"extend must be a whole number of seconds from {model.min_extend_s} to {model.max_extend_s} for {name}, "
            f"got {extend_s}{doubt(model, 'min_extend_s', 'max_extend_s')}"
        )
    return extend_s


def find_earlier(request: VideoRequest, kind: GenerationKind, model: VideoModel, today: date) -> EarlierRequest | None:
    """The request that has made the source clip, where its provider still has it: then it is not given anew."""
    made = request.source_made
    if kind == "generate" or made is None or made.provider != model.provider:
        return None
    return made if (today - made.made_on).days < model.follow_up_days else None


def sum_given_usd(plan: VideoPlan) -> Decimal:
    """What all that went into a clip costs, by the list; what was made is not in it."""
    return sum((line.total_usd for line in plan.prices if not line.what.startswith(_MADE)), Decimal(0))


def clip_prices(
    request: VideoRequest,
    kind: GenerationKind,
    name: str,
    model: VideoModel,
    resolution: str | None,
    duration_s: int,
    earlier: EarlierRequest | None = None,
) -> tuple[PriceLine, ...]:
    """Every second made and everything given along; of a source clip whose length is not known, the longest.

    ``earlier``: the request that this one follows, with what that one was given.
    """
    # Without a price nothing could be reserved, and no cap would hold it.
    if model.prices is None:
        raise InvalidRequest(f"model {name} has no price in presets.json, so it is not called")
    prices, as_of = model.prices, model.prices.as_of.isoformat()
    seconds, source_s = Decimal(duration_s), Decimal(0)
    # Too much rather than too little, where the length is not known: a cap must hold for the longest that can come.
    if kind == "edit":  # as long as its source, whatever duration was asked for
        seconds = source_s = request.source_s or model.max_edit_input_s or Decimal(model.max_duration_s)
    elif kind == "extend":
        source_s = request.source_s or model.max_extend_input_s or Decimal(0)
    if prices.whole_seconds:
        # Who bills whole seconds bills those that were begun.
        source_s = source_s.to_integral_value(ROUND_CEILING)
        seconds = source_s if kind == "edit" else seconds
    resolution = resolution or SOURCE_RESOLUTION
    lines = [(f"{_MADE}{name} {resolution}, second", prices.second_usd[resolution], seconds)]
    if kind == "generate":
        first, last = bool(request.image_url or request.first_frame_prompt), bool(request.last_frame_url)
        lines += [
            ("first frame given to the model", prices.input_image_usd, Decimal(first)),
            ("last frame given to the model", prices.input_image_usd, Decimal(last)),
            ("reference image given to the model", prices.input_image_usd, Decimal(len(request.reference_images))),
        ]
    else:
        lines.append(("source video, second", prices.input_video_second_usd, source_s))
    # A request that follows another reads all of it again: whoever bills tokens may bill these.
    if earlier is not None:
        lines.append(("what the requests before it were given, at most", earlier.given_usd, Decimal(1)))
    given = [PriceLine(what=w, unit_usd=usd, count=count, as_of=as_of) for w, usd, count in lines if count and usd]
    return (*given, *prompt_price(request.prompt, prices.million_tokens_usd, 1, as_of))
