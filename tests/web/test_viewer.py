"""What a host of MCP Apps gets: the viewer, small pictures, and files of this machine in pieces."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.config import load_config
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.apps import APPS, SHOWN
from ring_mcp.storage.links import FileLinks
from ring_mcp.tools.resources import MAX_PIECE_BYTES, SIZE_KEY, VIEWER_URI
from ring_mcp.web.viewer import VIEWER_TYPE, read_viewer
from ring_mcp.wiring import list_media_origins
from tests.http.http_reach import environment
from tests.server.wire import MODERN, RingProcess

DECLARED: dict[str, Any] = {
    "_meta": {"io.modelcontextprotocol/clientCapabilities": {"extensions": {APPS: {"mimeTypes": [VIEWER_TYPE]}}}}
}


@pytest.fixture(scope="module")
def modern(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RingProcess]:
    folder = tmp_path_factory.mktemp("apps")
    with RingProcess(environment(folder, RING_SANDBOX=running.url), folder, version=MODERN) as ring:
        yield ring


@pytest.fixture(scope="module")
def picture(modern: RingProcess) -> dict[str, Any]:
    made = modern.request("tools/call", {"name": "ring-image-create", "arguments": {"prompt": "pieces"}})
    return dict(made["structuredContent"]["data"])


def read(ring: RingProcess, uri: str) -> dict[str, Any]:
    [content] = ring.request("resources/read", {"uri": uri})["contents"]
    return dict(content)


def test_who_declares_apps_is_shown_where_the_viewer_is(modern: RingProcess) -> None:
    listed = modern.request("tools/list", DECLARED)
    shown = {tool["name"]: tool["_meta"]["ui"]["resourceUri"] for tool in listed["tools"] if "_meta" in tool}
    assert shown == dict.fromkeys(SHOWN, VIEWER_URI)
    assert listed["cacheScope"] == "private", "no cache may hand it to another client"
    assert VIEWER_URI in [resource["uri"] for resource in modern.request("resources/list", DECLARED)["resources"]]
    assert len(modern.request("resources/templates/list", DECLARED)["resourceTemplates"]) == 3


def test_all_others_see_what_they_saw_before(modern: RingProcess) -> None:
    listed = modern.request("tools/list")
    assert not any("_meta" in tool for tool in listed["tools"])
    assert listed["cacheScope"] == "public"
    assert [resource["uri"] for resource in modern.request("resources/list")["resources"]] == ["ring://presets"]
    assert len(modern.request("resources/templates/list")["resourceTemplates"]) == 1
    bare = {"_meta": {"io.modelcontextprotocol/clientCapabilities": {"extensions": {APPS: {"mimeTypes": ["text/x"]}}}}}
    assert modern.request("tools/list", bare)["tools"] == listed["tools"]


def test_the_viewer_is_one_file_that_loads_nothing(modern: RingProcess) -> None:
    viewer = read(modern, VIEWER_URI)
    assert viewer["mimeType"] == VIEWER_TYPE
    assert viewer["_meta"] == {"ui": {"prefersBorder": True}}, "files of this machine have no origin to be let in"
    assert not re.findall(r'(?:src|href)="|@import|url\(|innerHTML|insertAdjacentHTML', viewer["text"])
    assert len(viewer["text"]) < 40_000


def test_a_server_over_http_names_where_its_files_are(tmp_path: Path) -> None:
    config = load_config({"RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)
    origins = list_media_origins(config, FileLinks("https://ring.example/mine", b"secret"))
    assert read_viewer(origins).meta == {
        "ui": {"prefersBorder": True, "csp": {"resourceDomains": ["https://ring.example"]}}
    }


@pytest.mark.parametrize(
    ("settings", "origins"),
    [
        (
            {"FILE_BACKEND": "s3", "RING_S3_BUCKET": "media", "AWS_REGION": "eu-central-1"},
            ("https://s3.eu-central-1.amazonaws.com",),
        ),
        (
            {
                "FILE_BACKEND": "s3",
                "RING_S3_BUCKET": "media",
                "AWS_ENDPOINT_URL_S3": "https://store.example:9000",
                "RING_S3_PUBLIC_BASE_URL": "https://cdn.example/media",
            },
            ("https://cdn.example", "https://store.example:9000"),
        ),
        (
            {"FILE_BACKEND": "ringbase", "RINGBASE_API_URL": "https://base.example", "RINGBASE_API_TOKEN": "t" * 20},
            ("https://base.example",),
        ),
    ],
)
def test_other_storages_are_named_by_their_origin(
    settings: dict[str, str], origins: tuple[str, ...], tmp_path: Path
) -> None:
    config = load_config({"RING_STATE_DIR": str(tmp_path), **settings}, folder=tmp_path)
    assert list_media_origins(config, None) == origins


def test_a_preview_can_be_read(modern: RingProcess, picture: dict[str, Any]) -> None:
    content = read(modern, f"ring://jobs/{picture['jobId']}/preview")
    assert (content["mimeType"], base64.b64decode(content["blob"])[:2]) == ("image/jpeg", b"\xff\xd8")


def test_pieces_of_a_file_make_the_whole(modern: RingProcess, picture: dict[str, Any]) -> None:
    whole = Path(picture["images"][0]["url"].removeprefix("file://")).read_bytes()
    assert len(whole) > MAX_PIECE_BYTES
    text, offset = "", 0
    while offset < len(whole):
        uri = f"ring://jobs/{picture['jobId']}/asset/0?offset={offset}&length={MAX_PIECE_BYTES}"
        content = read(modern, uri)
        assert content["_meta"] == {SIZE_KEY: len(whole)}
        text += content["blob"]
        offset += MAX_PIECE_BYTES
    assert hashlib.sha256(base64.b64decode(text)).digest() == hashlib.sha256(whole).digest()


def test_no_piece_is_larger_than_a_client_takes(modern: RingProcess, picture: dict[str, Any]) -> None:
    for query in ("", "?offset=0&length=999999999999"):
        content = read(modern, f"ring://jobs/{picture['jobId']}/asset/0{query}")
        assert len(base64.b64decode(content["blob"])) == MAX_PIECE_BYTES
    beyond = read(modern, f"ring://jobs/{picture['jobId']}/asset/0?offset=999999999999&length=10")
    assert beyond["blob"] == ""


@pytest.mark.parametrize(
    "path",
    [
        *("asset/1", "asset/999", "asset/-1", "asset/0?offset=-1&length=1", "asset/0?length=1", "asset/0/x"),
        *("preview/x", "asset/../../x", "asset/0?offset=9999999999999&length=1", "asset/"),
    ],
)
def test_what_is_not_there_is_refused(modern: RingProcess, picture: dict[str, Any], path: str) -> None:
    refused = modern.refusal("resources/read", {"uri": f"ring://jobs/{picture['jobId']}/{path}"})
    assert "there is no resource" in refused["message"] or "jobId" in refused["message"]
