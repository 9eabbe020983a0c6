"""output/manifest.json: what each clip of the last runs became. Ring's version 3; what came before it is read, too.

Every change is a read, a merge and a write under one file lock, and the write replaces the file at once. So runs beside
each other lose nothing, a partial run leaves other clips alone, and a reader never sees half a file. What others put
into the file stays in it.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ring_mcp.clock import Clock, to_iso
from ring_mcp.errors import InvalidRequest, RingError
from ring_mcp.scripted.base import Row
from ring_mcp.scripted.rows import attempt_of, find_row, merge_row, row_key

VERSION = 3
READABLE = (None, 2, VERSION)
MAX_BYTES = 32 * 1024 * 1024
LOCK_WAIT_S = 30.0
WHAT_WAS_MADE = "What was made is in the ledger all the same: `ring-mcp jobs list`."


class Manifest:
    """The file at ``path``. ``report`` is told when an unreadable one was set aside.

    Every method raises RingError if the file cannot be read, written or locked, InvalidRequest if a newer version of
    the format wrote it.
    """

    def __init__(self, path: Path, clock: Clock, report: Callable[[str], None]) -> None:
        self._path = path
        self._clock = clock
        self._report = report
        self._begun_at = to_iso(clock.now())
        self._runs: dict[str, dict[str, Any]] = {}
        self._mine: dict[tuple[Any, str, Any], Row] = {}

    def rows(self) -> list[Row]:
        """The rows of clips as they stand. An unreadable file is left where it is, for the next change to set aside."""
        content = self._read()
        return [row for row in content["clips"] if isinstance(row, dict)] if content else []

    def put_clip(self, clip_id: str, quality_mode: str, **fields: Any) -> Row:
        """Lay ``fields`` over the row of this clip in this, the effective, mode, and return what then stands there.

        None means "leave what is there". Whoever has begun before the one who wrote last does not write over it.
        """
        given = {name: value for name, value in fields.items() if value is not None}
        row = {"attemptAt": self._begun_at, "id": clip_id, "qualityMode": quality_mode, **given}
        # Without a key it is no attempt, only more about the one that stands there.
        if "idempotencyKey" not in given:
            del row["attemptAt"]
        row["updatedAt"] = self._now()
        with self._change() as content:
            content["clips"] = merge_row(content["clips"], row)
            # Remembered for finish_run: whoever deletes the file in mid-run does not delete what this run has paid for.
            self._mine[row.get("pipelineRequestId"), row_key(row), row.get("idempotencyKey")] = row
            return attempt_of(content["clips"], row)

    def start_run(self, **fields: Any) -> str:
        """Put a run at the end of ``runs`` and return its id. ``requestId`` becomes the manifest's own, too."""
        started_at = self._clock.now()
        run_id = f"run-{_base36(int(started_at.timestamp() * 1000))}-{secrets.token_hex(2)}"
        run = {"runId": run_id, "startedAt": self._now(), **fields}
        with self._change() as content:
            self._runs[run_id] = run
            content["runs"].append(run)
            if "requestId" in fields:
                content["requestId"] = fields["requestId"]
        return run_id

    def finish_run(self, run_id: str, **fields: Any) -> None:
        """Write ``fields`` into the run. What it has written, and somebody has deleted meanwhile, is back then."""
        with self._change() as content:
            if not any(isinstance(run, dict) and run.get("runId") == run_id for run in content["runs"]):
                content["runs"].append(dict(self._runs.get(run_id, {"runId": run_id})))
                content["requestId"] = content.get("requestId") or self._runs.get(run_id, {}).get("requestId")
            for row in [row for row in self._mine.values() if find_row(content["clips"], row) is None]:
                content["clips"] = merge_row(content["clips"], row)
            for run in content["runs"]:
                if isinstance(run, dict) and run.get("runId") == run_id:
                    run |= {**fields, "finishedAt": self._now()}

    def _now(self) -> str:
        return to_iso(self._clock.now())

    @contextmanager
    def _change(self) -> Iterator[dict[str, Any]]:
        from filelock import FileLock, Timeout

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_name(f".{self._path.name}.lock"), timeout=LOCK_WAIT_S):
                # Read anew under the lock, never from memory: another run may have written since.
                content = self._read() or self._fresh()
                yield content
                self._write({**content, "version": VERSION})
        except Timeout as exc:
            raise RingError(f"{self._path} stayed locked for {LOCK_WAIT_S:g} s", next_action=WHAT_WAS_MADE) from exc
        except OSError as exc:
            raise RingError(f"{self._path} cannot be written: {exc.strerror}", next_action=WHAT_WAS_MADE) from exc

    def _read(self) -> dict[str, Any] | None:
        """The content, None if there is none that can be read."""
        try:
            content = json.loads(_read_bounded(self._path))
        except FileNotFoundError:
            return None
        # Not taken for an absent file: the next change would move aside what only could not be opened.
        except OSError as exc:
            raise RingError(f"{self._path} cannot be read: {exc.strerror}") from exc
        except (ValueError, RecursionError):
            return None
        if not isinstance(content, dict):
            return None
        version = content.get("version")
        # Refused and not set aside: a newer ring-mcp goes on with it, and would miss what was made before.
        if isinstance(version, int) and version > VERSION:
            raise InvalidRequest(f"{self._path} has version {version}; 2 and {VERSION} are known here")
        # Somebody else's JSON, which is moved away and not written into.
        if version is None and "clips" not in content:
            return None
        lists = (content.setdefault("clips", []), content.setdefault("runs", []))
        return content if version in READABLE and all(isinstance(rows, list) for rows in lists) else None

    def _fresh(self) -> dict[str, Any]:
        """An empty manifest, after whatever stands in its place was moved out of the way."""
        if self._path.exists():
            aside = self._path.with_name(f"{self._path.stem}.unreadable-{secrets.token_hex(4)}{self._path.suffix}")
            self._path.rename(aside)
            self._report(f"{self._path} was not a readable manifest: it is kept as {aside.name}, and a new one begun")
        return {"version": VERSION, "requestId": None, "clips": [], "runs": []}

    def _write(self, content: dict[str, Any]) -> None:
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            # Half a surrogate pair, from somebody else's row, leaves as the JSON escape that it came as.
            with draft.open("w", encoding="utf-8", errors="backslashreplace") as file:
                # default=float: money is Decimal, which JSON does not know, and Ring's manifest has numbers.
                json.dump(content, file, ensure_ascii=False, indent=2, default=float)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)  # there only if the writing has failed


def _read_bounded(path: Path) -> bytes:
    """Raises OSError, or RingError for what is no file or larger than a manifest gets."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would keep us waiting
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RingError(f"{path} is no regular file, so it is not read as a manifest")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise RingError(f"{path} is larger than {MAX_BYTES // 2**20} MB, so it is not read as a manifest")
    return content


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits
