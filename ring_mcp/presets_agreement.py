"""What the tables of presets.json owe each other, and the list of vendors. Each fault is a ValueError with its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from ring_mcp.domain import MediaKind
from ring_mcp.providers.base import Vendor
from ring_mcp.providers.vendors import VENDORS

if TYPE_CHECKING:
    from ring_mcp.presets import Defaults, ModeChoice, Model, Presets, VideoModel


def check_agreement(presets: Presets, vendors: Sequence[Vendor] = VENDORS) -> None:
    _check_modes(presets)
    _check_defaults(presets.defaults, presets)
    _check_successors("imageModels", presets.image_models)
    _check_successors("videoModels", presets.video_models)
    _check_vendors(presets, vendors)


def _check_modes(presets: Presets) -> None:
    for name, mode in presets.modes.items():
        if mode.model not in presets.video_models:
            raise ValueError(f"modes.{name}.model names {mode.model!r}, which videoModels does not have")
        _check_resolution(f"modes.{name}", mode, presets.video_models)
        # Who is asked when nobody says whom is read off the first mode, so the others must not say something else.
        if (provider := presets.video_models[mode.model].provider) != presets.video_providers[0]:
            raise ValueError(f"modes.{name}.model is of {provider}, other modes have {presets.video_providers[0]}")
        for provider, choice in mode.providers.items():
            model, where = presets.video_models.get(choice.model), f"modes.{name}.providers.{provider}"
            if model is None or model.provider != provider:
                raise ValueError(f"{where}.model names {choice.model!r}, not one of its videoModels")
            _check_resolution(where, choice, presets.video_models)


def _check_resolution(where: str, choice: ModeChoice, models: Mapping[str, VideoModel]) -> None:
    """What a model makes has a price: that is checked where the model is read."""
    if choice.resolution not in models[choice.model].resolutions:
        raise ValueError(f"{where}.resolution is {choice.resolution!r}, which {choice.model} does not make")


def _check_defaults(defaults: Defaults, presets: Presets) -> None:
    for provider, chosen in defaults.image.items():
        model = presets.image_models.get(chosen.model)
        if model is None or model.provider != provider:
            raise ValueError(f"defaults.image.{provider}.model names {chosen.model!r}, not one of its imageModels")
    extender = presets.video_models.get(defaults.video.extend_model)
    if extender is None or not extender.extend:
        raise ValueError(f"defaults.video.extendModel names {defaults.video.extend_model!r}, which cannot extend")


def _check_successors(table: str, models: Mapping[str, Model]) -> None:
    for name, model in models.items():
        successor = models.get(model.replaced_by) if model.replaced_by is not None else None
        if model.replaced_by is not None and (successor is None or successor.provider != model.provider):
            raise ValueError(f"{table}.{name}.replacedBy names {model.replaced_by!r}, which {table} lacks")
        # A redirect is followed once: it has to end at a model that stays.
        if model.redirect and successor is not None and successor.retires_on is not None:
            raise ValueError(f"{table}.{name}.redirect leads to {model.replaced_by!r}, which retires itself")
        # Whoever is refused a retired model is told what to ask for in its place. (date.max: does it ever retire?)
        if model.is_retired(date.max) and model.replaced_by is None:
            raise ValueError(f"{table}.{name} retires but has no replacedBy")


def _check_vendors(presets: Presets, vendors: Sequence[Vendor]) -> None:
    """Half a vendor is none: what it makes has its rows, and what has rows it makes."""
    tables: Mapping[MediaKind, tuple[str, Mapping[str, Model]]] = {
        "image": ("imageModels", presets.image_models),
        "video": ("videoModels", presets.video_models),
    }
    for vendor in vendors:
        for kind, (table, models) in tables.items():
            mine = [name for name, model in models.items() if model.provider == vendor.name]
            if mine and kind not in vendor.makers:
                raise ValueError(f"{table}.{mine[0]} is of {vendor.name}, which makes no {kind}s")
        if "image" in vendor.makers and vendor.name not in presets.image_providers:
            raise ValueError(f"defaults.image lacks {vendor.name}, which makes images")
        for name, mode in presets.modes.items():
            if "video" in vendor.makers and vendor.name not in (presets.video_providers[0], *mode.providers):
                raise ValueError(f"modes.{name}.providers lacks {vendor.name}, which makes videos")
