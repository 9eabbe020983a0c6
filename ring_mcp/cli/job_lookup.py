"""Jobs as a person names them: by the beginning of an id, completed by the shell."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ring_mcp.domain.fields import is_part_of_id, say_no_job
from ring_mcp.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    from ring_mcp.domain import Job
    from ring_mcp.ledger.base import Ledger

SHORT_CHARS = 8
_COMPLETED_JOBS = 50
_PATIENCE_S = 2


def open_here(*, sandbox: bool = False) -> contextlib.AbstractAsyncContextManager[Ledger]:
    """The ledger of this configuration; ``sandbox``: the built-in sandbox's own, whatever the settings say."""
    from ring_mcp.backends import use_ledger
    from ring_mcp.config import load_config

    return use_ledger(load_config(sandbox=True) if sandbox else load_config())


async def where_they_are(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with the current addresses of their files; where storage does not answer, the recorded ones."""
    import asyncio

    from ring_mcp.backends import open_storage
    from ring_mcp.clock import SystemClock
    from ring_mcp.conductors.signed_urls import for_caller
    from ring_mcp.config import load_config
    from ring_mcp.errors import RingError

    try:
        storage = open_storage(load_config(), SystemClock(), None)
    except RingError:
        return list(jobs)  # an address may have expired, and the job is shown all the same
    try:
        return list(await asyncio.gather(*(for_caller(job, storage) for job in jobs)))
    finally:
        await storage.aclose()


async def find_job(ledger: Ledger, job_id: str) -> Job:
    """By its id, or by the beginning of it if no other begins so. Raises NotFound, InvalidRequest."""
    job = await ledger.get(job_id)
    if job is None and is_part_of_id(job_id):
        found = await ledger.find_ids(job_id)
        if len(found) > 1:
            raise InvalidRequest(f"several jobs begin with {job_id!r}", next_action="Give more of the id.")
        job = await ledger.get(found[0]) if found else None
    if job is None:
        raise NotFound(f"{say_no_job(job_id)}; `ring-mcp jobs list` shows the newest")
    return job


def shorten(job_ids: list[str]) -> dict[str, str]:
    """Each id as the shortest beginning, of at least SHORT_CHARS, that tells it from the others here."""
    shown = {}
    for job_id in job_ids:
        chars = SHORT_CHARS
        while chars < len(job_id) and sum(other.startswith(job_id[:chars]) for other in set(job_ids)) > 1:
            chars += 1
        shown[job_id] = job_id[:chars]
    return shown


def complete_job_id(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The newest jobs whose id begins so; none if the ledger is slow or away, since the shell waits for the answer."""
    import asyncio

    from click.shell_completion import CompletionItem

    _give_up_after(_PATIENCE_S)

    async def read() -> list[CompletionItem]:
        from ring_mcp.ledger.base import JobQuery

        async with open_here() as ledger:
            page = await ledger.list_jobs(JobQuery(limit=_COMPLETED_JOBS))
        begin = [job for job in page.jobs if job.id.startswith(incomplete)]
        short = shorten([job.id for job in page.jobs])
        # A shell drops what does not begin with what was typed, so a longer beginning gets the whole id.
        whole = len(incomplete) > SHORT_CHARS
        return [
            CompletionItem(job.id if whole else short[job.id], help=f"{job.state}: {_one_line(job.plan.prompt)}")
            for job in begin
        ]

    try:
        return asyncio.run(read())
    except Exception:  # nobody at a prompt wants a traceback for a tab
        return []


def _one_line(prompt: str) -> str:
    """Shells read one completion a line: a prompt's further lines would be offered as completions."""
    return " ".join("".join(char if char.isprintable() else " " for char in prompt[:40]).split())


def _give_up_after(seconds: int) -> None:
    """End this process after a while, whatever it waits for: it runs only for the completion."""
    import os
    import signal

    if hasattr(signal, "SIGALRM"):
        # _exit, for an ordinary end waits for threads, and one may hang in a ledger that does not answer.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.alarm(seconds)
