"""Which models the emulated xAI knows, what each can do, and which names are only old ones."""

from __future__ import annotations

from dataclasses import dataclass

BASE_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1")
# Of 2.0 alone, as far as a document tells (provider reference 1.2); of clips the documents have them and the
# specification does not (2.1).
WIDE_RATIOS = ("21:9", "5:2")
VIDEO_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", *WIDE_RATIOS)
MAX_PROMPT_CHARACTERS = 8000
"""Of every model: a guess. The lists of models have max_prompt_length, and no figure of it is published."""


@dataclass(frozen=True)
class ImageModel:
    """An image model that is served today."""

    id: str
    created: int
    aliases: tuple[str, ...]
    ratios: tuple[str, ...]
    resolutions: tuple[str, ...]
    qualities: tuple[str, ...]
    max_sources: int


@dataclass(frozen=True)
class VideoModel:
    """A video model that is served today."""

    id: str
    created: int
    aliases: tuple[str, ...]
    resolutions: tuple[str, ...]
    max_references: int
    max_reference_s: int
    has_keyframes: bool
    edits: bool


@dataclass(frozen=True)
class ServedImageModel:
    """What a requested name means: the model that serves it, and the quality a retired name is held to."""

    model: ImageModel
    fixed_quality: str | None = None


IMAGE_2 = ImageModel(
    id="grok-imagine-image-2.0",
    created=1785196800,
    aliases=(),
    ratios=(*BASE_RATIOS, *WIDE_RATIOS),
    resolutions=("1k", "1.5k", "2k"),
    qualities=("low", "medium", "auto"),
    # Three until August 2026, and of 1.0 nobody has said that it has changed (provider reference 1.3).
    max_sources=5,
)
IMAGE_1 = ImageModel(
    id="grok-imagine-image",
    created=1769472000,
    aliases=("grok-imagine-image-2026-03-02",),
    ratios=BASE_RATIOS,
    resolutions=("1k", "2k"),
    qualities=(),
    max_sources=3,
)
IMAGE_MODELS = (IMAGE_2, IMAGE_1)

# The names still resolve since their retirement, and get the cheapest rendering of the flagship.
RETIRED_IMAGE_NAMES = (
    "grok-imagine-image-quality",
    "grok-imagine-image-quality-20260403",
    "grok-imagine-image-quality-latest",
    "grok-imagine-image-pro",
)

VIDEO_1 = VideoModel(
    id="grok-imagine-video",
    created=1769472000,
    aliases=("grok-imagine-video-2026-01-20",),
    resolutions=("480p", "720p"),
    max_references=7,
    max_reference_s=10,
    has_keyframes=False,
    edits=True,
)
VIDEO_1_5 = VideoModel(
    id="grok-imagine-video-1.5",
    created=1780099200,
    aliases=("grok-imagine-video-1.5-preview", "grok-imagine-video-1.5-2026-05-30"),
    resolutions=("480p", "720p", "1080p"),
    # Seven by other clients, 14 by the documents of October (provider reference 2.1).
    max_references=14,
    max_reference_s=15,
    has_keyframes=True,
    # As xAI's documents have it; another client's example that edits with it is wrong (provider reference 2.2).
    edits=False,
)
VIDEO_1_5_LITE = VideoModel(
    id="grok-imagine-video-1.5-lite",
    created=1790812800,
    aliases=(),
    resolutions=("480p", "720p", "1080p"),
    max_references=0,
    max_reference_s=0,
    has_keyframes=False,
    edits=False,
)
VIDEO_MODELS = (VIDEO_1, VIDEO_1_5, VIDEO_1_5_LITE)


def find_image_model(name: str) -> ServedImageModel | None:
    """The model behind a name, or None when xAI would answer 404."""
    if name in RETIRED_IMAGE_NAMES:
        return ServedImageModel(IMAGE_2, fixed_quality="low")
    for model in IMAGE_MODELS:
        if name == model.id or name in model.aliases:
            return ServedImageModel(model)
    return None


def find_video_model(name: str) -> VideoModel | None:
    """The model behind a name, or None when xAI would answer 404."""
    for model in VIDEO_MODELS:
        if name == model.id or name in model.aliases:
            return model
    return None
