"""What is quoted is what is billed, for everything that can be asked of both providers; never less.

Held twice: against the emulated services, which have price lists of their own, and against bills that were added up by
hand from the provider reference (1.8, 2.7, 3.2, 3.4), so that one wrong list on both sides is noticed.
"""

from __future__ import annotations

import math
from datetime import date
from decimal import ROUND_UP, Decimal
from itertools import product
from typing import Any

import pytest

from ring_mcp.domain import ImageRequest, VideoRequest
from ring_mcp.plans.image import ImageSettings, plan_image
from ring_mcp.plans.video import VideoSettings, plan_video
from ring_mcp.presets import ImageModel, VideoModel, load_presets
from ring_mcp.sandbox.google.catalogue import (
    CHARACTERS_PER_TOKEN,
    GEMINI_IMAGE_MODELS,
    OMNI_INPUT_IMAGE_TOKENS,
    OMNI_INPUT_VIDEO_TOKENS_PER_S,
    OMNI_MODELS,
)
from ring_mcp.sandbox.state.books import TICKS_PER_USD
from ring_mcp.sandbox.xai.prices import IMAGE_PRICES, image_cost_ticks, video_cost_ticks

PRESETS = load_presets()
TODAY = date(2026, 11, 21)
IMAGES = ImageSettings(default_provider="xai", storage_prefix="generated", models={}, aspect_ratios={}, resolutions={})
VIDEOS = VideoSettings(storage_prefix="videos", models={}, durations_s={}, aspect_ratios={}, images=IMAGES)
PROMPT = "a lighthouse at dusk"
A, CLIP = "https://example.com/a.jpg", "https://example.com/a.mp4"
SHARE_OF_PROMPT = Decimal("2.00") * len(PROMPT) / 10**6
"""What the prompt costs at most: a token for every byte, at the dearest price of an input token."""


def picture(**asked: Any) -> Decimal:
    return plan_image(ImageRequest(**{"prompt": PROMPT, **asked}), IMAGES, PRESETS, TODAY).list_usd


def clip(**asked: Any) -> Decimal:
    return plan_video(VideoRequest(**{"prompt": PROMPT, **asked}), VIDEOS, PRESETS, TODAY).list_usd


def living_pictures(provider: str) -> dict[str, ImageModel]:
    models = {name: m for name, m in PRESETS.image_models.items() if m.provider == provider}
    return {name: m for name, m in models.items() if not m.is_retired(TODAY) and m.prices}


def living_clips(provider: str) -> dict[str, VideoModel]:
    return {name: m for name, m in PRESETS.video_models.items() if m.provider == provider and not m.is_retired(TODAY)}


BY_HAND_XAI_PICTURES: list[tuple[dict[str, Any], str]] = [
    ({"resolution": "1k"}, "0.04"),
    ({"resolution": "2k", "n": 3}, "0.18"),
    ({"resolution": "1.5k", "n": 10, "quality": "medium"}, "0.70"),
    ({"resolution": "1k", "reference_images": (A, A)}, "0.08"),  # an edit is medium: 0.06, and 2 at 0.01
    ({"resolution": "2k", "n": 2, "quality": "low", "reference_images": (A,) * 5}, "0.17"),
    ({"model": "grok-imagine-image", "resolution": "2k", "n": 4}, "0.08"),
    ({"model": "grok-imagine-image", "resolution": "1k", "reference_images": (A,) * 3}, "0.026"),
    ({"model": "grok-imagine-image-quality", "resolution": "1k"}, "0.04"),  # served by 2.0 at low
]


@pytest.mark.parametrize(("asked", "bill"), BY_HAND_XAI_PICTURES)
def test_pictures_of_xai_cost_what_the_reference_says(asked: dict[str, Any], bill: str) -> None:
    assert picture(**asked) == Decimal(bill)


