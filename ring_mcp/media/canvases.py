"""The shapes that a thumbnail may have. Apart from the drawing, so that planning a clip loads none of it."""

from __future__ import annotations

import math
from collections.abc import Mapping

CANVASES: Mapping[str, tuple[int, int]] = {"16:9": (1280, 720), "9:16": (720, 1280), "1:1": (1080, 1080)}


def nearest_canvas(width: float, height: float) -> str:
    """The canvas whose shape is nearest to this one: 16:9, 9:16 or 1:1."""
    return min(CANVASES, key=lambda name: abs(math.log(width / height * CANVASES[name][1] / CANVASES[name][0])))
