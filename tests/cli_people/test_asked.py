"""Asked at the terminal before it is paid, and a person's yes to what an agent was refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.people import BAD_USAGE, DONE, FAILED, serving
from tests.cli_people.terminal import at_terminal
from tests.server.wire import RingProcess, charges, environment
from tests.warm import command

TOKEN = "a-token-of-sixteen"
SPEND, APPROVE = "Spend it?", "Let exactly this through"
SCRIPT = {
    "schemaVersion": "1.0",
    "requestId": "pier",
    "clips": [
        {"id": name, "duration": 1, "scene": {"action": f"a boat, {name}", "camera": "slow dolly in"}}
        for name in ("one", "two")
    ],
}


@pytest.fixture
def env(sandbox: SandboxServer, tmp_path: Path) -> dict[str, str]:
    settings = {"RING_SANDBOX": sandbox.url, "RING_CONFIRM": "require", "VIDEO_GEN_POLL_INTERVAL_MS": "50"}
    return environment(tmp_path, **settings)


@pytest.mark.parametrize("mode", ["ask", "require"])
@pytest.mark.parametrize(("typed", "status", "count"), [("y\n", DONE, 1), ("n\n", FAILED, 0)])
def test_a_picture_is_asked_about_at_the_terminal(
    sandbox: SandboxServer, tmp_path: Path, env: dict[str, str], mode: str, typed: str, status: int, count: int
) -> None:
    ended, shown = at_terminal(
        env | {"RING_CONFIRM": mode}, tmp_path, "image", f"a {mode} {count}", typed={SPEND: typed}
    )
    assert ended == status, shown
    assert "$0.06" in shown
    assert len(charges(sandbox, f"a {mode} {count}")) == count


def test_yes_and_a_dry_run_are_not_asked_about(sandbox: SandboxServer, tmp_path: Path, env: dict[str, str]) -> None:
    assert at_terminal(env, tmp_path, "image", "a spit", "--dry-run", typed={})[0] == DONE
    assert command(env, tmp_path, "image", "a spit", "--yes").returncode == DONE
    assert len(charges(sandbox, "a spit")) == 1


def test_where_nobody_can_be_asked_it_is_refused(sandbox: SandboxServer, tmp_path: Path, env: dict[str, str]) -> None:
    refused = command(env, tmp_path, "image", "a shoal", "--json")
    facts = json.loads(refused.stdout)
    assert (refused.returncode, facts["code"]) == (FAILED, "confirmation_needed")
    assert "--yes" in facts["nextAction"]
    assert charges(sandbox, "a shoal") == []
    allowed = command(env | {"RING_CONFIRM": "ask"}, tmp_path, "image", "a shoal")
    assert allowed.returncode == DONE
    assert len(charges(sandbox, "a shoal")) == 1


@pytest.mark.parametrize(("typed", "status", "count"), [("y\n", DONE, 2), ("n\n", FAILED, 0)])
def test_a_script_is_asked_about_once(
    sandbox: SandboxServer, tmp_path: Path, env: dict[str, str], typed: str, status: int, count: int
) -> None:
    (tmp_path / "pier.json").write_text(json.dumps(SCRIPT))
    ended, shown = at_terminal(env, tmp_path, "script", "pier.json", typed={SPEND: typed})
    assert ended == status, shown
    assert "$0.10" in shown
    assert shown.count(SPEND) == 1
    assert len(sandbox.state.books.charges()) == count
    if count:
        assert command(env, tmp_path, "script", "pier.json").returncode == DONE  # nothing is paid, nobody is asked
        assert len(sandbox.state.books.charges()) == count


def test_a_script_without_a_terminal_needs_its_yes(sandbox: SandboxServer, tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "pier.json").write_text(json.dumps(SCRIPT))
    assert command(env, tmp_path, "script", "pier.json").returncode == FAILED
    assert sandbox.state.books.charges() == []
    assert command(env, tmp_path, "script", "pier.json", "--yes").returncode == DONE
    assert len(sandbox.state.books.charges()) == 2


def test_a_person_lets_one_call_of_an_agent_through(
    sandbox: SandboxServer, tmp_path: Path, env: dict[str, str]
) -> None:
    with RingProcess(env, tmp_path) as ring:
        refused = ring.create(prompt="a groyne").content
        question_id = refused["approvalId"]
        without = command(env, tmp_path, "approve", question_id)
        assert (without.returncode, "terminal" in without.stderr) == (FAILED, True)
        assert ring.create(prompt="a groyne").is_error
        status, shown = at_terminal(env, tmp_path, "approve", question_id, typed={APPROVE: "n\n"})
        assert status == FAILED
        assert ring.create(prompt="a groyne").is_error
        assert question_id in command(env, tmp_path, "approve").stdout
        status, shown = at_terminal(env, tmp_path, "approve", question_id, typed={APPROVE: "y\n"})
        assert status == DONE, shown
        assert "a groyne" in shown
        assert "$0.06" in shown
        assert ring.create(prompt="a groin").is_error
        assert ring.create(prompt="a groyne").data["state"] == "done"
        assert ring.create(prompt="a groyne").is_error
        assert at_terminal(env, tmp_path, "approve", question_id, typed={})[0] == FAILED
    assert len(charges(sandbox, "a groyne")) == 1


def test_a_mistyped_rule_stops_the_start(tmp_path: Path, env: dict[str, str]) -> None:
    wrong = command(env | {"RING_CONFIRM_ABOVE": "1"}, tmp_path, "image", "a slip", "--dry-run")
    assert wrong.returncode == BAD_USAGE
    assert "RING_CONFIRM_ABOVE_USD" in wrong.stderr


@pytest.mark.parametrize("mode", ["ask", "require"])
def test_over_rest_the_program_vouches_or_is_told(
    sandbox: SandboxServer, tmp_path: Path, env: dict[str, str], mode: str
) -> None:
    def post(url: str, **body: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx2.post(f"{url}/api/mcp/v1/images/generate", json=body, headers=headers, timeout=60.0)

    served = env | {"RING_CONFIRM": mode, "RING_MCP_SERVICE_TOKENS": f"desk={TOKEN}"}
    with serving(served, tmp_path) as url:
        told = post(url, prompt="a surf", confirmed=False)
        assert (told.status_code, told.json()["code"]) == (402, "confirmation_needed")
        assert told.json()["quote"]["totalUsd"] == 0.06
        silent = post(url, prompt="a sand")
        assert silent.status_code == (201 if mode == "ask" else 402)
        assert post(url, prompt="a surf", confirmed="perhaps").status_code == 400
        assert charges(sandbox, "a surf") == []
        assert post(url, prompt="a surf", confirmed=True).status_code == 201
    assert len(charges(sandbox, "a surf")) == 1


def test_at_a_gateway_the_terminal_is_asked_for_it(sandbox: SandboxServer, tmp_path: Path, env: dict[str, str]) -> None:
    served = env | {"RING_CONFIRM": "ask", "RING_MCP_SERVICE_TOKENS": f"desk={TOKEN}"}
    (tmp_path / "me").mkdir()
    with serving(served, tmp_path) as url:
        mine = environment(tmp_path / "me", RING_API_BASE_URL=url, RING_SERVICE_TOKEN=TOKEN)
        status, shown = at_terminal(mine, tmp_path / "me", "image", "a reed", typed={SPEND: "n\n"})
        assert (status, charges(sandbox, "a reed")) == (FAILED, []), shown
        status, shown = at_terminal(mine, tmp_path / "me", "image", "a reed", typed={SPEND: "y\n"})
        assert status == DONE, shown
        assert command(mine, tmp_path / "me", "image", "a rush").returncode == DONE
        (tmp_path / "me" / "pier.json").write_text(json.dumps(SCRIPT))
        status, shown = at_terminal(mine, tmp_path / "me", "script", "pier.json", typed={SPEND: "y\n"})
        assert status == DONE, shown
    assert len(charges(sandbox, "a reed")) == 1
