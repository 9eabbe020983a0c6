"""The end of a run: the ledger beside the books of the provider, the files beside what was made, and what is left."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ring_mcp.ledger.rows import TICKS_PER_USD
from tests.kill.kill_world import World
from tests.weather.callers import Callers
from tests.weather.faults import Sky
from tests.weather.fleet import processes_of
from tests.weather.storms import STATES

_CUT = "broke after the request was sent"
_CUT_OFF = "the answer was cut off: its cost, and what else was made, is not known"
_DIED = ("died", "was stopped", "the process that made the request")
CLOCK_MOVES = timedelta(hours=3)
_LOOKED_AT = re.compile(r"input-[0-9a-f]{32}")


@dataclass(kw_only=True)
class Outcome:
    """Of one world. ``problems`` is empty when all is well. Money in US dollars.

    ``weather_s`` is how long it was bad, ``settle_s`` how long it then took until no job was under way, and
    ``last_home`` are the rows that took longest.
    """

    name: str
    wished: int = 0
    rows: int = 0
    states: Counter[str] = field(default_factory=Counter)
    ended_badly: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    books_usd: Decimal = Decimal(0)
    settled_usd: Decimal = Decimal(0)
    of_unknown_usd: Decimal = Decimal(0)
    of_cut_off_usd: Decimal = Decimal(0)
    cap_usd: Decimal | None = None
    refused_by_cap: int = 0
    weather_s: float = 0.0
    settle_s: float = 0.0
    seconds: float = 0.0
    last_home: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def judge(outcome: Outcome, world: World, sky: Sky, callers: Callers) -> None:
    """Fill the outcome in, once every job is settled and every server has left."""
    rows = world.rows()
    problems = outcome.problems
    verdict = await world.judge(may_be_unknown=True)
    problems += [problem for problem in verdict.problems if not problem.startswith("left in ")]  # see _left
    outcome.rows = len(rows)
    outcome.states.update(row["state"] for row in rows)
    outcome.told.update(reply.content.get("code") or "as it stood" for reply in callers.told.values())
    outcome.ended_badly.update(
        f"{row['state']}: {row['failure']['code']}: {row['failure']['message'][:100]}"
        for row in rows
        if row["failure"] and row["state"] != "unknown"
    )
    by_prompt: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_prompt[row["prompt"]].append(row)
    _compare_money(outcome, world, by_prompt)
    problems += _paid_twice(by_prompt)
    problems += _not_whole(world, rows)
    problems += _told_wrongly(world, rows, callers)
    _name_unknowns(outcome, world, rows, sky)
    problems += _left(world)
    if outcome.cap_usd is not None and _is_one_month() and outcome.books_usd > outcome.cap_usd:
        problems.append(f"the cap of {outcome.cap_usd} was passed: {outcome.books_usd} was billed")


def _compare_money(outcome: Outcome, world: World, by_prompt: dict[str, list[dict[str, Any]]]) -> None:
    """Job by job: what was settled is what was billed. Of an unknown one at most what is reserved was.

    One whose pictures are all that is left of its answer is settled at its list price, and says so.
    """
    billed: Counter[str] = Counter()
    for charge in world.charges():
        billed[charge.prompt] += charge.cost_ticks
    settled_ticks = unknown_ticks = cut_off_ticks = 0
    for prompt in by_prompt.keys() | billed.keys():
        rows = by_prompt.get(prompt, [])
        settled = sum(int(row["settled_usd_ticks"] or 0) for row in rows)
        reserved = sum(int(row["reserved_usd_ticks"]) for row in rows if row["state"] == "unknown")
        settled_ticks += settled
        rest = billed[prompt] - settled
        if reserved:
            unknown_ticks += rest
        if any(_is_at_its_list_price(row) for row in rows):
            cut_off_ticks += rest
        elif not (0 <= rest <= reserved):
            states = [row["state"] for row in rows]
            outcome.problems.append(
                f"{prompt!r}: billed {billed[prompt]}, settled {settled}, reserved {reserved} ticks; jobs {states}"
            )
    outcome.books_usd = Decimal(billed.total()) / TICKS_PER_USD
    outcome.settled_usd = Decimal(settled_ticks) / TICKS_PER_USD
    outcome.of_unknown_usd = Decimal(unknown_ticks) / TICKS_PER_USD
    outcome.of_cut_off_usd = Decimal(cut_off_ticks) / TICKS_PER_USD


def _is_at_its_list_price(row: dict[str, Any]) -> bool:
    is_told = row["billed_usd_ticks"] is None and _CUT_OFF in str(row["warnings"])
    return is_told and row["settled_usd_ticks"] == row["reserved_usd_ticks"]


def _paid_twice(by_prompt: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Every prompt is asked for under one key, however often."""
    paid = {
        prompt: [row["state"] for row in rows if row["state"] in ("done", "unknown")]
        for prompt, rows in by_prompt.items()
    }
    return [f"{prompt!r}: {len(states)} jobs for one key: {states}" for prompt, states in paid.items() if states[1:]]


