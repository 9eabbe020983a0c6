"""Native decoders, kept out of the server: in a process of its own, within limits of memory and time, and kept warm.

What breaks that process, or is too much for it, is a fact about one file (``Undecodable``) and nothing more: the next
file has a new one. Two of them are all that a server has, one for what providers made and one for what callers give
along, so that a stranger's file keeps nobody from a result, and all decoding together has one bound.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib.util
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from ring_mcp.domain import MediaKind, Thumbnail
from ring_mcp.media.bounds import MAX_PIXELS
from ring_mcp.media.clip import ClipFacts, keep_sane
from ring_mcp.media.limits import MAX_CPU_S, MAX_MEMORY_BYTES
from ring_mcp.media.natives import InThisProcess, Natives, NoDecoder, Undecodable
from ring_mcp.media.pictures import TooManyPixels

MAX_WALL_S = 30.0
"""For one file, beside its limit of processor time: a machine may be busy."""

_MAX_ANSWER_BYTES = 64 * 1024
_MAX_WARNINGS, _MAX_WARNING_CHARS = 20, 500

P = ParamSpec("P")
T = TypeVar("T")

Start = Callable[[socket.socket], subprocess.Popen[bytes]]
"""Start the other process, with the socket as its stdin. Raises OSError."""


def can_read_clips() -> bool:
    """Whether the library for clips is there. It is not loaded."""
    return importlib.util.find_spec("av") is not None


class Decoder:
    """One process and the thread that waits for it: one file after the other. No ``start``: this process does it all.

    Nothing here belongs to an event loop.
    """

    def __init__(self, start: Start | None, *, max_wall_s: float = MAX_WALL_S) -> None:
        self._worker = Worker(start, max_wall_s) if start is not None else None
        self._natives: Natives = self._worker or InThisProcess()
        self._thread = ThreadPoolExecutor(1, "decoder")

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._worker.pid if self._worker is not None else None

    async def run(self, work: Callable[Concatenate[Natives, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``work(natives, …)`` when it is its turn; the caller may leave, and then the process is ended under it.

        Raises what ``work`` raises.
        """
        started = threading.Event()

        def take_turn() -> T:
            started.set()
            return work(self._natives, *args, **kwargs)

        # One thread, hence one file at a time: the limit of memory is then that of a single file.
        turn = self._thread.submit(take_turn)
        try:
            return await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            # Only its own turn: while it waits in line, the process is at work for somebody else.
            if not turn.cancel() and started.is_set() and not turn.done() and self._worker is not None:
                self._worker.end()
            raise

    def warm(self) -> None:
        """Start the process, for what will come soon. Does not block."""
        if self._worker is not None and self._worker.pid is None:
            self._thread.submit(self._worker.ensure)

    def close(self) -> None:
        """End the process; the next file would have a new one."""
        if self._worker is not None:
            self._worker.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoders:
    """``results`` opens what providers made, ``given`` what callers give along."""

    results: Decoder
    given: Decoder


