"""What running a script needs: somebody who makes clips, and something that knows of earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ring_mcp.domain import MediaKind

Row = dict[str, Any]
"""A clip in one mode, with the keys of Ring's manifest."""

OnState = Callable[[str, str, int], None]
"""Told of job id, state, and the provider's own 0 to 100."""


class Maker(Protocol):
    """Whoever makes clips: this process, or a server behind its gateway. What they give is the ``data`` of a tool;
    they raise RingError."""

    async def create(
        self, kind: MediaKind, arguments: Mapping[str, Any], wait_s: float, on_state: OnState
    ) -> dict[str, Any]: ...

    async def job(self, job_id: str, wait_s: float, on_state: OnState) -> dict[str, Any]:
        """Carry a job on, and wait for it."""

    async def look(self, job_id: str) -> dict[str, Any]:
        """A job as it stands. Spends nothing: one that was left before its paid request stays there."""


class Record(Protocol):
    """What is known of earlier runs, and where this one is written down: ``scripted.manifest.Manifest``, or less."""

    def rows(self) -> list[Row]: ...

    def put_clip(self, clip_id: str, quality_mode: str, **fields: Any) -> None: ...

    def start_run(self, **fields: Any) -> str: ...

    def finish_run(self, run_id: str) -> None: ...
