"""What is not even tried to be decoded. Each a guess above what providers make; ``decoding`` bounds time and memory."""

from __future__ import annotations

MAX_PIXELS = 80_000_000
"""Larger pictures are taken for decompression bombs; the largest that a provider makes today has 17 million."""

MAX_FRAME_PIXELS = 36_000_000
"""Of a clip's picture: 8k has 33 million, the largest that a provider makes today 8."""

MAX_SIDE_PX = 65_535
MAX_CLIP_S = 24 * 3600
