"""What stands about in a scene: ridges, trees, boats, houses, towers, birds. Sizes are in pixels of the stage."""

from __future__ import annotations

import itertools
import math

from ring_mcp.sandbox.drawing.palettes import Colour, along, mix
from ring_mcp.sandbox.drawing.stage import Glow, Point, Skyline, Stage, height_at

LAMP = (255, 206, 134)
_SOOT = (16, 14, 20)


def ranges(stage: Stage, horizon: float, foot: float, count: int, *, peaked: bool) -> Skyline:
    """Ridges one behind the other, from the haze to the viewer; returns the nearest one's skyline."""
    rng, palette, unit = stage.rng, stage.palette, stage.unit
    skyline: Skyline = []
    for number in range(count):
        share = number / (count - 1)
        y = horizon + (foot - horizon) * share**1.2
        swing = unit * (0.15 if peaked else 0.06) * (1 - 0.45 * share) * rng.uniform(0.8, 1.25)
        wavelength = unit * rng.uniform(0.32, 0.55) * (1 - 0.2 * share)
        skyline = stage.skyline(y - swing * 0.4, swing, wavelength, peaked=peaked, octaves=5)
        top = mix(along(palette.land, share), palette.sky[-1], 0.3 * (1 - share))
        stage.land(skyline, top, mix(top, palette.sky[-1], 0.5 * (1 - share) + 0.06), unit * 0.28)
        if peaked and number == 1:
            snow(stage, skyline, y - swing * 0.62, mix(palette.light, top, 0.25))
    return skyline


def snow(stage: Stage, skyline: Skyline, limit: float, colour: Colour) -> None:
    """White on the peaks that rise well over ``limit``, with a ragged lower edge."""
    for is_high, group in itertools.groupby(skyline, key=lambda point: point[1] < limit):
        cap = list(group)
        if not is_high or limit - min(y for _, y in cap) < stage.unit * 0.035:
            continue
        edge = [(x, y + (limit - y) * stage.rng.uniform(0.35, 1.0)) for x, y in cap[::-2]]
        stage.shape(cap + edge, colour)


def birds(stage: Stage, x: float, y: float, colour: Colour) -> None:
    """A few of them, far away."""
    rng = stage.rng
    for _ in range(rng.randint(3, 7)):
        left, top = x + stage.unit * rng.uniform(-0.14, 0.14), y + stage.unit * rng.uniform(-0.05, 0.05)
        wing = stage.unit * rng.uniform(0.009, 0.018)
        lift = wing * rng.uniform(0.35, 0.7)
        outline = ((-1, -1), (-0.4, -1), (0, 0), (0.4, -1), (1, -1), (0.35, -0.55), (0, 0.25), (-0.35, -0.55))
        stage.shape([(left + wing * across, top + lift * down) for across, down in outline], colour)


def pine(stage: Stage, x: float, foot: float, height: float, colour: Colour) -> None:
    """A fir of ragged tiers."""
    left: list[Point] = [(x, foot - height)]
    right: list[Point] = []
    for tier in range(1, 6):
        y = foot - height + height * 0.19 * tier
        half = height * 0.04 * tier * stage.rng.uniform(0.85, 1.15)
        left += [(x - half, y), (x - half * 0.45, y - height * 0.035)]
        right += [(x + half, y), (x + half * 0.45, y - height * 0.035)]
    trunk = height * 0.025
    stage.shape([*left, (x - trunk, foot), (x + trunk, foot), *reversed(right)], colour)


def pines(stage: Stage, skyline: Skyline, height: float, colour: Colour, together: float) -> None:
    """A wood along a skyline; ``together`` is the share of trees that stand close to the one before."""
    rng, x = stage.rng, -height * 0.2
    while x < stage.width + height * 0.2:
        tall = height * rng.uniform(0.45, 1.0)
        pine(stage, x, height_at(skyline, x) + tall * 0.12, tall, colour)
        x += tall * rng.uniform(0.12, 0.34) if rng.random() < together else height * rng.uniform(0.5, 2.2)


def tree(stage: Stage, x: float, foot: float, height: float, colour: Colour, lit: Colour) -> None:
    """A broad tree: a trunk, and heaps of leaves, the upper ones in the light."""
    rng = stage.rng
    thick, up = height * 0.03, foot - height * 0.5
    trunk = [(x - thick, foot), (x - thick / 2, up), (x + thick / 2, up), (x + thick, foot)]
    stage.shape(trunk, mix(colour, _SOOT, 0.5))
    heaps = []
    for _ in range(10):
        turn, away = rng.random() * 2 * math.pi, height * 0.2 * math.sqrt(rng.random())
        heaps.append((foot - height * 0.66 + math.sin(turn) * away, x + math.cos(turn) * away))
    for number, (top, left) in enumerate(sorted(heaps, reverse=True)):
        stage.disc(left, top, height * rng.uniform(0.13, 0.19), mix(colour, lit, 0.045 * number))


