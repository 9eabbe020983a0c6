"""Acme, a vendor that only the tests have: pictures and clips alike are ordered, looked at, and fetched."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ring_mcp.config_types import Key, Url, env
from ring_mcp.domain import MediaKind, Output, Plan, VideoPlan
from ring_mcp.errors import ProviderAuthError, ProviderUnavailable
from ring_mcp.providers.base import Accepted, Connection, Downloaded, Finished, Inputs, Running, Vendor, VendorSettings

if TYPE_CHECKING:
    from ring_mcp.providers.replies import Reply


class AcmeSettings(VendorSettings):
    key: Annotated[Key | None, env("ACME_API_KEY")] = None
    base_url: Annotated[Url, env("ACME_API_BASE_URL")] = "https://api.acme.example/v1"
    video_duration_s: Annotated[int | None, env("ACME_VIDEO_DURATION")] = None


def judge(reply: Reply) -> None:
    if reply.status != 200:
        raise ProviderUnavailable(f"Acme: {reply.excerpt()}", provider="acme")


class AcmeMaker:
    name = "acme"
    fetches_inputs = False
    answers_with_result = False

    def __init__(self, kind: MediaKind, connection: Connection) -> None:
        self._kind, self._http, self._has_key = kind, connection.http, connection.has_key

    def check_ready(self) -> None:
        if not self._has_key:
            raise ProviderAuthError("ACME_API_KEY is not configured", provider=self.name)

    async def submit(self, plan: Plan, inputs: Inputs, *, spool: Path, deadline_s: float) -> Accepted | Finished:
        body: dict[str, Any] = {"model": plan.model, "prompt": plan.prompt, "image": inputs.image_url}
        if isinstance(plan, VideoPlan):
            body["seconds"] = plan.duration_s
        timed_out = "Acme timed out"
        reply = await self._http.post_paid(
            self._kind, body, model=plan.model, deadline_s=deadline_s, judge=judge, timed_out=timed_out
        )
        return Accepted(provider_request_id=reply.json["id"])

    async def check(self, plan: Plan, provider_request_id: str) -> Running | Finished:
        reply = await self._http.get(f"orders/{provider_request_id}")
        judge(reply)
        return Finished(outputs=(Output(url=reply.json["url"]),), billed_usd=Decimal(reply.json["usd"]))

    async def download(self, output: Output, path: Path) -> Downloaded:
        return await self._http.download(output.url or "", path, with_key=True)

    async def aclose(self) -> None: ...


ACME = Vendor(
    name="acme",
    title="Acme",
    settings=AcmeSettings,
    headers=lambda key: {"x-acme-key": key},
    makers={"image": partial(AcmeMaker, "image"), "video": partial(AcmeMaker, "video")},
)
