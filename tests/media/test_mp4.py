"""What an MP4's boxes say, without a library; whatever else comes in says nothing and breaks nothing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.media.mp4 import Mp4Facts, read_mp4
from tests.cases.given_media import make_clip, make_media, make_sound


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    make_media(folder)
    make_clip(folder / "h265.mp4", "libx265", 2)
    return folder


@pytest.mark.parametrize(
    ("name", "codec", "length_s"),
    [
        ("clip.mp4", "h264", 3), ("long.mp4", "h264", 12), ("h265.mp4", "h265", 2), ("vp9.mp4", "vp9", 3),
        ("mpeg4.mp4", "mpeg4", 3), ("audio-only.mp4", None, 3), ("clip.mov", "h264", 3),
    ],
)  # fmt: skip
def test_a_clip_tells_its_codec_and_its_length(media: Path, name: str, codec: str | None, length_s: int) -> None:
    facts = read_mp4(media / name)
    assert facts.codec == codec
    assert facts.duration_s is not None
    assert abs(facts.duration_s - length_s) < Decimal("0.1")


@pytest.mark.parametrize("name", ["clip.webm", "plain.jpg", "page.html", "empty.jpg", "photo.heic"])
def test_what_is_no_mp4_says_nothing(media: Path, name: str) -> None:
    assert read_mp4(media / name) == Mp4Facts()


@given(st.data())
def test_a_damaged_file_is_read_as_far_as_it_makes_sense(media: Path, data: st.DataObject) -> None:
    content = bytearray((media / "clip.mp4").read_bytes())
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = media / "changed"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    facts = read_mp4(path)
    assert facts.codec is None or len(facts.codec) < 10


def test_a_file_of_nothing_but_boxes_ends(tmp_path: Path) -> None:
    (tmp_path / "boxes").write_bytes(b"\0\0\0\x08free" * 100_000)
    assert read_mp4(tmp_path / "boxes") == Mp4Facts()
    make_sound(tmp_path / "sound.mp4", 1)
    (tmp_path / "loop").write_bytes(b"\0\0\0\x00moov" * 2_000)
    assert read_mp4(tmp_path / "loop").codec is None
