"""Files that a caller gives along: how long, how large, of which kind, and what is said of a wrong one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
import sys
import tempfile
import textwrap
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.errors import InvalidRequest, PrivateAddress, ProviderBadReply, ProviderUnavailable, StorageError
from ring_mcp.jobs.input_files import (
    Takes,
    check_length,
    check_sum,
    clip,
    data_uri,
    explain_fetch_error,
    not_writable,
    picture,
    refuse_kept,
    size_px,
    spool_file,
    write_inline,
)
from ring_mcp.media.clip import ClipFacts
from ring_mcp.media.decoding import Decoder
from ring_mcp.media.natives import InThisProcess
from ring_mcp.presets import load_presets
from tests.cases.given_media import make_media
from tests.jobs.engine import clip_plan
from tests.jobs.scripted_provider import jpeg
from tests.ledger_samples import sample_plan
from tests.media.stand_ins import DIES, HANGS, standing_in

KEPT = f"kept:{'0' * 64}"
NATIVES = InThisProcess()
SIZES = load_presets().limits.input_bytes["xai"]
MAX_IMAGE_BYTES = SIZES.image
EDITOR = load_presets().video_models["grok-imagine-video"]
TYPES = ("image/jpeg", "image/png", "image/webp")
TAKES = Takes(model="grok", sizes=SIZES, image_types=TYPES, video_codecs=("h264", "av1"))
EDIT, EXTEND = clip_plan(generation_kind="edit"), clip_plan(generation_kind="extend")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    make_media(folder)
    return folder


def inline(content: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reference_images": ("file_1", KEPT)}, "referenceImages[1]"),
        ({"image_url": KEPT}, "imageUrl"),
        ({"last_frame_url": KEPT}, "lastFrameUrl"),
        ({"source_video_url": KEPT}, "sourceVideoUrl"),
    ],
)
def test_what_another_caller_gave_has_no_name_for_callers(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        refuse_kept(clip_plan(**changes))
    assert caught.value.message == (
        f"{field} cannot be read: give an http(s) address, or a file in a folder of RING_INPUT_DIRS"
    )
    refuse_kept(clip_plan())
    refuse_kept(sample_plan())


def test_a_clip_may_be_as_long_as_the_provider_edits() -> None:
    most_s = EDITOR.max_edit_input_s
    assert most_s is not None
    check_length(EDIT, EDITOR, most_s)
    with pytest.raises(InvalidRequest, match=r"the clip has 8\.8 s and the provider edits 8\.7 s at most; leave"):
        check_length(EDIT, EDITOR, most_s + Decimal("0.1"))
    check_length(EDIT, EDITOR, most_s + Decimal("0.04"))


def test_a_limit_that_nobody_has_confirmed_is_told_as_unsure() -> None:
    unsure = EDITOR.model_copy(update={"unsure": ("maxEditInputS", "maxExtendInputS", "videoCodecs")})
    for plan in (EDIT, EXTEND):
        with pytest.raises(InvalidRequest, match=r" s \S*.*\(this bound is unsure: see unsure in presets\.json\); "):
            check_length(plan, unsure, Decimal(100))
    assert Takes.of("m", unsure, SIZES).clips.endswith(
        "H.264, H.265 or AV1 (this bound is unsure: see unsure in presets.json)"
    )
    assert Takes.of("m", EDITOR, SIZES).clips.endswith("H.264, H.265 or AV1")


@pytest.mark.parametrize(
    ("unsure", "follows", "is_told"),
    [
        ("minExtendInputS", None, True),
        ("maxExtendInputS", None, True),
        ("maxFollowUpInputS", None, False),
        ("maxFollowUpInputS", "request-1", True),
        ("maxExtendInputS", "request-1", False),
        ("maxEditInputS", None, False),
    ],
)
def test_only_a_bound_that_was_compared_is_told_as_unsure(unsure: str, follows: str | None, is_told: bool) -> None:
    model = EDITOR.model_copy(update={"max_follow_up_input_s": Decimal(30), "unsure": (unsure,)})
    with pytest.raises(InvalidRequest) as caught:
        check_length(EXTEND.model_copy(update={"follows": follows}), model, Decimal(100))
    assert ("this bound is unsure" in caught.value.message) == is_told


def test_everything_together_may_be_as_large_as_one_request() -> None:
    small = EDITOR.model_copy(update={"max_inputs_bytes": 1000})
    check_sum([400, 600], EDIT, small)
    with pytest.raises(InvalidRequest, match=r"have 1,001 bytes in all; \S+ takes 1,000 in one request$"):
        check_sum([400, 601], EDIT, small)
    check_sum([10**12], EDIT, EDITOR)


def test_an_extended_clip_keeps_to_the_providers_lengths_and_a_frame() -> None:
    least_s, most_s = EDITOR.min_extend_input_s, EDITOR.max_extend_input_s
    assert least_s is not None
    assert most_s is not None
    for length_s in (least_s, most_s, most_s + Decimal("0.04"), least_s - Decimal("0.04")):
        check_length(EXTEND, EDITOR, Decimal(length_s))
    for length_s in (least_s - Decimal("0.1"), most_s + Decimal("0.1")):
        with pytest.raises(InvalidRequest, match=f"extends clips of {least_s} to {most_s} s; give it one"):
            check_length(EXTEND, EDITOR, Decimal(length_s))


def test_a_clip_that_its_provider_still_has_may_be_longer() -> None:
    keeper = EDITOR.model_copy(update={"max_extend_input_s": Decimal(10), "max_follow_up_input_s": Decimal(30)})
    followed = EXTEND.model_copy(update={"follows": "request-1"})
    check_length(followed, keeper, Decimal(30))
    for plan, length_s, most_s in ((followed, "30.1", 30), (EXTEND, "10.1", 10)):
        with pytest.raises(InvalidRequest, match=f"to {most_s} s"):
            check_length(plan, keeper, Decimal(length_s))


def test_limits_that_a_model_does_not_have_are_not_looked_at() -> None:
    free = EDITOR.model_copy(update={"max_edit_input_s": None, "max_extend_input_s": None, "min_extend_input_s": None})
    for plan in (EDIT, EXTEND, clip_plan()):
        check_length(plan, free, Decimal(1000))
    no_least = EDITOR.model_copy(update={"min_extend_input_s": None})
    check_length(EXTEND, no_least, Decimal(0))


def test_edits_and_extensions_have_limits_of_their_own() -> None:
    check_length(EDIT, EDITOR, Decimal("0.5"))
    check_length(EXTEND, EDITOR, Decimal(10))


def test_a_data_uris_content_is_written_and_known_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "input"
    sha256 = write_inline(inline(jpeg()), path, "referenceImages[0]", MAX_IMAGE_BYTES)
    assert sha256 == hashlib.sha256(jpeg()).hexdigest()
    assert path.read_bytes() == jpeg()


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("data:image/png,abc", "a data URI has the form data:image/png;base64,<data>"),
        ("data:image/png;base64,!!!!", "the data URI is not base64"),
        ("data:image/png;base64,abcde", "the data URI is not base64"),
    ],
)
def test_what_is_no_data_uri_is_told_with_its_field(tmp_path: Path, uri: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        write_inline(uri, tmp_path / "input", "referenceImages[3]", MAX_IMAGE_BYTES)
    assert caught.value.message.startswith(f"referenceImages[3]: {text}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("head", ["image/png;base64;name=a.png", ";base64", "image/png; name=a.png; Base64 "])
def test_what_else_a_data_uri_says_does_not_matter(tmp_path: Path, head: str) -> None:
    write_inline(f"data:{head},AAAA", tmp_path / "input", "imageUrl", MAX_IMAGE_BYTES)
    assert (tmp_path / "input").read_bytes() == bytes(3)


def test_a_data_uri_may_hold_as_much_as_a_picture(tmp_path: Path) -> None:
    assert MAX_IMAGE_BYTES == 10 * 1024 * 1024
    write_inline(inline(b"x" * MAX_IMAGE_BYTES), tmp_path / "input", "imageUrl", MAX_IMAGE_BYTES)
    with pytest.raises(InvalidRequest, match=r"has about 10,485,7\d\d bytes; 10,485,760 are allowed"):
        write_inline(inline(b"x" * (MAX_IMAGE_BYTES + 6)), tmp_path / "input", "imageUrl", MAX_IMAGE_BYTES)


def test_what_is_far_too_large_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Three characters in four are bytes, and two of those may be padding."""
    path = tmp_path / "input"
    write_inline(inline(b"x"), path, "imageUrl", 1)
    write_inline(inline(b"x" * 6), path, "imageUrl", 4)
    with pytest.raises(InvalidRequest, match=r"^imageUrl has about 6 bytes; 3 are allowed$"):
        write_inline(inline(b"x" * 6), path, "imageUrl", 3)


