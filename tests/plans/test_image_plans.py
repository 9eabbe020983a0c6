"""What a request for pictures becomes, without any I/O: defaults, limits, retirement, prices."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.domain import ImagePlan, ImageRequest
from ring_mcp.errors import InvalidRequest, ModelRetired
from ring_mcp.package_data import data_path
from ring_mcp.plans.image import ImageSettings, plan_image
from ring_mcp.presets import Presets, load_presets

PRESETS = load_presets()
RAW: Mapping[str, Any] = json.loads(data_path("presets.json").read_text())
TODAY = date(2026, 11, 21)
NOTHING_SET = ImageSettings(
    default_provider="xai", storage_prefix="generated", models={}, aspect_ratios={}, resolutions={}
)
ALL_SET = ImageSettings(
    default_provider="xai",
    storage_prefix="from-config",
    models={"xai": "grok-imagine-image", "google": "gemini-3-pro-image"},
    aspect_ratios={"xai": "16:9", "google": "4:5"},
    resolutions={"xai": "1K", "google": "2k"},
)
XAI, XAI_OLD, GOOGLE = "grok-imagine-image-2.0", "grok-imagine-image", "gemini-nano-banana-2.1"


def plan(
    settings: ImageSettings = NOTHING_SET, presets: Presets = PRESETS, today: date = TODAY, **asked: Any
) -> ImagePlan:
    return plan_image(ImageRequest(**{"prompt": "a lighthouse"} | asked), settings, presets, today)


def refusal(error: type[InvalidRequest] = InvalidRequest, **asked: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        plan(**asked)
    assert type(caught.value) is error
    assert caught.value.billed == "no"
    return caught.value.message


@pytest.mark.parametrize("provider", ["xai", "google"])
def test_a_bare_prompt_gets_every_default_of_presets_json(provider: str) -> None:
    defaults = RAW["defaults"]["image"][provider]
    made = plan(provider=provider)
    assert (made.provider, made.model, made.requested_model) == (provider, defaults["model"], defaults["model"])
    assert (made.aspect_ratio, made.resolution, made.n) == (defaults["aspectRatio"], defaults["resolution"], 1)
    assert (made.purpose, made.ref_code, made.seed, made.warnings) == ("image", None, None, ())
    assert made.storage_prefix == "generated"


def test_what_is_asked_for_is_planned() -> None:
    made = plan(
        provider="google",
        model="gemini-3-pro-image",
        aspect_ratio="21:9",
        resolution="2k",
        n=3,
        purpose="og",
        ref_code="R-7",
        seed=0,
    )
    assert (made.provider, made.model, made.aspect_ratio, made.resolution) == (
        "google",
        "gemini-3-pro-image",
        "21:9",
        "2k",
    )
    assert (made.n, made.purpose, made.ref_code, made.seed, made.warnings) == (3, "og", "R-7", 0, ())


@pytest.mark.parametrize(
    ("settings", "asked", "expected"),
    [
        (NOTHING_SET, {}, (XAI, "1:1", "2k")),
        (ALL_SET, {}, (XAI_OLD, "16:9", "1k")),
        (ALL_SET, {"model": XAI}, (XAI, "16:9", "1k")),
        (ALL_SET, {"aspect_ratio": "9:16"}, (XAI_OLD, "9:16", "1k")),
        (ALL_SET, {"resolution": "2k"}, (XAI_OLD, "16:9", "2k")),
        (ALL_SET, {"provider": "google"}, ("gemini-3-pro-image", "4:5", "2k")),
        (ALL_SET, {"provider": "google", "model": GOOGLE, "resolution": "1k"}, (GOOGLE, "4:5", "1k")),
        (replace(ALL_SET, models={"xai": None}), {}, (XAI, "16:9", "1k")),
        (replace(ALL_SET, default_provider="google"), {}, ("gemini-3-pro-image", "4:5", "2k")),
        (replace(ALL_SET, default_provider="google"), {"provider": "xai"}, (XAI_OLD, "16:9", "1k")),
        (ALL_SET, {"model": "", "aspect_ratio": "", "resolution": ""}, (XAI_OLD, "16:9", "1k")),
    ],
)
def test_the_request_comes_before_the_configuration_and_that_before_presets_json(
    settings: ImageSettings, asked: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    made = plan(settings, **asked)
    assert (made.model, made.aspect_ratio, made.resolution) == expected
    assert made.storage_prefix == settings.storage_prefix


@pytest.mark.parametrize(("said", "meant"), [("2K", "2k"), ("1.5K", "1.5k"), (" 1k ", "1k")])
def test_a_resolution_may_be_written_in_capitals(said: str, meant: str) -> None:
    assert plan(resolution=said).resolution == meant


@pytest.mark.parametrize("said", ["XAI", "xAI", " xai ", "Google", "GOOGLE"])
def test_a_provider_may_be_written_in_capitals(said: str) -> None:
    assert plan(provider=said).provider == said.strip().lower()


@pytest.mark.parametrize("wrong", ["openai", "x", " "])
def test_a_wrong_provider_is_told_with_those_there_are(wrong: str) -> None:
    message = refusal(provider=wrong)
    assert message == f"provider must be one of xai, google, got {wrong.strip()!r}"


@pytest.mark.parametrize(
    ("provider", "wrong"), [("xai", GOOGLE), ("google", XAI), ("xai", "dall-e-3"), ("xai", "auto")]
)
def test_a_wrong_model_is_told_with_the_living_ones_of_each_provider(provider: str, wrong: str) -> None:
    message = refusal(provider=provider, model=wrong)
    assert message.startswith("model must be one of ")
    assert repr(wrong) in message
    own, *others = message.removeprefix("model must be one of ").rpartition(", got ")[0].split(", or ")
    told = {each.rpartition(" for provider ")[2]: each.rpartition(" for provider ")[0] for each in (own, *others)}
    assert own.endswith(f" for provider {provider}")
    for name, model in PRESETS.image_models.items():
        assert (name in told[model.provider].split(", ")) is not model.is_retired(TODAY)


MODELS = [name for name, model in PRESETS.image_models.items() if not model.is_retired(TODAY)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("field", ["aspectRatio", "resolution"])
def test_a_wrong_shape_is_told_with_everything_that_the_model_takes(name: str, field: str) -> None:
    model = PRESETS.image_models[name]
    asked: dict[str, Any] = {"aspect_ratio": "7:5"} if field == "aspectRatio" else {"resolution": "8k"}
    allowed = model.aspect_ratios if field == "aspectRatio" else model.resolutions
    message = refusal(provider=model.provider, model=name, **asked)
    got = next(iter(asked.values()))
    nearest = "; the nearest are 4:3 and 3:2" if field == "aspectRatio" else ""
    assert message == f"{field} must be one of {', '.join(allowed)} for {name}, got {got!r}{nearest}"


@pytest.mark.parametrize("name", MODELS)
def test_every_ratio_and_resolution_that_a_model_lists_is_planned(name: str) -> None:
    model = PRESETS.image_models[name]
    for ratio, resolution in product(model.aspect_ratios, model.resolutions):
        made = plan(provider=model.provider, model=name, aspect_ratio=ratio, resolution=resolution)
        assert (made.aspect_ratio, made.resolution) == (ratio, resolution)


def test_a_default_that_a_model_does_not_take_is_told() -> None:
    settings = replace(ALL_SET, aspect_ratios={"xai": "21:9"})
    assert plan(settings, model=XAI).aspect_ratio == "21:9"
    assert refusal(settings=settings, model=XAI_OLD).startswith("aspectRatio must be one of 1:1, 3:4")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("over", [0, -1, 1])
def test_a_number_of_pictures_outside_the_limits_is_told_with_the_limits(name: str, over: int) -> None:
    model = PRESETS.image_models[name]
    wrong = model.max_n + over if over > 0 else over
    message = refusal(provider=model.provider, model=name, n=wrong)
    assert message == f"n must be between 1 and {model.max_n} for {name}, got {wrong}"


def test_a_retired_model_is_refused_with_its_successor() -> None:
    message = refusal(ModelRetired, model="grok-2-image")
    assert message == f"model grok-2-image was retired by its provider on 2026-05-15; use {XAI} instead"


def test_a_redirected_model_is_served_at_its_successors_price() -> None:
    made = plan(model="grok-imagine-image-quality")
    assert (made.model, made.requested_model) == (XAI, "grok-imagine-image-quality")
    assert made.warnings == (f"grok-imagine-image-quality was retired on 2026-11-02: {XAI} serves it now",)
    assert made.list_usd == plan(model=XAI).list_usd


def test_a_retired_model_is_treated_alike_configured_or_asked_for() -> None:
    settings = replace(ALL_SET, models={"xai": "grok-imagine-image-quality"})
    assert plan(settings).warnings
    assert "use" in refusal(ModelRetired, settings=replace(ALL_SET, models={"xai": "grok-2-image"}))


@pytest.mark.parametrize(
    ("today", "model"), [(date(2026, 11, 1), "grok-imagine-image-quality"), (date(2026, 11, 2), XAI)]
)
def test_a_model_lives_until_the_day_before_it_retires(today: date, model: str) -> None:
    made = plan(today=today, model="grok-imagine-image-quality")
    assert made.model == model
    assert bool(made.warnings) == (model == XAI)


RETIRED = [name for name, model in PRESETS.image_models.items() if model.is_retired(TODAY)]


@pytest.mark.parametrize("name", RETIRED)
def test_every_retired_models_successor_lives_with_the_same_provider(name: str) -> None:
    model = PRESETS.image_models[name]
    assert model.replaced_by is not None
    successor = PRESETS.image_models[model.replaced_by]
    assert not successor.is_retired(TODAY)
    assert successor.provider == model.provider


@pytest.mark.parametrize("seed", [0, 42, -1])
def test_a_seed_that_a_model_has_not_is_dropped_with_a_warning(seed: int) -> None:
    made = plan(seed=seed)
    assert made.seed is None
    (warning,) = made.warnings
    assert warning.startswith(f"seed was not used: {XAI} has no seed")


@pytest.mark.parametrize("seed", [0, 42, -1, 2**31 - 1, -(2**31)])
def test_a_seed_that_a_model_takes_is_kept(seed: int) -> None:
    made = plan(provider="google", seed=seed)
    assert (made.seed, made.warnings) == (seed, ())


@pytest.mark.parametrize(("seed", "n"), [(2**31, 1), (2**32 - 1, 1), (-(2**31) - 1, 1), (10**500, 1), (2**31 - 2, 3)])
def test_a_seed_beyond_those_of_the_provider_is_refused(seed: int, n: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        plan(provider="google", seed=seed, n=n)
    assert caught.value.message.startswith(f"seed must be between -2147483648 and {2**31 - n} for")
    assert ("n=3" in caught.value.message) == (n == 3)
    assert len(caught.value.message) < 200


def test_the_last_seed_leaves_room_for_each_picture() -> None:
    assert plan(provider="google", seed=2**31 - 3, n=3).seed == 2**31 - 3


@pytest.mark.parametrize(
    ("said", "stored"), [(None, "image"), ("", "image"), ("  ", "image"), ("og", "og"), ("A-b_9", "A-b_9")]
)
def test_a_purpose_is_kept_and_its_absence_is_image(said: str | None, stored: str) -> None:
    made = plan(purpose=said)
    assert (made.purpose, made.warnings) == (stored, ())


@pytest.mark.parametrize(
    ("said", "stored"), [("og image", "og_image"), ("été", "ete"), (".hidden", "_hidden"), ("a\x00b", "a_b")]
)
def test_a_purpose_with_other_characters_is_made_safe_with_a_warning(said: str, stored: str) -> None:
    made = plan(purpose=said)
    assert made.purpose == stored
    assert made.warnings == (f"purpose is stored as {stored!r}",)


@pytest.mark.parametrize("said", ["новини", "新闻", "novyny-новини", "ニュース 2026"])
def test_a_purpose_in_another_script_keeps_apart_from_others(said: str) -> None:
    made = plan(purpose=said)
    assert re.fullmatch(r"[A-Za-z0-9_-]+-[0-9a-f]{8}", made.purpose)
    assert made.purpose != plan(purpose=said.translate({ord(said[-1]): "х"})).purpose
    assert made.purpose == plan(purpose=f" {said} ").purpose
    assert made.warnings == (f"purpose is stored as {made.purpose!r}",)


@pytest.mark.parametrize("said", ["a/b", "/etc", "..", "a..b", "\\\\server", "../../x", "x" * 101])
def test_a_purpose_that_looks_like_a_path_is_refused(said: str) -> None:
    assert refusal(purpose=said).startswith("purpose must be one path segment")


@given(st.text(max_size=120))
def test_every_purpose_is_one_safe_segment_or_refused(said: str) -> None:
    try:
        made = plan(purpose=said)
    except InvalidRequest:
        return
    assert made.purpose
    assert made.purpose.isascii()
    assert set(made.purpose) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t"])
def test_a_prompt_is_required(prompt: str) -> None:
    assert refusal(prompt=prompt) == "prompt is required"


def test_a_prompts_longest_length_is_exact_without_blanks_around() -> None:
    for name in (XAI, GOOGLE):
        limit = PRESETS.image_models[name].max_prompt_chars
        assert plan(prompt=f"  {'x' * limit}\n", model=name).prompt == "x" * limit
        assert plan(prompt="ü" * limit, model=name).prompt == "ü" * limit
        text = f"prompt may have {limit} characters at most for {name}, got {limit + 1}"
        assert refusal(prompt="x" * (limit + 1), model=name) == text


def test_a_prompt_is_checked_before_anything_else_is() -> None:
    assert refusal(prompt="", provider="nobody", n=99) == "prompt is required"


def with_quality(name: str, quality: str | None) -> Presets:
    model = PRESETS.image_models[name].model_copy(update={"default_quality": quality})
    return PRESETS.model_copy(update={"image_models": {**PRESETS.image_models, name: model}})


@pytest.mark.parametrize("name", MODELS)
def test_the_list_price_is_one_pictures_times_their_number(name: str) -> None:
    raw = RAW["imageModels"][name]
    tokens = raw["prices"].get("millionTokensUsd")
    made_of = {size: Decimal(tokens["image"]) * n / 10**6 for size, n in raw["prices"].get("imageTokens", {}).items()}
    for quality, by_resolution in raw["prices"].get("imageUsd", {"standard": made_of}).items():
        presets = with_quality(name, None if quality == "standard" else quality)
        for (resolution, usd), n in product(by_resolution.items(), range(1, raw["maxN"] + 1)):
            made = plan(presets=presets, provider=raw["provider"], model=name, resolution=resolution, n=n)
            line, *more = made.prices
            assert made.list_usd == made.estimated_usd == Decimal(usd) * n + sum(each.total_usd for each in more)
            assert [each.unit_usd for each in more] == ([Decimal(tokens["input"]) / 10**6] if tokens else [])
            assert (line.unit_usd, line.count, line.as_of) == (Decimal(usd), Decimal(n), raw["prices"]["asOf"])
            assert name in line.what
            assert resolution in line.what


@given(st.integers(1, 10), st.sampled_from(["1k", "1.5k", "2k"]))
def test_a_price_is_exact_money_and_grows_with_the_number_of_pictures(n: int, resolution: str) -> None:
    made = plan(n=n, resolution=resolution)
    assert isinstance(made.list_usd, Decimal)
    assert made.list_usd == n * plan(resolution=resolution).list_usd > 0


def test_a_plan_survives_being_written_down() -> None:
    made = plan(n=3, seed=4, purpose="my purpose", ref_code="R")
    assert ImagePlan.model_validate_json(made.model_dump_json()) == made


ANY_TEXT = st.none() | st.text(max_size=12) | st.sampled_from(["xai", "google", XAI, GOOGLE, "1:1", "2k", "auto"])


@given(
    prompt=st.text(max_size=20),
    provider=ANY_TEXT,
    model=ANY_TEXT,
    aspect_ratio=ANY_TEXT,
    resolution=ANY_TEXT,
    n=st.none() | st.integers(-3, 30),
    seed=st.none() | st.integers(),
    purpose=ANY_TEXT,
)
def test_any_request_becomes_a_priced_plan_within_the_limits_or_is_refused(**asked: Any) -> None:
    try:
        made = plan(**asked)
    except InvalidRequest as exc:
        assert exc.message.isprintable() or not str(asked).isprintable()  # noqa: PT017 - most are planned
        return
    model = PRESETS.image_models[made.model]
    assert made.aspect_ratio in model.aspect_ratios
    assert made.resolution in model.resolutions
    assert 1 <= made.n <= model.max_n
    assert made.list_usd > 0


PICTURE = "https://example.com/a.jpg"


def test_rings_own_arguments_cost_what_they_did_when_ours_are_absent() -> None:
    made = plan()
    assert (made.quality, made.asked_quality, made.reference_images) == ("low", None, ())
    assert (made.list_usd, made.estimated_usd, len(made.prices)) == (Decimal("0.06"), Decimal("0.06"), 1)


@pytest.mark.parametrize(
    ("asked", "quality", "asked_quality", "listed"),
    [
        ({"quality": "low"}, "low", "low", "0.06"),
        ({"quality": "Medium"}, "medium", "medium", "0.08"),
        ({"quality": " Auto"}, "low", None, "0.06"),
        ({"quality": "auto", "reference_images": (PICTURE,)}, "medium", None, "0.09"),
        ({"quality": "auto", "model": XAI_OLD}, None, None, "0.02"),
        ({"quality": "medium", "resolution": "1k", "n": 3}, "medium", "medium", "0.18"),
        ({"reference_images": (PICTURE,)}, "medium", None, "0.09"),
        ({"reference_images": (PICTURE,) * 5, "quality": "low", "n": 2}, "low", "low", "0.17"),
        ({"reference_images": (PICTURE,) * 3, "model": XAI_OLD}, None, None, "0.026"),
    ],
)
def test_quality_and_every_picture_given_have_their_price(
    asked: dict[str, Any], quality: str | None, asked_quality: str | None, listed: str
) -> None:
    made = plan(**asked)
    assert (made.quality, made.asked_quality) == (quality, asked_quality)
    assert made.list_usd == made.estimated_usd == Decimal(listed)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"quality": "high"}, f"quality must be one of low, medium for {XAI}, got 'high'"),
        ({"quality": "low", "model": XAI_OLD},
         f"model {XAI_OLD} has no quality to choose; leave quality out, or use {XAI}"),
        ({"quality": "low", "provider": "google"}, f"model {GOOGLE} has no quality to choose"),
        ({"reference_images": (PICTURE,) * 6},
         f"model {XAI} takes at most 5 reference images, got 6; the limits are 5 with {XAI}, 3 with {XAI_OLD}"),
        ({"reference_images": (PICTURE,) * 4, "model": XAI_OLD}, f"model {XAI_OLD} takes at most 3 reference images"),
        ({"reference_images": (PICTURE,) * 15, "provider": "google"},
         f"model {GOOGLE} takes at most 14 reference images, got 15; the limits are 5 with {XAI}, 3 with {XAI_OLD}, "
         f"14 with {GOOGLE}, gemini-3.1-flash-lite-image or gemini-3-pro-image (this bound is unsure: see"),
        ({"reference_images": (PICTURE,) * 2, "provider": "google", "aspect_ratio": "2:1"}, "got '2:1'; the nearest"),
        ({"provider": "google", "aspect_ratio": "auto"}, "aspectRatio must be one of 1:1"),
        ({"reference_images": (PICTURE,) * 2, "aspect_ratio": "7:3"}, "aspectRatio must be one of"),
    ],
)  # fmt: skip
def test_pictures_and_qualities_not_taken_are_refused_with_what_is(asked: dict[str, Any], text: str) -> None:
    assert text in refusal(**asked)


@pytest.mark.parametrize(
    ("count", "asked", "ratio", "warned"),
    [(1, None, "auto", False), (1, "16:9", "auto", True), (2, None, "auto", False), (2, "16:9", "16:9", False)],
)
def test_an_edit_keeps_the_ratio_of_what_it_edits(count: int, asked: str | None, ratio: str, warned: bool) -> None:
    made = plan(ALL_SET, model=XAI, reference_images=(PICTURE,) * count, aspect_ratio=asked)
    assert made.aspect_ratio == ratio
    assert any("aspectRatio is not used" in warning for warning in made.warnings) is warned


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("asked", "ratio"), [(None, "auto"), ("Auto", "auto"), ("16:9", "16:9")])
def test_an_edit_by_google_has_the_ratio_that_is_asked(count: int, asked: str | None, ratio: str) -> None:
    made = plan(model=GOOGLE, reference_images=(PICTURE,) * count, aspect_ratio=asked)
    assert made.aspect_ratio == ratio
    assert not any("aspectRatio" in warning for warning in made.warnings)


@pytest.mark.parametrize(
    ("model", "given_usd"),
    [(GOOGLE, "0.00168"), ("gemini-3.1-flash-lite-image", "0.00028"), ("gemini-3-pro-image", "0.00112")],
)
def test_each_picture_by_google_is_given_everything_again(model: str, given_usd: str) -> None:
    made = plan(model=model, reference_images=(PICTURE,) * 3, n=4)
    [line] = [line for line in made.prices if line.what.startswith("reference image")]
    assert (line.unit_usd, line.count) == (Decimal(given_usd), Decimal(12))
    [prompt] = [line for line in made.prices if line.what.startswith("prompt")]
    assert prompt.count == 4 * len(made.prompt)


IMAGEN = "imagen-4.0-generate-001"


def test_a_retired_model_at_an_own_endpoint_is_asked_of_its_provider() -> None:
    own = replace(NOTHING_SET, own_endpoints=frozenset({"google"}))
    made = plan(own, provider="google", model=IMAGEN)
    assert (made.model, made.requested_model) == (IMAGEN, IMAGEN)
    assert any("your own endpoint is asked for it" in warning for warning in made.warnings)
    for settings in (NOTHING_SET, replace(NOTHING_SET, own_endpoints=frozenset({"xai"}))):
        with pytest.raises(ModelRetired):
            plan(settings, provider="google", model=IMAGEN)


def test_a_model_without_a_price_is_not_called() -> None:
    bare = PRESETS.image_models[XAI].model_copy(update={"prices": None})
    presets = PRESETS.model_copy(update={"image_models": {**PRESETS.image_models, XAI: bare}})
    with pytest.raises(InvalidRequest, match=r"^model \S+ has no price in presets\.json, so it is not called$"):
        plan(presets=presets)


@pytest.mark.parametrize(("model", "deferred"), [(XAI, True), (GOOGLE, False)])
def test_pictures_are_asked_for_deferred_where_the_model_can(model: str, deferred: bool) -> None:
    assert RAW["imageModels"][model].get("deferred", False) is deferred
    assert plan(model=model).deferred is deferred


NAMED = {"xai": {"image_model": "MODEL_SET", "image_aspect_ratio": "RATIO_SET", "image_resolution": "SIZE_SET"}}


@pytest.mark.parametrize(
    ("given", "asked", "text"),
    [
        ({"models": {"xai": "none-such"}}, {}, "MODEL_SET must be one of "),
        ({"models": {"xai": "none-such"}}, {"model": "neither"}, "model must be one of "),
        ({"aspect_ratios": {"xai": "7:50"}}, {}, "RATIO_SET must be one of "),
        ({"aspect_ratios": {"xai": "1:1"}}, {"aspect_ratio": "7:50"}, "aspectRatio must be one of "),
        ({"resolutions": {"xai": "9k"}}, {}, "SIZE_SET must be one of "),
        ({"resolutions": {"xai": "1k"}}, {"resolution": "9k"}, "resolution must be one of "),
        ({}, {"provider": "none-such"}, "provider must be one of "),
    ],
)
def test_what_is_refused_is_named_for_whoever_has_set_it(
    given: dict[str, Any], asked: dict[str, Any], text: str
) -> None:
    settings = replace(NOTHING_SET, variables=NAMED, **given)
    assert refusal(settings=settings, **asked).startswith(text)


def test_a_size_of_presets_json_is_nobodys_variable() -> None:
    defaults = PRESETS.defaults.image["xai"].model_copy(update={"resolution": "9k"})
    table = PRESETS.defaults.model_copy(update={"image": {**PRESETS.defaults.image, "xai": defaults}})
    presets = PRESETS.model_copy(update={"defaults": table})
    settings = replace(NOTHING_SET, variables=NAMED)
    assert refusal(settings=settings, presets=presets).startswith("resolution must be one of ")


@pytest.mark.parametrize(
    "model",
    [GOOGLE, f"google/{GOOGLE}", f"models/{GOOGLE}", f"gemini/{GOOGLE}", f"publishers/google/models/{GOOGLE}",
     f"router/Google/{GOOGLE}"],
)  # fmt: skip
def test_a_model_alone_says_whose_it_is_with_a_word(model: str) -> None:
    made = plan(model=model)
    assert (made.provider, made.model, made.requested_model) == ("google", GOOGLE, GOOGLE)
    assert f"provider is google, whose model {GOOGLE} is" in made.warnings
    named = plan(provider="google", model=model)
    assert not [warning for warning in named.warnings if "whose model" in warning]
    usual = plan(replace(NOTHING_SET, default_provider="google"), model=model)
    assert not [warning for warning in usual.warnings if "whose model" in warning]


def still(settings: ImageSettings = NOTHING_SET, **asked: Any) -> ImagePlan:
    """The part of a request for a clip that is about its first frame."""
    return plan_image(ImageRequest(**{"prompt": "a lighthouse"} | asked), settings, PRESETS, TODAY, is_first_frame=True)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"prompt": " "}, "firstFramePrompt is required"),
        ({"prompt": "x" * (PRESETS.image_models[XAI].max_prompt_chars + 1)}, "firstFramePrompt may have "),
        ({"provider": "none-such"}, "imageProvider must be one of "),
        ({"model": "none-such"}, "imageModel must be one of "),
        ({"resolution": "9k"}, "imageResolution must be one of "),
        ({"resolution": "9k", "provider": "google"}, "imageResolution must be one of 1k"),
        ({"resolution": "9k", "model": XAI}, "imageResolution must be one of "),
    ],
)
def test_a_first_frame_is_refused_by_the_names_of_a_clip(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        still(**asked)
    assert caught.value.message.startswith(text)


def test_a_first_frames_provider_is_told_by_the_names_of_a_clip() -> None:
    assert f"imageProvider is google, whose model {GOOGLE} is" in still(model=GOOGLE).warnings


def test_a_first_frame_has_its_own_usual_size() -> None:
    usual = PRESETS.defaults.image["xai"].first_frame_resolution
    assert usual != ALL_SET.resolutions["xai"]
    assert still().resolution == still(ALL_SET).resolution == usual