class Worker:
    """The other process, as one thread asks it. Started when it is needed, and again when it has died."""

    def __init__(self, start: Start, max_wall_s: float) -> None:
        self._start = start
        self._max_wall_s = max_wall_s
        self._lock = threading.Lock()  # around the two below, which ``end`` takes away from another thread
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: socket.socket | None = None
        atexit.register(self.end)

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def measure_picture(self, path: Path, container: str, *, is_whole: bool) -> tuple[int, int] | None:
        order = {"do": "measure picture", "path": str(path), "container": container, "isWhole": is_whole}
        return self._ask(order, _read_size)

    def measure_clip(self, path: Path) -> ClipFacts:
        return self._ask({"do": "measure clip", "path": str(path)}, _read_facts)

    def write_preview(self, kind: MediaKind, paths: Sequence[Path], preview: Path) -> None:
        self._ask(
            {"do": "write preview", "kind": kind, "paths": [str(path) for path in paths], "preview": str(preview)}, bool
        )

    def write_poster(self, clip: Path, poster: Path) -> bool:
        return self._ask({"do": "write poster", "clip": str(clip), "poster": str(poster)}, bool)

    def write_thumbnail(
        self, spec: Thumbnail, background: Path, canvas: str, target: Path, *, font: Path | None
    ) -> tuple[str, ...] | None:
        order = {"background": str(background), "canvas": canvas, "target": str(target), "font": font and str(font)}
        return self._ask({"do": "write thumbnail", "spec": spec.model_dump(mode="json"), **order}, _read_warnings)

    def ensure(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """The process that is there, else a new one. Raises NoDecoder."""
        with self._lock:
            if self._process is not None and self._wire is not None and self._process.poll() is None:
                return self._process, self._wire
        # Outside of the lock, which ``end`` takes itself and which lets nobody in twice.
        self.end()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = self._start(theirs)
        except OSError as exc:
            ours.close()
            raise NoDecoder(f"no decoder can be started on this machine ({exc.strerror or exc})") from exc
        with self._lock:
            self._process, self._wire = process, ours
        return process, ours

    def end(self) -> None:
        """End the process, whatever it is doing. From any thread."""
        with self._lock:
            process, wire, self._process, self._wire = self._process, self._wire, None, None
        if process is not None:
            # Not asked politely: a decoder in the middle of a hostile file hears nothing.
            process.kill()
            process.wait()
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)  # whoever waits for an answer on it
            wire.close()

    def _ask(self, order: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """What ``read`` makes of the answer. That one, too, comes from whoever opened a stranger's file."""
        line = json.dumps(order).encode() + b"\n"
        try:
            return self._ask_once(line, read)
        # Once more, with a new process: the file had nothing to do with its end.
        except _Left:
            return self._ask_once(line, read)

    def _ask_once(self, line: bytes, read: Callable[[Any], T]) -> T:
        process, wire = self.ensure()
        try:
            told = json.loads(self._converse(process, wire, line))
            failed = told.get("failed")
            if failed is None:
                return read(told["answer"])
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as exc:
            # Whatever else it still writes would be taken for the answer to the next order.
            self.end()
            raise Undecodable("its decoder broke") from exc
        if failed == "too many pixels":
            raise TooManyPixels
        if failed == "os":
            raise OSError(told.get("errno"), str(told.get("strerror")))
        self.end()  # what a library does after it had no memory left is not known
        raise Undecodable(f"decoding it takes more than {MAX_MEMORY_BYTES // 1024**2} MB of memory")

    def _converse(self, process: subprocess.Popen[bytes], wire: socket.socket, line: bytes) -> bytes:
        """One order and its answer. Raises Undecodable, of a process that has been ended."""
        deadline_s = time.monotonic() + self._max_wall_s
        answer = bytearray()
        try:
            wire.settimeout(self._max_wall_s)
            wire.sendall(line)
            while not answer.endswith(b"\n"):
                # The deadline is for all of the answer, however it comes; a limit of 0 would not wait at all.
                wire.settimeout(max(0.001, deadline_s - time.monotonic()))
                piece = wire.recv(_MAX_ANSWER_BYTES)
                if not piece or len(answer) > _MAX_ANSWER_BYTES:
                    raise ConnectionError
                answer += piece
            return bytes(answer)
        except TimeoutError as exc:
            self.end()
            raise Undecodable(f"decoding it takes longer than {self._max_wall_s:g} s") from exc
        except OSError as exc:
            with contextlib.suppress(subprocess.TimeoutExpired):
                # A dying process closes its socket a moment before it has a status, and the status tells why.
                process.wait(1)
            status = process.returncode
            self.end()
            if status == -signal.SIGXCPU:
                raise Undecodable(f"decoding it takes more than {MAX_CPU_S} s of processor time") from exc
            kind = _Left if status in _LEFT else Undecodable
            raise kind("its decoder died of it") from exc


def _read_size(told: Any) -> tuple[int, int] | None:
    if told is None:
        return None
    width_px, height_px = int(told[0]), int(told[1])
    # The process has opened a stranger's file and may be that stranger's by now: its word is checked like any other.
    if min(width_px, height_px) < 1 or width_px * height_px > MAX_PIXELS:
        raise ValueError("no size of a picture")
    return width_px, height_px


def _read_facts(told: Any) -> ClipFacts:
    width_px, height_px, duration_s = told
    length = None if duration_s is None else Decimal(duration_s)
    return keep_sane(int(width_px or 0), int(height_px or 0), length)


def _read_warnings(told: Any) -> tuple[str, ...] | None:
    return None if told is None else tuple(str(warning)[:_MAX_WARNING_CHARS] for warning in told[:_MAX_WARNINGS])


_LEFT = frozenset({0, -signal.SIGTERM, -signal.SIGINT})
"""How a process ends that nothing was wrong with: it had no work for long, or somebody ended all of a service."""


class _Left(Undecodable):
    """The process ended for reasons of its own, in the very moment that it was asked."""
