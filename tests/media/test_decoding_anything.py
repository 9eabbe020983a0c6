"""Whatever bytes a decoder's process is given, in whatever order: an answer or a refusal, within its limits, and the
next good file goes on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ring_mcp.domain import MediaKind
from ring_mcp.media.decoding import Decoder
from ring_mcp.media.limits import MAX_MEMORY_BYTES, MAX_WRITTEN_BYTES
from ring_mcp.media.natives import Natives, Undecodable
from ring_mcp.media.pictures import TooManyPixels
from ring_mcp.processes import _start_decoder
from tests.cases.given_media import make_media

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there the server decodes itself")

SPECIMENS = (
    "plain.jpg", "plain.png", "plain.webp", "anim.gif", "plain.bmp", "plain.tiff", "photo.heic", "noeoi.jpg",
    "clip.mp4", "clip.mov", "clip.webm", "vp9.mp4", "mpeg4.mp4", "audio-only.mp4", "page.html", "empty.jpg",
)  # fmt: skip
MAX_WALL_S = 20.0

places = st.integers(0, 4_000)
changes = st.lists(st.tuples(places, st.binary(min_size=1, max_size=8)), max_size=6)
damaged = st.tuples(st.sampled_from(SPECIMENS), changes, st.none() | st.integers(0, 6_000), st.binary(max_size=50))
anything = st.binary(max_size=3_000)
whats = st.sampled_from(["picture", "clip", "preview of a picture", "preview of a clip", "poster"])
containers = st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"])


def order(what: str, container: str, is_whole: bool, path: Path, made: Path) -> Callable[[Natives], Any]:
    def preview(kind: MediaKind) -> Callable[[Natives], Any]:
        return lambda natives: natives.write_preview(kind, [path], made)

    return {
        "picture": lambda natives: natives.measure_picture(path, container, is_whole=is_whole),
        "clip": lambda natives: natives.measure_clip(path),
        "preview of a picture": preview("image"),
        "preview of a clip": preview("video"),
        "poster": lambda natives: natives.write_poster(path, made),
    }[what]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    make_media(folder)
    return folder


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    fresh = Decoder(_start_decoder, max_wall_s=MAX_WALL_S)
    yield fresh
    fresh.close()


def content_of(media: Path, given_bytes: bytes | tuple[str, list[tuple[int, bytes]], int | None, bytes]) -> bytes:
    if isinstance(given_bytes, bytes):
        return given_bytes
    name, at, length, tail = given_bytes
    content = bytearray((media / name).read_bytes()[:length])
    for place, piece in at:
        content[place : place + len(piece)] = piece
    return bytes(content + tail)


def peak_bytes(pid: int | None) -> int:
    """The most address space that the process has had; 0 where nobody tells."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmPeak")), 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_bytes=anything | damaged, what=whats, container=containers, is_whole=st.booleans())
async def test_whatever_is_given_is_answered_or_refused_and_the_next_goes_on(
    given_bytes: Any, what: str, container: str, is_whole: bool, media: Path, decoder: Decoder, tmp_path: Path
) -> None:
    path, made = tmp_path / "given", tmp_path / "made.jpg"
    path.write_bytes(content_of(media, given_bytes))
    with contextlib.suppress(Undecodable, TooManyPixels, OSError):
        await decoder.run(order(what, container, is_whole, path, made))
    assert peak_bytes(decoder.pid) <= MAX_MEMORY_BYTES
    assert not made.exists() or made.stat().st_size <= MAX_WRITTEN_BYTES
    good = await decoder.run(lambda natives: natives.measure_picture(media / "plain.png", "PNG", is_whole=False))
    assert good == (320, 180)
