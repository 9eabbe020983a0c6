"""presets.json against what the providers list: new, vanished and re-priced models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from ring_mcp.domain import MediaKind
from ring_mcp.errors import ProviderError
from ring_mcp.presets import ImageModel, Model, Presets
from ring_mcp.providers.base import ListedModel, ListsModels


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference between presets.json and a provider's list. ``registry`` and ``listed``: the two prices in USD;
    ``…_says``: the two values, for anything else than a price."""

    provider: str
    kind: MediaKind
    model: str
    what: Literal["new", "vanished", "price", "prompt length", "retirement"]
    of: str = ""
    registry: Decimal | None = None
    listed: Decimal | None = None
    registry_says: str = ""
    listed_says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``failures``: why a provider could not be asked, by its name."""

    asked: tuple[str, ...]
    differences: tuple[Difference, ...]
    failures: Mapping[str, str]


async def compare(presets: Presets, lists: Mapping[str, ListsModels], today: date) -> Comparison:
    """Compare with every provider's list, one after the other. One that cannot be asked does not stop the others."""
    found: list[Difference] = []
    failures: dict[str, str] = {}
    for provider, models in lists.items():
        try:
            found += differences(presets, provider, await models.list_models(), today)
        except ProviderError as exc:
            # Left out of ``asked`` as well: nothing is known of a provider that is away, not even that all is well.
            failures[provider] = exc.message
    asked = tuple(name for name in lists if name not in failures)
    return Comparison(asked=asked, differences=tuple(found), failures=failures)


def differences(presets: Presets, provider: str, listed: Sequence[ListedModel], today: date) -> list[Difference]:
    """What the registry lacks, has without the provider, or prices differently. Retired and redirected models of the
    registry need not be listed."""
    tables: Mapping[MediaKind, Mapping[str, Model]] = {"image": presets.image_models, "video": presets.video_models}
    found: list[Difference] = []
    for kind, table in tables.items():
        here = {name: model for name, model in table.items() if model.provider == provider}
        there = [model for model in listed if model.kind == kind]
        # A name that the provider knows as another's alias has not vanished.
        names = {name for model in there for name in (model.name, *model.aliases)}
        found += (
            Difference(provider=provider, kind=kind, model=model.name, what="new")
            for model in there
            if not {model.name, *model.aliases} & here.keys()
        )
        found += (
            Difference(provider=provider, kind=kind, model=name, what="vanished")
            for name, model in here.items()
            if name not in names and not model.is_retired(today) and not model.is_redirected(today)
        )
        for model in there:
            known = [here[name] for name in (model.name, *model.aliases) if name in here]
            found += _re_priced(provider, model, known, today)
            found += _re_measured(provider, model, known, today)
    return found


def _re_measured(provider: str, listed: ListedModel, known: Iterable[Model], today: date) -> Iterator[Difference]:
    """The prompt's length is published nowhere else, so the listed figure is the right one."""
    model = next((model for model in known if not model.is_retired(today)), None)
    most = listed.max_prompt_chars
    if model is not None and most is not None and most != model.max_prompt_chars:
        yield Difference(
            provider=provider,
            kind=listed.kind,
            model=listed.name,
            what="prompt length",
            registry_says=str(model.max_prompt_chars),
            listed_says=str(most),
        )


def _re_priced(provider: str, listed: ListedModel, known: Iterable[Model], today: date) -> Iterator[Difference]:
    """A model without qualities has one price for all of them; "auto" has no price of its own."""
    model = next((model for model in known if not model.is_retired(today)), None)
    if not isinstance(model, ImageModel) or model.prices is None:
        return
    for (quality, resolution), price in listed.prices.items():
        if model.qualities and quality == "auto":
            continue
        registry = model.prices.image_usd.get(quality if model.qualities else "standard", {}).get(resolution)
        if registry != price:
            yield Difference(
                provider=provider,
                kind=listed.kind,
                model=listed.name,
                what="price",
                of=f"{quality} {resolution}" if model.qualities else resolution,
                registry=registry,
                listed=price,
            )
