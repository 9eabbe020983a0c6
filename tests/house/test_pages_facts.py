"""Tables of the pages against the product: arguments, models, prices, variables, codes, statuses, routes, commands."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import ring_mcp
from ring_mcp.app import open_app
from ring_mcp.config import all_variables, load_config
from ring_mcp.domain import ImageRequest
from ring_mcp.errors import ConfigError, InvalidRequest, ProviderAuthError, RingError, Unauthorized
from ring_mcp.presets import load_presets
from ring_mcp.server.auth import ServiceTokens
from ring_mcp.server.toolbox import Toolbox
from ring_mcp.tools.image_create import image_notes
from ring_mcp.tools.resources import JOB_TEMPLATE, PRESETS_URI
from ring_mcp.tools.video_create import video_notes
from tests.house.pages import PAGES, README, ROOT, page, quoted

MODEL = re.compile(r"grok-[a-z0-9.-]*[a-z0-9]")
COUNT = re.compile(r"(?<![\w.-])\d+(?![\w.-])")
DEVELOPERS_OWN = {"RING_TEST_DATABASE_URL", "RING_UPDATE_SNAPSHOTS"}
NONE = "–"


async def test_the_tables_of_tools_are_the_list_of_tools(tmp_path: Path) -> None:
    async with open_app(load_config({"RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)) as app:
        tools = Toolbox(app).values()
    costs = {tool.name: "yes" if "maxUsd" in tool.input_schema()["properties"] else "no" for tool in tools}
    arguments = {tool.name: list(tool.input_schema()["properties"]) for tool in tools}

    assert {quoted(row[0])[0]: row[2] for row in README.tables("tool")} == costs
    assert {quoted(row[0])[0]: quoted(row[1]) for row in page("tools").tables("tool")} == arguments
    assert {JOB_TEMPLATE, PRESETS_URI} <= set(quoted(page("tools").section("Arguments")))


def test_the_table_of_some_models_arguments_is_the_schemas() -> None:
    told = {(quoted(row[0])[0], row[1]): row[2] for row in page("tools").tables("argument")}

    presets = load_presets()
    notes = {"image": image_notes(presets), "video": video_notes(presets)}
    said = {(name, tool): note for tool, own in notes.items() for name, note in own.items() if note}
    assert told.keys() == said.keys()
    for key, note in said.items():
        if key != ("quality", "image"):  # its row tells what it is, whichever models have it
            assert set(MODEL.findall(note)) == set(MODEL.findall(told[key])), key
        assert set(COUNT.findall(told[key])) <= set(COUNT.findall(note)), key


def test_the_table_of_modes_is_that_of_the_presets() -> None:
    told = [
        [quoted(row[0])[0], quoted(row[1])[0], row[2], Decimal(row[3].strip("$")), row[4]]
        for row in page("tools").tables("mode")
    ]

    assert told == [
        [name, m.model, m.resolution, m.estimated_usd_per_second, "yes" if m.requires_image_url else "no"]
        for name, m in load_presets().modes.items()
    ]


def test_the_tables_of_prices_are_those_of_the_presets() -> None:
    """Those of models that are asked under their own name on the day of presets.json, whatever day it is now."""
    presets = load_presets()
    day = presets.updated
    pictures = [
        [f"`{name}`", model.provider, quality.replace("standard", NONE)]
        + [amount(prices.get(size)) for size in ("1k", "1.5k", "2k")]
        + [amount(model.prices.input_image_usd), str(model.prices.as_of)]
        for name, model in presets.image_models.items()
        if model.prices is not None and not (model.is_retired(day) or model.is_redirected(day))
        for quality, prices in model.prices.image_usd.items()
    ]
    clips = [
        [f"`{name}`", model.provider]
        + [amount(model.prices.second_usd.get(size)) for size in ("360p", "480p", "720p", "1080p", "4k")]
        + [amount(model.prices.input_image_usd), amount(model.prices.input_video_second_usd), str(model.prices.as_of)]
        for name, model in presets.video_models.items()
        if model.prices is not None and not (model.is_retired(day) or model.is_redirected(day))
    ]

    assert page("tools").tables("image model") == pictures
    assert page("tools").tables("clip model") == clips


def amount(usd: Decimal | None) -> str:
    return f"{usd:f}" if usd else NONE


def as_written(default: object) -> str:
    if default is None or default == ():
        return NONE
    if isinstance(default, bool):
        return "`on`" if default else "`off`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_the_tables_of_variables_are_the_configuration() -> None:
    rows = page("configuration").tables("variable")
    told = {tuple(quoted(row[0])): row[1] for row in rows}

    assert told.pop(("RING_ENV_FILE",)) == NONE  # it names the file that the others are read from
    assert told == {names: as_written(default) for names, default in all_variables().items()}
    assert len(rows) == len(told) + 1
    assert all(row[2] for row in rows)


def test_every_variable_that_a_page_names_exists() -> None:
    known = {name for names in all_variables() for name in names} | {"RING_ENV_FILE"} | DEVELOPERS_OWN
    named = re.compile(r"\b(?:RING|XAI|GOOGLE|GEMINI|RINGBASE|IMAGE_GEN|VIDEO_GEN|FILE|LOCAL|DATABASE)_[A-Z_]+\b(?!…)")

    unknown = {each.name: set(named.findall(each.text)) - known for each in PAGES}
    assert {name: found for name, found in unknown.items() if found} == {}


@pytest.mark.parametrize("block", [b for each in PAGES for b in each.blocks("ini")], ids=str)
def test_a_block_of_settings_sets_variables_that_exist(block: Any) -> None:
    known = {name for names in all_variables() for name in names}
    lines = [line for line in block.text.splitlines() if not line.startswith("#")]

    assert {line.partition("=")[0] for line in lines} <= known
    assert all(line.partition("=")[2] for line in lines)


def test_a_named_environment_file_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="RING_ENV_FILE"):
        load_config({"RING_ENV_FILE": str(tmp_path / "no.env")})


def product() -> Iterator[tuple[str, ast.Module]]:
    """The modules of the product, the sandbox apart: it plays others."""
    for found in pkgutil.walk_packages(ring_mcp.__path__, "ring_mcp."):
        if not found.name.startswith("ring_mcp.sandbox") and not found.name.endswith("__main__"):
            path = Path(str(getattr(found.module_finder, "path", ""))) / found.name.rpartition(".")[2]
            file = path / "__init__.py" if found.ispkg else path.with_suffix(".py")
            yield found.name, ast.parse(file.read_text(encoding="utf-8"))


def codes_in(tree: ast.Module) -> Iterator[str]:
    """Texts that are given to something called ``code``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "code":
            values = [node.value]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {getattr(target, "id", None) or getattr(target, "attr", None) for target in targets}
            values = [node.value] if "code" in names else []
        else:
            continue
        yield from (v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str))


