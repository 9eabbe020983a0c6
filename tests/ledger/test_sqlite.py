"""What is particular to a ledger in one file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Caps, JobState, RateBucket, Spacing
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import JobQuery
from ring_mcp.ledger.sqlite import SqliteLedger, _use_wal
from ring_mcp.ledger.statements import Statement, Transaction
from tests.fake_clock import START, FakeClock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_process import OtherProcess, other_process
from tests.ledger_samples import HOLDER, NO_CAPS, PRICE_USD, audit_row, carried, opened, planned

PAGE_BYTES = 4096
LIMIT_S = 60.0


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to let any file grow further: a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def processes(stack: contextlib.AsyncExitStack, database: LedgerDatabase, count: int) -> list[OtherProcess]:
    return await asyncio.gather(*(stack.enter_async_context(other_process(database)) for _ in range(count)))


# The file


async def test_the_first_start_makes_file_and_folder_for_this_user_alone(sqlite: LedgerDatabase) -> None:
    path = Path(sqlite.address)
    async with sqlite.started():
        for file in (path, path.with_name("ledger.db-wal"), path.with_name("ledger.db-shm")):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent / "locks")] == [0o700] * 2
        assert len(list((path.parent / "locks").iterdir())) == 1
    assert list((path.parent / "locks").iterdir()) == []


async def test_folders_above_the_files_own_are_made_as_well(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "share" / "of mine" / "state" / "ledger.db", FakeClock())
    assert not (await ledger.open(planned(), NO_CAPS)).joined
    await ledger.aclose()


async def test_a_ledger_that_was_not_started_starts_with_its_first_use(sqlite: LedgerDatabase) -> None:
    ledger = sqlite.ledger()
    assert await ledger.get("no-such-job") is None
    await ledger.aclose()


async def test_a_ledger_that_was_never_used_leaves_no_trace(sqlite: LedgerDatabase) -> None:
    await sqlite.ledger().aclose()
    assert not Path(sqlite.address).parent.exists()


async def test_what_was_written_is_there_after_a_restart(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as first:
        job = await opened(first, JobState.STORING)
        record = audit_row()
        job = await first.save(job, carried(job, JobState.DONE), [record])
    async with sqlite.started() as second:
        assert await second.get(job.id) == job
        assert [row["id"] for row in await second.records("generated_images", [record.id])] == [record.id]


async def test_what_was_written_is_there_after_kill_9(sqlite: LedgerDatabase) -> None:
    async with other_process(sqlite) as other:
        answers = await other.ask("open", jobs=[{}] * 10)
        await other.kill()
    async with sqlite.started() as ledger:
        page = await ledger.list_jobs(JobQuery(limit=100))
        assert {job.id for job in page.jobs} == {job_id for job_id, _ in answers}


async def test_the_file_is_in_wal_mode_so_that_processes_can_share_it(sqlite: LedgerDatabase) -> None:
    async with sqlite.started():
        [mode] = sqlite.query("SELECT * FROM pragma_journal_mode")
        assert mode == {"journal_mode": "wal"}


def overwritten_with_text(path: Path) -> None:
    path.write_text("this is a letter, not a ledger\n" * 1000)


def overwritten_behind_the_first_page(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:PAGE_BYTES] + b"\x99" * (len(whole) - PAGE_BYTES))


def cut_in_half(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("damage", [overwritten_with_text, overwritten_behind_the_first_page, cut_in_half])
async def test_a_damaged_file_is_named_and_nothing_is_opened_in_it(
    sqlite: LedgerDatabase, damage: Callable[[Path], None]
) -> None:
    path = Path(sqlite.address)
    async with sqlite.started() as ledger:
        for _ in range(20):
            await opened(ledger)
    damage(path)
    damaged = path.read_bytes()
    ledger = sqlite.ledger()
    with pytest.raises(LedgerError, match="is damaged; restore it from a backup, or move the file away") as refusal:
        await ledger.open(planned(), NO_CAPS)
    assert str(path) in refusal.value.message
    await ledger.aclose()
    assert path.read_bytes() == damaged
    path.rename(path.with_suffix(".damaged"))
    async with sqlite.started() as ledger:
        assert not (await ledger.open(planned(), NO_CAPS)).joined


async def test_a_database_of_another_program_is_not_touched(sqlite: LedgerDatabase) -> None:
    Path(sqlite.address).parent.mkdir()
    sqlite.query("CREATE TABLE media_jobs (id TEXT, theirs TEXT)")
    ledger = sqlite.ledger()
    with pytest.raises(LedgerError):
        await ledger.start()
    await ledger.aclose()
    assert [row["name"] for row in sqlite.query("SELECT name FROM sqlite_master")] == ["media_jobs"]


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where the folder should be")
    ledger = SqliteLedger(tmp_path / "occupied" / "state" / "ledger.db", FakeClock())
    for attempt in (ledger.start, ledger.ping, lambda: ledger.open(planned(), NO_CAPS)):
        with pytest.raises(LedgerError, match="point RING_STATE_DIR to a writable folder") as refusal:
            await attempt()
        assert str(tmp_path / "occupied") in refusal.value.message
    await ledger.aclose()


async def test_a_file_given_as_the_state_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where the folder should be")
    ledger = SqliteLedger(tmp_path / "occupied" / "ledger.db", FakeClock())
    with pytest.raises(LedgerError, match="point RING_STATE_DIR to a writable folder"):
        await ledger.start()
    await ledger.aclose()


async def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    ledger = SqliteLedger(tmp_path / "ledger.db", FakeClock())
    with pytest.raises(LedgerError, match=r"ledger\.db cannot be written; point RING_STATE_DIR to a writable folder"):
        await ledger.start()
    await ledger.aclose()


async def test_a_ledger_works_as_soon_as_it_can(tmp_path: Path) -> None:
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file where the folder should be")
    ledger = SqliteLedger(in_the_way / "ledger.db", FakeClock())
    with pytest.raises(LedgerError):
        await ledger.open(planned(), NO_CAPS)
    in_the_way.unlink()
    assert not (await ledger.open(planned(), NO_CAPS)).joined
    await ledger.aclose()


async def test_a_full_disk_is_a_ledger_error_that_loses_nothing_written_before(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger:
        job = await opened(ledger)
        with files_of_at_most(PAGE_BYTES), pytest.raises(LedgerError):
            await ledger.save(job, carried(job, JobState.SUBMITTING))
        assert await ledger.get(job.id) == job
        moved = await ledger.save(job, carried(job, JobState.SUBMITTING))
        assert await ledger.get(job.id) == moved


async def test_a_ping_that_cannot_write_says_so_and_breaks_nothing(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger:
        await opened(ledger)
        with files_of_at_most(PAGE_BYTES), pytest.raises(LedgerError, match="disk"):
            await ledger.ping()
        await ledger.ping()
        assert not (await ledger.open(planned(), NO_CAPS)).joined
    async with sqlite.started() as again:
        assert len((await again.list_jobs(JobQuery())).jobs) == 2


class Refusing:
    """A connection whose next commit is refused without being undone, as where another process reads too long."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._refuses = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and self._refuses:
            self._refuses = False
            raise sqlite3.OperationalError("database is locked")
        return self._connection.execute(sql, *parameters)


