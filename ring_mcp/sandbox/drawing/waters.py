"""Scenes by the water: the open sea, a lake among mountains, a city on a river."""

from __future__ import annotations

from ring_mcp.sandbox.drawing import skies, things
from ring_mcp.sandbox.drawing.palettes import mix
from ring_mcp.sandbox.drawing.stage import Stage, height_at


def sea(stage: Stage) -> None:
    """Islands far out, the path of the light, a boat or more, and at times a headland with a lighthouse."""
    rng, palette, unit = stage.rng, stage.palette, stage.unit
    horizon = stage.height * rng.uniform(0.46, 0.62)
    x = skies.open_sky(stage, horizon, 0.6, 0.97)
    for number in range(rng.randint(1, 3)):
        skyline = stage.skyline(horizon, unit * rng.uniform(0.02, 0.07), unit * rng.uniform(0.3, 0.6))
        tone = mix(palette.sky[-1], palette.land[0], 0.35 + 0.25 * number)
        stage.layers([(at, min(y, horizon)) for at, y in skyline], [(0, tone)])
    far, near = mix(palette.sky[-1], palette.land[1], 0.45), mix(palette.land[-1], palette.sky[0], 0.35)
    stage.water(horizon, far, near)
    _glitter(stage, x, horizon)
    sail = mix(palette.light, palette.sky[-1], 0.25)
    for _ in range(rng.randint(1, 3)):
        near_by = rng.uniform(0.04, 0.42) ** 1.4
        place = (stage.width * rng.uniform(0.08, 0.92), horizon + (stage.height - horizon) * near_by)
        things.boat(stage, *place, unit * (0.05 + 0.24 * near_by), sail)
    if rng.random() < 0.75:
        _headland(stage, horizon, rng.choice((-1, 1)))
    things.birds(stage, stage.width * rng.uniform(0.25, 0.75), horizon * rng.uniform(0.35, 0.7), palette.land[-1])


def _glitter(stage: Stage, x: float, top: float) -> None:
    """The path of the light on the water, from ``top`` to the viewer."""
    rng, unit, depth = stage.rng, stage.unit, stage.height - top
    colour = mix(stage.palette.light, stage.palette.sky[-1], 0.25)
    for number in range(46):
        share = (number + rng.random()) / 46
        away = unit * (0.025 + 0.11 * share) * rng.triangular(-1, 1, 0)
        size = (unit * (0.008 + 0.05 * share) * rng.uniform(0.35, 1.0), unit * (0.001 + 0.003 * share))
        stage.stroke(x + away, top + depth * share, *size, colour)


def _headland(stage: Stage, horizon: float, side: int) -> None:
    """Two cliffs that come in from the left (-1) or the right (1), with a lighthouse on the farther one."""
    rng, palette, unit = stage.rng, stage.palette, stage.unit
    reach, rise = min(stage.width * 0.42, unit * rng.uniform(0.45, 0.7)), unit * rng.uniform(0.1, 0.2)
    for number, length in enumerate((reach, reach * 0.72)):
        foot = horizon + (stage.height - horizon) * (0.16 + 0.34 * number)
        cliff = []
        for x, y in stage.skyline(foot, unit * 0.018, unit * 0.16):
            share = max(0.0, x if side < 0 else stage.width - x) / length
            if share < 1:
                cliff.append((x, min(foot, y - rise * (1.25 - 0.2 * number) * (1 - share**2.4))))
        tone = mix(palette.land[1 + number], palette.land[2], 0.3)
        stage.shape([*cliff, (cliff[-1][0], foot), (cliff[0][0], foot)], tone)
        if number == 0:
            inland = reach * rng.uniform(0.3, 0.6)
            x = inland if side < 0 else stage.width - inland
            things.lighthouse(stage, x, height_at(cliff, x) + unit * 0.01, unit * rng.uniform(0.17, 0.24))


def lake(stage: Stage) -> None:
    """Mountains that stand on their heads in still water."""
    rng, palette, unit = stage.rng, stage.palette, stage.unit
    shore = stage.height * rng.uniform(0.56, 0.66)
    skies.open_sky(stage, shore * 0.8, 0.3, 0.7)
    nearest = things.ranges(stage, shore - unit * 0.22, shore - unit * 0.02, 4, peaked=rng.random() < 0.7)
    bank = [(x, min(y, shore)) for x, y in nearest]
    things.pines(stage, bank, unit * rng.uniform(0.06, 0.11), palette.land[-1], 0.9)
    stage.mirror(shore, 0.26, mix(palette.land[1], palette.sky[0], 0.5))
    for _ in range(60):
        share = rng.random() ** 1.5
        place = (rng.random() * stage.width, shore + (stage.height - shore) * share)
        tone = mix(palette.sky[-1], palette.land[1], rng.uniform(0.3, 0.7))
        stage.stroke(*place, unit * (0.02 + 0.08 * share), unit * (0.0006 + 0.001 * share), tone)
    if rng.random() < 0.6:
        sail = mix(palette.light, palette.sky[-1], 0.3)
        things.boat(stage, stage.width * rng.uniform(0.2, 0.8), shore + unit * 0.12, unit * 0.1, sail)


def city(stage: Stage) -> None:
    """Towers in three rows, the nearer ones lower and lit, and the river that shows them again."""
    rng, palette, unit = stage.rng, stage.palette, stage.unit
    quay = stage.height * rng.uniform(0.66, 0.78)
    skies.open_sky(stage, quay * 0.8, 0.3, 0.75)
    for number in range(3):
        share = number / 2
        tone = mix(mix(palette.sky[-1], palette.land[0], 0.55), palette.land[2], share * 0.85)
        x = -unit * rng.random() * 0.1
        while x < stage.width:
            width = unit * rng.uniform(0.045, 0.11)
            height = unit * (rng.uniform(0.08, 0.36 - 0.18 * share) + 0.12 * (1 - share))
            shade = mix(tone, palette.land[1], rng.uniform(0, 0.16))
            things.tower(stage, x, quay, width, height, shade, lit=number > 0)
            x += width * rng.uniform(0.9, 1.25)
    # Only when all towers stand: what comes later is not in the water.
    stage.mirror(quay, 0.4, mix(palette.land[2], palette.sky[0], 0.4))
    stage.box(0, quay - unit * 0.006, stage.width, quay + unit * 0.004, palette.land[-1])
    for _ in range(round(60 * stage.width / unit)):
        share = rng.random() ** 1.4
        place = (rng.random() * stage.width, quay + (stage.height - quay) * share)
        tone = mix(rng.choice(palette.sky), palette.land[2], rng.uniform(0.35, 0.75))
        stage.stroke(*place, unit * (0.02 + 0.07 * share), unit * (0.0008 + 0.0018 * share), tone)
