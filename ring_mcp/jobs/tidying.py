"""Files that dead processes left behind: removed when their jobs have ended, or when they are old and of no job."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.domain import TERMINAL, JobState
from ring_mcp.errors import LedgerError
from ring_mcp.files import PART
from ring_mcp.jobs.answers import Answers
from ring_mcp.jobs.shared_names import OF_A_JOB
from ring_mcp.jobs.write_ahead import WriteAhead
from ring_mcp.ledger.base import Ledger

_TRY_AGAIN_S = 60.0
_FILES_AT_ONCE = 500
KEEP_INPUTS_S = 24 * 3600.0
"""Given pictures stay for so long after they were given, and as long as a plan from then may need them."""
_PART_IS_DEAD_AFTER_S = 3600.0
"""Nothing has been written to it for so long: whoever fetched it was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A file that nobody needs. ``what``: its kind, in the plural."""

    path: Path
    what: str
    size_bytes: int


async def tidy_after(
    catch_up: Callable[[], Awaitable[None]], spool: Path, ledger: Ledger, clock: Clock, keep_s: float
) -> None:
    """``tidy_spool``, once ``catch_up`` has told the ledger of every end that an earlier process could not write."""
    while True:
        try:
            await catch_up()
            break
        except LedgerError:
            await clock.sleep(_TRY_AGAIN_S)
    await tidy_spool(spool, ledger, clock, keep_s)


async def tidy_spool(spool: Path, ledger: Ledger, clock: Clock, keep_s: float) -> None:
    """Remove files of ended jobs from the spool, and those of no job that are older than ``keep_s``.

    Files that an open job may need stay, however old they are. If the ledger is down, it is retried.
    """
    paths = await asyncio.to_thread(lambda: sorted(spool.glob("*")))
    for start in range(0, len(paths), _FILES_AT_ONCE):
        some = paths[start : start + _FILES_AT_ONCE]
        of_jobs = {path: found[0] for path in some if (found := OF_A_JOB.match(path.name))}
        while True:
            try:
                states, needed_since_s = await ledger.states(set(of_jobs.values())), await find_needed_since(ledger)
                break
            except LedgerError:
                # Without the ledger nobody knows which files an open job needs.
                await clock.sleep(_TRY_AGAIN_S)
        # By now the ledger has what they say: who still has one could not be read, or is yet to be answered.
        needed = await asyncio.to_thread(_find_needed, Answers(spool), states)
        kinds = {path: states.get(of_jobs.get(path, "")) for path in some if of_jobs.get(path) not in needed}
        await asyncio.to_thread(_remove, kinds, needed_since_s - keep_s)


def _find_needed(answers: Answers, job_ids: Iterable[str]) -> set[str]:
    return {job_id for job_id in job_ids if answers.may_be_needed(job_id)}


async def find_needed_since(ledger: Ledger) -> float:
    """When the oldest job that may still be sent was planned, in s since the epoch; now, if there is none.

    The names of given pictures have no job in them: those that a plan needs were given, or given again, shortly before
    it was made. Raises LedgerError.
    """
    queued = [await ledger.count_jobs(sandbox=sandbox) for sandbox in (False, True)]
    return min([time.time(), *(each.waiting_since.timestamp() for each in queued if each.waiting_since is not None)])


async def remove_old_inputs(spool: Path, ledger: Ledger) -> None:
    """Remove given pictures that no plan can need any more. Raises LedgerError."""
    paths = await asyncio.to_thread(lambda: [path for path in spool.glob("input-*") if _is_old(path, KEEP_INPUTS_S)])
    if paths:
        before_s = await find_needed_since(ledger) - KEEP_INPUTS_S
        await asyncio.to_thread(_remove, dict.fromkeys(paths), before_s)


async def list_leftovers(state: Path, ledger: Ledger, keep_s: float) -> list[Leftover]:
    """The files of the state folder that may be removed. Raises LedgerError.

    Never rows, results, or files of open jobs; nor answers and ends that the ledger lacks, which a server that starts
    here would write first.
    """
    found = []
    waiting, aside = await asyncio.to_thread(WriteAhead(state / "unwritten").list_left)
    told = {*await asyncio.to_thread(Answers(state / "spool").job_ids), *waiting, *aside}
    paths = await asyncio.to_thread(lambda: sorted((state / "spool").glob("*")))
    before_s = await find_needed_since(ledger) - keep_s
    for start in range(0, len(paths), _FILES_AT_ONCE):
        some = paths[start : start + _FILES_AT_ONCE]
        of_jobs = {path: match[0] for path in some if (match := OF_A_JOB.match(path.name))}
        states = await ledger.states(set(of_jobs.values()))
        needed = told | await asyncio.to_thread(_find_needed, Answers(state / "spool"), states)
        for path in some:
            job_state = states.get(of_jobs.get(path, ""))
            if of_jobs.get(path) in needed:
                continue
            if job_state in TERMINAL:
                found += _as_leftover(path, "spool files of ended jobs")
            elif job_state is None and await asyncio.to_thread(_is_from_before, path, before_s):
                found += _as_leftover(path, "old spool files")
    for path in await asyncio.to_thread(lambda: sorted((state / "previews").glob("*"))):
        if await asyncio.to_thread(_is_old, path, keep_s):
            found += _as_leftover(path, "old previews")
    return found


def _as_leftover(path: Path, what: str) -> list[Leftover]:
    try:
        return [Leftover(path=path, what=what, size_bytes=path.stat().st_size)]
    except OSError:  # somebody else was quicker
        return []


def _remove(files: Mapping[Path, JobState | None], before_s: float) -> None:
    """Remove files whose job has ended, those of no job from ``before_s``, and what killed downloads left."""
    for path, state in files.items():
        is_left = path.suffix == PART and _is_old(path, _PART_IS_DEAD_AFTER_S)
        if is_left or (state in TERMINAL if state is not None else _is_from_before(path, before_s)):
            with contextlib.suppress(OSError):
                path.unlink()


def remove_old_files(folders: Sequence[Path], keep_s: float) -> None:
    """Remove old files from folders of courtesies, such as previews. Blocking."""
    for folder in folders:
        for path in folder.glob("*"):
            if _is_old(path, keep_s):
                with contextlib.suppress(OSError):
                    path.unlink()


def _is_old(path: Path, keep_s: float) -> bool:
    return _is_from_before(path, time.time() - keep_s)


def _is_from_before(path: Path, time_s: float) -> bool:
    try:
        return path.stat().st_mtime < time_s
    except OSError:
        return False
