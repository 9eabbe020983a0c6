"""A job's result as an answer: the same whether the create call waited for it or ring-job-get did."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

from ring_mcp.conductors.conductor import Conductor, RequestT
from ring_mcp.conductors.results import GenerateImageResult, GenerateVideoResult, JobResult
from ring_mcp.domain import Job, JobState, usd
from ring_mcp.domain.caps import WINDOW_WORDS
from ring_mcp.errors import RingError
from ring_mcp.jobs.previews import PreviewMaker
from ring_mcp.jobs.watch import OnProgress
from ring_mcp.tools.brief import brief_data, is_told_by_url
from ring_mcp.tools.paid import describe_standing
from ring_mcp.tools.tool import Answer, Caller, Progress

Asked_co = TypeVar("Asked_co", covariant=True)

MAX_PREVIEW_BYTES = 64 * 1024

SANDBOX = "SANDBOX: test media, unpaid."

SHORT_ID_CHARS = 8
"""Of a job's id in the text of what has ended, for clients that read no JSON; ring-job-get finds the job by them."""

_PERCENT = {
    JobState.PLANNED: 1.0,
    JobState.SUBMITTING: 5.0,
    # The provider's own number takes over here, and ends below that of STORING (``percent_of``).
    JobState.RENDERING: 6.0,
    JobState.STORING: 95.0,
    JobState.DONE: 100.0,
}


class Previews:
    """The folder of previews that are made with the results. ``shown``: whether one comes along unasked; ``making``:
    who makes them in this process."""

    def __init__(self, folder: Path, *, shown: bool = True, making: PreviewMaker | None = None) -> None:
        self._folder = folder
        self._making = making
        self.shown = shown

    @property
    def default(self) -> Literal["none", "small"]:
        """What ``preview`` is for a call that does not say."""
        return "small" if self.shown else "none"

    def holds(self, job_id: str) -> bool:
        """Whether there is one to be read."""
        try:
            return 0 < (self._folder / f"{job_id}.jpg").stat().st_size <= MAX_PREVIEW_BYTES
        except OSError:
            return False

    def are_wanted(self, preview: str | None) -> bool:
        """Whether a call with this argument ``preview`` gets one."""
        return (preview or self.default) == "small"

    async def wait(self, job_id: str | None) -> None:
        """Return when the preview of this job is there, or will not be made here."""
        if self._making is not None and job_id is not None:
            await self._making.wait(job_id)

    def read(self, job_id: str | None) -> bytes | None:
        if job_id is None:
            return None
        try:
            content = (self._folder / f"{job_id}.jpg").read_bytes()
        except OSError:
            return None
        return content if len(content) <= MAX_PREVIEW_BYTES else None


class JobFailed(RingError):
    """A job that failed or is stuck, as an error that carries what was made, or billed, before that."""

    def __init__(self, result: JobResult) -> None:
        failure = result.failure
        assert failure is not None, "only failed results become errors"
        super().__init__(
            failure.message,
            billed=failure.billed,
            retryable=failure.retryable,
            next_action=failure.next_action,
            job_id=result.job_id,
        )
        self.code = failure.code
        kept = (
            "state",
            "images",
            "firstFrame",
            "requestId",
            "qualityMode",
            "billedCostUsd",
            "reservedUsd",
            "warnings",
            "joined",
        )
        data = brief_data(result.data())
        self.extra: dict[str, Any] = {key: data[key] for key in (*kept, "sandbox") if key in data}


class PaidArguments(Protocol[Asked_co]):
    """What the arguments of every tool that makes something have."""

    @property
    def dry_run(self) -> bool: ...

    @property
    def wait_seconds(self) -> float | None: ...

    @property
    def preview(self) -> str | None: ...

    def request(self) -> Asked_co: ...


async def make_or_quote(
    conductor: Conductor[RequestT, Any, Any],
    arguments: PaidArguments[RequestT],
    caller: Caller,
    previews: Previews,
    inline_wait_s: float,
) -> Answer:
    """The answer of a create tool: the result, or with dryRun the quote. Raises what ``Conductor.generate`` raises, and
    JobFailed."""
    if arguments.dry_run:
        return answer(await conductor.quote(arguments.request(), actor_id=caller.actor_id), previews)
    result = await conductor.generate(
        arguments.request(),
        actor_id=caller.actor_id,
        # Not ``or``: waitSeconds 0 means to be answered at once.
        wait_s=inline_wait_s if arguments.wait_seconds is None else arguments.wait_seconds,
        on_progress=report(caller.progress),
        asking=caller.asking,
    )
    return await answer_shown(result, previews, arguments.preview)


async def answer_shown(result: JobResult, previews: Previews, preview: str | None = None) -> Answer:
    """As ``answer``, but waits first for a wanted preview that is still being made."""
    if result.success and previews.are_wanted(preview):
        await previews.wait(result.job_id)
    return answer(result, previews, preview)


