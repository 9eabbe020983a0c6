"""Clips for a prompt: H.264 in MP4, a slow pan over a scene, and a line on its strip that fills as time passes."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ring_mcp.extras import install_line
from ring_mcp.sandbox.drawing.pan import Pan
from ring_mcp.sandbox.drawing.pictures import PictureSpec

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

# Few, for every frame takes time: a slow pan looks well enough.
FPS = 12
SAMPLE_RATE_HZ = 48000
MAX_FRAME_PIXELS = 36_000_000
"""Of a clip that is given: 8k has 33 million."""

MISSING_LIBRARY = f"The sandbox cannot make clips: the library av is not installed. Run: {install_line('video')}"

_MP4 = "mov"
"""What the library calls both."""

# A picture that only shifts needs few bits, and every choice here is for speed: a constant quantizer above all, which
# spares x264 half of its time, for it need not weigh each frame before it codes it.
_X264 = {"preset": "ultrafast", "qp": "24", "g": str(4 * FPS), "x264-params": "scenecut=0"}


@dataclass(frozen=True)
class ClipSpec:
    """Everything a clip depends on."""

    poster: PictureSpec
    duration_s: float
    has_audio: bool = True


@dataclass(frozen=True)
class ClipFacts:
    """What is in a clip file."""

    width_px: int
    height_px: int
    duration_s: float
    codec: str
    is_mp4: bool


def can_render() -> bool:
    """Whether the optional library is there."""
    return importlib.util.find_spec("av") is not None


def render_mp4(spec: ClipSpec, path: Path) -> None:
    """Writes the clip. Needs the optional library ``av``."""
    import av

    frames = max(1, round(spec.duration_s * FPS))
    # The index before the frames, as in clips that are made to be played while they load.
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = _video_stream(container, spec)
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono") if spec.has_audio else None
        _encode_video(container, video, spec, frames)
        if audio is not None:
            _encode_silence(container, audio, frames)


def probe(path: Path) -> ClipFacts | None:
    """Size and length of a clip, or None when the file is not one."""
    import av

    try:
        with _open_given(path) as container:
            if not container.streams.video:
                return None
            stream = container.streams.video[0]
            if stream.duration is not None and stream.time_base is not None:
                duration_s = float(stream.duration * stream.time_base)
            else:
                duration_s = (container.duration or 0) / av.time_base
            codec = stream.codec_context
            brand = container.metadata.get("major_brand", "")
            # The library has one name for both; only the brand tells QuickTime from MP4.
            is_mp4 = container.format.name == _MP4 and brand.strip() != "qt"
            return ClipFacts(codec.width, codec.height, duration_s, codec.name, is_mp4)
    except Exception:  # whatever a decoder makes of a stranger's bytes: it is none
        return None


def save_first_frame(clip: Path, picture: Path, max_pixels: int = MAX_FRAME_PIXELS) -> bool:
    """Writes the first frame as a picture, when there is one, and it has no more pixels than that."""
    try:
        with _open_given(clip) as container:
            stream = container.streams.video[0]
            # By the header, before the decoder takes memory for it; each thread more would keep frames of its own.
            if stream.width * stream.height > max_pixels:
                return False
            stream.codec_context.thread_count = 1
            frames: Any = container.decode(stream)
            for frame in frames:
                frame.to_image().save(picture, "JPEG", quality=90)
                return True
    except Exception:  # as above
        return False
    return False


def _open_given(path: Path) -> InputContainer:
    """A clip as what it is by its first bytes: left to guess, the library would take a text for a playlist, and open
    the files that it names."""
    import av

    with path.open("rb") as file:
        is_matroska = file.read(4) == b"\x1a\x45\xdf\xa3"
    return av.open(str(path), format="matroska" if is_matroska else _MP4, options={"protocol_whitelist": "file"})


def _video_stream(container: OutputContainer, spec: ClipSpec) -> VideoStream:
    stream = container.add_stream("libx264", rate=FPS, options=dict(_X264))
    stream.width, stream.height = spec.poster.width_px, spec.poster.height_px
    stream.pix_fmt = "yuv420p"
    # The studio draws several clips side by side: more threads in each would only be in each other's way.
    stream.codec_context.thread_count = 2
    return stream


def _encode_video(container: OutputContainer, stream: VideoStream, spec: ClipSpec, frames: int) -> None:
    import av

    size = (spec.poster.width_px, spec.poster.height_px)
    strides = [plane.line_size for plane in av.VideoFrame(*size, "yuv420p").planes]
    pan = Pan(spec.poster, frames, strides)
    for number in range(frames):
        frame = av.VideoFrame(*size, "yuv420p")
        for plane, pixels in zip(frame.planes, pan.frame(number), strict=True):
            plane.update(pixels)
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _encode_silence(container: OutputContainer, stream: AudioStream, frames: int) -> None:
    """A silent track that ends with the picture, as clips come with sound."""
    import av

    left = frames * SAMPLE_RATE_HZ // FPS
    position = 0
    while left > 0:
        # What a frame of AAC holds.
        samples = min(1024, left)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=samples)
        silence: Any = bytes(frame.planes[0].buffer_size)
        frame.planes[0].update(silence)
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, position, Fraction(1, SAMPLE_RATE_HZ)
        container.mux(stream.encode(frame))
        position, left = position + samples, left - samples
    container.mux(stream.encode(None))