async def test_a_refused_commit_of_a_ping_holds_up_nobody(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger, sqlite.started() as other:
        assert isinstance(ledger, SqliteLedger)
        connection: Any = Refusing(ledger._connect())
        ledger._connection = connection
        with pytest.raises(LedgerError, match="was locked by another process for 30 s"):
            await ledger._in_thread(ledger._writer, ledger._write_page)
        assert not connection.in_transaction
        assert not (await other.open(planned(), NO_CAPS)).joined
        await ledger.ping()


async def test_what_sqlite_undoes_altogether_has_failed_altogether(sqlite: LedgerDatabase) -> None:
    """As it does by itself when the disk is full."""
    async with sqlite.started() as ledger:
        assert isinstance(ledger, SqliteLedger)
        sqlite.query(
            "CREATE TRIGGER undo BEFORE INSERT ON media_jobs WHEN new.actor_id = 'anna'"
            " BEGIN SELECT RAISE(ROLLBACK, 'all of it'); END"
        )
        hold = threading.Event()
        ledger._writer.submit(hold.wait, LIMIT_S)
        calls = [asyncio.create_task(ledger.open(planned(actor_id=of), NO_CAPS)) for of in ("bert", "anna", "carl")]
        for _ in range(3):
            await asyncio.sleep(0)
        hold.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(answer).endswith("failed: all of it") for answer in answers] == [True] * 3
        assert (await ledger.list_jobs(JobQuery())).jobs == []
        assert not (await ledger.open(planned(actor_id="bert"), NO_CAPS)).joined


# Several processes