def answer(result: JobResult, previews: Previews, preview: str | None = None) -> Answer:
    """The answer for a result; ``preview`` is the argument of that name. Raises JobFailed for a failure."""
    if not result.success:
        raise JobFailed(result)
    if result.dry_run:
        return Answer(data=brief_data(result.data()), text=_quote_text(result))
    files = [(f.url, urlsplit(f.url).path.rsplit("/", 1)[-1], f.content_type) for f in _files(result)]
    picture = previews.read(result.job_id) if files and previews.are_wanted(preview) else None
    # Said only to a caller that asked for one: nobody misses the preview of the default.
    missing = "\nno preview is kept of it" if files and preview == "small" and picture is None else ""
    return Answer(
        data=brief_data(result.data()),
        text=_text(result) + missing,
        previews=(picture,) if picture is not None else (),
        links=tuple(files),
    )


def _files(result: JobResult) -> list[Any]:
    if isinstance(result, GenerateImageResult):
        return list(result.images)
    assert isinstance(result, GenerateVideoResult)
    return [result.video] if result.video else []


def _text(result: JobResult) -> str:
    """For the model: the permanent URL first, then what it is and what it cost, then what to mind."""
    files = _files(result)
    if not files:
        lines = [f"Not finished yet: the job is {result.state}.", result.next_action or "", f"jobId: {result.job_id}"]
        if isinstance(result, GenerateVideoResult) and result.request_id:
            lines.append(f"requestId: {result.request_id}, progress {result.progress} %")
        lines.append(_costs(result))
    else:
        lines = [file.url for file in files]
        lines.append(_measures(result, files[0], len(files)))
        lines += [f"saved at {f.local_path}" for f in files if f.local_path and not is_told_by_url(f.url)]
        if isinstance(result, GenerateVideoResult) and result.first_frame:
            lines.append(f"first frame: {result.first_frame.url}")
        if isinstance(result, GenerateVideoResult) and result.thumbnail:
            lines.append(f"thumbnail: {result.thumbnail.url}")
    if result.sandbox:
        # Second, since clients and people take the address from the first line.
        lines.insert(1, SANDBOX)
    if result.joined:
        lines.append("An identical request was there already: this is its result, and nothing new was paid.")
    lines += [f"warning: {warning}" for warning in result.warnings or ()]
    return "\n".join(line for line in lines if line)


def _measures(result: JobResult, file: Any, count: int) -> str:
    facts = [f"{count} files"] if count > 1 else []
    if file.width:
        facts.append(f"{file.width}x{file.height}")
    if isinstance(result, GenerateVideoResult):
        facts.append(f"{file.duration or result.duration} s, {result.quality_mode}")
    facts += [result.served_model or result.model, _costs(result)]
    facts += [f"job {result.job_id[:SHORT_ID_CHARS]}"] if result.job_id else []
    return ", ".join(facts)


def _costs(result: JobResult) -> str:
    estimated = f"estimated {usd(result.estimated_cost_usd)}" if result.estimated_cost_usd is not None else ""
    billed = f"billed {usd(result.billed_cost_usd)}" if result.billed_cost_usd is not None else ""
    # A picture's bill replaces its estimate; a clip's estimate is Ring's own figure and stays beside the bill.
    if billed and (isinstance(result, GenerateImageResult) or result.billed_cost_usd == result.estimated_cost_usd):
        return billed
    if billed and estimated:
        estimated += " by the mode's rate"  # which knows no resolution: the quote does
    return ", ".join(part for part in (estimated, billed) if part)


def _quote_text(quote: JobResult) -> str:
    lines = ["DRY RUN: nothing was made and nothing was spent."]
    if quote.sandbox:
        lines.append("SANDBOX: this server makes test media, without a provider.")
    facts = [quote.model, quote.aspect_ratio, quote.resolution]
    if isinstance(quote, GenerateVideoResult):
        facts += [quote.quality_mode, quote.generation_kind, f"{quote.duration} s"]
    lines.append(f"It would cost {usd(quote.total_usd or Decimal(0))}: {', '.join(fact for fact in facts if fact)}")
    for price in quote.prices or ():
        sum_ = f"{price.count:g} x {usd(price.unit_usd)} = {usd(price.total_usd)}"
        lines.append(f"  {sum_}  {price.what} (list price of {price.as_of})")
    lines += [describe_standing(quote.actor)] if quote.actor is not None else []
    lines += [f"cap left: {usd(amount)} {WINDOW_WORDS[name]}" for name, amount in (quote.cap_left_usd or {}).items()]
    lines += [f"warning: {warning}" for warning in quote.warnings or ()]
    return "\n".join(lines)


def percent_of(job: Job) -> float:
    """The progress of a job, 0 to 100; while it renders, the provider's number."""
    percent = _PERCENT.get(job.state, 0.0)
    return max(percent, min(94.0, float(job.progress))) if job.state is JobState.RENDERING else percent


def report(progress: Progress) -> OnProgress:
    """Report a job's progress, 0 to 100, in numbers that always rise, as the protocol demands."""
    last = 0.0

    async def tell(job: Job) -> None:
        nonlocal last
        percent = percent_of(job)
        last = percent if percent > last else last + (100.0 - last) / 1000  # ever nearer to 100, never the same again
        await progress(last, f"{job.kind} {job.state}")

    return tell
