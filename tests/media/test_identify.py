"""What a file is, by its own bytes."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ring_mcp.domain import MediaFile, MediaKind
from ring_mcp.errors import ProviderBadReply
from ring_mcp.media.bounds import MAX_PIXELS
from ring_mcp.media.clip import measure_clip, write_poster
from ring_mcp.media.identify import CutClip, describe, hash_file, identify, identify_result
from ring_mcp.media.natives import InThisProcess
from tests.media_bytes import box, mp4

NATIVES = InThisProcess()
PICTURES = {
    "JPEG": ("image/jpeg", "jpg"),
    "PNG": ("image/png", "png"),
    "WEBP": ("image/webp", "webp"),
    "GIF": ("image/gif", "gif"),
}
MAGIC = [
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBP",
    b"\0\0\0\x18ftypmp42",
    b"\x1a\x45\xdf\xa3",
]


def picture(image_format: str, size: tuple[int, int] = (300, 200), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(out, image_format, **options)
    return out.getvalue()


def webm(doc_type: bytes = b"webm") -> bytes:
    return b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\x82\x84" + doc_type + b"\0" * 100


def identified(tmp_path: Path, data: bytes, expected: MediaKind) -> MediaFile:
    path = tmp_path / "spool"
    path.write_bytes(data)
    size_bytes, sha256 = hash_file(path)
    return identify(path, NATIVES, size_bytes=size_bytes, sha256=sha256, expected=expected)


def refusal(tmp_path: Path, data: bytes, expected: MediaKind) -> str:
    with pytest.raises(ProviderBadReply) as caught:
        identified(tmp_path, data, expected)
    return caught.value.message


def test_hashing_gives_size_and_sha256(tmp_path: Path) -> None:
    data = b"x" * 3_000_001
    (tmp_path / "f").write_bytes(data)
    assert hash_file(tmp_path / "f") == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("image_format", PICTURES)
def test_a_picture_is_known_by_its_bytes_with_its_size_in_pixels(tmp_path: Path, image_format: str) -> None:
    media = identified(tmp_path, picture(image_format), "image")
    assert (media.content_type, media.extension) == PICTURES[image_format]
    assert (media.width_px, media.height_px) == (300, 200)
    assert media.path == tmp_path / "spool"


@pytest.mark.parametrize(
    ("data", "content_type", "extension"),
    [
        (mp4(), "video/mp4", "mp4"),
        (mp4(b"mp42"), "video/mp4", "mp4"),
        (mp4(b"iso6"), "video/mp4", "mp4"),
        (mp4(b"qt  "), "video/quicktime", "mov"),
        (webm(), "video/webm", "webm"),
    ],
)
def test_a_video_is_known_by_its_container(tmp_path: Path, data: bytes, content_type: str, extension: str) -> None:
    media = identified(tmp_path, data, "video")
    assert (media.content_type, media.extension) == (content_type, extension)
    assert (media.width_px, media.height_px) == (None, None)


def real_mp4(path: Path, title: str = "") -> bytes:
    """Half a second of H.264, with its title in the header."""
    import av

    with av.open(path, "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream("h264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame(64, 64, "yuv420p")
        for _ in range(12):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_a_real_mp4_is_accepted_and_any_part_of_it_is_not(tmp_path: Path) -> None:
    data = real_mp4(tmp_path / "clip.mp4")
    assert identified(tmp_path, data, "video").content_type == "video/mp4"
    for share in (0.2, 0.5, 0.9):
        assert "incomplete MP4" in refusal(tmp_path, data[: int(len(data) * share)], "video")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"Unauthorized", "12 bytes of text"),
        (b"<!DOCTYPE html><html><body>secret words</body></html>", "an HTML page"),
        (b"\xef\xbb\xbf\n <!-- proxy --><HTML>secret words", "an HTML page"),
        (b'{"error": "secret words"}', "a JSON document"),
        (b'<?xml version="1.0"?><Error>secret words</Error>', "an XML document"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"%PDF-1.7 secret words", "a PDF file"),
        (b"\x00\x01\x02\xff" * 10, "40 bytes of an unknown type"),
        ("ключ".encode() * 1000, "8000 bytes of text"),
        (mp4(b"avif"), "an AVIF file"),
        (mp4(b"M4A "), "an M4A file"),
        (webm(b"matroska"), "a Matroska file"),
        (picture("BMP"), "a BMP file"),
        (b"BMW and other words", "19 bytes of text"),
        (picture("TIFF"), "a TIFF file"),
        (b"MM\x00*" + bytes(40), "a TIFF file"),
        (picture("ICO"), "an ICO file"),
        (picture("JPEG2000"), "a JPEG 2000 file"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "a JPEG XL file"),
        (b"\xff\x0a" + bytes(40), "a JPEG XL file"),
        (b"8BPS\x00\x01" + bytes(40), "a PSD file"),
        (b"RIFF\x00\x10\x00\x00AVI LIST", "an AVI file"),
        (b"RIFF\x00\x10\x00\x00WAVEfmt ", "a WAV file"),
    ],
)
@pytest.mark.parametrize("expected", ["image", "video"])
def test_what_is_no_media_is_told_by_kind_and_never_quoted(
    tmp_path: Path, data: bytes, found: str, expected: MediaKind
) -> None:
    message = refusal(tmp_path, data, expected)
    assert message == f"{'an image' if expected == 'image' else 'a video'} was expected, but the provider sent {found}"
    assert "secret" not in message


def test_a_video_for_a_picture_is_refused_and_vice_versa(tmp_path: Path) -> None:
    assert refusal(tmp_path, mp4(), "image").endswith("sent an MP4 file")
    assert refusal(tmp_path, picture("PNG"), "video").endswith("sent a PNG file")


@pytest.mark.parametrize("image_format", PICTURES)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_picture_that_was_cut_is_refused(tmp_path: Path, image_format: str, share: float) -> None:
    data = picture(image_format, (600, 400))
    message = refusal(tmp_path, data[: int(len(data) * share)], "image")
    assert "damaged or incomplete" in message


@pytest.mark.parametrize("image_format", PICTURES)
def test_bytes_after_the_end_of_a_picture_do_no_harm(tmp_path: Path, image_format: str) -> None:
    data = picture(image_format)
    for extra in (b"\0" * 10, b"\xff\xda trailer " * 10_000):
        assert identified(tmp_path, data + extra, "image").width_px == 300


def test_an_embedded_thumbnails_end_is_not_the_pictures(tmp_path: Path) -> None:
    small = picture("JPEG", (64, 64))
    data = picture("JPEG", (300, 200), comment=small)
    cut = data[: len(data) - 4000]
    assert cut.count(b"\xff\xd9") == 1
    assert "damaged or incomplete" in refusal(tmp_path, cut, "image")


def test_a_decompression_bomb_is_refused_without_being_decoded(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    for width, height in ((MAX_PIXELS // 1000 + 1, 1000), (10_000, 9_000), (60_000, 60_000)):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
        assert "more than 80 megapixels" in refusal(tmp_path, bomb, "image")


def test_an_mp4_needs_its_index(tmp_path: Path) -> None:
    assert "incomplete" in refusal(tmp_path, box(b"ftyp", b"isom\0\0\0\0") + box(b"mdat", b"\0" * 100), "video")


def test_boxes_of_64_bits_and_to_the_end_are_understood(tmp_path: Path) -> None:
    long_box = struct.pack(">I4sQ", 1, b"mdat", 16 + 50) + b"\0" * 50
    open_end = struct.pack(">I4s", 0, b"mdat") + b"\0" * 50
    start = box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", b"\0" * 20)
    for data in (start + long_box, start + open_end, start + long_box + b"\0" * 20):
        assert identified(tmp_path, data, "video").extension == "mp4"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(magic=st.sampled_from([b"", *MAGIC]), rest=st.binary(max_size=400), expected=st.sampled_from(["image", "video"]))
def test_any_bytes_are_either_media_or_a_bad_reply(
    tmp_path: Path, magic: bytes, rest: bytes, expected: MediaKind
) -> None:
    try:
        media = identified(tmp_path, magic + rest, expected)
    except ProviderBadReply:
        return
    assert media.content_type.startswith(f"{expected}/")


@given(st.binary(max_size=5000))
def test_a_description_is_short_and_printable_whatever_the_bytes(data: bytes) -> None:
    described = describe(data[:4096], len(data))
    assert described.isprintable()
    assert len(described) < 50


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        identify(tmp_path / "gone", NATIVES, size_bytes=1, sha256="", expected="image")
    with pytest.raises(FileNotFoundError):
        hash_file(tmp_path / "gone")


def kept(
    tmp_path: Path, data: bytes, expected: MediaKind, *, only_copy: bool = False, even_cut: bool = True
) -> MediaFile:
    path = tmp_path / "spool"
    path.write_bytes(data)
    size_bytes, sha256 = hash_file(path)
    return identify_result(
        path,
        NATIVES,
        size_bytes=size_bytes,
        sha256=sha256,
        expected=expected,
        anyway=True,
        even_cut=even_cut,
        only_copy=only_copy,
    )


CUT_CLIP = box(b"ftyp", b"isom\0\0\0\0") + box(b"mdat", b"\0" * 9)

DOUBTFUL: dict[str, tuple[bytes, MediaKind, str, str]] = {
    "a cut JPEG": (picture("JPEG")[:-4000], "image", "image/jpeg", "jpg"),
    "a cut PNG": (picture("PNG")[:-4000], "image", "image/png", "png"),
    "AVIF": (mp4(b"avif"), "image", "image/avif", "avif"),
    "HEIC": (mp4(b"heic"), "image", "image/heic", "heic"),
    "a clip in place of a picture": (mp4(), "image", "video/mp4", "mp4"),
    "a picture in place of a clip": (picture("WEBP"), "video", "image/webp", "webp"),
    "a clip without its index": (CUT_CLIP, "video", "video/mp4", "mp4"),
    "Matroska": (webm(b"matroska"), "video", "video/x-matroska", "mkv"),
    "a PDF": (b"%PDF-1.7", "image", "application/octet-stream", "bin"),
    "bytes": (b"\x00\x01\x02\xff" * 10, "image", "application/octet-stream", "bin"),
}


@pytest.mark.parametrize(("data", "expected", "content_type", "extension"), DOUBTFUL.values(), ids=DOUBTFUL)
@pytest.mark.parametrize("only_copy", [False, True])
def test_what_was_paid_for_is_kept_with_its_doubt(
    tmp_path: Path, data: bytes, expected: MediaKind, content_type: str, extension: str, only_copy: bool
) -> None:
    why = refusal(tmp_path, data, expected)
    media = kept(tmp_path, data, expected, only_copy=only_copy)
    assert (media.content_type, media.extension) == (content_type, extension)
    more = CUT if data == CUT_CLIP and not only_copy else ""
    assert media.doubt == f"{why}; it is kept as it came{more}"
    assert media.size_bytes == len(data)


CUT = ", and ends early or does not play: its temporary address may give the whole clip for some time yet"


def test_a_clip_that_was_cut_off_is_asked_for_longer_than_others(tmp_path: Path) -> None:
    with pytest.raises(CutClip):
        kept(tmp_path, CUT_CLIP, "video", even_cut=False)
    assert kept(tmp_path, picture("WEBP"), "video", even_cut=False).doubt, "what is none does not become one"


def test_what_is_as_it_should_be_is_kept_without_a_doubt(tmp_path: Path) -> None:
    data = picture("JPEG")
    assert kept(tmp_path, data, "image", only_copy=True) == identified(tmp_path, data, "image")


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html><html>sign in</html>", b'{"error": "x"}', b"Unauthorized", b"<svg/>"]
)
def test_a_page_is_a_result_only_for_want_of_others(tmp_path: Path, page: bytes) -> None:
    with pytest.raises(ProviderBadReply):
        kept(tmp_path, page, "image")
    media = kept(tmp_path, page, "image", only_copy=True)
    assert (media.content_type, media.extension) == ("application/octet-stream", "bin")


def test_nothing_is_never_a_result(tmp_path: Path) -> None:
    with pytest.raises(ProviderBadReply, match="an empty file"):
        kept(tmp_path, b"", "image", only_copy=True)


def test_one_foreign_byte_in_a_title_keeps_nobody_from_the_clip(tmp_path: Path) -> None:
    data = real_mp4(tmp_path / "clip.mp4", title="Cafe au lait")
    broken = data.replace(b"Cafe au lait", b"Caf\xe9 au lait")
    assert broken != data
    assert identified(tmp_path, broken, "video").content_type == "video/mp4"


def test_thousands_of_damaged_files_are_measured_or_refused_and_nothing_else(tmp_path: Path) -> None:
    """Titles, codec tags, sizes, indexes: a fixed thousand of damages to each of a clip and two pictures."""
    chance = Random(20261128)
    whole: dict[MediaKind, list[bytes]] = {
        "video": [real_mp4(tmp_path / "clip.mp4", title="a clip")],
        "image": [picture("JPEG", (64, 48)), picture("PNG", (64, 48))],
    }
    path = tmp_path / "damaged"
    refused = measured = 0
    for expected, files in whole.items():
        for data in files:
            for _ in range(1000):
                path.write_bytes(damaged(data, chance))
                size_bytes, sha256 = hash_file(path)
                try:
                    media = identify(path, NATIVES, size_bytes=size_bytes, sha256=sha256, expected=expected)
                    measured += 1
                    assert media.duration_s is None or 0 < media.duration_s <= 24 * 3600
                    assert media.width_px is None or 0 < media.width_px <= 65_535
                except ProviderBadReply:
                    refused += 1
                    assert identify_result(
                        path, NATIVES, size_bytes=size_bytes, sha256=sha256, expected=expected, only_copy=True
                    )
    assert min(refused, measured) > 100
    assert refused + measured == 3000


def damaged(data: bytes, chance: Random) -> bytes:
    """Up to eight bytes changed, most of them in a header, and now and then the end cut off."""
    content = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(content) if chance.random() < 0.3 else min(len(content), 2000))
        place = len(content) - 1 - place if chance.random() < 0.5 else place  # an MP4 has its header at the end
        content[place] = chance.randrange(256)
    return bytes(content[: chance.randrange(len(content))] if chance.random() < 0.05 else content)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", mp4(), webm()])
def test_a_decoder_that_knows_nothing_is_no_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "clip").write_bytes(data)
    assert measure_clip(tmp_path / "clip").duration_s is None
    assert write_poster(tmp_path / "clip", tmp_path / "poster") is False
