"""``ring-mcp gallery`` as a person has it: a process that prints one address, and ends with Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx2

LIMIT_S = 120.0


class AloneGallery:
    """Running until the ``with`` is left. ``address``: what it printed."""

    def __init__(self, env: Mapping[str, str], folder: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ring_mcp", "gallery", "--no-open", *options],
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()

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
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            _, stderr = self._process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        return self._process.returncode, stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self.end()
