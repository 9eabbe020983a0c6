"""``ring-mcp script``: many clips from one file."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ring_mcp.cli.backend import gateway_option
from ring_mcp.cli.show import print_json
from ring_mcp.domain.fields import dollars

if TYPE_CHECKING:
    from ring_mcp.cli.backend import Backend
    from ring_mcp.cli.script_table import ScriptTable
    from ring_mcp.config import Config
    from ring_mcp.scripted.base import RunOptions
    from ring_mcp.scripted.run import ScriptRun
    from ring_mcp.scripted.schema import ScriptRequest

MANIFEST = "manifest.json"


@click.command()
@click.argument("request_path", metavar="REQUEST.json", required=False, type=click.Path(path_type=Path))
@click.option("--clip", "--clip-id", "clip_ids", multiple=True, metavar="ID", help="Only this clip; repeatable.")
@click.option("--remaster", is_flag=True, help="Edit each clip's done draft, or make it again at a real 720p.")
@click.option("--source-url", metavar="URL", help="With --remaster and one clip: the video to edit.")
@click.option(
    "--download",
    is_flag=False,
    flag_value="",
    metavar="[DIR]",
    help="Save each clip as {clipId}-{qualityMode}.mp4, in DIR or the output folder's files/; beside a file of that "
    "name that is not its own, as {clipId}-{qualityMode}-{job}.mp4.",
)
@click.option("--dry-run", is_flag=True, help="Only a table of what would be made and what it would cost.")
@click.option("--max-usd", type=str, metavar="USD", help="Start nothing if the clips cost more at list prices.")
@click.option("--partial", is_flag=True, help="Where the caps have no room for all clips, make those that fit.")
@click.option("--jobs", "side_by_side", type=click.IntRange(1, 50), default=3, show_default=True, help="Side by side.")
@click.option("--resume", is_flag=True, help="The default: what is done or under way is not paid again.")
@click.option("--force", is_flag=True, help="Make and pay every clip anew.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("output"),
    show_default=True,
    help="The folder of manifest.json.",
)
@click.option("--yes", is_flag=True, help="Where RING_CONFIRM asks before spending: the answer.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a request file and do nothing else.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout and nothing else.")
@gateway_option
def script(
    request_path: Path | None,
    clip_ids: tuple[str, ...],
    remaster: bool,
    source_url: str | None,
    download: str | None,
    dry_run: bool,
    max_usd: str | None,
    partial: bool,
    side_by_side: int,
    resume: bool,
    force: bool,
    output: Path,
    yes: bool,
    schema: bool,
    as_json: bool,
    gateway: str | None,
) -> None:
    """Make the clips of REQUEST.json, some side by side. It costs money; --dry-run tells the price first.

    Ctrl-C leaves the jobs that were started; the same command again goes on with them and pays nothing twice.
    Exit status: 0 all done, 1 a clip failed or could not be saved, 2 a bad file, usage or configuration, 3 some are
    still under way.
    """
    from ring_mcp.cli.progress import fail
    from ring_mcp.errors import RingError
    from ring_mcp.scripted.base import RunOptions
    from ring_mcp.scripted.schema import read_script, script_schema

    if schema:
        print_json(script_schema(), indent=2)
        return
    if request_path is None:
        raise click.UsageError("Missing argument 'REQUEST.json'.")
    if force and resume:
        raise click.UsageError("--force and --resume exclude each other")
    if source_url and not remaster:
        raise click.UsageError("--source-url goes with --remaster")
    from ring_mcp.cli.backend import limit_s, load_config_with
    from ring_mcp.presets import load_presets
    from ring_mcp.scripted.preparing import makes_of

    try:
        config = load_config_with(gateway)
        request = read_script(request_path, makes_of(load_presets(overlay=config.presets_file)))
        options = RunOptions(
            clip_ids=clip_ids,
            remaster=remaster,
            source_url=source_url,
            force=force,
            side_by_side=side_by_side,
            max_usd=_dollars(max_usd),
            partial=partial,
            how_to_split="say --partial",
            wait_s=limit_s(config, "video"),
        )
        command = Command(
            config, request, options, output, request_path, download, dry_run=dry_run, as_json=as_json, yes=yes
        )
        sys.exit(command.carry_out())
    except RingError as exc:
        fail(exc, as_json=as_json, gateway=gateway)


def _dollars(text: str | None) -> Decimal | None:
    if text is None or not text.strip():
        return None
    try:
        amount = Decimal(str(dollars(text)))
    except (ArithmeticError, ValueError):
        amount = Decimal(-1)  # refused below, in the same words
    if not (amount.is_finite() and amount >= 0):
        raise click.BadParameter(f"{text!r} is not an amount of dollars", param_hint="--max-usd")
    return amount


class Command:
    """One run of the command: quote, table, run, download, summary."""

    def __init__(
        self,
        config: Config,
        request: ScriptRequest,
        options: RunOptions,
        output: Path,
        request_path: Path,
        download: str | None,
        *,
        dry_run: bool,
        as_json: bool,
        yes: bool,
    ) -> None:
        self._config = config
        self._request = request
        self._options = options
        self._output = output
        self._request_path = request_path
        self._files = None if download is None else Path(download) if download else output / "files"
        self._dry_run = dry_run
        self._as_json = as_json
        self._agreed_usd = Decimal("Infinity") if yes else Decimal(0)  # --max-usd and the caps still bind a --yes

    def carry_out(self) -> int:
        """The exit status."""
        from ring_mcp.cli.asking import YesNeeded, ask_at_terminal
        from ring_mcp.cli.progress import INTERRUPTED
        from ring_mcp.cli.script_table import ScriptTable

        with ScriptTable() as table:
            try:
                run = None
                while run is None:
                    try:
                        run = asyncio.run(self._run(table))
                    except YesNeeded as needed:  # outside of the loop, which a person who thinks would keep waiting
                        table.pause()
                        ask_at_terminal(needed.quote)
                        self._agreed_usd = needed.total_usd
            except KeyboardInterrupt:
                click.echo("interrupted; the same command again goes on with what was started", err=True)
                return INTERRUPTED
        self._tell(run)
        return _exit_status(run, dry_run=self._dry_run)

    async def _run(self, table: ScriptTable) -> ScriptRun:
        from ring_mcp.cli.backend import open_backend
        from ring_mcp.clock import SystemClock
        from ring_mcp.presets import load_presets
        from ring_mcp.scripted.manifest import Manifest
        from ring_mcp.scripted.run import ScriptRun

        async with open_backend(self._config) as backend:
            run = ScriptRun(
                self._request,
                self._options,
                maker=backend,
                manifest=Manifest(self._output / MANIFEST, SystemClock(), table.say),  # here also with a gateway
                presets=load_presets(overlay=self._config.presets_file),
                on_change=table.show,
            )
            await run.quote()
            if not self._dry_run:
                await self._agree(run, backend)
            table.begin(run.clips)
            if not self._dry_run:
                for clip in run.clips:
                    if clip.again is not None:
                        table.say(f"{clip.id}: {clip.again}")
                await self._make(run, backend, table)
            return run

    async def _agree(self, run: ScriptRun, backend: Backend) -> None:
        """Raises YesNeeded if the person has to be asked, and ConfirmationNeeded if nobody can be asked."""
        from ring_mcp.cli.asking import check_script

        rule = await backend.rule()
        if rule.mode == "off":
            return
        total_usd = sum((clip.quoted_usd or Decimal(0) for clip in run.list_unpaid()), Decimal(0))
        # After the question all is quoted anew: a sum that has risen meanwhile is asked about again.
        if 0 < total_usd <= self._agreed_usd:
            run.confirm()
        else:
            check_script(rule, total_usd, run.cap_left_usd)

    async def _make(self, run: ScriptRun, backend: Backend, table: ScriptTable) -> None:
        from ring_mcp.cli.progress import cancel_on_ctrl_c

        try:
            await run.run(requestPath=str(self._request_path.resolve()), direct=not self._options.persist)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None:
                raise
            task.uncancel()
            cancel_on_ctrl_c(task)
            table.say("leaving, as soon as every request is safely on its way (Ctrl-C again: at once) …")
            await run.leave_open(backend.leave)
            return
        # After all clips, and not after Ctrl-C: what is left open has nothing to save.
        if self._files is not None:
            from ring_mcp.cli.downloads import save_clips

            await save_clips(run, self._files, self._config)

    def _tell(self, run: ScriptRun) -> None:
        from ring_mcp.cli.script_table import run_facts, summary_lines
        from ring_mcp.cli.show import print_lines

        if self._as_json:
            print_json(run_facts(run, dry_run=self._dry_run))
        else:
            print_lines(summary_lines(run, dry_run=self._dry_run))


def _exit_status(run: ScriptRun, *, dry_run: bool) -> int:
    from ring_mcp.cli.progress import DONE, FAILED, UNDER_WAY

    if run.has_failed:
        return FAILED
    # A replaced job that was never sent is left alone and will not be: nobody has to come back for it.
    is_under_way = any(clip.status != "done" for clip in run.clips) or any(
        clip.status == "open" and clip.state != "planned" for clip in run.superseded
    )
    return UNDER_WAY if is_under_way and not dry_run else DONE
