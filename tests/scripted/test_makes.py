"""Lengths and sizes of a script: those that models make, wherever the models come from."""

from __future__ import annotations

import pytest

from ring_mcp.errors import InvalidRequest
from ring_mcp.presets import load_presets
from ring_mcp.scripted.makes import MAKES, Makes
from ring_mcp.scripted.preparing import makes_of
from ring_mcp.scripted.schema import parse_script
from tests.scripted.test_schema import clip


def test_a_script_may_ask_for_every_size_that_a_model_makes() -> None:
    presets = load_presets()
    known, shipped = makes_of(presets), MAKES
    assert (set(known.clip_sizes), set(known.image_sizes)) == (set(shipped.clip_sizes), set(shipped.image_sizes))
    assert known.longest_s == shipped.longest_s


def test_a_script_may_ask_for_what_an_operators_own_models_make() -> None:
    more = Makes(longest_s=20, image_sizes=("3k",), clip_sizes=("540p",))
    frame = {"imagePrompt": "x", "imageResolution": "3K"}
    asked = {"duration": 20, "video": {"resolution": " 540P"}, "firstFrame": frame}
    request = {"schemaVersion": "1.0", "requestId": "r", **clip(**asked)}
    (made,) = parse_script(request, more).clips
    assert made.video is not None
    assert made.first_frame is not None
    assert (made.duration, made.video.resolution, made.first_frame.image_resolution) == (20, "540p", "3k")
    with pytest.raises(InvalidRequest) as caught:
        parse_script(request)
    for text in (
        "duration: must be at most 15",
        "resolution: must be one of '360p', ",
        "imageResolution: must be one of",
    ):
        assert text in caught.value.message
