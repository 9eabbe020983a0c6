"""presets.json is read whole or not at all, and whatever is wrong in it is told by its key."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ring_mcp import presets as presets_module
from ring_mcp.errors import ConfigError
from ring_mcp.package_data import data_path
from ring_mcp.presets import Presets, load_presets
from ring_mcp.presets_agreement import check_agreement
from ring_mcp.providers.vendors import VENDORS

ROOT = Path(__file__).parents[1]
SHIPPED: dict[str, Any] = json.loads(data_path("presets.json").read_text())
XAI, XAI_VIDEO = "grok-imagine-image-2.0", "grok-imagine-video"

Raw = dict[str, Any]


def write(folder: Path, content: str | bytes | Raw) -> Path:
    path = folder / "presets.json"
    data = (
        content
        if isinstance(content, bytes)
        else (content if isinstance(content, str) else json.dumps(content)).encode()
    )
    path.write_bytes(data)
    return path


def fault(folder: Path, change: Callable[[Raw], object]) -> str:
    raw = copy.deepcopy(SHIPPED)
    change(raw)
    with pytest.raises(ConfigError) as caught:
        load_presets(write(folder, raw))
    return caught.value.message


def test_the_shipped_file_is_complete() -> None:
    presets = load_presets()
    assert set(presets.modes) == {"draft", "draft_i2v", "production", "production_i2v"}
    assert set(presets.defaults.image) == {"xai", "google"}
    assert presets.schema_version == "1.0"


def overlay(folder: Path, content: Raw | str) -> Path:
    path = folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_an_overlay_adds_a_model_changes_another_and_takes_one_away(tmp_path: Path) -> None:
    own = {**SHIPPED["imageModels"][XAI], "provider": "xai", "maxN": 2}
    changes: Raw = {
        "imageModels": {"house-style-1": own, XAI: {"maxN": 3}, "grok-2-image": None},
        "defaults": {"image": {"xai": {"model": "house-style-1"}}},
        "limits": {"priceMaxAgeDays": 9},
    }
    presets = load_presets(overlay=overlay(tmp_path, changes))
    assert presets.image_models["house-style-1"].max_n == 2
    assert (presets.image_models[XAI].max_n, presets.image_models[XAI].qualities) == (3, ("low", "medium"))
    assert "grok-2-image" not in presets.image_models
    assert presets.defaults.image["xai"].model == "house-style-1"
    assert presets.defaults.image["google"] == load_presets().defaults.image["google"]
    assert presets.video_models == load_presets().video_models


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"imageModels": {"mine": {"provider": "xai"}}}, "imageModels.mine"),
        ({"imageModel": {}}, "imageModel"),
        ({"defaults": {"image": {"xai": {"model": "nobody's"}}}}, "nobody's"),
        ([], "file"),
        ("{", "mine.json is not JSON"),
    ],
)
def test_what_an_overlay_breaks_is_told_with_its_name(tmp_path: Path, changes: Raw | str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_presets(overlay=overlay(tmp_path, changes))
    assert told in caught.value.message
    assert "mine.json" in caught.value.message


def test_an_overlay_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.json cannot be read"):
        load_presets(overlay=tmp_path / "mine.json")


def test_every_key_of_the_registry_is_read_by_somebody() -> None:
    """A key that nobody reads is a promise that nobody keeps."""
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "ring_mcp").rglob("*.py")
        if "sandbox" not in path.parts and path.name != "presets.py"
    )
    models = [m for m in vars(presets_module).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    fields = {field for model in models for field in model.model_fields}
    read_where_it_stands = {"schema_version", "image_tokens", "input_image_tokens", "images_per_call", "redirect_from"}
    assert {field for field in fields if f".{field}" not in source} == read_where_it_stands


def test_a_file_is_read_from_where_it_is_said_to_be(tmp_path: Path) -> None:
    raw = copy.deepcopy(SHIPPED)
    raw["limits"]["priceMaxAgeDays"] = 7
    assert load_presets(write(tmp_path, raw)).limits.price_max_age_days == 7


def test_prices_are_exact_money_whether_written_as_text_or_as_numbers(tmp_path: Path) -> None:
    raw = copy.deepcopy(SHIPPED)
    raw["imageModels"][XAI]["prices"]["imageUsd"]["low"] = {"1k": 0.1, "1.5k": "0.1", "2k": 1}
    prices = load_presets(write(tmp_path, raw)).image_models[XAI].prices
    assert prices is not None
    assert [prices.of("low", resolution) for resolution in ("1k", "1.5k", "2k")] == [Decimal("0.1")] * 2 + [Decimal(1)]


def test_a_table_that_was_read_cannot_be_changed() -> None:
    presets = load_presets()
    with pytest.raises(ValueError, match="frozen"):
        presets.limits.price_max_age_days = 1  # type: ignore[misc]


def test_a_model_lives_until_its_retirement_without_one_for_ever() -> None:
    models = load_presets().image_models
    retired = models["grok-imagine-image-quality"]
    assert retired.retires_on is not None
    assert retired.is_retired(retired.retires_on)
    assert not retired.is_retired(retired.retires_on.replace(day=1))
    assert not models[XAI].is_retired(retired.retires_on.max)


@pytest.mark.parametrize("table", ["imageModels", "videoModels"])
def test_every_successor_is_here_to_stay(table: str) -> None:
    successors = {model["replacedBy"] for model in SHIPPED[table].values() if "replacedBy" in model}
    assert successors
    for name in successors:
        assert not {"retiresOn", "replacedBy", "redirect"} & SHIPPED[table][name].keys(), name


def test_nothing_that_is_used_without_being_named_is_on_its_way_out() -> None:
    presets = load_presets()
    assert "gemini-omni-1.2-flash" in presets.default_models
    for name in presets.default_models:
        model = presets.image_models.get(name) or presets.video_models[name]
        assert (model.retires_on, model.redirect) == (None, False), name


def test_a_redirected_models_tokens_keep_their_price_for_its_jobs() -> None:
    tokens = load_presets().token_prices()
    assert tokens["gemini-omni-1.1-flash"]["video"] == Decimal("17.50")
    assert tokens["gemini-omni-1.2-flash"]["video"] == Decimal(12)


def test_a_picture_billed_by_tokens_costs_them_exactly() -> None:
    """1,120 tokens a picture of 1k or 2k, at $30 and $120 a million, by the provider reference."""
    models = load_presets().image_models
    for name, usd in (("gemini-nano-banana-2.1", "0.0336"), ("gemini-3.1-flash-lite-image", "0.0336"),
                      ("gemini-3-pro-image", "0.1344")):  # fmt: skip
        prices = models[name].prices
        assert prices is not None
        assert {prices.of(None, resolution) for resolution in models[name].resolutions} == {Decimal(usd)}


def test_a_given_picture_costs_its_tokens_exactly() -> None:
    """1,120 or 560 tokens: $0.00168, $0.00028 and $0.0011 (rounded) in the price map that names Google's page."""
    listed = {"gemini-nano-banana-2.1": "0.00168", "gemini-3.1-flash-lite-image": "0.00028"}
    listed["gemini-3-pro-image"] = "0.00112"
    models = load_presets().image_models
    given = {name: prices.input_image_usd for name in listed if (prices := models[name].prices) is not None}
    assert given == {name: Decimal(usd) for name, usd in listed.items()}


