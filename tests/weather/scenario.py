"""One world from the first job to the verdict: batches of wishes, each with a storm on its way, then fair weather."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ring_mcp.ledger.postgres import migrate
from ring_mcp.ledger.rows import TICKS_PER_USD
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_GOOGLE_KEY, DEFAULT_XAI_KEY
from tests.kill.kill_world import LedgerKind, World, until
from tests.postgres_server import PostgresServer, fresh_database
from tests.weather.callers import Callers, pictures, wishes
from tests.weather.disk import Disk
from tests.weather.faults import Sky, unmet_faults
from tests.weather.fleet import Fleet, Ship
from tests.weather.launcher import OCCASIONS
from tests.weather.logbook import Logbook, state_of
from tests.weather.relay import Relay
from tests.weather.storms import OTHER_XAI_KEY, Place, Turns, unmet_storms
from tests.weather.verdict import Outcome, judge, left_files

BATCH = 6
MOST_MORE_BATCHES = 20
BEYOND_THE_CAP = 10
MOST_BEYOND_THE_CAP = 50
ROOM_FOR = Decimal("3.5")
SETTLE_LIMIT_S = 240.0
TIDY_LIMIT_S = 150.0
LAG_S = 0.15


@dataclass(frozen=True, kw_only=True)
class Scenario:
    name: str
    ledger: LedgerKind
    processes: int
    storage: str
    share: float


SCENARIOS = (
    Scenario(name="sqlite, one process", ledger="sqlite", processes=1, storage="local", share=0.28),
    Scenario(name="sqlite, three processes", ledger="sqlite", processes=3, storage="ringbase", share=0.36),
    Scenario(name="postgres, three processes", ledger="postgres", processes=3, storage="ringbase", share=0.36),
)


@dataclass(frozen=True, kw_only=True)
class Voyage:
    """What is left of a scenario when it is over."""

    outcome: Outcome
    disk: str


async def sail(
    scenario: Scenario, folder: Path, jobs: int, seed: str, logbook: Logbook, plant: str | None = None
) -> Voyage:
    """Run it. There are more jobs than were asked for if something has not met its aim by then.

    The seed chooses what is asked for and what goes wrong; processes have a timing of their own.
    """
    started_at = time.monotonic()
    chance = random.Random(f"{seed} {scenario.name}")
    outcome = Outcome(name=scenario.name)
    async with _place(scenario, folder, jobs, chance, logbook, plant) as place:
        try:
            callers = Callers(place.fleet, chance)
            await place.fleet.start_all()
            await _bad_weather(place, callers, outcome, jobs)
            await _meet_a_cap(place, callers, outcome)
            outcome.weather_s = time.monotonic() - started_at
            place.sky.is_clear = True
            place.world.sandbox.state.configure(render_s=0.0, deferred_s=0.0)
            await _come_home(place, outcome)
            await judge(outcome, place.world, place.sky, callers)
        except Exception:  # the other worlds are still worth their verdict
            outcome.problems.append(f"it could not be sailed to its end:\n{traceback.format_exc()}")
            print(f"{outcome.name}: {outcome.problems[-1]}", file=sys.stderr, flush=True)
    outcome.seconds = time.monotonic() - started_at
    return Voyage(outcome=outcome, disk=place.disk.how)


@contextlib.asynccontextmanager
async def _place(
    scenario: Scenario,
    folder: Path,
    jobs: int,
    chance: random.Random,
    logbook: Logbook,
    plant: str | None,
) -> AsyncIterator[Place]:
    async with contextlib.AsyncExitStack() as stack:
        settings = {
            "show_prompt": False,
            "render_s": 0.6,
            "deferred_s": 0.4,
            "image_delay_s": 0.3,
            "xai_keys": (DEFAULT_XAI_KEY, OTHER_XAI_KEY),
            "xai_teams": {OTHER_XAI_KEY: "another-team"},
        }
        sandbox = await stack.enter_async_context(SandboxServer(settings=settings))
        at = urlsplit(sandbox.url)
        assert at.hostname is not None
        assert at.port is not None
        database, url = None, None
        if scenario.ledger == "postgres":
            database = await asyncio.to_thread(PostgresServer)
            stack.push_async_callback(asyncio.to_thread, database.close)
            url = stack.enter_context(fresh_database(database.url(), migrated=False))
            await migrate(url)
        world = World(folder, sandbox, scenario.ledger, url)
        sky = Sky(random.Random(chance.random()), logbook, partial(state_of, world))
        relay = await stack.enter_async_context(
            Relay((at.hostname, at.port), sky.choose, random.Random(chance.random()), LAG_S)
        )
        sandbox.state.base_url = relay.url
        disk = Disk(world.state, 64 + jobs // 4)
        stack.callback(disk.close)
        world.environment |= {
            "XAI_API_BASE_URL": sandbox.xai_base_url.replace(sandbox.url, relay.url),
            "GOOGLE_GENAI_BASE_URL": sandbox.google_base_url.replace(sandbox.url, relay.url),
            "GOOGLE_GENAI_API_KEY": DEFAULT_GOOGLE_KEY,
            "RINGBASE_API_URL": sandbox.ringbase_url.replace(sandbox.url, relay.url),
            "FILE_BACKEND": scenario.storage,
            "IMAGE_GEN_POLL_TIMEOUT_MS": "30000",
        }
        fleet = Fleet(world, scenario.processes, chance, plant)
        stack.push_async_callback(fleet.kill_all)
        yield Place(
            world=world,
            fleet=fleet,
            relay=relay,
            sky=sky,
            disk=disk,
            random=chance,
            database=database,
            logbook=logbook,
        )


async def _bad_weather(place: Place, callers: Callers, outcome: Outcome, jobs: int) -> None:
    """A storm with each batch of wishes; then more batches, not without end, until everything has met its aim."""
    wanted = wishes(jobs, place.random)
    turns = Turns(place)
    begun, more = 0, MOST_MORE_BATCHES
    while begun < len(wanted) or (more > 0 and _unmet(place)):
        batch = wanted[begun : begun + BATCH]
        if not batch:
            more -= 1
            batch = wishes(BATCH, place.random, first=begun)
        begun += len(batch)
        outcome.wished += sum(wish.jobs for wish in batch)
        storm, aim = turns.next()
        asking = asyncio.ensure_future(callers.ask(batch))
        try:
            await storm.come(place, aim)
            await place.fleet.call("ring-health", {})
        finally:
            await asking


def _unmet(place: Place) -> list[str]:
    """What has not met its aim yet. Where a bug is planted that is its occasion alone."""
    logbook, plant = place.logbook, place.fleet.plant
    if plant is not None:
        if plant not in OCCASIONS:
            return []
        occasion, times = OCCASIONS[plant]
        return [plant] if logbook.faults[occasion] < times else []
    return [*unmet_faults(logbook), *unmet_storms(logbook, with_database=place.database is not None)]


async def _meet_a_cap(place: Place, callers: Callers, outcome: Outcome) -> None:
    """Every server comes back with a cap that has room for three more pictures, and is asked for ten.

    There is more room once jobs that are still under way have cost less than was held for them: then for ten more.
    """
    await place.fleet.kill_all()
    spend = await place.world.spend()
    prices = [row["reserved_usd_ticks"] for row in place.world.rows() if row["kind"] == "image"]
    outcome.cap_usd = spend.month_usd + ROOM_FOR * Decimal(min(prices)) / TICKS_PER_USD
    await place.fleet.start_all(RING_MAX_USD_PER_MONTH=str(outcome.cap_usd))
    codes: list[str | None] = []
    while not outcome.refused_by_cap and len(codes) < MOST_BEYOND_THE_CAP:
        beyond = pictures(BEYOND_THE_CAP, first=len(codes))
        await callers.ask(beyond)
        codes += [callers.told[wish.prompt].content.get("code") for wish in beyond]
        outcome.refused_by_cap = codes.count("cap_exceeded")
    if not outcome.refused_by_cap:
        outcome.problems.append(f"the cap of {outcome.cap_usd} refused nothing: {codes}")


async def _come_home(place: Place, outcome: Outcome) -> None:
    """Ask every server for every job until all are settled; then let them go, and a last one tidy up."""
    world, fleet = place.world, place.fleet
    of_other_team = Ship(len(fleet.ships), world.folder / "clock-other", world.folder / "owner-other")
    of_other_team.clock.write_text("0")
    await fleet.start(of_other_team, XAI_API_KEY=OTHER_XAI_KEY)
    fleet.ships.append(of_other_team)
    give_up_at = time.monotonic() + SETTLE_LIMIT_S
    while left := _open(place):
        if time.monotonic() > give_up_at:
            outcome.problems += [f"not settled after {SETTLE_LIMIT_S:.0f} s of fair weather: {row}" for row in left]
            break
        outcome.last_home = [dict(row) for row in left]
        calls = [
            fleet.call("ring-job-get", {"jobId": row["id"], "waitSeconds": 0}, ship)
            for row in left
            for ship in fleet.ships
        ]
        await asyncio.gather(*calls)
        await asyncio.sleep(0.5)
    outcome.settle_s = SETTLE_LIMIT_S - (give_up_at - time.monotonic())
    await fleet.leave_all()
    await fleet.start(fleet.ships[0])
    under_way = ("spool", "unwritten")
    with contextlib.suppress(AssertionError):  # the verdict tells what is left
        await until("the spool is tidy", lambda: not left_files(world, under_way), TIDY_LIMIT_S, 0.5)
    await fleet.leave_all()


def _open(place: Place) -> list[dict[str, object]]:
    """Jobs that somebody is to carry on. A clip whose still is of unknown outcome waits for a person, as that does."""
    return place.world.query(
        "SELECT id, state, owner, due_at, failure FROM media_jobs WHERE finished_at IS NULL AND state <> 'unknown'"
        " AND NOT (state = 'planned' AND owner IS NULL AND CAST(failure AS TEXT) LIKE '%unknown_outcome%')"
    )
