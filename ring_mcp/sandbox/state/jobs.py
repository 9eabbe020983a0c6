"""Deferred work of the emulated provider: what a ``request_id`` stands for."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ring_mcp.sandbox.state.books import Charge

JobKind = Literal["image", "video", "interaction"]


@dataclass(frozen=True)
class Ending:
    """How a job ended, once and for all. ``kind`` decides the shape of the poll's answer."""

    kind: Literal["done", "failed", "expired", "moderated", "filtered", "rejected", "cancelled"]
    body: dict[str, Any] = field(default_factory=dict)


@dataclass
class Job:
    """One accepted create. ``finish`` makes the ending when the time has come; it is asked once."""

    kind: JobKind
    charge: Charge
    accepted_s: float
    model: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    polls: int = 0
    ending: Ending | None = None
    order: Any = None
    rendering: asyncio.Task[Path] | None = None

    def end(self, ending: Ending) -> Ending:
        """Keeps the first ending and tells the books; later ones change nothing."""
        if self.ending is None:
            self.ending = ending
            self.charge.state = {"filtered": "moderated", "rejected": "failed"}.get(ending.kind, ending.kind)
            self.charge.moderated = self.charge.state == "moderated"
        return self.ending


class Jobs:
    """All jobs by ``request_id``."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def add(self, kind: JobKind, charge: Charge, model: str, order: object) -> Job:
        job = Job(kind=kind, charge=charge, accepted_s=self._now_s(), model=model, order=order)
        charge.request_id = job.id
        with self._lock:
            self._jobs[job.id] = job
        return job

    def find(self, kind: str, request_id: str, retention_s: float) -> Job | None:
        """The job, unless it is unknown, of the other kind, or too old."""
        with self._lock:
            job = self._jobs.get(request_id)
        if job is None or job.kind != kind or self._now_s() - job.accepted_s >= retention_s:
            return None
        return job

    def age_s(self, job: Job) -> float:
        return self._now_s() - job.accepted_s

    def all(self) -> list[Job]:
        with self._lock:
            return list(self._jobs.values())

    def clear(self) -> None:
        with self._lock:
            self._jobs.clear()
