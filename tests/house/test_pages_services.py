"""The pages on services against the services: routes, statuses, commands, clients, the database, the sandbox."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import httpx2

from ring_mcp.app import open_app
from ring_mcp.cli.client_configs import CLIENTS
from ring_mcp.cli.commands import cli
from ring_mcp.config import load_config
from ring_mcp.domain import JobState
from ring_mcp.ledger.task_tables import name_tables
from ring_mcp.metrics import Registry
from ring_mcp.reporting import Reporting
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.fault_kinds import FAULT_KINDS
from ring_mcp.server.http import build_http_app
from ring_mcp.storage.links import FileLinks
from tests.house.pages import ROOT, page, quoted


def refusals(path: Path) -> Iterator[int]:
    """Statuses of errors that stand in a module, written as people write them (0o644 is none)."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, int) and 400 <= value < 600 and ast.get_source_segment(source, node) == str(value):
            yield value


def test_the_table_of_statuses_is_what_the_server_answers() -> None:
    told = {int(row[0]) for row in page("http").tables("status")}
    server = (ROOT / "ring_mcp" / "server").glob("*.py")

    assert told == {200, 201, 202} | {status for path in server for status in refusals(path)}


async def test_the_table_of_routes_is_what_the_server_routes(tmp_path: Path) -> None:
    async with open_app(load_config({"RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)) as app:
        links, reporting = FileLinks("http://127.0.0.1:1", b"secret"), Reporting(Registry())
        served = build_http_app(app, links, asyncio.Event(), reporting=reporting)
    routed = {str(getattr(route, "path", "")).replace(":path}", "}").rstrip("/") for route in served.routes}

    told = {path for row in page("http").tables("path") for path in quoted(row[0])}
    assert {path.partition(" ")[2].rstrip("…").rstrip("/") for path in told} == routed


def leaves(command: click.Command, name: str) -> Iterator[str]:
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield name
    if isinstance(command, click.Group):
        for word, child in command.commands.items():
            yield from leaves(child, f"{name} {word}")


def test_the_table_of_commands_is_the_command_line() -> None:
    assert {quoted(row[0])[0] for row in page("command-line").tables("command")} == set(leaves(cli, "ring-mcp"))


def test_the_table_of_clients_is_what_config_knows() -> None:
    told = {quoted(row[1])[0]: row[2] for row in page("clients").tables("client") if quoted(row[1])}
    configured = {name: text for name, text in told.items() if name in CLIENTS}

    assert set(configured) == set(CLIENTS)
    for name, kind in CLIENTS.items():
        own = kind.file(Path("~"), Path("settings"), Path())
        assert str(own).removeprefix("settings/Claude/") in configured[name], name


def test_the_table_of_states_is_the_state_machine() -> None:
    assert [quoted(row[0])[0] for row in page("money").tables("state")] == list(JobState)


def test_the_tables_of_the_database_are_those_of_the_files() -> None:
    files = [file.read_text(encoding="utf-8") for file in (ROOT / "sql" / "postgres").glob("*.sql")]
    creating = re.compile(r"^CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\w+)", re.M)
    made = {name for file in files for name in creating.findall(file)}
    made -= {name for file in files for name in re.findall(r"^DROP TABLE (\w+)", file, re.M)}
    tables = name_tables()  # those of PgQueuer
    made |= {tables.queue_table, tables.queue_table_log, tables.schedules_table, tables.statistics_table}

    assert {quoted(row[0])[0] for row in page("postgres").tables("table")} == made


def test_faults_of_the_page_are_faults_of_the_sandbox() -> None:
    assert {quoted(row[0])[0] for row in page("sandbox").tables("fault")} <= set(FAULT_KINDS)


async def test_the_sandbox_takes_the_switches_of_its_page() -> None:
    sh = "\n".join(block.text for block in page("sandbox").blocks("sh"))
    posted = re.findall(r"^curl -X POST http://127\.0\.0\.1:8790(/\S+) -d '(.+)'$", sh, re.M)
    rows = [(quoted(row[0])[0].partition(" "), quoted(row[1])) for row in page("sandbox").tables("path")]
    shown = [(method, path, json.loads(body[0]) if body else None) for (method, _, path), body in rows]
    assert posted
    async with SandboxServer() as sandbox, httpx2.AsyncClient(base_url=sandbox.url, verify=False, timeout=60) as client:
        for path, body in posted:
            assert (await client.post(path, json=json.loads(body))).status_code == 200
        for method, path, body in shown:
            answer = await client.request(method, path, json=body or {})
            assert answer.status_code == 200, (method, path, answer.text)
        assert (await client.get(f"{sandbox.ringbase_url}/api/v1/health")).status_code == 200
