"""A job as a person sees it: a card among others, and all of it on a page of its own. Pure.

Whatever a stranger wrote is a text here and nothing else: templates escape it, and only web addresses become links.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import urlsplit

from ring_mcp.conductors.results import JobResult, job_result
from ring_mcp.domain import Asset, ImagePlan, Job, JobState, VideoPlan, usd
from ring_mcp.tools.job_answers import percent_of

LABELS = {
    JobState.PLANNED: "waiting",
    JobState.SUBMITTING: "sent",
    JobState.RENDERING: "rendering",
    JobState.STORING: "storing",
    JobState.UNKNOWN: "outcome unknown",
    JobState.DONE: "done",
    JobState.FAILED: "failed",
    JobState.REFUSED: "refused",
    JobState.EXPIRED: "expired",
}
KINDS = {"image": "picture", "video": "clip"}

Place = Callable[[str], str | None]
"""Where a page finds what lies at an address; None: no browser can open it."""

_CARD_CHARS = 280
_ALT_CHARS = 120
_GIVEN_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """``picture``: the address of a small picture, if there is one. ``percent``: while it is under way."""

    id: str
    kind: str
    state: str
    label: str
    percent: int | None
    prompt: str
    alt: str
    model: str
    cost: str
    created_at: datetime
    day: str
    sandbox: bool
    length: str
    picture: str | None = None
    trouble: str | None = None

    @classmethod
    def of(cls, job: Job, picture: str | None = None) -> Card:
        plan = job.plan
        # Line breaks would waste a card's room; the job's own page keeps them.
        prompt = " ".join(plan.prompt.split())
        several = plan.n if isinstance(plan, ImagePlan) else 0
        return cls(
            id=job.id,
            kind=KINDS[job.kind],
            state=job.state.value,
            label=LABELS[job.state],
            percent=None if job.is_settled else round(percent_of(job)),
            prompt=shorten(prompt, _CARD_CHARS),
            alt=f"{KINDS[job.kind].capitalize()}: {shorten(prompt, _ALT_CHARS)}",
            model=job.served_model or plan.model,
            cost=usd(cost_of(job)),
            created_at=job.created_at.astimezone(UTC),
            day=f"{job.created_at.astimezone(UTC):%Y-%m-%d}",
            sandbox=job.sandbox,
            length=f"{plan.duration_s} s" if isinstance(plan, VideoPlan) else f"{several} ×" if several > 1 else "",
            picture=picture,
            trouble=job.failure.message if job.failure and job.is_settled else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """``url`` None: it lies where no browser comes, at ``local_path`` of the machine that stored it."""

    what: str
    kind: str
    url: str | None
    name: str
    facts: str
    local_path: str | None = None
    width: int | None = None
    height: int | None = None


Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """Everything about one job. ``advice``: what to do next, where it went wrong or is not there yet."""

    card: Card
    prompt: str
    files: tuple[File, ...]
    beside: tuple[File, ...]
    settings: Facts
    given: Facts
    costs: Facts
    prices: Facts
    ids: Facts
    times: Facts
    warnings: tuple[str, ...]
    failure: str | None
    failure_code: str | None
    advice: str | None
    billed_words: str | None

    @classmethod
    def of(cls, job: Job, now: datetime, place: Place, picture: str | None = None) -> Detail:
        """``job`` as ``for_caller`` gives it: with addresses that can be opened."""
        result = job_result(job, now)
        failure = result.failure
        return cls(
            card=Card.of(job, picture),
            prompt=job.plan.prompt,
            files=_list_files(job, place),
            beside=_list_beside(job, place),
            settings=_list_settings(job),
            given=_list_given(job),
            costs=_list_costs(job, result),
            prices=tuple(
                (line.what, f"{line.count:g} × {usd(line.unit_usd)} = {usd(line.total_usd)}, listed {line.as_of}")
                for line in job.plan.prices
            ),
            ids=_fill(
                ("job", job.id),
                ("provider's request", job.provider_request_id),
                ("clip", job.clip_id),
                ("campaign", job.pipeline_request_id),
                ("refCode", job.ref_code),
                ("purpose", job.plan.purpose),
                ("clip that it begins", job.parent_job_id),
                ("first frame's job", job.plan.frame_job_id if isinstance(job.plan, VideoPlan) else None),
            ),
            times=_fill(
                ("asked", f"{job.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"),
                ("ended", f"{job.finished_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if job.finished_at else None),
                ("took", _say_seconds((job.finished_at - job.created_at).total_seconds()) if job.finished_at else None),
            ),
            # Plan and job may say the same.
            warnings=tuple(dict.fromkeys(result.warnings or ())),
            failure=failure.message if failure else None,
            failure_code=failure.code if failure else None,
            advice=(failure.next_action or None) if failure else result.next_action,
            billed_words=_BILLED[failure.billed] if failure else None,
        )


_BILLED = {
    "no": "Nothing was billed.",
    "yes": "It was billed.",
    "unknown": "Whether it was billed is not known; what was reserved counts until it is.",
}


def cost_of(job: Job) -> Decimal:
    """What counts against the caps."""
    return job.reserved_usd if job.settled_usd is None else job.settled_usd


def shorten(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"


def open_in_browser(url: str) -> str | None:
    """The address, if it is one of the web: any other could run something, or leads nowhere."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.hostname else None


