"""ring-job-list: find jobs again. A model gets a brief entry for each job; REST returns everything."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ring_mcp.clock import to_iso
from ring_mcp.conductors.results import Usd, Wire
from ring_mcp.conductors.signed_urls import for_caller
from ring_mcp.domain import DRIVEN, Job, JobState, VideoPlan, usd
from ring_mcp.domain.choices import EDGES
from ring_mcp.domain.fields import JobId, ShortText, plain
from ring_mcp.errors import InvalidRequest
from ring_mcp.ledger.base import JobPage, JobQuery, Ledger
from ring_mcp.storage.base import Storage
from ring_mcp.tools.job_answers import SANDBOX, SHORT_ID_CHARS
from ring_mcp.tools.paid import free
from ring_mcp.tools.tool import Answer, Arguments, Caller, Tool

DESCRIPTION = """\
Lists your jobs, newest first: what was asked, where each stands, what it cost. Free. ring-job-get has \
their results."""

State = Literal[
    "open", "planned", "submitting", "rendering", "storing", "unknown", "done", "failed", "refused", "expired"
]


class ListedJob(Wire):
    job_id: str
    kind: str
    state: str
    prompt: str
    request_id: str | None = None
    clip_id: str | None = None
    quality_mode: str | None = None
    model: str | None = None
    cost_usd: Usd | None = Field(None, description="What counts against the caps; until it ended, what is reserved.")
    estimated_cost_usd: Usd
    billed_cost_usd: Usd | None = None
    url: str | None = None
    error: str | None = None
    created_at: str = Field(description="ISO 8601, UTC.")
    sandbox: bool | None = None

    @classmethod
    def of(cls, job: Job) -> ListedJob:
        plan = job.plan
        return cls(
            job_id=job.id,
            kind=job.kind,
            state=job.state.value,
            prompt=_shorten(plan.prompt, MAX_PROMPT_CHARS),
            request_id=job.provider_request_id,
            clip_id=job.clip_id,
            quality_mode=plan.quality_mode if isinstance(plan, VideoPlan) else None,
            model=plan.model,
            # "is None": a job that settled at nothing has cost nothing.
            cost_usd=job.reserved_usd if job.settled_usd is None else job.settled_usd,
            estimated_cost_usd=plan.estimated_usd,
            billed_cost_usd=job.billed_usd,
            url=job.assets[0].url if job.assets else None,
            error=job.failure.message if job.failure else None,
            created_at=to_iso(job.created_at),
            sandbox=job.sandbox or None,
        )


class BriefJob(Wire):
    job_id: str
    kind: str
    state: str
    prompt: str = Field(description="its beginning")
    clip_id: str | None = None
    cost_usd: Usd = Field(description="reserved, until it ended")
    error: str | None = None
    created_at: str = Field(description="UTC.")
    sandbox: bool | None = None

    @classmethod
    def of(cls, job: Job, *, tell_sandbox: bool) -> BriefJob:
        return cls(
            job_id=job.id,
            kind=job.kind,
            state=job.state.value,
            prompt=_shorten(job.plan.prompt, BRIEF_CHARS),
            clip_id=job.clip_id,
            cost_usd=job.reserved_usd if job.settled_usd is None else job.settled_usd,
            error=_shorten(job.failure.message, 2 * BRIEF_CHARS) if job.failure else None,
            created_at=f"{job.created_at.astimezone(UTC):%Y-%m-%dT%H:%MZ}",
            sandbox=(job.sandbox or None) if tell_sandbox else None,
        )


class BriefJobs(Wire):
    """``sandbox``: all of them are of the sandbox, said once for all."""

    jobs: tuple[BriefJob, ...]
    cursor: str | None = Field(None, description="There are more.")
    sandbox: bool | None = None

    @classmethod
    def of(cls, page: JobPage) -> BriefJobs:
        every = bool(page.jobs) and all(job.sandbox for job in page.jobs)
        jobs = tuple(BriefJob.of(job, tell_sandbox=not every) for job in page.jobs)
        return cls(jobs=jobs, cursor=page.cursor, sandbox=every or None)


class JobList(Wire):
    jobs: tuple[ListedJob, ...]
    cursor: str | None = Field(None, description="There are more: pass it on to get them.")


MAX_PROMPT_CHARS = 500
BRIEF_CHARS = 40
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# The plus of a zone is a blank once it has been in a query.
_LOST_PLUS = re.compile(r"(:[0-9.,]+) ([0-9]{2}:?[0-9]{2})$")
_DASH = re.compile("[\u2010-\u2015\u2212]")  # in place of hyphens, by writing programs
_BASIC = re.compile(r"\A((?:19|20)[0-9]{2})([0-9]{2})([0-9]{2})(?:\Z|T([0-9]{2})([0-9]{2})([0-9]{2})?)")
_MAX_INSTANT_CHARS = 100
_AN_INSTANT = "must be a date and time like 2026-11-21T08:00:00Z"


def _shorten(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars] + "…"


def _instant(value: object) -> object:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or len(value) > _MAX_INSTANT_CHARS:
        raise ValueError(_AN_INSTANT)
    # NFKC: keyboards of other scripts have wide figures of their own.
    text = unicodedata.normalize("NFKC", value)
    text = _BASIC.sub(_extend, _DASH.sub("-", text).strip(EDGES))
    if not _DATE.match(text):  # a mere number would be seconds since 1970
        raise ValueError(_AN_INSTANT)
    return _LOST_PLUS.sub(r"\1+\2", text)


def _extend(found: re.Match[str]) -> str:
    """The basic format of ISO 8601 as its extended one."""
    year, month, day, *time = found.groups()
    return f"{year}-{month}-{day}" + (f"T{':'.join(each for each in time if each)}" if time[0] else "")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    # The first and the last day of the calendar, in a zone that moves them out of it.
    except OverflowError:
        raise ValueError(_AN_INSTANT) from None


class JobListArguments(Arguments):
    state: State | None = Field(None, description="open: under way.")
    kind: Literal["image", "video"] | None = Field(None, description="Only these.")
    clip_id: ShortText | None = Field(None, description="Only this clip.")
    pipeline_request_id: ShortText | None = Field(None, description="Only this campaign.")
    ref_code: ShortText | None = Field(None, description="Only this tracking id.")
    since: Annotated[datetime, BeforeValidator(_instant), AfterValidator(_in_utc)] | None = Field(
        None, description="From this date or instant on."
    )
    limit: Annotated[int, Field(ge=1, le=100), BeforeValidator(plain)] = Field(20, description="At most.")
    cursor: JobId | None = Field(None, description="Of the last answer.")

    def query(self, actor_id: str) -> JobQuery:
        states = None if self.state is None else DRIVEN if self.state == "open" else {JobState(self.state)}
        return JobQuery(
            actor_id=actor_id,
            states=states,
            kind=self.kind,
            clip_id=self.clip_id,
            pipeline_request_id=self.pipeline_request_id,
            ref_code=self.ref_code,
            since=self.since,
            before=self.cursor,
            limit=self.limit,
        )


async def list_jobs(ledger: Ledger, storage: Storage, arguments: JobListArguments, actor_id: str) -> JobList:
    """One page of this actor's jobs. Raises InvalidRequest for a cursor that is not from an answer."""
    page = await _read_page(ledger, arguments, actor_id)
    return JobList(jobs=await describe_jobs(page.jobs, storage), cursor=page.cursor)


