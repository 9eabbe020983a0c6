"""What others install from says the same as the product: versions, variables, tools, the icon."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ring_mcp import __version__
from ring_mcp.app import open_app
from ring_mcp.config import all_variables, load_config
from ring_mcp.server.mcp import load_icon
from ring_mcp.server.toolbox import Toolbox

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def registry_entry() -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(read("server.json"))
    return entry


def manifest() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(read("packaging/mcpb/manifest.json"))
    return content


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        ("pyproject.toml", lambda: [tomllib.loads(read("pyproject.toml"))["project"]["version"]]),
        ("server.json", lambda: [registry_entry()["version"], registry_entry()["packages"][0]["version"]]),
        ("manifest.json", lambda: [manifest()["version"]]),
        ("Dockerfile", lambda: re.findall(r"ARG VERSION=(\S+)", read("Dockerfile"))),
        ("compose.yaml", lambda: re.findall(r"image: ring-mcp:(\S+)", read("examples/deploy/compose.yaml"))),
    ],
)
def test_every_file_names_this_version(name: str, versions: Any) -> None:
    found = versions()
    assert found, name
    assert set(found) == {__version__}


def test_the_readme_owns_the_name_in_the_registry() -> None:
    """The registry looks for this line in what PyPI shows of the package."""
    name = registry_entry()["name"]
    assert f"mcp-name: {name}" in read("README.md")
    assert f'io.modelcontextprotocol.server.name="{name}"' in read("Dockerfile")


def test_the_registry_entry_keeps_to_the_schemas_bounds() -> None:
    entry = registry_entry()
    assert len(entry["description"]) <= 100
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", entry["name"])
    assert all(icon["src"].startswith("https://") for icon in entry["icons"])


def test_variables_that_are_asked_for_exist() -> None:
    known = {name for names in all_variables() for name in names}
    asked = {each["name"] for each in registry_entry()["packages"][0]["environmentVariables"]}
    asked |= set(manifest()["server"]["mcp_config"]["env"])
    for name in ("ring-mcp.env.example", "ring-mcp.service", "compose.yaml"):
        text = (DEPLOY / name).read_text(encoding="utf-8")
        asked |= set(re.findall(r"^\s*(?:Environment=)?((?:RING|XAI)_[A-Z_]+)[=:]", text, re.M))
    assert asked <= known


def test_secrets_are_asked_for_as_secrets() -> None:
    secrets = {each["name"] for each in registry_entry()["packages"][0]["environmentVariables"] if each.get("isSecret")}
    assert secrets == {"XAI_API_KEY", "GOOGLE_GENAI_API_KEY"}
    assert {name for name, each in manifest()["user_config"].items() if each.get("sensitive")} == {
        "xai_api_key",
        "google_api_key",
    }


def test_every_setting_of_the_bundle_has_a_value() -> None:
    """A host leaves `${user_config.…}` as it stands where there is none, and the product would take that for a key."""
    assert all("default" in each for each in manifest()["user_config"].values())
    used = set(re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(manifest()["server"])))
    assert used == set(manifest()["user_config"])


async def test_the_bundle_lists_the_tools(tmp_path: Path) -> None:
    async with open_app(load_config({"RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)) as app:
        assert [each["name"] for each in manifest()["tools"]] == list(Toolbox(app))


def test_the_icon_needs_no_server() -> None:
    kind, _, encoded = load_icon().src.partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(encoded) == (ROOT / "icons" / "ring-mcp.svg").read_bytes()


def test_a_stop_has_time_for_paid_requests() -> None:
    drain_s = int(re.findall(r"^RING_DRAIN_S=(\d+)", (DEPLOY / "ring-mcp.env.example").read_text(), re.M)[0])
    compose_s = int(re.findall(r"stop_grace_period: (\d+)s", (DEPLOY / "compose.yaml").read_text())[0])
    unit = (DEPLOY / "ring-mcp.service").read_text()
    unit_s = int(re.findall(r"^TimeoutStopSec=(\d+)", unit, re.M)[0])
    assert drain_s < min(compose_s, unit_s)
    assert "KillMode=process" in unit
