"""Files that a caller gives along: how long, how large, of which kind, and what is said of a wrong one."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.errors import InvalidRequest, ProviderBadReply, ProviderUnavailable, StorageError
from ring_mcp.jobs import input_files
from ring_mcp.jobs.input_files import (
    MAX_INPUT_IMAGE_BYTES,
    MAX_INPUT_VIDEO_BYTES,
    check_length,
    data_uri,
    identified,
    not_writable,
    remove_old_inputs,
    told,
    write_inline,
)
from ring_mcp.presets import load_presets
from tests.jobs.engine import clip_plan
from tests.jobs.scripted_provider import jpeg
from tests.media_bytes import mp4

KEEP_S = input_files._KEEP_INPUTS_S
EDITOR = load_presets().video_models["grok-imagine-video"]
EDIT, EXTEND = clip_plan(generation_kind="edit"), clip_plan(generation_kind="extend")


def inline(content: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def test_a_clip_may_be_as_long_as_edits_may() -> None:
    most_s = EDITOR.max_edit_input_s
    assert most_s is not None
    check_length(EDIT, EDITOR, most_s)
    with pytest.raises(InvalidRequest, match=r"the clip has 8\.8 s and the provider edits 8\.7 s at most; leave"):
        check_length(EDIT, EDITOR, most_s + Decimal("0.1"))


def test_a_clip_to_extend_may_exceed_its_limits_by_a_frame() -> None:
    least_s, most_s = EDITOR.min_extend_input_s, EDITOR.max_extend_input_s
    assert least_s is not None
    assert most_s is not None
    for length_s in (least_s, most_s, most_s + Decimal("0.04"), least_s - Decimal("0.04")):
        check_length(EXTEND, EDITOR, Decimal(length_s))
    for length_s in (least_s - Decimal("0.1"), most_s + Decimal("0.1")):
        with pytest.raises(InvalidRequest, match=f"extends clips of {least_s} to {most_s} s; give it one"):
            check_length(EXTEND, EDITOR, Decimal(length_s))


def test_limits_that_a_model_does_not_have_are_not_looked_at() -> None:
    free = EDITOR.model_copy(update={"max_edit_input_s": None, "max_extend_input_s": None, "min_extend_input_s": None})
    for plan in (EDIT, EXTEND, clip_plan()):
        check_length(plan, free, Decimal(1000))
    no_least = EDITOR.model_copy(update={"min_extend_input_s": None})
    check_length(EXTEND, no_least, Decimal(0))


def test_edits_and_extensions_have_limits_of_their_own() -> None:
    check_length(EDIT, EDITOR, Decimal("0.5"))
    check_length(EXTEND, EDITOR, Decimal(10))


def test_a_data_uri_is_written_and_known_by_hash(tmp_path: Path) -> None:
    path = tmp_path / "input"
    assert write_inline(inline(jpeg()), path, "referenceImages[0]") == hashlib.sha256(jpeg()).hexdigest()
    assert path.read_bytes() == jpeg()


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("data:image/png,abc", "a data URI has the form data:image/png;base64,<data>"),
        ("data:image/png;base64,!!!!", "the data URI is not base64"),
        ("data:image/png;base64,abc", "the data URI is not base64"),
    ],
)
def test_what_is_no_data_uri_is_told_with_its_field(tmp_path: Path, uri: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        write_inline(uri, tmp_path / "input", "referenceImages[3]")
    assert caught.value.message.startswith(f"referenceImages[3]: {text}")
    assert list(tmp_path.iterdir()) == []


def test_a_data_uri_may_hold_what_a_picture_may(tmp_path: Path) -> None:
    assert MAX_INPUT_IMAGE_BYTES == 10 * 1024 * 1024
    write_inline(inline(b"x" * MAX_INPUT_IMAGE_BYTES), tmp_path / "input", "imageUrl")
    with pytest.raises(InvalidRequest, match=r"has about 10,485,7\d\d bytes; 10,485,760 are allowed"):
        write_inline(inline(b"x" * (MAX_INPUT_IMAGE_BYTES + 6)), tmp_path / "input", "imageUrl")


def test_a_spool_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing was spent") as caught:
        write_inline(inline(jpeg()), tmp_path / "not there" / "input", "imageUrl")
    assert (caught.value.billed, "RING_STATE_DIR" in caught.value.next_action) == ("no", True)
    assert str(tmp_path / "not there") in caught.value.message
    error = not_writable(tmp_path, OSError(28, "No space left on device"))
    assert f"{tmp_path} cannot be written (No space left on device)" in error.message


def test_a_file_becomes_a_data_uri_of_its_real_type(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(jpeg())
    assert data_uri(identified(path, "imageUrl", "image", 10_000)) == inline(jpeg())


def test_a_file_is_measured_and_may_be_as_large_as_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(jpeg())
    size_bytes = len(jpeg())
    media = identified(path, "imageUrl", "image", size_bytes)
    assert (media.size_bytes, media.sha256) == (size_bytes, hashlib.sha256(jpeg()).hexdigest())
    with pytest.raises(InvalidRequest, match=f"imageUrl has {size_bytes:,} bytes; {size_bytes - 1:,} are allowed"):
        identified(path, "imageUrl", "image", size_bytes - 1)


def test_a_file_of_another_kind_is_told_with_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(mp4())
    with pytest.raises(InvalidRequest, match=r"^imageUrl cannot be used: .*MP4"):
        identified(path, "imageUrl", "image", 10_000)
    assert identified(path, "sourceVideoUrl", "video", 10_000).content_type == "video/mp4"


def test_a_file_that_cannot_be_read_is_told_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"^imageUrl cannot be read: No such file or directory$"):
        identified(tmp_path / "gone", "imageUrl", "image", 10_000)


def test_an_address_that_was_given_is_not_blamed_on_the_provider() -> None:
    assert told(ProviderBadReply("an HTML page")) == "an HTML page"
    assert told(ProviderUnavailable("xAI does not answer")) == "it could not be fetched (provider_unavailable)"


def test_given_media_are_kept_for_a_day_and_nothing_else_is_touched(tmp_path: Path) -> None:
    ages = {"input-old": KEEP_S + 60, "input-young": KEEP_S - 60, "another-old": KEEP_S + 60}
    for name, age_s in ages.items():
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    (tmp_path / "input-folder").mkdir()
    os.utime(tmp_path / "input-folder", (0, 0))
    remove_old_inputs(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another-old", "input-folder", "input-young"]
    assert (KEEP_S, MAX_INPUT_VIDEO_BYTES) == (24 * 3600, 50 * 1024 * 1024)
