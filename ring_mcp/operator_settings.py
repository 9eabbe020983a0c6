"""What the operator's configuration says, in the terms of plans and jobs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from ring_mcp.config import Config
from ring_mcp.config_checks import explain_unexpanded
from ring_mcp.config_types import variables
from ring_mcp.domain import ImageRequest, MediaKind, VideoRequest
from ring_mcp.domain.consent import Rule
from ring_mcp.errors import InvalidRequest
from ring_mcp.extras import install_line
from ring_mcp.jobs.outcomes import Pace
from ring_mcp.media.decoding import can_read_clips
from ring_mcp.plans.image import ImageSettings, plan_image
from ring_mcp.plans.video import VideoSettings, plan_video
from ring_mcp.presets import Presets
from ring_mcp.presets_limits import InputBytes
from ring_mcp.providers.vendors import VENDORS, ProviderName

logger = logging.getLogger(__name__)

IMAGE_POLL_INTERVAL_S = 1.0
IMAGE_FIRST_PAUSE_S = 0.25
"""A picture may be there in half a second. For clips the interval is the operator's, and a small part of their time."""

VIDEO_SUBMIT_TIMEOUT_S = 60.0


def image_model(config: Config, presets: Presets) -> str:
    """What pictures are made with when nobody says who makes them, or with what."""
    provider = config.image_gen_provider
    return config.vendors[provider].image_model or presets.defaults.image[provider].model


def counts_rates(config: Config) -> bool:
    """Whether requests are held back by the numbers of presets.json. The sandbox has none, unless it is asked for."""
    return config.rates if config.rates is not None else not config.sandbox


def sizes_of_inputs(presets: Presets) -> dict[ProviderName, InputBytes]:
    """What each provider takes of one picture or clip; of one that the registry says nothing of, the least."""
    told = presets.limits.input_bytes
    least = InputBytes(image=min(each.image for each in told.values()), video=min(each.video for each in told.values()))
    return {vendor.name: told.get(vendor.name, least) for vendor in VENDORS}


def video_models(config: Config, presets: Presets) -> Iterator[str]:
    """What clips are made with: of the provider that is asked when nobody says whom, and of all that have a key."""
    for provider in presets.video_providers:
        settings = config.vendors[provider]
        if settings.key is not None or provider == presets.video_providers[0]:
            yield from [settings.video_model] if settings.video_model else presets.mode_models(provider)


def providers_in_use(config: Config, presets: Presets) -> frozenset[str]:
    """Who is asked when nobody says whom, and of whom the operator has set anything."""
    asked = {config.image_gen_provider, presets.video_providers[0]}
    for name, settings in config.vendors.items():
        # Its public address is in many a file of settings, whoever is meant to be asked.
        said = [getattr(settings, field) for field in variables(type(settings)) if field != "base_url"]
        if settings.is_own_endpoint or any(value is not None for value in said):
            asked.add(name)
    return frozenset(asked)


def rule_of(config: Config) -> Rule:
    """What has to be agreed to before it is spent."""
    return Rule(mode=config.confirm, above_usd=config.confirm_above_usd or Decimal(0))


def paces_of(config: Config) -> dict[MediaKind, Pace]:
    """How long to wait for what."""
    image_s = config.image_gen_poll_timeout_ms / 1000
    return {
        # Most pictures come inside the answer to their request, so that one may take as long as a picture does. The
        # answer for a clip only brings an id.
        "image": Pace(
            submit_timeout_s=image_s,
            poll_interval_s=IMAGE_POLL_INTERVAL_S,
            poll_timeout_s=image_s,
            first_pause_s=IMAGE_FIRST_PAUSE_S,
        ),
        "video": Pace(
            submit_timeout_s=VIDEO_SUBMIT_TIMEOUT_S,
            poll_interval_s=config.video_gen_poll_interval_ms / 1000,
            poll_timeout_s=config.video_gen_poll_timeout_ms / 1000,
        ),
    }


def variables_of(config: Config) -> dict[str, dict[str, str]]:
    """By vendor and setting: the variable that it was set with, where it was."""
    return {
        name: {field: names[0] for field, names in variables(type(settings)).items() if getattr(settings, field)}
        for name, settings in config.vendors.items()
    }


def image_settings(config: Config) -> ImageSettings:
    return ImageSettings(
        default_provider=config.image_gen_provider,
        storage_prefix=config.image_gen_storage_prefix,
        models={name: vendor.image_model for name, vendor in config.vendors.items()},
        aspect_ratios={name: vendor.image_aspect_ratio for name, vendor in config.vendors.items()},
        resolutions={name: vendor.image_resolution for name, vendor in config.vendors.items()},
        own_endpoints=config.own_endpoints,
        variables=variables_of(config),
    )


def video_settings(config: Config) -> VideoSettings:
    return VideoSettings(
        storage_prefix=config.video_gen_storage_prefix,
        models={name: vendor.video_model for name, vendor in config.vendors.items()},
        durations_s={name: vendor.video_duration_s for name, vendor in config.vendors.items()},
        aspect_ratios={name: vendor.video_aspect_ratio for name, vendor in config.vendors.items()},
        images=image_settings(config),
        variables=variables_of(config),
        impossible=_no_clips(config),
    )


def list_faulty_defaults(config: Config, presets: Presets, today: date) -> dict[str, str]:
    """By variable: why what an operator has set there would refuse every call that leaves it to the operator.

    Of the vendors that can be asked here; found by planning as such a call would.
    """
    settings = video_settings(config)
    faults: list[str] = []
    for name, vendor in config.vendors.items():
        if vendor.key is None and name != config.image_gen_provider:
            continue
        try:
            plan_image(ImageRequest(prompt="-", provider=name), settings.images, presets, today)
        except InvalidRequest as exc:
            faults.append(exc.message)
        if name not in presets.video_providers:
            continue
        for mode, quality in presets.modes.items():
            # Planning fetches nothing, so any address will do.
            image_url = "https://localhost/-.jpg" if quality.requires_image_url else None
            request = VideoRequest(prompt="-", provider=name, quality_mode=mode, image_url=image_url)
            try:
                plan_video(request, settings, presets, today)
            except InvalidRequest as exc:
                faults.append(exc.message)
    known = {name for of_vendor in variables_of(config).values() for name in of_vendor.values()}
    # A plan's refusal begins with what is at fault: a variable where an operator's default is, else an argument.
    named = ((fault.partition(" ")[0].rstrip(":"), fault) for fault in faults)
    return {name: fault for name, fault in named if name in known}


def warn_of_settings(config: Config, presets: Presets, today: date, *, faults: bool) -> None:
    """Say at the start, where somebody may read it, what health says as well. ``faults``: those of defaults, too; what
    serves one call alone says them with its refusal, or is not concerned."""
    for name in config.unexpanded:
        logger.error("%s: %s", name, explain_unexpanded())
    for fault in list_faulty_defaults(config, presets, today).values() if faults else ():
        logger.error("%s", fault)


def _no_clips(config: Config) -> str | None:
    """The sandbox of this process draws its clips with an extra."""
    # True is the sandbox of this process; one at an address draws where it runs.
    if config.sandbox is not True or can_read_clips():
        return None
    return f"the sandbox makes clips with an extra that is not installed here: {install_line('video')}"
