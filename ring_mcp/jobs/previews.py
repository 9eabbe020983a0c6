"""The small picture of a finished job, which goes into answers. A courtesy: whatever goes wrong is logged, no more."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ring_mcp.domain import Job, MediaKind
from ring_mcp.media.decoding import Decoder
from ring_mcp.media.natives import Natives, Undecodable

logger = logging.getLogger(__name__)


async def keep_preview(job: Job, paths: Sequence[Path], folder: Path, decoder: Decoder) -> None:
    """Write the preview of a job's files into ``folder``, if one can be made."""
    try:
        await decoder.run(_write_preview, job.kind, paths, folder / f"{job.id}.jpg")
    except OSError as exc:
        logger.warning("job %s: no preview: %s", job.id, exc.strerror)
    except Undecodable as exc:
        logger.warning("job %s: no preview: %s", job.id, exc)
    except Exception:
        logger.exception("job %s: no preview", job.id)


def _write_preview(natives: Natives, kind: MediaKind, paths: Sequence[Path], preview: Path) -> None:
    natives.write_preview(kind, paths, preview)
