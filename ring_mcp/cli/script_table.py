"""A script's clips as a person sees them: a live table while they are made, a plain one at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from ring_mcp.cli.show import SANDBOX_MONEY, cap_lines, dollars, safe
from ring_mcp.domain import usd

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from ring_mcp.scripted.clips import ClipRun
    from ring_mcp.scripted.run import ScriptRun

_BAR_CHARS = 12
# A provider's own progress fills what is between 6 and 94: the other steps are short.
_PERCENT = {"planned": 1, "submitting": 5, "rendering": 6, "storing": 95, "done": 100}
_COLOURS = {"done": "green", "error": "red", "open": "yellow"}
_REFRESHES_PER_S = 8


class ScriptTable:
    """Drawn on stderr, if that is a terminal."""

    def __init__(self) -> None:
        self._clips: Sequence[ClipRun] = ()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(stderr=True, highlight=False), refresh_per_second=_REFRESHES_PER_S, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def pause(self) -> None:
        """Leave the terminal to a question."""
        if self._live is not None:
            self._live.stop()

    def begin(self, clips: Sequence[ClipRun]) -> None:
        self._clips = clips
        if self._live is not None:
            self._live.start()
        self.show()

    def show(self, _: ClipRun | None = None) -> None:
        # Told of clips from the quotes on, and shows nothing before the question, if there is one, is answered.
        if self._live is not None and self._clips:
            self._live.update(_progress_table(self._clips))

    def say(self, text: str) -> None:
        """A line above the table."""
        if self._live is not None:
            self._live.console.print(text, markup=False)
        else:
            click.echo(text, err=True)


def _progress_table(clips: Sequence[ClipRun]) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=28)
    table.add_column(no_wrap=True)
    table.add_column(width=_BAR_CHARS)
    table.add_column(no_wrap=True)
    for clip in clips:
        word = "stands already" if clip.status == "done" and clip.stood else clip.state or clip.status
        bar = ProgressBar(total=100, completed=percent_of(clip), width=_BAR_CHARS)
        table.add_row(Text(clip.id), clip.mode, bar, Text(safe(word), style=_COLOURS.get(clip.status, "")))
    return table


def percent_of(clip: ClipRun) -> int:
    percent = 100 if clip.status == "done" else _PERCENT.get(clip.state, 0)
    return max(percent, min(94, clip.progress)) if clip.state == "rendering" else percent


def summary_lines(run: ScriptRun, *, dry_run: bool) -> list[str]:
    """The table, the sums, and for each clip what a person has to know about it."""
    lines = ["DRY RUN: nothing was made and nothing was spent"] if dry_run else []
    if any(clip.data.get("sandbox") for clip in run.clips):
        lines.append(SANDBOX_MONEY)
    lines += [line.rstrip() for line in _render(_summary_table(run, dry_run=dry_run)).splitlines()]
    sums = totals(run)
    lines.append("  ".join(f"{name} {dollars(amount)}" for name, amount in sums.items()))
    if dry_run:
        lines += cap_lines(run.cap_left_usd)
        lines += _refusal_lines(run)
    for clip in run.clips:
        lines += _notes(clip)
    for clip in run.superseded:
        lines += _describe_superseded(clip)
    if any(clip.status == "open" for clip in (*run.clips, *run.superseded)):
        lines.append("Some are still under way; the same command again goes on with them and pays nothing twice.")
    return lines


def _summary_table(run: ScriptRun, *, dry_run: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("clip", "mode", "model"):
        table.add_column(heading, overflow="fold")
    for heading in ("s", "price" if dry_run else "billed"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("" if dry_run else "state", no_wrap=True)
    for clip in run.clips:
        price = clip.quoted_usd if dry_run else clip.billed_usd
        word = clip.state if clip.status == "open" else clip.status.replace("waiting", "")
        word = "stands already" if clip.status == "done" and (clip.stood or clip.joined) else word
        cells = (clip.id, clip.mode, clip.model, str(clip.duration_s), "" if price is None else usd(price))
        table.add_row(*(Text(safe(cell)) for cell in cells), Text(safe(word), style=_COLOURS.get(clip.status, "")))
    return table


def _render(table: Table) -> str:
    from rich.console import Console

    # Into a string: below it stand addresses, which rich would wrap and a person wants to copy.
    console = Console(highlight=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _refusal_lines(run: ScriptRun) -> list[str]:
    refused = run.refusal
    if refused is None:
        return []
    return [safe(f"It would be refused: {refused.message}"), f"  {safe(refused.next_action)}"]


def _describe_superseded(clip: ClipRun) -> list[str]:
    """What became of a job whose clip was changed while it was under way."""
    made = (clip.data.get("video") or {}).get("url")
    facts = [clip.state or clip.status, *([f"billed {usd(clip.billed_usd)}"] if clip.billed_usd else [])]
    facts += [f"reserved {usd(clip.reserved_usd)}"] if clip.reserved_usd else []
    lines = [f"superseded: {clip.id} ({clip.mode}), job {clip.job_id}: {', '.join(facts)}"]
    lines += [f"  {made}"] if made else []
    lines += [f"  {clip.error.message}"] if clip.error else []
    return [safe(line) for line in lines]


def _notes(clip: ClipRun) -> list[str]:
    lines = []
    if clip.error is not None:
        lines.append(f"✗ {clip.id}: {safe(clip.error.message)}")
        if clip.error.next_action:
            lines.append(f"  {safe(clip.error.next_action)}")
        if clip.job_id:
            lines.append(f"  job {safe(clip.job_id)}")
        if clip.job_id and clip.status == "error" and clip.error.billed != "no":
            lines.append("  Running the script again does not pay for it again; --force does.")
    elif clip.data.get("video"):
        lines.append(f"✓ {clip.id}: {safe(clip.data['video']['url'])}")
        if clip.local_path:
            lines.append(f"  saved at {clip.local_path}")
    return lines + [f"  {clip.id}: {safe(warning)}" for warning in clip.warnings]


def totals(run: ScriptRun) -> dict[str, Decimal]:
    """The sums of this run, without what other runs paid for."""
    return {"quoted": run.total_usd, "reserved": run.reserved_usd, "billed": run.billed_usd}


def run_facts(run: ScriptRun, *, dry_run: bool) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "success": not run.has_failed,
        "dryRun": dry_run,
        **{f"{name}Usd": float(amount) for name, amount in totals(run).items()},
        "capLeftUsd": run.cap_left_usd,
        "clips": [_clip_facts(clip) for clip in run.clips],
        **({"superseded": [_clip_facts(clip) for clip in run.superseded]} if run.superseded else {}),
    }


def _clip_facts(clip: ClipRun) -> dict[str, Any]:
    facts = {
        "id": clip.id,
        "status": clip.status,
        "qualityMode": clip.mode,
        "model": clip.model,
        "duration": clip.duration_s,
        "quotedUsd": None if clip.quoted_usd is None else float(clip.quoted_usd),
        "billedUsd": float(clip.billed_usd),
        "ofAnotherRun": clip.joined or None,
        "jobId": clip.job_id,
        "state": clip.state,
        "url": (clip.data.get("video") or {}).get("url"),
        "localPath": clip.local_path,
        "error": clip.error.message if clip.error else None,
        "code": clip.error.code if clip.error else None,
        "billed": clip.error.billed if clip.error else None,
        "nextAction": clip.error.next_action if clip.error else None,
        "warnings": clip.warnings,
    }
    return {name: value for name, value in facts.items() if value not in (None, "", [])}