def _fill(*facts: tuple[str, object | None]) -> Facts:
    return tuple((name, str(value)) for name, value in facts if value not in (None, ""))


def _list_files(job: Job, place: Place) -> tuple[File, ...]:
    what, several = KINDS[job.kind], len(job.assets) > 1
    files = [_file(f"{what} {i}" if several else what, asset, place) for i, asset in enumerate(job.assets, 1)]
    if files or job.state is not JobState.DONE:
        return tuple(files)
    # Done and nothing stored: the caller wanted no copy, and the provider's own address is all that there is.
    kept = ((output.url, output.content_type or "") for output in job.outputs if output.url)
    return tuple(
        File(what="at the provider, for a while", kind=_media_kind(of), url=open_in_browser(url), name="", facts=of)
        for url, of in kept
    )


def _list_beside(job: Job, place: Place) -> tuple[File, ...]:
    if not isinstance(job.plan, VideoPlan):
        return ()
    both = (("first frame", job.plan.made_frame), ("thumbnail", job.plan.made_thumbnail))
    return tuple(_file(what, asset, place) for what, asset in both if asset is not None)


def _file(what: str, asset: Asset, place: Place) -> File:
    size = f"{asset.width_px} × {asset.height_px}" if asset.width_px else None
    length = f"{asset.duration_s:g} s" if asset.duration_s else None
    facts = (size, length, asset.content_type, say_bytes(asset.size_bytes), _say_credentials(asset))
    return File(
        what=what,
        kind=_media_kind(asset.content_type),
        url=place(asset.url),
        name=asset.key.rsplit("/", 1)[-1],
        facts=", ".join(fact for fact in facts if fact),
        local_path=asset.local_path,
        width=asset.width_px,
        height=asset.height_px,
    )


def _say_credentials(asset: Asset) -> str | None:
    return "with content credentials (C2PA)" if asset.content_credentials == "present" else None


def _media_kind(content_type: str) -> str:
    return content_type.partition("/")[0] if content_type.startswith(("image/", "video/")) else "file"


def say_bytes(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1000:.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def _say_seconds(seconds: float) -> str:
    # Rounded before it is taken apart: 119.6 s would be "1 min 60 s".
    whole = round(seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _list_settings(job: Job) -> Facts:
    plan = job.plan
    shared = (("provider", plan.provider), ("model", plan.model))
    served = ("served by", job.served_model if job.served_model != plan.model else None)
    shape = (("aspect ratio", plan.aspect_ratio), ("resolution", plan.resolution))
    if isinstance(plan, ImagePlan):
        number = ("pictures", plan.n if plan.n > 1 else None)
        return _fill(*shared, served, *shape, ("quality", plan.quality), number, ("seed", plan.seed))
    made = None if plan.generation_kind == "generate" else plan.generation_kind
    mode = (("mode", plan.quality_mode), ("what is done", made))
    return _fill(*shared, served, *mode, ("seconds", plan.duration_s), *shape)


def _list_given(job: Job) -> Facts:
    """What the caller gave along, as text: where it leads is nobody's business here."""
    plan = job.plan
    given = [("reference", url) for url in plan.reference_images]
    if isinstance(plan, VideoPlan):
        given += [("first frame", plan.image_url or ""), ("last frame", plan.last_frame_url or "")]
        given += [("source clip", plan.source_video_url or ""), ("draft", plan.remaster_from_request_id or "")]
        given += [("first frame, asked for", plan.first_frame.prompt if plan.first_frame else "")]
    shown = ((name, "given inline" if url.startswith("kept:") else url) for name, url in given)
    return _fill(*((name, shorten(url, _GIVEN_CHARS)) for name, url in shown))


def _list_costs(job: Job, result: JobResult) -> Facts:
    estimated = result.estimated_cost_usd
    return _fill(
        ("quoted", usd(job.plan.list_usd)),
        ("estimated (mode's rate)", usd(estimated) if estimated not in (None, job.plan.list_usd) else None),
        ("reserved", usd(job.reserved_usd) if job.settled_usd is None else None),
        ("billed by the provider", "not told" if job.billed_usd is None and job.is_terminal else _usd(job.billed_usd)),
        ("counts against the caps", _usd(job.settled_usd)),
        (
            "first frame, in its own job",
            _usd(job.plan.made_frame_billed_usd) if isinstance(job.plan, VideoPlan) else None,
        ),
    )


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else usd(amount)
