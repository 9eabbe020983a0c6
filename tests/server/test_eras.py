"""The main job through the SDK's own client, in both eras of the protocol; that client checks every outputSchema."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import LEGACY, MODERN, RingProcess, SdkClient, charges, environment, path_of, text_of

ERAS = {"auto": MODERN, "legacy": LEGACY}


@pytest.fixture(scope="module", params=list(ERAS))
def connected(
    request: pytest.FixtureRequest, running: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, SdkClient]]:
    folder = tmp_path_factory.mktemp(request.param)
    with SdkClient(environment(folder, RING_SANDBOX=running.url), folder, request.param) as client:
        yield request.param, client


@pytest.fixture
def mode(connected: tuple[str, SdkClient]) -> str:
    return connected[0]


@pytest.fixture
def client(connected: tuple[str, SdkClient], sandbox: SandboxServer) -> SdkClient:
    return connected[1]


def test_client_and_server_agree_on_the_version_of_that_era(client: SdkClient, mode: str) -> None:
    assert client.protocol_version == ERAS[mode]


def test_the_tools_are_listed(client: SdkClient) -> None:
    assert {"ring-image-create", "ring-job-get", "ring-health"} <= set(client.tool_names())


def test_health_is_ok_and_says_that_this_is_the_sandbox(client: SdkClient) -> None:
    result = client.call("ring-health", {})
    assert not result.is_error
    data = result.structured_content["data"]
    assert (data["status"], data["service"], data["version"], data["sandbox"]) == ("ok", "ring-mcp-gateway", "v1", True)
    assert {check["name"] for check in data["checks"]} >= {"ledger", "storage", "provider xai", "prices", "spending"}
    assert "SANDBOX" in text_of(result)


def test_a_picture_comes_back_with_its_url_first_and_lies_there(
    client: SdkClient, mode: str, sandbox: SandboxServer
) -> None:
    result = client.call("ring-image-create", {"prompt": f"one, {mode}", "aspectRatio": "16:9", "purpose": "og"})
    assert not result.is_error, text_of(result)
    data = result.structured_content["data"]
    picture = data["images"][0]
    assert text_of(result).splitlines()[0] == data["url"] == picture["url"]
    path = path_of(picture["url"])
    assert path.stat().st_size == picture["size"]
    assert "/generated/og/" in picture["url"]
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (picture["width"], picture["height"]))
        assert abs(image.width / image.height - 16 / 9) < 0.02
    assert (data["state"], data["estimatedCostUsd"], data["billedCostUsd"]) == ("done", 0.06, 0.06)
    assert len(charges(sandbox, f"one, {mode}")) == 1


def test_two_pictures_of_one_call_are_stored_and_recorded_separately(
    client: SdkClient, mode: str, sandbox: SandboxServer
) -> None:
    result = client.call("ring-image-create", {"prompt": f"two, {mode}", "n": 2})
    data = result.structured_content["data"]
    first, second = data["images"]
    assert first["url"] != second["url"]
    assert first["recordId"] != second["recordId"]
    assert data["url"] == first["url"]
    assert text_of(result).splitlines()[0] == first["url"]
    assert second["url"] in text_of(result)
    assert [charge.n for charge in charges(sandbox, f"two, {mode}")] == [2]


def test_a_dry_run_tells_the_price_and_spends_nothing(client: SdkClient, mode: str, sandbox: SandboxServer) -> None:
    result = client.call("ring-image-create", {"prompt": f"dry, {mode}", "n": 3, "dryRun": True})
    data = result.structured_content["data"]
    assert (data["dryRun"], data["estimatedCostUsd"], data["images"]) == (True, 0.18, [])
    assert [(p["unitUsd"], p["count"], p["totalUsd"]) for p in data["prices"]] == [(0.06, 3.0, 0.18)]
    assert "nothing was spent" in text_of(result)
    assert not sandbox.state.requests


def test_a_failure_is_an_error_with_code_and_next_step(client: SdkClient, mode: str, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("bare_422", path="/images/generations")
    result = client.call("ring-image-create", {"prompt": f"refused, {mode}"})
    assert result.is_error
    told = result.structured_content
    assert (told["success"], told["code"], told["billed"], told["retryable"]) == (
        False,
        "provider_rejected",
        "no",
        False,
    )
    assert told["error"] in text_of(result)
    assert told["nextAction"] in text_of(result)
    assert not charges(sandbox, f"refused, {mode}")


def test_an_unknown_tool_is_a_protocol_error(client: SdkClient) -> None:
    with pytest.raises(Exception, match="Unknown tool: ring-nothing"):
        client.call("ring-nothing", {})


def test_progress_is_numeric_and_always_rises(client: SdkClient, mode: str, sandbox: SandboxServer) -> None:
    sandbox.state.configure(pending_polls=1)
    seen: list[tuple[float, float | None, str | None]] = []
    result = client.call(
        "ring-image-create",
        {"prompt": f"progress, {mode}", "n": 2},
        lambda progress, total, message: seen.append((progress, total, message)),
    )
    assert not result.is_error
    values = [progress for progress, _, _ in seen]
    assert len(values) >= 4
    assert all(isinstance(value, int | float) and 0 < value < 100 for value in values)
    assert all(before < after for before, after in itertools.pairwise(values))
    assert {total for _, total, _ in seen} == {100}
    assert all(message and message.startswith("image ") for _, _, message in seen)


def test_a_client_that_looks_first_may_go_on_in_either_era(env: dict[str, str], tmp_path: Path) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    with RingProcess(env, tmp_path, shake_hands=False) as ring:
        assert ring.request("server/discover", {"_meta": meta})["supportedVersions"] == [MODERN]
        assert ring.initialize()["protocolVersion"] == LEGACY
        assert not ring.health().is_error
    with RingProcess(env, tmp_path, version=MODERN) as ring:
        assert ring.request("server/discover")["supportedVersions"] == [MODERN]
        assert not ring.health().is_error
