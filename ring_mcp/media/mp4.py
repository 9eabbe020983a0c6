"""What an MP4 says of itself in its boxes: codec and length, without any library. Other containers say nothing here."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

_MAX_BOXES = 2_000
_CODECS = {
    b"avc1": "h264", b"avc3": "h264", b"hvc1": "h265", b"hev1": "h265", b"dvh1": "h265", b"dvhe": "h265",
    b"av01": "av1", b"vp09": "vp9", b"vp08": "vp8", b"mp4v": "mpeg4", b"jpeg": "mjpeg", b"apch": "prores",
    b"apcn": "prores", b"apcs": "prores", b"ap4h": "prores",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp4Facts:
    """``codec`` of the first track of pictures; None: there is none. ``duration_s`` is that of the whole file."""

    codec: str | None = None
    duration_s: Decimal | None = None


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    end: int


def read_mp4(path: Path) -> Mp4Facts:
    """Blocking; a few seeks. A box that makes no sense ends the reading where it stands. Raises OSError."""
    codec, duration_s = None, None
    with path.open("rb") as file:
        size_bytes = file.seek(0, 2)
        for movie in _inside(file, _Box(b"", 0, size_bytes), b"moov"):
            for header in _inside(file, movie, b"mvhd"):
                duration_s = duration_s or _length(file, header)
            for track in _inside(file, movie, b"trak"):
                codec = codec or _codec(file, track)
    return Mp4Facts(codec=codec, duration_s=duration_s)


def _codec(file: BinaryIO, track: _Box) -> str | None:
    """The codec of a track of pictures; None for any other track."""
    for media in _inside(file, track, b"mdia"):
        for handler in _inside(file, media, b"hdlr"):
            if _bytes(file, handler.start + 8, 4) != b"vide":
                return None
        for info in _inside(file, media, b"minf"):
            for table in _inside(file, info, b"stbl"):
                for entry in _inside(file, table, b"stsd"):
                    name = _bytes(file, entry.start + 12, 4)
                    return _CODECS.get(name, name.decode("ascii", "replace").strip() or "unknown")
    return None


def _length(file: BinaryIO, header: _Box) -> Decimal | None:
    """Seconds by the movie's header, of either version."""
    fields = _bytes(file, header.start, 32)
    layout, at = (">IQ", 20) if fields[:1] == b"\1" else (">II", 12)
    try:
        timescale, length = struct.unpack_from(layout, fields, at)
    except struct.error:
        return None
    is_known = timescale and length not in (0, 2**32 - 1, 2**64 - 1)
    return Decimal(length) / timescale if is_known else None


def _inside(file: BinaryIO, outer: _Box, kind: bytes) -> Iterator[_Box]:
    """The boxes of this kind that lie directly inside another one."""
    offset = outer.start
    for _ in range(_MAX_BOXES):
        head = _bytes(file, offset, 16)
        if offset + 8 > outer.end or len(head) < 8:
            return
        length, begins = int.from_bytes(head[:4], "big"), offset + 8
        if length == 1:
            length, begins = int.from_bytes(head[8:16], "big"), offset + 16
        end = outer.end if length == 0 else offset + length
        if end < begins or end > outer.end:
            return
        if head[4:8] == kind:
            yield _Box(kind, begins, end)
        offset = end


def _bytes(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)
