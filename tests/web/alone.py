"""``ring-mcp gallery`` as a person has it: a process that prints one address, and ends with Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx2

from tests.warm import Server

LIMIT_S = 120.0


class AloneGallery:
    """Running until the ``with`` is left. ``address``: what it printed."""

    def __init__(self, env: Mapping[str, str], folder: Path, *options: str) -> None:
        self._process = Server(env, folder, "gallery", "--no-open", *options, piped=True)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().decode().strip()

    @property
    def url(self) -> str:
        """Its origin."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    def browse(self) -> httpx2.Client:
        """A browser that has been nowhere yet."""
        return httpx2.Client(base_url=self.url, timeout=LIMIT_S)

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Its exit status, and what it wrote to stderr."""
        self._process.send_signal(number)
        _, stderr = self._process.communicate(LIMIT_S)
        return self._process.wait(LIMIT_S), stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._process.poll() is None:
                self.end()
        finally:
            self._process.close()
