"""ring-script-run: many clips in one call, each a job of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from ring_mcp.conductors.confirming import Confirming
from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.results import Usd, Wire
from ring_mcp.domain import Job, JobState, VideoPlan, usd
from ring_mcp.domain.caps import WINDOW_WORDS
from ring_mcp.domain.fields import SEPARATED, Flag, ShortText, Text, as_decimal
from ring_mcp.errors import InvalidRequest
from ring_mcp.jobs.addresses import resolve_path
from ring_mcp.jobs.input_files import find_spelled
from ring_mcp.ledger.base import JobQuery, Ledger
from ring_mcp.presets import Presets
from ring_mcp.scripted.clips import ClipRun, words_key
from ring_mcp.tools.job_answers import SANDBOX
from ring_mcp.tools.paid import DryRun, MaxUsd, annotate_paid
from ring_mcp.tools.script_asking import AskedMaker, agree
from ring_mcp.tools.tool import Answer, Arguments, Caller, Tool

if TYPE_CHECKING:
    from ring_mcp.scripted.makes import Makes
    from ring_mcp.scripted.schema import ScriptRequest

DESCRIPTION = """\
Makes all clips of a script (schema 1.0), each a job of its own, and answers at once: call ring-job-get with the \
jobIds until they are there. Each clip costs money; dryRun: true tells each price and the total.

The same script again resumes its jobs and pays nothing; a clip with other words is a new job. If the caps have no \
room for all, nothing starts, unless partial is true. The prompt "storyboard" says how to write one. Example: \
{"request": {"schemaVersion": "1.0", "requestId": "harbour", "clips": [{"id": "one", "duration": 6, "scene": \
{"action": "A boat leaves."}}]}, "dryRun": true}"""

MAX_CLIPS = 200
"""Of one call: its answer has to stay below what clients take."""

_PAGE = 100
_MAX_SHOWN_CHARS = 500

MakerFor = Callable[[str], AskedMaker]
"""Who makes clips for an actor."""


ClipName = Annotated[ShortText, SEPARATED]


def _not_a_path(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("must be an object, the script itself; a file of it is named in path")  # noqa: TRY004
    return value


class ScriptRunArguments(Arguments):
    request: Annotated[dict[str, Any], BeforeValidator(_not_a_path)] | None = Field(None, description="This or path.")
    path: Text | None = Field(None, description="Its file, in RING_INPUT_DIRS.")
    clips: tuple[ClipName, ...] | None = Field(None, min_length=1, description="Only these ids.")
    remaster: Flag = Field(False, description="Edit drafts, or make them again at 720p.")
    max_usd: MaxUsd = None
    partial: Flag = Field(False, description="Make what fits.")
    dry_run: DryRun = False


class ScriptClip(Wire):
    clip_id: str
    status: str = Field(description="waiting, open, done or error.")
    job_id: str | None = None
    state: str | None = None
    quality_mode: str
    model: str | None = None
    duration: int
    quoted_usd: Usd | None = Field(None, description="0: already paid.")
    url: str | None = None
    error: str | None = None
    billed: str | None = Field(None, description="of an error: yes, no, unknown")
    next_action: str | None = None
    warnings: tuple[str, ...] | None = None

    @classmethod
    def of(cls, clip: ClipRun) -> ScriptClip:
        error = clip.error
        return cls(
            clip_id=clip.id,
            status=clip.status,
            job_id=clip.job_id,
            state=clip.state or None,
            quality_mode=clip.mode,
            model=clip.model or None,
            duration=clip.duration_s,
            quoted_usd=clip.quoted_usd,
            url=(clip.data.get("video") or {}).get("url"),
            error=_shorten(error.message) if error else None,
            billed=error.billed if error else None,
            next_action=error.next_action or None if error else None,
            warnings=tuple(map(_shorten, clip.warnings)) or None,
        )


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]} …"


class SupersededJob(Wire):
    clip_id: str
    job_id: str
    state: str


class ScriptRunResult(Wire):
    request_id: str
    clips: tuple[ScriptClip, ...]
    total_usd: Usd = Field(description="What this call costs.")
    dry_run: bool | None = None
    sandbox: bool | None = None
    cap_left_usd: dict[str, Usd] | None = None
    superseded: tuple[SupersededJob, ...] | None = Field(None, description="Open jobs of earlier words.")
    warnings: tuple[str, ...] | None = None
    next_action: str | None = None


class _OnRecord:
    """A script's progress as the ledger knows it, in place of a manifest file."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._rows = [_row(job) for job in reversed(jobs)]

    def rows(self) -> list[dict[str, Any]]:
        return self._rows

    def put_clip(self, clip_id: str, quality_mode: str, **fields: Any) -> dict[str, Any]:
        return fields

    def start_run(self, **fields: Any) -> str:
        return ""

    def finish_run(self, run_id: str, **fields: Any) -> None:
        pass