def test_a_file_of_the_spool_is_the_owners_alone_and_goes(tmp_path: Path) -> None:
    spool = tmp_path / "state" / "spool"
    for _ in range(2):
        with spool_file(spool) as path:
            path.write_bytes(b"x")
            assert path.parent == spool
        assert list(spool.iterdir()) == []
    with spool_file(spool):
        pass  # what was never written need not be there to go
    assert spool.stat().st_mode & 0o777 == 0o700


def test_a_spool_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing was spent") as caught:
        write_inline(inline(jpeg()), tmp_path / "not there" / "input", "imageUrl", MAX_IMAGE_BYTES)
    assert (caught.value.billed, "RING_STATE_DIR" in caught.value.next_action) == ("no", True)
    assert str(tmp_path / "not there") in caught.value.message
    error = not_writable(tmp_path, OSError(28, "No space left on device"))
    assert f"{tmp_path} cannot be written (No space left on device)" in error.message


def test_a_file_becomes_a_data_uri_of_its_real_type(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(jpeg())
    assert data_uri(NATIVES, path, "imageUrl", "image", 10_000) == inline(jpeg())


def test_a_file_that_goes_while_it_is_read_is_told(tmp_path: Path) -> None:
    class Tidying(InThisProcess):
        def measure_picture(self, path: Path, container: str, *, is_whole: bool) -> tuple[int, int] | None:
            path.unlink()
            return (64, 36)

    (tmp_path / "input").write_bytes(jpeg())
    with pytest.raises(InvalidRequest, match=r"^imageUrl cannot be read: No such file or directory$"):
        data_uri(Tidying(), tmp_path / "input", "imageUrl", "image", 10_000)


def test_what_became_of_a_file_meanwhile_is_told_without_a_list(tmp_path: Path) -> None:
    """What the model takes was said when the file was given."""
    (tmp_path / "input").write_bytes(b"")
    with pytest.raises(InvalidRequest) as caught:
        data_uri(NATIVES, tmp_path / "input", "imageUrl", "image", 10_000)
    assert caught.value.message == "imageUrl cannot be used: it is an empty file"


@pytest.mark.parametrize(("width_px", "height_px"), [(None, 36), (64, None), (None, None)])
def test_a_size_is_known_whole_or_not(tmp_path: Path, width_px: int | None, height_px: int | None) -> None:
    (tmp_path / "input").write_bytes(jpeg())
    media = picture(NATIVES, tmp_path / "input", "imageUrl", TAKES)
    assert size_px(media) == (64, 36)
    assert size_px(replace(media, width_px=width_px, height_px=height_px)) is None


def test_codecs_are_named_as_people_do() -> None:
    takes = Takes(model="grok", sizes=SIZES, video_codecs=("h264", "h265", "av1", "vp9", "vp8"))
    assert takes.clips == "grok takes MP4 with H.264, H.265, AV1, VP9 or VP8"


def test_a_file_is_measured_and_may_be_as_large_as_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(jpeg())
    media = picture(NATIVES, path, "imageUrl", TAKES)
    assert (media.size_bytes, media.sha256) == (len(jpeg()), hashlib.sha256(jpeg()).hexdigest())
    with path.open("ab") as file:
        file.truncate(MAX_IMAGE_BYTES)
    assert picture(NATIVES, path, "imageUrl", TAKES).size_bytes == MAX_IMAGE_BYTES
    with path.open("ab") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)
    with pytest.raises(InvalidRequest, match=r"imageUrl has 10,485,761 bytes; 10,485,760 are allowed"):
        picture(NATIVES, path, "imageUrl", TAKES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("anim.gif", "imageUrl is a GIF file; grok takes JPEG, PNG or WebP"),
        ("photo.heic", "imageUrl cannot be used: it is a HEIC file; grok takes JPEG, PNG or WebP"),
        ("page.html", "imageUrl cannot be used: it is an HTML page; grok takes JPEG, PNG or WebP"),
        ("clip.mp4", "imageUrl cannot be used: it is an MP4 file; grok takes JPEG, PNG or WebP"),
        ("cut.jpg", "imageUrl cannot be used: it is a damaged or incomplete JPEG file of 900 bytes; grok takes JPEG,"),
        ("empty.jpg", "imageUrl cannot be used: it is an empty file; grok takes JPEG, PNG or WebP"),
    ],
)
def test_a_picture_that_a_model_does_not_take_is_told(media: Path, name: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        picture(NATIVES, media / name, "imageUrl", TAKES)
    assert caught.value.message.startswith(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clip.webm", "sourceVideoUrl is a WebM file; grok takes MP4 with H.264 or AV1"),
        ("clip.mov", "sourceVideoUrl is a QuickTime file; grok takes MP4 with H.264 or AV1"),
        ("vp9.mp4", "sourceVideoUrl is an MP4 file with VP9; grok takes MP4 with H.264 or AV1"),
        ("audio-only.mp4", "sourceVideoUrl is an MP4 file without pictures; grok takes MP4 with H.264 or AV1"),
        ("plain.jpg", "sourceVideoUrl cannot be used: it is a JPEG file; grok takes MP4 with H.264 or AV1"),
    ],
)
def test_a_clip_that_a_model_does_not_take_is_told(media: Path, name: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        clip(NATIVES, media / name, "sourceVideoUrl", TAKES)
    assert caught.value.message == text


class Measuring(InThisProcess):
    """Finds a clip as long as it is told; None: the extra for clips is not installed."""

    def __init__(self, length_s: Decimal | None) -> None:
        self._length_s = length_s

    def measure_clip(self, path: Path) -> ClipFacts:
        return ClipFacts(duration_s=self._length_s)


@pytest.mark.parametrize(("measured_s", "length_s"), [(None, 3), (Decimal("2.9"), Decimal("2.9"))])
def test_a_clip_that_a_model_takes_has_its_length(media: Path, measured_s: Decimal | None, length_s: Decimal) -> None:
    assert clip(NATIVES, media / "clip.mp4", "sourceVideoUrl", TAKES).duration_s == 3
    assert clip(Measuring(measured_s), media / "clip.mp4", "sourceVideoUrl", TAKES).duration_s == length_s


@pytest.mark.parametrize("name", ["plain.jpg", "plain.png", "plain.webp", "noeoi.jpg"])
def test_a_picture_of_a_type_that_a_model_takes_is_taken(media: Path, name: str) -> None:
    assert picture(NATIVES, media / name, "imageUrl", TAKES).content_type in TAKES.image_types


def test_a_file_that_cannot_be_read_is_told_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"^imageUrl cannot be read: No such file or directory$"):
        picture(NATIVES, tmp_path / "gone", "imageUrl", TAKES)


