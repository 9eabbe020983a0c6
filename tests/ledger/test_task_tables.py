"""PgQueuer's tables under names of ours, whatever stands in the environment, and what is said without PgQueuer."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg
import pytest

from ring_mcp.errors import ConfigError
from ring_mcp.extras import install_line
from ring_mcp.ledger.postgres import migrate
from ring_mcp.ledger.postgres_session import open_connection
from ring_mcp.ledger.task_tables import check_library, name_tables, upgrade
from ring_mcp.ledger.tasks import PREFIX, TABLE
from tests.ledger_databases import LedgerDatabase

LIMIT_S = 120.0


def said_by(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    return done.stdout.strip()


def test_every_name_is_ours() -> None:
    settings = name_tables()
    names = [getattr(settings.qualified, name) for name in settings.qualified.__dataclass_fields__]
    assert len(names) == 6
    assert all(name.startswith(PREFIX) for name in [*names, settings.trigger, settings.channel])
    assert settings.queue_table == TABLE


async def test_what_was_installed_by_any_version_has_these_names(postgres: LedgerDatabase) -> None:
    """``migrate`` adds columns to tables that it finds: under another name an old database would have none."""
    tables = postgres.query("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    assert {row["name"] for row in tables if "pgqueuer" in row["name"]} == {
        "ring_mcp_pgqueuer",
        "ring_mcp_pgqueuer_log",
        "ring_mcp_pgqueuer_schedules",
        "ring_mcp_pgqueuer_statistics",
    }
    rest = postgres.query(
        "SELECT proname AS name FROM pg_proc WHERE proname ~ 'pgqueuer'"
        " UNION SELECT tgname FROM pg_trigger WHERE tgname ~ 'pgqueuer' AND NOT tgisinternal"
        " UNION SELECT typname FROM pg_type WHERE typname ~ 'pgqueuer' AND typtype = 'e'"
    )
    assert {row["name"] for row in rest} == {
        "ring_mcp_fn_pgqueuer_changed",
        "ring_mcp_pgqueuer_status",
        "ring_mcp_tg_pgqueuer_changed",
    }


def test_what_stands_in_the_environment_for_pgqueuer_changes_nothing() -> None:
    program = "from ring_mcp.ledger.task_tables import name_tables; print(name_tables().model_dump_json())"
    names = {name.upper() for name in type(name_tables()).model_fields} - {"DURABILITY", "WIDEN_ID"}
    theirs = dict.fromkeys([*names, "PGQUEUER_PREFIX", "PGQUEUER_SCHEMA"], "theirs")
    assert said_by(program, **theirs) == said_by(program)


def test_without_pgqueuer_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    check_library()
    monkeypatch.setitem(sys.modules, "pgqueuer", None)
    with pytest.raises(ConfigError) as refusal:
        check_library()
    assert "DATABASE_URL" in refusal.value.message
    assert refusal.value.message.endswith(f"Run: {install_line('scale')}")


def test_tasks_outlive_a_crash_and_two_billion_of_them() -> None:
    settings = name_tables()
    assert (settings.durability.value, settings.widen_id, settings.db_schema) == ("durable", True, None)
    assert settings.channel == "ring_mcp_pgqueuer"


async def test_tables_that_are_behind_are_brought_up_to_date(postgres: LedgerDatabase) -> None:
    postgres.query(f"ALTER TABLE {TABLE} DROP COLUMN attempts")
    assert await migrate(postgres.address) == ["PgQueuer's tables"]
    assert await migrate(postgres.address) == []
    assert postgres.query(f"SELECT attempts FROM {TABLE}") == []


async def test_a_connection_is_left_as_it_was_by_an_upgrade(postgres: LedgerDatabase) -> None:
    """A pooler gives it to somebody else."""
    name = psycopg.conninfo.conninfo_to_dict(postgres.address)["dbname"]
    postgres.query(f"ALTER DATABASE {name} SET default_transaction_read_only TO on")
    async with open_connection(postgres.address) as connection:
        assert not await upgrade(connection)
        shown = await connection.execute("SHOW default_transaction_read_only")
        assert await shown.fetchone() == {"default_transaction_read_only": "on"}
