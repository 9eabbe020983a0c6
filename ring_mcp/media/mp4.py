"""What an MP4 says of itself in its boxes: codec, length and turn, without any library. Others say nothing here."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Literal

from ring_mcp.files import open_file

_MAX_BOXES = 20_000
"""Of one file, however they are nested."""

_CODECS = {
    b"avc1": "h264", b"avc3": "h264", b"hvc1": "h265", b"hev1": "h265", b"dvh1": "h265", b"dvhe": "h265",
    b"av01": "av1", b"vp09": "vp9", b"vp08": "vp8", b"mp4v": "mpeg4", b"jpeg": "mjpeg", b"apch": "prores",
    b"apcn": "prores", b"apcs": "prores", b"ap4h": "prores",
}  # fmt: skip


Turn = Literal["none", "right", "half", "left", "mirrored", "upside down", "mirrored and left", "mirrored and right"]
"""What a player does with each picture before it shows it: a quarter to the right, a half, a quarter to the left; or
mirrored left to right, and then turned."""

TURNS_SIDEWAYS: frozenset[Turn] = frozenset({"right", "left", "mirrored and left", "mirrored and right"})
_TURNS: dict[tuple[bool, bool, bool], Turn] = {
    (False, False, False): "none",
    (False, True, True): "half",
    (False, True, False): "mirrored",
    (False, False, True): "upside down",
    (True, False, True): "right",
    (True, True, False): "left",
    (True, False, False): "mirrored and left",
    (True, True, True): "mirrored and right",
}
"""By the display matrix: whether it turns sideways, and whether its two numbers that then count are negative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp4Facts:
    """``codec`` and ``turn`` of the first track of pictures; None: there is none. ``duration_s``: of the whole file."""

    codec: str | None = None
    duration_s: Decimal | None = None
    turn: Turn = "none"


@dataclass(frozen=True, slots=True)
class _Box:
    start: int
    end: int


def read_mp4(path: Path) -> Mp4Facts:
    """Blocking; a few seeks. A box that makes no sense ends the reading where it stands. Raises OSError."""
    codec, duration_s, turn = None, None, None
    with open_file(path) as file:
        boxes = _Boxes(file)
        for movie in boxes.inside(_Box(0, file.seek(0, 2)), b"moov"):
            # Offsets here and below are those of ISO/IEC 14496-12; version 1 of a header has times of 64 bits, which
            # moves what follows.
            for header in boxes.inside(movie, b"mvhd"):
                duration_s = duration_s or _length(boxes.read(header.start, 32))
            for track in boxes.inside(movie, b"trak"):
                if codec is None and (codec := _codec(boxes, track)) is not None:
                    turn = next((_turn(boxes.read(h.start, 84)) for h in boxes.inside(track, b"tkhd")), None)
    return Mp4Facts(codec=codec, duration_s=duration_s, turn=turn or "none")


class _Boxes:
    """The boxes of one file, read one after the other until there were too many."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MAX_BOXES

    def read(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(count)

    def inside(self, outer: _Box, kind: bytes) -> Iterator[_Box]:
        """Those of this kind that lie directly inside another one."""
        offset = outer.start
        while self._left > 0 and offset + 8 <= outer.end:
            self._left -= 1
            head = self.read(offset, 16)
            length, begins = int.from_bytes(head[:4], "big"), offset + 8
            if length == 1:
                length, begins = int.from_bytes(head[8:16], "big"), offset + 16
            end = outer.end if length == 0 else offset + length
            if len(head) < 8 or end < begins or end > outer.end:
                return
            if head[4:8] == kind:
                yield _Box(begins, end)
            offset = end


def _codec(boxes: _Boxes, track: _Box) -> str | None:
    """The codec of a track of pictures; None for any other track."""
    for media in boxes.inside(track, b"mdia"):
        for handler in boxes.inside(media, b"hdlr"):
            if boxes.read(handler.start + 8, 4) != b"vide":
                return None
        for info in boxes.inside(media, b"minf"):
            for table in boxes.inside(info, b"stbl"):
                for entry in boxes.inside(table, b"stsd"):
                    # Behind version, flags and count comes the first entry: its size, then its name.
                    name = boxes.read(entry.start + 12, 4)
                    return _CODECS.get(name, name.decode("ascii", "replace").strip() or "unknown")
    return None


def _length(fields: bytes) -> Decimal | None:
    """Seconds by the movie's header, of either version."""
    layout, at = (">IQ", 20) if fields[:1] == b"\1" else (">II", 12)
    try:
        timescale, length = struct.unpack_from(layout, fields, at)
    except struct.error:
        return None
    # All ones stand for a length that was not known when the header was written.
    is_known = timescale and length not in (0, 2**32 - 1, 2**64 - 1)
    return Decimal(length) / timescale if is_known else None


def _turn(fields: bytes) -> Turn | None:
    """By the display matrix of the track's header, of either version; the nearest turn, if it does more."""
    try:
        a, b, _, c, d = struct.unpack_from(">5i", fields, 52 if fields[:1] == b"\1" else 40)
    except struct.error:
        return None
    is_sideways = abs(b) + abs(c) > abs(a) + abs(d)
    return _TURNS[is_sideways, (b if is_sideways else a) < 0, (c if is_sideways else d) < 0]
