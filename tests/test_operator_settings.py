"""What an operator has set as a default: refused by the name of its variable, before any call and in every call."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ring_mcp.config import load_config
from ring_mcp.domain import ImageRequest, VideoRequest
from ring_mcp.errors import ConfigError, InvalidRequest
from ring_mcp.operator_settings import list_faulty_defaults, video_settings
from ring_mcp.plans.image import plan_image
from ring_mcp.plans.video import plan_video
from ring_mcp.presets import load_presets

PRESETS = load_presets()
TODAY = date(2026, 11, 28)
KEYS = {"XAI_API_KEY": "k" * 20, "GOOGLE_GENAI_API_KEY": "g" * 20}


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("GOOGLE_IMAGE_SIZE", "2K", "must be one of 1k"),
        ("GOOGLE_IMAGE_MODEL", "imagen-4.0-generate-001", "was retired by its provider"),
        ("GOOGLE_IMAGE_ASPECT_RATIO", "2:1", "must be one of 1:1"),
        ("XAI_IMAGE_MODEL", "grok-9", "must be one of grok-imagine-image-2.0"),
        ("XAI_IMAGE_RESOLUTION", "8k", "must be one of 1k"),
        ("XAI_VIDEO_MODEL", "grok-9", "must be one of grok-imagine-video"),
        ("XAI_VIDEO_ASPECT_RATIO", "7:1", "must be one of"),
    ],
)
def test_a_default_that_no_call_could_use_is_named(variable: str, value: str, part: str, tmp_path: Path) -> None:
    config = load_config({**KEYS, variable: value}, folder=tmp_path)
    faults = list_faulty_defaults(config, PRESETS, TODAY)
    assert list(faults) == [variable]
    assert part in faults[variable]


def test_defaults_that_work_are_no_faults(tmp_path: Path) -> None:
    works = {"XAI_IMAGE_MODEL": "grok-imagine-image-quality", "XAI_IMAGE_RESOLUTION": "1k", "GOOGLE_IMAGE_SIZE": "1K"}
    assert list_faulty_defaults(load_config({**KEYS, **works}, folder=tmp_path), PRESETS, TODAY) == {}


def test_a_vendor_without_a_key_has_no_faults(tmp_path: Path) -> None:
    config = load_config({"XAI_API_KEY": "k" * 20, "GOOGLE_IMAGE_SIZE": "9k"}, folder=tmp_path)
    assert list_faulty_defaults(config, PRESETS, TODAY) == {}


def test_what_the_caller_gave_is_named_and_not_the_variable(tmp_path: Path) -> None:
    settings = video_settings(load_config({**KEYS, "GOOGLE_IMAGE_SIZE": "1k"}, folder=tmp_path))
    with pytest.raises(InvalidRequest, match=r"^resolution must be one of 1k"):
        plan_image(ImageRequest(prompt="x", provider="google", resolution="9k"), settings.images, PRESETS, TODAY)


def test_rings_size_of_a_first_frame_becomes_what_can_be_made(tmp_path: Path) -> None:
    settings = video_settings(load_config(KEYS, folder=tmp_path))
    asked = VideoRequest(prompt="x", first_frame_prompt="y", image_provider="google", image_resolution="2k")
    plan = plan_video(asked, settings, PRESETS, TODAY)
    assert plan.first_frame is not None
    assert plan.first_frame.resolution == "1k"
    assert "first frame: imageResolution 2k is not made by gemini-nano-banana-2.1: it is 1k" in plan.warnings


def test_a_model_in_place_of_the_modes_own_is_a_warning(tmp_path: Path) -> None:
    settings = video_settings(load_config({**KEYS, "XAI_VIDEO_MODEL": "grok-imagine-video"}, folder=tmp_path))
    plan = plan_video(VideoRequest(prompt="x", image_url="https://e.org/1.jpg"), settings, PRESETS, TODAY)
    assert plan.model == "grok-imagine-video"
    told = "XAI_VIDEO_MODEL: grok-imagine-video makes it, in place of grok-imagine-video-1.5 of qualityMode draft_i2v"
    assert told in plan.warnings


@pytest.mark.parametrize("text", ["${XAI_API_KEY:-}", "${env:XAI_API_KEY}", "$XAI_API_KEY", " ${input:key} "])
def test_a_key_that_no_client_filled_in_is_none_and_is_remembered(text: str, tmp_path: Path) -> None:
    config = load_config({"XAI_API_KEY": text}, folder=tmp_path)
    assert config.vendors["xai"].key is None
    assert config.unexpanded == ("XAI_API_KEY",)


def test_another_variable_that_nobody_filled_in_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"RING_MAX_USD_PER_DAY: has the form \$\{NAME\}"):
        load_config({"RING_MAX_USD_PER_DAY": "${CAP}"}, folder=tmp_path)


@pytest.mark.parametrize(
    ("variables", "is_one"),
    [
        ({}, True),
        ({"XAI_API_KEY": "k" * 20}, False),
        ({"GEMINI_API_KEY": "g" * 20}, False),
        ({"RING_SANDBOX": "on"}, False),
        ({"XAI_API_KEY": "${XAI_API_KEY}"}, True),
    ],
)
def test_an_address_without_a_key_makes_a_client_of_a_gateway(
    variables: dict[str, str], is_one: bool, tmp_path: Path
) -> None:
    config = load_config({"RING_API_BASE_URL": "http://localhost:3000", **variables}, folder=tmp_path)
    assert config.is_for_a_gateway is is_one
