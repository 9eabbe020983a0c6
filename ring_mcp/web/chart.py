"""What was spent, as bars: a day each, a colour for each model, and the cap drawn in. Pure; the template draws it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from ring_mcp.domain import usd
from ring_mcp.ledger.base import SpentDay

DAYS = 30
WIDTH, HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 8, 24, 28
_MODELS = 6
"""With colours of their own; the rest share one."""

_FAR = 4
"""A cap that is so many times the highest bar is told at the upper edge, and not drawn to scale."""

OTHERS = "other models"
RESERVED = "reserved, not ended"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar. ``series`` is its colour's number, or "reserved"."""

    x: float
    y: float
    width: float
    height: float
    series: str
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table beside the chart: a day and what each model cost on it."""

    day: date
    total: str
    models: tuple[tuple[str, str], ...]
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    segments: tuple[Segment, ...]
    legend: tuple[tuple[str, str, str], ...]
    """(series, model, sum)"""

    amounts: tuple[Tick, ...]
    days: tuple[Tick, ...]
    cap_y: float | None
    cap_words: str | None
    rows: tuple[Row, ...]
    total: str
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    base: int = HEIGHT - _BOTTOM


def first_day(today: date) -> date:
    return today - timedelta(days=DAYS - 1)


def draw_chart(spent: Sequence[SpentDay], today: date, cap_usd: Decimal | None) -> Chart:
    """The last DAYS days up to ``today``. ``cap_usd``: that of a day, for all callers of the server."""
    start = first_day(today)
    spent = [each for each in spent if start <= each.day <= today]
    series = _choose_series(spent)
    bars = _stack(spent, series)
    highest = max((sum((amount for _, amount in bar), Decimal(0)) for bar in bars.values()), default=Decimal(0))
    top, cap_y = _scale(highest, cap_usd)
    height = HEIGHT - _TOP - _BOTTOM
    step = (WIDTH - _LEFT - _RIGHT) / DAYS
    segments = []
    for day, bar in bars.items():
        y = float(HEIGHT - _BOTTOM)
        # 0.14 of a step on either side leaves the 0.72 below: bars that stand apart.
        x = _LEFT + (day - start).days * step + step * 0.14
        for name, amount in bar:
            tall = float(amount / top) * height
            y -= tall
            number = "reserved" if name == RESERVED else str(series[name])
            segments.append(
                Segment(
                    round(x, 1),
                    round(y, 1),
                    round(step * 0.72, 1),
                    round(tall, 1),
                    number,
                    f"{day}: {name} {usd(amount)}",
                )
            )
    total = sum((each.settled_usd + each.reserved_usd for each in spent), Decimal(0))
    cap_words = None
    if cap_usd is not None:
        cap_words = f"cap {usd(cap_usd)} a day" + (", above this scale" if cap_usd > top else "")
    jobs = sum(each.jobs for each in spent)
    return Chart(
        segments=tuple(segments),
        legend=_list_legend(spent, series),
        amounts=tuple(Tick(HEIGHT - _BOTTOM - height * part / 4, usd(top * part / 4)) for part in range(5)),
        days=tuple(
            Tick(round(_LEFT + (n + 0.5) * step, 1), f"{start + timedelta(days=n):%d %b}")
            # Backwards from today, so that today has its label.
            for n in range(DAYS - 1, -1, -7)
        ),
        cap_y=None if cap_y is None else round(_TOP + height * (1 - float(cap_y)), 1),
        cap_words=cap_words,
        rows=_list_rows(spent),
        total=usd(total),
        summary=f"{usd(total)} for {jobs} job{'' if jobs == 1 else 's'} from {start} to {today}, UTC.",
    )


def _choose_series(spent: Sequence[SpentDay]) -> dict[str, int]:
    """A number for each model, the dearest first."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for each in spent:
        sums[each.model] += each.settled_usd + each.reserved_usd
    # By name among equals: colours must not change from look to look.
    dearest = sorted(sums, key=lambda model: (-sums[model], model))
    numbers = {model: number for number, model in enumerate(dearest[:_MODELS], 1)}
    return numbers | {OTHERS: _MODELS + 1} if len(dearest) > _MODELS else numbers


def _stack(spent: Sequence[SpentDay], series: dict[str, int]) -> dict[date, list[tuple[str, Decimal]]]:
    """The parts of each day's bar from below, without empty ones."""
    sums: dict[date, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for each in spent:
        sums[each.day][each.model if each.model in series else OTHERS] += each.settled_usd
        sums[each.day][RESERVED] += each.reserved_usd
    order = [*series, RESERVED]
    return {day: [(name, parts[name]) for name in order if parts[name] > 0] for day, parts in sorted(sums.items())}


def _scale(highest: Decimal, cap_usd: Decimal | None) -> tuple[Decimal, Decimal | None]:
    """(what the upper edge stands for, where the cap is between 0 and 1)."""
    # A cap far above all bars, drawn to scale, would press them flat.
    is_near = cap_usd is not None and cap_usd > 0 and (highest == 0 or cap_usd <= highest * _FAR)
    # A bar that reaches the upper edge would look as if it reached a cap that is told there.
    room = Decimal(1) if cap_usd is None or is_near else Decimal("1.2")
    # With nothing spent the scale still needs a height: everything is divided by it.
    top = _round_up(max(highest * room, cap_usd if is_near and cap_usd else Decimal(0)) or Decimal("0.10"))
    if cap_usd is None:
        return top, None
    return top, min(Decimal(1), cap_usd / top)


def _round_up(amount: Decimal) -> Decimal:
    """The next of 1, 2, 4, 8 or 10 times a power of ten, so that its quarters are short."""
    power = Decimal(10) ** amount.adjusted()
    return next(step * power for step in map(Decimal, ("1", "2", "4", "8", "10")) if step * power >= amount)


def _list_legend(spent: Sequence[SpentDay], series: dict[str, int]) -> tuple[tuple[str, str, str], ...]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for each in spent:
        sums[each.model if each.model in series else OTHERS] += each.settled_usd
        sums[RESERVED] += each.reserved_usd
    legend = [(str(number), name, usd(sums[name])) for name, number in series.items()]
    return tuple(legend + ([("reserved", RESERVED, usd(sums[RESERVED]))] if sums[RESERVED] > 0 else []))


def _list_rows(spent: Sequence[SpentDay]) -> tuple[Row, ...]:
    rows = []
    for day in sorted({each.day for each in spent}, reverse=True):
        own = [each for each in spent if each.day == day]
        total = sum((each.settled_usd + each.reserved_usd for each in own), Decimal(0))
        models = tuple((each.model, usd(each.settled_usd + each.reserved_usd)) for each in own)
        rows.append(Row(day, usd(total), models, sum(each.jobs for each in own)))
    return tuple(rows)
