"""Follows a job at the terminal: a bar while it runs, Ctrl-C to leave it, and the exit status."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import click

from ring_mcp.cli.show import paragraph, print_json, print_lines, result_lines, safe, whole
from ring_mcp.domain import DRIVEN
from ring_mcp.errors import RingError

if TYPE_CHECKING:
    from rich.progress import Progress

    from ring_mcp.cli.backend import Backend
    from ring_mcp.config import Config

DONE, FAILED, BAD_USAGE, UNDER_WAY, INTERRUPTED = 0, 1, 2, 3, 130

_BAD_USAGE_CODES = ("config_invalid", "invalid_request", "model_retired", "unauthorized")
_PERCENT = {"planned": 1, "submitting": 5, "rendering": 6, "storing": 95, "done": 100}

Work = Callable[["Backend", "Watch"], Awaitable[dict[str, Any]]]


class Watch:
    """Knows the job's id as soon as there is one, and draws a bar on stderr if that is a terminal."""

    def __init__(self) -> None:
        self.job_id: str | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._bar.add_task("asking", total=100)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, job_id: str, state: str, progress: int) -> None:
        self.job_id = job_id
        if self._bar is not None:
            percent = _PERCENT.get(state, 0)
            if state == "rendering":
                # Never at its end while the result is still fetched and stored.
                percent = max(percent, min(94, progress))
            self._bar.update(self._bar.task_ids[0], completed=percent, description=safe(state))

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            click.echo(text, err=True)


def follow(config: Config, work: Work) -> dict[str, Any]:
    """Run ``work`` and return its ``data``. Ctrl-C returns the job as it is; without a job, the command exits."""
    with Watch() as watch:
        try:
            return asyncio.run(_follow(config, work, watch))
        except KeyboardInterrupt:  # told below, when the bar is gone
            pass
    if watch.job_id is not None:
        job_id = safe(watch.job_id)
        click.echo(f"left in the middle of job {job_id}: `ring-mcp jobs show {job_id}`", err=True)
    else:
        click.echo("interrupted; `ring-mcp jobs list` shows whether anything was started", err=True)
    sys.exit(INTERRUPTED)


async def _follow(config: Config, work: Work, watch: Watch) -> dict[str, Any]:
    from ring_mcp.cli.backend import open_backend

    async with open_backend(config) as backend:
        try:
            return await work(backend, watch)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if watch.job_id is None or task is None:
                raise
            # The cancel is answered here: time-outs and task groups of what follows would take it for one of theirs.
            task.uncancel()
            cancel_on_ctrl_c(task)
            watch.say("leaving, as soon as the request is safely on its way (Ctrl-C again: at once) …")
            return await backend.leave(watch.job_id)


def cancel_on_ctrl_c(task: asyncio.Task[Any]) -> None:
    """From now on Ctrl-C cancels ``task``: a KeyboardInterrupt in whatever runs just then would end in tracebacks."""
    loop = asyncio.get_running_loop()

    def cancel(*_: object) -> None:
        if loop.is_closed():
            raise KeyboardInterrupt  # nothing is left to be cancelled
        loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGINT, cancel)


def finish(data: dict[str, Any], *, as_json: bool, gateway: str | None, opened: bool = False) -> NoReturn:
    """Print what became of it and exit: 0 done, 3 still under way."""
    under_way = data.get("state") in DRIVEN

    def tell(*, err: bool = False) -> None:
        print_lines(result_lines(data), err=err)
        if under_way:
            print_lines(handle_lines(str(data["jobId"]), gateway), err=err)

    try:
        if as_json:
            print_json(data)
        else:
            tell()
    except BrokenPipeError:  # whoever reads it has read enough
        raise
    except OSError:  # it may be paid for, and has to be found
        tell(err=True)
        raise
    if opened and not under_way:
        from ring_mcp.cli.viewer import open_first

        open_first(data)
    sys.exit(UNDER_WAY if under_way else DONE)


def fail(exc: RingError, *, as_json: bool, gateway: str | None) -> NoReturn:
    """Say what went wrong and exit: 2 for what the person typed or configured, 3 if the job is kept, else 1."""
    extra = getattr(exc, "extra", {})
    # A gateway that is away says nothing of the job, which goes on there: that is status 3, and no failure.
    kept = exc.job_id is not None and (extra.get("state") in DRIVEN or exc.code == "gateway_away")
    if as_json:
        from ring_mcp.tools.envelope import failure_facts

        print_json(failure_facts(exc, extra))
    else:
        for line in exc.message.splitlines() or [""]:
            print_lines(paragraph("error: ", line), err=True)
        if exc.next_action:
            print_lines(paragraph("", exc.next_action), err=True)
        told = {key: extra[key] for key in ("images", "firstFrame", "warnings", "billedCostUsd") if key in extra}
        if told:
            print_lines(result_lines(told), err=True)
        if kept:
            print_lines(handle_lines(str(exc.job_id), gateway), err=True)
        elif exc.job_id is not None:
            print_lines([whole("job", exc.job_id)], err=True)
    sys.exit(UNDER_WAY if kept else BAD_USAGE if exc.code in _BAD_USAGE_CODES else FAILED)


def handle_lines(job_id: str, gateway: str | None) -> list[str]:
    """How to follow a job that goes on."""
    where = f" --gateway {gateway}" if gateway else ""
    return [
        "It is on record and nothing is paid again:",
        f"  ring-mcp jobs resume {safe(job_id)}{where}",
        f"  ring-mcp jobs show {safe(job_id)}{where}",
    ]
