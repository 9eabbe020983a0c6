"""One state folder, one ledger, one sandbox that survives every kill; and the verdict by the sandbox's books."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from ring_mcp.clock import SystemClock
from ring_mcp.config import child_environment
from ring_mcp.domain import Spend
from ring_mcp.ledger.base import Ledger, WrongSum
from ring_mcp.ledger.postgres import PostgresLedger
from ring_mcp.ledger.rows import TICKS_PER_USD
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.books import Charge
from ring_mcp.sandbox.state.settings import DEFAULT_RINGBASE_TOKEN, DEFAULT_XAI_KEY
from tests.kill.kill_client import REAL_SERVER, Server
from tests.kill.table import KILLS as KILLS  # noqa: PLC0414 - whoever kills records it
from tests.kill.victim import Fate

LedgerKind = Literal["sqlite", "postgres"]
ROOT = Path(__file__).parents[2]
LOOK_S = 0.03
SETTLE_LIMIT_S = 45.0
PAST_EVERY_DEADLINE_S = 200.0
"""A clock this far ahead has passed the deadline of every submit that is under way (at most 150 s)."""

SHORT_LEASE_S = 0.6
"""A lease on PostgreSQL that has run out by the time the next server is up."""

TOOL = {"image": "ring-image-create", "video": "ring-video-create"}
DRIVEN = ("planned", "submitting", "rendering", "storing")


async def until(
    what: str, condition: Callable[[], Any], limit_s: float = SETTLE_LIMIT_S, look_s: float = LOOK_S
) -> Any:
    """Wait for something to be true, and give it; an error that names it when the limit has passed."""
    give_up_at = time.monotonic() + limit_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > give_up_at:
            raise AssertionError(f"waited {limit_s:.0f} s in vain: {what}")
        await asyncio.sleep(look_s)


@dataclass(kw_only=True)
class Verdict:
    """What became of the money. ``problems`` is empty when all is well."""

    submitted: int = 0
    twice: int = 0
    lost: int = 0
    unknown: int = 0
    problems: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("submitted", "twice", "lost", "unknown")}


class World:
    def __init__(self, folder: Path, sandbox: SandboxServer, kind: LedgerKind, database_url: str | None) -> None:
        self.kind = kind
        self.sandbox = sandbox
        self.folder = folder
        self.state = folder / "state"
        self._database_url = database_url
        self.environment = child_environment(
            RING_STATE_DIR=str(self.state),
            XAI_API_BASE_URL=sandbox.xai_base_url,
            XAI_API_KEY=DEFAULT_XAI_KEY,
            RINGBASE_API_URL=sandbox.ringbase_url,
            RINGBASE_API_TOKEN=DEFAULT_RINGBASE_TOKEN,
            VIDEO_GEN_POLL_INTERVAL_MS="100",
            PYTHONPATH=str(ROOT),
            **({"DATABASE_URL": database_url} if database_url else {}),
        )
        self.log = folder / "server.log"
        self.bucket: Path | None = None
        """The folder of the bucket that results go to, where they go to one."""
        self._servers: list[Server] = []

    def move_to(self, machine: str) -> None:
        """From now on programs start on another machine, of this name: it has nothing but its own state folder."""
        self.state = self.folder / machine
        self.environment = self.environment | {"RING_STATE_DIR": str(self.state)}

    async def start(self, fate: Fate | None = None, *, greet: bool = True) -> Server:
        """The real program; with a fate the launcher."""
        arguments: Sequence[str] = REAL_SERVER
        if fate is not None:
            arguments = ("-m", "tests.kill.victim", fate.as_argument())
        server = await Server.start(arguments, self.environment, self.folder, self.log, greet=greet)
        self._servers.append(server)
        return server

    async def start_worker(self) -> Server:
        """`ring-mcp worker`, once it carries jobs on. It speaks no MCP."""
        begun = self._worker_starts()
        server = await Server.start((*REAL_SERVER, "worker"), self.environment, self.folder, self.log, greet=False)
        self._servers.append(server)
        await until("the worker has begun", lambda: self._worker_starts() > begun)
        return server

    def _worker_starts(self) -> int:
        return self.log.read_text().count("ring-mcp carries jobs on") if self.log.exists() else 0

    async def cli(self, *arguments: str) -> str:
        """The output of ``ring-mcp`` with these arguments."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *REAL_SERVER,
            *arguments,
            env=self.environment,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 30.0)
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def close(self) -> None:
        for server in self._servers:
            await server.kill()

    # What the ledger holds, past the product.

    def query(self, sql: str) -> list[dict[str, Any]]:
        if self._database_url is not None:
            with psycopg.connect(self._database_url, row_factory=dict_row) as connection:
                return connection.execute(sql).fetchall()
        path = self.state / "ledger.db"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(path, timeout=10.0)) as file:
            file.row_factory = sqlite3.Row
            if not file.execute("SELECT 1 FROM sqlite_master WHERE name = 'media_jobs'").fetchall():
                return []
            return [dict(row) for row in file.execute(sql).fetchall()]

    def rows(self) -> list[dict[str, Any]]:
        rows = self.query("SELECT * FROM media_jobs ORDER BY created_at, id")
        for row in rows:
            for name in ("plan", "assets", "outputs", "failure"):
                if isinstance(row[name], str):
                    row[name] = json.loads(row[name])
            row["prompt"] = row["plan"]["prompt"]
        return rows

    def row(self, prompt: str) -> dict[str, Any] | None:
        found = [row for row in self.rows() if row["prompt"] == prompt]
        assert len(found) <= 1, f"{len(found)} jobs for {prompt!r}"
        return found[0] if found else None

    def the_row(self, prompt: str) -> dict[str, Any]:
        row = self.row(prompt)
        assert row is not None, f"there is no job for {prompt!r}"
        return row

    def open_rows(self) -> list[dict[str, Any]]:
        """Jobs that somebody is to carry on, parked ones left out. Few columns: this is asked often."""
        listed = "', '".join(DRIVEN)
        return self.query(
            f"SELECT id, state, owner FROM media_jobs WHERE state IN ('{listed}')"
            " AND NOT (owner IS NULL AND (due_at IS NULL OR failure IS NOT NULL))"
        )

    def charges(self, prompt: str | None = None) -> list[Charge]:
        return [c for c in self.sandbox.state.books.charges() if prompt in (None, c.prompt)]

    def asked(self, method: str, path: str) -> int:
        """How many requests of this kind the sandbox has seen."""
        return sum(r["method"] == method and path in r["path"] for r in list(self.sandbox.state.requests))

    async def all_settled(self, limit_s: float = SETTLE_LIMIT_S) -> None:
        await until("every job is settled", lambda: not self.open_rows(), limit_s)

    def ledger(self) -> Ledger:
        if self._database_url is not None:
            return PostgresLedger(self._database_url, SystemClock(), max_connections=2)
        return SqliteLedger(self.state / "ledger.db", SystemClock())

    async def spend(self) -> Spend:
        ledger = self.ledger()
        try:
            return await ledger.spend(SystemClock().now(), sandbox=False)
        finally:
            await ledger.aclose()

    async def find_wrong_sums(self) -> list[WrongSum]:
        ledger = self.ledger()
        try:
            return await ledger.find_wrong_sums()
        finally:
            await ledger.aclose()

    def left_in(self, folder: str) -> list[str]:
        """The files of one folder of the state, by name."""
        return sorted(path.name for path in (self.state / folder).glob("*"))

    async def tidied(self) -> None:
        """Wait until nothing is under way in the spool any more."""
        try:
            await until("the spool is tidy", lambda: not self.left_in("spool"), 10.0)
        except AssertionError as exc:
            exc.add_note(f"left in the spool: {self.left_in('spool')}")
            raise

    # The verdict.

    async def judge(self, *, about: str = "", may_be_unknown: bool = False) -> Verdict:
        """Compare the ledger with the books, once every job is settled; of jobs only those ``about`` this prompt."""
        # What an unknown job may have left is told below; what a job that ends is about to remove is waited for.
        with contextlib.suppress(AssertionError) if may_be_unknown else contextlib.nullcontext():
            await self.tidied()
        rows, verdict = self.rows(), Verdict()
        by_prompt: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_prompt.setdefault(row["prompt"], []).append(row)
        accepted = Counter(charge.prompt for charge in self.charges())
        for prompt in sorted(name for name in by_prompt.keys() | accepted.keys() if about in name):
            states = Counter(row["state"] for row in by_prompt.get(prompt, []))
            verdict.submitted += accepted[prompt]
            verdict.unknown += states["unknown"]
            verdict.twice += max(0, accepted[prompt] - states.total())
            lost = max(0, accepted[prompt] - states["done"] - states["unknown"])
            verdict.lost += lost
            if lost or accepted[prompt] > states.total():
                verdict.problems.append(f"{prompt!r}: accepted {accepted[prompt]} times, jobs {dict(states)}")
        if verdict.unknown and not may_be_unknown:
            verdict.problems.append(f"{verdict.unknown} jobs are unknown for no good reason")
        verdict.problems += self._bad_audit(rows) + self._bad_money(rows)
        reserved = sum((Decimal(r["reserved_usd_ticks"]) for r in rows if r["finished_at"] is None), Decimal(0))
        spend = await self.spend()
        unknown = sum(row["state"] == "unknown" for row in rows)
        if (spend.month_reserved_usd, spend.unknown_jobs) != (reserved / TICKS_PER_USD, unknown):
            verdict.problems.append(f"of {reserved / TICKS_PER_USD} for jobs without an end, {spend} is counted")
        verdict.problems += [f"not what the rows say: {wrong}" for wrong in await self.find_wrong_sums()]
        for folder in ("spool", "unwritten"):
            if left := self.left_in(folder):
                verdict.problems.append(f"left in {folder}: {left}")
        return verdict

    def _bad_audit(self, rows: list[dict[str, Any]]) -> list[str]:
        """Exactly one audit row per stored asset, and the asset's bytes are where it says."""
        problems = []
        written: list[str] = []
        for table in ("generated_images", "generated_videos"):
            written += [str(row["id"]) for row in self.query(f"SELECT id FROM {table}")]
        wanted = [asset["record_id"] for row in rows for asset in row["assets"]]
        if sorted(written) != sorted(wanted):
            problems.append(f"{len(written)} audit rows for {len(wanted)} assets")
        for row in rows:
            asked = row["plan"].get("n", 1)
            if row["state"] == "done" and len(row["assets"]) != asked:
                problems.append(f"{row['prompt']!r}: {len(row['assets'])} assets of {asked}")
            problems += [f"{asset['url']} is not what was made" for asset in row["assets"] if not self._kept(asset)]
        return problems

    def _kept(self, asset: dict[str, Any]) -> bool:
        if self.bucket is not None:
            path = self.bucket / str(asset["key"])
        elif asset["local_path"] is not None:
            path = Path(asset["local_path"])
        else:
            upload = self.sandbox.state.uploads.find(asset["file_id"])
            if upload is None:
                return False
            path = upload.path
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == asset["sha256"]

    def _bad_money(self, rows: list[dict[str, Any]]) -> list[str]:
        """A finished job costs what the provider billed for it."""
        billed = {charge.request_id: charge.cost_ticks for charge in self.charges() if charge.request_id}
        return [
            f"{row['prompt']!r}: settled {row['settled_usd_ticks']}, billed {billed[row['provider_request_id']]}"
            for row in rows
            if row["state"] == "done"
            and row["provider_request_id"] in billed
            and int(row["settled_usd_ticks"]) != billed[row["provider_request_id"]]
        ]


MakeWorld = Callable[[LedgerKind], Awaitable[World]]
