"""Rules that every plan shares, each at its edge."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from ring_mcp.domain import PriceLine
from ring_mcp.errors import InvalidRequest, ModelRetired
from ring_mcp.plans.rules import (
    MAX_PURPOSE_CHARS,
    check_length,
    check_prompt,
    check_purpose,
    choice,
    choose_model,
    join_counts,
    join_names,
    list_living,
    model_named,
    prompt_price,
    provider_named,
    provider_of,
    ratio,
    show,
    takers,
    values,
)
from ring_mcp.presets import ImageModel, load_presets

RETIRES = date(2026, 12, 1)
BEFORE = RETIRES - timedelta(days=1)
LIVING = load_presets().image_models["grok-imagine-image-2.0"]


def models(**changes: object) -> dict[str, ImageModel]:
    """``old`` with these facts, its successor, and one of another provider."""
    facts = {"retires_on": RETIRES, "replaced_by": "new", "redirect": False, "redirect_from": None, **changes}
    other = load_presets().image_models["gemini-nano-banana-2.1"]
    return {"old": LIVING.model_copy(update=facts), "new": LIVING, "google's": other}


def test_a_prompt_loses_the_blanks_around_it() -> None:
    assert check_prompt("  a boat\n") == "a boat"


@pytest.mark.parametrize("prompt", ["", " \n\t "])
def test_a_prompt_is_required_by_its_name(prompt: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^prompt is required$"):
        check_prompt(prompt)
    with pytest.raises(InvalidRequest, match=r"^firstFramePrompt is required$"):
        check_prompt(prompt, "firstFramePrompt")


def test_a_prompt_may_be_as_long_as_is_said() -> None:
    short = LIVING.model_copy(update={"max_prompt_chars": 10})
    check_length("x" * 10, "short", short)
    with pytest.raises(InvalidRequest, match=r"^prompt may have 10 characters at most for short, got 11$"):
        check_length("x" * 11, "short", short)
    with pytest.raises(InvalidRequest, match=r"^firstFramePrompt may have 10 characters"):
        check_length("x" * 11, "short", short, "firstFramePrompt")


@pytest.mark.parametrize(
    ("said", "kept", "warned"),
    [
        (None, "image", False),
        ("  ", "image", False),
        ("og", "og", False),
        ("a-b_C9", "a-b_C9", False),
        ("my clip", "my_clip", True),
        (" og ", "og", False),
        ("café crème", "cafe_creme", True),
        ("a–b", "a_b", True),
        ("größe", "gro_e-d353a267", True),
        ("x" * MAX_PURPOSE_CHARS, "x" * MAX_PURPOSE_CHARS, False),
    ],
)
def test_a_purpose_becomes_one_safe_segment_with_a_word_about_it(said: str | None, kept: str, warned: bool) -> None:
    warnings: list[str] = []
    assert check_purpose(said, "image", warnings) == kept
    assert warnings == ([f"purpose is stored as {kept!r}"] if warned else [])


@pytest.mark.parametrize("said", ["a/b", "a\\b", "..", "a..b", "x" * (MAX_PURPOSE_CHARS + 1)])
def test_a_purpose_like_a_path_or_too_long_is_refused(said: str) -> None:
    with pytest.raises(InvalidRequest, match="purpose must be one path segment of at most 100 letters"):
        check_purpose(said, "image", [])


def test_a_model_that_lives_is_taken_as_it_is() -> None:
    assert choose_model("old", models(), "xai", BEFORE) == ("old", models()["old"], [])


@pytest.mark.parametrize("name", ["unheard-of", "google's"])
def test_an_unknown_model_is_told_with_those_that_live(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        choose_model(name, models(), "xai", RETIRES, field="imageModel")
    offers = "new for provider xai, or google's for provider google"
    assert caught.value.message == f"imageModel must be one of {offers}, got {name!r}"


def test_a_model_that_is_redirected_is_not_named_among_the_living() -> None:
    early = models(redirect=True, redirect_from=BEFORE)
    with pytest.raises(InvalidRequest, match=r"^model must be one of new for"):
        choose_model("unheard-of", early, "xai", BEFORE)


def test_a_retired_model_is_refused_with_its_successor() -> None:
    with pytest.raises(ModelRetired, match=r"^model old was retired by its provider on 2026-12-01; use new instead$"):
        choose_model("old", models(), "xai", RETIRES)


def test_a_retired_model_that_is_redirected_is_served_by_its_successor() -> None:
    name, model, warnings = choose_model("old", models(redirect=True), "xai", RETIRES)
    assert (name, model) == ("new", LIVING)
    assert warnings == ["old was retired on 2026-12-01: new serves it now"]


def test_a_model_may_be_redirected_before_it_goes() -> None:
    name, _, warnings = choose_model("old", models(redirect=True, redirect_from=BEFORE), "xai", BEFORE)
    assert (name, warnings) == ("new", ["old will be retired on 2026-12-01: new serves it now"])


def test_only_a_model_that_ones_own_endpoint_serves_outlives_its_end_there() -> None:
    own = models(own_endpoint=True)
    name, _, warnings = choose_model("old", own, "xai", RETIRES, own_endpoint=True)
    assert (name, len(warnings)) == ("old", 1)
    assert "your own endpoint is asked for it" in warnings[0]
    for table, at_home in ((own, False), (models(own_endpoint=False), True)):
        with pytest.raises(ModelRetired):
            choose_model("old", table, "xai", RETIRES, own_endpoint=at_home)
    with pytest.raises(ModelRetired):
        choose_model("old", own, "xai", RETIRES)


def test_a_choice_is_one_of_what_the_model_takes() -> None:
    assert choice("quality", " low ", ["low", "high"], "m") == "low"
    with pytest.raises(InvalidRequest, match=r"^quality must be one of low, high for m, got 'medium'$"):
        choice("quality", "medium", ["low", "high"], "m")


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [("2:1", "16:9 and 1:1"), ("1.9:1", "16:9 and 1:1"), (" 1:2 ", "9:16 and 1:1"), ("1000:1", "16:9 and 1:1")],
)
def test_a_ratio_that_is_not_taken_is_told_with_the_two_nearest(wanted: str, nearest: str) -> None:
    allowed = ["9:16", "1:1", "auto", "16:9"]
    assert ratio("16:9", allowed, "m") == "16:9"
    with pytest.raises(InvalidRequest) as caught:
        ratio(wanted, allowed, "m")
    assert caught.value.message.endswith(f"got {wanted.strip()!r}; the nearest are {nearest}")
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("wanted", ["1920x1080", "32:18"])
def test_a_size_of_a_shape_that_is_taken_is_told_its_shape(wanted: str) -> None:
    with pytest.raises(InvalidRequest, match=r"which is 16:9$"):
        ratio(wanted, ["9:16", "1:1", "auto", "16:9"], "m")


@pytest.mark.parametrize("wanted", ["wide", "0:1", "1:0", "10000:1", "1:1:1", "١:٢"])
def test_what_is_no_ratio_has_no_nearest(wanted: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ratio(wanted, ["1:1", "16:9"], "m")
    assert "nearest" not in caught.value.message


def test_a_billed_prompt_is_priced_by_its_bytes_for_each_call() -> None:
    [line] = prompt_price("äbc", {"input": Decimal(3)}, 2, "2026-11-01")  # four bytes, twice
    assert line == PriceLine(
        what="prompt, token at most", unit_usd=Decimal("0.000003"), count=Decimal(8), as_of="2026-11-01"
    )
    [line] = prompt_price("abc", {"input": Decimal(3)}, 1, "2026-11-01")
    assert line.count == 3


def test_a_prompt_that_is_not_billed_has_no_price() -> None:
    assert prompt_price("abc", {}, 1, "2026-11-01") == []
    assert prompt_price("abc", {"input": Decimal(0)}, 1, "2026-11-01") == []


@pytest.mark.parametrize("said", ["xai", " XAI ", "xAI"])
def test_a_provider_is_known_however_it_is_written(said: str) -> None:
    assert provider_named(said, ["google", "xai"]) == "xai"


def test_an_unknown_provider_is_told_with_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match=r"^provider must be one of google, xai, got 'openai'$"):
        provider_named("openai", ["google", "xai"])


def test_an_unknown_provider_is_named_by_the_callers_own_field() -> None:
    with pytest.raises(InvalidRequest, match=r"^imageProvider must be one of google, xai, got 'openai'$"):
        provider_named("openai", ["google", "xai"], "imageProvider")


@pytest.mark.parametrize("said", ["google's", " Google's ", "google/google's", "Google/google's", "models/google's"])
def test_a_model_is_known_behind_its_provider_or_a_folder_of_models(said: str) -> None:
    assert model_named(said, models()) == "google's"
    assert provider_of(said, models()) == "google"


@pytest.mark.parametrize("said", ["", "unheard-of", "xai/google's", "x/google's", "google/unheard-of", "models/"])
def test_a_model_that_nobody_has_is_nobodys(said: str) -> None:
    assert model_named(said, models()) is None
    assert provider_of(said, models()) is None


def test_no_model_is_nobodys() -> None:
    assert provider_of(None, models()) is None


def test_lists_read_as_people_write_them() -> None:
    assert join_names(["a", "b"]) == "a, b"
    assert join_counts({"a": 5, "b": 3}) == "5 with a, 3 with b"
    assert join_counts({"a": 5, "b": 3, "c": 3, "d": 5}) == "5 with a, 3 with b or c, 5 with d"


def test_what_is_offered_is_what_models_here_to_stay_take_each_once() -> None:
    table = models()
    assert list_living(table) == ("new", "google's")
    assert takers(table, lambda model: model.max_n > LIVING.max_n) == {}
    ratios = values(table, lambda model: model.aspect_ratios)
    assert ratios == tuple(dict.fromkeys((*LIVING.aspect_ratios, *table["google's"].aspect_ratios)))


def test_a_rejected_choice_is_repeated_as_far_as_sixty_characters() -> None:
    assert show(f"  {'x' * 60}\n") == repr("x" * 60)
    assert show("x" * 61) == repr("x" * 60 + "…")
