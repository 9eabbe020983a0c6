"""What every client reads before it calls anything. The whole list is a committed file: a change of it is reviewed.

``RING_UPDATE_SNAPSHOTS=1 uv run pytest -n0 tests/tools/test_tools_list.py`` writes it anew.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.benchmarks.tokens import MAX_TOOLS, compact, count
from tests.server.wire import MODERN, RingProcess

SNAPSHOT = Path(__file__).parent / "snapshots" / "tools_list.json"
PAID = {"ring-image-create", "ring-video-create", "ring-script-run"}


@pytest.fixture
def tools(ring: RingProcess) -> list[dict[str, Any]]:
    return list(ring.request("tools/list")["tools"])


def every_schema(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """This schema and all within it, each with its path."""
    if isinstance(schema, dict):
        yield path, schema
        for key, value in schema.items():
            if key in ("properties", "$defs"):
                for name, inner in value.items():
                    yield from every_schema(inner, f"{path}/{key}/{name}")
            elif key in ("items", "additionalProperties"):
                yield from every_schema(value, f"{path}/{key}")
            elif key in ("anyOf", "oneOf", "allOf"):
                for number, inner in enumerate(value):
                    yield from every_schema(inner, f"{path}/{key}/{number}")


def test_the_list_is_the_one_that_was_reviewed(tools: list[dict[str, Any]]) -> None:
    written = json.dumps(tools, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if os.environ.get("RING_UPDATE_SNAPSHOTS") == "1":
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(written, encoding="utf-8")
    assert json.loads(SNAPSHOT.read_text(encoding="utf-8")) == tools, (
        "the tools changed; look at the difference, then run this test with RING_UPDATE_SNAPSHOTS=1"
    )


def test_both_eras_see_the_same_tools(tools: list[dict[str, Any]], env: dict[str, str], tmp_path: Path) -> None:
    with RingProcess(env, tmp_path, version=MODERN) as modern:
        assert modern.request("tools/list")["tools"] == tools


def test_names_are_short_and_of_one_family(tools: list[dict[str, Any]]) -> None:
    assert {"ring-image-create", "ring-job-get", "ring-health"} <= {tool["name"] for tool in tools}
    for tool in tools:
        assert re.fullmatch(r"ring-[a-z]+(-[a-z]+)*", tool["name"])
        assert len(tool["name"]) <= 40
        assert tool["title"]


def test_every_tool_and_every_argument_says_what_it_is_for(tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        assert len(tool["description"]) > 80
        for name, schema in tool["inputSchema"]["properties"].items():
            assert schema.get("description"), f"{tool['name']}.{name}"
            assert not schema["description"].startswith(name)


def test_the_whole_list_is_cheap_to_read(tools: list[dict[str, Any]]) -> None:
    assert count(compact(tools)) <= MAX_TOOLS


def test_every_tool_says_what_its_answer_has(tools: list[dict[str, Any]]) -> None:
    """With names for all fields, also of the objects in it: in words where the name says it all."""
    for tool in tools:
        data = tool["outputSchema"]["properties"]["data"]
        for name, field in data.get("properties", {}).items():
            assert field["type"] != "object" or field.get("description") or name == "capLeftUsd", name
            assert "default" not in field
    told = {tool["name"]: tool["outputSchema"]["properties"]["data"].get("description", "") for tool in tools}
    assert {"provider", "jobId", "state", "estimatedCostUsd"} <= set(told["ring-image-create"].rstrip(".").split(", "))
    assert told["ring-video-create"].startswith("success, ")
    image, video = (tool["outputSchema"]["properties"]["data"] for tool in tools[:2])
    assert "contentType" in image["properties"]["images"]["items"]["description"]
    assert video["properties"]["thumbnail"]["description"] == "As ring-image-create's images."
    assert "ring-image-create" in video["description"]
    assert not image["properties"].keys() & video["properties"].keys() - {"success", "jobId", "state"}


@pytest.mark.parametrize("which", ["inputSchema", "outputSchema"])
def test_schemas_are_valid_and_need_nothing_that_a_client_may_lack(tools: list[dict[str, Any]], which: str) -> None:
    for tool in tools:
        schema = tool[which]
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert not {"anyOf", "oneOf", "allOf", "not", "if", "$ref"} & schema.keys()
        for path, inner in every_schema(schema, f"{tool['name']}.{which}"):
            assert inner.get("type") != "array" or inner.get("items"), f"{path} has no items"
            assert not isinstance(inner.get("type"), list), f"{path} has several types"
            assert inner.get("type") != "null", f"{path} may be null"
            assert {"type", "$ref"} & inner.keys(), f"{path} has no type"
            assert not {"ge", "le", "gt", "lt"} & inner.keys(), f"{path} has limits under names of pydantic's own"


def test_arguments_are_flat_and_strict(tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        schema = tool["inputSchema"]
        assert schema["additionalProperties"] is False
        for name, argument in schema["properties"].items():
            assert re.fullmatch(r"[a-z][A-Za-z]*", name)
            if name == "thumbnail":  # Ring's one argument with fields of its own
                assert argument["additionalProperties"] is False
                continue
            if name == "request":  # a whole file in place of its path
                assert argument["type"] == "object"
                continue
            if argument["type"] == "array":
                assert argument["items"]["type"] == "string", name
                continue
            assert argument["type"] in ("string", "integer", "number", "boolean"), name
            assert not {"anyOf", "oneOf", "allOf", "$ref"} & argument.keys()


def test_the_arguments_of_ring_are_all_there(tools: list[dict[str, Any]]) -> None:
    create = next(tool for tool in tools if tool["name"] == "ring-image-create")["inputSchema"]
    ring = {"prompt", "provider", "model", "aspectRatio", "resolution", "n", "purpose", "refCode", "seed"}
    assert create["properties"].keys() == ring | {
        "quality",
        "referenceImages",
        "dryRun",
        "maxUsd",
        "idempotencyKey",
        "waitSeconds",
        "preview",
    }
    assert create["required"] == ["prompt"]


def test_annotations_are_explicit_and_paid_tools_do_not_look_harmless(tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        hints = tool["annotations"]
        assert hints.keys() >= {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
        paid, ends = tool["name"] in PAID, tool["name"] == "ring-job-cancel"
        assert hints["readOnlyHint"] is not (paid or ends)
        assert hints["idempotentHint"] is not paid
        assert hints["openWorldHint"] is (paid or ends)
        assert hints["destructiveHint"] is ends
        if paid:
            assert "costs money" in tool["description"]
            assert "dryRun" in tool["description"]
