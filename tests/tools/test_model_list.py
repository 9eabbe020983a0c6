"""ring-model-list: only what can be called and has what was named, at the price of what was named."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ring_mcp.errors import InvalidRequest
from ring_mcp.presets import load_presets
from ring_mcp.tools.model_list import ModelListArguments, list_models
from tests.server.wire import RingProcess

TODAY = date(2026, 11, 29)
PRESETS = load_presets()


def listed(today: date = TODAY, **arguments: Any) -> dict[str, dict[str, Any]]:
    found = list_models(PRESETS, ModelListArguments.parse(arguments), today).data()
    return {model["model"]: model for model in found["models"]}


def test_all_that_can_be_called_are_there_and_no_other() -> None:
    every = {**PRESETS.image_models, **PRESETS.video_models}
    alive = {n for n, m in every.items() if not m.is_retired(TODAY) and not m.is_redirected(TODAY)}
    assert listed().keys() == alive
    assert {name for name, model in listed().items() if model.get("isDefault")} <= set(PRESETS.default_models)


def test_the_price_is_that_of_what_was_named() -> None:
    assert listed(model="grok-imagine-image-2.0")["grok-imagine-image-2.0"]["usd"] == {
        "1k": 0.04,
        "1.5k": 0.05,
        "2k": 0.06,
    }
    pictures = listed(kind="image", provider="xai", n=3, resolution="2K", quality="medium")
    assert pictures["grok-imagine-image-2.0"]["usd"]["2k"] == pytest.approx(
        3 * float(PRESETS.image_models["grok-imagine-image-2.0"].prices.of("medium", "2k"))  # type: ignore[union-attr]
    )
    assert pictures.keys() == {"grok-imagine-image-2.0"}
    clips = listed(kind="video", duration="6s", resolution="720p")
    assert clips["grok-imagine-video-1.5"]["usd"] == {"720p": 0.84}
    assert clips["grok-imagine-video-1.5"]["per"] == "6 s"


def test_limits_keep_models_out() -> None:
    assert "gemini-omni-1.2-flash" not in listed(kind="video", duration=15)
    assert all(model["kind"] == "video" for model in listed(duration=4).values())
    assert all(model["kind"] == "image" for model in listed(n=2).values())
    assert all(model["maxN"] >= 10 for model in listed(n=10).values())


def test_life_dates_are_told() -> None:
    gone = listed(model="veo-3.1-generate-preview")["veo-3.1-generate-preview"]
    assert (gone["retiresOn"], gone["replacedBy"]) == ("2026-10-22", "gemini-omni-1.2-flash")
    assert "usd" not in gone
    ends = PRESETS.video_models["gemini-omni-1.1-flash"].retires_on
    assert ends is not None
    assert "gemini-omni-1.1-flash" not in listed(today=ends)


def test_one_model_is_told_in_full() -> None:
    [model] = listed(model="grok-imagine-video").values()
    assert "16:9" in model["aspectRatios"]
    assert model["seconds"] == "1-15"
    assert {"text", "image", "edit", "extend"} <= set(model["can"])
    assert "aspectRatios" not in listed()["grok-imagine-video"]


@pytest.mark.parametrize("asked", [{"model": "nobody's"}, {"kind": "image", "duration": 3}])
def test_where_none_has_it_all_of_them_are_named(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"there are grok-imagine-image-2\.0") as refused:
        listed(**asked)
    # That one is answered by another by now: nobody is sent to it.
    assert "gemini-omni-1.1-flash" not in refused.value.message


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"resolution": "8k"}, "resolution: no model has that; there are 1k, 1.5k, 2k"),
        ({"duration": 99, "kind": "video"}, "duration: no model has that; there are 1-15 s, 3-10 s"),
        ({"n": 1000}, "n: no model has that; there are up to 10, up to 4"),
        ({"quality": "ultra", "model": "grok-imagine-image-2.0"}, "quality: no model has that; there are low, medium"),
        ({"provider": "openai"}, "provider: no model has that; there are xai, google"),
        ({"n": 0}, "n: must be 1 or more"),
        ({"n": -1}, "n: must be 1 or more"),
        ({"duration": -3}, "duration: must be 1 or more"),
    ],
)
def test_what_no_model_has_is_answered_with_what_there_is(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        listed(**asked)
    assert refused.value.message.startswith(told)
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"model": "GROK_IMAGINE_VIDEO"}, {"grok-imagine-video"}),
        ({"model": "Grok Imagine Video 1.5"}, {"grok-imagine-video-1.5"}),
        ({"model": "nano banana", "provider": "GOOGLE"}, {"gemini-nano-banana-2.1"}),
        ({"model": "grok-imagine-video-1"}, {"grok-imagine-video-1.5", "grok-imagine-video-1.5-lite"}),
        ({"quality": "Medium", "n": 1}, {"grok-imagine-image-2.0"}),
    ],
)
def test_names_are_taken_as_people_write_them(asked: dict[str, Any], names: set[str]) -> None:
    assert listed(**asked).keys() == names


def test_a_part_of_a_name_finds_what_is_gone_as_well() -> None:
    assert {model.get("replacedBy") for model in listed(model="veo").values()} == {"gemini-omni-1.2-flash"}


def test_the_answer_is_short(ring: RingProcess) -> None:
    told = ring.call("ring-model-list", {"kind": "video", "duration": 6, "resolution": "720p"})
    assert "per 6 s: 720p $0.84" in told.text
    assert len(told.text) < 1200
    assert told.data["models"]


def test_spend_tells_the_sums(ring: RingProcess) -> None:
    before = ring.call("ring-spend", {}).data
    ring.create(prompt="a picture that is paid")
    after = ring.call("ring-spend", {})
    assert after.data["today"]["usedUsd"] == pytest.approx(before["today"]["usedUsd"] + 0.06)
    assert "no cap" in after.text
    assert f"this month, {after.data['thisMonth']['period']}: $" in after.text
    assert after.data["today"]["period"].startswith(f"{after.data['thisMonth']['period']}-")
    assert after.text.startswith("SANDBOX")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"provider": " X-AI ", "resolution": "720", "duration": "6s"}, "grok-imagine-video"),
        ({"model": "models/Gemini Omni 1.2 Flash"}, "gemini-omni-1.2-flash"),
        ({"quality": "Medium", "resolution": "1.5 K"}, "grok-imagine-image-2.0"),
    ],
)
def test_what_is_named_may_be_spelled_in_any_way(asked: dict[str, Any], name: str) -> None:
    assert name in listed(**asked)


def test_pictures_and_seconds_are_priced_each_for_itself() -> None:
    both = listed(n="2 images", duration=6)
    assert (both["grok-imagine-image"]["per"], both["grok-imagine-video"]["per"]) == ("2 pictures", "6 s")
    assert listed(n=2).keys() == {name for name, model in both.items() if model["kind"] == "image"}
    assert listed(duration=6).keys() == {name for name, model in both.items() if model["kind"] == "video"}
