"""``ring-mcp top``: the fleet, live in a terminal: processes, jobs by state, the queue, rates, money."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ring_mcp.cli.show import print_json, tell_count
from ring_mcp.domain import DRIVEN, JobState, usd

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from ring_mcp.conductors.fleet import Fleet

_LABEL_CHARS, _BAR_CHARS, _MAX_PROCESSES, _MAX_RATES = 10, 48, 20, 8
_IDLE, _TIGHT = 0.01, 0.8
"""As parts of what an account may be asked at once."""
_STATES = (
    *((state, "cyan") for state in (JobState.PLANNED, JobState.SUBMITTING, JobState.RENDERING, JobState.STORING)),
    (JobState.UNKNOWN, "bold red"),
    (JobState.DONE, "green"),
    *((state, "yellow") for state in (JobState.FAILED, JobState.REFUSED, JobState.EXPIRED)),
)


@click.command()
@click.option("--once", is_flag=True, help="Show it once and end.")
@click.option("--json", "as_json", is_flag=True, help="Once, as one JSON object.")
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(0.5, 3600), help="Seconds.")
def top(once: bool, as_json: bool, every: float) -> None:
    """The fleet at this ledger, live: processes, jobs by state, the queue, rates, money. Ctrl-C ends.

    It costs the database the same, however many jobs there are.
    """
    from ring_mcp.config import load_config

    config = load_config()
    asyncio.run(_watch(config, once=once, as_json=as_json, every_s=every))


async def _watch(config: Any, *, once: bool, as_json: bool, every_s: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from ring_mcp.backends import use_ledger
    from ring_mcp.clock import SystemClock
    from ring_mcp.conductors.fleet import LOOKING, FleetConductor
    from ring_mcp.errors import LedgerError
    from ring_mcp.jobs.rate_reading import EveryRate
    from ring_mcp.presets import load_presets

    clock = SystemClock()
    # Under a role of its own, or whoever looks would be counted among the processes.
    try:
        async with use_ledger(config, clock, role=LOOKING) as ledger:
            sandbox = bool(config.sandbox)
            rates = EveryRate(ledger, load_presets(overlay=config.presets_file), sandbox=sandbox)
            conductor = FleetConductor(ledger, config.caps, clock, sandbox=sandbox, rates=rates)
            console = Console(highlight=False)
            if as_json:
                print_json(describe(await conductor.look()))
            elif once:
                console.print(draw(await conductor.look(), console.width))
            else:
                # No thread that redraws: nothing changes between two looks at the ledger.
                with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
                    while True:
                        try:
                            live.update(draw(await conductor.look(), console.width), refresh=True)
                        except LedgerError as exc:  # it may be back at the next look
                            live.update(Text(exc.message, "red"), refresh=True)
                        await asyncio.sleep(every_s)
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass


def describe(fleet: Fleet) -> dict[str, Any]:
    """The same for programs."""
    spend = fleet.spend
    return {
        "at": fleet.at.isoformat(),
        **({"sandbox": True} if fleet.sandbox else {}),
        "processes": [
            {"role": each.role, "place": each.place, "since": each.since.isoformat()} for each in fleet.processes
        ],
        "jobs": {state.value: count for state, count in fleet.queued.jobs.items()},
        "queueDepth": fleet.queued.jobs[JobState.PLANNED],
        "queueAgeSeconds": round(fleet.queue_age_s, 1),
        "rates": [
            {
                "provider": each.provider,
                "model": each.model,
                "asking": each.asking,
                "full": round(each.full, 3),
                "slowed": round(each.slowed, 2),
                "pausedSeconds": round(each.paused_s, 1),
            }
            for each in fleet.rates
        ],
        "day": {"usd": float(spend.day_usd), "reservedUsd": float(spend.day_reserved_usd)},
        "month": {"usd": float(spend.month_usd), "reservedUsd": float(spend.month_reserved_usd)},
    }


def draw(fleet: Fleet, width: int) -> RenderableType:
    """The fleet for a terminal of so many columns."""
    from rich.console import Group
    from rich.text import Text

    under_way = sum(count for state, count in fleet.queued.jobs.items() if state in DRIVEN)
    title = Text("ring-mcp", "bold")
    title.append(f"  {fleet.at:%H:%M:%S} UTC  {tell_count(under_way, 'job')} under way", "default")
    if fleet.sandbox:
        title.append("  SANDBOX", "bold magenta")
    parts = (_jobs(fleet, width), _rates(fleet, width), _money(fleet), _processes(fleet, width))
    return Group(title, *(line for part in parts if part for line in (Text(), *part)))


def _jobs(fleet: Fleet, width: int) -> list[Text]:
    from rich.text import Text

    jobs = fleet.queued.jobs
    most = max([1, *(jobs[state] for state, _ in _STATES if state in DRIVEN)])
    room = min(_BAR_CHARS, max(0, width - 24))
    lines = [Text("JOBS", "bold")]
    for state, style in _STATES:
        line = Text(f"  {state.value:<{_LABEL_CHARS}} ")
        line.append(f"{jobs[state]:>9,}", style if jobs[state] else "dim")
        if state in DRIVEN and jobs[state]:
            line.append("  " + "█" * max(1, round(room * jobs[state] / most)), style)
        lines.append(line)
    if fleet.queued.waiting_since is not None:
        lines.append(Text(f"  {'waiting':<{_LABEL_CHARS}} {_last(fleet.queue_age_s):>9}  the oldest that is planned"))
    return lines


def _rates(fleet: Fleet, width: int) -> list[Text]:
    """The rates of the accounts. Idle ones are only counted: a ledger keeps those of years ago."""
    from rich.text import Text

    busy = sorted(
        (each for each in fleet.rates if each.full >= _IDLE or each.slowed > 1),
        key=lambda each: (each.slowed <= 1, -each.full),
    )
    lines = [Text("RATES", "bold")] if fleet.rates else []
    room = max(16, width - 40)
    for each in busy[:_MAX_RATES]:
        line = Text(f"  {each.asking:<{_LABEL_CHARS}} ", no_wrap=True)
        line.append(f"{each.full:>9.0%}", "bold red" if each.full >= 1 else "yellow" if each.full >= _TIGHT else "cyan")
        model = each.model if len(each.model) <= room else f"{each.model[: room - 1]}…"
        line.append(f"  {model}")
        if each.slowed > 1:
            line.append(f"  {each.slowed:.1f} x slower", "yellow")
        lines.append(line)
    rest = len(fleet.rates) - len(busy[:_MAX_RATES])
    if rest:
        lines.append(Text(f"  and {rest} more" if busy else f"  {rest} idle", "dim"))
    return lines


def _money(fleet: Fleet) -> list[Text]:
    from rich.text import Text

    spend, caps = fleet.spend, fleet.caps
    lines = [Text("MONEY", "bold")]
    for name, spent, reserved, cap in (
        ("today", spend.day_usd, spend.day_reserved_usd, caps.per_day_usd),
        ("month", spend.month_usd, spend.month_reserved_usd, caps.per_month_usd),
    ):
        line = Text(f"  {name:<{_LABEL_CHARS}} {usd(spent):>9}")
        if reserved:
            line.append(f"  {usd(reserved)} of it reserved", "cyan")
        if cap is not None:
            line.append(f"  cap {usd(cap)}", _urgency(spent, cap))
        lines.append(line)
    return lines


def _urgency(spent: Decimal, cap: Decimal) -> str:
    return "bold red" if spent >= cap else "yellow" if spent >= cap * 8 / 10 else "default"


def _processes(fleet: Fleet, width: int) -> list[Text]:
    from rich.text import Text

    lines = [Text(f"PROCESSES {len(fleet.processes)}", "bold")]
    room = max(10, width - 28)
    for process in fleet.processes[:_MAX_PROCESSES]:
        place = process.place if len(process.place) <= room else f"{process.place[: room - 9]}…{process.place[-8:]}"
        age_s = max(0.0, (fleet.at - process.since).total_seconds())
        lines.append(Text(f"  {process.role:<{_LABEL_CHARS}} {place:<{room}} {_last(age_s):>9}", no_wrap=True))
    if len(fleet.processes) > _MAX_PROCESSES:
        lines.append(Text(f"  and {len(fleet.processes) - _MAX_PROCESSES} more", "dim"))
    return lines


def _last(seconds: float) -> str:
    """A span of time in its two largest units."""
    left = timedelta(seconds=round(seconds))
    hours, rest = divmod(left.seconds, 3600)
    minutes, odd = divmod(rest, 60)
    if left.days:
        return f"{left.days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {odd}s" if minutes else f"{odd}s"