@pytest.mark.parametrize(("n", "calls"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_requests_are_counted_by_what_one_makes(n: int, calls: int) -> None:
    model = load_presets().image_models[XAI]
    assert model.count_calls(n) == 1
    assert model.model_copy(update={"images_per_call": 2}).count_calls(n) == calls


def test_who_edits_clips_is_known_for_each_provider() -> None:
    presets = load_presets()
    assert presets.editor_of("xai") == "grok-imagine-video"
    assert presets.editor_of("google") == "gemini-omni-1.2-flash"
    unable = {name: model.model_copy(update={"edit": False}) for name, model in presets.video_models.items()}
    assert presets.model_copy(update={"video_models": unable}).editor_of("google") is None


def test_a_fact_is_unsure_by_its_name_in_python() -> None:
    model = load_presets().video_models["gemini-omni-1.2-flash"]
    assert model.is_unsure("max_duration_s")
    assert model.is_unsure("min_duration_s", "max_duration_s")
    assert not model.is_unsure("min_duration_s")


def test_a_second_of_a_clip_costs_its_tokens_rounded_up() -> None:
    """What bills have counted: 5,792 tokens a second of 720p and so on; 2,040 an image, 5,824 a given second."""
    tokens = {"360p": 1931, "720p": 5792, "1080p": 8688, "4k": 17376}
    priced = {name: model.prices for name, model in load_presets().video_models.items() if model.prices}
    counted = {name: prices for name, prices in priced.items() if prices.million_tokens_usd}
    assert len(counted) == 2
    for name, prices in counted.items():
        made = {size: n * prices.million_tokens_usd["video"] / 10**6 for size, n in tokens.items()}
        assert made.keys() == prices.second_usd.keys()
        for size, usd in prices.second_usd.items():
            assert 0 <= usd - made[size] < Decimal("0.0001"), (name, size)
        given = {2040: prices.input_image_usd, 5824: prices.input_video_second_usd}
        for counted_tokens, usd in given.items():
            assert 0 <= usd - counted_tokens * prices.million_tokens_usd["input"] / 10**6 < Decimal("0.0001"), name


FAULTS: dict[str, tuple[Callable[[Raw], object], list[str]]] = {
    "a missing price": (
        lambda raw: raw["imageModels"][XAI]["prices"]["imageUsd"]["low"].pop("2k"),
        [f"imageModels.{XAI}", "prices.imageUsd.low lacks 2k"],
    ),
    "a missing quality": (
        lambda raw: raw["imageModels"][XAI]["prices"]["imageUsd"].pop("medium"),
        [f"imageModels.{XAI}", "prices.imageUsd.medium lacks 1k, 1.5k, 2k"],
    ),
    "no prices for a living model": (
        lambda raw: raw["imageModels"][XAI].pop("prices"),
        [f"imageModels.{XAI}", "needs prices"],
    ),
    "no prices for a redirected model": (
        lambda raw: raw["imageModels"]["grok-imagine-image-quality"].pop("prices"),
        ["imageModels.grok-imagine-image-quality", "needs prices"],
    ),
    "no prices for a living video model": (
        lambda raw: raw["videoModels"][XAI_VIDEO].pop("prices"),
        [f"videoModels.{XAI_VIDEO}", "needs prices"],
    ),
    "a missing price of a second": (
        lambda raw: raw["videoModels"][XAI_VIDEO]["prices"]["secondUsd"].pop("720p"),
        [f"videoModels.{XAI_VIDEO}", "prices.secondUsd lacks 720p"],
    ),
    "a negative price": (
        lambda raw: raw["imageModels"][XAI]["prices"]["imageUsd"]["low"].update({"2k": "-0.01"}),
        [f"imageModels.{XAI}.prices.imageUsd.low.2k", "greater than or equal to 0"],
    ),
    "a price that is no number": (
        lambda raw: raw["imageModels"][XAI]["prices"]["imageUsd"]["low"].update({"2k": "cheap"}),
        [f"imageModels.{XAI}.prices.imageUsd.low.2k", "decimal"],
    ),
    "a price that is not finite": (
        lambda raw: raw["imageModels"][XAI]["prices"]["imageUsd"]["low"].update({"2k": "NaN"}),
        [f"imageModels.{XAI}.prices.imageUsd.low.2k", "finite"],
    ),
    "prices without a date": (
        lambda raw: raw["imageModels"][XAI]["prices"].pop("asOf"),
        [f"imageModels.{XAI}.prices.asOf", "required"],
    ),
    "a date that is none": (
        lambda raw: raw["imageModels"][XAI]["prices"].update(asOf="last week"),
        [f"imageModels.{XAI}.prices.asOf", "date"],
    ),
    "a mode with an unknown model": (
        lambda raw: raw["modes"]["draft"].update(model="grok-nothing"),
        ["modes.draft.model names 'grok-nothing'", "videoModels"],
    ),
    "a mode with a model for pictures": (
        lambda raw: raw["modes"]["production"].update(model=XAI),
        [f"modes.production.model names '{XAI}'", "videoModels"],
    ),
    "a mode with another provider's model": (
        lambda raw: raw["modes"]["draft"]["providers"]["google"].update(model="grok-imagine-video"),
        ["modes.draft.providers.google.model names 'grok-imagine-video'", "videoModels"],
    ),
    "a mode in a size that its model does not make": (
        lambda raw: raw["modes"]["draft"].update(resolution="1080p"),
        ["modes.draft.resolution is '1080p'", "grok-imagine-video does not make"],
    ),
    "a mode in a size that another provider's model does not make": (
        lambda raw: raw["modes"]["draft"]["providers"]["google"].update(resolution="480p"),
        ["modes.draft.providers.google.resolution is '480p'", "gemini-omni-1.2-flash does not make"],
    ),
    "a day of redirection without redirection": (
        lambda raw: raw["videoModels"]["gemini-omni-1.1-flash"].pop("redirect"),
        ["videoModels.gemini-omni-1.1-flash", "redirectFrom needs redirect and retiresOn"],
    ),
    "a day of redirection of a model that stays": (
        lambda raw: raw["videoModels"][XAI_VIDEO].update(redirect=True, redirectFrom="2026-11-28"),
        [f"videoModels.{XAI_VIDEO}", "redirectFrom needs redirect and retiresOn"],
    ),
    "a token of an unknown kind": (
        lambda raw: raw["imageModels"]["gemini-3-pro-image"]["prices"]["millionTokensUsd"].update(audio="1"),
        ["imageModels.gemini-3-pro-image.prices.millionTokensUsd.audio", "'image'"],
    ),
    "a retired model for endpoints of one's own without prices": (
        lambda raw: raw["imageModels"]["imagen-4.0-generate-001"].pop("prices"),
        ["imageModels.imagen-4.0-generate-001", "needs prices"],
    ),
    "a mode of another name": (lambda raw: raw["modes"].update(turbo=raw["modes"]["draft"]), ["modes.turbo", "draft"]),
    "a default that is no model": (
        lambda raw: raw["defaults"]["image"]["xai"].update(model="grok-nothing"),
        ["defaults.image.xai.model names 'grok-nothing'", "imageModels"],
    ),
    "a default of an unknown provider": (
        lambda raw: raw["defaults"]["image"].update(openai=raw["defaults"]["image"]["xai"]),
        ["defaults.image.openai", "xai"],
    ),
    "a provider of pictures without a default": (
        lambda raw: raw["defaults"]["image"].pop("google"),
        ["defaults.image lacks google, which makes images"],
    ),
    "a provider of clips without a choice in a mode": (
        lambda raw: raw["modes"]["production"].pop("providers"),
        ["modes.production.providers lacks google, which makes videos"],
    ),
    "modes of two providers": (
        lambda raw: raw["modes"]["draft"].update(raw["modes"]["draft"]["providers"]["google"]),
        ["modes.draft_i2v.model is of xai, other modes have google"],
    ),
    "an unknown successor": (
        lambda raw: raw["imageModels"]["grok-2-image"].update(replacedBy="grok-3-image"),
        ["imageModels.grok-2-image.replacedBy names 'grok-3-image'"],
    ),
    "an unknown successor of a video model": (
        lambda raw: raw["videoModels"]["veo-3.1-generate-preview"].update(replacedBy=XAI),
        ["videoModels.veo-3.1-generate-preview.replacedBy", XAI],
    ),
    "a retirement without a successor": (
        lambda raw: raw["imageModels"]["grok-2-image"].pop("replacedBy"),
        ["imageModels.grok-2-image retires but has no replacedBy"],
    ),
    "an unknown provider": (
        lambda raw: raw["imageModels"][XAI].update(provider="openai"),
        [f"imageModels.{XAI}.provider", "'xai' or 'google'"],
    ),
    "an extra key at the top": (lambda raw: raw.update(models={}), ["presets.json: models", "not permitted"]),
    "an extra key in a model": (
        lambda raw: raw["imageModels"][XAI].update(maxn=3),
        [f"imageModels.{XAI}.maxn", "not permitted"],
    ),
    "an extra key in a mode": (
        lambda raw: raw["modes"]["draft"].update(usd="0.05"),
        ["modes.draft.usd", "not permitted"],
    ),
    "a key in Python's spelling": (
        lambda raw: raw["imageModels"][XAI].update(max_n=3),
        [f"imageModels.{XAI}.max_n", "not permitted"],
    ),
    "no pictures at all": (lambda raw: raw["imageModels"][XAI].update(maxN=0), [f"imageModels.{XAI}.maxN"]),
    "another version": (lambda raw: raw.update(schemaVersion="2.0"), ["schemaVersion", "'1.0'"]),
    "a missing table": (lambda raw: raw.pop("videoModels"), ["videoModels", "required"]),
    "a missing limit": (lambda raw: raw["limits"].pop("priceMaxAgeDays"), ["limits.priceMaxAgeDays", "required"]),
    "no longest prompt": (
        lambda raw: raw["imageModels"][XAI].pop("maxPromptChars"),
        [f"imageModels.{XAI}", "needs maxPromptChars"],
    ),
    "pictures of no type": (
        lambda raw: raw["imageModels"][XAI].pop("imageTypes"),
        [f"imageModels.{XAI}", "needs imageTypes"],
    ),
    "frames of no type": (
        lambda raw: raw["videoModels"]["grok-imagine-video-1.5"].pop("imageTypes"),
        ["videoModels.grok-imagine-video-1.5", "needs imageTypes"],
    ),
    "a doubt about nothing": (
        lambda raw: raw["videoModels"]["grok-imagine-video"].update(unsure=["maxEditInputS", "maxLoudness"]),
        ["videoModels.grok-imagine-video", "unsure names maxLoudness, which is not said of this model"],
    ),
    "an edit in a size without a price": (
        lambda raw: raw["videoModels"]["grok-imagine-video"].update(editResolutions=["8k"]),
        ["videoModels.grok-imagine-video", "prices.secondUsd lacks 8k"],
    ),
    "clips of no codec": (
        lambda raw: raw["videoModels"]["grok-imagine-video"].pop("videoCodecs"),
        ["videoModels.grok-imagine-video", "needs videoCodecs"],
    ),
}


@pytest.mark.parametrize(("change", "told"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_with_the_file_and_the_key(
    change: Callable[[Raw], object], told: list[str], tmp_path: Path
) -> None:
    message = fault(tmp_path, change)
    assert message.startswith("presets.json: ")
    for part in told:
        assert part in message


def test_models_of_what_a_vendor_does_not_make_are_a_fault() -> None:
    pictures_only = replace(VENDORS[0], makers={"image": VENDORS[0].makers["image"]})
    with pytest.raises(ValueError, match=r"videoModels\.grok-imagine-video is of xai, which makes no videos"):
        check_agreement(load_presets(), [pictures_only, *VENDORS[1:]])


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    raw = copy.deepcopy(SHIPPED)
    raw["limits"]["priceMaxAgeDays"] = "many"
    raw["imageModels"][XAI]["maxN"] = 0
    raw["surplus"] = 1
    path = write(tmp_path, raw)
    with pytest.raises(ConfigError) as caught:
        load_presets(path)
    assert len(caught.value.problems) == 3
    for key in ("limits.priceMaxAgeDays", f"imageModels.{XAI}.maxN", "surplus"):
        assert key in caught.value.message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ('{"modes": }', "at line 1"),
        ('{\n "a": 1,\n}', "at line 3"),
        ("<html></html>", "is not JSON"),
        ("[]", "file"),
        ("null", "file"),
        ("5", "file"),
    ],
)
def test_a_file_that_is_no_table_is_told_as_such(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"presets\.json") as caught:
        load_presets(write(tmp_path, content))
    assert told in caught.value.message


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"presets\.json cannot be read: No such file"):
        load_presets(tmp_path / "presets.json")


def test_a_folder_in_place_of_the_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_presets(tmp_path)


def keys(value: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return []
    return [found for key, inner in value.items() for found in ((*path, key), *keys(inner, (*path, key)))]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    path=st.sampled_from(keys(SHIPPED)),
    junk=st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just([]) | st.just({}) | st.just([{}]),
)
def test_any_junk_value_is_refused_by_name_or_taken(path: tuple[str, ...], junk: Any, tmp_path: Path) -> None:
    raw = copy.deepcopy(SHIPPED)
    inner = raw
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = junk
    message = ""
    try:
        assert isinstance(load_presets(write(tmp_path, raw)), Presets)
    except ConfigError as exc:
        message = exc.message
    assert not message or str(junk) in message or any(str(part) in message for part in path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda raw: raw["imageModels"][XAI].update(defaultEditQuality="high"), "defaultEditQuality must be one of"),
        (lambda raw: raw["videoModels"][XAI_VIDEO].pop("maxExtendInputS"), "needs maxExtendInputS"),
        (lambda raw: raw["videoModels"][XAI_VIDEO].pop("referenceResolutions"), "needs referenceResolutions"),
        (lambda raw: raw["defaults"]["video"].update(extendModel="grok-imagine-video-1.5"), "cannot extend"),
        (lambda raw: raw["defaults"]["video"].update(extendModel="nobody"), "cannot extend"),
    ],
)
def test_a_capability_comes_with_the_limits_that_its_price_needs(
    tmp_path: Path, change: Callable[[Raw], object], text: str
) -> None:
    assert text in fault(tmp_path, change)