async def _read_page(ledger: Ledger, arguments: JobListArguments, actor_id: str) -> JobPage:
    if arguments.cursor is not None:
        last = await ledger.get(arguments.cursor)
        # Another's job as a cursor would tell when it was made, and that it is there.
        if last is None or last.actor_id != actor_id:
            raise InvalidRequest("cursor is not one that this tool gave; without it the list begins with the newest")
    return await ledger.list_jobs(arguments.query(actor_id))


async def describe_jobs(jobs: Sequence[Job], storage: Storage) -> tuple[ListedJob, ...]:
    return tuple(ListedJob.of(job) for job in await asyncio.gather(*(for_caller(job, storage) for job in jobs)))


def job_list_tool(ledger: Ledger) -> Tool[JobListArguments]:
    async def handle(arguments: JobListArguments, caller: Caller) -> Answer:
        found = BriefJobs.of(await _read_page(ledger, arguments, caller.actor_id))
        return Answer(data=found.data(), text=_text(found))

    return Tool(
        name="ring-job-list",
        title="List jobs",
        description=DESCRIPTION,
        arguments=JobListArguments,
        output=BriefJobs,
        annotations=free(),
        handler=handle,
    )


def _text(found: BriefJobs) -> str:
    """A heading for each day, and a line for each job."""
    if not found.jobs:
        return "no jobs"
    lines, day = [SANDBOX] if found.sandbox else [], ""
    for job in found.jobs:
        if job.created_at[:10] != day:
            day = job.created_at[:10]
            lines.append(f"{day} UTC")
        facts = [job.created_at[11:16], job.job_id[:SHORT_ID_CHARS], job.kind, job.state, usd(job.cost_usd)]
        facts += ["SANDBOX"] if job.sandbox else []
        lines.append(f"{' '.join(facts)} {' '.join((job.error or job.prompt).split())}")
    if found.cursor:
        lines.append(f"more with cursor {found.cursor}")
    return "\n".join(lines)
