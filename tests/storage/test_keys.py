"""Storage keys, made and checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ring_mcp.errors import StorageRefused
from ring_mcp.storage.keys import key_segments, storage_key

AT = datetime(2026, 11, 20, 9, 30, 0, 123456, tzinfo=UTC)
TOO_LONG = "x" * 101
MOMENTS = st.integers(0, 10**16).map(lambda us: datetime(1971, 1, 1, tzinfo=UTC) + timedelta(microseconds=us))


def test_a_key_names_prefix_purpose_moment_index_job_and_extension() -> None:
    assert storage_key("generated", "og", AT, 2, "job-1", "png") == "generated/og/1795167000123-2-026ab639.png"


def test_a_job_that_makes_one_file_has_no_index_in_its_key() -> None:
    assert storage_key("generated", "og", AT, None, "job-1", "png") == "generated/og/1795167000123-026ab639.png"


def test_of_an_extension_eight_letters_are_kept() -> None:
    assert storage_key("generated", "og", AT, 0, "job-1", "abcdefghij").endswith(".abcdefgh")


@pytest.mark.parametrize("extension", ["", "***"])
def test_a_file_of_no_known_kind_is_called_bin(extension: str) -> None:
    assert storage_key("generated", "og", AT, 0, "job-1", extension).endswith(".bin")


def test_a_prefix_may_have_several_parts() -> None:
    assert storage_key("media/2026", "og", AT, 0, "job-1", "png").startswith("media/2026/og/")


def test_a_blank_purpose_becomes_image() -> None:
    assert storage_key("generated", "  ", AT, 0, "job-1", "png").split("/")[1] == "image"


@pytest.mark.parametrize("purpose", ["../../etc", "a/b", "a b", "c:\\x", "..", "a.b", "news\0"])
def test_a_purpose_is_one_folder_without_dots_or_slashes(purpose: str) -> None:
    parts = storage_key("generated", purpose, AT, 0, "job-1", "png").split("/")
    assert len(parts) == 3
    assert set(parts[1]) & set("./\\ :\0") == set()


def test_the_moment_does_not_depend_on_the_time_zone() -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert storage_key("g", "og", elsewhere, 0, "j", "png") == storage_key("g", "og", AT, 0, "j", "png")


def test_milliseconds_are_cut_and_never_rounded_up() -> None:
    last = datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)
    assert storage_key("g", "og", last, 0, "j", "png").split("/")[-1].split("-")[0].endswith("999")


def test_a_naive_moment_or_a_negative_index_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="aware"):
        storage_key("g", "og", AT.replace(tzinfo=None), 0, "j", "png")
    with pytest.raises(ValueError, match="negative"):
        storage_key("g", "og", AT, -1, "j", "png")


@given(st.text(), st.text(), MOMENTS, st.integers(0, 9), st.text(), st.text())
@example("", "", AT, 0, "", "")
@example("../..", "..", AT, 0, "\ud800", "../png")
@example("x" * 500, "y" * 500, AT, 0, "j", "z" * 500)
def test_every_key_that_is_made_is_accepted(
    prefix: str, purpose: str, at: datetime, index: int, job_id: str, extension: str
) -> None:
    key = storage_key(prefix, purpose, at, index, job_id, extension)
    assert "/".join(key_segments(key)) == key


@given(st.text(), MOMENTS, st.integers(0, 9), st.text())
def test_the_same_job_and_index_have_the_same_key_every_time(
    purpose: str, at: datetime, index: int, job_id: str
) -> None:
    keys = {storage_key("generated", purpose, at, index, job_id, "png") for _ in range(3)}
    assert len(keys) == 1


@given(st.sets(st.uuids(), min_size=2, max_size=40), st.integers(1, 10))
def test_jobs_and_indexes_of_the_same_millisecond_have_different_keys(job_ids: set[object], count: int) -> None:
    keys = {storage_key("generated", "og", AT, n, str(job), "png") for job in job_ids for n in range(count)}
    assert len(keys) == len(job_ids) * count


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a/./b",
        "...",
        "a\\b",
        "a\0",
        "a\n",
        "ä",
        "a b",
        "C:/a",
        TOO_LONG,
    ],
)
def test_a_key_that_is_no_path_is_refused_unquoted(key: str) -> None:
    with pytest.raises(StorageRefused) as caught:
        key_segments(key)
    assert len(key) < 3 or key not in caught.value.message
    assert "IMAGE_GEN_STORAGE_PREFIX" in caught.value.next_action


def test_a_part_of_a_key_may_be_a_hundred_characters_long() -> None:
    assert key_segments(f"{TOO_LONG[1:]}/a") == (TOO_LONG[1:], "a")
