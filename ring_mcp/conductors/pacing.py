"""How long to wait for what: the configuration in the words of the conductors."""

from __future__ import annotations

from ring_mcp.conductors.advance import Pace
from ring_mcp.config import Config
from ring_mcp.domain import MediaKind

IMAGE_POLL_INTERVAL_S = 1.0
VIDEO_SUBMIT_TIMEOUT_S = 60.0


def paces_of(config: Config) -> dict[MediaKind, Pace]:
    image_s = config.image_gen_poll_timeout_ms / 1000
    return {
        "image": Pace(submit_timeout_s=image_s, poll_interval_s=IMAGE_POLL_INTERVAL_S, poll_timeout_s=image_s),
        "video": Pace(
            submit_timeout_s=VIDEO_SUBMIT_TIMEOUT_S,
            poll_interval_s=config.video_gen_poll_interval_ms / 1000,
            poll_timeout_s=config.video_gen_poll_timeout_ms / 1000,
        ),
    }
