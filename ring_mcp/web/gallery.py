"""What the pages show of one actor's jobs: read from ledger and storage, and from nothing else. Nothing is written."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

from ring_mcp.clock import Clock
from ring_mcp.conductors.signed_urls import for_caller
from ring_mcp.domain import DRIVEN, Asset, Caps, Job, JobState, Spend, VideoPlan
from ring_mcp.domain.fields import is_part_of_id, job_named, say_no_job
from ring_mcp.errors import NotFound, StorageError
from ring_mcp.ledger.base import JobQuery, Ledger
from ring_mcp.storage.base import Storage
from ring_mcp.storage.links import FILES_PATH, FileLinks
from ring_mcp.tools.job_answers import Previews
from ring_mcp.web.cards import LABELS, Card, Detail, open_in_browser
from ring_mcp.web.chart import Chart, draw_chart, first_day
from ring_mcp.web.tool_call import list_inline, tool_of, write_tool_call

PAGE = 24
MAX_FILTER_CHARS = 200
# Whatever else stands in an address is not worth a question to the ledger.
_JOB_ID = re.compile(r"[0-9a-f-]{8,64}")
_PLACE = re.compile(r"[A-Za-z0-9._\[\]:-]+")
_STATES = ("open", *(state.value for state in LABELS))
_TEXTS = ("clip", "campaign", "ref")
_SIGN_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the address of a page asks for. Values that no list could have are left out: a link may be old."""

    kind: Literal["image", "video"] | None = None
    state: str | None = None
    clip: str | None = None
    campaign: str | None = None
    ref: str | None = None
    before: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Filters:
        kind, state, before = given.get("kind"), given.get("state"), given.get("before", "")
        texts = {name: given.get(name, "").strip()[:MAX_FILTER_CHARS] or None for name in _TEXTS}
        return cls(
            kind="image" if kind == "image" else "video" if kind == "video" else None,
            state=state if state in _STATES else None,
            before=before if _JOB_ID.fullmatch(before) else None,
            **texts,
        )

    @property
    def are_set(self) -> bool:
        return any((self.kind, self.state, self.clip, self.campaign, self.ref))

    def query(self, actor_id: str, limit: int = PAGE) -> JobQuery:
        states = None if self.state is None else DRIVEN if self.state == "open" else {JobState(self.state)}
        return JobQuery(
            actor_id=actor_id,
            states=states,
            kind=self.kind,
            clip_id=self.clip,
            pipeline_request_id=self.campaign,
            ref_code=self.ref,
            before=self.before,
            limit=limit,
        )

    def address(self, before: str | None = None) -> str:
        """The query of the page with these filters that begins after the job ``before``."""
        named = {"kind": self.kind, "state": self.state, "before": before}
        named |= {name: getattr(self, name) for name in _TEXTS}
        return urlencode({name: value for name, value in named.items() if value})


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPage:
    """``sources``: origins beside our own from which its pictures come."""

    cards: tuple[Card, ...]
    older: str | None
    sources: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    detail: Detail
    tool: str
    call: str
    inline: int
    older: str | None
    sources: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingPage:
    chart: Chart
    spend: Spend
    caps: Caps
    today: str
    month: str


