"""Clips that show what was asked for: H.264 in MP4, the prompt on a poster, a bar that fills as time passes."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ring_mcp.sandbox.drawing.pictures import PictureSpec, paint

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

FPS = 12
SAMPLE_RATE_HZ = 48000
MISSING_LIBRARY = "The sandbox cannot make clips: the library av is not installed. Run: pip install 'ring-mcp[video]'"

_WHITE, _TRACK, _NEUTRAL = b"\xeb", b"\x38", b"\x80"
# Few bits are enough for a poster that stands still, and every choice here is for speed.
_X264 = {"preset": "ultrafast", "crf": "22", "tune": "stillimage", "g": str(4 * FPS)}


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


@dataclass(frozen=True)
class _Bar:
    """The place of the progress bar, in even pixels, so that it fits the half-size colour planes too."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


def can_render() -> bool:
    """Whether the optional library is there."""
    return importlib.util.find_spec("av") is not None


def render_mp4(spec: ClipSpec, path: Path) -> None:
    """Writes the clip. Needs the optional library ``av``."""
    import av

    frames = max(1, round(spec.duration_s * FPS))
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
        with av.open(str(path)) as container:
            if not container.streams.video:
                return None
            stream = container.streams.video[0]
            if stream.duration is not None and stream.time_base is not None:
                duration_s = float(stream.duration * stream.time_base)
            else:
                duration_s = (container.duration or 0) / av.time_base
            return ClipFacts(stream.codec_context.width, stream.codec_context.height, duration_s)
    except (av.FFmpegError, OSError):
        return None


def save_first_frame(clip: Path, picture: Path) -> bool:
    """Writes the first frame as a picture, when there is one."""
    import av

    try:
        with av.open(str(clip)) as container:
            frames: Any = container.decode(video=0)
            for frame in frames:
                frame.to_image().save(picture, "JPEG", quality=90)
                return True
    except (av.FFmpegError, OSError, IndexError):
        pass
    return False


def _video_stream(container: OutputContainer, spec: ClipSpec) -> VideoStream:
    stream = container.add_stream("libx264", rate=FPS, options=dict(_X264))
    stream.width, stream.height = spec.poster.width_px, spec.poster.height_px
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 2
    return stream


def _encode_video(container: OutputContainer, stream: VideoStream, spec: ClipSpec, frames: int) -> None:
    import av

    width_px, height_px = spec.poster.width_px, spec.poster.height_px
    bar = _bar(width_px, height_px)
    poster = paint(spec.poster, bottom_px=bar.height_px * 2)
    frame_class: Any = av.VideoFrame
    still = frame_class.from_image(poster).reformat(format="yuv420p")
    planes = [bytearray(bytes(plane)) for plane in still.planes]
    strides = [plane.line_size for plane in still.planes]
    for number in range(frames):
        _draw(planes, strides, bar, (number + 1) / frames)
        frame = av.VideoFrame(width_px, height_px, "yuv420p")
        _fill(frame, planes, strides)
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _bar(width_px: int, height_px: int) -> _Bar:
    short_px = min(width_px, height_px)
    margin_px = _even(short_px * 0.08)
    bar_px = _even(short_px * 0.02)
    return _Bar(margin_px, height_px - margin_px - bar_px, _even(width_px - 2 * margin_px), bar_px)


def _even(length_px: float) -> int:
    return max(2, round(length_px / 2) * 2)


def _draw(planes: list[bytearray], strides: list[int], bar: _Bar, share: float) -> None:
    """Paints the bar into the planes: luma in full, both colours neutral at half the size."""
    done_px = min(bar.width_px, round(bar.width_px * share))
    row = _WHITE * done_px + _TRACK * (bar.width_px - done_px)
    _paste(planes[0], strides[0], bar, row, 1)
    for plane, stride in zip(planes[1:], strides[1:], strict=True):
        _paste(plane, stride, bar, _NEUTRAL * (bar.width_px // 2), 2)


def _paste(plane: bytearray, stride: int, bar: _Bar, row: bytes, scale: int) -> None:
    for line in range(bar.top_px // scale, (bar.top_px + bar.height_px) // scale):
        start = line * stride + bar.left_px // scale
        plane[start : start + len(row)] = row


def _fill(frame: VideoFrame, planes: list[bytearray], strides: list[int]) -> None:
    """Copies the pixels into a new frame, whose lines may be padded differently."""
    for plane, pixels, stride in zip(frame.planes, planes, strides, strict=True):
        if plane.line_size == stride:
            plane.update(bytes(pixels))
            continue
        kept = min(stride, plane.line_size)
        lines = (pixels[at : at + kept].ljust(plane.line_size, b"\0") for at in range(0, len(pixels), stride))
        plane.update(b"".join(lines))


def _encode_silence(container: OutputContainer, stream: AudioStream, frames: int) -> None:
    """A silent track that ends with the picture, as clips come with sound."""
    import av

    left = frames * SAMPLE_RATE_HZ // FPS
    position = 0
    while left > 0:
        samples = min(1024, left)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=samples)
        silence: Any = bytes(frame.planes[0].buffer_size)
        frame.planes[0].update(silence)
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, position, Fraction(1, SAMPLE_RATE_HZ)
        container.mux(stream.encode(frame))
        position, left = position + samples, left - samples
    container.mux(stream.encode(None))
