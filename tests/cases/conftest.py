"""One sandbox, one server for each transport, and a folder of media, for all cases of a file."""

from __future__ import annotations

import base64
import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.cases.given_media import make_media, served
from tests.cases.ways_in import Way, by_command, by_http, by_rest, by_script, by_stdio
from tests.http.http_reach import ALICE, TOKENS, HttpRing
from tests.server.wire import RingProcess, environment, path_of

WAYS = ("stdio", "http", "rest", "command", "script")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(settings={"show_prompt": False}) as running:
        yield running


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``${MEDIA}`` is: our own specimens, or the folder in RING_CASES_MEDIA."""
    folder = tmp_path_factory.mktemp("media")
    make_media(folder)
    return Path(os.environ.get("RING_CASES_MEDIA", folder))


@pytest.fixture(scope="module")
def variables(sandbox: SandboxServer, media: Path) -> dict[str, str]:
    return {"RING_SANDBOX": sandbox.url, "RING_INPUT_DIRS": str(media), "VIDEO_GEN_POLL_INTERVAL_MS": "100"}


@pytest.fixture(scope="module")
def ring(variables: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RingProcess]:
    folder = tmp_path_factory.mktemp("stdio")
    with RingProcess(environment(folder, **variables), folder) as running:
        yield running


@pytest.fixture(scope="module")
def http_ring(variables: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRing]:
    folder = tmp_path_factory.mktemp("http")
    env = environment(folder, **variables, RING_MCP_SERVICE_TOKENS=TOKENS, RING_MAX_CALLS_PER_MINUTE="100000")
    with HttpRing(env, folder) as running:
        yield running


@pytest.fixture(scope="module")
def ways(
    ring: RingProcess,
    http_ring: HttpRing,
    variables: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Way]:
    home = tmp_path_factory.mktemp("command")
    unset = dict.fromkeys(name for name in os.environ if name.startswith(("RING_", "XAI_", "GOOGLE_")))
    typed: dict[str, str | None] = {**unset, "HOME": str(home), "RING_STATE_DIR": str(home / "state"), **variables}
    found = (
        by_stdio(ring),
        by_http(http_ring.url, ALICE),
        by_rest(http_ring.url, ALICE),
        by_command(typed, home),
        by_script(ring),
    )
    return {way.name: way for way in found}


@pytest.fixture(scope="module")
def placeholders(ways: Mapping[str, Way], media: Path) -> Iterator[dict[str, dict[str, str]]]:
    """By way: what stands for each ``${NAME}``. A picture and a clip have been made before each way's cases begin."""
    plain = (media / "plain.jpg").read_bytes()
    encoded = base64.b64encode(plain).decode()
    with served(media) as address:
        shared = {
            "MEDIA": str(media),
            "HTTP": address,
            "HTTP_REST": address.removeprefix("http"),
            "B64": encoded,
            "B64_76": "\n".join(textwrap.wrap(encoded, 76)),
            "B64_PERCENT": encoded.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
            "B64_URL": encoded.replace("+", "-").replace("/", "_"),
            "B64_BARE": encoded.rstrip("="),
            "B64_FORM": encoded.replace("+", " "),
            "LONG9000": "a" * 9000,
            "LONG11000": "a" * 11000,
        }
        found = {name: {**shared, **_made(way)} for name, way in ways.items() if name != "script"}
        yield {**found, "script": found["stdio"]}


def _path(file: dict[str, str]) -> str:
    """Where a file lies, as far as an answer says so."""
    return str(path_of(file["url"])) if file["url"].startswith("file:") else file.get("localPath", "")


def _made(way: Way) -> dict[str, str]:
    picture = way.ask("ring-image-create", {"prompt": f"made before, {way.name}"})
    clip = way.ask("ring-video-create", {"prompt": f"made before, {way.name}", "duration": 3})
    image, video = (answer.facts.get("data", answer.facts) for answer in (picture, clip))
    at, clip_at = (_path(file) for file in (image["images"][0], video["video"]))
    return {
        "OWN_PATH": at,
        "OWN_URL": image["url"],
        "OWN_CLIP": clip_at or video["video"]["url"],
        "OWN_CLIP_URL": video["video"]["url"],
        "JOB": image["jobId"],
        "JOB8": image["jobId"][:8],
        "CLIP_JOB": video["jobId"],
    }
