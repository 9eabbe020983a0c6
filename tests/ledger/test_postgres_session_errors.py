"""The driver's errors in the ledger's words: what happened, and nothing of where or of what."""

from __future__ import annotations

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from ring_mcp.errors import LedgerError
from ring_mcp.ledger.postgres_session import open_connection, translate_errors

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
def test_an_error_is_told_by_its_kind_alone(error: Exception, told: str) -> None:
    with pytest.raises(LedgerError) as caught, translate_errors():
        raise error
    assert caught.value.message == told
    assert caught.value.__cause__ is error
    assert caught.value.retryable


def test_any_other_error_is_left_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), translate_errors():
        raise ZeroDivisionError


async def test_an_address_that_is_none_says_how_to_correct_it() -> None:
    with pytest.raises(LedgerError) as caught:
        async with open_connection("postgresql://somebody:se%cret@"):
            pass
    assert caught.value.message == "DATABASE_URL is not an address of a PostgreSQL database"
    assert "percent-encoded" in caught.value.next_action
    assert (caught.value.retryable, caught.value.__cause__) == (False, None)
