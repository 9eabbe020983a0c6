"""Pictures and clips that are given to the sandbox by strangers: a bomb is none, and nothing of it is decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from random import Random

import pytest

from ring_mcp.sandbox.drawing import clips, pictures
from ring_mcp.sandbox.drawing.pictures import PictureSpec
from tests.cases.given_media import make_media


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(side_px: int) -> bytes:
    """A PNG that says it has so many pixels, and none of them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side_px, side_px, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side_px", [9_000, 12_000, 65_000])
def test_a_bomb_is_no_picture_and_what_is_drawn_has_none(tmp_path: Path, side_px: int) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(bomb(side_px))
    assert pictures.measure(path) is None
    drawn = pictures.paint(PictureSpec("x", 64, 48, "x", seed="x", background=path))
    assert drawn.size == (64, 48)


def test_a_clip_of_huge_frames_gives_no_frame(tmp_path: Path) -> None:
    make_media(tmp_path)
    assert clips.save_first_frame(tmp_path / "clip.mp4", tmp_path / "frame.jpg")
    assert not clips.save_first_frame(tmp_path / "clip.mp4", tmp_path / "other.jpg", max_pixels=1_000)


def test_a_text_that_names_other_files_is_no_clip(tmp_path: Path) -> None:
    make_media(tmp_path)
    playlist = tmp_path / "list"
    playlist.write_text("ffconcat version 1.0\nfile clip.mp4\n")
    assert clips.probe(playlist) is None
    assert not clips.save_first_frame(playlist, tmp_path / "frame.jpg")


def test_damaged_media_are_drawn_or_not_and_break_nothing(tmp_path: Path) -> None:
    make_media(tmp_path)
    chance, changed = Random(20261129), tmp_path / "changed"
    for name in ("plain.jpg", "plain.png", "plain.webp", "clip.mp4", "clip.webm", "audio-only.mp4"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(chance.randint(1, 8)):
                content[chance.randrange(min(len(content), 600))] = chance.randrange(256)
            changed.write_bytes(content)
            if name.startswith("plain"):
                pictures.measure(changed)
                pictures.show(PictureSpec("x", 64, 48, "x", seed="x", background=changed), (64, 48))
            else:
                clips.probe(changed)
                clips.save_first_frame(changed, tmp_path / "frame.jpg")