def _row(job: Job) -> dict[str, Any]:
    """A row as in the manifest; the state of the clip is that of its job."""
    assert isinstance(job.plan, VideoPlan), "clips are asked for"
    plan, status = job.plan, "pending" if not job.is_settled or job.state is JobState.DONE else "error"
    still = plan.first_frame.prompt if plan.first_frame else None
    return {
        "id": job.clip_id,
        "pipelineRequestId": job.pipeline_request_id,
        "qualityMode": plan.quality_mode,
        "generationKind": plan.generation_kind,
        "status": status,
        "settled": job.is_settled,
        "jobId": job.id,
        "requestId": job.provider_request_id,
        "idempotencyKey": job.idempotency_key,
        "wordsKey": words_key({"prompt": plan.prompt, "firstFramePrompt": still}),
        "billedCostUsd": None if job.billed_usd is None else float(job.billed_usd),
        "firstFrameBilledCostUsd": None if plan.made_frame_billed_usd is None else float(plan.made_frame_billed_usd),
    }


def script_run_tool(
    maker_for: MakerFor,
    calls: PaidCalls,
    ledger: Ledger,
    presets: Presets,
    folders: Sequence[Path],
    confirming: Confirming,
    *,
    sandbox: bool,
) -> Tool[ScriptRunArguments]:
    async def handle(arguments: ScriptRunArguments, caller: Caller) -> Answer:
        from ring_mcp.scripted.base import RunOptions
        from ring_mcp.scripted.preparing import makes_of
        from ring_mcp.scripted.run import ScriptRun

        if not arguments.dry_run:
            # Before a file is read for somebody who may not spend; a quote is free for everybody.
            await calls.check_may_spend(caller.actor_id)
        # A file from a disk, and a large script takes a while to check: not on the loop that serves others.
        request = await asyncio.to_thread(_request, arguments, folders, makes_of(presets))
        if len(arguments.clips or request.clips) > MAX_CLIPS:
            raise InvalidRequest(f"a call takes at most {MAX_CLIPS} clips: name those of this one in clips")
        options = RunOptions(
            clip_ids=arguments.clips or (),
            remaster=arguments.remaster,
            max_usd=as_decimal(arguments.max_usd),
            partial=arguments.partial,
            # The jobs go on by themselves, and the call ends long before any client gives it up.
            wait_s=0.0,
        )
        # The sandbox has jobs of its own: what was made there is not paid for here.
        jobs = [job for job in await _jobs(ledger, request.request_id, caller.actor_id) if job.sandbox == sandbox]
        maker = maker_for(caller.actor_id)
        run = ScriptRun(request, options, maker=maker, manifest=_OnRecord(jobs), presets=presets)
        # First of all clips: together they are held against caps and a person's yes before any one is started.
        await run.quote()
        if not arguments.dry_run:
            maker.agree(await agree(run, maker, confirming, caller))
            await run.run()
        run.check_started()
        refused = run.refusal if arguments.dry_run else None
        result = ScriptRunResult(
            request_id=request.request_id,
            clips=tuple(ScriptClip.of(clip) for clip in run.clips),
            total_usd=run.total_usd,
            dry_run=arguments.dry_run or None,
            sandbox=sandbox or None,
            cap_left_usd=run.cap_left_usd or None,
            superseded=tuple(
                SupersededJob(clip_id=clip.id, job_id=clip.job_id or "", state=clip.state or clip.status)
                for clip in run.superseded
            )
            or None,
            warnings=(f"it would be refused: {refused.message}. {refused.next_action}",) if refused else None,
            next_action=None if arguments.dry_run else "Call ring-job-get with each jobId: it waits for the clip.",
        )
        return Answer(data=result.data(), text=_text(result))

    return Tool(
        name="ring-script-run",
        title="Run a script of clips",
        description=DESCRIPTION,
        arguments=ScriptRunArguments,
        output=ScriptRunResult,
        annotations=annotate_paid(),
        handler=handle,
    )


