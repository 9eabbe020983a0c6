"""A slow pan over a picture: the pixels of each frame, cut out of one wide picture in the layout that films have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ring_mcp.sandbox.drawing.palettes import mix
from ring_mcp.sandbox.drawing.pictures import PictureSpec, dice, show
from ring_mcp.sandbox.drawing.strip import Strip

if TYPE_CHECKING:
    from PIL.Image import Image

_GIVEN_SHARE = 0.08
"""How much wider than its frame a given picture is shown; a scene is as wide as its pan is long."""
_LINE_PX = 2
_LUMA = [round(16 + level * 219 / 255) for level in range(256)]
_CHROMA = [round(128 + (level - 128) * 224 / 255) for level in range(256)]


@dataclass(frozen=True)
class _Plane:
    """Brightness, or one of the colours at half the size: a wide scene, a line that fills, the strip below it.

    Rows of the scene are ``scene_stride`` apart, those of everything else have the frame's own ``stride``.
    """

    scene: memoryview
    scene_stride: int
    scene_rows: int
    stride: int
    track: bytes
    line: bytes
    strip: bytes

    def cut(self, left: int, done: int) -> bytes:
        """The scene from ``left`` on, with ``done`` pixels of the line filled."""
        starts = range(left, left + self.scene_rows * self.scene_stride, self.scene_stride)
        rows: list[memoryview | bytes] = [self.scene[start : start + self.stride] for start in starts]
        return b"".join([*rows, *self._lines(done), self.strip])

    def _lines(self, done: int) -> list[bytes]:
        count = len(self.track) // self.stride
        return [self.line[:done] + self.track[done : self.stride]] * count


class Pan:
    """A picture as it goes by, to the left or to the right.

    Args:
        poster: what is shown; its sides are even.
        frames: how many there will be.
        strides: how long the frame's rows are in memory, for brightness and for the two colours.
    """

    def __init__(self, poster: PictureSpec, frames: int, strides: Sequence[int]) -> None:
        self._frames = frames
        self._width_px = poster.width_px
        # Even, so that the half-size colours move by whole pixels too.
        self._pace_px = 2 * max(1, round(poster.width_px / 900))
        self._room_px = self._pace_px * (frames - 1)
        if poster.background is not None:
            # A given picture would have to be enlarged for a longer way: it goes to and fro in place of that.
            self._room_px = min(self._room_px, 2 * round(poster.width_px * _GIVEN_SHARE / 2))
        self._is_leftward = dice(poster.seed).random() < 0.5
        self._planes = _planes(poster, self._room_px, strides)

    def frame(self, number: int) -> list[bytes]:
        """The three planes of the frame of this number, in YUV 4:2:0."""
        left_px = _to_and_fro(number * self._pace_px, self._room_px)
        if self._is_leftward:
            left_px = self._room_px - left_px
        done_px = round(self._width_px * (number + 1) / self._frames)
        luma, *chroma = self._planes
        return [luma.cut(left_px, done_px), *(plane.cut(left_px // 2, done_px // 2) for plane in chroma)]


def _to_and_fro(way_px: int, room_px: int) -> int:
    """Where something is after ``way_px`` when it turns at both ends of its room."""
    away_px = way_px % (2 * room_px) if room_px else 0
    return min(away_px, 2 * room_px - away_px)


def _planes(poster: PictureSpec, room_px: int, strides: Sequence[int]) -> list[_Plane]:
    image, palette = show(poster, (poster.width_px + room_px, poster.height_px))
    strip = Strip(poster.width_px, poster.height_px)
    below = strip.draw(poster.prompt, poster.facts, palette)
    filled = below.copy()
    filled.paste(mix(palette.accent, palette.light, 0.2), (0, 0, below.width, _LINE_PX))
    scene = image.crop((0, 0, image.width, image.height - strip.height_px))
    scenes, belows, filleds = (each.convert("YCbCr").split() for each in (scene, below, filled))
    kinds = zip(scenes, belows, filleds, (False, True, True), strides, strict=True)
    return [_plane(*each) for each in kinds]


def _plane(scene: Image, below: Image, filled: Image, is_colour: bool, stride: int) -> _Plane:
    """One plane, in the narrow range of levels of films, and for a colour at half the size."""
    levels, fold = (_CHROMA, 2) if is_colour else (_LUMA, 1)
    scene, below, filled = (each.reduce(fold).point(levels) for each in (scene, below, filled))
    track_rows = _LINE_PX // fold
    rows = below.crop((0, 0, stride, below.height)).tobytes()
    return _Plane(
        # A frame's rows are longer than its width: the last one of the scene is read beyond its end.
        scene=memoryview(scene.tobytes() + bytes(stride)),
        scene_stride=scene.width,
        scene_rows=scene.height,
        stride=stride,
        track=rows[: track_rows * stride],
        line=filled.crop((0, 0, stride, 1)).tobytes(),
        strip=rows[track_rows * stride :],
    )