@pytest.mark.long
async def test_four_processes_that_start_at_once_on_no_file_all_start(sqlite: LedgerDatabase, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        others = await processes(stack, sqlite, 4)
        for number in range(25):
            path = tmp_path / f"state-{number}" / "ledger.db"
            for other in others:
                other.tell("start_at", address=str(path))
            assert [await other.heard() for other in others] == ["started"] * 4
            tables = LedgerDatabase("sqlite", str(path)).query("SELECT name FROM sqlite_master WHERE type = 'table'")
            assert "media_jobs" in {table["name"] for table in tables}


async def test_two_processes_read_and_write_one_file_together(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger, other_process(sqlite) as other:
        other.tell("open", jobs=[{}] * 20)
        await asyncio.gather(*(opened(ledger, JobState.SUBMITTING) for _ in range(20)))
        assert len(await other.heard()) == 20
        assert (await ledger.spend(START, sandbox=False)).open_jobs == 40


async def test_the_jobs_of_a_killed_process_can_be_taken_over_at_once(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger, other_process(sqlite) as other:
        answers = await other.ask("open", jobs=[{}] * 3)
        assert isinstance(ledger, SqliteLedger)
        assert await ledger.claim(HOLDER, 10, parked=True) == []
        await other.kill()
        assert {job.id for job in await ledger.claim(HOLDER, 10)} == {job_id for job_id, _ in answers}
        locks = list((Path(sqlite.address).parent / "locks").iterdir())
        assert len(locks) == 1, "the lock file of the dead is gone"


async def test_a_start_removes_the_lock_files_of_the_dead(sqlite: LedgerDatabase) -> None:
    locks = Path(sqlite.address).parent / "locks"
    async with contextlib.AsyncExitStack() as stack:
        living, *killed = await processes(stack, sqlite, 4)
        for other in (living, *killed):
            await other.ask("start")
        for other in killed:
            await other.kill()
        being_made = locks / ".just-made"
        being_made.touch()
        abandoned = locks / ".killed-while-it-was-made"
        abandoned.touch()
        os.utime(abandoned, (0, 0))
        assert len(list(locks.iterdir())) == 6
        async with sqlite.started() as ledger:
            left = {path.name for path in locks.iterdir()}
            assert len(left) == 3
            assert {ledger.owner, being_made.name} < left
            [[job_id, _]] = await living.ask("open", jobs=[{}])
            assert await ledger.claim_one(HOLDER, job_id) is None, "its lock still says that it lives"


async def test_one_job_of_a_killed_process_can_be_taken_over_at_once(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger, other_process(sqlite) as other:
        [[job_id, _]] = await other.ask("open", jobs=[{}])
        assert await ledger.claim_one(HOLDER, job_id) is None
        await other.kill()
        claimed = await ledger.claim_one(HOLDER, job_id)
        assert claimed is not None
        assert claimed.id == job_id


async def test_a_process_that_only_stands_still_keeps_its_jobs(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger, other_process(sqlite) as other:
        [[job_id, _]] = await other.ask("open", jobs=[{}])
        other.pause()
        assert isinstance(ledger, SqliteLedger)
        assert await ledger.claim(HOLDER, 10, parked=True) == []
        assert await ledger.claim_one(HOLDER, job_id) is None
        other.resume()
        assert await other.ask("save", job_id=job_id, seen_version=1) == "saved"


async def test_each_job_of_the_dead_goes_to_one_of_many(sqlite: LedgerDatabase) -> None:
    async with contextlib.AsyncExitStack() as stack:
        dying, *others = await processes(stack, sqlite, 4)
        answers = await dying.ask("open", jobs=[{}] * 20)
        for other in others:
            await other.ask("start")
        await dying.kill()
        taken: list[str] = []
        for _ in range(20):  # one may take another one's look at the lock file for life, and come back
            for other in others:
                other.tell("claim")
            taken += [job_id for other in others for job_id in await other.heard()]
            if len(taken) >= 20:
                break
        assert sorted(taken) == sorted(job_id for job_id, _ in answers)


async def test_the_event_loop_goes_on_while_another_process_holds_the_write_lock(sqlite: LedgerDatabase) -> None:
    ticked = asyncio.Event()

    async def tick() -> None:
        for _ in range(50):
            await asyncio.sleep(0.001)
        ticked.set()

    async with sqlite.started() as ledger, other_process(sqlite) as other:
        await other.ask("hold_the_write_lock")
        opening = asyncio.create_task(ledger.open(planned(), NO_CAPS))
        ticking = asyncio.create_task(tick())
        await asyncio.wait_for(ticked.wait(), LIMIT_S)
        assert not opening.done()
        assert await other.ask("let_go") == "free"
        assert not (await asyncio.wait_for(opening, LIMIT_S)).joined
        await ticking


async def test_who_reads_does_not_wait_for_who_writes(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger, other_process(sqlite) as other:
        assert isinstance(ledger, SqliteLedger)
        job = await opened(ledger, JobState.RENDERING)
        await other.ask("hold_the_write_lock")
        opening = [asyncio.create_task(ledger.open(planned(), NO_CAPS)) for _ in range(3)]
        await asyncio.sleep(0)  # they have begun
        assert await asyncio.wait_for(ledger.get(job.id), LIMIT_S) == job
        assert [each.id for each in (await asyncio.wait_for(ledger.list_jobs(JobQuery()), LIMIT_S)).jobs] == [job.id]
        assert await asyncio.wait_for(ledger.heartbeat(HOLDER), LIMIT_S) == {job.id}
        assert await asyncio.wait_for(ledger.claim(HOLDER, 10, parked=True), LIMIT_S) == []
        assert (await asyncio.wait_for(ledger.spend(START, sandbox=False), LIMIT_S)).open_jobs == 1
        assert not any(each.done() for each in opening)
        assert await other.ask("let_go") == "free"
        assert not any(each.joined for each in await asyncio.wait_for(asyncio.gather(*opening), LIMIT_S))


async def test_of_writes_that_share_a_commit_each_is_refused_alone(sqlite: LedgerDatabase) -> None:
    for_three = Caps(per_day_usd=3 * PRICE_USD)
    async with sqlite.started() as ledger, other_process(sqlite) as other:
        job = await opened(ledger, JobState.STORING, sandbox=True)
        await other.ask("hold_the_write_lock")
        calls = [asyncio.create_task(ledger.open(planned(), for_three)) for _ in range(10)]
        wrong = asyncio.create_task(ledger.save(job, replace(job, progress=101), [audit_row()]))
        right = asyncio.create_task(ledger.save(job, replace(job, progress=90)))
        late = asyncio.create_task(ledger.save(job, replace(job, progress=91)))
        await asyncio.sleep(0)  # they have begun
        assert await other.ask("let_go") == "free"
        answers = await asyncio.gather(*calls, wrong, right, late, return_exceptions=True)
        assert [type(answer).__name__ for answer in answers] == [
            *["Opened"] * 3,
            *["CapExceeded"] * 7,
            "LedgerError",
            "Job",
            "JobMoved",
        ]
        assert (await ledger.get(job.id)) == await right
        assert len((await ledger.list_jobs(JobQuery())).jobs) == 4
        assert sqlite.query("SELECT COUNT(*) AS rows FROM generated_images") == [{"rows": 0}]
        assert await ledger.find_wrong_sums() == []


async def test_a_commit_that_fails_confirms_nothing(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger, other_process(sqlite) as other:
        await opened(ledger)
        await other.ask("hold_the_write_lock")
        with files_of_at_most(PAGE_BYTES):
            calls = [asyncio.create_task(ledger.open(planned(), NO_CAPS)) for _ in range(5)]
            await asyncio.sleep(0)  # they have begun
            assert await other.ask("let_go") == "free"
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(answer) for answer in answers} == {LedgerError}
        assert len((await ledger.list_jobs(JobQuery())).jobs) == 1
        assert not (await ledger.open(planned(), NO_CAPS)).joined
        assert await ledger.find_wrong_sums() == []


async def test_a_reader_cannot_write(sqlite: LedgerDatabase) -> None:
    def write_down() -> Transaction[None]:
        yield Statement("DELETE FROM media_jobs")

    ledger = SqliteLedger(Path(sqlite.address), FakeClock())
    job = await opened(ledger)
    with pytest.raises(LedgerError):
        await ledger._read(write_down())
    assert await ledger.get(job.id) == job
    await ledger.aclose()
    with pytest.raises(LedgerError, match="is closed"):
        await ledger.get(job.id)
    with pytest.raises(LedgerError, match="is closed"):
        await ledger.open(planned(), NO_CAPS)


async def test_who_reads_or_writes_waits_half_a_minute_for_others(sqlite: LedgerDatabase) -> None:
    def ask() -> Transaction[list[object]]:
        return [value for row in (yield Statement("PRAGMA busy_timeout")) for value in row.values()]

    async with sqlite.started() as ledger:
        assert isinstance(ledger, SqliteLedger)
        assert await ledger._read(ask()) == await ledger._write(ask()) == [30_000]


async def test_callers_that_are_cancelled_while_they_wait_leave_the_ledger_usable(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger, other_process(sqlite) as other:
        await other.ask("hold_the_write_lock")
        calls = [asyncio.create_task(ledger.open(planned(), NO_CAPS)) for _ in range(3)]
        await asyncio.sleep(0)  # they have begun
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await other.ask("let_go")
        job = await opened(ledger)
        assert await ledger.get(job.id) == job


async def test_a_process_killed_while_it_holds_the_write_lock_gives_it_back(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger, other_process(sqlite) as other:
        await other.ask("hold_the_write_lock")
        opening = asyncio.create_task(ledger.open(planned(), NO_CAPS))
        await other.kill()
        assert not (await asyncio.wait_for(opening, LIMIT_S)).joined


class OftenLocked:
    """A connection to which SQLite says these things, one after the other, and then nothing."""

    def __init__(self, *says: str) -> None:
        self.says = [*says]
        self.asked = 0

    def execute(self, sql: str) -> None:
        self.asked += 1
        if self.says:
            raise sqlite3.OperationalError(self.says.pop(0))


def test_the_switch_to_wal_is_tried_again_while_others_switch() -> None:
    busy: Any = OftenLocked("database is locked", "database is locked")
    _use_wal(busy)
    assert busy.asked == 3
    full: Any = OftenLocked("database is locked", "database or disk is full")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        _use_wal(full)
    assert full.asked == 2


async def test_what_sqlite_says_beside_what_is_known_is_told_as_it_is(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger:
        job = await opened(ledger)
        with pytest.raises(LedgerError) as caught:
            await ledger.save(job, replace(job, progress=101))
    assert (
        caught.value.message
        == f"the ledger {sqlite.address} failed: CHECK constraint failed: progress BETWEEN 0 AND 100"
    )


# Which commits are on the disk before they return


class Watched(SqliteLedger):
    """Says of each write whether its commit is going to be synced."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        super().__init__(path, clock)
        self.synced: list[bool] = []

    async def _write(self, transaction: Transaction[Any], turns: Sequence[int] = (), *, relaxed: bool = False) -> Any:
        def look() -> Transaction[Any]:
            ((level,),) = [row.values() for row in (yield Statement("PRAGMA synchronous", {}))]
            self.synced.append(level >= FULL)
            return (yield from transaction)

        return await super()._write(look(), turns, relaxed=relaxed)


FULL = 2


async def test_money_and_results_are_synced_and_what_costs_nothing_is_not(tmp_path: Path) -> None:
    ledger = Watched(tmp_path / "ledger.db", FakeClock())
    job = (await ledger.open(planned(), NO_CAPS)).job
    for state in (JobState.SUBMITTING, JobState.RENDERING, JobState.DONE):
        job = await ledger.save(
            job, carried(job, state) if state is not JobState.DONE else carried(job, JobState.FAILED)
        )
    await ledger.mark_delivered(job.id, START)
    await ledger.ping()
    assert ledger.synced == [False, True, True, True, False, True]
    await ledger.aclose()


async def test_what_only_counts_is_not_waited_for_on_the_disk(tmp_path: Path) -> None:
    """Every look at a job takes from a bucket."""
    ledger = Watched(tmp_path / "ledger.db", FakeClock())
    bucket = RateBucket(sandbox=False, account="xai/one", model="a model", asking="look")
    await ledger.take_rate(bucket, Spacing(second_s=0.1), 1, 5.0)
    await ledger.slow_down(bucket, 1.0)
    await ledger.note_duration("a model", 3.0, sandbox=False)
    assert ledger.synced == [False, False, False]
    await ledger.aclose()


@pytest.mark.parametrize("intent_first", [False, True])
async def test_what_shares_a_commit_with_what_is_synced_is_synced(tmp_path: Path, intent_first: bool) -> None:
    ledger = Watched(tmp_path / "ledger.db", FakeClock())
    job = (await ledger.open(planned(), NO_CAPS)).job
    hold = threading.Event()
    ledger._writer.submit(hold.wait, LIMIT_S)
    writes = [ledger.open(planned(), NO_CAPS), ledger.save(job, carried(job, JobState.SUBMITTING))]
    writing = [asyncio.ensure_future(write) for write in (reversed(writes) if intent_first else writes)]
    for _ in range(3):
        await asyncio.sleep(0)
    hold.set()
    await asyncio.gather(*writing)
    assert ledger.synced == [False, True, True]
    await ledger.aclose()
