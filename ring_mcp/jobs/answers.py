"""Answers to paid requests that the courier made: on the disk before the server hears of them.

A request whose answer carries the result itself is made by the courier, which outlives its server. For each such job
the spool has a lock file, which the courier holds for as long as an answer may still come, and then the answer.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ring_mcp import errors
from ring_mcp.domain import Output
from ring_mcp.errors import OutcomeUnknown, ProviderError
from ring_mcp.files import replace_file, try_lock
from ring_mcp.jobs.shared_names import answer_name
from ring_mcp.providers.base import Accepted, Finished

Answer = Accepted | Finished | ProviderError

_LOCK = "-courier.lock"
_MOST_PICTURES = 32
"""Of one answer: more than any model makes."""


class Answers:
    """``spool`` is the folder of files in progress; the names of a job's files begin with its id."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool

    def write(self, job_id: str, attempt_token: str, answer: Answer) -> None:
        """Keep an answer, synced to the disk. Raises OSError."""
        content = json.dumps({"attemptToken": attempt_token, **_encode(answer)}, ensure_ascii=False)
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)  # somebody may have tidied up meanwhile
        replace_file(self._path(job_id), content.encode("utf-8", "replace"))

    def read(self, job_id: str, attempt_token: str | None) -> Answer | None:
        """The answer to this attempt, or the pictures that are left of it; None if there is none (yet).

        Raises OSError if it cannot be read now.
        """
        answer = self._read(job_id, attempt_token)
        return answer if answer is not None else self._find_pictures(job_id)

    def read_any(self, job_id: str) -> tuple[str | None, Answer] | None:
        """The token of an attempt and its answer, whichever attempt it is; the token is None for pictures without an
        answer. Raises OSError."""
        found = read_answer_file(self._path(job_id))
        if found is None and (pictures := self._find_pictures(job_id)) is not None:
            return None, pictures
        return found

    def recall(self, job_id: str) -> tuple[bool, tuple[str | None, Answer] | None]:
        """Whether a courier may still write this job's answer; if none may, what ``read_any`` tells. Raises OSError."""
        # In this order: a courier lets go after it has written.
        is_awaited = self.is_awaited(job_id)
        return is_awaited, None if is_awaited else self.read_any(job_id)

    def has(self, job_id: str) -> bool:
        """Whether this machine has an answer to any attempt of the job, and so all that came inside it."""
        return self._path(job_id).exists()

    def has_paid(self, job_id: str) -> bool:
        """Whether this machine has an answer to any attempt that may have cost something, or pictures out of one.
        Raises OSError."""
        found = self.read_any(job_id)
        return found is not None and not cost_nothing(found[1])

    def holds(self, job_id: str, attempt_token: str | None) -> bool:
        """Whether this machine got the answer to this attempt, and what came inside it. Raises OSError."""
        return self._read(job_id, attempt_token) is not None

    def _read(self, job_id: str, attempt_token: str | None) -> Answer | None:
        found = read_answer_file(self._path(job_id))
        return found[1] if found is not None and found[0] == attempt_token else None

    def _find_pictures(self, job_id: str) -> Finished | None:
        """Pictures out of an answer that was cut off before it was written; their cost is not known."""
        # One of which nothing was written yet is none, and would be waited for without end.
        numbered = {i: path for i, path in list_pictures(self._spool, job_id).items() if path.stat().st_size}
        if not numbered:
            return None
        lost = Output(lost_because="the server died before this one was kept")
        # The gaps keep their numbers: object keys and audit rows are made from them.
        outputs = [
            Output(spool_path=numbered[index].name) if index in numbered else lost for index in range(max(numbered) + 1)
        ]
        return Finished(
            outputs=tuple(outputs), warnings=("the answer was cut off: its cost, and what else was made, is not known",)
        )

    def forget(self, job_id: str) -> None:
        with contextlib.suppress(OSError):
            self._path(job_id).unlink()

    def remove(self, job_id: str) -> None:
        """Delete the answer and what came inside it."""
        for path in list_pictures(self._spool, job_id).values():
            with contextlib.suppress(OSError):
                path.unlink()
        self.forget(job_id)

    def job_ids(self) -> list[str]:
        """Ids of jobs of which this machine has an answer, or pictures out of one; sorted."""
        ending = answer_name("")
        answered = {path.name.removesuffix(ending) for path in self._spool.glob(f"*{ending}")}
        pictured = {path.name.rpartition("-")[0] for path in self._spool.glob("*.inline")}
        return sorted(answered | pictured)

    def set_aside(self, job_id: str, folder: Path) -> None:
        """Move the answer and what came inside it to ``folder``, for a person to look at. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in list_pictures(self._spool, job_id).values():
            path.rename(folder / path.name)
        self._path(job_id).rename(folder / f"{job_id}.stale")

    def list_locked(self) -> list[str]:
        """Ids of jobs that a courier carries, or carried when it died; sorted."""
        return sorted(path.name.removesuffix(_LOCK) for path in self._spool.glob(f"*{_LOCK}"))

    def may_be_needed(self, job_id: str) -> bool:
        """Whether an answer to this job lies here, or may come, that nobody has taken up yet."""
        try:
            return os.path.lexists(self._path(job_id)) or self.is_awaited(job_id)
        except OSError:
            return True

    def is_awaited(self, job_id: str) -> bool:
        """Whether a live courier may still write this job's answer. Raises OSError if that cannot be told now."""
        try:
            descriptor = os.open(self._spool / f"{job_id}{_LOCK}", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            # If we get the lock, no courier is left that could still write. Closing the file releases it.
            return not try_lock(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def expect(self, job_id: str) -> Iterator[None]:
        """Hold the lock of a job: while this process lives inside the ``with``, nobody settles the job as unknown.

        Raises OSError.
        """
        path = self._spool / f"{job_id}{_LOCK}"
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)  # somebody may have tidied up meanwhile
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # One that another courier has just let go of lies there no more: nobody would see that it is held.
            if not (try_lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.stat())):
                raise BlockingIOError(f"another courier has {path.name}")
            yield
            # Not in the ``finally``: where another courier has the lock, the file is that one's.
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def _path(self, job_id: str) -> Path:
        return self._spool / answer_name(job_id)