class Gallery:
    """``links`` are those of local files over HTTP; ``prefix`` is the path under which they are reached.

    ``read`` gives the newest state of a job, which a process that drives it knows before the ledger does.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        storage: Storage,
        previews: Previews,
        links: FileLinks,
        caps: Caps,
        clock: Clock,
        sandbox: bool,
        root: str,
        prefix: str = "",
        read: Callable[[str], Awaitable[Job | None]] | None = None,
    ) -> None:
        self._ledger = ledger
        self._storage = storage
        self._previews = previews
        self._links = links
        self._caps = caps
        self._clock = clock
        self._sandbox = sandbox
        self.root = root
        self._prefix = prefix
        self._read = read or ledger.get

    async def list_cards(self, filters: Filters, actor_id: str) -> CardPage:
        """A page of cards, newest first. Raises LedgerError."""
        page = await self._ledger.list_jobs(filters.query(actor_id))
        jobs = list(await asyncio.gather(*(self._newest(job) for job in page.jobs)))
        # Side by side: a storage that signs slowly holds a page up once, not for each card.
        pictures = await asyncio.gather(*(self._picture(job) for job in jobs))
        return CardPage(
            cards=tuple(Card.of(job, picture) for job, picture in zip(jobs, pictures, strict=True)),
            older=filters.address(page.cursor) if page.cursor else None,
            sources=_origins(pictures),
        )

    async def find_newest(self, filters: Filters, actor_id: str) -> str | None:
        """The id of the first job of the list. Raises LedgerError."""
        page = await self._ledger.list_jobs(filters.query(actor_id, limit=1))
        return page.jobs[0].id if page.jobs else None

    async def find(self, job_id: str, actor_id: str) -> Job:
        """This actor's job, also by the beginning of its id. Raises NotFound, also for another's, and LedgerError."""
        named = job_named(job_id) or ""
        job = await self._read(named) if named else None
        if job is None and is_part_of_id(named):
            found = await self._ledger.find_ids(named, actor_id)
            if len(found) > 1:
                raise NotFound(f"several jobs begin with {named!r}", next_action="Give more of the id.")
            job = await self._read(found[0]) if found else None
        if job is None or job.actor_id != actor_id:
            raise NotFound(say_no_job(job_id))
        return job

    async def show_card(self, job: Job) -> tuple[Card, frozenset[str]]:
        picture = await self._picture(job)
        return Card.of(job, picture), _origins([picture])

    async def show_job(self, job: Job) -> JobPage:
        """All of one job. Raises LedgerError."""
        shown = await for_caller(job, self._storage)
        older = await self._ledger.list_jobs(JobQuery(actor_id=job.actor_id, before=job.id, limit=1))
        detail = Detail.of(shown, self._clock.now(), self.place, await self._picture(job))
        # Without assets they are a provider's own: pages load nothing from there, a link is enough.
        urls = [file.url for file in (*detail.files, *detail.beside)] if job.assets else []
        return JobPage(
            detail=detail,
            tool=tool_of(job.plan),
            call=write_tool_call(job),
            inline=list_inline(job.plan),
            older=older.jobs[0].id if older.jobs else None,
            sources=_origins([*urls, detail.card.picture]),
        )

    async def show_spending(self, actor_id: str) -> SpendingPage:
        """What this actor's jobs cost, and what the caps count. Raises LedgerError."""
        now = self._clock.now().astimezone(UTC)
        start = datetime.combine(first_day(now.date()), datetime.min.time(), UTC)
        spent = await self._ledger.list_spent_days(actor_id, start, sandbox=self._sandbox)
        return SpendingPage(
            chart=draw_chart(spent, now.date(), self._caps.per_day_usd),
            spend=await self._ledger.spend(now, sandbox=self._sandbox),
            caps=self._caps,
            today=f"{now.day} {now:%B %Y}",
            month=f"{now:%B %Y}",
        )

    async def read_preview(self, job_id: str) -> bytes | None:
        return await asyncio.to_thread(self._previews.read, job_id)

    def place(self, url: str) -> str | None:
        """Where a page of ours finds a file: a path here if it is served here, whatever name this server goes by."""
        if self._links.key_of(url) is not None:
            return self._prefix + FILES_PATH + urlsplit(url).path.partition(FILES_PATH)[2]
        return open_in_browser(url)

    async def _newest(self, job: Job) -> Job:
        """A listed job that is under way may be further along than its row."""
        return job if job.is_settled else await self._read(job.id) or job

    async def _picture(self, job: Job) -> str | None:
        """The preview that was made with the result, else what the storage has of it; a clip alone is no picture."""
        if not job.assets:
            return None
        if await asyncio.to_thread(self._previews.holds, job.id):
            return f"{self.root}/jobs/{quote(job.id)}/preview"
        beside = (job.plan.made_thumbnail, job.plan.made_frame) if isinstance(job.plan, VideoPlan) else ()
        asset = next((each for each in (*beside, *job.assets) if _is_picture(each)), None)
        if asset is None:
            return None
        try:
            async with asyncio.timeout(_SIGN_TIMEOUT_S):
                return self.place((await self._storage.address(asset.url, asset.key)).url)
        # A card without a picture is a card; a page that fails for one picture is none.
        except (StorageError, TimeoutError):
            return None


def _is_picture(asset: Asset | None) -> bool:
    return asset is not None and asset.content_type.startswith("image/")


def _origins(urls: Sequence[str | None]) -> frozenset[str]:
    return frozenset(origin for url in urls if url and (origin := origin_of(url)) is not None)


def origin_of(url: str) -> str | None:
    """The origin as a policy in a header can carry it; None for a path here, and for what a policy would read as more
    than one source."""
    parts = urlsplit(url)
    place = parts.netloc
    if not place.isascii():
        name, colon, port = place.partition(":")
        try:
            # Browsers ask for a name of other letters in this form, and headers have no other.
            place = f"{name.encode('idna').decode()}{colon}{port}"
        except UnicodeError:
            return None
    return f"{parts.scheme}://{place}" if _PLACE.fullmatch(place) else None
