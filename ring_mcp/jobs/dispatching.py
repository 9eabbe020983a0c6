"""PgQueuer, used only to say which process carries on which job, and when a process has died.

Its retries, statuses and log tables decide nothing: a job's row does. Two things are stricter than in PgQueuer itself.
A process that was only paused must not touch a task that another one has by now, so every statement on a task names
its owner. And a lost database must not end the dispatching, so a statement is retried until the database is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pgqueuer.core.qm import QueueManager
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain import models
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.types import JOB_STATUS, Channel, JobId, QueueManagerId
from pgqueuer.ports.driver import NotifyCallback
from pgqueuer.queries import Queries

from ring_mcp.errors import LedgerBehind, LedgerError
from ring_mcp.ledger.postgres_channel import PostgresChannel
from ring_mcp.ledger.task_tables import queries_over

logger = logging.getLogger(__name__)

Carry = Callable[[str, bool], Awaitable[float | None]]
"""Carries a job on, given its id and whether a caller waits for it. Returns how long it then rests, in s; None: for
ever."""

REST_FOR_GOOD_S = 100 * 365 * 86400.0
"""The rest of a job that goes on only when somebody asks for it."""

_BATCH = 25
_DEQUEUE_AT_LEAST_EVERY_S = 5.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.2, 5.0
_AGGREGATE_LOG_EVERY = timedelta(0)


class _Driver:
    """PgQueuer's driver over our own connections, which are made anew when they are lost."""

    def __init__(self, channel: PostgresChannel) -> None:
        self._channel = channel
        self._callbacks: dict[str, list[NotifyCallback]] = {}
        self._shutdown = asyncio.Event()
        self._tasks = TaskManager()
        self.gives_up = False

    @property
    def shutdown(self) -> asyncio.Event:
        return self._shutdown

    @property
    def tm(self) -> TaskManager:
        return self._tasks

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        delay_s, told = _FIRST_RETRY_S, ""
        while True:
            try:
                return await self._channel.fetch(query, *args)
            except LedgerError as exc:
                # At the end there are no retries: a task that is not put back now comes back when its lease ends.
                if self.gives_up:
                    raise
                if exc.message != told:
                    logger.warning("tasks wait: %s", exc.message)
                told = exc.message
            await asyncio.sleep(delay_s)
            delay_s = min(_LONGEST_RETRY_S, delay_s * 2)

    async def execute(self, query: str, *args: object) -> str:
        await self.fetch(query, *args)
        return ""

    async def notify(self, channel: str, payload: str) -> None:
        await self.fetch("SELECT pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        self._callbacks.setdefault(channel, []).append(callback)

    def hear(self, channel: str, payload: str) -> None:
        for callback in self._callbacks.get(channel, ()):
            callback(payload)

    async def __aenter__(self) -> _Driver:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._callbacks.clear()


class _OwnTasks(Queries):
    """PgQueuer's statements, restricted to tasks that are still ours; ``lost`` is called with those that are not."""

    me: str
    lost: Callable[[Collection[JobId]], None]

    @property
    def _names(self) -> tuple[str, str, str]:
        qualified = self.qbe.qualified
        return qualified.queue_table, qualified.queue_table_log, qualified.queue_status_type

    async def log_jobs(self, job_status: list[tuple[models.Job, JOB_STATUS, models.TracebackRecord | None]]) -> None:
        """Delete tasks that are over, and log that."""
        table, log, status = self._names
        await self.driver.fetch(
            f"WITH over AS (SELECT unnest($1::bigint[]) AS id, unnest($2::{status}[]) AS status),"  # noqa: S608
            f" gone AS (DELETE FROM {table} AS task USING over WHERE task.id = over.id AND task.status = 'picked'"
            " AND task.queue_manager_id = $3::uuid RETURNING task.id, task.entrypoint, task.priority, over.status)"
            f" INSERT INTO {log} (job_id, status, entrypoint, priority, aggregated)"
            " SELECT id, status, entrypoint, priority, TRUE FROM gone",
            [job.id for job, _, _ in job_status],
            [each for _, each, _ in job_status],
            self.me,
        )

    async def retry_job(
        self, job: models.Job, delay: timedelta, traceback_record: models.TracebackRecord | None
    ) -> None:
        """Put a task back for later; for now, if somebody has asked for its job meanwhile."""
        table, _, _ = self._names
        await self.driver.fetch(
            f"UPDATE {table} SET status = 'queued', queue_manager_id = NULL, updated = now(),"  # noqa: S608
            " execute_after = CASE WHEN headers IS NULL THEN now() + $3::interval ELSE now() END"
            " WHERE id = $1::bigint AND status = 'picked' AND queue_manager_id = $2::uuid",
            job.id,
            self.me,
            delay,
        )

    async def update_heartbeat(self, job_ids: list[JobId]) -> None:
        table, _, _ = self._names
        rows = await self.driver.fetch(
            f"UPDATE {table} SET heartbeat = now() WHERE id = ANY($1::bigint[]) AND status = 'picked'"  # noqa: S608
            " AND queue_manager_id = $2::uuid RETURNING id",
            list(set(job_ids)),
            self.me,
        )
        if lost := set(job_ids) - {row["id"] for row in rows}:
            self.lost(lost)


class _Manager(QueueManager):
    async def verify_structure(self) -> None:
        """Raises LedgerBehind in place of PgQueuer's advice, which would make tables under other names."""
        try:
            await super().verify_structure()
        except RuntimeError as exc:
            raise LedgerBehind("the tables of PgQueuer are missing or old: run ring-mcp migrate") from exc


class Dispatcher:
    """Gives this process tasks of the entrypoints that it has registered, and renews their leases meanwhile.

    ``me`` is the owner's id; a process without a heartbeat for ``lease_s`` counts as dead; ``lost`` is called with the
    id of each job that another process has been given.
    """

    def __init__(
        self, channel: PostgresChannel, me: str, carry: Carry, lost: Callable[[str], None], *, lease_s: float
    ) -> None:
        self._carry = carry
        self._lost = lost
        self._lease = timedelta(seconds=lease_s)
        # Polled without a notification as well: nothing is sent when the process of a task dies.
        self._dequeue_timeout = timedelta(seconds=min(_DEQUEUE_AT_LEAST_EVERY_S, lease_s / 4))
        self._driver = _Driver(channel)
        queries = queries_over(self._driver)
        own = _OwnTasks(self._driver, queries.qbe, queries.qbq, queries.qbs)
        own.me, own.lost = me, self._tell_of_lost
        self._channel_name = str(queries.qbe.settings.channel)
        self._manager = _Manager(own, Channel(self._channel_name))
        self._manager.queue_manager_id = QueueManagerId(UUID(me))
        self._carried: dict[JobId, str] = {}
        channel.on(self._channel_name, lambda payload: self._driver.hear(self._channel_name, payload))
        channel.after_a_gap(self._look_now)

    def register(self, entrypoints: Collection[str]) -> None:
        """Take tasks of these entrypoints as well, from now on."""
        new = [each for each in entrypoints if each not in self._manager.entrypoint_registry]
        for entrypoint in new:
            self._manager.entrypoint(entrypoint, accepts_context=False)(self._work)
        if new:
            self._look_now()

    async def run(self) -> None:
        """Dispatch until ``stop``. If PgQueuer fails, that is logged, and it is started again."""
        while not self._manager.shutdown.is_set():
            try:
                await self._manager.run(
                    dequeue_timeout=self._dequeue_timeout,
                    batch_size=_BATCH,
                    heartbeat_timeout=self._lease,
                    log_aggregation_interval=_AGGREGATE_LOG_EVERY,
                )
            # Any error of PgQueuer, its driver or the database: without a dispatcher every job would stand still.
            except Exception as exc:
                if not self._driver.gives_up:
                    if isinstance(exc, LedgerBehind):
                        logger.error("tasks wait: %s", exc)
                    else:
                        logger.exception("tasks cannot be dispatched")
                    await asyncio.sleep(_LONGEST_RETRY_S)

    def stop(self) -> None:
        """Take no more tasks; ``run`` ends when those here have been put back, or the database does not answer."""
        self._driver.gives_up = True
        self._manager.shutdown.set()

    async def _work(self, task: models.Job) -> None:
        job_id = (task.payload or b"").decode()
        self._carried[task.id] = job_id
        try:
            rest_s = await self._carry(job_id, bool((task.headers or {}).get("asked")))
        finally:
            del self._carried[task.id]
        if rest_s is not None:
            # PgQueuer has no other way to put a task back for later; ``_OwnTasks.retry_job`` writes it.
            raise RetryRequested(timedelta(seconds=rest_s), "it rests")

    def _tell_of_lost(self, tasks: Collection[JobId]) -> None:
        for task in tasks:
            if (job_id := self._carried.get(task)) is not None:
                self._lost(job_id)

    def _look_now(self) -> None:
        """Look for waiting tasks at once, as if the table had changed."""
        event: dict[str, Any] = {"operation": "insert", "table": "", "sent_at": datetime.now(UTC)}
        said = models.TableChangedEvent(channel=Channel(self._channel_name), type="table_changed_event", **event)
        self._driver.hear(self._channel_name, said.model_dump_json())
