"""A vendor that the product has never heard of is there everywhere, by its folders, its line and its rows alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.cli_people.people import BAD_USAGE, DONE, FAILED, Person, serving
from tests.server.wire import LIMIT_S, RingProcess
from tests.vendors.conftest import Acme, write_presets

PICTURE: dict[str, Any] = {"prompt": "a lighthouse", "provider": "acme"}
CLIP: dict[str, Any] = {"prompt": "the beam turns", "provider": "acme", "duration": 4}


@pytest.fixture
def person(env: dict[str, str], tmp_path: Path) -> Person:
    return Person(env, tmp_path)


def check_picture(data: dict[str, Any]) -> None:
    assert (data["provider"], data["model"], data["state"]) == ("acme", "acme-still", "done")
    assert (data["billedCostUsd"], data["images"][0]["contentType"]) == (0.05, "image/jpeg")


def check_clip(data: dict[str, Any]) -> None:
    assert (data["provider"], data["model"], data["resolution"]) == ("acme", "acme-reel", "512p")
    assert (data["billedCostUsd"], data["estimatedCostUsd"]) == (0.12, 0.12)
    assert (data["video"]["contentType"], data["video"]["duration"]) == ("video/mp4", 4.0)


def test_over_stdio_it_is_described_and_makes_a_picture_and_a_clip(
    env: dict[str, str], acme: Acme, tmp_path: Path
) -> None:
    with RingProcess(env, tmp_path) as ring:
        tools = {tool["name"]: tool["inputSchema"]["properties"] for tool in ring.request("tools/list")["tools"]}
        check_picture(ring.call("ring-image-create", PICTURE).data)
        check_clip(ring.call("ring-video-create", CLIP).data)
        refused = ring.call("ring-image-create", {**PICTURE, "provider": "nobody"})
        health = ring.health().text
    assert acme.prompts == ["a lighthouse", "the beam turns"]
    assert tools["ring-image-create"]["provider"]["enum"] == ["xai", "google", "acme"]
    assert "acme-still" in tools["ring-image-create"]["model"]["description"]
    assert "Acme 1 to 20" in tools["ring-video-create"]["duration"]["description"]
    assert refused.content["error"] == "provider must be one of xai, google, acme, got 'nobody'"
    assert "provider acme: a key is configured" in health


@pytest.mark.long
def test_over_rest_it_makes_a_picture_and_a_clip(env: dict[str, str], acme: Acme, tmp_path: Path) -> None:
    bearer = {"authorization": "Bearer token"}
    with (
        serving({**env, "RING_MCP_SERVICE_TOKENS": "token"}, tmp_path) as url,
        httpx2.Client(
            base_url=f"{url}/api/mcp/v1", headers=bearer, timeout=LIMIT_S, trust_env=False, verify=False
        ) as client,
    ):
        picture = client.post("/images/generate", json=PICTURE)
        clip = client.post("/videos/generate", json=CLIP)
    assert (picture.status_code, clip.status_code) == (201, 201)
    check_picture(picture.json()["data"])
    check_clip(clip.json()["data"])
    assert acme.prompts == ["a lighthouse", "the beam turns"]


@pytest.mark.long
def test_on_the_command_line_it_makes_a_picture_and_a_clip(person: Person, acme: Acme) -> None:
    check_picture(person.json("image", "a lighthouse", "--provider", "acme"))
    check_clip(person.with_env(ACME_VIDEO_DURATION="4").json("video", "the beam turns", "--provider", "acme"))
    check_picture(person.with_env(IMAGE_GEN_PROVIDER="acme").json("image", "another lighthouse"))
    assert acme.prompts == ["a lighthouse", "the beam turns", "another lighthouse"]
    assert "acme" in person.types("image", "--help").stdout
    assert "acme-reel (acme)" in person.types("presets").stdout
    assert '"ACME_API_KEY"' in person.types("config", "codex").stdout


@pytest.mark.long
def test_a_script_has_its_clips_and_stills_made_by_it(person: Person, acme: Acme, tmp_path: Path) -> None:
    script = {
        "schemaVersion": "1.0",
        "requestId": "harbour",
        "defaults": {"imageProvider": "acme", "videoProvider": "acme"},
        "clips": [
            {"id": "one", "duration": 4, "prompt": "the beam turns"},
            {"id": "two", "duration": 5, "prompt": "a boat", "firstFrame": {"imagePrompt": "a quay"}},
        ],
    }
    (tmp_path / "script.json").write_text(json.dumps(script))
    done = person.types("script", "script.json")
    assert done.returncode == DONE, done.stdout + done.stderr
    assert sorted(acme.prompts) == ["a boat", "a quay", "the beam turns"]
    schema = person.types("script", "--schema").stdout
    assert '"acme"' in schema
    [manifest] = (tmp_path / "output").glob("*.json")
    rows = json.loads(manifest.read_text())["clips"]
    assert {(row["id"], row["status"], row["model"]) for row in rows} == {
        ("one", "done", "acme-reel"),
        ("two", "done", "acme-reel"),
    }


def test_without_its_key_it_says_so_and_nothing_is_sent(person: Person, acme: Acme) -> None:
    refused = person.with_env(ACME_API_KEY="").types("image", "a lighthouse", "--provider", "acme")
    assert (refused.returncode, acme.prompts) == (FAILED, [])
    assert "ACME_API_KEY is not configured" in refused.stderr


@pytest.mark.long
def test_the_sandbox_plays_it_with_no_key_of_its_own(person: Person, acme: Acme) -> None:
    sandboxed = person.with_env(RING_SANDBOX="1", ACME_API_KEY="", ACME_API_BASE_URL="https://api.acme.example")
    check_picture(sandboxed.json("image", "a lighthouse", "--provider", "acme"))
    check_clip(sandboxed.json("video", "the beam turns", "--provider", "acme", "--duration", "4"))


def test_a_sandbox_that_does_not_play_it_is_not_given_its_key(
    product: Path, person: Person, acme: Acme, tmp_path: Path
) -> None:
    shutil.copytree(product, tmp_path / "half")
    shutil.rmtree(tmp_path / "half/ring_mcp/sandbox/acme")
    half = person.with_env(PYTHONPATH=str(tmp_path / "half"), RING_SANDBOX="1")
    refused = half.types("image", "a lighthouse", "--provider", "acme")
    assert (refused.returncode, acme.prompts) == (FAILED, [])
    assert "ACME_API_KEY is not configured" in refused.stderr


def test_its_variables_are_checked_at_the_start_like_all_others(person: Person) -> None:
    refused = person.with_env(ACME_API_BASE_URL="nowhere", ACME_VIDEO_DURATION="long").types("health")
    assert refused.returncode == BAD_USAGE
    assert "ACME_API_BASE_URL: " in refused.stderr
    assert "ACME_VIDEO_DURATION: must be a whole number" in refused.stderr


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (("defaults", "image"), "defaults.image lacks acme, which makes images"),
        (("modes", "production", "providers"), "modes.production.providers lacks acme, which makes videos"),
    ],
)
def test_half_of_it_does_not_start(
    product: Path, person: Person, table: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    """Without a choice in presets.json somebody would ask for what nobody has a model for."""
    half = tmp_path / "half"
    half.mkdir()
    (half / "ring_mcp").symlink_to(product / "ring_mcp")
    presets = json.loads((product / "presets.json").read_text())
    rows = presets
    for key in table:
        rows = rows[key]
    del rows["acme"]
    write_presets(half, presets)
    refused = person.with_env(PYTHONPATH=str(half)).types("health")
    assert refused.returncode == BAD_USAGE
    assert told in " ".join(refused.stderr.split())
