"""WhoamiConductor: who calls, where, and what may still be spent, whatever the ledger says."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.app import open_app
from ring_mcp.conductors.whoami import GATEWAY
from ring_mcp.config import load_config
from ring_mcp.server.gateway import PREFIX
from tests.fake_clock import FakeClock


@pytest.mark.parametrize(("actor", "token"), [("ring-mcp-service", None), ("alice", "alice")])
async def test_an_actor_is_told_who_they_are(tmp_path: Path, actor: str, token: str | None) -> None:
    settings = {
        "RING_STATE_DIR": str(tmp_path),
        "RING_CLONE_NAME": "newsroom",
        "RING_PUBLIC_BASE_URL": "https://ring.example.org/",
        "RING_MCP_SERVICE_USER_NAME": "The desk",
        "RING_MAX_USD_PER_DAY": "5",
    }
    async with open_app(load_config(settings, folder=tmp_path), clock=FakeClock(), take_over=False) as app:
        told = await app.whoami.describe(actor)
    assert (told.clone_name, told.base_url, told.role) == ("newsroom", "https://ring.example.org", "superadmin")
    assert (told.actor.id, told.token_name) == (actor, token)
    assert told.actor.name == (actor if token else "The desk")
    assert told.cap_left_usd == {"today": Decimal(5)}
    assert told.sandbox is False


async def test_without_its_ledger_it_still_says_who_is_there(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("no database" * 1000)
    config = load_config({"RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)
    async with open_app(config, take_over=False) as app:
        told = await app.whoami.describe("alice")
    assert (told.actor.id, told.cap_left_usd) == ("alice", None)


def test_the_gateway_is_where_it_says() -> None:
    assert GATEWAY == PREFIX
