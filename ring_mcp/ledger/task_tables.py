"""The tables of PgQueuer, under names of ours, created and upgraded by ``ring-mcp migrate``. Needs ``[scale]``.

Every name is given here, so that they do not depend on the environment, and a PgQueuer of the operator's own in the
same database is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ring_mcp.errors import ConfigError
from ring_mcp.extras import install_line
from ring_mcp.ledger.tasks import PREFIX, TABLE

if TYPE_CHECKING:
    from pgqueuer.domain.settings import DBSettings
    from pgqueuer.ports.driver import Driver
    from pgqueuer.queries import Queries
    from psycopg import AsyncConnection


def check_library() -> None:
    """Raises ConfigError, with the command that installs it, if PgQueuer is missing."""
    try:
        import pgqueuer  # noqa: F401
    except ImportError as exc:
        run = install_line("scale")
        missing = f"DATABASE_URL: PostgreSQL needs the library pgqueuer, which is not installed. Run: {run}"
        raise ConfigError([missing]) from exc


def name_tables() -> DBSettings:
    """PgQueuer's settings with our names of its tables, whatever the environment says."""
    from pgqueuer.domain.settings import DBSettings, Durability
    from pgqueuer.domain.types import Channel

    names = {
        "function": "fn_pgqueuer_changed",
        "statistics_table": "pgqueuer_statistics",
        "queue_status_type": "pgqueuer_status",
        "queue_table_log": "pgqueuer_log",
        "trigger": "tg_pgqueuer_changed",
        "schedules_table": "pgqueuer_schedules",
    }
    given: dict[str, Any] = {name: f"{PREFIX}{own}" for name, own in names.items()}
    return DBSettings(
        prefix=PREFIX,
        db_schema=None,
        queue_table=TABLE,
        channel=Channel(f"{PREFIX}pgqueuer"),
        # Unlogged tables are empty after a crash of the database: every open job would wait for the reconciler.
        durability=Durability.durable,
        # A server that runs for years must not stop at 2**31 tasks.
        widen_id=True,
        **given,
    )


def queries_over(driver: Driver) -> Queries:
    """PgQueuer's statements for these tables."""
    from pgqueuer.adapters.persistence import qb
    from pgqueuer.queries import Queries

    settings = name_tables()
    return Queries(
        driver,
        qbe=qb.QueryBuilderEnvironment(settings),
        qbq=qb.QueryQueueBuilder(settings),
        qbs=qb.QuerySchedulerBuilder(settings),
    )


async def install(connection: AsyncConnection[Any]) -> bool:
    """Create the tables if there are none, in the open transaction. Returns whether they were created."""
    from pgqueuer import PsycopgDriver

    queries = queries_over(PsycopgDriver(connection))
    if await queries.has_table(TABLE):
        return False
    await queries.install(create_schema=False)
    return True


async def upgrade(connection: AsyncConnection[Any]) -> bool:
    """Upgrade the tables to the installed PgQueuer, statement by statement. Returns whether anything was to be done."""
    from pgqueuer import PsycopgDriver

    # Each statement is a transaction of its own, which cannot say by itself that it writes; the lock is the session's.
    await connection.execute("SET default_transaction_read_only = off")
    try:
        return bool((await queries_over(PsycopgDriver(connection)).apply_upgrade()).statements)
    finally:
        await connection.execute("RESET default_transaction_read_only")  # a pooler keeps the connection