def test_an_address_that_was_given_is_not_blamed_on_the_provider() -> None:
    assert explain_fetch_error(ProviderBadReply("it is on a private network")) == "it is on a private network"
    assert explain_fetch_error(PrivateAddress("name it")) == "name it"
    assert explain_fetch_error(ProviderUnavailable("xAI does not answer")) == "its address cannot be reached"
    assert (
        explain_fetch_error(ProviderUnavailable("fetching from xAI failed", http_status=403))
        == "its address answers HTTP 403"
    )


MANGLED: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "lines of 76": lambda text: "\r\n".join(textwrap.wrap(text, 76)),
    "lines of 76, packed twice": lambda text: "\\r\\n".join(textwrap.wrap(text, 76)).replace("/", "\\/"),
    "blanks around": lambda text: f" {text}\n",
    "blanks at every 64th": lambda text: " ".join(textwrap.wrap(text, 64)),
    "no padding": lambda text: text.rstrip("="),
    "for addresses": lambda text: text.replace("+", "-").replace("/", "_"),
    "for addresses, no padding": lambda text: text.replace("+", "-").replace("/", "_").rstrip("="),
    "escaped": lambda text: quote(text, safe=""),
}


@given(st.binary(min_size=1, max_size=3_000), st.sampled_from(sorted(MANGLED)), st.sampled_from(["", ";charset=x"]))
def test_base64_is_read_in_every_spelling(content: bytes, way: str, extra: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        written = MANGLED[way](base64.b64encode(content).decode())
        assert write_inline(f"data:image/png{extra} ;BASE64,{written}", path, "imageUrl", MAX_IMAGE_BYTES)
        assert path.read_bytes() == content


def test_plus_signs_that_a_form_took_for_blanks_are_put_back(tmp_path: Path) -> None:
    content = bytes(range(256)) * 39 + b"\xfb\xef\xbe" * 3 + b"end"
    written = base64.b64encode(content).decode()
    assert "++" in written
    write_inline(f"data:image/png;base64,{written.replace('+', ' ')}", tmp_path / "input", "imageUrl", MAX_IMAGE_BYTES)
    assert (tmp_path / "input").read_bytes() == content


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("AAAA BA=", "AAAA+BA="),  # without a plus sign its padding would be wrong
        ("AAA BBA=", "AAA+BBA="),
        ("AAAA AAAA", "AAAAAAAA"),  # with a plus sign it would have one character too many
        ("AAAA BA", "AAAABA=="),  # it can be both, and lines are broken more often
        ("AAAA AAA AAAAA", "AAAA+AAA+AAAAA=="),  # it can be both, but lines have one width
        ("AAA AAAA AAAA", "AAAAAAAAAAA="),  # with plus signs it would have one character too many
        ("AAA \nBBA", "AAABBA=="),  # whoever breaks lines has no form
        ("AAA \tBBA", "AAABBA=="),
        ("AAA \rBBA", "AAABBA=="),
        ("AAAA \nBBBB", "AAAABBBB"),  # nor if by its length alone it could be a plus sign and nothing else
        ("AAAA \tBBBB", "AAAABBBB"),
        ("AAAA \rBBBB", "AAAABBBB"),
    ],
)
def test_one_blank_is_a_plus_sign_where_nothing_else_fits(given: str, meant: str, tmp_path: Path) -> None:
    write_inline(f"data:image/png;base64,{given}", tmp_path / "input", "imageUrl", MAX_IMAGE_BYTES)
    assert (tmp_path / "input").read_bytes() == base64.b64decode(meant)


