"""What happens to processes, disk, clock and database while jobs are under way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ring_mcp.sandbox.state.settings import DEFAULT_XAI_KEY
from tests.kill.kill_world import World
from tests.postgres_server import PostgresServer
from tests.weather.disk import Disk
from tests.weather.faults import Sky
from tests.weather.fleet import LEAVE_LIMIT_S, Fleet, Ship
from tests.weather.logbook import Logbook
from tests.weather.relay import Relay

OTHER_XAI_KEY = "sandbox-key-of-another-team"
STATES = ("planned", "submitting", "rendering", "storing")
_PATIENCE_S = 8.0
_LOOK_S = 0.02
_BY_COURIER = "kind = 'image' AND CAST(plan AS TEXT) LIKE '%google%'"
_AHEAD_S = (-10_800.0, -700.0, 90.0, 700.0, 10_800.0)


@dataclass(kw_only=True)
class Place:
    """One world and all that can be done to it. ``database`` is None where the ledger is a file."""

    world: World
    fleet: Fleet
    relay: Relay
    sky: Sky
    disk: Disk
    random: random.Random
    database: PostgresServer | None = None
    logbook: Logbook
    """Of the worlds beside this one as well."""

    def states(self, owner: str | None = None, only: str = "TRUE") -> Counter[str]:
        """Of the jobs that are under way, those of this owner alone or all; ``only`` is more SQL to choose them by."""
        rows = self.world.query(
            f"SELECT state, owner FROM media_jobs WHERE finished_at IS NULL AND state <> 'unknown' AND {only}"
        )
        return Counter(row["state"] for row in rows if owner in (None, row["owner"]))


Strike = Callable[[Place, Ship], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Storm:
    """``aims``: the states in which it is to meet a job. ``of_one``: only the jobs of the server that it strikes count,
    and of those ``only`` what this SQL chooses. ``on_postgres``: it needs a database that can be taken away."""

    name: str
    strike: Strike
    aims: tuple[str, ...] = ("submitting", "rendering", "storing")
    of_one: bool = True
    only: str = "TRUE"
    on_postgres: bool = False

    async def come(self, place: Place, aim: str) -> None:
        """Wait, not for long, until it would meet a job that stands there, and strike."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while True:
            ship, states = self._look(place, aim)
            if states[aim] or time.monotonic() > give_up_at:
                break
            await asyncio.sleep(_LOOK_S)
        for state in STATES:
            if states[state]:
                place.logbook.storms[self.name, state] += 1
        await self.strike(place, ship)

    def _look(self, place: Place, aim: str) -> tuple[Ship, Counter[str]]:
        """The server to strike, and what its jobs are at."""
        ships = place.fleet.ships
        if not self.of_one:
            return place.random.choice(ships), place.states(only=self.only)
        seen = [(ship, place.states(ship.owner, self.only)) for ship in ships]
        return max(seen, key=lambda each: (each[1][aim], place.random.random()))


async def _kill(place: Place, ship: Ship) -> None:
    server, ship.server = ship.server, None
    assert server is not None
    await server.kill()
    await place.fleet.start(ship)


async def _kill_couriers(place: Place, _: Ship) -> None:
    """Whoever makes paid requests in the servers' place."""
    servers = {ship.server.pid for ship in place.fleet.ships if ship.server is not None}
    for pid in set(place.fleet.pids()) - servers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def _stop_and_start(place: Place, ship: Ship) -> None:
    server, ship.server = ship.server, None
    assert server is not None
    server.signal(signal.SIGTERM)
    await server.ended(LEAVE_LIMIT_S)
    await place.fleet.start(ship)


async def _sleep(place: Place, ship: Ship) -> None:
    """Longer than a lease on PostgreSQL lasts."""
    assert ship.server is not None
    ship.server.signal(signal.SIGSTOP)
    await asyncio.sleep(4.0)  # how long it sleeps: not a wait for anything
    ship.server.signal(signal.SIGCONT)


