"""presets.json: quality modes, models with capabilities and life dates, dated prices.

Facts that change live in that file, never in code. ``load_presets`` names the key of whatever is wrong in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from ring_mcp.domain import MediaKind
from ring_mcp.errors import ConfigError
from ring_mcp.package_data import data_path
from ring_mcp.presets_limits import Limits, Rates
from ring_mcp.presets_prices import Entry, ImagePrices, Usd, VideoPrices
from ring_mcp.providers.vendors import ProviderName


class ModeChoice(Entry):
    """What a quality mode means with one provider; ``estimated_usd_per_second`` feeds estimatedCostUsd only."""

    model: str
    resolution: str
    estimated_usd_per_second: Usd


class QualityMode(ModeChoice):
    """One row of Ring's mode table, of the one provider that Ring has; ``providers`` are the choices of the others."""

    providers: dict[ProviderName, ModeChoice] = Field(default_factory=dict)
    requires_image_url: bool

    def of(self, provider: ProviderName) -> ModeChoice:
        return self.providers.get(provider, self)


class Model(Entry):
    """What every model has. ``retires_on`` is the first day without it.

    ``image_types`` are those of pictures that it takes, if any; ``max_inputs_bytes`` is for everything that goes along.
    ``unsure`` has the names of facts that nobody has confirmed: a refusal that rests on one says so.
    ``redirect``: its successor then serves the name, or already from ``redirect_from``, so that nobody is surprised.
    ``own_endpoint``: an endpoint of the operator's own may serve it even then. ``rates`` in place of its provider's.
    """

    provider: ProviderName
    aspect_ratios: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    max_prompt_chars: int = Field(default=0, ge=0)
    image_types: tuple[str, ...] = ()
    max_inputs_bytes: int | None = Field(default=None, gt=0)
    unsure: tuple[str, ...] = ()
    retires_on: date | None = None
    replaced_by: str | None = None
    redirect: bool = False
    redirect_from: date | None = None
    own_endpoint: bool = False
    rates: Rates | None = None

    def is_retired(self, today: date) -> bool:
        return self.retires_on is not None and today >= self.retires_on

    def is_redirected(self, today: date) -> bool:
        """Whether its successor is asked in its place."""
        early = self.redirect_from is not None and today >= self.redirect_from
        return self.redirect and (early or self.is_retired(today))

    def is_unsure(self, *facts: str) -> bool:
        """Whether one of these facts, by their names here, is one that nobody has confirmed."""
        return any(to_camel(fact) in self.unsure for fact in facts)

    @model_validator(mode="after")
    def _doubts_what_it_says(self) -> Self:
        said = {to_camel(name) for name in self.model_fields_set}
        if unknown := [name for name in self.unsure if name not in said]:
            raise ValueError(f"unsure names {', '.join(unknown)}, which is not said of this model")
        return self

    @model_validator(mode="after")
    def _redirects_until_it_retires(self) -> Self:
        if self.redirect_from is not None and not (self.redirect and self.is_retired(date.max)):  # date.max: ever
            raise ValueError("redirectFrom needs redirect and retiresOn")
        return self

    def _check_can_be_called(self, prices: object | None, *, with_pictures: object) -> None:
        needed = {"prices": prices, "maxPromptChars": self.max_prompt_chars}
        # A retired model may be a bare row: it stands there so that whoever asks for it is told what replaced it.
        missing = [name for name, fact in needed.items() if not fact]
        if missing and (self.retires_on is None or self.redirect or self.own_endpoint):
            raise ValueError(f"a model that can still be called needs {' and '.join(missing)}")
        if with_pictures and not self.image_types:
            raise ValueError("a model that takes pictures needs imageTypes")


