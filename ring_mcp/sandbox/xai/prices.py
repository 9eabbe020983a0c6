"""What the emulated xAI charges, in ticks (1 USD = 10**10), from its list of autumn 2026."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from ring_mcp.sandbox.state.books import ticks


@dataclass(frozen=True)
class ImagePrice:
    """One row of the image price list: each input picture, and each output by resolution."""

    input_ticks: int
    output_ticks: Mapping[str, int]


@dataclass(frozen=True)
class VideoPrice:
    """One row of the video price list. ``input_second_ticks`` is the source clip of an edit or an extension."""

    input_image_ticks: int
    input_second_ticks: int
    second_ticks: Mapping[str, int]


def _image(each_input: str, **outputs: str) -> ImagePrice:
    # No name can begin with a digit or hold a dot: 1.5k is spelled _1_5k below.
    return ImagePrice(ticks(each_input), {size.lstrip("_").replace("_", "."): ticks(p) for size, p in outputs.items()})


def _video(each_image: str, each_input_second: str, **seconds: str) -> VideoPrice:
    by_resolution = {resolution.lstrip("_"): ticks(price) for resolution, price in seconds.items()}
    return VideoPrice(ticks(each_image), ticks(each_input_second), by_resolution)


# Provider reference 1.8, and 2.7 for clips. Not from the product's own list, so that a mistake there shows as a drift.
IMAGE_PRICES: Mapping[tuple[str, str], ImagePrice] = {
    ("grok-imagine-image-2.0", "low"): _image("0.01", _1k="0.04", _1_5k="0.05", _2k="0.06"),
    ("grok-imagine-image-2.0", "medium"): _image("0.01", _1k="0.06", _1_5k="0.07", _2k="0.08"),
    ("grok-imagine-image", ""): _image("0.002", _1k="0.02", _2k="0.02"),
}

VIDEO_PRICES: Mapping[str, VideoPrice] = {
    "grok-imagine-video": _video("0.002", "0.01", _480p="0.05", _720p="0.07"),
    "grok-imagine-video-1.5": _video("0.01", "0", _480p="0.08", _720p="0.14", _1080p="0.25"),
    "grok-imagine-video-1.5-lite": _video("0.01", "0", _480p="0.02", _720p="0.03", _1080p="0.14"),
}


def image_cost_ticks(model: str, quality: str, resolution: str, *, outputs: int, inputs: int) -> int:
    """Every output and every input picture is billed, moderated or not."""
    price = IMAGE_PRICES[model, quality]
    return outputs * price.output_ticks[resolution] + inputs * price.input_ticks


def video_cost_ticks(
    model: str, resolution: str, *, made_s: float, input_images: int = 0, input_video_s: float = 0.0
) -> int:
    """Seconds made, pictures given, and seconds of a source clip, each at its own rate."""
    price = VIDEO_PRICES[model]
    made = Decimal(str(made_s)) * price.second_ticks[resolution]
    source = Decimal(str(input_video_s)) * price.input_second_ticks
    return int(made + source) + input_images * price.input_image_ticks
