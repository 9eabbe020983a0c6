"""Small files of media, made by hand."""

from __future__ import annotations

import struct


def box(kind: bytes, content: bytes = b"") -> bytes:
    """A box of an ISO media file."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def mp4(brand: bytes = b"isom") -> bytes:
    """All that an MP4 must have to be taken for one; there is nothing to see in it."""
    return box(b"ftyp", brand + b"\0\0\2\0isommp41") + box(b"moov", b"\0" * 200) + box(b"mdat", b"\0" * 5000)
