"""presets.json compared with a third party's price map, in the format that the package ``litellm`` ships. Pure.

The format: an object of models, named ``prefix/NAME``; ``litellm_provider`` names the provider. Prices are in USD for
one picture (``output_cost_per_image`` and ``…_1K``; without either, ``input_cost_per_image`` is that of the default
picture), one second of a clip (``output_cost_per_second_720p``), or one token. ``deprecation_date`` is the first day
without the model. Source: ``model_prices_and_context_window_backup.json`` in the wheel of litellm 1.110.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from ring_mcp.conductors.model_check import Difference
from ring_mcp.domain import MediaKind
from ring_mcp.errors import InvalidRequest
from ring_mcp.presets import ImageModel, Model, Presets, VideoModel
from ring_mcp.providers.vendors import VENDORS

MAX_MAP_BYTES = 64 * 1024 * 1024

_MOST_NAME_CHARS, _MOST_NUMBER_CHARS, _MOST_DIGITS = 200, 40, 20

_A_PICTURE, _A_SECOND = "output_cost_per_image", "output_cost_per_second"
_OF_A_LINE = re.compile(r"-(latest|preview|\d{3}|\d{8}|\d{4}-\d{2}-\d{2})")
_MADE: Mapping[str, MediaKind] = {"image_generation": "image", "video_generation": "video"}
_TOKENS = {
    "input": "input_cost_per_token",
    "text": "output_cost_per_token",
    "image": "output_cost_per_image_token",
    "video": "output_cost_per_video_token",
}


def read_map(content: bytes) -> dict[str, dict[str, Any]]:
    """The models of a map, with amounts as Decimal. Raises InvalidRequest for content that is no map."""
    try:
        # As Decimal from the text: through a float 0.1344 would differ from the registry's by its last digits.
        raw = json.loads(content.decode("utf-8-sig"), parse_float=_amount, parse_int=_amount, parse_constant=_amount)
    except (ValueError, RecursionError):
        raise InvalidRequest("the price map is not JSON") from None
    if not isinstance(raw, dict):
        raise InvalidRequest("the price map is no object of models")
    # Names are shown as they are, and a file may hold anything.
    models = {name: entry for name, entry in raw.items() if isinstance(entry, dict) and "litellm_provider" in entry}
    return {name: entry for name, entry in models.items() if name.isprintable() and len(name) <= _MOST_NAME_CHARS}


def _amount(text: str) -> Decimal | None:
    """A number as it is written; None for one that is no plausible price, which arithmetic might not cope with."""
    try:
        amount = Decimal(text) if len(text) <= _MOST_NUMBER_CHARS else None
    except InvalidOperation:
        return None
    if amount is None or not amount.is_finite():
        return None
    fits = -_MOST_DIGITS < amount.adjusted() < _MOST_DIGITS and int(amount.as_tuple().exponent) > -_MOST_DIGITS
    return amount if fits else None


def compare_with_map(presets: Presets, models: Mapping[str, Mapping[str, Any]], today: date) -> list[Difference]:
    """Prices and retirement dates that differ, models that the map lacks, and those that the registry lacks ("new")."""
    found: list[Difference] = []
    for vendor in VENDORS:
        prefix = f"{vendor.price_map}/"  # names with more in them are prices of one size or quality
        there = {name.removeprefix(prefix): entry for name, entry in models.items() if name.startswith(prefix)}
        if vendor.price_map is None or not there:
            continue
        tables: Mapping[MediaKind, Mapping[str, Model]] = {"image": presets.image_models, "video": presets.video_models}
        for kind, table in tables.items():
            here = {name: model for name, model in table.items() if model.provider == vendor.name}
            for name, model in here.items():
                if name in there:
                    found += _compare_model(presets, kind, name, model, there[name], today)
                elif not model.is_retired(today) and not model.is_redirected(today):
                    found.append(Difference(provider=vendor.name, kind=kind, model=name, what="vanished"))
            found += (
                Difference(provider=vendor.name, kind=kind, model=name, what="new")
                for name, entry in there.items()
                if _MADE.get(str(entry.get("mode"))) == kind
                and not _is_known(name, here)
                and not _is_over(entry, today)
            )
    return found


def _is_known(name: str, here: Mapping[str, Model]) -> bool:
    """Whether the registry has the model, also for a dated name or one such as ``-latest``."""
    return any(
        name == known or _OF_A_LINE.fullmatch(name.removeprefix(known)) for known in here if name.startswith(known)
    )


def _is_over(entry: Mapping[str, Any], today: date) -> bool:
    day = _day(entry)
    return day is not None and today >= day


def _day(entry: Mapping[str, Any]) -> date | None:
    try:
        return date.fromisoformat(str(entry.get("deprecation_date")))
    except ValueError:
        return None


def _compare_model(
    presets: Presets, kind: MediaKind, name: str, model: Model, entry: Mapping[str, Any], today: date
) -> Iterator[Difference]:
    day = _day(entry)
    if day != model.retires_on and not (day is None and model.is_retired(today)):
        yield Difference(
            provider=model.provider,
            kind=kind,
            model=name,
            what="retirement",
            registry_says=str(model.retires_on or "none"),
            listed_says=str(day or "none"),
        )
    if model.is_retired(today):
        return
    for of, registry, listed in _prices(presets, name, model, entry):
        if listed is not None and not _is_same(registry, listed):
            yield Difference(
                provider=model.provider, kind=kind, model=name, what="price", of=of, registry=registry, listed=listed
            )


def _is_same(registry: Decimal | None, listed: Decimal) -> bool:
    """Whether prices agree as far as the map's digits go: it rounds 0.1344 to 0.134."""
    if registry is None:
        return False
    places = Decimal(1).scaleb(int(listed.as_tuple().exponent))
    return registry == listed or (places < 1 and registry.quantize(places) == listed)


