"""The state folder in one tar archive: consistent while servers write, and put back as a whole or not at all.

Facts that the ledger does not have yet are copied before the ledger: what moves over meanwhile is then in both, and the
next start knows it as written. Media are copied after it: a file is stored before its row says so.
"""

from __future__ import annotations

import contextlib
import filecmp
import io
import json
import os
import secrets
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter

from ring_mcp.errors import RingError
from ring_mcp.files import sync_folder
from ring_mcp.jobs.submitting import STALE_PLAN_S

FORMAT = 1
_MANIFEST, _LEDGER, _MEDIA = "ring-mcp-backup.json", "ledger.db", "files"
_SECRET, _FOLDERS = "files.secret", ("unwritten", "accounts")
_SMALL = (_SECRET, *_FOLDERS)
_MOST_MANIFEST_BYTES = 64 * 1024
_OPEN = "state IN ('planned', 'submitting', 'rendering', 'storing')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is in a backup. ``jobs`` is None where the ledger is elsewhere; times are ISO 8601, UTC."""

    format: int
    created_at: str
    jobs: int | None
    open_jobs: int
    media: int
    size_bytes: int


def write_backup(file: Path, state: Path, ledger: Path | None, media: Path | None) -> Contents:
    """Write ``file`` as a whole, readable by its owner alone. ``ledger``: the SQLite file, ``media``: a folder.

    Raises RingError; then ``file`` is what it was before.
    """
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    copy = part.with_suffix(".ledger")
    try:
        # Its owner's alone from the first byte on, and not after a chmod: it has prompts and a secret in it.
        with _translate(file), os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            with tarfile.open(fileobj=out, mode="w") as archive:
                for name in _SMALL:
                    _add(archive, state / name, name)
                jobs, open_jobs = None, 0
                if ledger is not None:
                    jobs, open_jobs = _copy_ledger(ledger, copy)
                    archive.add(copy, _LEDGER, filter=_plain)
                files = _add(archive, media, _MEDIA) if media is not None else 0
                # Last, because it counts what is in the archive, and because one that was cut off then has none.
                contents = Contents(
                    format=FORMAT,
                    created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                    jobs=jobs,
                    open_jobs=open_jobs,
                    media=files,
                    size_bytes=out.tell(),
                )
                facts = json.dumps(asdict(contents)).encode()
                entry = tarfile.TarInfo(_MANIFEST)
                entry.size, entry.mode = len(facts), 0o600
                archive.addfile(entry, io.BytesIO(facts))
            out.flush()
            os.fsync(out.fileno())
        with _translate(file):
            part.replace(file)
            sync_folder(file.parent)
    finally:
        for left in (part, copy):
            with contextlib.suppress(OSError):  # what went wrong before is what has to be told
                left.unlink()
    return contents


def read_backup(file: Path, state: Path, ledger: Path | None, media: Path) -> Contents:
    """Put a backup back. ``ledger``: where its SQLite file goes; None where this configuration has a database.

    Raises RingError, with nothing changed, if there is a ledger already, the file is none of ours, it holds a ledger
    and nobody here would read it, or a job whose request may be leaving just now."""
    if ledger is not None and ledger.exists():
        raise RingError(
            f"{ledger} is there already, and nothing is written over it",
            next_action="Move it away, with its -wal and -shm, or point RING_STATE_DIR to another folder.",
        )
    with _translate(file):
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = state / f".restoring-{secrets.token_hex(4)}"
        aside.mkdir(mode=0o700)
        try:
            contents = _unpack(file, aside)
            if contents.jobs is not None:
                _check_ledger(aside / _LEDGER)
                if ledger is None:
                    raise RingError(
                        "this backup has a SQLite ledger, which is not read while DATABASE_URL is set",
                        next_action="Restore it without DATABASE_URL; a database is put back with pg_restore.",
                    )
            _move_in(aside, state, ledger, media)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return contents


def _copy_ledger(ledger: Path, copy: Path) -> tuple[int, int]:
    """As of one moment, whatever others write meanwhile. How many jobs it has, and how many of them are open."""
    if not ledger.is_file():
        raise RingError(f"there is no ledger yet: {ledger}", next_action="See RING_STATE_DIR and RING_SANDBOX.")
    # Read-only: a backup changes nothing in a ledger that servers write to.
    with contextlib.closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True)) as source:
        # Made here, for SQLite would make it with whatever mode the umask allows.
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            # The copy says WAL like its source; as one file of an archive it must do without the files beside it.
            target.execute("PRAGMA journal_mode = DELETE")
            return _count(target, "1 = 1"), _count(target, _OPEN)


