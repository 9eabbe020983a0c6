"""What an answer makes of a job; also one that comes after the job was called unknown, or settled by hand, or whose
request the ledger knows nothing of any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.domain import DRIVEN, Job, JobState
from ring_mcp.errors import (
    ContentRefused,
    JobMoved,
    OutcomeUnknown,
    ProviderUnavailable,
    StorageError,
    StorageRefused,
)
from ring_mcp.jobs.answers import Answer, Answers, cost_nothing
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.outcomes import Park, Pause, come_late, end_badly, lose_track, note_trouble
from ring_mcp.jobs.preparing import LOOK_AGAIN_S, not_readable_now
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.rendering import collect
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Accepted, Finished

logger = logging.getLogger(__name__)

LOOK_FOR_ANSWER_S = 0.5
"""How often it is looked whether a courier has written its answer."""

LOOK_FOR_OTHERS_S = 5.0
"""How often it is looked for what cannot be read now, or whether a submit of another machine has been answered."""

LIST_AGAIN_S = 60.0
"""How often it is looked for answers to jobs that nobody drives any more: of a courier whose lock went with the spool
folder, of another process's that has died meanwhile."""

YOUNG_PLAN_S = 60.0
"""A plan that was so young when this process got it was hardly sent, lost, and given away again before: it waits for no
storage that is away."""

_WITH_ITS_DRIVER = (JobState.PLANNED, JobState.SUBMITTING, JobState.STORING)

_Read = Callable[[Job], Awaitable[tuple[Job, Answer] | None]]
"""The answer to a job, if it is news, and the job that it is the answer to: as it was sent."""


