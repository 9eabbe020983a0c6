"""A job's result as an answer: the same whether the create call waited for it or ring-job-get did."""

from __future__ import annotations

from pathlib import Path

from ring_mcp.conductors.jobs import OnProgress
from ring_mcp.conductors.results import GenerateImageResult
from ring_mcp.domain import Job, JobState
from ring_mcp.errors import RingError
from ring_mcp.tools.tool import Answer, Progress

MAX_PREVIEW_BYTES = 64 * 1024

_PERCENT = {
    JobState.PLANNED: 1.0,
    JobState.SUBMITTING: 5.0,
    JobState.RENDERING: 10.0,
    JobState.STORING: 92.0,
    JobState.DONE: 100.0,
}


class Previews:
    """The folder of previews that were made with the results. ``folder`` None: switched off."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def read(self, job_id: str | None) -> bytes | None:
        if self._folder is None or job_id is None:
            return None
        try:
            content = (self._folder / f"{job_id}.jpg").read_bytes()
        except OSError:
            return None
        return content if len(content) <= MAX_PREVIEW_BYTES else None


class JobFailed(RingError):
    """A job that ended badly or is stuck, as an error that carries what exists all the same."""

    def __init__(self, result: GenerateImageResult) -> None:
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
        self.extra = {
            "state": result.state,
            "images": [image.data() for image in result.images],
            "billedCostUsd": float(result.billed_cost_usd) if result.billed_cost_usd is not None else None,
            "warnings": list(result.warnings or ()),
            "sandbox": result.sandbox,
        }


def answer_image(result: GenerateImageResult, previews: Previews) -> Answer:
    """Raises JobFailed for a result that is a failure."""
    if not result.success:
        raise JobFailed(result)
    return Answer(
        data=result.data(),
        text=_text(result),
        preview_jpeg=previews.read(result.job_id) if result.images else None,
        links=tuple((image.url, image.url.rsplit("/", 1)[-1], image.content_type) for image in result.images),
    )


def _text(result: GenerateImageResult) -> str:
    if not result.images:
        lines = [f"Not finished yet: the job is {result.state}.", result.next_action or "", f"jobId: {result.job_id}"]
    else:
        lines = [result.url or ""]
        lines += [f"{image.url}" for image in result.images[1:]]
        lines += [_measures(result)]
        lines += [f"saved at {image.local_path}" for image in result.images if image.local_path]
    if result.sandbox:
        lines.insert(1, "SANDBOX: a test picture, made without a provider and without cost.")
    if result.joined:
        lines.append("An identical request was under way or undelivered: this is its result, nothing new was paid.")
    lines += [f"warning: {warning}" for warning in result.warnings or ()]
    return "\n".join(line for line in lines if line)


def _measures(result: GenerateImageResult) -> str:
    first = result.images[0]
    size = f"{first.width}x{first.height}, " if first.width else ""
    count = f"{len(result.images)} images, " if len(result.images) > 1 else ""
    billed = f", billed ${result.billed_cost_usd}" if result.billed_cost_usd is not None else ""
    model = result.served_model or result.model
    cost = f"estimated ${result.estimated_cost_usd}{billed}"
    return f"{count}{size}{first.content_type}, {model}, {cost}, job {result.job_id}"


def report(progress: Progress) -> OnProgress:
    """Turn what happens to a job into numbers that always rise, as the protocol wants them."""
    last = 0.0

    async def tell(job: Job) -> None:
        nonlocal last
        base = _PERCENT.get(job.state, 0.0)
        percent = max(base, float(job.progress)) if job.state is JobState.RENDERING else base
        last = percent if percent > last else min(99.9, last + 0.01)
        await progress(last, f"{job.kind} {job.state}")

    return tell