def error_classes(base: type[RingError] = RingError) -> Iterator[type[RingError]]:
    """The whole tree, as the product alone defines it."""
    if base.__module__.startswith("ring_mcp."):
        yield base
    for child in base.__subclasses__():
        yield from error_classes(child)


def test_the_table_of_codes_is_complete_and_says_what_the_errors_say() -> None:
    modules = dict(product())
    for name in modules:
        importlib.import_module(name)
    told = {quoted(row[0])[0]: (row[2], row[3]) for row in page("errors").tables("code")}
    known = {c.code: (c.billed, "yes" if c.retryable else "no") for c in error_classes()}

    assert set(told) == {code for tree in modules.values() for code in codes_in(tree)}
    assert {code: facts for code, facts in told.items() if code in known} == known


async def test_the_symptoms_of_ring_are_what_the_product_says(tmp_path: Path) -> None:
    config = load_config({"RING_STATE_DIR": str(tmp_path), "RING_MCP_SERVICE_TOKENS": "a"}, folder=tmp_path)
    async with open_app(config) as app:
        with pytest.raises(InvalidRequest) as blank:
            await app.images.quote(ImageRequest(prompt=" "))
        with pytest.raises(ProviderAuthError) as no_key:
            await app.images.generate(ImageRequest(prompt="x"), actor_id="me")
    with pytest.raises(Unauthorized) as no_token:
        ServiceTokens(config.service_tokens, "me").check(None)
    with pytest.raises(Unauthorized) as bad_token:
        ServiceTokens(config.service_tokens, "me").check(load_config({"RING_SERVICE_TOKEN": "b"}).service_token)

    said = {str(caught.value) for caught in (blank, no_key, no_token, bad_token)}
    assert said == {text for row in page("errors").tables("you see")[:3] for text in quoted(row[0])}


def test_other_symptoms_are_texts_of_the_code() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "ring_mcp").rglob("*.py"))
    texts = [text for row in page("errors").tables("you see")[3:] for text in quoted(row[0])]

    parts = [part for text in texts for part in text.split("…") if len(part) > 3]
    assert [part for part in parts if part not in code] == []