def _count(connection: sqlite3.Connection, where: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM media_jobs WHERE {where}").fetchone()[0])  # noqa: S608


def _add(archive: tarfile.TarFile, path: Path, name: str) -> int:
    """A file, or the files of a folder; how many. What is removed meanwhile is not there."""
    if path.is_file() and not path.is_symlink():
        with contextlib.suppress(FileNotFoundError):
            archive.add(path, name, filter=_plain)
            return 1
        return 0
    found = sorted(path.iterdir()) if path.is_dir() and not path.is_symlink() else []
    return sum(_add(archive, each, f"{name}/{each.name}") for each in found)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the names and numbers of this machine's people."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o600
    return entry


def _unpack(file: Path, aside: Path) -> Contents:
    try:
        # "r:" takes no compressed archive: what is unpacked is no larger than the file.
        with tarfile.open(file, "r:") as archive:
            for entry in archive:
                # By names that are ours and no others: a stranger's archive writes nowhere and leaves nothing.
                first, *rest = PurePosixPath(entry.name).parts
                is_known = first in (_MEDIA, *_FOLDERS) if rest else first in (_MANIFEST, _LEDGER, _SECRET)
                # A sparse one says a size of its own, which may be any.
                is_plain = entry.isfile() and not entry.issparse()
                if not is_plain or not is_known or ".." in rest or entry.name.startswith("/"):
                    raise RingError(f"{file} is no backup of ring-mcp: it holds {entry.name[:100]!r}")
                entry.mode = 0o600  # as it was written, whatever the archive says now
                archive.extract(entry, aside, filter="data")
        with (aside / _MANIFEST).open("rb") as manifest:
            contents = TypeAdapter(Contents).validate_json(manifest.read(_MOST_MANIFEST_BYTES))
    except (tarfile.TarError, FileNotFoundError, ValueError) as exc:
        raise RingError(f"{file} is no backup of ring-mcp, or not a whole one") from exc
    if contents.format != FORMAT:
        raise RingError(f"{file} has format {contents.format}; {FORMAT} is known here: a newer ring-mcp wrote it")
    # What is put in place is what was checked: the word of the manifest alone would let a ledger pass unseen.
    if (contents.jobs is not None) != (aside / _LEDGER).exists():
        raise RingError(f"{file} is no backup of ring-mcp: its ledger is not what it says")
    return contents


def _check_ledger(path: Path) -> None:
    """Raises RingError for one that is damaged, or that would pay for what another process pays for just now."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise RingError("the ledger in this backup is damaged")
        columns = {row[1] for row in connection.execute("PRAGMA table_info(media_jobs)")}
        # What was last seen in line then is no older than that, and would be sent (``jobs.record``).
        of = "max(created_at, coalesce(in_line_at, created_at))" if "in_line_at" in columns else "created_at"
        newest = connection.execute(f"SELECT max({of}) FROM media_jobs WHERE state = 'planned'").fetchone()[0]  # noqa: S608
    if newest is None:
        return
    try:
        safe_at = datetime.fromisoformat(str(newest)).astimezone(UTC) + timedelta(seconds=STALE_PLAN_S)
    except (ValueError, OverflowError) as exc:
        raise RingError("the ledger in this backup is damaged") from exc
    if safe_at > datetime.now(UTC):
        raise RingError(
            "a job of this backup had not been sent yet; whether it was sent since is not known here, and a server "
            "would send it",
            next_action=f"Restore it after {safe_at:%H:%M:%S} UTC: a plan that old is not sent any more.",
        )


def _move_in(aside: Path, state: Path, ledger: Path | None, media: Path) -> None:
    """The ledger last: without it the folder is as good as empty, and this may be done again."""
    for name in _SMALL:
        _merge(aside / name, state / name)
    _merge(aside / _MEDIA, media)
    sync_folder(state)
    if ledger is not None and (aside / _LEDGER).exists():
        # Of a ledger that was moved away without them: SQLite would play them into this one.
        for beside in ("-wal", "-shm"):
            ledger.with_name(ledger.name + beside).unlink(missing_ok=True)
        (aside / _LEDGER).replace(ledger)
        sync_folder(ledger.parent)


def _merge(source: Path, target: Path) -> None:
    """Files into their places; what is there already under that name with these bytes stays."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        for each in sorted(source.iterdir()):
            _merge(each, target / each.name)
    # By the bytes: a secret has the same size everywhere, and addresses that were signed with the old one must go on.
    elif source.exists() and not (target.exists() and filecmp.cmp(source, target, shallow=False)):
        shutil.move(source, target)


@contextlib.contextmanager
def _translate(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise RingError(f"the ledger cannot be copied: {exc}") from exc
    except OSError as exc:
        raise RingError(f"{exc.filename or file}: {exc.strerror}") from exc
