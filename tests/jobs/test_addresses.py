"""Addresses of given media: what is the same in every spelling, and what is told of text that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.domain import ImageRequest, VideoRequest
from ring_mcp.errors import InvalidRequest
from ring_mcp.jobs.addresses import (
    MAX_CHARS,
    addresses,
    is_inside,
    normalize_address,
    resolve_path,
    say_outside,
    with_addresses,
)

SAME = {
    "https://example.org/a.jpg": [" https://example.org/a.jpg\n", "HTTPS://example.org/a.jpg", "saved at https://example.org/a.jpg"],
    "file:///photo.jpg": ["file:photo.jpg", "file:/photo.jpg"],
    "file:///tmp/a%20b.jpg": ["file:/tmp/a%20b.jpg", "file://tmp/a%20b.jpg", "FILE:////tmp/a%20b.jpg", "file://localhost/tmp/a%20b.jpg"],
    "https://example.org/a.jpg?w=1&sig=b": ["https://example.org/a.jpg?w=1&amp;sig=b", "https://example.org/a.jpg?w=1&amp;amp;sig=b"],
    "/tmp/a.jpg": ["saved at /tmp/a.jpg", "Saved at /tmp/a.jpg", "\t/tmp/a.jpg "],
    "data:image/png;base64,AAAA": [" DATA:image/png;base64,AAAA", "data: image/png;base64,AAAA\n"],
    "file_abc123": [" file_abc123\n"],
    "ring://jobs/x": ["ring://jobs/x "],
    "https://example.org/a.jpg?X-Amz-Signature=a%2Fb&x=[1]": ["https://example.org/a.jpg?X-Amz-Signature=a%2Fb&x=[1]"],
}  # fmt: skip


@pytest.mark.parametrize(("kept", "given_"), [(kept, each) for kept, spellings in SAME.items() for each in spellings])
def test_one_address_in_many_spellings_is_one(kept: str, given_: str) -> None:
    assert normalize_address("imageUrl", given_) == normalize_address("imageUrl", kept) == kept


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a boat](https://x.org/a.jpg)", "imageUrl must be the bare address"),
        ("![](https://x.org/a.jpg)", "imageUrl must be the bare address"),
        ("<https://x.org/a.jpg>", "imageUrl must be the bare address"),
        ("'https://x.org/a.jpg'", "imageUrl must be the bare address"),
        ("(https://x.org/a.jpg)", "imageUrl must be the bare address"),
        ("URL: https://x.org/a.jpg", "imageUrl must be the bare address"),
        ("The picture is saved to /tmp/a.jpg", "imageUrl must be the bare address"),
        ("Image 1: ~/a.jpg", "imageUrl must be the bare address"),
        ("frame=/tmp/a.jpg", "imageUrl must be the bare address"),
        ("image/jpeg;base64," + "A" * 9_000, "imageUrl: a data URI has the form data:image/png;base64,"),
        ("base64: /9j/AAAA", "imageUrl: a data URI has the form data:image/png;base64,"),
        (
            "data%3Aimage%2Fpng%3Bbase64%2C" + "A" * 9_000,
            "imageUrl has 9,030 characters; an address may have 8,000, and a data URI has",
        ),
        ("https://x.org/a b.jpg", "imageUrl has a blank inside: write %20"),
        ("https://x.org/a\nb.jpg", "imageUrl has a blank inside: write %20"),
        ("https://x.org/a\u200bb.jpg", "imageUrl has a blank inside: write %20"),
        ("https://x.org/a.jpg, https://x.org/b.jpg", "imageUrl holds several addresses: give each by itself"),
        ("http://x.org/a.jpg;file:///b.jpg", "imageUrl holds several addresses: give each by itself"),
        ("https://x.org/a.jpg\nRING://jobs/x", "imageUrl holds several addresses: give each by itself"),
        ("http://[", "imageUrl is not an http(s) address"),
        ("//[", "imageUrl is not an http(s) address"),
        ("https://x.org:0/a.jpg", "imageUrl is not an http(s) address"),
        ("https://x.org:99999/a.jpg", "imageUrl is not an http(s) address"),
        ("https:/a.jpg", "imageUrl is not an http(s) address"),
        ("//cdn.example.org/a.jpg", "imageUrl is not an http(s) address"),
        ("iVBORw0KGgo" + "A" * 100, "imageUrl looks like base64 alone: write data:image/png;base64,"),
        ("/9j/" + "A" * 100, "imageUrl looks like base64 alone: write data:image/png;base64,"),
        ("AAAA", "imageUrl looks like base64 alone: write data:image/png;base64,"),
        ("AAAA" * 15 + ".jpg", "imageUrl looks like base64 alone: write data:image/png;base64,"),
        ("Q" * 1001, "imageUrl looks like base64 alone: write data:image/png;base64,"),
        ("Q" * 4000 + ".", "imageUrl looks like base64 alone: write data:image/png;base64,"),
        ("Q" * 3000 + "==", "imageUrl looks like base64 alone: write data:image/png;base64,"),
        ("https://x.org/" + "a" * MAX_CHARS, "imageUrl has 8,014 characters; an address may have 8,000"),
    ],
)
def test_what_is_no_address_is_told_with_what_to_write(text: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalize_address("imageUrl", text)
    assert caught.value.message.startswith(told)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "text",
    [
        "https://x.org:1/a.jpg",
        "https://x.org/get?url=https://y.org/a.jpg",
        "https://x.org/a,b;c.jpg",
        "https://x.org/" + "a" * (MAX_CHARS - 14),
        "AAAA.jpg",
        "/9j/" + "A" * 55 + ".jpg",  # a file's name: base64 of a picture is longer
        "/tmp/base64,1/a b /c.jpg",  # a file's name may be like anything
        "/tmp/x (1) https://y.jpg",
        "blob:https://x.org/a",
        "UklGR:x",  # another scheme, whoever knows it
        "Q" * 1000,
    ],
)
def test_what_only_looks_wrong_is_an_address(text: str) -> None:
    assert normalize_address("imageUrl", text) == text


@given(st.text(max_size=60) | st.text(st.sampled_from("htps:/[]@%.?#\\0 \n~file"), max_size=20))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        once = normalize_address("imageUrl", text)
    except InvalidRequest:
        return
    assert normalize_address("imageUrl", once) == once


@pytest.mark.parametrize("path", ["/tmp/a.jpg", "/tmp/a b/c%d.jpg", "/tmp/новини/#1?.png"])
def test_a_file_is_named_by_its_path_and_by_its_address(path: str) -> None:
    assert resolve_path(path) == resolve_path(Path(path).as_uri()) == Path(path)


@pytest.mark.parametrize("slashes", ["", "/", "//", "///", "//localhost/"])
def test_a_file_has_an_address_with_any_number_of_slashes(slashes: str) -> None:
    assert resolve_path(f"file:{slashes}tmp/a.jpg") == Path("/tmp/a.jpg")


def test_a_path_may_begin_at_home_and_stand_between_blanks() -> None:
    assert resolve_path(" ~/a.jpg\n") == Path.home() / "a.jpg"
    assert resolve_path("FILE:/tmp/a%20b.jpg") == Path("/tmp/a b.jpg")


def test_a_file_is_inside_if_any_folder_has_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "link.jpg").symlink_to(tmp_path / "two" / "a.jpg")
    one, two = tmp_path.resolve() / "one", tmp_path.resolve() / "two"
    assert is_inside(tmp_path / "two" / "a.jpg", [one, two])
    assert is_inside(tmp_path / "one" / "link.jpg", [two])
    assert not is_inside(tmp_path / "one" / "link.jpg", [one])
    assert not is_inside(tmp_path / "a.jpg", [one, two])
    assert not is_inside(tmp_path / "a.jpg", [])


@pytest.mark.parametrize("path", ["/a.jpg, /b.jpg", "/a.jpg;/b.jpg", "/a.jpg\n/b.jpg", "/a.jpg FILE:///b.jpg"])
def test_several_paths_in_one_text_are_told_as_such(path: str) -> None:
    assert say_outside(path) == (
        "is no file in a folder of RING_INPUT_DIRS; of several files give each by itself, as an item of a list"
    )
    assert say_outside("/a b, c/d.jpg") == "is a file outside the folders of RING_INPUT_DIRS, so it is not read"


def test_every_address_of_a_request_is_changed_by_its_place() -> None:
    picture = ImageRequest(prompt="x", reference_images=("a", "b"))
    assert dict(addresses(picture)) == {"referenceImages[0]": "a", "referenceImages[1]": "b"}
    assert with_addresses(picture, lambda field, url: f"{field}={url}").reference_images == (
        "referenceImages[0]=a", "referenceImages[1]=b",
    )  # fmt: skip
    clip = VideoRequest(prompt="x", reference_images=("r",), image_url="i", source_video_url="s")
    assert dict(addresses(clip)) == {"referenceImages[0]": "r", "imageUrl": "i", "sourceVideoUrl": "s"}
    changed = with_addresses(clip, lambda field, url: url * 2)
    assert changed.reference_images == ("rr",)
    assert (changed.image_url, changed.last_frame_url, changed.source_video_url) == ("ii", None, "ss")
