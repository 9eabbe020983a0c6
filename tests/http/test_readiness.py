"""Alive is not ready: a server whose ledger or storage does not work says so to whoever sends it callers."""

from __future__ import annotations

from pathlib import Path

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import ALICE, API, HttpRing, bearer


def test_a_server_that_works_is_ready_and_asks_no_provider(ring: HttpRing, sandbox: SandboxServer) -> None:
    answer = ring.get("/readyz", token=None)

    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})
    assert not sandbox.state.requests


def test_a_server_that_cannot_store_is_alive_and_not_ready(env: dict[str, str], tmp_path: Path) -> None:
    no_folder = tmp_path / "a file"
    no_folder.write_text("in the place of a folder")
    with HttpRing({**env, "LOCAL_STORAGE_DIR": str(no_folder)}, tmp_path) as ring:
        assert ring.get("/healthz", token=None).status_code == 200
        answer = ring.get("/readyz", token=None)

    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": ["the storage does not work"]}


def test_a_server_without_its_ledger_is_not_ready(env: dict[str, str], tmp_path: Path) -> None:
    ledger = tmp_path / "state" / "sandbox" / "ledger.db"
    ledger.parent.mkdir(parents=True)
    ledger.write_text("no database" * 1000)
    with HttpRing(env, tmp_path) as ring:
        answer = ring.get("/readyz", token=None)

    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the ledger does not work"]
    assert str(tmp_path) not in answer.text


def test_a_server_whose_paid_calls_are_refused_is_not_ready(env: dict[str, str], tmp_path: Path) -> None:
    spool = tmp_path / "state" / "sandbox" / "spool"
    spool.parent.mkdir(parents=True)
    spool.write_text("in the place of a folder")
    with HttpRing(env, tmp_path) as ring:
        refused = ring.post(f"{API}/images/generate", {"prompt": "a kite"})
        answer = ring.get("/readyz", token=None)
        health = ring.get(f"{API}/meta/health", token=ALICE).json()["data"]

    assert refused.json()["code"] == "storage_failed"
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["the state folder does not work"])
    [check] = [check for check in health["checks"] if check["name"] == "state folder"]
    assert check["status"] == "error"
    assert "RING_STATE_DIR" in check["fix"]


def test_who_i_am_is_told_in_rings_fields(ring: HttpRing) -> None:
    told = ring.get(f"{API}/meta/context", token=ALICE).json()["data"]

    assert told["actor"] == {"id": "alice", "name": "alice"}
    assert (told["tokenName"], told["role"], told["gateway"]) == ("alice", "superadmin", API)
    assert (told["sandbox"], told["cloneName"]) == (True, "ring-mcp")
    assert told["baseUrl"].startswith("http://127.0.0.1:")
    assert ring.get(f"{API}/meta/context", token="nobody").status_code == 401
    assert bearer(ALICE)["authorization"] not in str(told)