async def _other_key(place: Place, ship: Ship) -> None:
    """For a while somebody else's key is here, and is asked for pictures, too."""
    server, ship.server = ship.server, None
    assert server is not None
    await server.kill()
    await place.fleet.start(ship, XAI_API_KEY=OTHER_XAI_KEY)
    await asyncio.sleep(2.0)  # how long the other key is there: not a wait for anything
    assert ship.server is not None
    server, ship.server = ship.server, None
    await place.fleet.see_off(server)
    await place.fleet.start(ship, XAI_API_KEY=DEFAULT_XAI_KEY)


async def _fill(place: Place, _: Ship) -> None:
    pids = place.fleet.pids()
    await asyncio.to_thread(place.disk.fill, pids)
    await asyncio.sleep(place.random.uniform(1.0, 3.0))  # how long it is full: not a wait for anything
    await asyncio.to_thread(place.disk.empty, pids)


async def _move_clock(place: Place, ship: Ship) -> None:
    ship.clock.write_text(str(place.random.choice(_AHEAD_S)))
    await asyncio.sleep(place.random.uniform(1.0, 3.0))  # how long it is wrong: not a wait for anything
    ship.clock.write_text("0")


async def _restart_database(place: Place, _: Ship) -> None:
    assert place.database is not None
    await asyncio.to_thread(place.database.stop)
    await asyncio.sleep(place.random.uniform(0.0, 2.0))  # how long it is away: not a wait for anything
    await asyncio.to_thread(place.database.start)


async def _crash_database(place: Place, _: Ship) -> None:
    assert place.database is not None
    await asyncio.to_thread(place.database.crash)
    await asyncio.to_thread(place.database.start)


async def _refuse_connections(place: Place, _: Ship) -> None:
    await place.relay.shut()
    await asyncio.sleep(place.random.uniform(0.5, 2.0))  # how long nobody listens: not a wait for anything
    await place.relay.open()


STORMS: Sequence[Storm] = (
    Storm(name="kill -9", strike=_kill),
    Storm(name="courier killed", strike=_kill_couriers, aims=("submitting",), of_one=False, only=_BY_COURIER),
    Storm(name="disk full", strike=_fill, of_one=False),
    Storm(name="SIGSTOP", strike=_sleep),
    Storm(name="clock jumps", strike=_move_clock),
    Storm(name="SIGTERM", strike=_stop_and_start),
    Storm(name="no connection", strike=_refuse_connections, of_one=False, aims=("planned", "rendering", "storing")),
    Storm(name="other key", strike=_other_key, aims=("rendering", "storing")),
    Storm(name="database restart", strike=_restart_database, of_one=False, on_postgres=True),
    Storm(name="database crash", strike=_crash_database, of_one=False, on_postgres=True),
)


def unmet_storms(logbook: Logbook, *, with_database: bool) -> list[str]:
    """Those that have not met a job in a state that they aim at, of all that can come to a run ``with_database``, or
    without one."""
    return [
        f"{storm.name} at {aim}"
        for storm in STORMS
        for aim in storm.aims
        if not logbook.storms[storm.name, aim] and (with_database or not storm.on_postgres)
    ]


class Turns:
    """Every storm with every state it aims at, in an order of this seed's: first those that have not met it yet."""

    def __init__(self, place: Place) -> None:
        fitting = [storm for storm in STORMS if place.database is not None or not storm.on_postgres]
        self._aims = [(storm, aim) for storm in fitting for aim in storm.aims]
        place.random.shuffle(self._aims)
        self._aims.sort(key=lambda each: not each[0].on_postgres)
        self._logbook = place.logbook

    def next(self) -> tuple[Storm, str]:
        """The one whose turn it is; it goes to the end of the queue."""
        unmet = [each for each in self._aims if not self._logbook.storms[each[0].name, each[1]]]
        chosen = (unmet or self._aims)[0]
        self._aims.remove(chosen)
        self._aims.append(chosen)
        return chosen
