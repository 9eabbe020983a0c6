"""The servers of one world: started, stopped, killed and started again, each with a clock of its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kill.kill_client import Reply, Server, ServerDied
from tests.kill.kill_world import World
from tests.weather.launcher import TELL_TASKS, TELL_THREADS, Order

CALL_LIMIT_S = 240.0
LEAVE_LIMIT_S = 180.0
ANSWER_LIMIT_S = 480.0
"""For a caller who has to ask again, because servers die."""


@dataclass
class Ship:
    """One place for a server. ``card`` holds the name under which the one that is there owns jobs."""

    number: int
    clock: Path
    card: Path
    server: Server | None = None

    @property
    def owner(self) -> str:
        return self.card.read_text() if self.card.exists() else ""


class Fleet:
    """``size`` places. ``plant``: the bug that every server has."""

    def __init__(self, world: World, size: int, chance: random.Random, plant: str | None) -> None:
        self._world = world
        self._random = chance
        self.plant = plant
        self.ships = [
            Ship(number, world.folder / f"clock-{number}", world.folder / f"owner-{number}") for number in range(size)
        ]
        for ship in self.ships:
            ship.clock.write_text("0")

    async def start(self, ship: Ship, **environment: str) -> None:
        order = Order(clock=str(ship.clock), card=str(ship.card), plant=self.plant)
        arguments = ("-m", "tests.weather.launcher", order.as_argument())
        where = (self._world.environment | environment, self._world.folder, self._world.log)
        ship.server = await Server.start(arguments, *where)

    async def start_all(self, **environment: str) -> None:
        await asyncio.gather(*(self.start(ship, **environment) for ship in self.ships))

    async def leave_all(self) -> None:
        """Every server is asked to end, and has to."""
        servers = [ship.server for ship in self.ships if ship.server is not None]
        for ship in self.ships:
            ship.server = None
        await asyncio.gather(*(self.see_off(server) for server in servers))

    async def see_off(self, server: Server) -> None:
        """Close its stdin: it has to end by itself. One that does not says where it stands, in the log."""
        try:
            server.close_stdin()
            await server.ended(LEAVE_LIMIT_S)
        except TimeoutError:
            for number in (TELL_TASKS, TELL_THREADS):
                server.signal(number)
                await asyncio.sleep(1.0)  # for its last words: not a wait for anything
            await server.kill()
            raise

    async def kill_all(self) -> None:
        for ship in self.ships:
            if ship.server is not None:
                server, ship.server = ship.server, None
                await server.kill()

    def pids(self) -> list[int]:
        """The servers, and whatever they have started."""
        own = {ship.server.pid for ship in self.ships if ship.server is not None}
        return sorted(own.union(processes_of(self._world.folder)))

    async def call(self, tool: str, arguments: Mapping[str, Any], ship: Ship | None = None) -> Reply | None:
        """What one of the servers answers, any of them or this one. None: it died, or there is none."""
        afloat = [each for each in ([ship] if ship else self.ships) if each.server is not None]
        if not afloat:
            return None
        server = self._random.choice(afloat).server
        assert server is not None
        try:
            return await server.call(tool, arguments, CALL_LIMIT_S)
        except ServerDied:
            return None

    async def call_until_answered(self, tool: str, arguments: Mapping[str, Any]) -> Reply:
        """The same call again until somebody lives long enough to answer it."""
        async with asyncio.timeout(ANSWER_LIMIT_S):
            while True:
                reply = await self.call(tool, arguments)
                if reply is not None:
                    return reply
                await asyncio.sleep(0.2)


def processes_of(folder: Path) -> list[int]:
    """The processes of this machine that work in this folder: servers, and couriers, which are nobody's children."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == folder and (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found
