"""The media of the cases: made on the spot, each a specimen of something that people give along."""

from __future__ import annotations

import http.server
import io
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import av
from PIL import Image

WIDTH_PX, HEIGHT_PX = 320, 180
FRAMES_A_SECOND = 12


def make_media(folder: Path) -> None:
    """Fill the folder: pictures and clips, good ones and those that providers do not take."""
    picture = Image.effect_noise((WIDTH_PX, HEIGHT_PX), 60).convert("RGB")
    for name in ("plain.jpg", "plain.png", "plain.webp", "plain.bmp", "plain.tiff"):
        picture.save(folder / name)
    (folder / "with blank.jpg").write_bytes((folder / "plain.jpg").read_bytes())
    picture.save(folder / "anim.gif", save_all=True, append_images=[picture.rotate(90)])
    (folder / "noeoi.jpg").write_bytes((folder / "plain.jpg").read_bytes().removesuffix(b"\xff\xd9"))
    (folder / "photo.heic").write_bytes(b"\0\0\0\x20ftypheic\0\0\0\0mif1heicmiaf" + b"\0" * 2000)
    (folder / "photo.avif").write_bytes(b"\0\0\0\x20ftypavif\0\0\0\0mif1avifmiaf" + b"\0" * 2000)
    (folder / "page.html").write_text("<!doctype html><html><body>Not a picture.</body></html>")
    (folder / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes((folder / "plain.jpg").read_bytes()[:900])
    make_clip(folder / "clip.mp4", "libx264", 3)
    make_clip(folder / "long.mp4", "libx264", 12)
    make_clip(folder / "clip.mov", "libx264", 3)
    make_clip(folder / "clip.webm", "libvpx-vp9", 3)
    make_clip(folder / "vp9.mp4", "libvpx-vp9", 3)
    make_clip(folder / "mpeg4.mp4", "mpeg4", 3)
    make_sound(folder / "audio-only.mp4", 3)


def make_clip(path: Path, codec: str, seconds: int, size_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX)) -> None:
    path.write_bytes(_encode_clip(path.suffix, codec, seconds, size_px))


@cache  # a second or more of processor time, for what many tests are given
def _encode_clip(suffix: str, codec: str, seconds: int, size_px: tuple[int, int]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=FRAMES_A_SECOND)
            assert isinstance(stream, av.VideoStream)
            (stream.width, stream.height), stream.pix_fmt = size_px, "yuv420p"
            if codec == "libx264":
                stream.options = {"preset": "superfast"}
            for number in range(seconds * FRAMES_A_SECOND):
                grey = Image.new("RGB", size_px, (number % 256,) * 3)
                frame = av.VideoFrame.from_image(grey)  # type: ignore[no-untyped-call]
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path.read_bytes()


def make_sound(path: Path, seconds: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        for number in range(seconds * 10):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1600)
            frame.planes[0].update(bytes(frame.planes[0].buffer_size))
            frame.sample_rate, frame.pts = 16_000, number * 1600
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on a plain file server; its address."""
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(60)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def jpeg(width_px: int = 64, height_px: int = 48) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((width_px, height_px), 60).convert("RGB").save(content, "JPEG")
    return content.getvalue()


MATRICES = {
    "right": (0, 1, -1, 0), "half": (-1, 0, 0, -1), "left": (0, -1, 1, 0), "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1), "mirrored and left": (0, 1, 1, 0), "mirrored and right": (0, -1, -1, 0),
}  # fmt: skip
"""Of the display matrix: a, b, c and d, for each turn that a player makes."""


def turn_clip(content: bytes, turn: str) -> bytes:
    """An MP4 of one track whose player has to turn it."""
    at = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (number << 16 for number in MATRICES[turn])
    return content[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[at + 36 :]


def make_quarters(path: Path) -> None:
    """A clip of one picture, wider than high: red, green, blue and white, from the left upper corner by rows."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1, options={"crf": "4"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        picture = Image.new("RGB", (2, 2))
        picture.putdata([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)])
        large = picture.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.NEAREST)
        container.mux(stream.encode(av.VideoFrame.from_image(large)))  # type: ignore[no-untyped-call]
        container.mux(stream.encode())
