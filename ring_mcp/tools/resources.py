"""What can be read without calling a tool: ``ring://jobs/{jobId}`` and ``ring://presets``."""

from __future__ import annotations

import json

from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.errors import NotFound
from ring_mcp.presets import Presets
from ring_mcp.tools.brief import brief_data
from ring_mcp.tools.job_get import JobGetArguments

JOB_TEMPLATE = "ring://jobs/{jobId}"
PRESETS_URI = "ring://presets"
_JOB_PREFIX = "ring://jobs/"


class Resources:
    """Reads never wait, never spend, and never carry a job on."""

    def __init__(self, calls: PaidCalls, presets: Presets) -> None:
        self._calls = calls
        self._presets = presets

    async def read(self, uri: str, actor_id: str) -> str:
        """The resource as JSON. Raises NotFound, or InvalidRequest for what cannot be an id."""
        if uri == PRESETS_URI:
            return self._presets.model_dump_json(by_alias=True, exclude_none=True)
        job = None
        if uri.startswith(_JOB_PREFIX):
            job = await self._calls.read(JobGetArguments.parse({"jobId": uri}).ids[0])
        if job is None or job.actor_id != actor_id:
            raise NotFound(f"there is no resource {uri[:200]}")
        return json.dumps(brief_data((await self._calls.show(job)).data()), ensure_ascii=False)
