"""Everything the sandbox remembers, reachable from the server's thread and from a test's."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ring_mcp.sandbox.state.books import Books
from ring_mcp.sandbox.state.buckets import Buckets
from ring_mcp.sandbox.state.faults import Faults
from ring_mcp.sandbox.state.jobs import Jobs
from ring_mcp.sandbox.state.media import MediaStore
from ring_mcp.sandbox.state.settings import SandboxRefusal, Settings
from ring_mcp.sandbox.state.uploads import Uploads

REMEMBERED_REQUESTS = 1000


class SandboxState:
    """Settings, faults, books, jobs, media and uploads of one sandbox.

    ``open`` makes the temporary folder that every file lives in and ``close`` removes it.
    """

    def __init__(self, settings: Mapping[str, object] | None = None) -> None:
        self._first_settings = Settings().change(settings or {})
        self._lock = threading.Lock()
        self._skipped_s = 0.0
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.settings = self._first_settings
        self.base_url = ""
        self.stopping = asyncio.Event()
        self.faults = Faults()
        self.books = Books()
        self.jobs = Jobs(self.now_s)
        self.media = MediaStore(self.now_s)
        self.uploads = Uploads()
        self.buckets = Buckets(self.now_s)
        self.requests: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_REQUESTS)

    @property
    def folder(self) -> Path:
        """Where rendered media and uploads lie."""
        if self._temporary is None:
            raise RuntimeError("the sandbox is not running")
        return Path(self._temporary.name)

    def open(self, base_url: str) -> None:
        self.base_url = base_url
        # A new one for each start: an event belongs to the loop that first waits for it.
        self.stopping = asyncio.Event()
        # On Windows a file that is still open cannot be removed, which is no reason to fail.
        self._temporary = tempfile.TemporaryDirectory(prefix="ring-sandbox-", ignore_cleanup_errors=True)

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def now_s(self) -> float:
        """The sandbox's clock: monotonic, plus whatever was skipped."""
        # Not the time of day, which may be set back under a test.
        return time.monotonic() + self._skipped_s

    def skip(self, delta_s: float) -> None:
        """Lets time pass at once: jobs ripen, URLs expire, rate limits refill.

        Raises:
            SandboxRefusal: time does not run backwards.
        """
        if delta_s < 0:
            raise SandboxRefusal("advance_s is 0 or more")
        with self._lock:
            self._skipped_s += delta_s

    def configure(self, **changes: object) -> Settings:
        """Changes some settings; see ``Settings``."""
        with self._lock:
            self.settings = self.settings.change(changes)
            return self.settings

    def reset(self) -> None:
        """Back to the state and the settings of the start. What is drawn already is kept for whoever asks again."""
        with self._lock:
            self.settings = self._first_settings
            self._skipped_s = 0.0
        for part in (self.faults, self.books, self.jobs, self.media, self.uploads, self.buckets, self.requests):
            part.clear()

    async def pause(self, delay_s: float) -> None:
        """Waits, but never longer than the server lives."""
        if delay_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), delay_s)
