"""Colours that go together: for each hour and weather the sky, the land from far to near, and one accent."""

from __future__ import annotations

import colorsys
import random
from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """``sky`` runs from the zenith to the horizon, ``land`` from the haze to the viewer's feet."""

    sky: tuple[Colour, ...]
    light: Colour
    land: tuple[Colour, ...]
    fields: tuple[Colour, ...]
    accent: Colour
    is_night: bool = False

    def turn(self, degrees: float) -> Palette:
        """All hues moved along the wheel together, so that they still go together."""

        def each(colours: tuple[Colour, ...]) -> tuple[Colour, ...]:
            return tuple(_turn(colour, degrees) for colour in colours)

        light, accent = each((self.light, self.accent))
        return Palette(each(self.sky), light, each(self.land), each(self.fields), accent, self.is_night)


def choose(rng: random.Random, *, is_night: bool | None = None) -> Palette:
    """One of the palettes, a little turned. ``is_night`` asks for dark ones alone, or for none of them."""
    # Chance picks by position: another order, or one more, is another picture for many a prompt.
    fitting = [palette for palette in PALETTES if is_night is None or palette.is_night == is_night]
    return rng.choice(fitting).turn(rng.uniform(-18, 18))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour at ``share`` (0 to 1) of the way from the first to the second."""
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


def along(colours: tuple[Colour, ...], share: float) -> Colour:
    """The colour at ``share`` (0 to 1) of the way through several, which are evenly apart."""
    place = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    index = min(int(place), len(colours) - 2)
    return mix(colours[index], colours[index + 1], place - index)


def _turn(colour: Colour, degrees: float) -> Colour:
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in colour))
    red, green, blue = colorsys.hls_to_rgb((hue + degrees / 360) % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _colours(text: str) -> tuple[Colour, ...]:
    return tuple((int(word[:2], 16), int(word[2:4], 16), int(word[4:], 16)) for word in text.split())


def _palette(sky: str, light: str, land: str, fields: str, accent: str, *, is_night: bool = False) -> Palette:
    return Palette(_colours(sky), _colours(light)[0], _colours(land), _colours(fields), _colours(accent)[0], is_night)


PALETTES = (
    # dawn, noon, gold, dusk
    _palette("3b4a7a b583a0 f6b9a0 ffdcb4", "fff1d6", "b79aa8 6b5b7e 2a2a48", "d8a47f 9b7b93 c98b86", "ff8f6b"),
    _palette("3f8fc6 8cc5e3 e3f2ee", "fffbe8", "a8c8cf 5c8f86 1f4038", "d9c76b 7ea857 a9bb5c", "e2574c"),
    _palette("c8743a f0ad58 fde3ae", "fff6dc", "e0b07c a86a45 43261f", "e2a94f b9733a cf9147", "2f6f73"),
    _palette("1d2350 6d3d76 d86a72 f79a6b", "ffd9a0", "a4607a 553a66 1a1631", "8f5572 6a4470 a8656f", "ffcf70"),
    # violet evening, mist, autumn, desert
    _palette("2a1b4f 6a4c93 e4a5c2", "ffe9f0", "a487b5 5f4a85 211839", "b78fb8 7d659f 9c78ad", "f7d070"),
    _palette("9fb3b5 c5d2cd edeee2", "fffdf3", "b3c3bd 70897f 293b37", "c9c79a 9aae8d b3b990", "c7553d"),
    _palette("6d93a6 c9cfc0 f6e3bd", "fff4d8", "cfa77a a2572f 40211a", "d9952f a24d27 c6762c", "2d5d62"),
    _palette("3a6a9a c9a794 f6d3a4", "fff0d2", "e3a873 c06a3c 562824", "e6b176 c9803f d79656", "1f4e5f"),
    # winter, tropics, storm, rose
    _palette("7fa0c4 bcd0e2 f0f0ee", "fffdf6", "bfd0e0 7f9ab8 2b405e", "eef3f8 cfdcea dfe8f1", "c94f4f"),
    _palette("0d7ea2 57c2c4 f9efc7", "fffbe6", "7fc4b4 2d8a83 0c3a42", "b9d07a 5fae7c 8cc07b", "ff7d5c"),
    _palette("262f3d 5b6b7a c9c7b8", "f6efd8", "83909a 465564 18202a", "8f9472 6b7a67 7d876d", "f0c24b"),
    _palette("8b5e83 e3a1a6 fbe3d4", "fff6ee", "cf99a6 8d5c7b 362240", "e0a898 b47a8d cb9092", "3f7c85"),
    # jade morning, crimson evening
    _palette("1e5f6a 7fb8a4 f1edc6", "fffbe2", "8fbfa8 3f7f71 0f322b", "cfcf86 7fae78 a7be7f", "f28c5a"),
    _palette("2b1030 9b2d4a ff9a56", "ffe3a6", "b2465a 5c1f45 1d0c21", "a84a4f 74305a 8e3d55", "ffd36b"),
    # nights: of the moon, of the northern light, of a warm town
    _palette("060b1f 10204a 33527f", "f3f1e2", "2f4670 172747 070d1f", "34496a 22355a 2b4062", "ffc76b", is_night=True),
    _palette("04121d 0b2f3a 246064", "e4fff2", "20504f 0f2d35 050f16", "2b5a52 1a4248 23504d", "8dffc0", is_night=True),
    _palette("0d0a26 2b1c4d 6b3f6b", "fbe6d0", "4a3566 291f47 0d0a1f", "51406f 382b57 453564", "ffb35c", is_night=True),
    # of fog over water, of the last red in the west
    _palette("0a1418 16323a 3f6c70", "eef4ea", "39605f 1b3a3f 081316", "3a5f58 24444a 30525a", "ffb870", is_night=True),
    _palette("0b0a1c 2a1534 7a2f45", "ffe7d0", "552745 2f1833 100a1a", "5a2c45 3d2038 4c2640", "ffcf7a", is_night=True),
)
