"""Clips of the sandbox: they move, their strip stands still, and a given picture stays in the frame."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from ring_mcp.sandbox.drawing import clips
from ring_mcp.sandbox.drawing.clips import ClipSpec, render_mp4
from ring_mcp.sandbox.drawing.pan import Pan
from ring_mcp.sandbox.drawing.pictures import PictureSpec, render_jpeg
from ring_mcp.sandbox.drawing.strip import Strip

SIZE = (320, 180)
STRIDES = (384, 192, 192)
"""Longer than the rows, as they are in real frames."""


def poster(prompt: str = "a tram", background: Path | None = None) -> PictureSpec:
    return PictureSpec(prompt, *SIZE, "a-model · 1 s", prompt, background)


def luma(pan: Pan, number: int) -> Image.Image:
    """The brightness of a frame, without the padding of its rows."""
    padded = Image.frombytes("L", (STRIDES[0], SIZE[1]), pan.frame(number)[0])
    return padded.crop((0, 0, *SIZE))


def scene(frame: Image.Image) -> Image.Image:
    return frame.crop((0, 0, frame.width, frame.height - Strip(*SIZE).height_px))


def moved(first: Image.Image, second: Image.Image) -> int:
    """By how many pixels to the left the second frame shows the first; every other one would differ."""
    for shift in range(-8, 9):
        left = first.crop((8 + shift, 0, first.width - 8 + shift, first.height))
        if left.tobytes() == second.crop((8, 0, second.width - 8, second.height)).tobytes():
            return shift
    raise AssertionError("the frame is not the one before, moved")


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "given.jpg"
    path.write_bytes(render_jpeg(PictureSpec("a first frame", *SIZE, "", "a first frame")))
    return path


def test_a_scene_goes_by_at_one_pace_and_never_turns() -> None:
    pan = Pan(poster(), 60, STRIDES)
    frames = [scene(luma(pan, number)) for number in range(60)]

    paces = {moved(*pair) for pair in itertools.pairwise(frames)}

    assert paces in ({2}, {-2})


def test_prompts_decide_which_way_the_scene_goes() -> None:
    pans = [Pan(poster(f"a tram {number}"), 3, STRIDES) for number in range(12)]

    assert {moved(scene(luma(pan, 0)), scene(luma(pan, 1))) for pan in pans} == {2, -2}


def test_a_given_picture_is_swayed_within_its_margins(given: Path) -> None:
    pan = Pan(poster(background=given), 60, STRIDES)
    frames = [scene(luma(pan, number)) for number in range(60)]

    paces = [moved(*pair) for pair in itertools.pairwise(frames)]

    assert set(paces) == {2, -2}
    room_px = SIZE[0] * 0.08
    assert max(abs(sum(paces[:number])) for number in range(60)) == pytest.approx(room_px, abs=2)
    with Image.open(given) as shown:
        assert ImageStat.Stat(ImageChops.difference(scene(shown.convert("L")), frames[0])).mean[0] < 25


def test_the_colours_move_with_the_brightness() -> None:
    pan = Pan(poster(), 3, STRIDES)
    size = (STRIDES[1], SIZE[1] // 2)
    before, after = (
        Image.frombytes("L", size, pan.frame(number)[1]).crop((0, 0, SIZE[0] // 2, 80)) for number in (0, 1)
    )

    assert moved(before, after) * 2 == moved(scene(luma(pan, 0)), scene(luma(pan, 1)))


def test_the_strip_stands_still_and_its_line_fills_with_time() -> None:
    pan = Pan(poster(), 10, STRIDES)
    top = SIZE[1] - Strip(*SIZE).height_px
    frames = [luma(pan, number) for number in range(10)]

    below = {frame.crop((0, top + 2, *SIZE)).tobytes() for frame in frames}
    assert len(below) == 1
    filled_px = [sum(level > 60 for level in frame.crop((0, top, SIZE[0], top + 1)).tobytes()) for frame in frames]
    assert filled_px == [SIZE[0] * (number + 1) // 10 for number in range(10)]


def test_a_clip_shows_the_frames_of_its_pan(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    render_mp4(ClipSpec(poster(), 2.0), path)

    with av.open(str(path)) as container:
        decoded: Any = container.decode(video=0)
        frames: list[Image.Image] = [frame.to_image() for frame in decoded]
    assert len(frames) == 2 * clips.FPS
    pan = Pan(poster(), len(frames), STRIDES)
    for number in (0, 11, 23):
        wanted = luma(pan, number).point([max(0, min(255, round((level - 16) * 255 / 219))) for level in range(256)])
        assert ImageStat.Stat(ImageChops.difference(frames[number].convert("L"), wanted)).mean[0] < 6


def test_a_clip_of_one_frame_stands(tmp_path: Path, given: Path) -> None:
    for background in (None, given):
        path = tmp_path / "clip.mp4"
        render_mp4(ClipSpec(poster(background=background), 1 / clips.FPS, has_audio=False), path)

        facts = clips.probe(path)
        assert facts is not None
        assert (facts.width_px, facts.height_px) == SIZE


def test_the_same_clip_is_the_same_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    for path in (first, second):
        render_mp4(ClipSpec(poster(), 1.0), path)

    assert first.read_bytes() == second.read_bytes()
