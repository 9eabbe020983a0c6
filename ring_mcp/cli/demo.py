"""``ring-mcp demo``: the main job as an agent does it, against the sandbox.

Starts the sandbox, starts the server as a real stdio subprocess, speaks MCP with it, and shows what came back.
"""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ring_mcp.backends import use_ledger
from ring_mcp.clients.stdio import ToolReply, ToolSession, stdio_session
from ring_mcp.config import Config, child_environment, load_config
from ring_mcp.domain import Job
from ring_mcp.errors import RingError
from ring_mcp.extras import install_line
from ring_mcp.sandbox.server import SandboxServer

LIGHTHOUSE = "A lighthouse on a cliff at dusk, warm light in the windows, oil painting"
KITES = "Two paper kites over a harbour, morning fog"
CLIPS: list[dict[str, Any]] = [
    {"prompt": "ACTION: a fishing boat turns into the wind. CAMERA: slow dolly in.", "duration": 3},
    {
        "prompt": "ACTION: the beam of the lighthouse sweeps over the sea.",
        "firstFramePrompt": LIGHTHOUSE,
        "duration": 3,
        "clipId": "lighthouse",
    },
]
_POLL_INTERVAL_MS = "250"  # the sandbox renders in a moment; a provider is asked every five seconds


async def run_demo(prompt: str | None) -> int:
    """Returns the exit status: 0 if every picture arrived."""
    console = Console(highlight=False)
    started = time.monotonic()
    console.print("[bold yellow]SANDBOX[/] - no provider is called, these are test media, nobody pays for them.")
    with SandboxServer() as sandbox:
        environment = child_environment(RING_SANDBOX=sandbox.url, VIDEO_GEN_POLL_INTERVAL_MS=_POLL_INTERVAL_MS)
        # A folder without a .env.local (/dev): nothing of the person's own is read.
        config = load_config(environment, folder=Path(os.devnull).parent)
        _make_folder(config.state_path)
        async with stdio_session(environment, config.state_path) as session:
            console.print(f"ring-mcp runs as a stdio subprocess and speaks MCP {session.protocol_version}.")
            if not await _health(session, console):
                return 1
            calls: list[dict[str, Any]] = [{"prompt": prompt or LIGHTHOUSE, "aspectRatio": "16:9", "purpose": "demo"}]
            if prompt is None:
                calls.append({"prompt": KITES, "n": 2, "purpose": "demo"})
            for arguments in calls:
                if not await _make(session, "ring-image-create", arguments, console, config):
                    return 1
            if not clips_can_be_made():
                line = f"\nThe sandbox makes no clips here: they need an extra. {install_line('video')}"
                console.print(line, markup=False, soft_wrap=True)
            elif prompt is None:
                for arguments in CLIPS:
                    if not await _make(session, "ring-video-create", arguments, console, config):
                        return 1
    console.print(
        f"\nDone in {time.monotonic() - started:.1f} s. [bold yellow]SANDBOX[/]: for the real thing, see README."
    )
    return 0


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        reason = f"the state folder {path} cannot be made: {exc.strerror}"
        raise RingError(reason, next_action="Point RING_STATE_DIR to a writable folder.") from exc


def clips_can_be_made() -> bool:
    """The sandbox draws its clips with the extra ``[video]``."""
    return importlib.util.find_spec("av") is not None


async def _health(session: ToolSession, console: Console) -> bool:
    console.print("\n[bold]ring-health[/] {}")
    reply = await session.call("ring-health", {})
    for line in reply.text.splitlines():
        console.print(f"  {line}", markup=False)
    return not reply.is_error


async def _make(session: ToolSession, tool: str, arguments: dict[str, Any], console: Console, config: Config) -> bool:
    console.print(f"\n[bold]{tool}[/] ", end="")
    console.print(", ".join(f"{key}: {value!r}" for key, value in arguments.items()), markup=False, soft_wrap=True)
    reply = await _with_progress(session, tool, arguments, console)
    if reply.is_error:
        console.print(reply.text, style="red", markup=False)
        return False
    data = reply.content["data"]
    # Read beside the server, past MCP: what it says is to be seen in the ledger, too.
    async with use_ledger(config) as ledger:
        job = await ledger.get(data["jobId"])
    images = data.get("images", [])
    for number, image in enumerate(images, start=1):
        _show(console, _card("picture", f"{number} of {len(images)}", image, "generated_images"))
    if "firstFrame" in data:
        _show(console, _card("picture", "first frame of the clip", data["firstFrame"], "generated_images"))
    if "video" in data:
        length = f"{data['video']['duration']:g} s, {data['qualityMode']}"
        _show(console, _card("clip", length, data["video"], "generated_videos"))
    _show(console, _costs(data, job))
    return True


async def _with_progress(session: ToolSession, tool: str, arguments: dict[str, Any], console: Console) -> ToolReply:
    columns = (SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("asking", total=100)

        async def show(progress: float, total: float | None, message: str | None) -> None:
            bar.update(task, completed=progress, description=message or "")

        return await session.call(tool, arguments, show)


def _card(what: str, title: str, file: dict[str, Any], table: str) -> list[tuple[str, str]]:
    pixels = f"{file['width']} x {file['height']} px, " if "width" in file else ""
    return [
        (what, title),
        ("url", file["url"]),
        ("size", f"{pixels}{file['size']:,} bytes, {file['contentType']}"),
        ("record", f"{table} {file['recordId']}"),
    ]


def _costs(data: dict[str, Any], job: Job | None) -> list[tuple[str, str]]:
    billed = data.get("billedCostUsd", 0)
    lines = [("cost", f"estimated ${data['estimatedCostUsd']:.2f}, billed ${billed:.2f} (by the sandbox)")]
    if job is not None:
        lines.append(("ledger", f"media_jobs {job.id}: {job.state}, settled ${job.settled_usd:.2f}"))
        lines.append(("request", job.provider_request_id or "-"))
    return lines


def _show(console: Console, lines: list[tuple[str, str]]) -> None:
    """Unwrapped, so that addresses can be copied from a narrow terminal."""
    for name, value in lines:
        console.print(f"  {name:<8}", style="dim", end="")
        console.print(value, markup=False, soft_wrap=True)
