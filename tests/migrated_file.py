"""A ledger's SQLite file as its first start leaves it: cheaper to copy than to migrate each one anew."""

from __future__ import annotations

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from ring_mcp.ledger.sqlite import SqliteLedger
from tests.fake_clock import FakeClock


def put_migrated_file(path: Path) -> None:
    """An empty ledger at ``path``, where no file is yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_migrated_file())


@cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        path = Path(folder) / "ledger.db"
        # This thread may have a running event loop.
        thread.submit(lambda: asyncio.run(_start_and_close(SqliteLedger(path, FakeClock())))).result()
        return path.read_bytes()  # closed, all of it is in this file


async def _start_and_close(ledger: SqliteLedger) -> None:
    await ledger.start()
    await ledger.aclose()
