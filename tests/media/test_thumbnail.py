"""Thumbnails: what is drawn, looked at once and kept as golden pictures; and what no text may ever do."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path
from typing import get_args

import fontpkg_noto_sans_arabic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from ring_mcp.domain import Overlay, OverlayPosition, OverlayRole, Thumbnail, ThumbnailTemplate
from ring_mcp.media.canvases import CANVASES, nearest_canvas
from ring_mcp.media.lettering import break_lines, has_raqm, own_font, word
from ring_mcp.media.thumbnail import MARGIN_PX, make_thumbnail
from tests.one_now import one_now

GOLDEN = Path(__file__).parent / "golden"
BAR = (11, 87, 208)
GREY = (128, 128, 128)


def picture(path: Path, size: tuple[int, int] = (64, 36), colour: tuple[int, int, int] = GREY) -> Path:
    Image.new("RGB", size, colour).save(path, "PNG")
    return path


def scene(path: Path) -> Path:
    """A sky over a sea: bright where Ring's shade does not reach."""
    sky = Image.linear_gradient("L").resize((320, 180))
    Image.merge("RGB", (sky.point(lambda v: 250 - v // 2), sky.point(lambda v: 215 - v // 2), sky)).save(path, "PNG")
    return path


def drawn(spec: Thumbnail, background: Path, canvas: str = "16:9", font: Path | None = None) -> Image.Image:
    return told(spec, background, canvas, font)[0]


def told(
    spec: Thumbnail, background: Path, canvas: str = "16:9", font: Path | None = None
) -> tuple[Image.Image, tuple[str, ...]]:
    made = make_thumbnail(spec, background, canvas, font=font)
    assert made is not None
    content, warnings = made
    assert content.startswith(b"\x89PNG")
    opened = Image.open(io.BytesIO(content))
    opened.load()
    return opened, warnings


def inked(spec: Thumbnail, background: Path, canvas: str) -> tuple[int, int, int, int] | None:
    """The box around what text has made brighter; a bar, which is no text, is darker than the grey in red and green."""
    bare = drawn(Thumbnail(template="default" if spec.template == "cta_bar" else spec.template), background, canvas)
    brighter = ImageChops.subtract(drawn(spec, background, canvas), bare)
    return brighter.getchannel("R").getbbox()


def words(text: str, role: OverlayRole = "title", position: OverlayPosition = "bottom") -> Overlay:
    return Overlay(text=text, role=role, position=position)


GOLDENS = {
    "default_cyrillic_greek": (
        "16:9",
        Thumbnail(
            overlays=(
                words("Маяк над морем: как свет находит корабли в тумане"),
                words("Ένα φως στην ομίχλη", "subtitle"),
            )
        ),
    ),
    "title_card_german": (
        "1:1",
        Thumbnail(
            template="title_card",
            overlays=(
                words("Donaudampfschifffahrtsgesellschaftskapitän im Abendlicht", position="center"),
                words("Folge 3", "caption", "top-left"),
                words("Früh am Morgen", "caption", "bottom-right"),
            ),
        ),
    ),
    "cta_bar_tall": (
        "9:16",
        Thumbnail(
            template="cta_bar",
            overlays=(words("The boat turns into the wind", position="top"), words("Watch now", "cta")),
        ),
    ),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_a_thumbnail_looks_as_it_was_once_approved(name: str, tmp_path: Path) -> None:
    canvas, spec = GOLDENS[name]
    made = drawn(spec, scene(tmp_path / "scene.png"), canvas).resize([side // 2 for side in CANVASES[canvas]])
    if os.environ.get("RING_UPDATE_SNAPSHOTS"):
        GOLDEN.mkdir(exist_ok=True)
        made.save(GOLDEN / f"{name}.png", optimize=True)
    approved = Image.open(GOLDEN / f"{name}.png")
    assert approved.size == made.size
    difference = ImageChops.difference(made, approved).convert("L")
    assert ImageStat.Stat(difference).mean[0] < 0.5
    assert sum(difference.histogram()[48:]) < made.width * made.height * 0.0005


# Whatever a font can draw, and much that it cannot.
texts = st.one_of(
    st.text(max_size=80),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x52F), max_size=400),
    st.lists(st.text("WМΩĝijЩ", min_size=1, max_size=60), max_size=30).map(" ".join),
    st.text("a\u0301\u0327Ẫg\u0489ﷺ\u202e\u200d\n", max_size=60),
    st.text("e\u0301", min_size=7_000, max_size=8_000),
)
overlays = st.builds(
    Overlay,
    text=texts,
    role=st.sampled_from(get_args(OverlayRole)),
    position=st.sampled_from(get_args(OverlayPosition)),
)


@pytest.mark.long
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    canvas=st.sampled_from(sorted(CANVASES)),
    spec=st.builds(
        Thumbnail,
        template=st.sampled_from(get_args(ThumbnailTemplate)),
        overlays=st.lists(overlays, max_size=20).map(tuple),
    ),
)
def test_no_text_leaves_the_margins_whatever_it_says(
    tmp_path_factory: pytest.TempPathFactory, canvas: str, spec: Thumbnail
) -> None:
    background = picture(tmp_path_factory.mktemp("grey") / "grey.png")
    box = inked(spec, background, canvas)
    if box is not None:
        width, height = CANVASES[canvas]
        assert box[0] >= MARGIN_PX
        assert box[1] >= MARGIN_PX
        assert box[2] <= width - MARGIN_PX
        assert box[3] <= height - MARGIN_PX


@pytest.mark.parametrize("position", get_args(OverlayPosition))
@pytest.mark.parametrize("canvas", one_now(CANVASES))
def test_a_line_is_whole_at_every_edge(canvas: str, position: OverlayPosition, tmp_path: Path) -> None:
    """The margins do not cut letters: the same line has as much ink wherever it stands."""
    background = picture(tmp_path / "grey.png", colour=(0, 0, 0))
    spec = Thumbnail(template="title_card", overlays=(words("Ĵàfjÿ Ωмега", position=position),))
    middle = spec.model_copy(update={"overlays": (words("Ĵàfjÿ Ωмега", position="center"),)})
    ink = [ImageStat.Stat(drawn(each, background, canvas).convert("L")).sum[0] for each in (spec, middle)]
    assert ink[0] == ink[1] > 0


@settings(max_examples=100, deadline=None)
@given(text=texts, width_px=st.integers(200, 1184), size_px=st.integers(10, 80), weight=st.sampled_from([400, 700]))
def test_every_line_fits_its_width_and_no_letter_is_lost(text: str, width_px: int, size_px: int, weight: int) -> None:
    wording = word(text, [own_font()])
    lines = break_lines(wording, width_px, size_px, weight, smallest_px=10)
    assert 10 <= lines.size_px <= max(10, size_px)
    assert all(lines.width_px(line) <= width_px + 1 for line in lines.lines)
    assert "".join("".join(lines.lines).split()) == "".join(wording.text.split())
    short = lines.cut(2, width_px)
    assert len(short.lines) <= 2
    assert all(lines.width_px(line) <= width_px + 1 for line in short.lines)


def rows_with_ink(made: Image.Image) -> list[int]:
    """Where each run of rows with bright pixels begins."""
    bright = made.convert("L").point(lambda v: 255 if v > 200 else 0)
    has_ink = [bright.crop((0, y, bright.width, y + 1)).getbbox() is not None for y in range(bright.height)]
    return [y for y, (before, now) in enumerate(itertools.pairwise([False, *has_ink])) if now and not before]


@pytest.mark.parametrize("position", get_args(OverlayPosition))
def test_texts_at_one_position_stand_below_each_other(position: OverlayPosition, tmp_path: Path) -> None:
    spec = Thumbnail(overlays=tuple(words("HHH", "caption", position) for _ in range(6)))
    assert len(rows_with_ink(drawn(spec, picture(tmp_path / "grey.png")))) == 6


def test_texts_of_different_positions_do_not_meet(tmp_path: Path) -> None:
    places: list[OverlayPosition] = ["top", "top-left", "center", "bottom", "bottom-left", "bottom-right"]
    spec = Thumbnail(overlays=tuple(words("H", position=place) for place in places))
    assert len(rows_with_ink(drawn(spec, picture(tmp_path / "grey.png")))) == len(places)


def test_what_does_not_fit_at_any_size_is_left_out_and_said(tmp_path: Path) -> None:
    spec = Thumbnail(overlays=tuple(words(f"Nummer {i}") for i in range(40)))
    made, warnings = told(spec, picture(tmp_path / "grey.png"))
    assert [w for w in warnings if w.endswith("of 40 overlays fit, the others were left out")]
    assert 5 < len(rows_with_ink(made)) < 40


def test_a_text_of_ten_thousand_characters_is_cut_and_said(tmp_path: Path) -> None:
    spec = Thumbnail(overlays=(words("word " * 2_000), words("below", "caption")))
    assert told(spec, picture(tmp_path / "grey.png"))[1] == ("a text was too long and has been cut",)


def test_a_long_word_becomes_smaller_before_it_is_broken(tmp_path: Path) -> None:
    long = "Donaudampfschifffahrtsgesellschaftskapitän"
    made = drawn(Thumbnail(overlays=(words(long),)), picture(tmp_path / "grey.png"), "9:16")
    assert len(rows_with_ink(made)) == 1
    broken = drawn(Thumbnail(overlays=(words(long * 3),)), picture(tmp_path / "grey.png"), "9:16")
    assert len(rows_with_ink(broken)) > 1


def test_lines_break_where_the_text_does(tmp_path: Path) -> None:
    spec = Thumbnail(overlays=(words("H\r\n\n\tH\u2028H"),))
    assert len(rows_with_ink(drawn(spec, picture(tmp_path / "grey.png")))) == 3


def test_what_no_font_has_is_named_and_leaves_no_boxes(tmp_path: Path) -> None:
    background = picture(tmp_path / "grey.png")
    made, warnings = told(Thumbnail(overlays=(words("Boat 漢字 \U0001f469\u200d\U0001f680\ufe0f!"),)), background)
    assert warnings == (
        "no font has 漢 字 \U0001f469 \U0001f680: left out; RING_THUMBNAIL_FONT can name a font that has them",
    )
    assert made.tobytes() == drawn(Thumbnail(overlays=(words("Boat !"),)), background).tobytes()


@pytest.mark.parametrize("text", ["漢字", " \n ", "\x07\x1b", "\u202e"])
def test_a_text_with_nothing_to_draw_is_left_out(text: str, tmp_path: Path) -> None:
    background = picture(tmp_path / "grey.png")
    made, warnings = told(Thumbnail(overlays=(words(text), words("Boat"))), background)
    assert "1 of 2 overlays have nothing that can be drawn" in warnings
    assert made.tobytes() == drawn(Thumbnail(overlays=(words("Boat"),)), background).tobytes()


def test_control_and_direction_characters_change_nothing(tmp_path: Path) -> None:
    background = picture(tmp_path / "grey.png")
    strange = Thumbnail(overlays=(words("Bo\u202eat\x00\x07 \u2066Nr.\ufeff 1"),))
    assert (
        drawn(strange, background).tobytes() == drawn(Thumbnail(overlays=(words("Boat Nr. 1"),)), background).tobytes()
    )


def arabic() -> Path:
    [font] = (fontpkg_noto_sans_arabic.ROOT / "files").glob("*.ttf")
    return Path(font)


def test_the_operators_font_draws_what_noto_sans_has_not(tmp_path: Path) -> None:
    """Whole only where Pillow has raqm; elsewhere a warning says so. It is drawn in any case."""
    background = picture(tmp_path / "grey.png")
    spec = Thumbnail(overlays=(words("مرحبا بالعالم"),))
    made, warnings = told(spec, background, font=arabic())
    raqm = (
        () if has_raqm() else ("letters are not joined or ordered as their script wants it: this Pillow has no raqm",)
    )
    assert warnings == raqm
    assert len(rows_with_ink(made)) > 0
    assert told(spec, background)[1][0].startswith("no font has م ر ح ب ا ل ع")


def test_the_operators_font_leaves_alone_what_noto_sans_has(tmp_path: Path) -> None:
    background = picture(tmp_path / "grey.png")
    spec = Thumbnail(overlays=(words("Boat"),))
    assert drawn(spec, background, font=arabic()).tobytes() == drawn(spec, background).tobytes()


@settings(max_examples=20, deadline=None)
@given(text=st.text("بالعم \u0650\u200c\u202e\u2066abc12,\n\u05e9", max_size=200))
def test_text_from_right_to_left_is_laid_out_whatever_it_mixes(text: str) -> None:
    wording = word(text, [own_font(), arabic()])
    lines = break_lines(wording, 600, 40, 700, smallest_px=20)
    assert "".join("".join(lines.lines).split()) == "".join(wording.text.split())
    assert all(lines.width_px(line) <= 601 for line in lines.lines)


def test_a_font_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    for font in (tmp_path / "no.ttf", picture(tmp_path / "grey.png"), tmp_path):
        _, warnings = told(Thumbnail(overlays=(words("Boat"),)), picture(tmp_path / "b.png"), font=font)
        assert warnings == ("RING_THUMBNAIL_FONT names no font that can be read: it was not used",)


@pytest.mark.parametrize(
    ("spec", "bars"),
    [
        (Thumbnail(template="cta_bar", overlays=(words("Watch now", "cta"),)), 1),
        (Thumbnail(template="cta_bar", overlays=(words("a", "cta", "top"), words("b", "cta"))), 2),
        (Thumbnail(template="cta_bar", overlays=(words("only a title"),)), 1),
        (Thumbnail(template="cta_bar"), 1),
        (Thumbnail(template="default", overlays=(words("Watch now", "cta"),)), 0),
    ],
)
def test_cta_bar_draws_a_bar_behind_each_call_to_action(spec: Thumbnail, bars: int, tmp_path: Path) -> None:
    made = drawn(spec, picture(tmp_path / "grey.png"))
    left_edge = [made.getpixel((MARGIN_PX + 4, y)) == BAR for y in range(made.height)]
    assert sum(now and not before for before, now in itertools.pairwise(left_edge)) == bars


def test_the_background_fills_the_canvas_without_being_stretched(tmp_path: Path) -> None:
    halves = Image.new("RGB", (1000, 100), (200, 0, 0))
    halves.paste((0, 0, 200), (500, 0, 1000, 100))
    halves.save(tmp_path / "wide.png")
    made = drawn(Thumbnail(), tmp_path / "wide.png", "1:1")
    assert made.size == (1080, 1080)
    assert made.getpixel((100, 10)) == (200, 0, 0)
    assert made.getpixel((1000, 10)) == (0, 0, 200)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    canvas, spec = GOLDENS["cta_bar_tall"]
    background = scene(tmp_path / "scene.png")
    assert make_thumbnail(spec, background, canvas) == make_thumbnail(spec, background, canvas)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n half of one"])
def test_a_background_that_cannot_be_decoded_gives_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(content)
    assert make_thumbnail(Thumbnail(), tmp_path / "bad", "16:9") is None
    assert make_thumbnail(Thumbnail(), tmp_path / "gone", "16:9") is None


@pytest.mark.parametrize(
    ("size", "canvas"),
    [((854, 480), "16:9"), ((480, 854), "9:16"), ((4, 3), "1:1"), ((3, 2), "16:9"), ((2, 3), "9:16"), ((1, 1), "1:1")],
)
def test_the_canvas_is_the_one_nearest_in_shape(size: tuple[int, int], canvas: str) -> None:
    assert nearest_canvas(*size) == canvas


def test_the_font_comes_with_its_package() -> None:
    assert own_font().is_file()
