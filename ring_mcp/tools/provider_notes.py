"""What the tools' descriptions say about providers and what each accepts, from presets.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from ring_mcp.plans.image import ImageSettings
from ring_mcp.plans.rules import any_of, join_counts
from ring_mcp.plans.video import VideoSettings
from ring_mcp.presets import ImageModel, Model, Presets, VideoModel
from ring_mcp.providers.vendors import ProviderName, title_of
from ring_mcp.tools.tool import Notes

SHARE_RATIO = "2:1"


def image_provider_notes(presets: Presets, settings: ImageSettings | None) -> Notes:
    """``settings``: what the operator has chosen in place of the defaults of presets.json."""
    providers, defaults = presets.image_providers, presets.defaults.image
    # The OpenAPI document is of no one configuration: it tells the registry's own defaults.
    own = settings or ImageSettings(
        default_provider=providers[0], storage_prefix="", models={}, aspect_ratios={}, resolutions={}
    )

    def model(provider: ProviderName) -> ImageModel:
        return presets.image_models[defaults[provider].model]

    # A model about to go is no reason to speak of an argument.
    seeded = {m.provider for m in presets.image_models.values() if m.takes_seed and m.retires_on is None}
    common = [r for r in model(providers[0]).aspect_ratios if all(r in model(each).aspect_ratios for each in providers)]
    shared = [each for each in providers if SHARE_RATIO in model(each).aspect_ratios and SHARE_RATIO not in common]
    shape = _by_provider(providers, lambda each: own.aspect_ratios.get(each) or defaults[each].aspect_ratio)
    size = _by_provider(providers, lambda each: own.resolutions.get(each) or defaults[each].resolution)
    return {
        "provider": f"Default: the model's, else {own.default_provider}.",
        "model": f"Default: {any_of(own.models.get(each) or defaults[each].model for each in providers)}.",
        "aspectRatio": f"{f'{SHARE_RATIO} on {_titles(shared)}. ' if shared else ''}Default: {shape}.",
        "resolution": f"Default: {size}.",
        "n": f"{_by_provider(providers, lambda each: f'1 to {model(each).max_n}')}.",
        "seed": f"Only {_titles(each for each in providers if each in seeded)}." if seeded else "",
    }


def video_provider_notes(presets: Presets, settings: VideoSettings | None) -> Notes:
    """``settings``: what the operator has chosen in place of the defaults of presets.json."""
    providers, images, defaults = presets.video_providers, presets.image_providers, presets.defaults.image
    seconds, shapes = (settings.durations_s, settings.aspect_ratios) if settings else ({}, {})
    models = settings.models if settings else {}
    usual = "; ".join(f"{model} ({title_of(each)})" for each, model in models.items() if model)
    first = _ratios(providers[0], presets)
    fewer = [each for each in providers[1:] if _ratios(each, presets) != first]
    ratios = [f"{title_of(each)}: {any_of(_ratios(each, presets))}." for each in fewer]
    return {
        "provider": f"Default: the model's, else {providers[0]}.",
        "qualityMode": f"Default: {presets.defaults.video.quality_mode}.",
        "duration": f"{_by_provider(providers, lambda each: _seconds([each], presets))}. "
        f"Default: {_by_provider(providers, lambda each: str(seconds.get(each) or presets.defaults.video.duration))}.",
        "model": f"Default: {usual}." if usual else "",
        "aspectRatio": f"{' '.join(ratios)} "
        f"Default: {_by_provider(providers, lambda each: shapes.get(each) or presets.defaults.video.aspect_ratio)}.",
        "imageProvider": "",
        "imageResolution": f"Default: {_by_provider(images, lambda each: defaults[each].first_frame_resolution)}.",
    }


def other_providers_of_clips(presets: Presets) -> str:
    """How the providers that have to be named differ from the one that makes clips without that, beside what
    ``duration`` and ``aspectRatio`` say of them."""
    return " ".join(
        f"provider {each}: {presets.modes['draft'].of(each).resolution} for the drafts"
        + ("." if any(model.edit for model in _mode_models(each, presets)) else ", no edit of a clip.")
        for each in presets.video_providers[1:]
    )


def picture_usd(presets: Presets) -> str:
    """The cheapest and the dearest picture of models without an end date, in USD."""
    prices = (model.prices for model in presets.image_models.values() if model.retires_on is None)
    return _range_usd(usd for price in prices if price for sizes in price.image_usd.values() for usd in sizes.values())


def second_usd(presets: Presets) -> str:
    """The cheapest and the dearest second of the quality modes, in USD."""
    modes = presets.modes.values()
    return _range_usd(mode.of(each).estimated_usd_per_second for mode in modes for each in presets.video_providers)


def clip_seconds(presets: Presets) -> str:
    """The shortest and the longest clip of the quality modes, in s."""
    return _seconds(presets.video_providers, presets)


def join(*notes: Notes) -> Notes:
    """Notes on arguments, joined; an argument that one of them removes is removed."""
    found: dict[str, str | None] = {}
    for each in notes:
        for name, note in each.items():
            before = found.get(name, "")
            # None stays None: nothing brings an argument back that one source says no model takes.
            found[name] = None if note is None or before is None else f"{before} {note}".strip()
    return found


def models_or_titles(names: Iterable[str], models: Mapping[str, Model]) -> list[str]:
    """These models by name; a provider's title stands for all of its models without an end date."""
    names, told = list(names), list[str]()
    for name in names:
        provider = models[name].provider
        all_of_it = {each for each, model in models.items() if model.provider == provider and model.retires_on is None}
        each = title_of(provider) if all_of_it <= set(names) else name
        told += [] if each in told else [each]
    return told


def count_by_taker(most: Mapping[str, int], models: Mapping[str, Model]) -> str:
    """``5 with one-model, 14 with Another``."""
    told = {each: most[name] for name in most for each in models_or_titles(_same(name, most), models)}
    return join_counts(told)


def _same(name: str, most: Mapping[str, int]) -> list[str]:
    """The models that accept the same number as this one."""
    return [each for each, count in most.items() if count == most[name]]


def _by_provider(providers: Iterable[ProviderName], fact: Callable[[ProviderName], str]) -> str:
    """``2k on One; 1k on Another``, or the single fact if it is the same for all."""
    facts = {provider: fact(provider) for provider in providers}
    if len(set(facts.values())) == 1:
        return next(iter(facts.values()))
    return "; ".join(f"{title_of(provider)} {told}" for provider, told in facts.items())


def _titles(providers: Iterable[ProviderName]) -> str:
    return any_of(title_of(provider) for provider in providers)


def _mode_models(provider: ProviderName, presets: Presets) -> list[VideoModel]:
    return [presets.video_models[name] for name in presets.mode_models(provider)]


def _seconds(providers: Iterable[ProviderName], presets: Presets) -> str:
    models = [model for provider in providers for model in _mode_models(provider, presets)]
    return f"{min(m.min_duration_s for m in models)} to {max(m.max_duration_s for m in models)}"


def _ratios(provider: ProviderName, presets: Presets) -> list[str]:
    return list(dict.fromkeys(ratio for model in _mode_models(provider, presets) for ratio in model.aspect_ratios))


def _range_usd(amounts: Iterable[Decimal]) -> str:
    found = sorted(amounts)
    return f"${found[0]:.2f} to ${found[-1]:.2f}"