def poplar(stage: Stage, x: float, foot: float, height: float, colour: Colour) -> None:
    """A slim tree, as they stand along roads."""
    half = height * 0.09
    stage.oval(x, foot - height * 0.54, half, height * 0.46, colour)
    stage.box(x - half * 0.14, foot - height * 0.2, x + half * 0.14, foot, colour)


def boat(stage: Stage, x: float, y: float, height: float, sail: Colour) -> None:
    """A sailing boat, and its reflection below the water line ``y``."""
    palette, lean = stage.palette, stage.rng.choice((-1, 1))
    # The reflection first, for the boat stands before it.
    for tall, dim in ((-height * 0.55, 0.45), (height, 0.0)):
        main, hull = mix(sail, palette.land[-1], dim), mix(palette.land[-1], palette.land[0], dim * 0.5)
        mast, boom = y - tall, y - tall * 0.16
        stage.shape([(x, mast), (x, boom), (x + lean * height * 0.34, boom)], main)
        jib = [(x - lean * height * away, y - tall * up) for away, up in ((0.03, 0.9), (0.03, 0.18), (0.22, 0.18))]
        stage.shape(jib, mix(main, hull, 0.25))
        rim = y - tall * 0.13
        deck = [(x - height * 0.3, rim), (x + height * 0.36, rim), (x + height * 0.24, y), (x - height * 0.22, y)]
        stage.shape(deck, hull)


def house(stage: Stage, x: float, foot: float, width: float, wall: Colour, roof: Colour) -> None:
    """A house with a chimney and two windows, which are lit at night."""
    high = width * 0.55
    eaves, ridge = foot - high, foot - high - width * 0.36
    stage.box(x + width * 0.62, ridge - width * 0.1, x + width * 0.74, eaves, mix(roof, wall, 0.3))
    stage.box(x, eaves, x + width, foot + width * 0.1, wall)
    slope = [(x - width * 0.08, eaves), (x + width * 0.14, ridge), (x + width * 0.86, ridge), (x + width * 1.08, eaves)]
    stage.shape(slope, roof)
    pane = LAMP if stage.palette.is_night else stage.palette.land[-1]
    for left in (x + width * 0.16, x + width * 0.6):
        stage.box(left, foot - high * 0.72, left + width * 0.22, foot - high * 0.34, pane)
    if stage.palette.is_night:
        stage.glows.append(Glow(x + width / 2, foot - high / 2, width * 2.2, LAMP, 0.5))


def lighthouse(stage: Stage, x: float, foot: float, height: float) -> None:
    """A banded tower with its lamp lit."""
    palette = stage.palette
    wall, band = mix(palette.light, palette.land[0], 0.25), mix(palette.accent, palette.land[2], 0.25)
    base, top, deck = height * 0.12, height * 0.075, foot - height * 0.8
    for number in range(5):
        ends = [(place, base + (top - base) * place) for place in (number / 5, (number + 1) / 5)]
        (low, left), (high, right) = ((foot - height * 0.8 * place, half) for place, half in ends)
        stage.shape(
            [(x - left, low), (x - right, high), (x + right, high), (x + left, low)], band if number % 2 else wall
        )
    room = deck - height * 0.12
    stage.box(x - top * 1.45, deck - height * 0.025, x + top * 1.45, deck, mix(band, _SOOT, 0.5))
    stage.box(x - top * 0.7, room, x + top * 0.7, deck - height * 0.025, mix(LAMP, (255, 255, 255), 0.5))
    stage.shape([(x - top, room), (x, room - height * 0.08), (x + top, room)], band)
    stage.glows.append(Glow(x, deck - height * 0.07, height * 0.85, LAMP, 0.55))


def tower(stage: Stage, x: float, foot: float, width: float, height: float, tone: Colour, *, lit: bool) -> None:
    """A building of a city, at times with a set-back top, a gable or a mast."""
    rng, top = stage.rng, foot - height
    stage.box(x, top, x + width, foot, tone)
    style = rng.random()
    if style < 0.25:
        stage.box(x + width * 0.2, top - width * 0.35, x + width * 0.8, top, tone)
    elif style < 0.4:
        stage.shape([(x, top), (x + width / 2, top - width * 0.7), (x + width, top)], tone)
    elif style < 0.55:
        stage.box(x + width * 0.47, top - width * 0.9, x + width * 0.53, top, tone)
    stage.box(x + width * 0.8, top, x + width, foot, mix(tone, stage.palette.land[-1], 0.3))
    if not lit:
        return
    pace, share = width / 5.4, 0.5 if stage.palette.is_night else 0.28
    for row in range(int(height / (pace * 1.5))):
        y = top + pace * (0.7 + row * 1.5)
        for column in range(3):
            if rng.random() < share:
                left = x + pace * (0.5 + column * 1.25)
                stage.box(left, y, left + pace * 0.6, y + pace * 0.7, mix(tone, LAMP, rng.choice((0.7, 1.0))))
