"""What ring-mcp costs on top of the thing itself: to start, per picture, and under load.

    uv run python -m tests.benchmarks                      # all of them, two minutes on two cores
    uv run python -m tests.benchmarks startup --rounds 41  # one of: startup picture load http clips hostile tokens
    RING_BENCHMARK_BEFORE=../before uv run python -m tests.benchmarks picture  # beside an older checkout
    uv run python -m tests.benchmarks ledger               # with up to a million jobs; twenty minutes
    uv run python -m tests.benchmarks open                 # with ten thousand jobs under way; two minutes
    uv run python -m tests.benchmarks fleet                # three thousand jobs in a fleet; half an hour
    uv run python -m tests.benchmarks gallery              # its first page with ten thousand jobs; a minute

Both sides of every comparison run interleaved in one run, so that a machine under load slows both; the medians are
compared. ``cpu`` beside ``wall`` is the processor time of the process, which other work on the machine changes less.
Goals (nothing is judged, only printed): the first answer within 2.0 times ``python -c pass``, with the lists 2.5 times,
the first result of a tool within 1.05 times a bare server's; a picture at most 9 ms more than the bare HTTP calls for
it, with a preview at most 13.
"""

from __future__ import annotations

import argparse
import asyncio

from tests.benchmarks import (
    clips,
    fleet,
    gallery,
    hostile,
    http_load,
    ledger,
    load,
    open_jobs,
    picture,
    startup,
    tokens,
)
from tests.benchmarks.measuring import title


def http(calls: int) -> None:
    title(
        f"http: {calls} calls of ring-image-create by {http_load.CLIENTS} clients, and a bare server with an empty tool"
    )
    for figures in asyncio.run(http_load.measure(calls)):
        print(f"  {figures}")


PARTS = {
    "clips": (clips.run, 11),
    "startup": (startup.run, 21),
    "picture": (picture.run, 41),
    "load": (load.run, 200),
    "http": (http, http_load.CALLS),
    "hostile": (hostile.run, 10),
    "tokens": (tokens.run, tokens.JOBS),
    "ledger": (ledger.run, 41),
    "open": (open_jobs.run, 31),
    "fleet": (fleet.run, 3000),
    "gallery": (gallery.run, 41),
}
LONG = {"ledger", "open", "fleet", "gallery"}
"""Minutes each: only when they are asked for."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all that take seconds")
    parser.add_argument("--rounds", type=int, help="how often each side is measured (load and http: how many calls)")
    given = parser.parse_args()
    for part in given.parts or [part for part in PARTS if part not in LONG]:
        run, rounds = PARTS[part]
        run(given.rounds or rounds)


if __name__ == "__main__":
    main()
