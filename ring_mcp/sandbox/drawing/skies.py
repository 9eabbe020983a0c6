"""What is overhead: sun, moon and stars, clouds, the northern light and the milky way."""

from __future__ import annotations

from ring_mcp.sandbox.drawing.palettes import mix
from ring_mcp.sandbox.drawing.stage import Glow, Stage


def open_sky(stage: Stage, horizon: float, low: float, high: float) -> float:
    """A sky with its sun between ``low`` and ``high`` (shares of the way to the horizon), or with moon and stars.

    Returns where the light stands, from the left.
    """
    rng, unit = stage.rng, stage.unit
    stage.sky(horizon)
    x = stage.width * rng.choice((rng.uniform(0.2, 0.42), rng.uniform(0.58, 0.8)))
    if stage.palette.is_night:
        stars(stage, horizon, 90)
        light(stage, x, horizon * rng.uniform(0.2, 0.5), unit * rng.uniform(0.035, 0.06))
    else:
        light(stage, x, horizon * rng.uniform(low, high), unit * rng.uniform(0.05, 0.1))
        rng.choice((clouds, streaks))(stage, horizon)
    return x


def light(stage: Stage, x: float, y: float, radius: float) -> None:
    """The sun or the moon, and what it sheds."""
    colour, strength = stage.palette.light, 0.34 if stage.palette.is_night else 0.5
    stage.disc(x, y, radius, colour)
    stage.glows.append(Glow(x, y, stage.unit * 0.95, colour, strength))
    stage.glows.append(Glow(x, y, radius * 2.6, colour, strength * 0.8))


def stars(stage: Stage, horizon: float, count: int) -> None:
    """``count`` of them on a square of the stage's unit, more of them high up."""
    rng = stage.rng
    # Bounded: a long pan is many pictures wide.
    for _ in range(min(1200, round(count * stage.width * horizon / stage.unit**2))):
        x, y, bright = rng.random() * stage.width, horizon * rng.random() ** 1.3, rng.random() ** 3
        colour = mix(stage.sky_at(y, horizon), (255, 250, 235), 0.35 + 0.65 * bright)
        stage.disc(x, y, stage.unit * (0.0009 + 0.0016 * bright), colour)


def clouds(stage: Stage, horizon: float) -> None:
    """Banks of cloud, heaped in the middle, lit from the horizon."""
    rng = stage.rng
    for _ in range(rng.randint(2, 4) + round(stage.width / stage.unit)):
        x, y = rng.random() * stage.width, horizon * rng.uniform(0.12, 0.8)
        length = stage.unit * rng.uniform(0.16, 0.5)
        lit = mix(stage.sky_at(y, horizon), mix(stage.palette.light, stage.palette.sky[-1], 0.4), 0.42)
        for puff in range(rng.randint(5, 9)):
            away = (puff / 6 - 0.5) * length + rng.uniform(-0.08, 0.08) * length
            heap = 1 - min(1.0, abs(away) / length * 1.7)
            stage.oval(x + away, y, length * rng.uniform(0.12, 0.3), length * (0.025 + 0.07 * heap * rng.random()), lit)


def streaks(stage: Stage, horizon: float) -> None:
    """Long thin clouds that lie across the sky."""
    rng = stage.rng
    for _ in range(rng.randint(4, 8) + round(2 * stage.width / stage.unit)):
        y, half = horizon * rng.uniform(0.1, 0.92), stage.unit * rng.uniform(0.12, 0.5)
        tone = mix(stage.sky_at(y, horizon), stage.sky_at(y + horizon * 0.35, horizon), rng.uniform(0.35, 0.7))
        stage.stroke(rng.random() * stage.width, y, half, half * rng.uniform(0.02, 0.06), tone)


def aurora(stage: Stage, horizon: float) -> None:
    """Curtains of light: many narrow ones along a line that waves across the sky."""
    rng, unit = stage.rng, stage.unit
    green, violet = mix(stage.palette.accent, (90, 255, 190), 0.7), (150, 110, 255)
    for _ in range(2):
        strength = 0.2
        for x, y in stage.skyline(horizon * rng.uniform(0.4, 0.62), unit * 0.09, unit * 0.6, octaves=2)[::4]:
            strength = min(0.42, max(0.04, strength + rng.uniform(-0.1, 0.1)))
            tall = rng.uniform(0.14, 0.26)
            stage.glows.append(Glow(x, y - unit * tall * 0.6, unit * 0.045, green, strength, tall / 0.045))
            stage.glows.append(Glow(x, y - unit * tall * 1.3, unit * 0.06, violet, strength * 0.6, tall / 0.06))


def milky_way(stage: Stage, horizon: float) -> None:
    """A band of faint light and dense stars from one side to the other."""
    rng, unit = stage.rng, stage.unit
    slope, middle = rng.choice((-1, 1)) * rng.uniform(0.5, 1.1), stage.width * rng.uniform(0.35, 0.65)
    for step in range(22):
        y = horizon * step / 22
        x = middle + (y - horizon / 2) * slope + rng.uniform(-0.05, 0.05) * unit
        colour = mix((190, 190, 255), (255, 210, 190), rng.random())
        stage.glows.append(Glow(x, y, unit * rng.uniform(0.14, 0.26), colour, rng.uniform(0.08, 0.17)))
        for _ in range(16):
            star = (x + rng.gauss(0, 0.055) * unit, y + rng.uniform(-0.04, 0.04) * unit)
            stage.disc(*star, unit * rng.uniform(0.0008, 0.0016), (225, 225, 255))
