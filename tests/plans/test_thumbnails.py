"""A thumbnail's canvas: one that there is, the nearest to what was asked for, or a refusal."""

from __future__ import annotations

import pytest

from ring_mcp.domain import Thumbnail
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.thumbnails import check_thumbnail


def thumbnail(ratio: str | None) -> Thumbnail:
    return Thumbnail(overlays=(), aspect_ratio=ratio)


@pytest.mark.parametrize("ratio", ["16:9", "9:16", "1:1", None])
def test_a_canvas_that_there_is_is_taken_as_it_is(ratio: str | None) -> None:
    warnings: list[str] = []
    assert check_thumbnail(thumbnail(ratio), warnings).aspect_ratio == ratio
    assert warnings == []


@pytest.mark.parametrize(("asked", "taken"), [("16x9", "16:9"), ("4:3", "1:1"), ("21:9", "16:9")])
def test_another_ratio_becomes_the_nearest_canvas(asked: str, taken: str) -> None:
    warnings: list[str] = []
    assert check_thumbnail(thumbnail(asked), warnings).aspect_ratio == taken
    assert len(warnings) == (asked != "16x9")


@pytest.mark.parametrize("ratio", ["wide", "0:1", "-1:2", "16:9:4", ""])
def test_what_is_no_ratio_is_refused(ratio: str) -> None:
    with pytest.raises(InvalidRequest, match="aspectRatio"):
        check_thumbnail(thumbnail(ratio), [])