Price = tuple[str, Decimal | None, Decimal | None]
"""What it is the price of, the registry's price, the map's price."""


def _prices(presets: Presets, name: str, model: Model, entry: Mapping[str, Any]) -> Iterator[Price]:
    if isinstance(model, ImageModel) and model.prices is not None:
        yield from _picture_prices(presets, model, entry)
    if isinstance(model, VideoModel) and model.prices is not None:
        by_size = {size: _usd(entry, f"{_A_SECOND}_{size}") for size in _sizes(entry, _A_SECOND)}
        yield from ((size, model.prices.second_usd.get(size), listed) for size, listed in by_size.items())
        yield "a given picture", model.prices.input_image_usd, _usd(entry, "input_cost_per_image")
    tokens = presets.token_prices().get(name, {})
    for token, key in _TOKENS.items():
        if token in tokens and (listed := _usd(entry, key)) is not None:
            # normalize: 0.300000 and 0.30 are one price, and are shown as one.
            yield f"a million {token} tokens", tokens[token], (listed * 10**6).normalize()


def _picture_prices(presets: Presets, model: ImageModel, entry: Mapping[str, Any]) -> Iterator[Price]:
    assert model.prices is not None
    prices = model.prices.image_usd[model.default_quality or "standard"]
    usual = presets.defaults.image[model.provider].resolution
    sizes = _sizes(entry, _A_PICTURE)
    for size in sizes:
        yield size.lower(), prices.get(size.lower()), _usd(entry, f"{_A_PICTURE}_{size}")
    whole = _usd(entry, _A_PICTURE)
    if whole is None and not sizes:
        whole = _usd(entry, "input_cost_per_image")
    yield usual, prices.get(usual), whole


def _sizes(entry: Mapping[str, Any], key: str) -> list[str]:
    """The sizes that have a price under ``key_``, such as 1K or 720p; not ``token``, and not prices of batches."""
    told = (name.removeprefix(f"{key}_") for name in entry if name.startswith(f"{key}_"))
    return [size for size in told if re.fullmatch(r"[0-9][0-9A-Za-z.x_-]{0,20}", size)]


def _usd(entry: Mapping[str, Any], key: str) -> Decimal | None:
    value = entry.get(key)
    return _amount(value.strip()) if isinstance(value, str) else value if isinstance(value, Decimal) else None
