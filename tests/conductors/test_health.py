"""HealthConductor on what changes by itself: models that go away, and bills that leave the price list."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.app import open_app
from ring_mcp.conductors.allowance import Allowance
from ring_mcp.conductors.health import HealthConductor
from ring_mcp.conductors.key_checks import KeyChecks
from ring_mcp.conductors.report import Check
from ring_mcp.config import load_config
from ring_mcp.domain import Caps, Holder, ImageRequest, VideoRequest
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.rates import ProviderRates
from ring_mcp.jobs.write_ahead import WriteAhead
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.package_data import data_path
from ring_mcp.presets import Presets, load_presets
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.storage.local import LocalStorage
from tests.conductors.running import ACTOR, running
from tests.fake_clock import FakeClock

SHIPPED: dict[str, Any] = json.loads(data_path("presets.json").read_text())
PRESETS = load_presets()
FLAGSHIP, OLD, CLIPS = "grok-imagine-image-2.0", "grok-imagine-image", "grok-imagine-video"
LEAVES = datetime(2027, 3, 1, tzinfo=UTC)


def registry(folder: Path, change: Callable[[dict[str, Any]], object]) -> Presets:
    raw = copy.deepcopy(SHIPPED)
    change(raw)
    path = folder / "presets.json"
    path.write_text(json.dumps(raw))
    return load_presets(path)


async def checks(
    folder: Path, presets: Presets, at: datetime, *models: str, in_use: Collection[str] = ("xai", "google")
) -> list[Check]:
    clock = FakeClock(at)
    ledger = SqliteLedger(folder / "ledger.db", clock)
    await ledger.start()
    holder = Holder(sandbox=False)
    health = HealthConductor(
        ledger=ledger,
        storage=LocalStorage(folder / "files"),
        providers={},
        default_provider="xai",
        in_use=in_use,
        presets=presets,
        models_in_use=models,
        allowance=Allowance(ledger, Caps(), clock, sandbox=False),
        clock=clock,
        version="0",
        accounts=(accounts := Accounts(holder, {}, ledger=ledger, clock=clock, folder=folder / "accounts")),
        rates=ProviderRates(ledger, accounts, clock, presets),
        write_ahead=WriteAhead(folder / "unwritten"),
        keys=KeyChecks([], clock),
        list_faults=lambda today: {},
        unexpanded=(),
    )
    try:
        return list((await health.check()).checks)
    finally:
        await ledger.aclose()


@pytest.mark.parametrize(("days_before", "status"), [(31, "ok"), (30, "warning"), (1, "warning"), (0, "error")])
async def test_a_model_in_use_is_told_a_month_before_it_goes(tmp_path: Path, days_before: int, status: str) -> None:
    leaving = {"retiresOn": str(LEAVES.date()), "replacedBy": FLAGSHIP}
    presets = registry(tmp_path, lambda raw: raw["imageModels"][OLD].update(leaving))
    found = await checks(tmp_path, presets, LEAVES - timedelta(days=days_before), OLD)
    [check] = [check for check in found if check.detail.startswith(f"{OLD} ") or check.detail == OLD]
    assert check.status == status
    if status != "ok":
        assert "2027-03-01" in check.detail
        assert check.fix == f"Configure {FLAGSHIP} instead."


@pytest.mark.parametrize(("days_before", "told"), [(31, False), (30, True), (0, True)])
async def test_a_default_of_the_registry_is_told_although_this_configuration_uses_another(
    tmp_path: Path, days_before: int, told: bool
) -> None:
    leaving = {"retiresOn": str(LEAVES.date()), "replacedBy": "grok-imagine-video-1.5-lite"}
    presets = registry(tmp_path, lambda raw: raw["videoModels"][CLIPS].update(leaving))
    found = await checks(tmp_path, presets, LEAVES - timedelta(days=days_before), FLAGSHIP)
    about = [check for check in found if CLIPS in check.detail.split()]
    assert [check.status for check in about] == (["warning"] if told else [])
    assert [check.detail for check in found if check.name == "model" and check.status == "ok"] == [FLAGSHIP]


async def test_a_default_of_a_provider_that_nobody_configured_is_not_told(tmp_path: Path) -> None:
    leaving = {"retiresOn": str(LEAVES.date()), "replacedBy": "grok-imagine-video-1.5-lite"}
    presets = registry(tmp_path, lambda raw: raw["videoModels"][CLIPS].update(leaving))
    found = await checks(tmp_path, presets, LEAVES, FLAGSHIP, in_use=["google"])
    assert [check for check in found if CLIPS in check.detail.split()] == []


def named(value: Any) -> set[str]:
    """Whatever modes and defaults name as a model, however deep and of whichever provider."""
    if not isinstance(value, dict):
        return set()
    keys = ("model", "remasterEditModel", "extendModel")
    return {value[key] for key in keys if key in value}.union(*map(named, value.values()))


@pytest.mark.parametrize("name", sorted(named(SHIPPED["modes"]) | named(SHIPPED["defaults"])))
@pytest.mark.parametrize(("days_before", "told"), [(31, False), (30, True)])
async def test_whatever_modes_and_defaults_name_is_told_before_it_goes(
    tmp_path: Path, name: str, days_before: int, told: bool
) -> None:
    def leave(raw: dict[str, Any]) -> None:
        for table in (raw["imageModels"], raw["videoModels"]):
            for model in table.values():  # a redirection must not lead to what goes itself
                model.pop("redirect", None)
                model.pop("redirectFrom", None)
            if name in table:
                provider = table[name]["provider"]
                successor = next(key for key, model in table.items() if key != name and model["provider"] == provider)
                table[name].update(retiresOn=str(LEAVES.date()), replacedBy=successor)

    found = await checks(tmp_path, registry(tmp_path, leave), LEAVES - timedelta(days=days_before), FLAGSHIP)
    about = [check for check in found if check.detail.startswith(f"{name} will be retired on 2027-03-01")]
    assert [check.status for check in about] == ["warning"] * told


async def test_a_model_in_use_that_is_redirected_is_told_however_early(tmp_path: Path) -> None:
    early = LEAVES - timedelta(days=90)
    leaving = {"retiresOn": str(LEAVES.date()), "replacedBy": FLAGSHIP, "redirect": True}
    leaving["redirectFrom"] = str(early.date())
    presets = registry(tmp_path, lambda raw: raw["imageModels"][OLD].update(leaving))
    for day, status in ((early - timedelta(days=1), "ok"), (early, "warning"), (LEAVES, "warning")):
        found = await checks(tmp_path, presets, day, OLD)
        [check] = [check for check in found if OLD in check.detail.split()]
        assert check.status == status
        assert check.detail.endswith(f"; {FLAGSHIP} serves it now") == (status == "warning")


@pytest.mark.parametrize(("key", "is_named"), [("k" * 12, True), (None, False)])
async def test_the_models_of_a_provider_with_a_key_are_in_use(tmp_path: Path, key: str | None, is_named: bool) -> None:
    given = {"RING_STATE_DIR": str(tmp_path), "RING_HEALTH_ASKS": "off", "XAI_API_KEY": "x" * 12}
    given |= {"GOOGLE_GENAI_API_KEY": key} if key else {}
    async with open_app(load_config(given, folder=tmp_path), clock=FakeClock(), take_over=False) as app:
        told = [check.detail for check in (await app.health.check()).checks if check.name == "model"]
    google = PRESETS.modes["draft"].of("google").model
    assert (google in told, CLIPS in told) == (is_named, True)


async def test_bills_that_leave_the_list_are_told_with_both_sums(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:

        async def bills() -> list[Check]:
            return [check for check in (await app.health.check()).checks if check.name == "bills"]

        assert await bills() == []
        await app.images.generate(ImageRequest(prompt="as listed"), actor_id=ACTOR)
        assert [check.status for check in await bills()] == ["ok"]
        sandbox.state.configure(price_factor=1.5)
        await app.images.generate(ImageRequest(prompt="dearer"), actor_id=ACTOR)
        [check] = await bills()
        assert check.status == "warning"
        assert check.detail == f"{FLAGSHIP}: billed $0.15 for what is listed at $0.12 (+25.0% over the last 2 jobs)"
        assert "ring-mcp presets check --live" in (check.fix or "")


async def test_a_reservation_for_the_longest_source_is_no_drift(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        clip = await app.videos.generate(VideoRequest(prompt="a", duration_s=2), actor_id=ACTOR)
        assert clip.video is not None
        for more in ({"extend_s": 2}, {"remaster": True}):
            request = VideoRequest(prompt="b", source_video_url=clip.video.url, **more)
            assert (await app.videos.generate(request, actor_id=ACTOR)).success
        [check] = [check for check in (await app.health.check()).checks if check.name == "bills"]
        assert (check.status, check.detail) == ("ok", "as listed, over the last job")
