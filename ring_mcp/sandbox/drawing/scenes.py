"""One scene out of the dice: which kind it is, in which colours, and everything on it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from ring_mcp.sandbox.drawing import lands, palettes, waters
from ring_mcp.sandbox.drawing.stage import Stage

SCENES: Mapping[str, Callable[[Stage], None]] = {
    "sea": waters.sea,
    "lake": waters.lake,
    "city": waters.city,
    "mountains": lands.mountains,
    "hills": lands.hills,
    "dunes": lands.dunes,
    "forest": lands.forest,
    "night": lands.night,
}
_ONLY_BY_DAY = ("dunes", "forest")


def compose(rng: random.Random, size: tuple[int, int]) -> Stage:
    """A scene on a canvas of ``size`` pixels."""
    # Chance picks by position, and each draw shifts those after it: one more is another picture for every prompt.
    kind = rng.choice(list(SCENES))
    is_night = True if kind == "night" else False if kind in _ONLY_BY_DAY else None
    stage = Stage(size, palettes.choose(rng, is_night=is_night), rng)
    SCENES[kind](stage)
    return stage
