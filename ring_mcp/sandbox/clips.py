"""Clips that show what was asked for: H.264 in MP4, the prompt on a poster, a bar that fills as time passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ring_mcp.sandbox.pictures import PictureSpec


@dataclass(frozen=True)
class ClipSpec:
    """Everything a clip depends on."""

    poster: PictureSpec
    duration_s: float
    has_audio: bool = True


def render_mp4(spec: ClipSpec, path: Path) -> None:
    """Writes the clip. Needs the optional library ``av``."""
    raise NotImplementedError
