"""Whether a file carries content credentials (C2PA): by its structure alone, nothing is verified. Blocking, bounded.

Facts (C2PA technical specification 2.x, "Embedding manifests"): JPEG has them in APP11 segments with a JUMBF box, PNG
in a ``caBX`` chunk, WebP in a ``C2PA`` chunk, ISO media files in a ``uuid`` box of one known type at the top level.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from ring_mcp.domain import ContentCredentials

_MOST_PIECES = 4096
_HEAD_BYTES = 64
_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def look_for_credentials(path: Path, content_type: str) -> ContentCredentials:
    """ "not looked at" for other types, and for a file that cannot be read as what it is. Raises nothing."""
    look = _LOOKS.get(content_type)
    if look is None:
        return "not looked at"
    try:
        with path.open("rb") as file:
            return "present" if look(file) else "absent"
    except (OSError, ValueError, struct.error):
        return "not looked at"


def _in_jpeg(file: BinaryIO) -> bool:
    if file.read(2) != b"\xff\xd8":
        raise ValueError("no JPEG")
    for _ in range(_MOST_PIECES):
        start, marker = file.read(2)
        if start != 0xFF:
            raise ValueError("no segment")
        if marker in (0xDA, 0xD9):  # the picture itself, or its end
            return False
        # Any number of these may stand before a marker, to fill up.
        if marker == 0xFF:
            file.seek(-1, 1)
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if length < 2:  # it counts itself; less would read the rest of the file at once
            raise ValueError("no segment")
        head = file.read(min(length - 2, _HEAD_BYTES))
        # APP11 is not C2PA's alone: other JUMBF boxes lie there as well, so that its own name has to be found.
        if marker == 0xEB and head.startswith(b"JP") and b"jumb" in head and b"c2pa" in head:
            return True
        file.seek(length - 2 - len(head), 1)
    raise ValueError("too many segments")


def _in_png(file: BinaryIO) -> bool:
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        raise ValueError("no PNG")
    for _ in range(_MOST_PIECES):
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"caBX":
            return True
        if name == b"IEND":
            return False
        file.seek(length + 4, 1)
    raise ValueError("too many chunks")


def _in_webp(file: BinaryIO) -> bool:
    riff, _, webp = struct.unpack("<4sI4s", file.read(12))
    if (riff, webp) != (b"RIFF", b"WEBP"):
        raise ValueError("no WebP")
    for _ in range(_MOST_PIECES):
        head = file.read(8)
        if len(head) < 8:
            return False
        name, length = struct.unpack("<4sI", head)
        if name == b"C2PA":
            return True
        # RIFF pads every chunk to an even length, and does not count it.
        file.seek(length + length % 2, 1)
    raise ValueError("too many chunks")


def _in_mp4(file: BinaryIO) -> bool:
    for _ in range(_MOST_PIECES):
        head = file.read(8)
        if len(head) < 8:
            return False
        length, name = struct.unpack(">I4s", head)
        used = 8
        # ISO media files: 1 stands for a length of 64 bits behind the name.
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            used = 16
        if name == b"uuid":
            if file.read(16) == _C2PA_BOX:
                return True
            used += 16
        if length == 0:  # up to the end of the file
            return False
        if length < used:
            raise ValueError("no box")
        file.seek(length - used, 1)
    raise ValueError("too many boxes")


_LOOKS: Mapping[str, Callable[[BinaryIO], bool]] = {
    "image/jpeg": _in_jpeg,
    "image/png": _in_png,
    "image/webp": _in_webp,
    "video/mp4": _in_mp4,
    "video/quicktime": _in_mp4,
}
