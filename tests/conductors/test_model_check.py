"""presets.json against what the providers list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.conductors.model_check import Difference, compare, differences
from ring_mcp.errors import ProviderAuthError
from ring_mcp.presets import load_presets
from ring_mcp.providers.base import ListedModel

PRESETS = load_presets()
TODAY = date(2026, 11, 21)
FLAGSHIP, OLD = "grok-imagine-image-2.0", "grok-imagine-image"


def as_registered() -> list[ListedModel]:
    """What xAI would list if the registry were right."""
    images = [
        ListedModel(
            kind="image",
            name=name,
            prices={
                ("auto" if quality == "standard" else quality, size): price
                for quality, sizes in model.prices.image_usd.items()
                for size, price in sizes.items()
            },
        )
        for name, model in PRESETS.image_models.items()
        if model.provider == "xai" and not model.is_retired(TODAY) and model.prices is not None
    ]
    videos = [
        ListedModel(kind="video", name=name)
        for name, model in PRESETS.video_models.items()
        if model.provider == "xai" and not model.is_retired(TODAY)
    ]
    return images + videos


def changed(model: str, **facts: Any) -> list[ListedModel]:
    return [replace(each, **facts) if each.name == model else each for each in as_registered()]


def found(listed: Sequence[ListedModel]) -> list[Difference]:
    return differences(PRESETS, "xai", listed, TODAY)


def test_a_list_that_is_the_registry_differs_in_nothing() -> None:
    assert found(as_registered()) == []


def test_another_length_of_prompts_is_told() -> None:
    (difference,) = found(changed(FLAGSHIP, max_prompt_chars=4000))
    assert (difference.what, difference.registry_says, difference.listed_says) == ("prompt length", "8000", "4000")
    assert found(changed(FLAGSHIP, max_prompt_chars=8000)) == []


def test_a_model_that_the_registry_lacks_is_new() -> None:
    listed = [*as_registered(), ListedModel(kind="video", name="grok-imagine-video-2.0", aliases=("latest",))]
    assert found(listed) == [Difference(provider="xai", kind="video", model="grok-imagine-video-2.0", what="new")]


def test_a_model_that_is_no_longer_listed_has_vanished() -> None:
    listed = [model for model in as_registered() if model.name != OLD]
    assert found(listed) == [Difference(provider="xai", kind="image", model=OLD, what="vanished")]


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_model_that_its_successor_serves_already_may_be_listed_or_not(is_listed: bool) -> None:
    known = {name: model for name, model in PRESETS.video_models.items() if model.provider == "google"}
    [(old, model)] = [(name, model) for name, model in known.items() if model.redirect_from is not None]
    assert model.redirect_from is not None
    clips = [name for name in known if name != old and not known[name].is_retired(TODAY)] + [old] * is_listed
    listed = [ListedModel(kind="video", name=name) for name in clips]

    def about_clips(day: date) -> list[str]:
        return [each.model for each in differences(PRESETS, "google", listed, day) if each.kind == "video"]

    assert about_clips(model.redirect_from) == []
    assert about_clips(model.redirect_from - timedelta(days=1)) == ([] if is_listed else [old])


def test_names_of_one_kind_do_not_stand_for_another() -> None:
    assert {each.what for each in found(changed(OLD, kind="video"))} == {"new", "vanished"}


def test_a_model_under_an_alias_is_the_same_model_with_its_prices() -> None:
    dated = {"name": f"{OLD}-2026-03-02", "aliases": (OLD,)}
    assert found(changed(OLD, **dated)) == []
    dearer = found(changed(OLD, **dated, prices={("auto", "1k"): Decimal("0.03")}))
    assert [(each.model, each.registry, each.listed) for each in dearer] == [
        (f"{OLD}-2026-03-02", Decimal("0.02"), Decimal("0.03"))
    ]


def test_a_retired_name_may_be_listed_or_not() -> None:
    retired = [ListedModel(kind="image", name=name, prices={("auto", "1k"): Decimal(9)}) for name in ("grok-2-image",)]
    assert found([*as_registered(), *retired]) == []


@pytest.mark.parametrize(
    ("prices", "told"),
    [
        ({("low", "1k"): Decimal("0.04")}, []),
        ({("low", "1k"): Decimal("0.05")}, [("low 1k", Decimal("0.04"), Decimal("0.05"))]),
        ({("high", "2k"): Decimal("0.12")}, [("high 2k", None, Decimal("0.12"))]),
        ({("medium", "4k"): Decimal("0.12")}, [("medium 4k", None, Decimal("0.12"))]),
        ({("auto", "1k"): Decimal("9")}, []),
        ({}, []),
    ],
)
def test_another_price_is_told_with_both_sums(
    prices: dict[tuple[str, str], Decimal], told: list[tuple[str, Decimal | None, Decimal]]
) -> None:
    assert [(e.of, e.registry, e.listed) for e in found(changed(FLAGSHIP, prices=prices))] == told


def test_the_models_of_another_provider_are_left_alone() -> None:
    google = differences(PRESETS, "google", [], TODAY)
    assert {each.what for each in google} == {"vanished"}
    assert all(each.model.startswith("gemini") for each in google)


class Says:
    def __init__(self, models: Sequence[ListedModel] | None) -> None:
        self._models = models

    async def list_models(self) -> Sequence[ListedModel]:
        if self._models is None:
            raise ProviderAuthError("xAI refused the key")
        return self._models


async def test_a_provider_that_is_away_hides_no_other() -> None:
    compared = await compare(PRESETS, {"google": Says(None), "xai": Says(as_registered()[1:])}, TODAY)
    assert compared.asked == ("xai",)
    assert compared.failures == {"google": "xAI refused the key"}
    assert [each.what for each in compared.differences] == ["vanished"]
