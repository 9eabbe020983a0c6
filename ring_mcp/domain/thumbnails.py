"""The thumbnail that a clip may have, as an agent or a script file asks for it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from ring_mcp.domain.fields import Flag, Name, Strict, Words, flag
from ring_mcp.domain.reading import read
from ring_mcp.domain.requests import Overlay, OverlayPosition, OverlayRole, Thumbnail, ThumbnailTemplate


class OverlayFields(Strict):
    text: Words = Field(description="Made to fit.")
    role: OverlayRole | None = Field(None, description="Default: caption.")
    position: OverlayPosition | None = Field(None, description="Default: bottom.")

    @model_validator(mode="before")
    @classmethod
    def _of_a_text(cls, data: object) -> object:
        """A text alone is an overlay of which nothing else is said."""
        return {"text": data} if isinstance(data, str) else data


class ThumbnailFields(Strict):
    enabled: Flag = Field(description="false: none is made.")
    source_frame: Literal["firstFrame", "generated"] | None = Field(None, description="Not used.")
    template: ThumbnailTemplate | None = None
    aspect_ratio: Name | None = Field(None, description="16:9, 9:16 or 1:1.")
    overlays: tuple[OverlayFields, ...] = Field((), max_length=20, description="Texts.")

    @model_validator(mode="before")
    @classmethod
    def _only_where_it_is_wanted(cls, data: object) -> object:
        """Forms send what they have of a thumbnail that nobody asked for: an empty list of texts, a first choice.

        A yes or a no alone is its switch.
        """
        if not isinstance(data, Mapping):
            with contextlib.suppress(ValueError):
                return {"enabled": flag(data)}
            return data
        if isinstance(words := data.get("overlays"), str) and words.strip():
            data = {**data, "overlays": [words]}
        enabled = data.get("enabled")
        # What is neither yes nor no is left for the field itself to refuse, with its name.
        with contextlib.suppress(ValueError):
            enabled = flag(enabled)
        is_unwanted = enabled is False or (enabled is None and not data.get("overlays"))
        return {"enabled": False} if is_unwanted else data

    def thumbnail(self) -> Thumbnail | None:
        if not self.enabled:
            return None
        overlays = [Overlay.model_validate(overlay.model_dump(exclude_none=True)) for overlay in self.overlays]
        return Thumbnail(template=self.template or "default", aspect_ratio=self.aspect_ratio, overlays=tuple(overlays))


def read_thumbnail(given: Mapping[str, Any]) -> Thumbnail | None:
    """None for one that is not enabled. Raises InvalidRequest with everything that is wrong."""
    return read(ThumbnailFields, given, "field").thumbnail()
