"""How often a provider may be asked: presets.json, the operator's overlay, and the switch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.config import load_config
from ring_mcp.errors import ConfigError
from ring_mcp.operator_settings import counts_rates
from ring_mcp.presets import load_presets
from ring_mcp.sandbox.state.settings import Settings

PICTURES, CLIPS = "grok-imagine-image-2.0", "grok-imagine-video"
KEY = {"XAI_API_KEY": "k" * 20}


def overlay(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps(content))
    return path


def test_rates_are_those_that_the_emulated_service_keeps_to() -> None:
    presets, sandbox = load_presets(), Settings()
    assert presets.rates_of(PICTURES, "xai", "image").submits.per_second == sandbox.image_rps
    assert presets.rates_of(CLIPS, "xai", "video").submits.per_second == sandbox.video_rps


def test_a_model_has_its_providers_rates_or_its_own(tmp_path: Path) -> None:
    own = {"submits": {"perSecond": 0.5}, "looks": {"perMinute": 100}}
    changed = {
        "limits": {"rates": {"xai": {"video": {"submits": {"perSecond": 20}}}}},
        "videoModels": {"grok-imagine-video-1.5": {"rates": own}},
    }
    presets = load_presets(overlay=overlay(tmp_path, changed))
    assert presets.rates_of(CLIPS, "xai", "video").submits.limit().per_second == 20
    assert presets.rates_of("grok-imagine-video-1.5", "xai", "video").submits.limit().per_second == 0.5
    assert presets.rates_of("grok-imagine-video-1.5", "xai", "video").looks.limit().per_minute == 100
    assert presets.rates_of(PICTURES, "xai", "image").submits.limit().per_minute == 300
    assert presets.rates_of("nobody's", "nobody", "image").submits.limit().per_second is None


def test_a_rate_of_nothing_is_refused_by_its_key(tmp_path: Path) -> None:
    none = {"limits": {"rates": {"xai": {"video": {"submits": {"perSecond": 0}}}}}}
    with pytest.raises(ConfigError, match=r"limits\.rates\.xai\.video\.submits\.perSecond"):
        load_presets(overlay=overlay(tmp_path, none))


@pytest.mark.parametrize(
    ("variables", "counts"),
    [
        (KEY, True),
        ({**KEY, "RING_RATES": "off"}, False),
        ({"RING_SANDBOX": "on"}, False),
        ({"RING_SANDBOX": "on", "RING_RATES": "on"}, True),
    ],
)
def test_rates_are_kept_to_but_in_the_sandbox(variables: dict[str, str], counts: bool, tmp_path: Path) -> None:
    assert counts_rates(load_config(variables, folder=tmp_path)) is counts