def cost_nothing(answer: Answer) -> bool:
    return isinstance(answer, ProviderError) and answer.billed == "no"


def list_pictures(spool: Path, job_id: str) -> dict[int, Path]:
    """The pictures out of a job's answer that lie in ``spool``, by their numbers. Blocking."""
    # By name: to read the folder would take the longer the more jobs are open.
    paths = {number: spool / f"{job_id}-{number}.inline" for number in range(_MOST_PICTURES)}
    return {number: path for number, path in paths.items() if path.exists()}


def read_answer_file(path: Path) -> tuple[str, Answer] | None:
    """The token of an attempt and the answer to it, whichever machine has written it.

    Raises OSError: what cannot be read now may be all there is.
    """
    try:
        content = json.loads(path.read_bytes())
        return content["attemptToken"], _decode(content)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _encode(answer: Answer) -> dict[str, Any]:
    if not isinstance(answer, ProviderError):
        return {"made": TypeAdapter(type(answer)).dump_python(answer, mode="json"), "kind": type(answer).__name__}
    facts = {
        "message": answer.message,
        "provider": answer.provider,
        "http_status": answer.http_status,
        "billed": answer.billed,
        "billed_usd": None if answer.billed_usd is None else str(answer.billed_usd),
        "retryable": answer.retryable,
        "next_action": answer.next_action,
    }
    return {"error": facts, "kind": type(answer).__name__}


def _decode(content: dict[str, Any]) -> Answer:
    if "made" in content:
        kind = {"Accepted": Accepted, "Finished": Finished}[content["kind"]]
        return TypeAdapter[Accepted | Finished](kind).validate_python(content["made"])
    facts = dict(content["error"])
    billed_usd = facts.pop("billed_usd")
    named: Any = getattr(errors, content["kind"], None)
    is_known = isinstance(named, type) and issubclass(named, ProviderError)
    # An error class that this version does not know is read the safe way: the outcome is unknown.
    error: ProviderError = (named if is_known else OutcomeUnknown)(
        facts.pop("message"), billed_usd=None if billed_usd is None else Decimal(billed_usd), **facts
    )
    error.billed = facts["billed"]
    return error