BY_HAND_XAI_CLIPS: list[tuple[dict[str, Any], str]] = [
    ({"quality_mode": "draft", "duration_s": 6}, "0.30"),
    ({"quality_mode": "production", "duration_s": 10}, "0.70"),
    ({"quality_mode": "draft", "duration_s": 6, "image_url": A}, "0.49"),
    ({"quality_mode": "production_i2v", "duration_s": 6, "image_url": A}, "0.85"),
    ({"model": "grok-imagine-video-1.5", "resolution": "1080p", "duration_s": 5, "image_url": A}, "1.26"),
    ({"model": "grok-imagine-video", "quality_mode": "production", "duration_s": 6, "image_url": A}, "0.422"),
    ({"model": "grok-imagine-video-1.5-lite", "resolution": "720p", "duration_s": 10}, "0.30"),
    ({"model": "grok-imagine-video", "resolution": "720p", "duration_s": 10, "reference_images": (A,) * 7}, "0.714"),
    ({"quality_mode": "draft_i2v", "duration_s": 6, "image_url": A, "last_frame_url": A}, "0.50"),
    ({"remaster": True, "source_video_url": CLIP, "source_s": Decimal("8.7")}, "0.696"),
    ({"extend_s": 6, "source_video_url": CLIP, "source_s": Decimal(4)}, "0.46"),
]


@pytest.mark.parametrize(("asked", "bill"), BY_HAND_XAI_CLIPS)
def test_clips_of_xai_cost_what_the_reference_says(asked: dict[str, Any], bill: str) -> None:
    assert clip(**asked) == Decimal(bill)


BY_HAND_GOOGLE_PICTURES: list[tuple[dict[str, Any], str]] = [
    ({"model": "gemini-nano-banana-2.1"}, "0.0336"),  # 1,120 tokens at $30 a million
    ({"model": "gemini-nano-banana-2.1", "n": 4}, "0.1344"),
    ({"model": "gemini-3.1-flash-lite-image", "n": 2}, "0.0672"),
    ({"model": "gemini-3-pro-image", "resolution": "1k"}, "0.1344"),  # 1,120 tokens at $120 a million
    ({"model": "gemini-3-pro-image", "resolution": "2k", "n": 4}, "0.5376"),
    ({"model": "gemini-nano-banana-2.1", "reference_images": (A,)}, "0.03528"),  # and 1,120 at $1.50 of the one given
    ({"model": "gemini-nano-banana-2.1", "reference_images": (A,) * 14, "n": 2}, "0.11424"),  # 28 times, in two calls
    ({"model": "gemini-3.1-flash-lite-image", "reference_images": (A,) * 3}, "0.03444"),  # 3 x 1,120 at $0.25
    ({"model": "gemini-3-pro-image", "resolution": "1k", "reference_images": (A,) * 2}, "0.13664"),  # 2 x 560 at $2
]


@pytest.mark.parametrize(("asked", "bill"), BY_HAND_GOOGLE_PICTURES)
def test_pictures_of_google_cost_tokens_and_at_most_prompt_bytes(asked: dict[str, Any], bill: str) -> None:
    quoted = picture(provider="google", **asked)
    assert Decimal(bill) < quoted <= Decimal(bill) + asked.get("n", 1) * SHARE_OF_PROMPT


def test_a_prompt_of_digits_is_not_billed_above_its_quote() -> None:
    prompt = "0123456789" * 100
    billed = Decimal("0.0336") + Decimal("1.50") * 1000 / 10**6
    assert picture(provider="google", model="gemini-nano-banana-2.1", prompt=prompt) >= billed


BY_HAND_GOOGLE_CLIPS: list[tuple[dict[str, Any], str]] = [
    ({"quality_mode": "production", "duration_s": 8}, "0.556032"),  # 8 x 5,792 tokens at $12 a million
    ({"quality_mode": "draft", "duration_s": 6}, "0.139032"),  # 6 x 1,931
    ({"resolution": "1080p", "duration_s": 10}, "1.04256"),  # 10 x 8,688
    ({"resolution": "4k", "duration_s": 5}, "1.04256"),  # 5 x 17,376
    ({"quality_mode": "production_i2v", "duration_s": 5, "image_url": A, "last_frame_url": A}, "0.35364"),  # 2 x 2,040
    ({"quality_mode": "production", "duration_s": 5, "reference_images": (A,) * 6}, "0.36588"),
    # Edits are as long as their source, of whose second 5,792 and 32 are read at $1.50 a million.
    ({"remaster": True, "source_video_url": CLIP, "source_s": Decimal(8)}, "0.62592"),
    ({"remaster": True, "resolution": "4k", "source_video_url": CLIP, "source_s": Decimal(8)}, "1.737984"),
    # 28,960 tokens were billed for 5 seconds more.
    ({"extend_s": 5, "source_video_url": CLIP, "source_s": Decimal(5)}, "0.3912"),
    ({"quality_mode": "production_i2v", "duration_s": 3, "image_url": A}, "0.211572"),  # and 2,040 at $1.50
]


@pytest.mark.parametrize(("asked", "bill"), BY_HAND_GOOGLE_CLIPS)
def test_clips_of_google_cost_their_tokens_rounded_up(asked: dict[str, Any], bill: str) -> None:
    quoted = clip(provider="google", **asked)
    seconds = asked.get("duration_s", asked.get("source_s", 0)) + asked.get("extend_s", 0)
    slack = (seconds + len(asked.get("reference_images", ())) + 2) * Decimal("0.0002")
    assert Decimal(bill) < quoted <= Decimal(bill) + slack + SHARE_OF_PROMPT


def test_every_picture_of_xai_is_billed_as_quoted() -> None:
    checked = 0
    for name, model in living_pictures("xai").items():
        for quality, size, n in product(model.qualities or ("",), model.resolutions, range(1, model.max_n + 1)):
            for given in range(model.max_input_images + 1):
                asked = {"model": name, "resolution": size, "n": n, "quality": quality or None}
                billed = image_cost_ticks(name, quality, size, outputs=n, inputs=given)
                assert picture(**asked, reference_images=(A,) * given) * TICKS_PER_USD == billed, (asked, given)
                checked += 1
    assert set(living_pictures("xai")) == {name for name, _ in IMAGE_PRICES}
    assert checked == 2 * 3 * 10 * 6 + 2 * 10 * 4


def test_every_clip_of_xai_is_billed_as_quoted() -> None:
    checked = 0
    for name, model in living_clips("xai").items():
        spans = range(model.min_duration_s, model.max_duration_s + 1)
        for size, duration_s in product(model.resolutions, spans):
            ways: list[tuple[dict[str, Any], int]] = [({}, 0), ({"image_url": A}, 1)]
            if model.last_frame:
                ways.append(({"image_url": A, "last_frame_url": A}, 2))
            if size in model.reference_resolutions and duration_s <= model.max_reference_duration_s:
                ways += [
                    ({"reference_images": (A,) * given}, given) for given in range(1, model.max_reference_images + 1)
                ]
            for given, images in ways:
                billed = video_cost_ticks(name, size, made_s=duration_s, input_images=images)
                asked = {"model": name, "resolution": size, "duration_s": duration_s, **given}
                assert clip(**asked) * TICKS_PER_USD == billed, asked
                checked += 1
    assert checked == 15 * (2 * 2 + 3 * 3 + 3 * 2) + 2 * 10 * 7 + 2 * 15 * 14


@pytest.mark.parametrize("source_s", ["2", "4.5", "8.7", "15"])
def test_every_edit_and_extension_is_billed_as_quoted(source_s: str) -> None:
    given = {"source_video_url": CLIP, "source_s": Decimal(source_s)}
    model, made_s = "grok-imagine-video", float(source_s)
    edited = video_cost_ticks(model, "720p", made_s=made_s, input_video_s=made_s)
    assert clip(remaster=True, **given) * TICKS_PER_USD == edited
    for added_s in range(2, 11):
        billed = video_cost_ticks(model, "720p", made_s=added_s, input_video_s=made_s)
        assert clip(extend_s=added_s, **given) * TICKS_PER_USD == billed


