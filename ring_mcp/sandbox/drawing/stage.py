"""The board that a scene is cut from: sky, layers of land, water and lights, all in flat shapes of one palette."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ring_mcp.sandbox.drawing.palettes import Colour, Palette, along, mix

Point = tuple[float, float]
Skyline = list[Point]
"""From beyond the left edge to beyond the right one, in even steps."""


@dataclass(frozen=True)
class Glow:
    """A soft light over everything. ``strength`` is from 0 to 1; ``stretch`` times as high as it is wide."""

    x: float
    y: float
    radius: float
    colour: Colour
    strength: float
    stretch: float = 1.0


class Stage:
    """A canvas with pixels of its own. ``unit``, its shorter side, is what things on it are measured by.

    ``glows`` are not in ``image``: they are laid over it when everything stands.
    """

    def __init__(self, size: tuple[int, int], palette: Palette, rng: random.Random) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height = size
        self.unit = float(min(size))
        self.palette = palette
        self.rng = rng
        self.glows: list[Glow] = []
        self.image = Image.new("RGB", size)
        self.pen = ImageDraw.Draw(self.image)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        self.pen.polygon(points, fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.pen.rectangle((left, top, right, bottom), fill=colour)

    def oval(self, x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
        self.pen.ellipse((x - half_width, y - half_height, x + half_width, y + half_height), fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.oval(x, y, radius, radius, colour)

    def stroke(self, x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
        """A lens: thick in the middle, pointed at both ends."""
        flat = half_width * 0.4
        above = [(x - half_width, y), (x - flat, y - half_height), (x + flat, y - half_height)]
        below = [(x + half_width, y), (x + flat, y + half_height), (x - flat, y + half_height)]
        self.shape(above + below, colour)

    def sky(self, horizon: float) -> None:
        """The gradient down to ``horizon``; below it the light of the horizon."""
        steps = sum(_steps(a, b) for a, b in itertools.pairwise(self.palette.sky)) // 2 + 1
        for step in range(steps):
            foot = horizon * (step + 1) / steps if step < steps - 1 else self.height
            self.box(0, horizon * step / steps, self.width, foot, along(self.palette.sky, step / steps))

    def sky_at(self, y: float, horizon: float) -> Colour:
        return along(self.palette.sky, y / horizon)

    def skyline(self, y: float, swing: float, wavelength: float, *, octaves: int = 4, peaked: bool = False) -> Skyline:
        """A random line around ``y`` that moves by about ``swing``: rolling, or with peaks."""
        pace = self.unit * 0.011
        count = math.ceil(self.width / pace) + 2
        heights = [0.0] * count
        strength = 1.0
        for octave in range(octaves):
            knots = [self.rng.uniform(-1, 1) for _ in range(int(count * pace / wavelength) + 3)]
            place = self.rng.random()
            for index in range(count):
                knot = int(place)
                share = place - knot
                if not peaked:
                    share *= share * (3 - 2 * share)
                value = knots[knot] + (knots[knot + 1] - knots[knot]) * share
                heights[index] += strength * (1 - 2 * abs(value) if peaked and octave == 0 else value)
                place += pace / wavelength
            strength *= 0.42
            wavelength *= 0.43
        return [((index - 0.5) * pace, y - swing * height) for index, height in enumerate(heights)]

    def land(self, skyline: Skyline, top: Colour, foot: Colour, depth: float) -> None:
        """Everything under a skyline, from ``top`` at its edge to ``foot`` at ``depth`` below it."""
        # No more bands than the eye can tell apart: each is a polygon as long as the skyline.
        steps = min(12, _steps(top, foot) // 5 + 1)
        bands = [(depth * step / steps, mix(top, foot, step / steps)) for step in range(steps)]
        self.layers(skyline, bands)

    def layers(self, skyline: Skyline, bands: Sequence[tuple[float, Colour]]) -> None:
        """Bands that follow a skyline, each from so far below it to the next; the last to the lower edge."""
        edge = [(x, y + bands[0][0]) for x, y in skyline]
        for (_, colour), (down, _) in itertools.pairwise(bands):
            lower = [(x, y + down) for x, y in skyline]
            self.shape([*edge, *reversed(lower)], colour)
            edge = lower
        floor = self.height + 2.0
        self.shape([*edge, (self.width + 2.0, floor), (-2.0, floor)], bands[-1][1])

    def water(self, top: float, far: Colour, near: Colour) -> None:
        """A surface from ``top`` to the lower edge, with strokes on it that grow towards the viewer."""
        depth, steps = self.height - top, _steps(far, near) // 3 + 1
        for step in range(steps):
            upper, lower = (top + depth * place / steps for place in (step, step + 1))
            self.box(0, upper, self.width, lower, mix(far, near, step / steps))
        rng = self.rng
        for _ in range(round(70 * self.width / self.unit)):
            share = rng.random() ** 1.6
            tone = mix(mix(far, near, share), rng.choice((self.palette.sky[-1], near)), rng.uniform(0.12, 0.3))
            size = (self.unit * (0.012 + 0.11 * share) * rng.uniform(0.4, 1.0), self.unit * (0.0008 + 0.0028 * share))
            self.stroke(rng.random() * self.width, top + depth * share, *size, tone)

    def mirror(self, top: float, share: float, tint: Colour) -> None:
        """Still water from ``top`` down: what stands above, upside down, with ``share`` of a tint."""
        from PIL import Image

        line = round(top)
        rows = min(self.height - line, line)
        above = self.image.crop((0, line - rows, self.width, line)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        self.image.paste(Image.blend(above, Image.new("RGB", above.size, tint), share), (0, line))


def height_at(skyline: Skyline, x: float) -> float:
    """Where a skyline is at ``x``."""
    pace = skyline[1][0] - skyline[0][0]
    index = min(max(int((x - skyline[0][0]) / pace), 0), len(skyline) - 2)
    (left, y), (_, after) = skyline[index], skyline[index + 1]
    return y + (after - y) * (x - left) / pace


def _steps(first: Colour, second: Colour) -> int:
    """In how many steps one colour becomes the other."""
    return max(abs(a - b) for a, b in zip(first, second, strict=True))
