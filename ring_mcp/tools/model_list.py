"""ring-model-list: the models, what they can do and what they cost. Reads only presets.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from ring_mcp.conductors.results import Usd, Wire
from ring_mcp.domain import usd
from ring_mcp.domain.choices import choose, choose_part
from ring_mcp.domain.fields import Name, Pieces, WholeSeconds
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.rules import model_named
from ring_mcp.tools.choices import model_choices
from ring_mcp.tools.paid import free
from ring_mcp.tools.tool import Answer, Arguments, Caller, Tool

if TYPE_CHECKING:
    from ring_mcp.presets import ImageModel, Model, Presets, VideoModel

DESCRIPTION = "Lists models: kind, limits, list prices of what you name, last days. Free; dryRun quotes calls."


class ModelListArguments(Arguments):
    kind: Literal["image", "video"] | None = Field(None, description="Both if left out.")
    provider: Name | None = Field(None, description="Only its models.")
    model: Name | None = Field(None, description="Only this one, in full.")
    resolution: Name | None = Field(None, description="Only those that have it.")
    quality: Name | None = Field(None, description="Of pictures, for the price.")
    n: Pieces | None = Field(None, description="Price of so many pictures.")
    duration: WholeSeconds | None = Field(None, description="Price of so many seconds.")


class ListedModel(Wire):
    """``usd``: by resolution, of one picture or second, or of the number that was asked about."""

    model: str
    provider: str
    kind: str
    usd: dict[str, Usd] | None = None
    per: str | None = None
    prices_of: str | None = None
    can: tuple[str, ...] | None = None
    qualities: tuple[str, ...] | None = None
    max_n: int | None = None
    seconds: str | None = None
    input_images: int | None = None
    aspect_ratios: tuple[str, ...] | None = None
    max_prompt_chars: int | None = None
    is_default: bool | None = None
    retires_on: str | None = None
    replaced_by: str | None = None


class ModelList(Wire):
    models: tuple[ListedModel, ...]


class ToldModels(BaseModel):
    """The ``data`` of ring-model-list as clients are told it: short, for every list of tools carries it."""

    model_config = ConfigDict(extra="allow")


def model_list_tool(presets: Presets, today: Callable[[], date]) -> Tool[ModelListArguments]:
    async def handle(arguments: ModelListArguments, caller: Caller) -> Answer:
        found = list_models(presets, arguments, today())
        return Answer(data=found.data(), text="\n".join(_line(model) for model in found.models))

    return Tool(
        name="ring-model-list",
        title="List models",
        description=DESCRIPTION,
        arguments=ModelListArguments,
        output=ToldModels,
        annotations=free(),
        handler=handle,
        choices=model_choices(presets),
    )


def list_models(presets: Presets, asked: ModelListArguments, today: date) -> ModelList:
    """The callable models that have what the arguments name. Raises InvalidRequest if none has."""
    for name, number in (("n", asked.n), ("duration", asked.duration)):
        if number is not None and number < 1:
            raise InvalidRequest(f"{name}: must be 1 or more")
    found = _find(presets, asked, today)
    if not found:
        raise InvalidRequest(_say_what_there_is(presets, asked, today))
    return ModelList(models=found)


def _find(presets: Presets, asked: ModelListArguments, today: date) -> tuple[ListedModel, ...]:
    named = _name_models(presets, asked, today)
    is_whole = asked.model is not None and len(named) == 1
    provider = _choose_provider(presets, asked)
    return tuple(
        listed
        for kind, name, model in _models(presets)
        if name in named and asked.kind in (None, kind) and (asked.provider is None or provider == model.provider)
        if (listed := _list(presets, asked, name, model, today, is_whole=is_whole)) is not None
    )


def _name_models(presets: Presets, asked: ModelListArguments, today: date) -> tuple[str, ...]:
    """The models that a name means; a retired model only by its exact name."""
    alive = tuple(
        name for _, name, model in _models(presets) if not model.is_retired(today) and not model.is_redirected(today)
    )
    if asked.model is None:
        return alive
    every = tuple(name for _, name, _ in _models(presets))
    exact = model_named(asked.model, {name: model for _, name, model in _models(presets)})
    # A part of a name is enough, as people call models: "nano banana".
    return (exact,) if exact is not None else choose_part(asked.model, alive) or choose_part(asked.model, every)


def _choose_provider(presets: Presets, asked: ModelListArguments) -> str | None:
    return choose(asked.provider, _providers(presets)) if asked.provider is not None else None


def _providers(presets: Presets) -> tuple[str, ...]:
    return tuple(dict.fromkeys(model.provider for _, _, model in _models(presets)))


def _say_what_there_is(presets: Presets, asked: ModelListArguments, today: date) -> str:
    """Of what no model has by itself what there is, so that a model can ask again; else the names."""
    models = _find(presets, ModelListArguments(), today)
    there_are = {
        "provider": _providers(presets),
        "resolution": tuple(dict.fromkeys(size for model in models for size in model.usd or ())),
        "quality": tuple(dict.fromkeys(each for model in models for each in model.qualities or ())),
        "n": tuple(dict.fromkeys(f"up to {model.max_n}" for model in models if model.max_n)),
        "duration": tuple(dict.fromkeys(f"{model.seconds} s" for model in models if model.seconds)),
    }
    for name, facts in there_are.items():
        value = getattr(asked, name)
        if value is not None and not _find(presets, ModelListArguments.parse({name: value}), today):
            return f"{name}: no model has that; there are {', '.join(facts)}"
    return f"no model has all of that; there are {', '.join(model.model for model in models)}"


def _models(presets: Presets) -> Iterator[tuple[str, str, Model]]:
    yield from (("image", name, model) for name, model in presets.image_models.items())
    yield from (("video", name, model) for name, model in presets.video_models.items())


def _list(
    presets: Presets, asked: ModelListArguments, name: str, model: Model, today: date, *, is_whole: bool
) -> ListedModel | None:
    """``is_whole``: with all facts. None: it does not have what the arguments name."""
    from ring_mcp.presets import ImageModel, VideoModel

    listed = ListedModel(
        model=name,
        provider=model.provider,
        kind="image" if isinstance(model, ImageModel) else "video",
        is_default=name in presets.default_models or None,
        aspect_ratios=model.aspect_ratios if is_whole else None,
        max_prompt_chars=model.max_prompt_chars or None if is_whole else None,
        retires_on=model.retires_on.isoformat() if model.retires_on else None,
        replaced_by=model.replaced_by,
    )
    if model.is_retired(today):
        # Without prices or limits: nothing can be asked of it any more but what takes its place.
        return listed
    facts = None
    if isinstance(model, ImageModel):
        facts = _image_facts(asked, model)
    elif isinstance(model, VideoModel):
        facts = _video_facts(asked, model)
    return listed.model_copy(update=facts) if facts is not None else None


def _image_facts(asked: ModelListArguments, model: ImageModel) -> dict[str, object] | None:
    """None: it has not what is named."""
    quality = choose(asked.quality, model.qualities) if asked.quality else model.default_quality
    n = asked.n or 1
    # Seconds alone are of clips; beside a number of pictures each is told of its own.
    is_clips = asked.duration is not None and asked.n is None
    if is_clips or n > model.max_n or (asked.quality and quality is None):
        return None
    prices = model.prices.image_usd.get(quality or "standard", {}) if model.prices else {}
    sums = _pick(asked, {size: amount * n for size, amount in prices.items()})
    if sums is None:
        return None
    return {
        "usd": sums,
        "per": f"{n} pictures" if asked.n else "picture",
        "prices_of": str(model.prices.as_of) if model.prices else None,
        "qualities": model.qualities or None,
        "max_n": model.max_n,
        "input_images": model.max_input_images or None,
    }


def _video_facts(asked: ModelListArguments, model: VideoModel) -> dict[str, object] | None:
    """None: it has not what is named."""
    if asked.quality is not None or (asked.n is not None and asked.duration is None):
        return None
    if asked.duration is not None and not model.min_duration_s <= asked.duration <= model.max_duration_s:
        return None
    seconds = asked.duration or 1
    prices = model.prices.second_usd if model.prices else {}
    sums = _pick(asked, {size: prices[size] * seconds for size in model.resolutions if size in prices})
    if sums is None:
        return None
    can = {"text": model.text_to_video, "image": model.image_to_video, "lastFrame": model.last_frame}
    can |= {"references": bool(model.max_reference_images), "edit": model.edit, "extend": model.extend}
    return {
        "usd": sums,
        "per": f"{seconds} s" if asked.duration else "second",
        "prices_of": str(model.prices.as_of) if model.prices else None,
        "can": tuple(what for what, yes in can.items() if yes),
        "seconds": f"{model.min_duration_s}-{model.max_duration_s}",
        "input_images": model.max_reference_images or None,
    }


def _pick(asked: ModelListArguments, sums: dict[str, Decimal]) -> dict[str, Decimal] | None:
    if asked.resolution is None:
        return sums
    size = choose(asked.resolution, sums)
    return {size: sums[size]} if size is not None else None


def _line(model: ListedModel) -> str:
    facts = [f"{model.model} ({model.provider}, {model.kind})"]
    if model.usd:
        facts.append(f"per {model.per}: " + ", ".join(f"{size} {usd(amount)}" for size, amount in model.usd.items()))
    facts += [f"{model.seconds} s"] if model.seconds else []
    facts += [", ".join(model.can)] if model.can else []
    facts += [f"n up to {model.max_n}"] if model.max_n else []
    facts += [f"quality {' or '.join(model.qualities)}"] if model.qualities else []
    facts += ["a default"] if model.is_default else []
    facts += [f"retires {model.retires_on}, then {model.replaced_by}"] if model.retires_on else []
    return "; ".join(facts)
