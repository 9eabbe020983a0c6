"""What running a script needs: somebody who makes clips, something that knows of earlier runs, and what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
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

    async def find(self, idempotency_key: str) -> str | None:
        """The id of the job that this key stands for."""

    async def draw(self, job_id: str, thumbnail: Mapping[str, Any]) -> dict[str, Any]:
        """A finished clip with this thumbnail, which is drawn on it if it is not there yet. Spends nothing."""


class Record(Protocol):
    """What is known of earlier runs, and where this one is written down: ``scripted.manifest.Manifest``, or less."""

    def rows(self) -> list[Row]: ...

    def put_clip(self, clip_id: str, quality_mode: str, **fields: Any) -> Row:
        """Lay ``fields`` over the row of this clip in this mode, and return the row of its job as it stands then."""

    def start_run(self, **fields: Any) -> str: ...

    def finish_run(self, run_id: str, **fields: Any) -> None: ...


DEFAULT_SIDE_BY_SIDE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """``clip_ids`` empty: all. ``force`` pays anew for what is on record. ``max_usd`` bounds the sum of list prices.

    ``partial``: where the caps have no room for all clips, those that fit are made; otherwise none, and the text says
    ``how_to_split``. Without ``persist`` nothing goes to storage: a clip is at the provider's own address.
    """

    clip_ids: tuple[str, ...] = ()
    remaster: bool = False
    source_url: str | None = None
    force: bool = False
    side_by_side: int = DEFAULT_SIDE_BY_SIDE
    max_usd: Decimal | None = None
    partial: bool = False
    how_to_split: str = "say partial: true"
    persist: bool = True
    wait_s: float = 0.0
