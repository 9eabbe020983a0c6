"""Where a command is carried out: in this process, or by a running server over its REST gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

from ring_mcp.domain import DRIVEN, JobState, MediaKind
from ring_mcp.domain.consent import Rule
from ring_mcp.scripted.base import Maker, OnState
from ring_mcp.token_mark import current_token_mark, mark_token

if TYPE_CHECKING:
    from ring_mcp.app import App
    from ring_mcp.clients.in_process import InProcessMaker
    from ring_mcp.config import Config

LEAVING_S = 300.0
"""How long leaving may take: a request whose answer is cut off has an unknown outcome. A second Ctrl-C ends that."""

# Beyond the job's own limit, so that the job is parked, with a reason, before the command stops waiting.
_MARGIN_S = 60.0
# From here on the provider's id is in the ledger, and any process can go on; before, an answer goes with this one.
_SUBMITTED = DRIVEN - {JobState.PLANNED, JobState.SUBMITTING}

gateway_option = click.option(
    "--gateway",
    metavar="URL",
    help="Ask a running `ring-mcp serve` (or RING_API_BASE_URL), with RING_SERVICE_TOKEN. '' means: in this process.",
)


class Backend(Maker, Protocol):
    """Carries out what a person typed: this process, or a server over its REST gateway."""

    async def leave(self, job_id: str) -> dict[str, Any]:
        """Wait a moment until the job can be left to others, and return its result as it is then."""

    async def cancel(self, job_id: str) -> dict[str, Any]:
        """What ring-job-cancel answers."""

    async def health(self) -> dict[str, Any]: ...

    async def rule(self) -> Rule:
        """What somebody has to agree to before it is spent."""


class InProcess:
    """An App of its own while the command runs. The next ``resume`` or server carries on what is open then."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._made: InProcessMaker | None = None
        self._token_mark: datetime | None = None

    async def create(
        self, kind: MediaKind, arguments: Mapping[str, Any], wait_s: float, on_state: OnState
    ) -> dict[str, Any]:
        return await self._leave_if_open(await (await self._maker()).create(kind, arguments, wait_s, on_state))

    async def job(self, job_id: str, wait_s: float, on_state: OnState) -> dict[str, Any]:
        return await self._leave_if_open(await (await self._maker()).job(job_id, wait_s, on_state))

    async def look(self, job_id: str) -> dict[str, Any]:
        return await (await self._maker()).look(job_id)

    async def find(self, idempotency_key: str) -> str | None:
        return await (await self._maker()).find(idempotency_key)

    async def draw(self, job_id: str, thumbnail: Mapping[str, Any]) -> dict[str, Any]:
        return await (await self._maker()).draw(job_id, thumbnail)

    async def leave(self, job_id: str) -> dict[str, Any]:
        from ring_mcp.clients.in_process import read_result

        until = time.monotonic() + LEAVING_S
        job = await (await self._maker()).read(job_id)
        while not (job.is_settled or job.is_parked or job.state in _SUBMITTED) and time.monotonic() < until:
            await asyncio.sleep(0.05)
            job = await (await self._maker()).read(job_id)
        return read_result(await self._app.calls.deliver(job))

    async def cancel(self, job_id: str) -> dict[str, Any]:
        from ring_mcp.tools.job_cancel import JobCancelResult

        return JobCancelResult.of(await self._app.cancelling.cancel(await (await self._maker()).read(job_id))).data()

    async def health(self) -> dict[str, Any]:
        return (await self._app.health.check()).data()

    async def rule(self) -> Rule:
        from ring_mcp.operator_settings import rule_of

        return rule_of(self._app.config)

    async def _leave_if_open(self, data: dict[str, Any]) -> dict[str, Any]:
        """``data``, after ``leave`` if the job is still open: its process is about to end."""
        return await self.leave(data["jobId"]) if data.get("state") in DRIVEN else data

    async def _maker(self) -> InProcessMaker:
        # On first use: health needs no actor, and a token that is wrong must not keep it from being looked at.
        if self._made is None:
            # None: whoever has the ledger's own settings sees everybody's jobs.
            self._made = self._app.maker(await _identify(self._app), may_see=None)
            self._token_mark = current_token_mark()
        # Each time: the clips of a script are made in tasks of their own, hours later some of them.
        mark_token(self._token_mark)
        return self._made


async def _identify(app: App) -> str:
    """The actor that a token names; without one, the default actor, who owns the configuration."""
    from ring_mcp.server.auth import ServiceTokens, identify_owner

    config = app.config
    if config.service_token is None:
        return config.actor_id
    return await identify_owner(ServiceTokens(config.service_tokens, config.actor_id), config.service_token, app.team)


def load_config_with(gateway: str | None) -> Config:
    """The configuration with the command's own ``--gateway``: with an ``api_base_url``, that server does the work."""
    from ring_mcp.config import load_config
    from ring_mcp.errors import ConfigError

    if gateway is None:
        return load_config()
    try:
        # '' is an answer, too: in this process, whatever RING_API_BASE_URL says.
        return load_config(api_base_url=gateway.strip() or None)
    except ConfigError as exc:
        # What was typed is named, and not the variable that it stands for.
        raise ConfigError([each.replace("RING_API_BASE_URL:", "--gateway:") for each in exc.problems]) from exc


@contextlib.contextmanager
def _leave_out(logger: logging.Logger, is_left_out: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    def keep(record: logging.LogRecord) -> bool:
        return not is_left_out(record)

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)  # a command may be one of many in its process


def leave_settings_to_health() -> contextlib.AbstractContextManager[None]:
    """What a start says of faulty settings is in the report of health, with the fix."""
    return _leave_out(logging.getLogger("ring_mcp.operator_settings"), lambda _: True)


def limit_s(config: Config, kind: MediaKind) -> float:
    """How long a job of this kind may take before it is parked."""
    ms = config.image_gen_poll_timeout_ms if kind == "image" else config.video_gen_poll_timeout_ms
    return ms / 1000 + _MARGIN_S


def token_of(config: Config) -> str | None:
    return config.service_token.get_secret_value().strip() if config.service_token else None


@contextlib.asynccontextmanager
async def open_backend(config: Config) -> AsyncIterator[Backend]:
    if config.api_base_url is not None:
        from ring_mcp.clients.gateway import open_gateway

        async with open_gateway(config.api_base_url, token_of(config), config.proxies) as client:
            yield client
        return
    from ring_mcp.app import open_app

    # The command itself says how its job ended: the server's line about it would only be a second, ruder one.
    with _leave_out(logging.getLogger("ring_mcp.jobs"), lambda record: hasattr(record, "facts")):
        # Jobs of other processes are not taken over: this one may end before it has the answer to what it sent.
        async with open_app(config, take_over=False) as app:
            yield InProcess(app)
