"""The driver's errors in the ledger's words: what happened, and nothing of where or of what."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import psycopg.conninfo
import pytest
from psycopg_pool import PoolTimeout

from ring_mcp.errors import LedgerError
from ring_mcp.ledger.postgres_session import (
    CONNECT_TIMEOUT_S,
    CONNECTION,
    begin,
    open_connection,
    translate_errors,
)
from tests.ledger_databases import LedgerDatabase

SECRET = "postgresql://somebody:secret@db.example/ring"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PoolTimeout(SECRET), "the database of DATABASE_URL does not answer"),
        (
            psycopg.errors.LockNotAvailable(SECRET),
            "the database of DATABASE_URL is busy: another transaction has held a lock for too long",
        ),
        (
            psycopg.errors.AdminShutdown(SECRET),
            "the database of DATABASE_URL cannot be used (AdminShutdown)",
        ),
        (psycopg.errors.CheckViolation(SECRET), "the database refused a statement (CheckViolation 23514)"),
        (psycopg.InterfaceError(SECRET), "the database refused a statement (InterfaceError )"),
    ],
)
async def test_an_error_is_told_by_its_kind_alone(error: Exception, told: str) -> None:
    with pytest.raises(LedgerError) as caught, translate_errors():
        raise error
    assert caught.value.message == told
    assert caught.value.__cause__ is error
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (psycopg.errors.LockNotAvailable(SECRET), "This call started nothing. Call again in a moment."),
        (
            psycopg.errors.AdminShutdown(SECRET),
            "See that the database runs and that DATABASE_URL is right, then call again; this call started nothing.",
        ),
    ],
)
async def test_a_busy_database_need_not_be_made_reachable(error: Exception, told: str) -> None:
    with pytest.raises(LedgerError) as caught, translate_errors():
        raise error
    assert caught.value.next_action == told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"port": "1"}, "nothing listens there"),
        ({"host": "127.0.0.1", "port": "1"}, "nothing listens there"),
        ({"host": "somewhere.invalid"}, "the name of its host is not known"),
        ({"dbname": "secret_of_mine"}, "it has no such database or user"),
        ({"user": "secret_of_mine"}, "it has no such database or user"),
    ],
    ids=["socket", "port", "host", "database", "user"],
)
async def test_why_nobody_is_connected_is_told_without_names(
    postgres: LedgerDatabase, change: dict[str, str], told: str
) -> None:
    address = psycopg.conninfo.make_conninfo(postgres.address, **change)
    with pytest.raises(LedgerError) as caught, translate_errors():
        await psycopg.AsyncConnection.connect(address)
    assert caught.value.message == f"the database of DATABASE_URL cannot be used ({told})"


async def test_any_other_error_is_left_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), translate_errors():
        raise ZeroDivisionError


async def test_an_address_that_is_none_says_how_to_correct_it() -> None:
    with pytest.raises(LedgerError) as caught:
        async with open_connection("postgresql://somebody:se%cret@"):
            pass
    assert caught.value.message == "DATABASE_URL is not an address of a PostgreSQL database"
    assert "percent-encoded" in caught.value.next_action
    assert (caught.value.retryable, caught.value.__cause__) == (False, None)


async def test_a_cancellation_that_the_driver_loses_is_not_lost() -> None:
    """As ``asyncio.wait_for`` does on Python 3.11, with which psycopg's pool waits for a connection."""
    connection: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        with translate_errors():
            try:
                await connection
            except asyncio.CancelledError:
                return

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_a_cancellation_from_before_ends_nothing() -> None:
    """Work that is cancelled still writes down what it has come to."""

    async def work() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            with translate_errors():
                await asyncio.sleep(0)
        return "written"

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    assert await working == "written"


class Listening:
    """A connection that keeps what it is told."""

    def __init__(self) -> None:
        self.told = ""

    async def execute(self, sql: str) -> None:
        self.told += sql


@pytest.mark.parametrize(("wait_s", "told_ms"), [(5.0, 5000), (0.0126, 13), (0.0, 1), (-3.0, 1)])
async def test_a_lock_is_waited_for_in_milliseconds_and_never_for_ever(wait_s: float, told_ms: int) -> None:
    connection: Any = Listening()
    await begin(connection, wait_s)
    assert f"SET LOCAL lock_timeout = {told_ms};" in connection.told


def test_a_connection_is_given_up_after_ten_seconds_and_prepares_nothing() -> None:
    assert (CONNECT_TIMEOUT_S, CONNECTION["connect_timeout"]) == (10.0, 10)
    assert (CONNECTION["autocommit"], CONNECTION["prepare_threshold"]) == (True, None)
