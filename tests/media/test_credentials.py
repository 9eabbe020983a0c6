"""Content credentials are found where their specification puts them, and nothing that is sent takes long to look at."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ring_mcp.media.credentials import look_for_credentials
from tests.provenance_samples import signed_jpeg

C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def picture(kind: str) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(made, kind)
    return made.getvalue()


def png_with(name: bytes) -> bytes:
    plain, chunk = picture("PNG"), struct.pack(">I4s", 4, name) + b"data" + b"\0\0\0\0"
    return plain[:33] + chunk + plain[33:]  # after the header, 8 + 25 bytes


def webp_with(name: bytes) -> bytes:
    plain = picture("WEBP") + name + struct.pack("<I", 3) + b"abc\0"
    return plain[:4] + struct.pack("<I", len(plain) - 8) + plain[8:]


def mp4_with(user_type: bytes, *, large: bool = False) -> bytes:
    box = user_type + b"manifest"
    head = struct.pack(">I4sQ", 1, b"uuid", len(box) + 16) if large else struct.pack(">I4s", len(box) + 8, b"uuid")
    return struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + head + box + struct.pack(">I4s", 8, b"mdat")


@pytest.mark.parametrize(
    ("content", "content_type", "found"),
    [
        (signed_jpeg(), "image/jpeg", "present"),
        (picture("JPEG"), "image/jpeg", "absent"),
        (png_with(b"caBX"), "image/png", "present"),
        (png_with(b"teXt"), "image/png", "absent"),
        (webp_with(b"C2PA"), "image/webp", "present"),
        (webp_with(b"EXIF"), "image/webp", "absent"),
        (mp4_with(C2PA_BOX), "video/mp4", "present"),
        (mp4_with(C2PA_BOX, large=True), "video/quicktime", "present"),
        (mp4_with(b"another user type"[:16]), "video/mp4", "absent"),
        (picture("GIF"), "image/gif", "not looked at"),
        (b"no picture at all", "image/jpeg", "not looked at"),
        (b"\xff\xd8\xff\xeb\0\1JP" + b"jumb c2pa", "image/jpeg", "not looked at"),
        (b"", "image/png", "not looked at"),
    ],
)
def test_credentials_are_where_the_specification_puts_them(
    tmp_path: Path, content: bytes, content_type: str, found: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert look_for_credentials(tmp_path / "file", content_type) == found


def test_a_file_that_is_gone_is_not_looked_at(tmp_path: Path) -> None:
    assert look_for_credentials(tmp_path / "gone", "image/jpeg") == "not looked at"


@given(
    st.sampled_from(["image/jpeg", "image/png", "image/webp", "video/mp4"]),
    st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b""]),
    st.binary(max_size=300),
)
def test_whatever_is_sent_is_looked_at_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, content_type: str, head: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(head + rest)
    assert look_for_credentials(path, content_type) in ("present", "absent", "not looked at")
