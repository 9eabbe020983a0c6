"""The small preview picture of a finished job, for answers. A courtesy: an error is logged and nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from ring_mcp.domain import Job
from ring_mcp.media.decoding import Decoder
from ring_mcp.media.natives import Undecodable

logger = logging.getLogger(__name__)


class PreviewMaker:
    """Makes previews in the background; only an answer that shows one waits for it. Without a ``folder``, none.

    ``at_once``: where answers show them; otherwise a preview is made when somebody waits for it, which is whoever
    removes the files at the latest. A decoder takes a core from the last steps of its own job.
    """

    def __init__(self, folder: Path | None, decoder: Decoder, *, at_once: bool) -> None:
        self._folder = folder
        self._decoder = decoder
        self._at_once = at_once
        self._put_off: dict[str, tuple[Job, Sequence[Path]]] = {}
        self._making: dict[str, asyncio.Task[None]] = {}

    def begin(self, job: Job, paths: Sequence[Path]) -> None:
        """Begin the preview of a job's files, which have to stay until ``wait`` returns, or ``drop`` is called."""
        if self._at_once:
            self._make(job, paths)
        else:
            self._put_off[job.id] = job, paths

    def drop(self, job_id: str) -> None:
        """Do not begin what is still put off."""
        self._put_off.pop(job_id, None)

    def _make(self, job: Job, paths: Sequence[Path]) -> None:
        if self._folder is None:
            return
        self._making[job.id] = making = asyncio.create_task(keep_preview(job, paths, self._folder, self._decoder))
        making.add_done_callback(lambda _: self._forget(job.id, making))

    async def wait(self, job_id: str, at_most_s: float | None = None) -> None:
        """Wait for this job's preview, if there is to be one; after ``at_most_s`` seconds it is given up."""
        if (put_off := self._put_off.pop(job_id, None)) is not None:
            self._make(*put_off)
        if (making := self._making.get(job_id)) is not None:
            await asyncio.wait({making}, timeout=at_most_s)
            # The caller removes the files now.
            making.cancel()

    def _forget(self, job_id: str, making: asyncio.Task[None]) -> None:
        if self._making.get(job_id) is making:
            del self._making[job_id]


async def keep_preview(job: Job, paths: Sequence[Path], folder: Path, decoder: Decoder) -> None:
    """Write the preview of a job's files into ``folder``, if one can be made."""
    try:
        await decoder.run(lambda natives: natives.write_preview(job.kind, paths, folder / f"{job.id}.jpg"))
    except OSError as exc:
        logger.warning("job %s: no preview: %s", job.id, exc.strerror)
    except Undecodable as exc:
        logger.warning("job %s: no preview: %s", job.id, exc)
    except Exception:  # a courtesy: whatever breaks in it, the job has its result
        logger.exception("job %s: no preview", job.id)
