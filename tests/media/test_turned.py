"""Media that a player turns before it shows them: sizes are those of what is seen, and pictures of it stand upright."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from ring_mcp.media.bounds import MAX_FRAME_PIXELS
from ring_mcp.media.clip import measure_clip, write_poster
from ring_mcp.media.mp4 import TURNS_SIDEWAYS, read_mp4
from ring_mcp.media.pictures import measure_picture
from ring_mcp.media.preview import write_preview
from tests.cases.given_media import HEIGHT_PX, MATRICES, WIDTH_PX, make_quarters, turn_clip

# What stands in the corners, by rows, after the turn.
SEEN = {
    "none": "RGBW", "right": "BRWG", "half": "WBGR", "left": "GWRB", "mirrored": "GRWB", "upside down": "BWRG",
    "mirrored and left": "RBGW", "mirrored and right": "WGBR",
}  # fmt: skip


@pytest.fixture(scope="module")
def quarters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("turned") / "clip.mp4"
    make_quarters(path)
    return path


def corners(picture: Image.Image) -> str:
    names = {(True, False, False): "R", (False, True, False): "G", (False, False, True): "B", (True, True, True): "W"}
    far_x, far_y = picture.width - 12, picture.height - 12
    found = ""
    for place in ((12, 12), (far_x, 12), (12, far_y), (far_x, far_y)):
        pixel = picture.convert("RGB").getpixel(place)
        assert isinstance(pixel, tuple)
        red, green, blue = pixel
        found += names[red > 128, green > 128, blue > 128]
    return found


@pytest.mark.parametrize("turn", SEEN)
def test_a_clips_poster_and_size_are_those_of_what_is_seen(quarters: Path, tmp_path: Path, turn: str) -> None:
    clip, poster = tmp_path / "clip.mp4", tmp_path / "poster.jpg"
    content = quarters.read_bytes()
    clip.write_bytes(content if turn == "none" else turn_clip(content, turn))
    assert read_mp4(clip).turn == turn
    facts = measure_clip(clip)
    size = (HEIGHT_PX, WIDTH_PX) if turn in TURNS_SIDEWAYS else (WIDTH_PX, HEIGHT_PX)
    assert (facts.width_px, facts.height_px) == size
    assert write_poster(clip, poster)
    with Image.open(poster) as picture:
        assert (picture.size, corners(picture)) == (size, SEEN[turn])
    write_preview("video", [clip], tmp_path / "preview.jpg")
    with Image.open(tmp_path / "preview.jpg") as picture:
        assert corners(picture) == SEEN[turn]


def test_every_matrix_has_a_turn_and_the_nearest_is_taken(quarters: Path, tmp_path: Path) -> None:
    assert set(MATRICES) == set(SEEN) - {"none"}
    content = turn_clip(quarters.read_bytes(), "right")
    at = content.index(b"tkhd") + 44
    slanted = content[:at] + b"\0\0\1\0" + content[at + 4 :]
    (tmp_path / "clip.mp4").write_bytes(slanted)
    assert read_mp4(tmp_path / "clip.mp4").turn == "right"


def test_a_clips_picture_that_is_too_large_is_not_decoded(quarters: Path, tmp_path: Path) -> None:
    import av

    path = tmp_path / "large.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 8192, 4400, "yuvj420p"
        frame = av.VideoFrame(8192, 4400, "yuvj420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert MAX_FRAME_PIXELS < 8192 * 4400
    assert measure_clip(path).width_px == 8192
    assert write_poster(path, tmp_path / "poster.jpg") is False
    assert not (tmp_path / "poster.jpg").exists()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pictures_size_is_that_of_what_is_seen(tmp_path: Path, image_format: str, orientation: int) -> None:
    picture = Image.new("RGB", (30, 20), "teal")
    exif = picture.getexif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    picture.save(content, image_format, exif=exif)
    (tmp_path / "a").write_bytes(content.getvalue())
    with Image.open(io.BytesIO(content.getvalue())) as turned:
        shown = ImageOps.exif_transpose(turned).size
    container = "WebP" if image_format == "WEBP" else image_format
    assert measure_picture(tmp_path / "a", container, is_whole=True) == shown
    assert shown == ((20, 30) if orientation >= 5 else (30, 20))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"no exif"])
def test_exif_that_makes_no_sense_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    content = io.BytesIO()
    Image.new("RGB", (30, 20), "teal").save(content, "JPEG", exif=exif)
    (tmp_path / "a").write_bytes(content.getvalue())
    assert measure_picture(tmp_path / "a", "JPEG", is_whole=True) == (30, 20)


@pytest.mark.parametrize("playlist", [b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", b"ffconcat version 1.0\nfile a\n"])
def test_a_list_of_other_files_is_no_clip(tmp_path: Path, playlist: bytes) -> None:
    (tmp_path / "a.m3u8").write_bytes(playlist)
    assert measure_clip(tmp_path / "a.m3u8").duration_s is None
    assert write_poster(tmp_path / "a.m3u8", tmp_path / "poster") is False