def counted(prompt: str) -> int:
    return -(-len(prompt) // CHARACTERS_PER_TOKEN)


def test_every_picture_of_google_is_billed_at_most_as_quoted() -> None:
    models, checked = living_pictures("google"), 0
    assert set(models) == set(GEMINI_IMAGE_MODELS)
    for name, model in models.items():
        service = GEMINI_IMAGE_MODELS[name]
        spans = product(model.resolutions, range(1, model.max_n + 1), range(model.max_input_images + 1))
        for size, n, given in spans:
            read = counted(PROMPT) + service.input_image_tokens * given
            tokens = {"input": read, "text": 0, "made": service.sizes[size.upper()]}
            billed = n * Decimal(service.price.cost_ticks(**tokens)) / TICKS_PER_USD
            quoted = picture(provider="google", model=name, resolution=size, n=n, reference_images=(A,) * given)
            assert billed <= quoted <= billed + n * SHARE_OF_PROMPT, (name, size, n, given)
            checked += 1
    assert checked == (1 + 1 + 2) * 4 * 15


def omni_usd(name: str, size: str, *, made_s: Decimal, images: int = 0, source_s: Decimal = Decimal(0)) -> Decimal:
    """What the emulated Omni bills."""
    service = OMNI_MODELS[name]
    read = OMNI_INPUT_IMAGE_TOKENS * images + math.ceil(OMNI_INPUT_VIDEO_TOKENS_PER_S * source_s)
    made = math.ceil(service.tokens_per_s[size] * made_s)
    return Decimal(service.price.cost_ticks(input=counted(PROMPT) + read, text=0, made=made)) / TICKS_PER_USD


def served_clips() -> dict[str, VideoModel]:
    """Google's clip models that are asked under their own name."""
    return {name: m for name, m in living_clips("google").items() if not m.is_redirected(TODAY)}


def test_every_clip_of_google_is_billed_at_most_as_quoted() -> None:
    checked = 0
    for name, model in served_clips().items():
        for size, duration_s in product(model.resolutions, range(model.min_duration_s, model.max_duration_s + 1)):
            ways: list[tuple[dict[str, Any], int]] = [({}, 0), ({"image_url": A}, 1)]
            ways.append(({"image_url": A, "last_frame_url": A}, 2))
            ways += [({"reference_images": (A,) * given}, given) for given in range(1, model.max_reference_images + 1)]
            for given, images in ways:
                billed = omni_usd(name, size, made_s=Decimal(duration_s), images=images)
                quoted = clip(provider="google", model=name, resolution=size, duration_s=duration_s, **given)
                slack = (duration_s + images + 1) * Decimal("0.0002") + SHARE_OF_PROMPT
                assert billed <= quoted <= billed + slack, (name, size, duration_s, given)
                checked += 1
    assert checked == len(served_clips()) * 4 * 8 * 9


@pytest.mark.parametrize("source_s", ["1", "2.04", "4.5", "8.97", "10"])
def test_every_edit_and_extension_by_google_is_billed_at_most_as_quoted(source_s: str) -> None:
    measured_s = Decimal(source_s)
    source = {"source_video_url": CLIP, "source_s": measured_s.quantize(Decimal("0.1"), ROUND_UP)}
    for name, model in served_clips().items():
        a_second = max(usd for usd in model.prices.second_usd.values()) if model.prices else Decimal(0)
        for size in model.edit_resolutions:
            billed = omni_usd(name, size, made_s=measured_s, source_s=measured_s)
            quoted = clip(provider="google", model=name, remaster=True, resolution=size, **source)
            assert billed <= quoted <= billed + a_second + Decimal("0.02"), (name, size)
        for added_s in range(model.min_extend_s, model.max_extend_s + 1):
            quoted = clip(provider="google", model=name, extend_s=added_s, **source)
            for size in ("360p", "720p"):
                assert omni_usd(name, size, made_s=Decimal(added_s), source_s=measured_s) <= quoted, (name, added_s)
            assert quoted <= omni_usd(name, "720p", made_s=Decimal(added_s), source_s=measured_s) + Decimal("0.02")
