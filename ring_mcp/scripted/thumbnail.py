"""The thumbnail that a clip of a script may ask for: the text that is drawn on its first frame."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ring_mcp.domain.fields import Strict, Text

MAX_OVERLAY_CHARS = 10_000


class Overlay(Strict):
    text: Text = Field(min_length=1, max_length=MAX_OVERLAY_CHARS)
    role: Literal["title", "subtitle", "cta", "caption"] | None = None
    position: Literal["top", "center", "bottom", "top-left", "bottom-left", "bottom-right"] | None = None


class Thumbnail(Strict):
    enabled: bool
    source_frame: Literal["firstFrame", "generated"] | None = None
    template: Literal["default", "title_card", "cta_bar"] | None = None
    aspect_ratio: Text | None = None
    overlays: tuple[Overlay, ...] | None = None
