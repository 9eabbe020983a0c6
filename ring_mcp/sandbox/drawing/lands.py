"""Scenes on dry land: mountains, farmland, dunes, a wood, and the night over a cabin."""

from __future__ import annotations

import math

from ring_mcp.sandbox.drawing import skies, things
from ring_mcp.sandbox.drawing.palettes import Colour, mix
from ring_mcp.sandbox.drawing.stage import Glow, Point, Skyline, Stage, height_at


def mountains(stage: Stage) -> None:
    rng = stage.rng
    horizon = stage.height * rng.uniform(0.42, 0.56)
    x = skies.open_sky(stage, horizon, 0.35, 0.75)
    nearest = things.ranges(stage, horizon, stage.height * 0.86, rng.randint(4, 6), peaked=True)
    height = stage.unit * rng.uniform(0.1, 0.16)
    things.pines(stage, nearest, height, stage.palette.land[-1], rng.uniform(0.75, 0.97))
    things.birds(stage, x + stage.unit * 0.1, horizon * 0.55, stage.palette.land[1])


def hills(stage: Stage) -> None:
    """Farmland: fields in rows over rolling hills, trees, a house."""
    rng, palette, unit = stage.rng, stage.palette, stage.unit
    horizon = stage.height * rng.uniform(0.4, 0.52)
    skies.open_sky(stage, horizon, 0.3, 0.8)
    haze = [mix(palette.land[0], palette.sky[-1], share) for share in (0.45, 0.2)]
    stage.land(stage.skyline(horizon, unit * 0.045, unit * 0.6), haze[0], haze[1], unit * 0.1)
    count = rng.randint(4, 5)
    for number in range(count):
        share = (number + 0.6) / count
        y = horizon + (stage.height - horizon) * share**1.25 * 0.92
        skyline = stage.skyline(y, unit * (0.03 + 0.035 * share), unit * rng.uniform(0.7, 1.1), octaves=2)
        tone = mix(palette.fields[number % len(palette.fields)], palette.land[0], 0.35 * (1 - share))
        _plough(stage, skyline, tone, unit * (0.008 + 0.03 * share), unit * (0.16 + 0.2 * share))
        _plant(stage, skyline, unit * (0.05 + 0.1 * share), mix(palette.land[1], palette.land[2], share))


def _plough(stage: Stage, skyline: Skyline, tone: Colour, pace: float, depth: float) -> None:
    """A field whose rows follow the hill, wider towards the viewer and paler towards its foot."""
    dark, down = mix(tone, stage.palette.land[-1], 0.24), 0.0
    rows: list[tuple[float, Colour]] = []
    while down < depth:
        is_wide = len(rows) % 2 == 1
        rows.append((down, mix(tone if is_wide else dark, stage.palette.sky[-1], 0.3 * down / depth)))
        down += pace * (1.4 if is_wide else 0.35)
        pace *= 1.06
    stage.layers(skyline, rows)


def _plant(stage: Stage, skyline: Skyline, size: float, dark: Colour) -> None:
    """A row of poplars, a grove, a house under a tree, a tree by itself, or nothing."""
    rng, palette = stage.rng, stage.palette
    x = stage.width * rng.uniform(0.12, 0.88)

    def plant_tree(place: float, height: float) -> None:
        things.tree(stage, place, height_at(skyline, place) + size * 0.08, height, dark, palette.fields[0])

    kind = rng.choice(("poplars", "grove", "house", "tree", "nothing"))
    if kind == "poplars":
        for number in range(rng.randint(5, 11)):
            place = x + number * size * 0.42
            things.poplar(stage, place, height_at(skyline, place) + size * 0.05, size * rng.uniform(0.9, 1.2), dark)
    elif kind == "house":
        plant_tree(x - size * 0.5, size * 1.3)
        wall, roof = mix(palette.light, palette.land[0], 0.2), mix(palette.accent, palette.land[1], 0.2)
        things.house(stage, x, height_at(skyline, x + size * 0.4) + size * 0.12, size * 0.9, wall, roof)
    elif kind in ("grove", "tree"):
        for _ in range(rng.randint(3, 6) if kind == "grove" else 1):
            plant_tree(x + size * rng.uniform(-1.6, 1.6), size * rng.uniform(0.9, 1.5))


def dunes(stage: Stage) -> None:
    rng, palette, unit = stage.rng, stage.palette, stage.unit
    horizon = stage.height * rng.uniform(0.42, 0.55)
    x = skies.open_sky(stage, horizon, 0.35, 0.85)
    haze = mix(palette.land[0], palette.sky[-1], 0.5)
    stage.land(stage.skyline(horizon, unit * 0.03, unit * 0.5), haze, palette.land[0], unit * 0.1)
    count = rng.randint(4, 5)
    for number in range(count):
        share = number / (count - 1)
        foot = horizon + unit * 0.05 + (stage.height - horizon) * 0.72 * share**1.2
        _heap_sand(stage, foot, share, -1 if x > stage.width / 2 else 1)
    things.birds(stage, stage.width * rng.uniform(0.3, 0.7), horizon * 0.5, palette.land[1])


