"""What a video request becomes, without any I/O: mode, model, seconds, prices, refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from ring_mcp.domain import EarlierRequest, Overlay, Thumbnail, VideoPlan, VideoRequest
from ring_mcp.errors import InvalidRequest, ModelRetired
from ring_mcp.plans.image import ImageSettings
from ring_mcp.plans.video import VideoSettings, plan_video, resolve_effective_quality_mode
from ring_mcp.presets import load_presets

PRESETS = load_presets()
TODAY = date(2026, 11, 21)
IMAGES = ImageSettings(default_provider="xai", storage_prefix="generated", models={}, aspect_ratios={}, resolutions={})
SETTINGS = VideoSettings(storage_prefix="generated/videos", models={}, durations_s={}, aspect_ratios={}, images=IMAGES)
URL = "https://example.com/a.jpg"
CLIP = "https://example.com/a.mp4"


def plan(**fields: Any) -> VideoPlan:
    return plan_video(VideoRequest(**{"prompt": "x", **fields}), SETTINGS, PRESETS, TODAY)


MODES = ("draft", "draft_i2v", "production", "production_i2v")
WAYS = (("plain", False, False), ("remaster", True, False), ("edit", True, True))


@pytest.mark.parametrize(("mode", "has_image", "way"), list(product(MODES, (False, True), WAYS)))
def test_the_effective_mode_follows_rings_rules(mode: str, has_image: bool, way: tuple[str, bool, bool]) -> None:
    name, remaster, has_source = way
    effective, kind = resolve_effective_quality_mode(
        mode, has_image=has_image, remaster=remaster, has_source=has_source
    )
    if name == "edit":
        assert (effective, kind) == ("production", "edit")
    elif name == "remaster":
        assert (effective, kind) == ("production_i2v" if has_image else "production", "generate")
    elif mode == "draft" and has_image:
        assert (effective, kind) == ("draft_i2v", "generate")
    else:
        assert (effective, kind) == (mode, "generate")


@pytest.mark.parametrize(
    ("fields", "model", "resolution", "estimated", "listed"),
    [
        ({}, "grok-imagine-video", "480p", "0.30", "0.30"),
        ({"duration_s": 12, "image_url": URL}, "grok-imagine-video-1.5", "480p", "0.96", "0.97"),
        ({"quality_mode": "production"}, "grok-imagine-video", "720p", "0.30", "0.42"),
        ({"quality_mode": "production_i2v", "image_url": URL, "duration_s": 15},
         "grok-imagine-video-1.5", "720p", "2.10", "2.11"),
        ({"quality_mode": "production", "image_url": URL}, "grok-imagine-video", "720p", "0.30", "0.422"),
        ({"remaster": True}, "grok-imagine-video", "720p", "0.30", "0.42"),
        ({"remaster": True, "image_url": URL}, "grok-imagine-video-1.5", "720p", "0.84", "0.85"),
        ({"remaster": True, "source_video_url": CLIP, "source_s": Decimal(6)},
         "grok-imagine-video", None, "0.30", "0.48"),
        ({"remaster": True, "source_video_url": CLIP, "duration_s": 6}, "grok-imagine-video", None, "0.30", "0.696"),
        ({"remaster": True, "source_video_url": CLIP}, "grok-imagine-video", None, "0.30", "0.696"),
        ({"resolution": "720P"}, "grok-imagine-video", "720p", "0.30", "0.42"),
        ({"model": "grok-imagine-video-1.5", "image_url": URL, "resolution": "1080p"},
         "grok-imagine-video-1.5", "1080p", "0.48", "1.51"),
        ({"model": "grok-imagine-video-1.5"}, "grok-imagine-video-1.5", "480p", "0.30", "0.48"),
        ({"model": "grok-imagine-video-1.5", "quality_mode": "production"},
         "grok-imagine-video-1.5", "720p", "0.30", "0.84"),
        ({"model": "grok-imagine-video-1.5", "resolution": "1080p", "duration_s": 15},
         "grok-imagine-video-1.5", "1080p", "0.75", "3.75"),
    ],
)  # fmt: skip
def test_model_resolution_rings_estimate_and_the_list_price(
    fields: dict[str, Any], model: str, resolution: str | None, estimated: str, listed: str
) -> None:
    made = plan(**fields)
    assert (made.model, made.resolution) == (model, resolution)
    assert (made.estimated_usd, made.list_usd) == (Decimal(estimated), Decimal(listed))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"prompt": " "}, "prompt is required"),
        ({"quality_mode": "best"}, "qualityMode must be one of draft, draft_i2v, production, production_i2v"),
        ({"quality_mode": "draft_i2v"}, r"qualityMode draft_i2v requires imageUrl \(image-to-video only\)"),
        ({"quality_mode": "production_i2v", "model": "grok-imagine-video-1.5"}, "production_i2v requires imageUrl"),
        ({"quality_mode": "draft_i2v", "provider": "google"}, "draft_i2v requires imageUrl"),
        ({"model": "nonsense"}, "model must be one of grok-imagine-video"),
        ({"duration_s": 0}, "duration must be a whole number of seconds from 1 to 15"),
        ({"duration_s": 16}, "duration must be a whole number of seconds from 1 to 15"),
        ({"aspect_ratio": "2:1"}, "aspectRatio must be one of 1:1, 16:9"),
        ({"resolution": "1080p"}, "resolution must be one of 480p, 720p for grok-imagine-video"),
        (
            {"remaster": True, "source_video_url": CLIP, "model": "grok-imagine-video-1.5"},
            "cannot edit a clip; leave model out, or use grok-imagine-video, gemini-omni-1.2-flash$",
        ),
        ({"provider": "google", "duration_s": 11}, r"from 3 to 10 for \S+, got 11 \(this bound is unsure: see"),
        ({"provider": "google", "source_video_url": CLIP, "extend_s": 2}, "extend must be .* from 3 to 10"),
        ({"purpose": "../x"}, "purpose must be one path segment"),
        ({"first_frame_prompt": "  "}, "firstFramePrompt is required"),
        ({"first_frame_prompt": "x", "image_model": "grok-2-image"}, "use grok-imagine-image-2.0 instead"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_can(fields: dict[str, Any], text: str) -> None:
    with pytest.raises((InvalidRequest, ModelRetired), match=text):
        plan(**fields)


OF_A_CAMPAIGN: dict[str, Any] = {"remaster": True, "source_video_url": CLIP, "pipeline_request_id": "p"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"remaster": True, "resolution": "480p"}, "resolution 480p was not used"),
        ({"image_url": URL, "aspect_ratio": "1:1"}, "aspectRatio is not used"),
        ({"image_url": URL, "first_frame_prompt": "x"}, "firstFramePrompt is not used"),
        ({**OF_A_CAMPAIGN, "image_url": URL}, "imageUrl is without effect on an edit"),
        ({**OF_A_CAMPAIGN, "provider": "google", "resolution": "360p"}, "an edit is made in 720p, 1080p or 4k"),
        ({**OF_A_CAMPAIGN, "resolution": "480p"}, "resolution is without effect on an edit"),
        ({"purpose": "my clip"}, "purpose is stored as 'my_clip'"),
    ],
)
def test_what_is_not_used_is_said(fields: dict[str, Any], text: str) -> None:
    assert any(text in warning for warning in plan(**fields).warnings)


@pytest.mark.parametrize(
    ("asked", "made"), [(None, "720p"), ("720P", "720p"), ("1080p", "1080p"), ("4k", "4k"), ("480p", "720p")]
)
def test_an_edit_has_the_size_that_its_model_can_make(asked: str | None, made: str) -> None:
    edit = plan(**OF_A_CAMPAIGN, provider="google", resolution=asked)
    assert (edit.model, edit.generation_kind, edit.resolution) == ("gemini-omni-1.2-flash", "edit", made)
    assert edit.prices[0].what == f"video, gemini-omni-1.2-flash {made}, second"
    assert len(edit.warnings) == (asked == "480p")
    assert plan(**OF_A_CAMPAIGN, resolution=asked).resolution is None


def test_a_given_image_wins_and_no_still_is_paid() -> None:
    made = plan(image_url=URL, first_frame_prompt="x")
    assert made.first_frame is None
    assert made.image_url == URL


def test_a_first_frame_has_the_clips_ratio_and_two_thousand_pixels() -> None:
    still = plan(first_frame_prompt="a still", aspect_ratio="9:16", purpose="promo").first_frame
    assert still is not None
    assert (still.aspect_ratio, still.resolution, still.purpose) == ("9:16", "2k", "promo")


def test_configuration_fills_what_the_request_leaves_open() -> None:
    settings = VideoSettings(
        storage_prefix="v",
        models={"xai": "grok-imagine-video-1.5-lite"},
        durations_s={"xai": 3},
        aspect_ratios={"xai": "1:1"},
        images=IMAGES,
    )
    made = plan_video(VideoRequest(prompt="x"), settings, PRESETS, TODAY)
    assert (made.model, made.duration_s, made.aspect_ratio) == ("grok-imagine-video-1.5-lite", 3, "1:1")
    made = plan_video(VideoRequest(prompt="x", duration_s=5, aspect_ratio="16:9"), settings, PRESETS, TODAY)
    assert (made.duration_s, made.aspect_ratio) == (5, "16:9")


@pytest.mark.parametrize(
    ("asked", "canvas", "warnings"),
    [
        (None, None, ()),
        ("16:9", "16:9", ()),
        ("9:16", "9:16", ()),
        ("4:3", "1:1", ("the thumbnail is 1:1, the nearest to 4:3 that there is",)),
        ("21:9", "16:9", ("the thumbnail is 16:9, the nearest to 21:9 that there is",)),
    ],
)
def test_a_thumbnail_has_one_of_three_canvases_or_the_clips_own(
    asked: str | None, canvas: str | None, warnings: tuple[str, ...]
) -> None:
    made = plan(thumbnail=Thumbnail(aspect_ratio=asked, overlays=(Overlay(text="x"),)))
    assert made.thumbnail is not None
    assert (made.thumbnail.aspect_ratio, made.warnings) == (canvas, warnings)


@pytest.mark.parametrize("ratio", ["", "wide", "0:9", "16:0", "-1:1", "1:99999", "1.91:1", "١:١"])
def test_a_ratio_that_is_none_is_refused(ratio: str) -> None:
    with pytest.raises(InvalidRequest, match=r"thumbnail\.aspectRatio must be one of 16:9, 9:16, 1:1"):
        plan(thumbnail=Thumbnail(aspect_ratio=ratio))


def test_a_thumbnail_costs_nothing() -> None:
    assert plan(thumbnail=Thumbnail()).prices == plan().prices


def test_rings_own_arguments_plan_as_before_when_ours_are_absent() -> None:
    for fields in ({}, {"image_url": URL}, {"remaster": True}, {"remaster": True, "source_video_url": CLIP}):
        made = plan(**fields)
        ours = (made.reference_images, made.last_frame_url, made.generation_kind == "extend")
        assert ours == ((), None, False)
        assert not [line for line in made.prices if "reference" in line.what or "last frame" in line.what]


REFERENCES = (URL, "file_1", "data:image/png;base64,AAAA")


@pytest.mark.parametrize(
    ("fields", "kind", "mode", "model", "resolution", "duration_s", "estimated", "listed"),
    [
        ({"reference_images": REFERENCES}, "generate", "draft", "grok-imagine-video", "480p", 6, "0.30", "0.306"),
        ({"reference_images": REFERENCES, "quality_mode": "production", "duration_s": 10},
         "generate", "production", "grok-imagine-video", "720p", 10, "0.50", "0.706"),
        ({"reference_images": (URL,) * 14, "quality_mode": "production_i2v", "duration_s": 15},
         "generate", "production_i2v", "grok-imagine-video-1.5", "720p", 15, "2.10", "2.24"),
        ({"image_url": URL, "last_frame_url": CLIP}, "generate", "draft_i2v", "grok-imagine-video-1.5", "480p", 6,
         "0.48", "0.50"),
        ({"image_url": URL, "quality_mode": "production_i2v", "resolution": "1080p"},
         "generate", "production_i2v", "grok-imagine-video-1.5", "1080p", 6, "0.84", "1.51"),
        ({"extend_s": 4, "source_video_url": CLIP}, "extend", "production", "grok-imagine-video", None, 4,
         "0.20", "0.43"),
    ],
)  # fmt: skip
def test_every_input_has_its_price_and_the_estimate_stays_rings(
    fields: dict[str, Any],
    kind: str,
    mode: str,
    model: str,
    resolution: str | None,
    duration_s: int,
    estimated: str,
    listed: str,
) -> None:
    made = plan(**fields)
    assert (made.generation_kind, made.quality_mode, made.model) == (kind, mode, model)
    assert (made.resolution, made.duration_s) == (resolution, duration_s)
    assert (made.estimated_usd, made.list_usd) == (Decimal(estimated), Decimal(listed))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"reference_images": (URL,) * 8},
         "model grok-imagine-video takes at most 7 reference images, got 8; the limits are 7 with grok-imagine-video, "
         "14 with grok-imagine-video-1.5"),
        ({"reference_images": (URL,), "model": "grok-imagine-video-1.5-lite"},
         "model grok-imagine-video-1.5-lite takes no reference images, got 1"),
        ({"reference_images": (URL,), "duration_s": 11},
         "duration may be 10 seconds at most with referenceImages for grok-imagine-video, got 11"),
        ({"reference_images": (URL,), "model": "grok-imagine-video-1.5", "resolution": "1080p"},
         "resolution must be one of 480p, 720p with referenceImages for grok-imagine-video-1.5, got '1080p'"),
        ({"reference_images": (URL,), "image_url": URL}, "referenceImages cannot be combined with imageUrl"),
        ({"reference_images": (URL,), "first_frame_prompt": "x"}, "referenceImages cannot be combined"),
        ({"reference_images": (URL,), "last_frame_url": URL}, "referenceImages cannot be combined"),
        ({"reference_images": (URL,), "remaster": True, "source_video_url": CLIP},
         "referenceImages cannot be used when a clip is made from sourceVideoUrl"),
        ({"last_frame_url": URL, "extend_s": 4, "source_video_url": CLIP},
         "lastFrameUrl cannot be used when a clip is made from sourceVideoUrl"),
        ({"last_frame_url": URL},
         "model grok-imagine-video takes no last frame; leave lastFrameUrl out, or use grok-imagine-video-1.5"),
        ({"last_frame_url": URL, "model": "grok-imagine-video-1.5"}, "lastFrameUrl requires imageUrl"),
        ({"extend_s": 4}, "extend needs sourceVideoUrl"),
        ({"extend_s": 1, "source_video_url": CLIP}, "extend must be a whole number of seconds from 2 to 10 for"),
        ({"extend_s": 11, "source_video_url": CLIP}, "extend must be a whole number of seconds from 2 to 10 for"),
        ({"extend_s": 0, "source_video_url": CLIP}, "extend must be a whole number"),
        ({"extend_s": 4, "source_video_url": CLIP, "remaster": True}, "extend and remaster cannot be combined"),
        ({"extend_s": 4, "source_video_url": CLIP, "model": "grok-imagine-video-1.5"},
         "grok-imagine-video-1.5 cannot extend a clip; leave model out, or use grok-imagine-video"),
    ],
)  # fmt: skip
def test_what_no_model_takes_is_refused_with_what_is_possible(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        plan(**fields)
    assert text in caught.value.message
    assert caught.value.billed == "no"


def test_a_model_without_text_to_video_wants_an_image() -> None:
    name = "grok-imagine-video-1.5-lite"
    only_images = PRESETS.video_models[name].model_copy(update={"text_to_video": False})
    presets = PRESETS.model_copy(update={"video_models": {**PRESETS.video_models, name: only_images}})
    with pytest.raises(InvalidRequest, match=f"^{name} requires imageUrl"):
        plan_video(VideoRequest(prompt="x", model=name), SETTINGS, presets, TODAY)
    assert plan_video(VideoRequest(prompt="x", model=name, image_url=URL), SETTINGS, presets, TODAY).model == name


REDIRECTED_EARLY = [name for name, model in PRESETS.video_models.items() if model.redirect_from is not None]


@pytest.mark.parametrize("name", REDIRECTED_EARLY)
def test_a_model_is_asked_until_the_day_of_its_redirect(name: str) -> None:
    model = PRESETS.video_models[name]
    assert model.redirect_from is not None
    assert model.retires_on is not None
    assert model.replaced_by is not None
    asked = VideoRequest(prompt="x", provider=model.provider, model=name)

    def on(day: date) -> tuple[str, str, list[str]]:
        made = plan_video(asked, SETTINGS, PRESETS, day)
        assert made.requested_model == name
        return made.model, made.prices[0].what.split()[1], [text for text in made.warnings if name in text]

    assert on(model.redirect_from - timedelta(days=1)) == (name, name, [])
    successor = model.replaced_by
    for day, goes in ((model.redirect_from, "will be retired"), (model.retires_on, "was retired")):
        warning = f"{name} {goes} on {model.retires_on}: {successor} serves it now"
        assert on(day) == (successor, successor, [warning])
    with pytest.raises(InvalidRequest) as caught:
        plan_video(replace(asked, model="nonsense"), SETTINGS, PRESETS, model.redirect_from)
    assert successor in caught.value.message
    assert name not in caught.value.message


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"source_video_url": CLIP}, "sourceVideoUrl has no effect by itself: set remaster: true .* or extend"),
        ({"source_video_url": CLIP, "remaster": True, "duration_s": 15, "source_s": Decimal(6)}, "duration has no eff"),
        ({"source_video_url": CLIP, "extend_s": 4, "duration_s": 9}, "duration: without effect with extend"),
        ({"source_video_url": CLIP, "extend_s": 4, "aspect_ratio": "1:1"}, "aspectRatio: without effect with extend"),
        (
            {"source_video_url": CLIP, "extend_s": 4, "resolution": "720p", "image_url": URL},
            "resolution, imageUrl: without effect with extend",
        ),
        ({"source_video_url": CLIP, "extend_s": 4, "first_frame_prompt": "x"}, "firstFramePrompt: without effect"),
        ({"persist": False, "thumbnail": Thumbnail()}, "thumbnail has no effect with persistToFilebase: false"),
    ],
)
def test_what_changes_nothing_of_a_paid_clip_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        plan(**fields)


@pytest.mark.parametrize("source_s", [Decimal("6.0"), Decimal("5.6"), Decimal("6.5"), None])
def test_a_duration_that_an_edit_has_anyway_is_taken(source_s: Decimal | None) -> None:
    assert plan(source_video_url=CLIP, remaster=True, duration_s=6, source_s=source_s).duration_s == 6


def test_the_estimate_of_an_edit_is_that_of_its_source() -> None:
    made = plan(source_video_url=CLIP, remaster=True, source_s=Decimal("3.1"))
    assert (made.duration_s, made.estimated_usd) == (3, Decimal("0.15"))


def test_a_model_of_the_configuration_does_not_take_over_an_extension() -> None:
    settings = VideoSettings(
        storage_prefix="v",
        models={"xai": "grok-imagine-video-1.5-lite"},
        durations_s={},
        aspect_ratios={},
        images=IMAGES,
    )
    made = plan_video(VideoRequest(prompt="x", extend_s=3, source_video_url=CLIP), settings, PRESETS, TODAY)
    assert made.model == PRESETS.defaults.video.extend_model


def test_everything_that_was_asked_stands_in_the_plan() -> None:
    asked = {
        "clip_id": "c1",
        "pipeline_request_id": "p1",
        "ref_code": "r1",
        "remaster_from_request_id": "request-0",
        "purpose": "promo",
        "persist": False,
        "source_video_url": CLIP,
    }
    made = plan(**asked, prompt=" a boat ", remaster=True)
    assert {name: getattr(made, name) for name in asked} == asked
    assert (made.prompt, made.storage_prefix, made.provider) == ("a boat", "generated/videos", "xai")
    assert plan(last_frame_url=URL, image_url=URL, model="grok-imagine-video-1.5").last_frame_url == URL
    assert plan(reference_images=REFERENCES).reference_images == REFERENCES
    assert plan().persist


def test_a_clip_of_googles_own_is_followed_by_its_request() -> None:
    earlier = EarlierRequest(
        provider="google", request_id="v1_before", made_on=TODAY, given_usd=Decimal("0.01"), sha256="0" * 64
    )
    edit = {"provider": "google", "remaster": True, "source_video_url": CLIP}
    followed = plan(**edit, source_made=earlier)
    assert followed.follows == "v1_before"
    assert followed.list_usd == plan(**edit).list_usd + Decimal("0.01")
    assert plan(**edit).follows is None
    assert plan(**{**edit, "provider": "xai"}, source_made=earlier).follows is None


def test_an_edit_plans_and_pays_for_no_still() -> None:
    made = plan(**OF_A_CAMPAIGN, first_frame_prompt="a still")
    assert made.first_frame is None
    assert made.image_url is None
    assert not [line for line in made.prices if "frame" in line.what]
    assert any(warning.startswith("firstFramePrompt is without effect") for warning in made.warnings)


def test_only_an_extension_does_not_use_the_duration() -> None:
    edit = plan(remaster=True, source_video_url=CLIP, duration_s=5)
    assert not [warning for warning in edit.warnings if warning.startswith("duration")]
    assert edit.duration_s == 5


def test_a_still_is_planned_as_its_own_arguments_say() -> None:
    still = plan(
        first_frame_prompt="a still",
        image_provider="google",
        image_model="gemini-3-pro-image",
        image_resolution="1k",
        ref_code="r1",
    ).first_frame
    assert still is not None
    assert (still.provider, still.model, still.resolution) == ("google", "gemini-3-pro-image", "1k")
    assert (still.prompt, still.purpose, still.ref_code, still.aspect_ratio) == ("a still", "first-frame", "r1", "16:9")


NAMED = {"xai": {"video_model": "MODEL_SET", "video_duration_s": "SECONDS_SET", "video_aspect_ratio": "RATIO_SET"}}


def configured(*, model: str | None = None, duration_s: int | None = None, ratio: str | None = None) -> VideoSettings:
    """An operator has set these, by the variables of ``NAMED``."""
    return replace(
        SETTINGS,
        models={"xai": model},
        durations_s={"xai": duration_s},
        aspect_ratios={"xai": ratio},
        variables=NAMED,
    )


@pytest.mark.parametrize(
    ("given", "asked", "text"),
    [
        ({"model": "none-such"}, {}, "MODEL_SET must be one of "),
        ({"model": "none-such"}, {"model": "neither"}, "model must be one of "),
        ({"duration_s": 99}, {}, "SECONDS_SET must be a whole number "),
        ({"duration_s": 9}, {"duration_s": 99}, "duration must be a whole number "),
        ({"ratio": "7:50"}, {}, "RATIO_SET must be one of "),
        ({"ratio": "1:1"}, {"aspect_ratio": "7:50"}, "aspectRatio must be one of "),
    ],
)
def test_what_is_refused_is_named_for_whoever_has_set_it(given: Any, asked: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        plan_video(VideoRequest(prompt="x", **asked), configured(**given), PRESETS, TODAY)
    assert caught.value.message.startswith(text)


def test_an_operators_model_is_told_where_it_takes_the_modes_place() -> None:
    def warnings(settings: VideoSettings, **asked: Any) -> tuple[str, ...]:
        return plan_video(VideoRequest(prompt="x", **asked), settings, PRESETS, TODAY).warnings

    lite, usual = "grok-imagine-video-1.5-lite", "grok-imagine-video"
    of_lite = configured(model=lite)
    assert warnings(of_lite) == (f"MODEL_SET: {lite} makes it, in place of {usual} of qualityMode draft",)
    assert warnings(of_lite, model=lite) == ()
    assert warnings(configured(model=usual)) == ()
    older = replace(of_lite, models={"google": "gemini-omni-1.1-flash"}, variables={"google": {"video_model": "SET"}})
    assert any(text.startswith("SET: ") for text in warnings(older, provider="google"))
    edit = warnings(older, provider="google", remaster=True, source_video_url=CLIP)
    assert not [text for text in edit if text.startswith("SET: ")]


def test_a_first_frame_of_two_thousand_pixels_falls_back_with_a_word() -> None:
    def still(**asked: Any) -> tuple[str | None, bool]:
        made = plan(first_frame_prompt="a still", image_resolution="2k", **asked)
        assert made.first_frame is not None
        return made.first_frame.resolution, any("2k is not made by" in warning for warning in made.warnings)

    assert still(image_provider="xai") == ("2k", False)
    assert still(image_provider="google") == ("1k", True)
    with pytest.raises(InvalidRequest, match=r"^imageResolution must be one of 1k for gemini-nano-banana-2\.1"):
        still(image_model="gemini-nano-banana-2.1")


@pytest.mark.parametrize("model", ["gemini-omni-1.2-flash", "models/gemini-omni-1.2-flash"])
def test_a_clips_model_alone_says_whose_it_is_with_a_word(model: str) -> None:
    made = plan(model=model)
    assert (made.provider, made.model) == ("google", "gemini-omni-1.2-flash")
    assert "provider is google, whose model gemini-omni-1.2-flash is" in made.warnings
    for other in (plan(provider="google", model=model), plan(model="grok-imagine-video"), plan()):
        assert not [warning for warning in other.warnings if "whose model" in warning]


def test_a_model_is_planned_in_the_registrys_spelling() -> None:
    made = plan(model=" Grok_Imagine-VIDEO ")
    assert made.model == made.requested_model == "grok-imagine-video"


def test_where_no_clip_can_be_made_the_reason_is_told() -> None:
    settings = replace(SETTINGS, impossible="no clip can be kept here: set DATABASE_URL")
    with pytest.raises(InvalidRequest, match=r"^no clip can be kept here: set DATABASE_URL$"):
        plan_video(VideoRequest(prompt=""), settings, PRESETS, TODAY)


def test_a_refused_model_of_presets_json_is_nobodys_variable() -> None:
    video = PRESETS.defaults.video.model_copy(update={"remaster_edit_model": "none-such"})
    presets = PRESETS.model_copy(update={"defaults": PRESETS.defaults.model_copy(update={"video": video})})
    edit = VideoRequest(prompt="x", remaster=True, source_video_url=CLIP)
    with pytest.raises(InvalidRequest, match=r"^model must be one of .*, got 'none-such'$"):
        plan_video(edit, configured(model="grok-imagine-video"), presets, TODAY)


def test_an_operators_setting_without_a_variable_goes_by_the_argument() -> None:
    settings = replace(configured(model="none-such"), variables={})
    with pytest.raises(InvalidRequest, match=r"^model must be one of "):
        plan_video(VideoRequest(prompt="x"), settings, PRESETS, TODAY)
    for given, text in (({"duration_s": 99}, "duration must be "), ({"ratio": "7:50"}, "aspectRatio must be ")):
        with pytest.raises(InvalidRequest, match=f"^{text}"):
            plan_video(VideoRequest(prompt="x"), replace(configured(**given), variables={}), PRESETS, TODAY)
    lite = replace(configured(model="grok-imagine-video-1.5-lite"), variables={})
    assert not [text for text in plan_video(VideoRequest(prompt="x"), lite, PRESETS, TODAY).warnings if "makes" in text]


def test_a_clips_prompt_may_be_as_long_as_its_model_takes() -> None:
    most = PRESETS.video_models["grok-imagine-video"].max_prompt_chars
    assert plan(prompt="x" * most).prompt == "x" * most
    with pytest.raises(InvalidRequest, match=rf"^prompt may have {most} characters at most for grok-imagine-video"):
        plan(prompt="x" * (most + 1))


@pytest.mark.parametrize(
    ("provider", "persist", "told"), [("google", False, 1), ("google", True, 0), ("xai", False, 0)]
)
def test_an_address_that_only_its_key_opens_is_told(provider: str, persist: bool, told: int) -> None:
    made = plan(provider=provider, persist=persist)
    assert len([text for text in made.warnings if "opens with its key only" in text]) == told


@pytest.mark.parametrize("fields", [{"remaster": True}, {"extend_s": 4}])
def test_a_clip_from_a_clip_needs_no_model_for_text(fields: dict[str, Any]) -> None:
    name = "grok-imagine-video"
    only_images = PRESETS.video_models[name].model_copy(update={"text_to_video": False})
    presets = PRESETS.model_copy(update={"video_models": {**PRESETS.video_models, name: only_images}})
    made = plan_video(VideoRequest(prompt="x", model=name, source_video_url=CLIP, **fields), SETTINGS, presets, TODAY)
    assert made.model == name


def test_an_edit_of_a_moment_is_a_second_long() -> None:
    assert plan(remaster=True, source_video_url=CLIP, source_s=Decimal("0.3")).duration_s == 1


def test_a_clip_without_a_purpose_is_a_video() -> None:
    assert (plan().purpose, plan(purpose="promo").purpose) == ("video", "promo")


def test_edits_and_extensions_have_a_usual_model_each() -> None:
    usual = "grok-imagine-video"
    models = {**PRESETS.video_models, **{f"{usual}-{kind}": PRESETS.video_models[usual] for kind in ("edit", "extend")}}
    video = PRESETS.defaults.video.model_copy(
        update={"remaster_edit_model": f"{usual}-edit", "extend_model": f"{usual}-extend"}
    )
    defaults = PRESETS.defaults.model_copy(update={"video": video})
    presets = PRESETS.model_copy(update={"defaults": defaults, "video_models": models})

    def model(**fields: Any) -> str:
        return plan_video(VideoRequest(prompt="x", **fields), SETTINGS, presets, TODAY).model

    assert model(remaster=True, source_video_url=CLIP) == f"{usual}-edit"
    assert model(extend_s=4, source_video_url=CLIP) == f"{usual}-extend"
    assert model() == usual


def test_a_model_that_takes_no_image_makes_clips_of_words_and_clips() -> None:
    name = "grok-imagine-video"
    only_words = PRESETS.video_models[name].model_copy(update={"image_to_video": False})
    presets = PRESETS.model_copy(update={"video_models": {**PRESETS.video_models, name: only_words}})

    def model(**fields: Any) -> str:
        return plan_video(VideoRequest(prompt="x", model=name, **fields), SETTINGS, presets, TODAY).model

    for fields in ({"image_url": URL}, {"first_frame_prompt": "a still"}):
        with pytest.raises(InvalidRequest, match=f"^{name} takes no image; leave out imageUrl and firstFramePrompt$"):
            model(**fields)
    assert model() == model(reference_images=(URL,)) == name
    # A file of Ring's sends its settings along with every clip: those of a still are told, and mean nothing here.
    campaign = {"pipeline_request_id": "p", "first_frame_prompt": "a still"}
    assert model(**campaign, source_video_url=CLIP, remaster=True) == name


@pytest.mark.parametrize("name", [name for name, model in PRESETS.video_models.items() if not model.is_retired(TODAY)])
def test_a_clip_lasts_as_long_as_its_model_can_to_the_second(name: str) -> None:
    model = PRESETS.video_models[name]
    asked = {"provider": model.provider, "model": name}
    if model.is_redirected(TODAY):
        return
    for seconds in (model.min_duration_s, model.max_duration_s):
        assert plan(**asked, duration_s=seconds).duration_s == seconds
    for seconds in (model.min_duration_s - 1, model.max_duration_s + 1):
        with pytest.raises(InvalidRequest, match=f"^duration must be a whole number of seconds .* got {seconds}"):
            plan(**asked, duration_s=seconds)


@pytest.mark.parametrize("fact", ["minDurationS", "maxDurationS"])
def test_a_refused_duration_says_what_is_unsure(fact: str) -> None:
    name = "grok-imagine-video"
    unsure = PRESETS.video_models[name].model_copy(update={"unsure": (fact,)})
    presets = PRESETS.model_copy(update={"video_models": {**PRESETS.video_models, name: unsure}})
    with pytest.raises(InvalidRequest, match=r"got 99 \(this bound is unsure: see unsure in presets\.json\)$"):
        plan_video(VideoRequest(prompt="x", model=name, duration_s=99), SETTINGS, presets, TODAY)
    with pytest.raises(InvalidRequest, match=r"got 99$"):
        plan(model=name, duration_s=99)


@pytest.mark.parametrize(("resolution", "told"), [("720p", 0), (" 720P ", 0), (None, 0), ("480p", 1)])
def test_a_remaster_tells_only_of_another_size(resolution: str | None, told: int) -> None:
    made = plan(remaster=True, resolution=resolution)
    assert made.resolution == "720p"
    assert len([text for text in made.warnings if "remaster makes a real 720p" in text]) == told


@pytest.mark.parametrize(
    ("sets_ratio", "image_url", "told"), [(True, URL, 1), (True, None, 0), (False, URL, 0), (False, None, 0)]
)
def test_only_an_image_that_sets_the_shape_makes_another_in_vain(
    sets_ratio: bool, image_url: str | None, told: int
) -> None:
    name = "grok-imagine-video"
    model = PRESETS.video_models[name].model_copy(update={"image_sets_ratio": sets_ratio})
    presets = PRESETS.model_copy(update={"video_models": {**PRESETS.video_models, name: model}})
    asked = VideoRequest(prompt="x", model=name, aspect_ratio="9:16", image_url=image_url)
    warnings = plan_video(asked, SETTINGS, presets, TODAY).warnings
    assert len([text for text in warnings if text.startswith("aspectRatio is not used")]) == told


def test_a_still_has_the_shape_of_its_clip() -> None:
    def shape(settings: VideoSettings, **asked: Any) -> str:
        made = plan_video(VideoRequest(prompt="x", first_frame_prompt="a still", **asked), settings, PRESETS, TODAY)
        assert made.first_frame is not None
        return made.first_frame.aspect_ratio

    assert shape(SETTINGS) == "16:9"
    assert shape(configured(ratio="1:1")) == "1:1"
    assert shape(configured(ratio="1:1"), aspect_ratio="9:16") == "9:16"
