"""The one paid request of a job: from the intent on disk to the answer on disk.

* The intent is committed before the request leaves. Without it nothing is sent.
* A process that dies or is stopped in between leaves a job whose outcome is unknown, which is never sent again.
* What follows the request is written down even if this task is being cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.domain import Job, JobState, MediaKind
from ring_mcp.errors import (
    JobMoved,
    LedgerError,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    RingError,
    StorageError,
    StorageRefused,
)
from ring_mcp.jobs.answers import Answer, Answers
from ring_mcp.jobs.courier import Courier
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.events import count_carried, note_outcome, step_of
from ring_mcp.jobs.late_answers import LOOK_FOR_ANSWER_S, LOOK_FOR_OTHERS_S, judge, write_answer
from ring_mcp.jobs.outcomes import SUBMIT_MARGIN_S, Pace, Park, Pause, back_off_s, end_badly, lose_track, note_trouble
from ring_mcp.jobs.preparing import Preparing
from ring_mcp.jobs.rates import Place
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.providers.base import Accepted, Finished, Inputs, Providers, Running

logger = logging.getLogger(__name__)

WAIT_FOR_STORAGE_S = 600.0
"""How long after its deadline a submit is not given up while nobody can see what is shared, or lies in the spool."""

WRITE_AGAIN_S = 1.0
"""How soon an intent that the ledger would not take is written again; later each time."""

STALE_PLAN_S = 600.0
"""A job that was never submitted is not started after this: whoever asked for it is long gone."""

_NOT_SENT = RingError("the job was planned too long ago to be started now; its request was never sent")
_STOPPED_BEFORE = RingError("the server was stopped before the request was sent", next_action="Call again.")

_HELD_UP = OutcomeUnknown(
    "the process that makes the request (a courier) is stopped, hangs, or has no room on the disk for its answer: it "
    "is waited for",
    next_action="Make room on the disk of the state folder, and let the process python -m ring_mcp.courier go on "
    "(SIGCONT): the job then goes on by itself. If you kill it, what it holds is lost, and the outcome is unknown.",
)


class Submitting:
    """``spool``: where pictures go that come inside an answer. ``courier`` makes requests whose answers are results;
    None where there is none. ``death_is_certain``: a job is only ever taken over from a process that is surely dead, so
    that nobody but a courier can have the answer of its request any more."""

    def __init__(
        self,
        providers: Providers,
        preparing: Preparing,
        clock: Clock,
        pace: Mapping[MediaKind, Pace],
        answers: Answers,
        courier: Courier | None,
        sharing: Sharing,
        *,
        spool: Path,
        death_is_certain: bool,
    ) -> None:
        self._providers = providers
        self._preparing = preparing
        self._clock = clock
        self._pace = pace
        self._answers = answers
        self._courier = courier
        self._sharing = sharing
        self._spool = spool
        self._death_is_certain = death_is_certain

    async def submit(self, record: JobRecord, place: Place | None = None, tries: int = 0) -> Pause | Park | None:
        """Prepare, wait for the provider's rate, write the intent, send, write the answer. None: go on at once.

        What was waited in line makes no plan too old, in this process or in the one before (``line_marks``). What was
        in nobody's hands is as old as it is: it may be out of a backup, and have been sent from there.

        While the ledger can be told neither of the intent nor of an end, the job waits for it, ``tries`` times so far:
        whoever reads its row would start it, so that no word of ours would be true that it was not started.
        """
        try:
            return await self._submit(record, place)
        except JobMoved:
            raise
        except LedgerError as exc:
            if record.job.state is not JobState.PLANNED:
                raise
            trouble = note_trouble(record.job, _wait_for_ledger(exc), self._clock.now())
            await record.note(replace(record.job, failure=trouble), write=False)
            return Pause(back_off_s(tries, WRITE_AGAIN_S), failed=True)

    async def _submit(self, record: JobRecord, place: Place | None) -> Pause | Park | None:
        provider = self._providers[record.job.kind, record.job.plan.provider]
        if _is_stale(record, place):  # looked at before a first frame is waited for, too
            await self._end_unsent(record)
            return None
        inputs = await self._preparing.prepare(record, as_bytes=not provider.fetches_inputs)
        if not isinstance(inputs, Inputs):
            return inputs
        if place is not None:
            await place.wait_to_submit()
        if _is_stale(record, place):
            await self._end_unsent(record)
            return None
        # Marks this one request: an answer that comes late is known by it, whoever has the row by then.
        attempt_token = uuid.uuid4().hex
        courier = self._courier if provider.answers_with_result else None
        with step_of("submit", record.job) as span:
            # Its lock is held before the intent is on disk: from then on it shows that an answer may still come.
            if courier is not None and await courier.take(record.job.id, attempt_token):
                answer = await self._submit_by_courier(record, courier, attempt_token, inputs)
            # A courier that was only too slow may yet write, of the token that it was told, that nothing was sent.
            elif await self._write_intent(record, uuid.uuid4().hex if courier is not None else attempt_token):
                answer = await self._submit_here(record, inputs)
            else:
                answer = None
            note_outcome(span, record.job)
        if isinstance(answer, RateLimited) and place is not None:
            await place.note_refusal(answer)
        return None

    async def _submit_here(self, record: JobRecord, inputs: Inputs) -> Answer:
        job = record.job
        sending = self._providers[job.kind, job.plan.provider].submit(
            job.plan, inputs, spool=self._spool / job.id, deadline_s=self._pace[job.kind].submit_timeout_s
        )
        try:
            answer: Answer = await sending
        except ProviderError as exc:
            answer = exc
        except asyncio.CancelledError:  # under way; one whose answer is in hand is written below, whoever cancels
            cut = OutcomeUnknown("the server was stopped while the request was under way; it may have been billed")
            await record.write(lose_track(record.job, cut))
            raise
        after = judge(record.job, answer, self._clock)
        if isinstance(answer, Accepted):
            # Before the write, to run beside it; what it answers is used only when the handle is written.
            record.first_look = self._begin_look(after)
        await record.write(after)
        if any(output.spool_path is not None for output in record.job.outputs):
            await self._sharing.lay_down_answer(record.job.id)  # the courier does it before it says anything
        return answer

    def _begin_look(self, job: Job) -> asyncio.Task[Running | Finished]:
        """The first look at what was just accepted, while its handle is being written.

        It is free and changes nothing, so it does not matter whether the handle gets there; what it answers is looked
        at when the handle has. There is one for each paid request, which bounds them: see ``pacing``.
        """
        assert job.provider_request_id is not None, "it was accepted"
        provider = self._providers[job.kind, job.plan.provider]
        looking = asyncio.create_task(provider.check(job.plan, job.provider_request_id))
        looking.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may come to hear of it
        return looking

    async def _submit_by_courier(
        self, record: JobRecord, courier: Courier, attempt_token: str, inputs: Inputs
    ) -> Answer | None:
        """The answer, if the request was made. Cancelled, the job stays where it is: the answer comes to the spool, and
        the next process finds it there."""
        job, record.is_carried = record.job, courier.outlives_us
        is_written, began_s = False, self._clock.monotonic()
        try:
            is_written = await self._write_intent(record, attempt_token)
        finally:  # also where the row has changed under it: the courier would hold the job's lock as long as we live
            if not is_written:
                record.is_carried = False  # the next try may be made here, and has to be waited for then
                await courier.drop(job.id)
        if not is_written:
            return None
        answer: Answer
        try:
            answer = await courier.submit(
                job.id,
                attempt_token,
                job.kind,
                job.plan,
                inputs,
                deadline_s=self._pace[job.kind].submit_timeout_s,
                # Begun later, it might end when others have given it up.
                begin_within_s=SUBMIT_MARGIN_S - (self._clock.monotonic() - began_s),
            )
        except ProviderError as exc:
            answer = exc
        # It lies there and cannot be read now, or nobody says what becomes of it: from here on it is looked for
        # (``advance``), and holds no place any more.
        except OSError as exc:
            logger.error("job %s: its answer cannot be read now: %s", job.id, exc.strerror)
            return None
        count_carried(job, answer)
        await write_answer(record, judge(record.job, answer, self._clock), self._answers)
        return answer

    async def give_up_orphan(self, record: JobRecord) -> Pause | None:
        """Somebody else's submit without an answer on record: unknown, once nobody can write that answer any more."""
        job = record.job
        assert job.submit_deadline_at is not None, "the table has a CHECK for this"
        now = record.now  # one for all: if the deadline passes meanwhile, nobody has looked for mere pictures yet
        try:
            # In this order: a courier lets go after it has written, so that nothing falls between the two looks.
            if await asyncio.to_thread(self._answers.is_awaited, job.id):
                if now > job.submit_deadline_at and job.failure is None:
                    await record.note(replace(job, failure=note_trouble(job, _HELD_UP, now)), write=True)
                return Pause(LOOK_FOR_ANSWER_S)
            answer, wait_s = await self._find_answer(job, over_s=(now - job.submit_deadline_at).total_seconds())
        except OSError as exc:  # of this machine: it passes, as where too many files are open
            logger.warning("job %s: its answer cannot be looked for now: %s", job.id, exc.strerror)
            answer, wait_s = None, WAIT_FOR_STORAGE_S
        if answer is not None:
            await write_answer(record, judge(job, answer, self._clock), self._answers)
            return None
        left_s = (job.submit_deadline_at - now).total_seconds() + wait_s
        if left_s > 0 and (wait_s or not self._death_is_certain):
            return Pause(min(left_s, LOOK_FOR_OTHERS_S))
        lost = OutcomeUnknown("the server died while the request was under way; it may have been made and billed")
        await record.write(lose_track(job, lost))
        return None

    async def _find_answer(self, job: Job, *, over_s: float) -> tuple[Answer | None, float]:
        """The answer, on this machine or shared by another; and how much longer than the deadline it is waited for.
        ``over_s``: how long ago the deadline was. Raises OSError.
        """
        if not await asyncio.to_thread(self._answers.holds, job.id, job.attempt_token):
            try:
                if (answer := await self._sharing.read_answer(job.id, job.attempt_token)) is not None:
                    return answer, 0.0
            except StorageRefused:  # no time makes this one readable
                pass
            except StorageError:
                # It may lie there. An answer wins over "unknown", but a person might settle it by hand before.
                if over_s < WAIT_FOR_STORAGE_S:
                    return None, WAIT_FOR_STORAGE_S
            # A process that was only paused may be about to write the other pictures, and its answer.
            if not (over_s >= 0 or self._death_is_certain):
                return None, 0.0
        # Last, pictures that lie here without an answer: only their own machine may say that it was cut off.
        return await asyncio.to_thread(self._answers.read, job.id, job.attempt_token), 0.0

    async def _end_unsent(self, record: JobRecord) -> None:
        await record.write(end_badly(record.job, Ending.PLAN_TOO_OLD, _NOT_SENT, self._clock.now()))

    async def _write_intent(self, record: JobRecord, attempt_token: str) -> bool:
        """Put the intent on disk. False: it is not to be sent, and the job has ended. Raises LedgerError."""
        job, now, began_s = record.job, self._clock.now(), self._clock.monotonic()
        limit_s = self._pace[job.kind].submit_limit_s
        deadline_at = now + timedelta(seconds=limit_s)
        intent = job.to(JobState.SUBMITTING, attempt_token=attempt_token, submit_deadline_at=deadline_at, failure=None)
        try:
            await record.write(intent, must=True)
        except asyncio.CancelledError:
            if record.job.state is JobState.SUBMITTING:  # it was written, and nothing has left
                await record.write(end_badly(record.job, Ending.STOPPED_BEFORE, _STOPPED_BEFORE, self._clock.now()))
            raise
        if record.job.state is not JobState.SUBMITTING:  # also where the ledger had lost the row
            return False
        # The process slept, and somebody may have given the attempt up meanwhile. A clock that was set is no sleep.
        if self._clock.monotonic() - began_s >= limit_s:
            await self._end_unsent(record)
            return False
        return True


def _wait_for_ledger(exc: LedgerError) -> LedgerError:
    return LedgerError(
        f"{exc.message}; the request was not sent yet",
        next_action="Make the ledger reachable (see ring-health): the job goes on by itself, or ends unsent when it is "
        "ten minutes old. Look with ring-job-get.",
    )


def _is_stale(record: JobRecord, place: Place | None) -> bool:
    age_s = (record.now - record.planned_at).total_seconds()
    return age_s - (place.waited_s if place is not None else 0.0) > STALE_PLAN_S
