"""Which models the emulated Google knows, what each can do, and what its tokens cost (November 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ring_mcp.sandbox.state.books import ticks

IMAGE_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
EXTREME_RATIOS = ("1:8", "8:1", "1:4", "4:1")
IMAGEN_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9")
MAX_INPUT_IMAGES = 14
"""Of a Gemini image model: reference 3.2, as peers of the family document it."""
OMNI_INPUT_IMAGE_TOKENS = 2040
OMNI_INPUT_VIDEO_TOKENS_PER_S = 5792 + 32
"""Of a picture, and of a second of a clip with its sound, given to Omni 1.1 or later, as two resellers tell it."""
MAX_REFERENCES = 6
"""Of a clip: reference 3.4."""
CHARACTERS_PER_TOKEN = 4
MAX_IMAGE_BYTES = 10 * 1024**2
"""Of one given picture: a guess, as no figure is published but that of a whole request."""
MAX_PROMPT_CHARACTERS = 10000
"""Of every model: a guess, as no figure is published. It is far below what their tokens allow."""


@dataclass(frozen=True)
class TokenPrice:
    """US dollars for a million tokens of each kind; ``made`` is a picture's or a clip's."""

    input: str
    text: str
    made: str

    def cost_ticks(self, *, input: int, text: int, made: int) -> int:
        millionths = input * ticks(self.input) + text * ticks(self.text) + made * ticks(self.made)
        return millionths // 10**6


@dataclass(frozen=True)
class GeminiImageModel:
    """A Gemini model that makes pictures; ``sizes`` has the tokens of a picture of each size, ``input_image_tokens``
    those of a given one: litellm's price map has $0.00168, $0.0011 and $0.00028, and names Google's pricing page."""

    id: str
    title: str
    ratios: tuple[str, ...]
    sizes: Mapping[str, int]
    input_image_tokens: int
    price: TokenPrice


NANO_BANANA = GeminiImageModel(
    id="gemini-nano-banana-2.1",
    title="Nano Banana 2.1",
    ratios=(*IMAGE_RATIOS, *EXTREME_RATIOS),
    sizes={"512": 747, "1K": 1120, "2K": 1680, "4K": 2520},
    input_image_tokens=1120,
    price=TokenPrice("1.50", "7.50", "30"),
)
PRO_IMAGE = GeminiImageModel(
    id="gemini-3-pro-image",
    title="Gemini 3 Pro Image",
    ratios=IMAGE_RATIOS,
    sizes={"1K": 1120, "2K": 1120, "4K": 2000},
    input_image_tokens=560,
    price=TokenPrice("2", "12", "120"),
)
FLASH_LITE_IMAGE = GeminiImageModel(
    id="gemini-3.1-flash-lite-image",
    title="Gemini 3.1 Flash Lite Image",
    ratios=IMAGE_RATIOS,
    sizes={"1K": 1120},
    input_image_tokens=1120,
    price=TokenPrice("0.25", "1.50", "30"),
)
GEMINI_IMAGE_MODELS = {model.id: model for model in (NANO_BANANA, PRO_IMAGE, FLASH_LITE_IMAGE)}

IMAGEN_PRICES = {
    "imagen-4.0-generate-001": ticks("0.04"),
    "imagen-4.0-ultra-generate-001": ticks("0.06"),
    "imagen-4.0-fast-generate-001": ticks("0.02"),
}
"""By the picture. Gone from the public service since August 2026: served only while a setting says so."""


@dataclass(frozen=True)
class OmniModel:
    """A model that makes clips; ``tokens_per_s`` of each resolution."""

    id: str
    title: str
    tokens_per_s: Mapping[str, int]
    price: TokenPrice


# Provider reference 3.4. Token prices of both: litellm's price map, which names Google's pricing page. Tokens of a
# second: bills of 1.1 as OpenRouter's engineers captured them in September 2026 (9,655 for 5 s of 360p, 28,960 of 720p,
# 86,880 for 10 s of 1080p and for 5 s of 4k); resellers' prices of 1.2 at 360p and 720p are the same tokens.
OMNI_TOKENS_PER_S = {"360p": 1931, "720p": 5792, "1080p": 8688, "4k": 17376}
OMNI_1_2 = OmniModel(
    id="gemini-omni-1.2-flash",
    title="Gemini Omni 1.2 Flash",
    tokens_per_s=OMNI_TOKENS_PER_S,
    price=TokenPrice("1.50", "9", "12"),
)
OMNI_1_1 = OmniModel(
    id="gemini-omni-1.1-flash",
    title="Gemini Omni 1.1 Flash",
    tokens_per_s=OMNI_TOKENS_PER_S,
    price=TokenPrice("1.50", "9", "17.50"),
)
OMNI_MODELS = {model.id: model for model in (OMNI_1_2, OMNI_1_1)}