def test_a_picture_that_breaks_its_decoder_is_refused_with_its_field(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with standing_in(DIES) as broken, pytest.raises(InvalidRequest) as caught:
        asyncio.run(broken.run(picture, tmp_path / "a.jpg", "referenceImages[2]", TAKES))
    assert caught.value.message == (
        "referenceImages[2] cannot be used: its decoder died of it; grok takes JPEG, PNG or WebP"
    )


def test_a_clip_that_hangs_its_decoder_is_refused_with_its_field(media: Path) -> None:
    with standing_in(HANGS, max_wall_s=0.3) as hanging, pytest.raises(InvalidRequest) as caught:
        asyncio.run(hanging.run(clip, media / "clip.mp4", "sourceVideoUrl", TAKES))
    assert caught.value.message.startswith("sourceVideoUrl cannot be used: decoding it takes longer than 0.3 s; grok")


def test_a_machine_without_decoders_is_not_the_callers_fault(tmp_path: Path) -> None:
    def refuse(theirs: object) -> Any:
        raise OSError(12, "Cannot allocate memory")

    (tmp_path / "a.jpg").write_bytes(jpeg())
    with pytest.raises(StorageError, match=r"imageUrl could not be checked: no decoder .* nothing was spent") as caught:
        asyncio.run(Decoder(refuse).run(picture, tmp_path / "a.jpg", "imageUrl", TAKES))
    assert (caught.value.billed, "call again" in caught.value.next_action) == ("no", True)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are no files there")
@pytest.mark.parametrize("look", [picture, clip])
def test_what_is_no_file_is_refused_before_it_is_read(tmp_path: Path, look: Callable[..., object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name in ("pipe", "endless", "folder", "socket"):
            with pytest.raises(InvalidRequest, match=r"^imageUrl cannot be read: "):
                look(NATIVES, tmp_path / name, "imageUrl", TAKES)
        with pytest.raises(InvalidRequest, match=r"^imageUrl cannot be read: it is not a file$"):
            data_uri(NATIVES, tmp_path / "pipe", "imageUrl", "image", 100)
