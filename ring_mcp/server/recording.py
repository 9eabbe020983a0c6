"""Recording the beginning of a session for the front of a later start: the client's lines and the server's answers.

The beginning is all that comes before the first line that asks for more than what the server is. Only results are kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ring_mcp.server.front import (
    FORMAT,
    MAX_RECORDING_BYTES,
    Conversation,
    Exchange,
    Front,
    checksum_of,
    is_plain,
    read_recording,
)

METHODS = frozenset(
    {
        *("initialize", "server/discover", "ping"),
        *("tools/list", "prompts/list", "resources/list", "resources/templates/list"),
    }
)
"""Requests that ask what the server is. Their answers depend only on the configuration."""

ANSWER = b'{"jsonrpc":"2.0","id":'
COMPARED_FOR_S = 24 * 3600.0
_MOST_LINES, _MOST_LINE_CHARS = 12, 16_000
_MOST_CONVERSATIONS, _MOST_FILES = 6, 40


class Tape:
    """Records what is received and sent until the beginning is over. ``keep`` is called in a thread."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._waiting: dict[bytes, int] = {}
        self._ids: set[bytes] = set()
        self._is_over = False
        self._kept = 0

    def hear(self, line: str) -> None:
        """A line of the client."""
        if self._is_over:
            return
        with self._lock:
            parts = take_apart(line) if len(self._exchanges) < _MOST_LINES else None
            # An id that is used twice: its answers could not be told apart.
            if parts is None or parts[0] in self._ids:
                self._is_over = True
                return
            identity, before, after = parts
            if identity:
                self._ids.add(identity)
                self._waiting[identity] = len(self._exchanges)
            self._exchanges.append((before, after, b"", b""))

    def say(self, line: bytes) -> None:
        """A line of the server."""
        if not self._waiting:
            return
        with self._lock:
            identity = next((each for each in self._waiting if line.startswith(ANSWER + each + b",")), None)
            if identity is None:
                return
            at = self._waiting.pop(identity)
            rest = line[len(ANSWER) + len(identity) :]
            if rest.startswith(b',"result":'):
                before, after, _, _ = self._exchanges[at]
                self._exchanges[at] = (before, after, ANSWER, rest)
            else:  # an error: only what came before it is kept
                self._is_over = True
                del self._exchanges[at:]
                self._waiting = {name: place for name, place in self._waiting.items() if place < at}

    @property
    def is_due(self) -> bool:
        """Whether there is more than was kept, and no answer is missing."""
        return len(self._exchanges) != self._kept and not self._waiting

    def keep(self) -> None:
        """Write the recording, if it is new and no answer is missing. Never raises: without it a start is slower."""
        if not self.is_due:
            return
        with self._lock:
            # Counted as kept even if writing fails, so that a full disk is not tried again with each line.
            self._kept, mine = len(self._exchanges), tuple(self._exchanges)
        with contextlib.suppress(OSError, ValueError):
            if mine and not any(each[: len(mine)] == mine for each in self._front.conversations):
                keep_conversation(self._front, mine)


def keep_conversation(front: Front, mine: Conversation) -> None:
    """Add a conversation to the front's recording. Raises OSError or ValueError."""
    # Something has changed since the start: these answers are outdated.
    if front.is_stale():
        return
    file = Path(front.file)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    others = [each for each in read_recording(front.file) if mine[: len(each)] != each and each[: len(mine)] != mine]
    content = write_recording([mine, *others[: _MOST_CONVERSATIONS - 1]])
    if len(content) >= MAX_RECORDING_BYTES:
        return
    # With the process in its name: several servers may end their beginnings at once.
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        # The mode first: it must never be readable by others.
        part.touch(mode=0o600)
        part.write_bytes(content)
        part.replace(file)  # not synced: the checksum tells whether it is whole
    finally:
        part.unlink(missing_ok=True)
    _remove_oldest(file.parent)


def write_recording(conversations: Iterable[Conversation]) -> bytes:
    """What ``front.read_recording`` reads."""
    body = bytearray()
    for conversation in conversations:
        body += b"\n"
        for exchange in conversation:
            body += b" ".join(b"%d" % len(part) for part in exchange) + b"\n" + b"".join(exchange)
    return FORMAT + checksum_of(bytes(body)) + b"\n" + bytes(body)


def was_compared_lately(file: str) -> bool:
    """Whether a recording was written, or compared with the server's own answers, within a day."""
    with contextlib.suppress(OSError):
        return abs(time.time() - Path(file).stat().st_mtime) < COMPARED_FOR_S
    return False


def note_comparison(file: str) -> None:
    """All of a recording that a client was told is what the server says."""
    with contextlib.suppress(OSError):
        os.utime(file)


def take_apart(line: str) -> tuple[bytes, bytes, bytes] | None:
    """The id of a request, and its line before and after the id; for a notification: nothing, the line, and nothing.

    None for a line that belongs to no beginning, or whose id cannot be located.
    """
    fits = len(line) <= _MOST_LINE_CHARS and "\ufffd" not in line and line.endswith("\n")
    try:
        message, content = json.loads(line) if fits else None, line.encode()
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    if "id" not in message:
        return (b"", content, b"") if message.get("method") == "notifications/initialized" else None
    identity = json.dumps(message["id"]).encode()
    if message.get("method") not in METHODS or not is_plain(identity):
        return None
    # The same text may occur in the params. It is the id if replacing it changes only the message's id; no plain id
    # contains a line feed, so the replacement cannot occur by itself.
    for match in re.finditer(rb'"id"\s*:\s*' + re.escape(identity), content):
        before, after = content[: match.end() - len(identity)], content[match.end() :]
        with contextlib.suppress(ValueError):
            if json.loads(before + b'"\\n"' + after) == {**message, "id": "\n"}:
                return identity, before, after
    return None


def _remove_oldest(folder: Path) -> None:
    files: Sequence[Path] = sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    for file in files[_MOST_FILES:]:
        file.unlink(missing_ok=True)
