"""What health asks of providers: once in a while, for a few seconds, and never more than what a key may know."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from ring_mcp.app import open_app
from ring_mcp.conductors.key_checks import REMEMBER_S, Asked, KeyChecks
from ring_mcp.conductors.report import Check
from ring_mcp.config import load_config
from ring_mcp.errors import ProviderAuthError, ProviderUnavailable
from ring_mcp.providers.base import ListedModel
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.services import SERVICES
from tests.fake_clock import FakeClock, let_pass

PAINTER = ListedModel(kind="image", name="painter", aliases=("painter-latest",))


class Provider:
    """Answers a look at its key with ``trouble``, or not at all, and lists one model."""

    def __init__(self, trouble: Exception | None = None, *, silent: bool = False) -> None:
        self.trouble, self.silent, self.looks = trouble, silent, 0

    async def check_key(self) -> None:
        self.looks += 1
        if self.silent:
            let_pass(30)
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble

    async def list_models(self) -> Sequence[ListedModel]:
        return [PAINTER]


def asked(provider: Provider, *models: str, own_endpoint: bool = False) -> Asked:
    return Asked(
        provider="acme",
        title="Acme",
        variable="ACME_KEY",
        own_endpoint=own_endpoint,
        key=provider,
        list=provider,
        models=models,
    )


async def only(checks: KeyChecks) -> Check:
    [check] = (await checks.ask())["acme"]
    return check


async def test_a_provider_is_asked_once_in_a_while() -> None:
    provider, clock = Provider(), FakeClock()
    checks = KeyChecks([asked(provider)], clock)
    assert (await only(checks)).detail == "the key works"
    await asyncio.gather(*(checks.ask() for _ in range(5)))
    assert provider.looks == 1
    clock.advance(REMEMBER_S)
    await checks.ask()
    assert provider.looks == 2


async def test_a_key_that_is_refused_is_an_error_with_its_variable() -> None:
    check = await only(KeyChecks([asked(Provider(ProviderAuthError("no such key")))], FakeClock()))
    assert (check.status, check.detail) == ("error", "the key is refused: no such key")
    assert check.fix is not None
    assert "ACME_KEY" in check.fix


async def test_a_provider_that_is_away_is_a_warning() -> None:
    check = await only(KeyChecks([asked(Provider(ProviderUnavailable("no connection")))], FakeClock()))
    assert check.status == "warning"
    assert check.detail.endswith("whether it works is not known: no connection")


async def test_a_silent_provider_holds_nobody_up() -> None:
    check = await only(KeyChecks([asked(Provider(silent=True))], FakeClock()))
    assert check.status == "warning"
    assert "no answer within 5 s" in check.detail


async def test_an_endpoint_of_ones_own_need_not_tell() -> None:
    mine = asked(Provider(ProviderUnavailable("HTTP 404")), own_endpoint=True)
    assert (await only(KeyChecks([mine], FakeClock()))).status == "ok"


async def test_a_model_in_use_that_is_no_longer_listed_is_told() -> None:
    found = (await KeyChecks([asked(Provider(), "painter-latest", "gone")], FakeClock()).ask())["acme"]
    assert [check.status for check in found] == ["ok", "warning"]
    assert found[1].detail == "Acme does not list gone, which this configuration uses"


@pytest.mark.parametrize("service", ["xai", "google"])
async def test_a_wrong_key_makes_health_an_error(sandbox: SandboxServer, tmp_path: Path, service: str) -> None:
    key, address = {
        "xai": ("XAI_API_KEY", "XAI_API_BASE_URL"),
        "google": ("GOOGLE_GENAI_API_KEY", "GOOGLE_GENAI_BASE_URL"),
    }[service]
    found = []
    for given in (SERVICES[service].key, "wrong-" + "x" * 20):
        settings = {key: given, address: sandbox.url + SERVICES[service].path, "IMAGE_GEN_PROVIDER": service}
        config = load_config({"RING_STATE_DIR": str(tmp_path), **settings}, folder=tmp_path)
        async with open_app(config) as app:
            checks = (await app.health.check()).checks
        found.append(next(check for check in checks if check.name == f"provider {service}"))
    right, wrong = found
    assert (right.status, right.detail) == ("ok", "the key works")
    assert (wrong.status, wrong.fix is not None and key in wrong.fix) == ("error", True)
    assert "x" * 20 not in wrong.detail


async def test_a_blocked_team_is_told(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(team_blocked=True)
    config = load_config({"RING_SANDBOX": sandbox.url, "RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)
    async with open_app(config) as app:
        report = await app.health.check()
    [check] = [check for check in report.checks if check.name == "provider xai"]
    assert report.status == check.status == "error"
    assert "blocked" in check.detail


async def test_switched_off_it_asks_nobody(sandbox: SandboxServer, tmp_path: Path) -> None:
    settings = {"RING_SANDBOX": sandbox.url, "RING_STATE_DIR": str(tmp_path), "RING_HEALTH_ASKS": "off"}
    async with open_app(load_config(settings, folder=tmp_path)) as app:
        report = await app.health.check()
    assert report.status == "ok"
    assert not sandbox.state.requests


async def test_defaults_and_keys_that_cannot_work_are_errors(tmp_path: Path) -> None:
    settings = {"XAI_API_KEY": "${XAI_API_KEY:-}", "GOOGLE_GENAI_API_KEY": "g" * 20, "GOOGLE_IMAGE_SIZE": "2K"}
    given = {"RING_STATE_DIR": str(tmp_path), "RING_HEALTH_ASKS": "off", **settings}
    async with open_app(load_config(given, folder=tmp_path)) as app:
        report = await app.health.check()
    told = [check for check in report.checks if check.name == "configuration"]
    assert [check.status for check in told] == ["error", "error"]
    assert told[0].detail == "XAI_API_KEY has the form ${NAME}"
    assert told[1].detail.startswith("GOOGLE_IMAGE_SIZE must be one of 1k")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"XAI_API_KEY": "x" * 20}, {"xai": "ok", "google": "ok"}),
        ({"XAI_API_KEY": "x" * 20, "GOOGLE_IMAGE_SIZE": "1k"}, {"xai": "ok", "google": "warning"}),
        ({"XAI_API_KEY": "x" * 20, "GOOGLE_GENAI_BASE_URL": "https://x.org"}, {"xai": "ok", "google": "warning"}),
        ({"XAI_API_KEY": "x" * 20, "IMAGE_GEN_PROVIDER": "google"}, {"xai": "ok", "google": "error"}),
        ({"GEMINI_API_KEY": "g" * 20}, {"xai": "error", "google": "ok"}),
        ({"GEMINI_API_KEY": "g" * 20, "IMAGE_GEN_PROVIDER": "google"}, {"xai": "warning", "google": "ok"}),
    ],
)
async def test_what_nobody_configured_is_no_warning(
    given: dict[str, str], told: dict[str, str], tmp_path: Path
) -> None:
    settings = {"RING_STATE_DIR": str(tmp_path), "RING_HEALTH_ASKS": "off", **given}
    async with open_app(load_config(settings, folder=tmp_path)) as app:
        report = await app.health.check()
    found = {check.name: check for check in report.checks}
    assert {name: found[f"provider {name}"].status for name in told} == told
    assert "warning" in told.values() or [check for check in report.checks if check.status == "warning"] == []
    if told["xai"] == "error":
        assert "IMAGE_GEN_PROVIDER=google" in str(found["provider xai"].fix)
