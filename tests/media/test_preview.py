"""The small picture in a tool result."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ring_mcp.media.preview import MAX_SIDE_PX, make_preview

RED, GREEN, BLUE, WHITE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (221, 221, 221)


def save(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def plain(path: Path, colour: tuple[int, ...] = RED, size: tuple[int, int] = (800, 600), mode: str = "RGB") -> Path:
    return save(path, Image.new(mode, size, colour))


def noisy(path: Path, size: tuple[int, int] = (1024, 1024)) -> Path:
    return save(path, Image.merge("RGB", [Image.effect_noise(size, 200) for _ in range(3)]), quality=95)


def opened(preview: bytes | None) -> Image.Image:
    assert preview is not None
    picture = Image.open(io.BytesIO(preview))
    assert picture.format == "JPEG"
    assert picture.mode == "RGB"
    picture.load()
    return picture


def is_near(picture: Image.Image, at: tuple[int, int], colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    pixel = picture.getpixel(at)
    assert isinstance(pixel, tuple)
    return all(abs(have - want) <= tolerance for have, want in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif"])
def test_a_preview_is_a_jpeg_of_512_px_on_the_long_side(tmp_path: Path, name: str) -> None:
    preview = opened(make_preview([plain(tmp_path / name, size=(2048, 1152))]))
    assert preview.size == (512, 288)
    assert is_near(preview, (256, 144), RED)


def test_a_tall_picture_stays_tall(tmp_path: Path) -> None:
    assert opened(make_preview([plain(tmp_path / "a.png", size=(900, 1600))])).size == (288, 512)


def test_a_small_picture_is_not_blown_up(tmp_path: Path) -> None:
    assert opened(make_preview([plain(tmp_path / "a.png", size=(100, 50))])).size == (100, 50)


@pytest.mark.parametrize("size", [(1100, 1100), (2000, 2000), (3000, 2000), (4100, 4100)])
def test_the_whole_of_a_large_jpeg_is_shown(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, size[1] // 2, *size))
    preview = opened(make_preview([save(tmp_path / "a.jpg", picture)]))
    assert is_near(preview, (preview.width // 4, preview.height // 4), RED)
    assert is_near(preview, (preview.width * 3 // 4, preview.height * 3 // 4), BLUE)


@pytest.mark.parametrize("size", [(6000, 1), (1, 6000), (1, 1), (5000, 3)])
def test_an_extreme_shape_still_gives_a_preview(tmp_path: Path, size: tuple[int, int]) -> None:
    assert max(opened(make_preview([plain(tmp_path / "a.png", size=size)])).size) <= MAX_SIDE_PX


def test_quality_goes_down_until_the_preview_fits(tmp_path: Path) -> None:
    path = noisy(tmp_path / "a.jpg")
    sizes = [len(make_preview([path], max_bytes=limit) or b"") for limit in (200_000, 64 * 1024, 30_000)]
    assert sizes[0] > 64 * 1024 >= sizes[1] > 30_000 >= sizes[2] > 0


def test_a_preview_gets_smaller_when_quality_alone_does_not_do(tmp_path: Path) -> None:
    preview = make_preview([noisy(tmp_path / "a.jpg")], max_bytes=6000)
    assert preview is not None
    assert len(preview) <= 6000
    assert max(opened(preview).size) < MAX_SIDE_PX


def test_a_limit_out_of_reach_gives_none(tmp_path: Path) -> None:
    assert make_preview([noisy(tmp_path / "a.jpg")], max_bytes=100) is None


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (0, 0, 255, 0)), ("LA", (10, 0))])
def test_what_is_transparent_becomes_white(tmp_path: Path, mode: str, colour: tuple[int, ...]) -> None:
    assert is_near(opened(make_preview([plain(tmp_path / "a.png", colour, mode=mode)])), (100, 100), WHITE)


def test_a_transparent_palette_colour_becomes_white(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gif", Image.new("P", (600, 400), 0), transparency=0)
    assert is_near(opened(make_preview([path])), (100, 100), WHITE)


def test_half_transparent_is_mixed_with_white(tmp_path: Path) -> None:
    preview = opened(make_preview([plain(tmp_path / "a.png", (255, 0, 0, 128), mode="RGBA")]))
    assert is_near(preview, (100, 100), (255, 127, 127))


@pytest.mark.parametrize(
    ("mode", "colour", "name"),
    [
        ("L", 128, "a.png"),
        ("1", 1, "a.png"),
        ("P", 0, "a.png"),
        ("I;16", 32768, "a.png"),
        ("CMYK", (0, 0, 0, 0), "a.jpg"),
    ],
)
def test_every_colour_mode_gives_a_preview(tmp_path: Path, mode: str, colour: Any, name: str) -> None:
    preview = opened(make_preview([save(tmp_path / name, Image.new(mode, (600, 400), colour))]))
    expected = {"L": 128, "I;16": 128, "P": 0}.get(mode, 255)
    assert is_near(preview, (100, 100), (expected, expected, expected))


def test_exif_orientation_is_respected(tmp_path: Path) -> None:
    picture = Image.new("RGB", (800, 400), RED)
    picture.paste(BLUE, (0, 0, 400, 400))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees, clockwise
    preview = opened(make_preview([save(tmp_path / "a.jpg", picture, exif=exif)]))
    assert preview.size == (256, 512)
    assert is_near(preview, (128, 100), BLUE)
    assert is_near(preview, (128, 412), RED)


def test_nothing_of_the_original_s_notes_is_carried_over(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a private description"
    path = save(tmp_path / "a.jpg", Image.new("RGB", (800, 400), RED), exif=exif, comment=b"a private comment")
    preview = make_preview([path])
    assert preview is not None
    assert b"private" not in preview


def test_the_first_frame_of_an_animation_is_shown(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (400, 400), colour) for colour in (GREEN, RED)]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert is_near(opened(make_preview([path])), (200, 200), GREEN)


def test_four_pictures_become_two_by_two_in_their_order_with_thin_gaps(tmp_path: Path) -> None:
    colours = (RED, GREEN, BLUE, (0, 0, 0))
    paths = [plain(tmp_path / f"{n}.png", colour, (1024, 1024)) for n, colour in enumerate(colours)]
    sheet = opened(make_preview(paths))
    assert sheet.size == (512, 512)
    for at, colour in zip(((127, 127), (384, 127), (127, 384), (384, 384)), colours, strict=True):
        assert is_near(sheet, at, colour)
    assert is_near(sheet, (256, 127), WHITE, tolerance=70)
    assert is_near(sheet, (127, 256), WHITE, tolerance=70)


def test_a_last_row_that_is_not_full_stands_in_the_middle(tmp_path: Path) -> None:
    paths = [plain(tmp_path / f"{n}.png", colour, (1024, 1024)) for n, colour in enumerate((RED, GREEN, BLUE))]
    sheet = opened(make_preview(paths))
    assert sheet.size == (512, 512)
    for at, colour in (((127, 127), RED), ((384, 127), GREEN), ((256, 384), BLUE), ((150, 384), BLUE)):
        assert is_near(sheet, at, colour)
    assert is_near(sheet, (60, 384), WHITE)
    assert is_near(sheet, (452, 384), WHITE)


def test_two_wide_pictures_are_stacked_two_tall_ones_side_by_side(tmp_path: Path) -> None:
    wide = opened(make_preview([plain(tmp_path / "w.png", size=(1600, 900))] * 2))
    tall = opened(make_preview([plain(tmp_path / "t.png", size=(900, 1600))] * 2))
    assert wide.height > wide.width
    assert tall.width > tall.height


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("size", [(512, 512), (800, 400), (450, 800)])
def test_a_contact_sheet_of_any_count_stays_within_its_limits(
    tmp_path: Path, count: int, size: tuple[int, int]
) -> None:
    preview = make_preview([plain(tmp_path / "a.png", size=size)] * count)
    assert preview is not None
    assert len(preview) <= 64 * 1024
    assert 300 <= max(opened(preview).size) <= MAX_SIDE_PX


def test_a_broken_picture_among_others_leaves_a_grey_cell(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\xff\xd8\xff not a picture")
    good = plain(tmp_path / "a.png", size=(1024, 1024))
    sheet = opened(make_preview([good, tmp_path / "broken", good, good]))
    assert is_near(sheet, (384, 127), GREY)
    assert is_near(sheet, (384, 384), RED)


@pytest.mark.parametrize("content", [b"", b"text", b"<html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a"])
def test_what_cannot_be_decoded_gives_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    assert make_preview([tmp_path / "f"]) is None


def test_a_missing_file_or_no_file_at_all_gives_none(tmp_path: Path) -> None:
    assert make_preview([tmp_path / "gone"]) is None
    assert make_preview([]) is None


def test_a_decompression_bomb_gives_none(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    for side in (9_200, 60_000):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        (tmp_path / "f").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)))
        assert make_preview([tmp_path / "f"]) is None


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)
@given(image_format=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]), at=st.floats(0, 1), junk=st.binary(max_size=40))
def test_damage_anywhere_in_a_picture_never_raises(tmp_path: Path, image_format: str, at: float, junk: bytes) -> None:
    whole = io.BytesIO()
    Image.effect_noise((120, 80), 90).convert("RGB").save(whole, image_format)
    data = bytearray(whole.getvalue())
    start = int(at * len(data))
    data[start : start + len(junk)] = junk
    (tmp_path / "f").write_bytes(data)
    preview = make_preview([tmp_path / "f"])
    assert preview is None or opened(preview).size <= (120, 80)