class LateAnswers:
    """``answers``: those that lie on this machine; ``sharing`` knows those of the others. ``unwritten``: the folder of
    what somebody has to look at."""

    def __init__(self, answers: Answers, sharing: Sharing, clock: Clock, unwritten: Path) -> None:
        self._answers = answers
        self._sharing = sharing
        self._clock = clock
        self._unwritten = unwritten
        self._left: list[str] = []
        self._listed_at_s: float | None = None

    async def apply_own(self, ledger: Ledger) -> None:
        """Bring home what couriers of dead processes of this machine were answered: at the first call all that is
        there, every minute what is to jobs that nobody drives, and always what could not be read, or was still to
        come, before. Raises LedgerError."""
        left, now_s = list[str](), self._clock.monotonic()
        is_due = self._listed_at_s is None or now_s - self._listed_at_s >= LIST_AGAIN_S
        for job_id in dict.fromkeys([*self._left, *(await self._list(ledger) if is_due else ())]):
            try:
                # A courier that lives may have written some of its pictures, and is about to write the rest.
                if await asyncio.to_thread(self._answers.is_awaited, job_id):
                    left.append(job_id)
                    continue
                job = await self._bring_home(ledger, job_id, self._read_own)
                # Whoever drives it looks for the answer, and forgets it when all of it is stored; a plan may have been
                # sent, and answered, since its row was read.
                if job is not None and job.state not in _WITH_ITS_DRIVER:
                    await asyncio.to_thread(self._put_away, job)
            except OSError as exc:
                left.append(job_id)
                if job_id not in self._left:
                    logger.warning("job %s: its answer cannot be read now: %s", job_id, exc.strerror)
        self._left = left
        if is_due:
            self._listed_at_s = now_s

    async def _list(self, ledger: Ledger) -> list[str]:
        found = await asyncio.to_thread(self._answers.job_ids)
        if self._listed_at_s is None:
            return found + await asyncio.to_thread(self._answers.list_locked)
        # Most are under way, and their drivers look for the answers.
        states = await ledger.states(found) if found else {}
        ended = [job_id for job_id, state in states.items() if state not in DRIVEN]
        # Mere pictures may be followed by others, and by the answer that names them all.
        return await asyncio.to_thread(lambda: [job_id for job_id in ended if self._answers.has(job_id)])

    def _put_away(self, job: Job) -> None:
        """Forget what the row knows. The answer to another attempt was paid as well: somebody has to look at it."""
        found = self._answers.read_any(job.id)
        if found is None or found[0] in (None, job.attempt_token) or cost_nothing(found[1]):
            self._answers.forget(job.id)
            return
        self._answers.set_aside(job.id, self._unwritten)
        logger.error("job %s: its request was made, and paid, twice; see %s", job.id, self._unwritten)

    async def apply_shared(self, ledger: Ledger, job_id: str) -> JobState | None:
        """Bring home an answer to this job that another machine has shared; where the job stands then.

        Raises LedgerError and StorageError.
        """
        job = await self._bring_home(ledger, job_id, self._read_shared)
        return None if job is None else job.state

    async def look_before_sending(self, record: JobRecord) -> Pause | Park | None:
        """Of a plan: if its request was made before, which the ledger has lost, the answer to that is the job's.

        None: go on with the job as it stands now.
        """
        if record.is_new:
            record.is_new = False
            return None
        job = record.job
        try:
            is_awaited, found = await asyncio.to_thread(self._answers.recall, job.id)
            if is_awaited:
                return Pause(LOOK_FOR_ANSWER_S)
            if found is None:
                found = await self._sharing.read_any_answer(job)
        except OSError as exc:  # of this machine: it passes, as where too many files are open
            unread = StorageError(f"an answer to this job cannot be read now: {exc.strerror}")
            await record.note(replace(job, failure=note_trouble(job, unread, record.now)), write=False)
            return Pause(LOOK_FOR_OTHERS_S, failed=True)
        except StorageRefused:  # no time makes this one readable
            return None
        except StorageError as exc:
            is_young = (record.held.at - job.created_at).total_seconds() < YOUNG_PLAN_S
            return None if is_young else Park(not_readable_now(exc.message), LOOK_AGAIN_S)
        if (lost := self._find_lost_attempt(job, found)) is not None:
            await write_answer(record, judge(*lost, self._clock), self._answers)
        return None

    async def _bring_home(self, ledger: Ledger, job_id: str, read: _Read) -> Job | None:
        """The job as its row says by now, with its answer where that was still to come."""
        while True:
            job = await ledger.get(job_id)
            if job is None or (found := await read(job)) is None:
                return job
            try:
                late = judge(*found, self._clock)
            except JobMoved:  # the answer knows no more than the row does
                return job
            late = replace(late, owner=None, updated_at=self._clock.now())
            if not (job.state is JobState.PLANNED or job.is_answered_by(late)):
                return job
            with contextlib.suppress(JobMoved):  # somebody wrote it just now: look again
                return await ledger.save(job, come_late(job, late))

    async def _read_own(self, job: Job) -> tuple[Job, Answer] | None:
        if job.state is JobState.PLANNED or job.has_ended_unsent:
            return self._find_lost_attempt(job, await asyncio.to_thread(self._answers.read_any, job.id))
        answer = await asyncio.to_thread(self._answers.read, job.id, job.attempt_token) if _is_open(job) else None
        return None if answer is None else (job.reopen(), answer)

    async def _read_shared(self, job: Job) -> tuple[Job, Answer] | None:
        if job.has_ended_unsent:
            return self._find_lost_attempt(job, await self._sharing.read_any_answer(job))
        answer = await self._sharing.read_answer(job.id, job.attempt_token) if _is_open(job) else None
        return None if answer is None else (job.reopen(), answer)

    def _find_lost_attempt(self, job: Job, found: tuple[str | None, Answer] | None) -> tuple[Job, Answer] | None:
        """The answer to a plan whose intent the ledger has lost: it must not be sent, and paid, once more. Nor is it
        lost where another machine, which could not see it, has ended the plan meanwhile."""
        # What cost nothing may be tried; most often a courier says so of a request that it was never told to make.
        if found is None or cost_nothing(found[1]):
            return None
        logger.warning("job %s: the ledger had lost that its request was sent", job.id)
        token, answer = found
        return job.recall_attempt(token or uuid.uuid4().hex, self._clock.now()), answer


async def write_answer(record: JobRecord, after: Job, answers: Answers) -> None:
    """``after``: the job with its answer. That stays in the spool, as its pictures do, for as long as they are to be
    stored: until then a ledger that is away, or loses the write, would have nothing else to tell it what they cost."""
    await record.write(after)
    if record.job.state is not JobState.STORING and not record.is_behind:
        await asyncio.to_thread(answers.forget, record.job.id)


def judge(job: Job, answer: Answer, clock: Clock) -> Job:
    """The job after the answer to its request."""
    now = clock.now()
    if isinstance(answer, Accepted):
        return job.to(JobState.RENDERING, provider_request_id=answer.provider_request_id, failure=None, due_at=now)
    if isinstance(answer, Finished):
        return collect(job, answer, now)
    if isinstance(answer, OutcomeUnknown | ProviderUnavailable) and answer.billed == "unknown":
        return lose_track(job, OutcomeUnknown(answer.message))
    ending = Ending.MODERATED if isinstance(answer, ContentRefused) else Ending.REQUEST_REFUSED
    return end_badly(job, ending, answer, now)


def _is_open(job: Job) -> bool:
    """Whether an answer would still be news."""
    return job.state is JobState.UNKNOWN or job.is_resolved_by_hand
