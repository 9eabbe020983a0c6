"""``ring-mcp backup`` and ``restore``: a copy of one moment, taken while a server writes, and put back as a whole."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ring_mcp.errors import RingError
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.state_backup import read_backup, write_backup
from tests.server.wire import RingProcess, environment, path_of
from tests.warm import command


def test_a_backup_of_a_running_server_is_the_same_elsewhere(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer
) -> None:
    with RingProcess(env, tmp_path) as ring:
        made = ring.create(prompt="kept").data
        done = command(env, tmp_path, "backup", "all.tar", "--media")
        assert done.returncode == 0, done.stderr
        assert "1 job, 0 open; 1 file of local storage" in done.stdout
        ring.create(prompt="made later")
    assert (tmp_path / "all.tar").stat().st_mode & 0o777 == 0o600

    elsewhere = environment(tmp_path, RING_SANDBOX=sandbox.url, RING_STATE_DIR=str(tmp_path / "elsewhere"))
    put_back = command(elsewhere, tmp_path, "restore", "all.tar")
    assert put_back.returncode == 0, put_back.stderr
    listed = command(elsewhere, tmp_path, "jobs", "list", "--json").stdout.splitlines()
    [job] = map(json.loads, listed)
    assert (job["jobId"], job["prompt"]) == (made["jobId"], "kept")
    there = Path(job["url"].removeprefix("file://"))
    assert there.is_relative_to(tmp_path / "elsewhere")
    assert there.read_bytes() == path_of(made["url"]).read_bytes()
    with RingProcess(elsewhere, tmp_path) as again:
        assert not again.health().is_error


def test_nothing_is_written_over_a_ledger_or_a_backup(env: dict[str, str], tmp_path: Path) -> None:
    with RingProcess(env, tmp_path) as ring:
        ring.create(prompt="kept")
    command(env, tmp_path, "backup", "b.tar")
    before = (tmp_path / "b.tar").read_bytes()
    refused = command(env, tmp_path, "backup", "b.tar")
    assert refused.returncode == 2
    assert (tmp_path / "b.tar").read_bytes() == before
    over = command(env, tmp_path, "restore", "b.tar")
    assert over.returncode == 1
    assert "is there already, and nothing is written over it" in over.stderr


def some_state(folder: Path, state: str, age: str = "-1 second", in_line: str | None = None) -> Path:
    """A ledger of one job, as far as a backup looks at it; ``in_line``: how long ago it was seen there last."""
    folder.mkdir()
    ledger = folder / "ledger.db"
    with sqlite3.connect(ledger) as connection:
        connection.execute("CREATE TABLE media_jobs (id TEXT, state TEXT, created_at TEXT, in_line_at TEXT)")
        at = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now', ?)"
        connection.execute(f"INSERT INTO media_jobs VALUES ('a', ?, {at}, {at})", (state, age, in_line))
    connection.close()
    return ledger


@pytest.mark.parametrize(
    ("age", "in_line", "waits"),
    [
        ("-1 minutes", None, True),
        ("-11 minutes", None, False),
        ("-40 minutes", "-1 minutes", True),
        ("-40 minutes", "-11 minutes", False),
    ],
)
def test_a_request_that_may_be_leaving_elsewhere_is_not_taken_up(
    tmp_path: Path, age: str, in_line: str | None, waits: bool
) -> None:
    old = some_state(tmp_path / "old", "planned", age, in_line)
    assert write_backup(tmp_path / "b.tar", old.parent, old, None).open_jobs == 1
    new = tmp_path / "new"
    if waits:
        with pytest.raises(RingError, match="had not been sent yet") as refusal:
            read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")
        assert refusal.value.next_action.startswith("Restore it after ")
        assert list(new.iterdir()) == []
    else:
        read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")
        assert (new / "ledger.db").exists()


def test_a_backup_of_a_version_without_lines_is_judged_by_its_age(tmp_path: Path) -> None:
    old = some_state(tmp_path / "old", "planned", "-1 minutes")
    with sqlite3.connect(old) as connection:
        connection.execute("ALTER TABLE media_jobs DROP COLUMN in_line_at")
    connection.close()
    write_backup(tmp_path / "b.tar", old.parent, old, None)
    new = tmp_path / "new"
    with pytest.raises(RingError, match="had not been sent yet"):
        read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")


def test_facts_beside_the_ledger_go_along(tmp_path: Path) -> None:
    old = some_state(tmp_path / "old", "done")
    (old.parent / "unwritten").mkdir()
    (old.parent / "unwritten" / "job.json").write_text("facts")
    (old.parent / "files.secret").write_text("secret")
    (old.parent / "spool").mkdir()
    (old.parent / "spool" / "x.media").write_text("not this")
    write_backup(tmp_path / "b.tar", old.parent, old, None)
    new = tmp_path / "new"
    new.mkdir()
    (new / "files.secret").write_text("anothr")  # of a server that was started there before
    read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")
    assert (new / "unwritten" / "job.json").read_text() == "facts"
    assert (new / "files.secret").read_text() == "secret"
    assert not (new / "spool").exists()


@pytest.mark.parametrize(
    "name", ["../outside", "/outside", "ledger.db/../../outside", "other", "files.secret/x", "unwritten", "files"]
)
def test_an_archive_of_somebody_else_changes_nothing(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    new = tmp_path / "inner" / "new"
    new.parent.mkdir()
    with pytest.raises(RingError, match="no backup of ring-mcp"):
        read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")
    assert list(new.iterdir()) == []
    assert not (new.parent / "outside").exists()
    assert not (tmp_path / "outside").exists()


def write_archive(file: Path, entries: Mapping[str, bytes], *, mode: int = 0o600, **facts: object) -> None:
    """A backup as somebody writes it who knows how: ``facts`` are what its manifest says in place of the usual."""
    usual = {"format": 1, "created_at": "2026-11-29T00:00:00", "jobs": None, "open_jobs": 0, "media": 0}
    manifest = json.dumps({**usual, "size_bytes": 1, **facts}).encode()
    with tarfile.open(file, "w") as archive:
        for name, content in {"ring-mcp-backup.json": manifest, **entries}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))


def test_a_ledger_that_the_manifest_hides_is_not_put_back(tmp_path: Path) -> None:
    """Its jobs would be carried on without the look at what may be leaving elsewhere."""
    ledger = some_state(tmp_path / "old", "planned").read_bytes()
    write_archive(tmp_path / "b.tar", {"ledger.db": ledger}, jobs=None)
    new = tmp_path / "new"
    with pytest.raises(RingError, match="its ledger is not what it says"):
        read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")
    assert list(new.iterdir()) == []


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00", "yesterday"])
def test_a_plan_of_no_possible_time_is_damage(tmp_path: Path, at: str) -> None:
    old = some_state(tmp_path / "old", "planned")
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE media_jobs SET created_at = ?", (at,))
    connection.close()
    write_backup(tmp_path / "b.tar", old.parent, old, None)
    new = tmp_path / "new"
    with pytest.raises(RingError, match="damaged"):
        read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")


@pytest.mark.parametrize(
    "manifest", [b"[" * 60_000, b'{"format": 1, "jobs": {}}', json.dumps({"size_bytes": "much"}).encode(), b"\xff"]
)
def test_a_manifest_that_is_none_is_told_as_such(tmp_path: Path, manifest: bytes) -> None:
    write_archive(tmp_path / "b.tar", {"ring-mcp-backup.json": manifest})
    new = tmp_path / "new"
    with pytest.raises(RingError, match="not a whole one"):
        read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")


def test_a_sparse_file_of_any_size_is_refused(tmp_path: Path) -> None:
    hole = io.BytesIO()
    with tarfile.open(fileobj=hole, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("files/large.png")
        entry.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**40)}
        archive.addfile(entry)
    (tmp_path / "b.tar").write_bytes(hole.getvalue())
    new = tmp_path / "new"
    with pytest.raises(RingError, match="it holds"):
        read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")


def test_what_is_put_back_is_its_owners_alone(tmp_path: Path) -> None:
    write_archive(tmp_path / "b.tar", {"files.secret": b"s" * 64, "files/a.png": b"p"}, mode=0o777)
    new = tmp_path / "new"
    read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")
    for name in ("files.secret", "files/a.png"):
        assert (new / name).stat().st_mode & 0o777 == 0o600


def test_a_terminal_is_told_no_commands_of_a_backup(env: dict[str, str], tmp_path: Path) -> None:
    write_archive(tmp_path / "b.tar", {}, created_at="now\x1b]0;mine\x07\rnothing")
    done = command({**env, "RING_STATE_DIR": str(tmp_path / "new")}, tmp_path, "restore", "b.tar")
    assert done.returncode == 0, done.stderr
    assert not {"\x1b", "\x07", "\r"} & set(done.stdout)


def test_a_backup_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    old = some_state(tmp_path / "old", "done")
    write_backup(tmp_path / "b.tar", old.parent, old, None)
    whole = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:6000])
    new = tmp_path / "new"
    with pytest.raises(RingError, match="not a whole one"):
        read_backup(tmp_path / "b.tar", new, new / "ledger.db", new / "files")
    assert list(new.iterdir()) == []


def test_a_backup_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("the old one")
    with pytest.raises(RingError, match="there is no ledger yet"):
        write_backup(tmp_path / "b.tar", tmp_path, tmp_path / "ledger.db", None)
    assert (tmp_path / "b.tar").read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["b.tar"]


def test_a_ledger_that_nobody_would_read_is_not_put_back(tmp_path: Path) -> None:
    """Where DATABASE_URL is set the file would lie there unseen, and its jobs be asked for again."""
    old = some_state(tmp_path / "old", "done")
    write_backup(tmp_path / "b.tar", old.parent, old, None)
    write_backup(tmp_path / "beside-a-database.tar", old.parent, None, None)
    new = tmp_path / "new"
    with pytest.raises(RingError, match="DATABASE_URL is set"):
        read_backup(tmp_path / "b.tar", new, None, new / "files")
    assert list(new.iterdir()) == []
    assert read_backup(tmp_path / "beside-a-database.tar", new, None, new / "files").jobs is None
