"""What only native libraries can tell of a picture or a clip, and draw from it. Who asks does not open the file itself.

``decoding`` has it done in a process of its own; ``InThisProcess`` is what that process does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ring_mcp.media.clip import ClipFacts

if TYPE_CHECKING:  # a decoder starts in a third of the time without pydantic
    from ring_mcp.domain import MediaKind, Thumbnail


class Undecodable(Exception):
    """The decoder gave up: too much memory or time, or it died. The text says which, of "it"."""


class NoDecoder(Undecodable):
    """The file was not even looked at: this machine cannot start a decoder. The text says why."""


class Natives(Protocol):
    """Everything here blocks, and raises Undecodable or NoDecoder beside what is said; OSError of what cannot be read
    or written, where a file is not a courtesy."""

    def measure_picture(self, path: Path, container: str, *, is_whole: bool) -> tuple[int, int] | None:
        """Width and height in pixels as shown; None: it is damaged. Raises TooManyPixels."""

    def measure_clip(self, path: Path) -> ClipFacts:
        """What can be known of it: nothing without the extra ``[video]``."""

    def write_preview(self, kind: MediaKind, paths: Sequence[Path], preview: Path) -> None:
        """Write the preview of pictures, or of a clip's first frame; nothing if none can be made."""

    def write_poster(self, clip: Path, poster: Path) -> bool:
        """Write the clip's first picture as a JPEG; False if it cannot be had."""

    def write_thumbnail(
        self, spec: Thumbnail, background: Path, canvas: str, target: Path, *, font: Path | None
    ) -> tuple[str, ...] | None:
        """Write the thumbnail as a PNG; its warnings, or None if ``background`` cannot be decoded."""


class InThisProcess:
    """With nothing between the libraries and this process."""

    def measure_picture(self, path: Path, container: str, *, is_whole: bool) -> tuple[int, int] | None:
        from ring_mcp.media.pictures import measure_picture

        return measure_picture(path, container, is_whole=is_whole)

    def measure_clip(self, path: Path) -> ClipFacts:
        from ring_mcp.media.clip import measure_clip

        return measure_clip(path)

    def write_preview(self, kind: MediaKind, paths: Sequence[Path], preview: Path) -> None:
        from ring_mcp.media.preview import write_preview

        write_preview(kind, paths, preview)

    def write_poster(self, clip: Path, poster: Path) -> bool:
        from ring_mcp.media.clip import write_poster

        return write_poster(clip, poster)

    def write_thumbnail(
        self, spec: Thumbnail, background: Path, canvas: str, target: Path, *, font: Path | None
    ) -> tuple[str, ...] | None:
        from ring_mcp.media.thumbnail import make_thumbnail

        made = make_thumbnail(spec, background, canvas, font=font)
        if made is None:
            return None
        content, warnings = made
        target.unlink(missing_ok=True)  # never into a file that has another name by now
        target.write_bytes(content)
        return warnings