class ImageModel(Model):
    """``images_per_call``: how many one request makes; None is all that are asked for. ``edits_take_ratio``: an edit of
    one picture can be asked in another shape than the picture's own."""

    qualities: tuple[str, ...] = ()
    default_quality: str | None = None
    default_edit_quality: str | None = None
    max_n: int = Field(default=1, ge=1)
    images_per_call: int | None = Field(default=None, ge=1)
    takes_seed: bool = False
    deferred: bool = False
    max_input_images: int = 0
    edits_take_ratio: bool = False
    prices: ImagePrices | None = None

    def count_calls(self, n: int) -> int:
        """How many requests make ``n`` pictures; each is given everything that goes along."""
        return 1 if self.images_per_call is None else -(-n // self.images_per_call)  # rounded up

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        self._check_can_be_called(self.prices, with_pictures=self.max_input_images)
        if self.qualities and self.default_quality not in self.qualities:
            raise ValueError("defaultQuality must be one of qualities")
        if self.default_edit_quality is not None and self.default_edit_quality not in self.qualities:
            raise ValueError("defaultEditQuality must be one of qualities")
        for quality in self.qualities or ("standard",):
            missing = [r for r in self.resolutions if self.prices and r not in self.prices.image_usd.get(quality, {})]
            if missing:
                raise ValueError(f"prices.imageUsd.{quality} lacks {', '.join(missing)}")
        return self


class VideoModel(Model):
    """``video_codecs`` are those of MP4 files that it edits, ``image_sets_ratio``: a first frame decides the shape.
    ``download_needs_key``: its addresses are not for all.
    ``edit_resolutions``: sizes that an edit can be asked in; none where it has its source's.
    ``*_extend_s`` are the seconds that an extension adds, ``*_extend_input_s`` those of the clip it starts from, and
    ``max_follow_up_input_s`` of one that its provider made less than ``follow_up_days`` ago, and need not be given."""

    text_to_video: bool = False
    image_to_video: bool = False
    last_frame: bool = False
    edit: bool = False
    extend: bool = False
    image_sets_ratio: bool = False
    video_codecs: tuple[str, ...] = ()
    download_needs_key: bool = False
    min_duration_s: int = 1
    max_duration_s: int = 15
    max_edit_input_s: Decimal | None = None
    edit_resolutions: tuple[str, ...] = ()
    min_extend_s: int = 1
    max_extend_s: int = 15
    min_extend_input_s: Decimal | None = None
    max_extend_input_s: Decimal | None = None
    follow_up_days: int = Field(default=0, ge=0)
    max_follow_up_input_s: Decimal | None = None
    max_reference_images: int = 0
    max_reference_duration_s: int = 15
    reference_resolutions: tuple[str, ...] = ()
    prices: VideoPrices | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        self._check_can_be_called(self.prices, with_pictures=self.image_to_video or self.max_reference_images)
        sizes = (*self.resolutions, *self.edit_resolutions)
        missing = [r for r in sizes if self.prices and r not in self.prices.second_usd]
        if missing:
            raise ValueError(f"prices.secondUsd lacks {', '.join(missing)}")
        if self.extend and self.max_extend_input_s is None:
            raise ValueError("a model that extends clips needs maxExtendInputS, for which its price is reserved")
        if (self.edit or self.extend) and not self.video_codecs:
            raise ValueError("a model that takes clips needs videoCodecs")
        if self.max_reference_images and not set(self.reference_resolutions) & set(self.resolutions):
            raise ValueError("a model with maxReferenceImages needs referenceResolutions out of its resolutions")
        return self


class ImageDefaults(Entry):
    model: str
    aspect_ratio: str
    resolution: str
    first_frame_resolution: str


class VideoDefaults(Entry):
    quality_mode: str
    duration: int
    aspect_ratio: str
    remaster_edit_model: str
    extend_model: str


class Defaults(Entry):
    image: dict[ProviderName, ImageDefaults]
    video: VideoDefaults


class Presets(Entry):
    """The whole of presets.json."""

    schema_version: Literal["1.0"]
    updated: date
    notes: dict[str, str] = Field(default_factory=dict)
    limits: Limits
    defaults: Defaults
    modes: dict[Literal["draft", "draft_i2v", "production", "production_i2v"], QualityMode]
    image_models: dict[str, ImageModel]
    video_models: dict[str, VideoModel]

    @property
    def default_models(self) -> tuple[str, ...]:
        """Every model that is used when nobody names one, each once."""
        video = self.defaults.video
        images = (chosen.model for chosen in self.defaults.image.values())
        modes = (name for provider in self.video_providers for name in self.mode_models(provider))
        return tuple(dict.fromkeys([*images, *modes, video.remaster_edit_model, video.extend_model]))

    @property
    def image_providers(self) -> tuple[ProviderName, ...]:
        """Who can be asked for pictures."""
        return tuple(self.defaults.image)

    @property
    def video_providers(self) -> tuple[ProviderName, ...]:
        """Who can be asked for clips, first the one who is asked when nobody says whom."""
        modes = tuple(self.modes.values())
        return (self.video_models[modes[0].model].provider, *modes[0].providers)

    def mode_models(self, provider: ProviderName) -> tuple[str, ...]:
        """What the quality modes take from this provider, each once."""
        chosen = (mode.of(provider).model for mode in self.modes.values())
        return tuple(dict.fromkeys(name for name in chosen if self.video_models[name].provider == provider))

    def editor_of(self, provider: ProviderName) -> str | None:
        """The model that edits clips for this provider when nobody names one; None if it has none."""
        is_first = provider == self.video_providers[0]
        name = self.defaults.video.remaster_edit_model if is_first else self.modes["production"].of(provider).model
        return name if self.video_models[name].edit else None

    def token_prices(self) -> Mapping[str, Mapping[str, Decimal]]:
        """By model: what a million tokens of each kind cost, in dollars."""
        models: Mapping[str, ImageModel | VideoModel] = {**self.image_models, **self.video_models}
        priced = {name: model.prices for name, model in models.items()}
        return {
            name: {str(kind): usd for kind, usd in prices.million_tokens_usd.items()}
            for name, prices in priced.items()
            if prices is not None
        }

    def rates_of(self, model: str, provider: str, kind: MediaKind) -> Rates:
        """How often an account may be asked for this model."""
        models: Mapping[str, Model] = self.image_models if kind == "image" else self.video_models
        own = models[model].rates if model in models else None
        return own or self.limits.rates_of(provider, kind)

    @model_validator(mode="after")
    def _tables_agree(self) -> Self:
        from ring_mcp.presets_agreement import check_agreement

        check_agreement(self)
        return self


def load_presets(path: Path | None = None, *, overlay: Path | None = None) -> Presets:
    """Read and check presets.json. Raises ConfigError that names the file and the key of every fault.

    ``overlay`` is a file of the operator's that adds to it or changes it: objects are merged by key, anything else
    takes the place of what stood there, and null takes a key away.
    """
    path = path or data_path("presets.json")
    raw, name = _read_json(path), path.name
    if overlay is not None:
        raw, name = _merge(raw, _read_json(overlay)), f"{path.name} with {overlay}"
    try:
        return Presets.model_validate(raw)
    except ValidationError as exc:
        faults = [f"{name}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in exc.errors()]
        raise ConfigError(faults) from exc


def _merge(below: Any, above: Any) -> Any:
    """``above`` over ``below``, as RFC 7396 merges."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    merged = {**below, **{key: _merge(below.get(key), value) for key, value in above.items()}}
    return {key: value for key, value in merged.items() if value is not None}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError([f"{path.name} cannot be read: {exc.strerror}"]) from exc
    except json.JSONDecodeError as exc:
        raise ConfigError([f"{path.name} is not JSON: {exc.msg} at line {exc.lineno}"]) from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigError([f"{path.name} is not readable JSON ({type(exc).__name__})"]) from exc