def _not_whole(world: World, rows: list[dict[str, Any]]) -> list[str]:
    """What is stored is, byte for byte, a file that the sandbox has made."""
    made = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (world.sandbox.state.folder / "made").iterdir()}
    return [
        f"{row['prompt']!r}: asset {asset['index']} ({asset['size_bytes']} bytes) is not what was made"
        for row in rows
        for asset in row["assets"]
        if asset["sha256"] not in made
    ]


def _told_wrongly(world: World, rows: list[dict[str, Any]], callers: Callers) -> list[str]:
    """Nobody was told "not billed" of what was, or of a job that there is not."""
    billed = {charge.prompt for charge in world.charges()}
    wrong = [
        f"{prompt!r} was billed, and its caller was told that it was not: {reply.text}"
        for prompt, reply in callers.told.items()
        if reply.is_error and reply.content.get("billed") == "no" and prompt in billed
        if reply.content.get("state") not in STATES  # of one that goes on it is said as it stands
    ]
    known = {row["id"] for row in rows}
    lost = [
        f"{prompt!r} was told of a job {job_id} that is not in the ledger"
        for prompt, reply in callers.told.items()
        if (job_id := reply.content.get("data", reply.content).get("jobId")) is not None and job_id not in known
    ]
    return [*wrong, *lost, *callers.internal]


def _name_unknowns(outcome: Outcome, world: World, rows: list[dict[str, Any]], sky: Sky) -> None:
    """Every unknown one has a reason: its request met a fault that hides what became of it, or its server died.

    A request that was waiting to be accepted when the relay stopped listening was reset by the kernel, and never seen.
    """
    billed = {charge.prompt for charge in world.charges()}
    for row in rows:
        if row["state"] != "unknown":
            continue
        said = row["failure"]["message"]
        struck = sky.struck.get(row["prompt"])
        unseen = _CUT in said and row["prompt"] not in sky.seen
        if not struck and not unseen and not any(word in said for word in _DIED):
            outcome.problems.append(f"{row['prompt']!r} is unknown for no reason: {said}")
        why = struck[-1] if struck else "never accepted" if unseen else "server gone"
        outcome.unknown.append(f"{row['prompt']} ({why}; {'billed' if row['prompt'] in billed else 'not billed'})")


def left_files(world: World, folders: Sequence[str]) -> list[str]:
    """Files in these folders of the state that nobody needs any more.

    What is in the spool of a job of unknown outcome stays until a person has settled it. A given file that a killed
    process was looking at goes when it is old: nobody can tell whether somebody alive still looks at it.
    """
    states = {row["id"]: row["state"] for row in world.query("SELECT id, state FROM media_jobs")}
    return [
        f"left in {folder}: {name} (its job: {states.get(name[:36])})"
        for folder in folders
        for name in world.left_in(folder)
        if (folder, states.get(name[:36])) != ("spool", "unknown") and not _LOOKED_AT.fullmatch(name)
    ]


def _left(world: World) -> list[str]:
    """Nothing is left of a process that has gone: no file under way, no lock, no process, no traceback in its log."""
    problems = left_files(world, ("spool", "unwritten", "locks"))
    if processes := processes_of(world.folder):
        problems.append(f"still running: {processes}")
    said = world.log.read_text(errors="replace") if world.log.exists() else ""
    if (at := said.find("Traceback")) >= 0:
        shown = said[max(0, at - 300) : at + 3000]
        problems.append(f"{said.count('Traceback')} tracebacks in the log, the first: {shown}")
    return problems


def _is_one_month() -> bool:
    """A cap of a month is that of two where the clock has been moved across its end."""
    now = datetime.now(UTC)
    return (now - CLOCK_MOVES).month == (now + CLOCK_MOVES).month
