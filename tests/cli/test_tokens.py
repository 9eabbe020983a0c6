"""``ring-mcp tokens``: shown once, kept as a hash, listed with caps and spending, and gone when it is revoked."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.wire import RingProcess
from tests.warm import command


def test_a_token_is_shown_once_and_kept_as_a_hash(env: dict[str, str], tmp_path: Path) -> None:
    made = command(env, tmp_path, "tokens", "add", "ann", "--per-call", "$0.5", "--per-day", "2")
    token = made.stdout.strip()
    assert made.returncode == 0
    assert len(token) == len("ringmcp_") + 43
    assert "token of ann (spend up to $0.50 a call, $2.00 a day)" in made.stderr
    with closing(sqlite3.connect(tmp_path / "state" / "sandbox" / "ledger.db")) as ledger:
        assert token not in "".join(map(str, ledger.execute("SELECT * FROM ring_mcp_actors").fetchone()))
    again = command(env, tmp_path, "tokens", "add", "ann")
    assert (again.returncode, again.stdout) == (1, "")
    assert "ann has a token already" in again.stderr
    assert token not in command(env, tmp_path, "tokens", "list").stdout


def test_a_list_says_who_may_what_and_has_spent_what(env: dict[str, str], tmp_path: Path) -> None:
    assert "nobody has a token" in command(env, tmp_path, "tokens", "list").stdout
    token = command(env, tmp_path, "tokens", "add", "ann", "--per-month", "9").stdout.strip()
    command(env, tmp_path, "tokens", "add", "bob", "--look-only")
    with RingProcess({**env, "RING_SERVICE_TOKEN": token}, tmp_path) as ring:
        made = ring.create(prompt="of ann", resolution="1k").data
        told = ring.call("ring-whoami", {})
        assert told.data["actor"]["id"] == "ann"
        assert "this month" in told.text
        assert command(env, tmp_path, "tokens", "revoke", "bob").stdout == "bob was revoked\n"
    listed = command(env, tmp_path, "tokens", "list", "--json").stdout.splitlines()
    ann, bob = [json.loads(line) for line in listed]
    assert (ann["name"], ann["maySpend"], ann["capsUsd"]) == ("ann", True, {"perMonth": 9.0})
    assert ann["spentTodayUsd"] == made["billedCostUsd"] > 0
    assert (bob["name"], bob["maySpend"], bob["spentThisMonthUsd"]) == ("bob", False, 0.0)
    assert "revokedAt" in bob
    table = command(env, tmp_path, "tokens", "list").stdout
    assert "look only" in table
    assert "spend up to $9.00 a month" in " ".join(table.split())
    assert ann["sandbox"] is True
    assert table.startswith("SANDBOX: ")


def test_over_stdio_a_revoked_token_spends_nothing(env: dict[str, str], tmp_path: Path) -> None:
    token = command(env, tmp_path, "tokens", "add", "ann").stdout.strip()
    with RingProcess({**env, "RING_SERVICE_TOKEN": token}, tmp_path) as ring:
        assert ring.create(prompt="one", resolution="1k").data["state"] == "done"
        assert command(env, tmp_path, "tokens", "revoke", "ann").returncode == 0
        assert ring.create(prompt="two", resolution="1k").content["code"] == "unauthorized"
    assert "already" in command(env, tmp_path, "tokens", "revoke", "ann").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "two words"), "a name has"),
        (("add", "alice"), "is an actor of this configuration already"),
        (("add", "ring-mcp-service"), "is an actor of this configuration already"),
        (("add", "ann", "--per-day", "much"), "is no amount of dollars"),
        (("add", "ann", "--per-day", "NaN"), "is no amount of dollars"),
        (("add", "ann", "--per-day=-1"), "is no amount of dollars"),
        (("revoke", "nobody"), "no token has the name 'nobody'"),
    ],
)
def test_what_is_wrong_is_said(env: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    told = command({**env, "RING_MCP_SERVICE_TOKENS": "alice=the-token-of-alice"}, tmp_path, "tokens", *arguments)
    assert told.returncode in (1, 2)
    assert words in " ".join(told.stderr.split())
