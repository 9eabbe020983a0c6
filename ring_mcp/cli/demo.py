"""``ring-mcp demo``: the main job as an agent does it, against the sandbox.

Starts the sandbox, starts the server as a real stdio subprocess, speaks MCP with it, and shows what came back.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ring_mcp.app import open_ledger
from ring_mcp.config import Config, child_environment, load_config
from ring_mcp.domain import Job
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.client import ToolReply, ToolSession, stdio_session

LIGHTHOUSE = "A lighthouse on a cliff at dusk, warm light in the windows, oil painting"
KITES = "Two paper kites over a harbour, morning fog"


async def run_demo(prompt: str | None) -> int:
    """Returns the exit status: 0 if every picture arrived."""
    console = Console(highlight=False)
    started = time.monotonic()
    console.print(
        "[bold yellow]SANDBOX[/] - no provider is called, nothing costs money, the pictures are test pictures."
    )
    with SandboxServer() as sandbox:
        environment = child_environment(RING_SANDBOX=sandbox.url)
        config = load_config(environment, folder=Path(os.devnull).parent)
        config.state_path.mkdir(parents=True, exist_ok=True)
        async with stdio_session(environment, config.state_path) as session:
            console.print(f"ring-mcp runs as a stdio subprocess and speaks MCP {session.protocol_version}.")
            if not await _health(session, console):
                return 1
            calls: list[dict[str, Any]] = [{"prompt": prompt or LIGHTHOUSE, "aspectRatio": "16:9", "purpose": "demo"}]
            if prompt is None:
                calls.append({"prompt": KITES, "n": 2, "purpose": "demo"})
            for arguments in calls:
                if not await _picture(session, arguments, console, config):
                    return 1
    console.print(
        f"\nDone in {time.monotonic() - started:.1f} s. [bold yellow]SANDBOX[/]: for real pictures, see README."
    )
    return 0


async def _health(session: ToolSession, console: Console) -> bool:
    console.print("\n[bold]ring-health[/] {}")
    reply = await session.call("ring-health", {})
    for line in reply.text.splitlines():
        console.print(f"  {line}", markup=False)
    return not reply.is_error


async def _picture(session: ToolSession, arguments: dict[str, Any], console: Console, config: Config) -> bool:
    console.print("\n[bold]ring-image-create[/] ", end="")
    console.print(", ".join(f"{key}: {value!r}" for key, value in arguments.items()), markup=False, soft_wrap=True)
    reply = await _with_progress(session, arguments, console)
    if reply.is_error:
        console.print(reply.text, style="red", markup=False)
        return False
    data = reply.content["data"]
    ledger = open_ledger(config)
    try:
        job = await ledger.get(data["jobId"])
    finally:
        await ledger.aclose()
    for number, image in enumerate(data["images"], start=1):
        _show(console, _card(f"{number} of {len(data['images'])}", image))
    _show(console, _costs(data, job))
    return True


async def _with_progress(session: ToolSession, arguments: dict[str, Any], console: Console) -> ToolReply:
    columns = (SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("asking", total=100)

        async def show(progress: float, total: float | None, message: str | None) -> None:
            bar.update(task, completed=progress, description=message or "")

        return await session.call("ring-image-create", arguments, show)


def _card(title: str, image: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("picture", title),
        ("url", image["url"]),
        ("file", image.get("localPath", "-")),
        ("size", f"{image['width']} x {image['height']} px, {image['size']:,} bytes, {image['contentType']}"),
        ("record", f"generated_images {image['recordId']}"),
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