def _heap_sand(stage: Stage, foot: float, share: float, side: int) -> None:
    """One row of dunes, with the shade on one side: -1 for the left, 1 for the right."""
    rng, palette, unit = stage.rng, stage.palette, stage.unit
    tall, wide = unit * (0.07 + 0.13 * share), unit * (0.45 + 0.5 * share)
    crests: list[tuple[float, float, float]] = []
    x = rng.uniform(-0.3, 0.5) * wide
    while x < stage.width + wide:
        crests.append((x, tall * rng.uniform(0.55, 1.15), wide * rng.uniform(0.75, 1.2)))
        x += wide * rng.uniform(0.9, 1.6)

    def rise(x: float) -> float:
        return max(high * math.pow(max(0.0, 1 - abs(x - at) / half), 1.6) for at, high, half in crests)

    skyline = [(x, y - rise(x)) for x, y in stage.skyline(foot, unit * 0.012, wide, octaves=1)]
    haze = 0.45 * (1 - share)
    lit = mix(mix(palette.fields[0], palette.light, 0.22), palette.sky[-1], haze)
    stage.land(skyline, lit, mix(lit, palette.land[1], 0.35), unit * 0.3)
    shade = mix(mix(palette.land[1], palette.land[2], 0.15), palette.sky[-1], haze)
    for at, high, half in crests:
        slope = [at + side * half * 0.92 * step / 12 for step in range(13)]
        stage.shape(_lee([(x, height_at(skyline, x)) for x in slope], side * half, foot + high * 0.5), shade)


def _lee(slope: list[Point], reach: float, foot: float) -> list[Point]:
    """The side of a dune that the light does not reach: down its slope, and back up along a bent spine."""
    (x, y), (end_x, end_y) = slope[0], slope[-1]
    spine = []
    for step in range(1, 12):
        down = step / 12
        sway = 0.34 * down * (1 - down) * (1.6 - down) - 0.1 * down + 0.28 * down**3
        spine.append((x + reach * sway, y + (foot - y) * down))
    tail_x, tail_y = spine[-1]
    hem = [(end_x + (tail_x - end_x) * part, end_y + (tail_y - end_y) * part**2.2) for part in (0.25, 0.5, 0.75)]
    return [*slope, *hem, *reversed(spine)]


def forest(stage: Stage) -> None:
    """Trunks that fade into the mist, and light between them."""
    rng, palette, unit = stage.rng, stage.palette, stage.unit
    stage.sky(stage.height * 0.9)
    sun = (stage.width * rng.uniform(0.3, 0.7), stage.height * rng.uniform(0.2, 0.45))
    stage.glows.append(Glow(*sun, unit * 0.95, palette.light, 0.6))
    for number in range(5):
        share = number / 4
        tone = mix(mix(palette.sky[-1], palette.land[0], 0.35 + 0.3 * share), palette.land[2], share**1.3)
        ground = stage.height * (0.66 + 0.26 * share)
        x = -unit * 0.1 * rng.random()
        while x < stage.width + unit * 0.05:
            half = unit * (0.006 + 0.02 * share**1.4) * rng.uniform(0.7, 1.35)
            _trunk(stage, x, ground + unit * 0.05, half, tone, rng.randint(0, 4) if number else 0)
            x += unit * (0.045 + 0.17 * share) * rng.uniform(0.5, 1.7)
        skyline = stage.skyline(ground, unit * 0.03, unit * 0.4)
        stage.land(skyline, tone, mix(tone, palette.sky[-1], 0.3 * (1 - share)), unit * 0.1)
        _undergrowth(stage, skyline, tone, unit * (0.015 + 0.03 * share))


def _trunk(stage: Stage, x: float, foot: float, half: float, tone: Colour, branches: int) -> None:
    """A tree that is taller than the picture."""
    rng = stage.rng
    lean, knee = half * rng.uniform(-3, 3), foot - stage.unit * 0.06
    left = [(x - half * 1.7, foot), (x - half, knee), (x + lean - half * 0.7, -2.0)]
    right = [(x + lean + half * 0.7, -2.0), (x + half, knee), (x + half * 1.7, foot)]
    stage.shape(left + right, tone)
    for _ in range(branches):
        up = rng.uniform(0.3, 0.95)
        at, y = x + lean * up, foot * (1 - up)
        reach = half * rng.uniform(2.5, 6) * rng.choice((-1, 1))
        rise = abs(reach) * rng.uniform(0.2, 0.7)
        under = [(at, y), (at + reach * 0.5, y - rise * 0.3), (at + reach, y - rise)]
        stage.shape([*under, (at + reach * 0.45, y - rise * 0.45), (at, y - half * 0.7)], tone)


def _undergrowth(stage: Stage, skyline: Skyline, tone: Colour, size: float) -> None:
    rng = stage.rng
    for _ in range(round(26 * stage.width / stage.unit)):
        x, tall = rng.random() * stage.width, size * rng.uniform(0.5, 1.4)
        y = height_at(skyline, x) + size * 0.2
        stage.shape([(x - tall / 2, y), (x + rng.uniform(-0.3, 0.3) * tall, y - tall), (x + tall / 2, y)], tone)


def night(stage: Stage) -> None:
    """A wide sky with its northern light or its milky way, a dark wood, and one warm window."""
    rng, palette, unit = stage.rng, stage.palette, stage.unit
    horizon = stage.height * rng.uniform(0.7, 0.8)
    stage.sky(horizon)
    skies.stars(stage, horizon, 230)
    rng.choice((skies.aurora, skies.milky_way))(stage, horizon)
    nearest = things.ranges(stage, horizon - unit * 0.06, stage.height * 0.9, 3, peaked=True)
    things.pines(stage, nearest, unit * rng.uniform(0.12, 0.2), palette.land[-1], 0.8)
    x, wall = stage.width * rng.uniform(0.2, 0.8), mix(palette.land[-1], palette.land[1], 0.7)
    things.house(stage, x, height_at(nearest, x) + unit * 0.03, unit * rng.uniform(0.07, 0.1), wall, palette.land[-1])
