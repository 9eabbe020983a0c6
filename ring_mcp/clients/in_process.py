"""What the create tools answer, for callers inside this process: a script, and a person's command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ring_mcp.conductors.image import ImageConductor
from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.results import JobResult
from ring_mcp.conductors.thumbnails import ThumbnailConductor
from ring_mcp.conductors.video import VideoConductor
from ring_mcp.domain import Job, MediaKind, VideoRequest
from ring_mcp.domain.consent import NOBODY, Asking
from ring_mcp.domain.thumbnails import read_thumbnail
from ring_mcp.errors import NotFound
from ring_mcp.scripted.base import OnState
from ring_mcp.tools.image_create import ImageCreateArguments
from ring_mcp.tools.job_answers import JobFailed
from ring_mcp.tools.paid import CONFIRMED, take_confirmation
from ring_mcp.tools.video_create import VideoCreateArguments


class InProcessMaker:
    """See ``scripted.run.Maker``. ``may_see``: whose jobs ``job`` gives; everybody's if it is None."""

    def __init__(
        self,
        images: ImageConductor,
        videos: VideoConductor,
        thumbnails: ThumbnailConductor,
        calls: PaidCalls,
        *,
        actor_id: str,
        may_see: str | None,
    ) -> None:
        self._images = images
        self._videos = videos
        self._thumbnails = thumbnails
        self._calls = calls
        self._actor_id = actor_id
        self._may_see = may_see
        self._asking = NOBODY
        self._subjects: dict[str, str] = {}

    def agree(self, asking: Asking) -> None:
        """How what is made from now on was asked about."""
        self._asking = asking

    def subject_of(self, idempotency_key: str) -> str:
        """What was quoted with this key, as a yes to it names it."""
        return self._subjects[idempotency_key]

    async def create(
        self, kind: MediaKind, arguments: Mapping[str, Any], wait_s: float, on_state: OnState
    ) -> dict[str, Any]:
        """A tool's ``data``. Raises JobFailed for a job that ended badly, and what the conductors raise before it.

        ``confirmed`` among the arguments is what it is over REST.
        """
        tell, actor_id, asking = _pass_states_on(on_state), self._actor_id, self._asking
        # Only then: a script's calls come without it, under what ``agree`` was told of all of them.
        if CONFIRMED in arguments:
            arguments, asking = take_confirmation(arguments)
        result: JobResult
        if kind == "image":
            image = ImageCreateArguments.parse(arguments)
            if image.dry_run:
                return (await self._images.quote(image.request(), actor_id=actor_id)).data()
            result = await self._images.generate(
                image.request(), actor_id=actor_id, wait_s=wait_s, on_progress=tell, asking=asking
            )
        else:
            video = VideoCreateArguments.parse(arguments)
            if video.dry_run:
                return await self._quote_clip(video.request())
            result = await self._videos.generate(
                video.request(), actor_id=actor_id, wait_s=wait_s, on_progress=tell, asking=asking
            )
        return read_result(result)

    async def _quote_clip(self, request: VideoRequest) -> dict[str, Any]:
        plan = await self._videos.look(request, actor_id=self._actor_id)
        # Remembered from the quote, so that a yes to all clips can name this one before its job is opened.
        if request.idempotency_key is not None:
            self._subjects[request.idempotency_key] = await self._calls.name_subject(plan, request.idempotency_key)
        return (await self._calls.quote(plan, request.max_usd, self._actor_id)).data()

    async def job(self, job_id: str, wait_s: float, on_state: OnState) -> dict[str, Any]:
        """A job's ``data``, after waiting for it; one that nobody drives is carried on."""
        return read_result(await self._calls.resume(await self.read(job_id), wait_s, _pass_states_on(on_state)))

    async def look(self, job_id: str) -> dict[str, Any]:
        """A job's ``data`` as it stands; nobody is made to carry it on."""
        return read_result(await self._calls.deliver(await self.read(job_id)))

    async def find(self, idempotency_key: str) -> str | None:
        job = await self._calls.find(self._actor_id, idempotency_key)
        return job.id if job else None

    async def draw(self, job_id: str, thumbnail: Mapping[str, Any]) -> dict[str, Any]:
        """A finished clip's ``data``, with this thumbnail drawn on it."""
        job, wanted = await self.read(job_id), read_thumbnail(thumbnail)
        return read_result(await (self._thumbnails.draw(job, wanted) if wanted else self._calls.deliver(job)))

    async def read(self, job_id: str) -> Job:
        try:
            return await self._calls.find_own(job_id, self._may_see)
        except NotFound as exc:
            raise NotFound(f"{exc.message}; `ring-mcp jobs list` shows the newest") from exc


def read_result(result: JobResult) -> dict[str, Any]:
    if not result.success:
        raise JobFailed(result)
    return result.data()


def _pass_states_on(on_state: OnState) -> Any:
    async def tell(job: Job) -> None:
        on_state(job.id, job.state.value, job.progress)

    return tell
