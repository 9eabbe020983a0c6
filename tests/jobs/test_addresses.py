"""Addresses of given media: what is the same in every spelling, and what is told of text that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.domain import ImageRequest, VideoRequest
from ring_mcp.errors import InvalidRequest
from ring_mcp.jobs.addresses import MAX_CHARS, addresses, normalize_address, resolve_path, with_addresses

SAME = {
    "https://example.org/a.jpg": [" https://example.org/a.jpg\n", "HTTPS://example.org/a.jpg", "saved at https://example.org/a.jpg"],
    "file:///tmp/a%20b.jpg": ["file:/tmp/a%20b.jpg", "file://tmp/a%20b.jpg", "FILE:////tmp/a%20b.jpg", "file://localhost/tmp/a%20b.jpg"],
    "/tmp/a.jpg": ["saved at /tmp/a.jpg", "\t/tmp/a.jpg "],
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
        ("https://x.org/a b.jpg", "imageUrl has a blank inside: write %20"),
        ("https://x.org/a\nb.jpg", "imageUrl has a blank inside: write %20"),
        ("http://[", "imageUrl is not an http(s) address"),
        ("//[", "imageUrl is not an http(s) address"),
        ("https://x.org:0/a.jpg", "imageUrl is not an http(s) address"),
        ("https://x.org:99999/a.jpg", "imageUrl is not an http(s) address"),
        ("https:/a.jpg", "imageUrl is not an http(s) address"),
        ("//cdn.example.org/a.jpg", "imageUrl is not an http(s) address"),
        ("iVBORw0KGgo" + "A" * 100, "imageUrl looks like base64 alone: write data:image/png;base64,"),
        ("/9j/" + "A" * 100, "imageUrl looks like base64 alone: write data:image/png;base64,"),
        ("Q" * 3000 + "==", "imageUrl looks like base64 alone: write data:image/png;base64,"),
        ("https://x.org/" + "a" * MAX_CHARS, "imageUrl has 8,014 characters; an address may have 8,000"),
    ],
)
def test_what_is_no_address_is_told_with_what_to_write(text: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalize_address("imageUrl", text)
    assert caught.value.message.startswith(told)
    assert len(caught.value.message) < 200


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


def test_every_address_of_a_request_is_changed_by_its_place() -> None:
    picture = ImageRequest(prompt="x", reference_images=("a", "b"))
    assert dict(addresses(picture)) == {"referenceImages[0]": "a", "referenceImages[1]": "b"}
    assert with_addresses(picture, lambda field, url: f"{field}={url}").reference_images == (
        "referenceImages[0]=a", "referenceImages[1]=b",
    )  # fmt: skip
    clip = VideoRequest(prompt="x", image_url="i", source_video_url="s")
    assert dict(addresses(clip)) == {"imageUrl": "i", "sourceVideoUrl": "s"}
    changed = with_addresses(clip, lambda field, url: url * 2)
    assert (changed.image_url, changed.last_frame_url, changed.source_video_url) == ("ii", None, "ss")
