"""The gallery's first page over ten jobs of one's own, over a page full, and over ten thousand, in one run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path

from ring_mcp.clock import SystemClock
from tests.benchmarks.measuring import title
from tests.ledger_databases import LedgerDatabase
from tests.ledger_rows import ACTORS, add_finished_jobs
from tests.web.alone import AloneGallery

OWN_JOBS = (10, 24, 10_000)
ACTOR = "actor-0"


def run(rounds: int) -> None:
    title(f"gallery: until the first page is there, median of {rounds}")
    with contextlib.ExitStack() as stack:
        browsers = []
        for own in OWN_JOBS:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ring-gallery-")))
            asyncio.run(_fill(folder / "state" / "ledger.db", own * ACTORS))
            env = {"PATH": os.environ["PATH"], "HOME": str(folder), "RING_STATE_DIR": str(folder / "state")}
            gallery = stack.enter_context(AloneGallery({**env, "XAI_API_KEY": "unused"}, folder, "--actor", ACTOR))
            browser = stack.enter_context(gallery.browse())
            browser.get(gallery.address)
            browsers.append(browser)
        took: list[list[float]] = [[] for _ in OWN_JOBS]
        sizes = [0 for _ in OWN_JOBS]
        for _ in range(rounds):
            for at, browser in enumerate(browsers):
                began = time.perf_counter()
                answer = browser.get("/gallery")
                took[at].append((time.perf_counter() - began) * 1000)
                assert answer.status_code == 200, answer.text
                sizes[at] = answer.text.count("<article")
    for own, each, cards in zip(OWN_JOBS, took, sizes, strict=True):
        print(f"  {own:>6,} own jobs, {cards:>2} cards: {statistics.median(each):5.1f} ms")


async def _fill(path: Path, jobs: int) -> None:
    path.parent.mkdir(parents=True)
    database = LedgerDatabase("sqlite", str(path))
    async with database.started(SystemClock()) as ledger:
        add_finished_jobs(database, jobs)
        await ledger.recount()