def _request(arguments: ScriptRunArguments, folders: Sequence[Path], makes: Makes) -> ScriptRequest:
    from ring_mcp.scripted.schema import parse_script, read_script

    if (arguments.request is None) == (arguments.path is None):
        raise InvalidRequest("give either request or path")
    if arguments.request is not None:
        return parse_script(arguments.request, makes)
    try:
        within = [folder.expanduser().resolve() for folder in folders]
        path = find_spelled(resolve_path(arguments.path or ""), within)
        # Links are followed before the folder is looked at, and ``real`` is what is read: none leads out of it.
        real = path.resolve()
        is_allowed = any(real.is_relative_to(folder) for folder in within)
    except (OSError, RuntimeError, ValueError):  # nobody's home, a ring of links, no path at all
        is_allowed = False
    if not is_allowed or not path.is_absolute():
        raise InvalidRequest("path must be an absolute path in a folder of RING_INPUT_DIRS")
    if real.exists() and not real.is_file():  # a pipe would keep us waiting
        raise InvalidRequest("path is no regular file")
    return read_script(real, makes, is_strangers=True)


async def _jobs(ledger: Ledger, request_id: str, actor_id: str) -> list[Job]:
    """All of this actor's clips of the script, newest first."""
    jobs: list[Job] = []
    cursor: str | None = None
    while True:
        # All of them: a clip on a page that was not read would count as not made yet.
        page = await ledger.list_jobs(
            JobQuery(actor_id=actor_id, kind="video", pipeline_request_id=request_id, before=cursor, limit=_PAGE)
        )
        jobs += page.jobs
        cursor = page.cursor
        if cursor is None:
            return jobs


def _text(result: ScriptRunResult) -> str:
    lines = ["DRY RUN: nothing was made and nothing was spent."] if result.dry_run else []
    if result.sandbox:
        lines.append(SANDBOX)
    counted = "1 clip" if len(result.clips) == 1 else f"{len(result.clips)} clips"
    lines.append(f"{counted} of {result.request_id}, {usd(result.total_usd)} at list prices:")
    for clip in result.clips:
        facts = [clip.clip_id, clip.quality_mode, f"{clip.duration} s"]
        facts += [usd(clip.quoted_usd)] if clip.quoted_usd is not None else []
        facts += [fact for fact in (clip.state or clip.status, clip.job_id, clip.url, clip.error) if fact]
        lines.append("  " + "  ".join(facts))
        lines += [f"    warning: {warning}" for warning in clip.warnings or ()]
    for old in result.superseded or ():
        lines.append(f"  superseded: {old.clip_id}  {old.state}  {old.job_id}")
    lines += [f"warning: {warning}" for warning in result.warnings or ()]
    lines += [f"cap left: {usd(amount)} {WINDOW_WORDS[name]}" for name, amount in (result.cap_left_usd or {}).items()]
    return "\n".join([*lines, *([result.next_action] if result.next_action else [])])
