"""What the sandbox draws: the same for the same prompt, another for another one, its prompt on a strip at the foot."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from ring_mcp.media.canvases import CANVASES
from ring_mcp.media.thumbnail import MARGIN_PX
from ring_mcp.sandbox.drawing import palettes, pictures, scenes, typeset
from ring_mcp.sandbox.drawing.pictures import PictureSpec, paint, render_jpeg, size_for
from ring_mcp.sandbox.drawing.stage import Stage
from ring_mcp.sandbox.drawing.strip import Strip
from ring_mcp.sandbox.google.catalogue import EXTREME_RATIOS, IMAGE_RATIOS
from ring_mcp.sandbox.xai.catalogue import BASE_RATIOS, WIDE_RATIOS

RATIOS = sorted({*EXTREME_RATIOS, *IMAGE_RATIOS, *BASE_RATIOS, *WIDE_RATIOS}, key=pictures.ratio_of)
SMALL = (512, 288)
FACTS = "a-model · 16:9 · 1/1"
PROMPT = "A lighthouse on a cliff at dusk"


def spec(
    prompt: str = PROMPT, size: tuple[int, int] = SMALL, seed: str | None = None, background: Path | None = None
) -> PictureSpec:
    return PictureSpec(prompt, *size, FACTS, f"{prompt}\n0" if seed is None else seed, background)


def drawn(picture: PictureSpec) -> Image.Image:
    return Image.open(io.BytesIO(render_jpeg(picture))).convert("RGB")


def scene(picture: Image.Image) -> Image.Image:
    """What stands above the strip."""
    return picture.crop((0, 0, picture.width, picture.height - Strip(*picture.size).height_px))


def strip(picture: Image.Image) -> Image.Image:
    return picture.crop((0, picture.height - Strip(*picture.size).height_px, picture.width, picture.height))


def apart(first: Image.Image, second: Image.Image) -> float:
    """How far two pictures of a size are from each other at a glance, in levels of 255."""
    small = [each.resize((48, 27), Image.Resampling.BOX) for each in (first, second)]
    return sum(ImageStat.Stat(ImageChops.difference(*small)).mean) / 3


def busy(picture: Image.Image) -> float:
    """How much a picture deviates from one colour."""
    return max(ImageStat.Stat(picture).stddev)


def test_the_same_prompt_is_the_same_picture_in_every_process() -> None:
    program = (
        "import hashlib; from ring_mcp.sandbox.drawing.pictures import PictureSpec, render_jpeg;"
        f"print(hashlib.sha256(render_jpeg({spec()!r})).hexdigest())"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]

    assert told == [hashlib.sha256(render_jpeg(spec())).hexdigest()] * 2


@given(st.lists(st.text(max_size=60), min_size=2, max_size=2, unique=True))
@settings(max_examples=30, deadline=None)
@example(["a cat", "a cat."])
@example(["", " "])
def test_two_prompts_are_two_pictures_at_a_glance(prompts: list[str]) -> None:
    first, second = (scene(drawn(spec(prompt))) for prompt in prompts)

    assert apart(first, second) > 1.5


def test_a_seed_changes_the_scene_and_the_strips_colours_alone() -> None:
    first, second = (drawn(spec(seed=seed)) for seed in ("1", "2"))

    assert apart(scene(first), scene(second)) > 1.5
    inks = [strip(each).convert("L").point(lambda level: 255 * (level > 150)) for each in (first, second)]
    assert apart(*(ink.convert("RGB") for ink in inks)) < 12


@pytest.mark.parametrize("resolution", ["512", "1k"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_every_ratio_has_its_size_a_scene_and_a_strip(ratio: str, resolution: str) -> None:
    size = size_for(pictures.ratio_of(ratio), resolution)

    picture = drawn(spec(size=size))

    assert picture.size == size
    assert busy(scene(picture)) > 10
    upper = scene(picture).crop((0, 0, size[0], size[1] // 3))
    assert busy(upper) > 1, "the light falls on the sky, and the grain"
    assert busy(strip(picture)) > 20


@pytest.mark.parametrize("banner_px", [(16_000, 10), (10, 16_000)])
def test_a_banner_that_was_given_gives_the_widest_picture_made(banner_px: tuple[int, int]) -> None:
    width_px, height_px = banner_px
    made = Image.open(io.BytesIO(render_jpeg(spec(size=size_for(width_px / height_px, "2k")))))
    assert sorted(made.size) == sorted(size_for(8.0, "2k"))
    assert (made.width > made.height) is (width_px > height_px)


@pytest.mark.parametrize("resolution", ["1.5k", "2k", "4k"])
def test_large_pictures_are_the_same_scene_as_small_ones(resolution: str) -> None:
    small, large = (paint(spec(size=size_for(1.0, each), seed="7")).convert("RGB") for each in ("1k", resolution))

    assert large.size == size_for(1.0, resolution)
    assert apart(small, large) < 12 < apart(small, drawn(spec(size=small.size, seed="8")))


@pytest.mark.parametrize("kind", list(scenes.SCENES))
@pytest.mark.parametrize("size", [(1600, 200), (200, 1600), (64, 64), (640, 360)])
def test_every_scene_can_be_set_on_any_stage(kind: str, size: tuple[int, int]) -> None:
    for number in range(4):
        rng = pictures.dice(f"{kind} {number}")
        stage = Stage(size, palettes.choose(rng), rng)

        scenes.SCENES[kind](stage)

        assert busy(stage.image) > 5


@pytest.mark.long
@given(
    st.text(max_size=300) | st.text("WMÄЖΩ", min_size=200, max_size=9000),
    st.sampled_from([(854, 480), (480, 854), (512, 512), (2896, 352), (352, 2896)]),
)
@settings(max_examples=60, deadline=None)
@example("", (512, 512))
@example("one\n\ntwo\tthree\x00", (512, 512))
@example("half a pair: \ud83d", (512, 512))
@example("Ἀλώπηξ ἐν τῇ χιόνι", (854, 480))
@example("مخبز عند الفجر", (854, 480))
@example("i" * 8000, (2896, 352))
def test_no_prompt_leaves_its_strip(prompt: str, size: tuple[int, int]) -> None:
    foot = Strip(*size)
    made = foot.draw(prompt, FACTS, palettes.PALETTES[0])

    assert made.size == (size[0], foot.height_px)
    margin_px = foot.margin_px
    sides = [made.crop((0, 0, margin_px, made.height)), made.crop((made.width - margin_px, 0, made.width, made.height))]
    assert [side.getcolors(1) is not None for side in sides] == [True, True], "the margins are of one colour"
    assert made.getcolors(1) is None


def test_a_long_prompt_ends_in_dots_and_displaces_the_facts() -> None:
    shown = typeset.shorten("word " * 500, 400, 20)

    assert shown.endswith("…")
    assert 380 < typeset.font(20).getlength(shown) <= 400
    assert typeset.shorten("short", 400, 20) == "short"
    foot = Strip(480, 854)
    with_facts, without = (foot.draw("word " * 500, facts, palettes.PALETTES[0]) for facts in (FACTS, ""))
    assert with_facts.tobytes() == without.tobytes()


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("Портрет рыбака", "Портрет рыбака"),
        ("Ένα φως στην ομίχλη", "Ένα φως στην ομίχλη"),
        ("bread 🥖 and\nbutter", "bread and butter"),
        ("!?", "!?"),
        ("", ""),
        ("漢字", typeset.UNSHOWN),
        ("مخبز عند الفجر", typeset.UNSHOWN),
    ],
)
def test_the_strip_shows_what_its_font_has_and_no_boxes(prompt: str, shown: str) -> None:
    assert typeset.legible(prompt) == shown


@pytest.mark.parametrize("canvas", CANVASES.values(), ids=str)
@pytest.mark.parametrize("scale", [0.75, 1.0, 1.6])
def test_text_of_a_thumbnail_stands_above_the_strip(canvas: tuple[int, int], scale: float) -> None:
    made = Strip(round(canvas[0] * scale), round(canvas[1] * scale))

    assert made.height_px / scale <= MARGIN_PX


def test_an_edit_shows_its_source_and_hides_the_strip_of_it(tmp_path: Path) -> None:
    source, blue = tmp_path / "source.jpg", tmp_path / "blue.png"
    source.write_bytes(render_jpeg(spec("W" * 200)))
    Image.new("RGB", SMALL, (30, 60, 200)).save(blue)

    edit = drawn(spec("", background=source))

    assert 0.5 < apart(scene(edit), scene(Image.open(source).convert("RGB"))) < 12, "toned, and the same"
    empty = strip(drawn(spec("", background=blue)))
    assert apart(strip(edit), empty) < 2


def test_edits_of_one_source_can_be_told_apart(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    source.write_bytes(render_jpeg(spec()))
    made = {
        render_jpeg(spec("make it night", seed=f"make it night\n{number}", background=source)) for number in range(4)
    }

    assert len(made) == 4


def test_a_source_that_is_no_picture_leaves_a_scene(tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    source.write_bytes(b"no picture")

    assert busy(drawn(spec(background=source))) > 10
