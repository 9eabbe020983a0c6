"""Pictures as providers sign them: content credentials (C2PA in APP11) and XMP, which must come through untouched."""

from __future__ import annotations

import io
import struct

from PIL import Image

_XMP = (
    b"http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta xmlns:x='adobe:ns:meta/'>"
    b"<rdf:Description xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' "
    b"Iptc4xmpExt:DigitalSourceType='trainedAlgorithmicMedia' xmlns:Iptc4xmpExt='http://iptc.org/std/Iptc4xmpExt/'/>"
    b"</x:xmpmeta>"
)


def signed_jpeg(jpeg: bytes | None = None) -> bytes:
    """A JPEG (this one, or a small one) with an XMP segment and two APP11 segments that hold a JUMBF box."""
    if jpeg is None:
        made = io.BytesIO()
        Image.new("RGB", (96, 64), "teal").save(made, "JPEG")
        jpeg = made.getvalue()
    box = struct.pack(">I4s", 70_008, b"jumb") + b"c2pa" * 17_500
    pieces = [box[at : at + 40_000] for at in range(0, len(box), 40_000)]
    app11 = b"".join(_segment(0xEB, b"JP" + struct.pack(">HI", 1, n) + piece) for n, piece in enumerate(pieces, 1))
    return jpeg[:2] + _segment(0xE1, _XMP) + app11 + jpeg[2:] + b"trailing bytes"


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
