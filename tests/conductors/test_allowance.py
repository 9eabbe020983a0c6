"""Allowance: what the caps leave, everybody's and one's own, in quote, health and whoami; who may only look."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.conductors.allowance import Allowance
from ring_mcp.domain import Caps, ImageRequest, JobState, LookOnly, Member, VideoRequest, hash_token, make_token
from ring_mcp.domain.consent import Asking, Mark, Reply
from ring_mcp.errors import CapExceeded, RingError, Unauthorized
from ring_mcp.ledger.base import JobQuery, Ledger
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.toolbox import Toolbox
from ring_mcp.token_mark import mark_token
from ring_mcp.tools.tool import Caller
from tests.conductors.running import charges, running
from tests.fake_clock import START, FakeClock
from tests.ledger_samples import PRICE_USD, opened

DOLLAR = Decimal(1)


async def add(ledger: Ledger, name: str = "ann", may_spend: bool = True, **caps: Decimal) -> None:
    member = Member(name=name, may_spend=may_spend, caps=Caps(**caps), created_at=datetime.now(UTC))
    await ledger.add_member(member, hash_token(make_token()))


async def test_of_each_window_the_cap_that_leaves_least_counts(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = SqliteLedger(tmp_path / "ledger.db", clock)
    await ledger.start()
    try:
        await add(ledger, per_day_usd=DOLLAR, per_month_usd=9 * DOLLAR)
        await opened(ledger, actor_id="ann")
        await opened(ledger, actor_id="bob")
        caps = Caps(per_call_usd=2 * DOLLAR, per_day_usd=5 * DOLLAR, per_month_usd=5 * DOLLAR)
        allowance = Allowance(ledger, caps, clock, sandbox=False)
        ann, bob, nobody = [await allowance.read(each) for each in ("ann", "bob", None)]
        assert ann.left == {
            "perCall": 2 * DOLLAR,
            "today": DOLLAR - PRICE_USD,
            "thisMonth": 5 * DOLLAR - 2 * PRICE_USD,
        }
        assert ann.own_left == {"today": DOLLAR - PRICE_USD, "thisMonth": 9 * DOLLAR - PRICE_USD}
        assert ann.standing is not None
        assert ann.standing.data() == {
            "id": "ann",
            "maySpend": True,
            "spentTodayUsd": 0.06,
            "spentThisMonthUsd": 0.06,
            "capsUsd": {"perDay": 1.0, "perMonth": 9.0},
        }
        assert bob.left == nobody.left == {**ann.left, "today": 5 * DOLLAR - 2 * PRICE_USD}
        assert (bob.standing, bob.own_left, bob.spend) == (None, {}, ann.spend)
        await ledger.revoke_member("ann", START)
        gone = await allowance.read("ann")
        assert gone.standing is not None
        assert not gone.standing.may_spend
        with pytest.raises(Unauthorized):
            await allowance.check_may_spend("ann")
        await allowance.check_may_spend("bob")
        await add(ledger)
        mark_token(START)
        with pytest.raises(Unauthorized):
            await allowance.check_may_spend("ann")
        mark_token(None)
        await allowance.check_may_spend("ann")
    finally:
        await ledger.aclose()


async def test_who_may_only_look_is_told_so_and_asks_nobody(tmp_path: Path, sandbox: SandboxServer) -> None:
    async with running(sandbox, tmp_path) as app:
        await add(app.ledger, may_spend=False)
        before = len(sandbox.state.requests)
        given = f"{sandbox.url}/never-fetched.png"
        for asked in (
            app.images.generate(ImageRequest(prompt="a kite"), actor_id="ann"),
            app.videos.generate(VideoRequest(prompt="a kite", image_url=given), actor_id="ann"),
        ):
            with pytest.raises(LookOnly) as refusal:
                await asked
            assert (refusal.value.code, refusal.value.billed) == ("look_only", "no")
        assert len(sandbox.state.requests) == before
        assert (await app.ledger.list_jobs(JobQuery())).jobs == []
        quote = await app.images.quote(ImageRequest(prompt="a kite"), actor_id="ann")
        assert "ann may look and not spend: it would be refused" in (quote.warnings or ())
        assert quote.actor is not None
        assert (await app.health.check("ann")).actor == quote.actor
        assert (await app.whoami.describe("ann")).may_spend is False
        assert (await app.whoami.describe("bob")).may_spend is None


async def test_nobody_is_asked_to_confirm_for_who_may_only_look(tmp_path: Path, sandbox: SandboxServer) -> None:
    async def ask(mark: Mark, text: str) -> Reply:
        raise AssertionError(f"asked: {text}")

    async with running(sandbox, tmp_path, RING_CONFIRM="require") as app:
        await add(app.ledger, may_spend=False)
        with pytest.raises(LookOnly):
            await app.images.generate(ImageRequest(prompt="a kite"), actor_id="ann", asking=Asking(ask=ask))


async def test_a_quote_names_the_cap_that_would_refuse_and_a_call_is(tmp_path: Path, sandbox: SandboxServer) -> None:
    async with running(sandbox, tmp_path, None, RING_MAX_USD_PER_DAY="5") as app:
        await add(app.ledger, per_day_usd=Decimal("0.01"))
        quote = await app.images.quote(ImageRequest(prompt="a kite"), actor_id="ann")
        assert quote.cap_left_usd == {"today": Decimal("0.01")}
        assert any("the cap today of ann leaves $0.01" in warning for warning in quote.warnings or ())
        with pytest.raises(CapExceeded, match="the cap per day of ann"):
            await app.images.generate(ImageRequest(prompt="a kite"), actor_id="ann")
        made = await app.images.generate(ImageRequest(prompt="a kite"), actor_id="bob")
        assert made.state == JobState.DONE
        assert charges(sandbox) == 1
        told = await app.whoami.describe("ann")
        assert (told.caps_usd, told.spent_today_usd) == ({"perDay": Decimal("0.01")}, Decimal(0))


@pytest.mark.long
async def test_who_may_only_look_cancels_nothing_and_the_operator_does(tmp_path: Path, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path) as app:
        made = await app.videos.generate(VideoRequest(prompt="a kite", duration_s=3), actor_id="ann", wait_s=0)
        job = await app.ledger.get(made.job_id or "")
        assert job is not None
        await add(app.ledger, may_spend=False)
        with pytest.raises(LookOnly):
            await app.cancelling.cancel(job, actor_id="ann")
        assert (await app.cancelling.cancel(job)).job.id == job.id


async def test_a_script_of_somebody_who_may_only_look_starts_nothing(tmp_path: Path, sandbox: SandboxServer) -> None:
    async with running(sandbox, tmp_path) as app:
        await add(app.ledger, may_spend=False)
        tool = Toolbox(app)["ring-script-run"]

        async def progress(percent: float, text: str) -> None: ...

        scene = {"action": "A boat leaves.", "camera": "slow dolly in"}
        script = {"schemaVersion": "1.0", "requestId": "h", "clips": [{"id": "one", "duration": 6, "scene": scene}]}
        caller = Caller(actor_id="ann", progress=progress)
        with pytest.raises(LookOnly):
            await tool.handler(tool.arguments.parse({"request": script}), caller)
        told = await tool.handler(tool.arguments.parse({"request": script, "dryRun": True}), caller)
        assert told.data["dryRun"] is True
        assert charges(sandbox) == 0


def test_a_refusal_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in RingError.__subclasses__()]
    assert codes.count(LookOnly.code) == 1
