"""Who lives, by a lock that the kernel drops: of this process, of another one, of one that was killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ring_mcp.ledger.process_lock import ProcessLock
from tests.auditing import when

HOLDER = """
import sys
from pathlib import Path
from ring_mcp.ledger.process_lock import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
lock.acquire()
print(lock.name, flush=True)
sys.stdin.read()
"""


def test_a_lock_is_seen_by_others_until_it_is_released(tmp_path: Path) -> None:
    mine, theirs = ProcessLock(tmp_path / "locks"), ProcessLock(tmp_path / "locks")
    assert mine.name != theirs.name
    assert not theirs.is_held(mine.name)
    mine.acquire()
    assert theirs.is_held(mine.name)
    assert theirs.is_held(mine.name)  # a look takes nothing away
    assert [path.name for path in (tmp_path / "locks").iterdir()] == [mine.name]
    mine.release()
    assert not theirs.is_held(mine.name)
    assert list((tmp_path / "locks").iterdir()) == []


def test_a_lock_may_be_taken_and_released_twice_and_taken_again(tmp_path: Path) -> None:
    mine, theirs = ProcessLock(tmp_path), ProcessLock(tmp_path)
    mine.acquire()
    mine.acquire()
    mine.release()
    mine.release()
    assert not theirs.is_held(mine.name)
    mine.acquire()
    assert theirs.is_held(mine.name)
    mine.release()


def test_the_folder_and_the_file_are_for_this_user_alone(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "state" / "locks")
    lock.acquire()
    assert (tmp_path / "state" / "locks").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "locks" / lock.name).stat().st_mode & 0o777 == 0o600
    lock.release()


def test_a_process_that_was_killed_holds_nothing_and_its_file_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        mine = ProcessLock(tmp_path)
        assert mine.is_held(name)
        process.kill()
        process.wait()
        assert not mine.is_held(name)
        assert list(tmp_path.iterdir()) == []


def test_a_name_that_leads_elsewhere_is_looked_for_in_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("not a lock")
    lock = ProcessLock(tmp_path / "locks")
    lock.acquire()
    assert not lock.is_held("../outside")
    assert outside.exists()
    lock.release()


def test_a_lock_is_dropped_with_its_file_and_not_only_hidden(tmp_path: Path) -> None:
    mine, theirs = ProcessLock(tmp_path), ProcessLock(tmp_path)
    mine.acquire()
    os.link(tmp_path / mine.name, tmp_path / "another-name")
    assert theirs.is_held("another-name")
    mine.release()
    assert not theirs.is_held("another-name")


def test_files_of_the_dead_are_removed_and_those_of_the_living_left(tmp_path: Path) -> None:
    mine, theirs = ProcessLock(tmp_path), ProcessLock(tmp_path)
    mine.acquire()
    theirs.acquire()
    for name in ("dead", ".being-made", ".never-made"):
        (tmp_path / name).touch()
    os.utime(tmp_path / ".never-made", (0, 0))
    mine.remove_dead()
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, theirs.name, ".being-made"}
    assert ProcessLock(tmp_path).is_held(mine.name)
    for lock in (mine, theirs):
        lock.release()


def test_the_dead_are_listed_without_being_removed(tmp_path: Path) -> None:
    mine, theirs = ProcessLock(tmp_path), ProcessLock(tmp_path)
    assert mine.list_dead() == []
    mine.acquire()
    theirs.acquire()
    names = ("b-dead", "a-dead", ".being-made", ".never-made")
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / ".never-made", (0, 0))
    for _ in range(2):
        assert [path.name for path in mine.list_dead()] == [".never-made", "a-dead", "b-dead"]
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, theirs.name, *names}
    theirs.release()
    mine.release()


def test_a_lock_that_is_being_made_is_believed_for_a_minute(tmp_path: Path) -> None:
    mine = ProcessLock(tmp_path)
    for name, age_s in ((".just-begun", 10), (".long-ago", 90)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    assert [path.name for path in mine.list_dead()] == [".long-ago"]
    mine.remove_dead()
    assert [path.name for path in tmp_path.iterdir()] == [".just-begun"]


def test_the_living_are_listed_by_label_in_the_order_they_came(tmp_path: Path) -> None:
    locks = [ProcessLock(tmp_path, label) for label in ("serve a:1", "stdio b:2", "worker ö:3", "x" * 300)]
    for age_s, lock in enumerate(locks):
        lock.acquire()
        os.utime(tmp_path / lock.name, (0, 1_000_000 - age_s))
    for name in ("dead", ".being-made"):
        (tmp_path / name).write_text(" nobody")
    oldest_first = [("x" * 200, 999_997.0), ("worker ö:3", 999_998.0), ("stdio b:2", 999_999.0), ("serve a:1", 1e6)]
    assert locks[0].list_alive() == oldest_first
    locks[2].release()
    assert locks[0].list_alive() == [each for each in oldest_first if each[0] != "worker ö:3"]
    for lock in locks:
        lock.release()
    assert locks[0].list_alive() == []


def test_a_long_label_may_be_cut_in_the_middle_of_a_letter(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path, "x" + "ö" * 150)
    lock.acquire()
    assert [label for label, _ in lock.list_alive()] == ["x" + "ö" * 99 + "\ufffd"]
    lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
def test_nobody_is_called_dead_whose_lock_cannot_be_looked_at(tmp_path: Path) -> None:
    """As where this process has too many files open: its jobs would be taken from one that lives."""
    import resource

    mine, theirs = ProcessLock(tmp_path), ProcessLock(tmp_path)
    theirs.acquire()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        is_held = mine.is_held(theirs.name)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert is_held
    theirs.release()


@pytest.mark.parametrize("name", ["", "..", "a" * 300, "a\0b"])
def test_a_name_that_no_lock_can_have_is_nobody_s(tmp_path: Path, name: str) -> None:
    assert not ProcessLock(tmp_path).is_held(name)


def test_what_cannot_be_opened_or_locked_is_not_called_dead(tmp_path: Path) -> None:
    (tmp_path / "a-folder").mkdir()
    (tmp_path / "dead").touch()
    assert [path.name for path in ProcessLock(tmp_path).list_dead()] == ["dead"]

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks left")

    with when("fcntl.flock", refuse):
        assert ProcessLock(tmp_path).list_dead() == []


def test_nobody_s_own_lock_is_among_the_dead(tmp_path: Path) -> None:
    """Another object of this process may look while the lock is being released."""
    mine = ProcessLock(tmp_path)
    (tmp_path / mine.name).touch()
    assert mine.list_dead() == []
    mine.remove_dead()
    assert (tmp_path / mine.name).exists()
