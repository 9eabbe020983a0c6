"""What a thumbnail may have on it."""

from __future__ import annotations

import re

from ring_mcp.domain import Thumbnail
from ring_mcp.domain.choices import as_ratio
from ring_mcp.errors import InvalidRequest
from ring_mcp.media.canvases import nearest_canvas


def check_thumbnail(thumbnail: Thumbnail, warnings: list[str]) -> Thumbnail:
    """On a canvas that there is. Raises InvalidRequest for a ratio that is none."""
    if thumbnail.aspect_ratio is None:
        return thumbnail
    ratio = as_ratio(thumbnail.aspect_ratio)
    if not re.fullmatch(r"[1-9]\d{0,3}:[1-9]\d{0,3}", ratio, re.ASCII):
        raise InvalidRequest("thumbnail.aspectRatio must be one of 16:9, 9:16, 1:1, or left out for the clip's own")
    canvas = nearest_canvas(*map(float, ratio.split(":")))
    if canvas != ratio:
        warnings.append(f"the thumbnail is {canvas}, the nearest to {ratio} that there is")
    return thumbnail.model_copy(update={"aspect_ratio": canvas})
