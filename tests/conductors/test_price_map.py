"""presets.json against a price map in litellm's format."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.conductors.model_check import Difference
from ring_mcp.conductors.price_map import compare_with_map, read_map
from ring_mcp.errors import InvalidRequest
from ring_mcp.presets import load_presets

PRESETS = load_presets()
TODAY = date(2026, 11, 28)

# As the package has them (1.110.2), reduced to what is read.
XAI: dict[str, Any] = {
    "xai/grok-imagine-image": {"mode": "image_generation", "input_cost_per_image": 0.02},
    "xai/grok-imagine-image-2026-03-02": {"mode": "image_generation", "input_cost_per_image": 0.02},
    "xai/grok-imagine-image-quality": {
        "mode": "image_generation", "input_cost_per_image": 0.05, "deprecation_date": "2026-11-02",
    },
    "xai/grok-imagine-image-2.0": {
        "mode": "image_generation", "input_cost_per_image": 0.06,
        "output_cost_per_image_1K": 0.04, "output_cost_per_image_2K": 0.06,
    },
    "low/1024-x-1024/grok-imagine-image-2.0": {"mode": "image_generation", "input_cost_per_image": 0.04},
    "xai/grok-imagine-video": {
        "mode": "video_generation", "input_cost_per_image": 0.002,
        "output_cost_per_second": 0.05, "output_cost_per_second_480p": 0.05, "output_cost_per_second_720p": 0.07,
    },
    "xai/grok-imagine-video-1.5": {"mode": "video_generation", "output_cost_per_second_1080p": 0.25},
    "xai/grok-imagine-video-1.5-lite": {"mode": "video_generation", "output_cost_per_second_720p": 0.03},
    "xai/grok-4": {"mode": "chat", "input_cost_per_token": 2e-06},
}  # fmt: skip
GOOGLE: dict[str, Any] = {
    "gemini/gemini-nano-banana-2.1": {
        "mode": "image_generation", "output_cost_per_image": 0.0336, "output_cost_per_image_token": 3e-05,
        "input_cost_per_token": 1.5e-06, "output_cost_per_token": 7.5e-06,
    },
    "gemini/gemini-3.1-flash-lite-image": {"mode": "image_generation", "output_cost_per_image": 0.0336},
    "gemini/gemini-3-pro-image": {
        "mode": "image_generation", "output_cost_per_image": 0.134, "output_cost_per_image_token": 0.00012,
    },
    "gemini/gemini-omni-1.1-flash": {"mode": "chat", "deprecation_date": "2026-12-03"},
    "gemini/gemini-omni-1.2-flash": {"mode": "chat", "output_cost_per_video_token": 1.2e-05},
}  # fmt: skip


def found(**changes: dict[str, Any] | None) -> list[Difference]:
    """The differences of the map above with these facts in the models of these names; None takes a model away."""
    models = {name: {**entry, "litellm_provider": name.partition("/")[0]} for name, entry in {**XAI, **GOOGLE}.items()}
    for name, facts in changes.items():
        if facts is None:
            del models[name]
        else:
            models[name] = {"litellm_provider": name.partition("/")[0], **models.get(name, {}), **facts}
    return compare_with_map(PRESETS, read_map(json.dumps({"sample_spec": {}, **models}).encode()), TODAY)


def test_a_map_that_says_the_same_differs_in_nothing() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("name", "facts", "of", "registry", "listed"),
    [
        ("xai/grok-imagine-image-2.0", {"output_cost_per_image_2K": 0.07}, "2k", "0.06", "0.07"),
        ("xai/grok-imagine-image", {"input_cost_per_image": 0.03}, "2k", "0.02", "0.03"),
        ("xai/grok-imagine-video-1.5", {"output_cost_per_second_1080p": 0.3}, "1080p", "0.25", "0.3"),
        ("xai/grok-imagine-video-1.5", {"output_cost_per_second_4k": 0.5}, "4k", None, "0.5"),
        ("xai/grok-imagine-video", {"input_cost_per_image": 0.004}, "a given picture", "0.002", "0.004"),
        ("gemini/gemini-3-pro-image", {"output_cost_per_image": 0.135}, "1k", "0.1344", "0.135"),
        ("gemini/gemini-omni-1.2-flash", {"output_cost_per_video_token": 2e-05}, "a million video tokens", "12", "20"),
    ],
)  # fmt: skip
def test_another_price_is_told_with_both_figures(
    name: str, facts: dict[str, Any], of: str, registry: str | None, listed: str
) -> None:
    (difference,) = found(**{name: facts})
    assert (difference.what, difference.of, difference.model) == ("price", of, name.partition("/")[2])
    assert difference.registry == (None if registry is None else Decimal(registry))
    assert difference.listed == Decimal(listed)


def test_another_end_is_told_with_both_days() -> None:
    (earlier,) = found(**{"gemini/gemini-omni-1.1-flash": {"deprecation_date": "2026-12-01"}})
    assert (earlier.what, earlier.registry_says, earlier.listed_says) == ("retirement", "2026-12-03", "2026-12-01")
    (unknown,) = found(**{"xai/grok-imagine-video": {"deprecation_date": "2027-01-15"}})
    assert (unknown.registry_says, unknown.listed_says) == ("none", "2027-01-15")


def test_what_is_missing_on_either_side_is_told() -> None:
    (gone,) = found(**{"xai/grok-imagine-video-1.5-lite": None})
    assert (gone.what, gone.model) == ("vanished", "grok-imagine-video-1.5-lite")
    (new,) = found(**{"xai/grok-imagine-image-3.0": {"mode": "image_generation"}})
    assert (new.what, new.kind, new.model) == ("new", "image", "grok-imagine-image-3.0")
    assert found(**{"xai/old": {"mode": "image_generation", "deprecation_date": "2026-01-01"}}) == []


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "no"])
def test_a_file_that_is_no_map_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="price map"):
        read_map(text.encode())


@pytest.mark.parametrize(
    "amount",
    ["1e999999999999999999999", "1e400", "-1e400", "NaN", "Infinity", "1" * 5000, "1e-400", '"1e999999999"', '"x"',
     '"0.1\\ud800"', "[]", "[0, [1], 2]", "true", "null", "{}"],
)  # fmt: skip
def test_an_amount_that_no_price_can_be_is_none(amount: str) -> None:
    text = (
        '{"xai/grok-imagine-video": {"litellm_provider": "xai", "mode": "video_generation", '
        f'"output_cost_per_second_720p": {amount}, "output_cost_per_second_{"9" * 400}p": 1}}}}'
    )
    found = compare_with_map(PRESETS, read_map(text.encode()), TODAY)
    assert not [each for each in found if each.model == "grok-imagine-video"]


def test_names_that_cannot_be_shown_are_left_out() -> None:
    entry = {"litellm_provider": "xai", "mode": "image_generation"}
    names = ["xai/\ud800", "xai/\x1b[2J", "xai/" + "a" * 300, "xai/grok-new"]
    models = read_map(b"\xef\xbb\xbf" + json.dumps(dict.fromkeys(names, entry)).encode())
    assert list(models) == ["xai/grok-new"]
