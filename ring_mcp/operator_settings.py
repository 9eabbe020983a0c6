"""What the operator's configuration says, in the terms of plans and jobs."""

from __future__ import annotations

from collections.abc import Iterator

from ring_mcp.config import Config
from ring_mcp.domain import MediaKind
from ring_mcp.jobs.outcomes import Pace
from ring_mcp.plans.image import ImageSettings
from ring_mcp.plans.video import VideoSettings
from ring_mcp.presets import Presets

IMAGE_POLL_INTERVAL_S = 1.0
VIDEO_SUBMIT_TIMEOUT_S = 60.0


def image_model(config: Config, presets: Presets) -> str:
    """What pictures are made with when nobody says who makes them, or with what."""
    provider = config.image_gen_provider
    return config.vendors[provider].image_model or presets.defaults.image[provider].model


def video_models(config: Config, presets: Presets) -> Iterator[str]:
    """What clips are made with: of the provider that is asked when nobody says whom, and of all that have a key."""
    for provider in presets.video_providers:
        settings = config.vendors[provider]
        if settings.key is not None or provider == presets.video_providers[0]:
            yield from [settings.video_model] if settings.video_model else presets.mode_models(provider)


def paces_of(config: Config) -> dict[MediaKind, Pace]:
    """How long to wait for what."""
    image_s = config.image_gen_poll_timeout_ms / 1000
    return {
        "image": Pace(submit_timeout_s=image_s, poll_interval_s=IMAGE_POLL_INTERVAL_S, poll_timeout_s=image_s),
        "video": Pace(
            submit_timeout_s=VIDEO_SUBMIT_TIMEOUT_S,
            poll_interval_s=config.video_gen_poll_interval_ms / 1000,
            poll_timeout_s=config.video_gen_poll_timeout_ms / 1000,
        ),
    }


def image_settings(config: Config) -> ImageSettings:
    return ImageSettings(
        default_provider=config.image_gen_provider,
        storage_prefix=config.image_gen_storage_prefix,
        models={name: vendor.image_model for name, vendor in config.vendors.items()},
        aspect_ratios={name: vendor.image_aspect_ratio for name, vendor in config.vendors.items()},
        resolutions={name: vendor.image_resolution for name, vendor in config.vendors.items()},
        own_endpoints=config.own_endpoints,
    )


def video_settings(config: Config) -> VideoSettings:
    return VideoSettings(
        storage_prefix=config.video_gen_storage_prefix,
        models={name: vendor.video_model for name, vendor in config.vendors.items()},
        durations_s={name: vendor.video_duration_s for name, vendor in config.vendors.items()},
        aspect_ratios={name: vendor.video_aspect_ratio for name, vendor in config.vendors.items()},
        images=image_settings(config),
    )
