"""README.md against the product: its tables, its blocks, its commands, its names."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import click
import pytest

from ring_mcp import __version__, errors
from ring_mcp.app import open_app
from ring_mcp.cli.commands import cli
from ring_mcp.config import Config, all_variables, load_config
from ring_mcp.domain import ImageRequest
from ring_mcp.errors import ConfigError, InvalidRequest, ProviderAuthError, RingError, Unauthorized
from ring_mcp.jobs.watch import PROGRESS_INTERVAL_S
from ring_mcp.presets import load_presets
from ring_mcp.sandbox.app import RINGBASE_PATH
from ring_mcp.sandbox.fault_kinds import FAULT_KINDS
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.auth import ServiceTokens
from ring_mcp.tools.image_create import image_notes
from ring_mcp.tools.resources import JOB_TEMPLATE, PRESETS_URI
from ring_mcp.tools.video_create import video_notes

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "examples"
PROMISED = ("pip install uv && uv run ring-mcp demo", "pip install uv && uv run pytest")
ENDLESS = {"sandbox", "serve"}
IN_SANDBOX = "RING_SANDBOX=1 "
MODEL = re.compile(r"grok-[a-z0-9.-]*[a-z0-9]")
COUNT = re.compile(r"(?<![\w.-])\d+(?![\w.-])")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.S | re.M)


def section(title: str) -> str:
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", README, re.S | re.M)
    assert found, f"README has no section {title!r}"
    return found[1]


def table(first_heading: str) -> list[list[str]]:
    """The cells of the table whose first column is headed so."""
    found = re.search(rf"^\| {re.escape(first_heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", README, re.M)
    assert found, f"README has no table {first_heading!r}"
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].splitlines()]


def quoted(text: str) -> list[str]:
    """What stands in backquotes, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in [*lines, *quoted(README)] if line]


def ring_commands() -> list[str]:
    """Every ``uv run ring-mcp …`` of the README, once, without the installation before it."""
    found = [line.removeprefix("pip install uv && ") for line in commands()]
    return sorted({line for line in found if line.removeprefix(IN_SANDBOX).startswith("uv run ring-mcp")})


def ends_by_itself(command: str) -> bool:
    return not {*ENDLESS, "JOB", "--remaster"} & set(command.split())  # a remaster needs its drafts: see the walk


def run(command: str, state: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the README in the clone; conftest has taken a person's own settings out of the environment."""
    state.mkdir(exist_ok=True)
    empty = state / "empty.env"
    empty.touch()
    environment = {**os.environ, "RING_STATE_DIR": str(state), "RING_ENV_FILE": str(empty), "COLUMNS": "250"}
    if command.startswith(IN_SANDBOX):
        environment["RING_SANDBOX"] = "1"
    arguments = shlex.split(command.removeprefix(IN_SANDBOX))
    if {"script", "direct"} & set(arguments) and not {"--schema", "--output"} & set(arguments):
        arguments += ["--output", str(state / "output")]
    return subprocess.run(
        arguments,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_walk_from_an_idea_to_remastered_clips_can_be_walked(tmp_path: Path) -> None:
    walk = README.partition("### From an idea to remastered clips\n")[2].partition("\n## ")[0]
    steps = [line for block in re.findall(r"^```sh\n(.*?)^```$", walk, re.S | re.M) for line in block.splitlines()]
    output = tmp_path / "state" / "output"
    told = [run(step, tmp_path / "state") for step in steps]
    assert [done.returncode for done in told] == [0, 0, 0], [done.stdout + done.stderr for done in told]
    [table] = re.findall(r"^```text\n(.*?)^```$", walk, re.S | re.M)
    assert table in told[1].stdout
    made = {path.name for path in (output / "files").iterdir()}
    assert made == {"01_dough-production.mp4", "04_door-production.mp4"}


def test_the_two_commands_of_the_mission_are_there() -> None:
    assert all(command in "\n".join(blocks("sh")) for command in PROMISED)
    assert "uv run pytest" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("command", [c for c in ring_commands() if ends_by_itself(c) and c.split()[-1] != "demo"])
def test_a_command_of_the_readme_works(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path / "state")

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [c for c in ring_commands() if not ends_by_itself(c)])
def test_a_command_that_needs_a_job_or_never_ends_is_at_least_spelled_right(command: str) -> None:
    arguments = shlex.split(command.removeprefix(IN_SANDBOX))[3:]
    with cli.make_context("ring-mcp", [], resilient_parsing=True) as context:
        group: click.Command = cli
        while isinstance(group, click.Group):
            name, found, arguments = group.resolve_command(context, arguments)
            assert found is not None
            group = found
        group.make_context(name, arguments, parent=context)


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    done = run("uv run ring-mcp demo", tmp_path / "state")
    shown = next(block for block in blocks("text") if block.startswith("SANDBOX"))

    assert done.returncode == 0, done.stdout + done.stderr
    printed = {shape(line) for line in done.stdout.splitlines()}
    assert [line for line in shown.splitlines() if line.strip() not in ("", "...") and shape(line) not in printed] == []


def shape(line: str) -> str:
    """A line without what differs from run to run: ids, paths, dates, numbers."""
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", line)
    line = re.sub(r"(file://)?/\S+", "PATH", line)
    return re.sub(r"\d[\d.,]*", "N", line).strip()


async def test_the_table_of_tools_is_the_list_of_tools(tmp_path: Path) -> None:
    config = load_config({"RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)
    async with open_app(config) as app:
        tools = {
            tool.name: (
                "no" if tool.annotations.read_only_hint else "yes",
                [field.alias for field in tool.arguments.model_fields.values()],
            )
            for tool in app.tools()
        }

    assert {quoted(row[0])[0]: (row[2], quoted(row[3])) for row in table("tool")} == tools
    assert {JOB_TEMPLATE, PRESETS_URI} <= set(quoted(section("Tools")))


def test_the_table_of_arguments_for_some_models_is_what_the_schema_says_of_them() -> None:
    told = {(quoted(row[0])[0], row[1]): row[2] for row in table("argument")}

    presets = load_presets()
    notes = {"image": image_notes(presets), "video": video_notes(presets)}
    said = {(name, tool): note for tool, own in notes.items() for name, note in own.items() if note}
    assert told.keys() == said.keys()
    for key, note in said.items():
        if key != ("quality", "image"):  # its row tells what it is, whichever models have it
            assert set(MODEL.findall(note)) == set(MODEL.findall(told[key])), key
        assert set(COUNT.findall(told[key])) <= set(COUNT.findall(note)), key


def test_the_table_of_modes_is_that_of_the_presets() -> None:
    told = [[quoted(row[0])[0], quoted(row[1])[0], row[2], Decimal(row[3].strip("$")), row[4]] for row in table("mode")]

    modes = load_presets().modes.items()
    assert told == [
        [name, m.model, m.resolution, m.estimated_usd_per_second, "yes" if m.requires_image_url else "no"]
        for name, m in modes
    ]


def test_what_google_makes_in_the_modes_is_that_of_the_presets() -> None:
    [told] = [part for part in README.split("\n\n") if part.startswith("With `provider: google`")]
    choices = [mode.of("google") for mode in load_presets().modes.values()]
    said = {(choice.resolution, f"${choice.estimated_usd_per_second}") for choice in choices}
    assert quoted(told)[1:2] == [choices[0].model]
    assert len({choice.model for choice in choices}) == 1
    assert set(re.findall(r"(\d+p) at (\$[0-9.]+[0-9])", told)) == said


def as_written(default: object) -> str:
    if default is None or default == ():
        return "–"
    if isinstance(default, bool):
        return "`on`" if default else "`off`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_the_table_of_variables_is_the_configuration() -> None:
    told = {tuple(quoted(row[0])): row[1] for row in table("variable")}

    assert told.pop(("RING_ENV_FILE",)) == "–"  # it names the file that the others are read from
    assert told == {names: as_written(default) for names, default in all_variables().items()}
    assert all(row[2] for row in table("variable"))


def test_variables_elsewhere_in_the_readme_exist() -> None:
    known = {name for names in all_variables() for name in names} | {"RING_ENV_FILE", "RING_TEST_DATABASE_URL"}
    named = set(re.findall(r"\b(?:RING|XAI|GOOGLE|RINGBASE|IMAGE_GEN|VIDEO_GEN|FILE|LOCAL|DATABASE)_[A-Z_]+\b", README))

    assert named <= known


def test_a_named_environment_file_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="RING_ENV_FILE"):
        load_config({"RING_ENV_FILE": str(tmp_path / "no.env")})


def error_classes(base: type[RingError] = RingError) -> Iterator[type[RingError]]:
    yield base
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from error_classes(child)


def test_the_table_of_codes_is_the_error_tree() -> None:
    told = {quoted(row[0])[0]: (row[2], row[3]) for row in table("code")}

    assert told.pop("internal") == ("unknown", "no")  # what is not in the tree
    assert told == {c.code: (c.billed, "yes" if c.retryable else "no") for c in error_classes()}


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
    assert said == {symptom for row in table("you see")[:3] for symptom in quoted(row[0])}


def test_other_texts_of_the_troubleshooting_table_are_in_the_code() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "ring_mcp").rglob("*.py"))
    texts = [text for row in table("you see")[3:] for text in quoted(row[0])]

    parts = [part for text in texts for part in text.split("…") if len(part) > 3]
    assert [part for part in parts if part not in code] == []


def test_faults_of_the_readme_are_faults_of_the_sandbox() -> None:
    assert {quoted(row[0])[0] for row in table("fault")} <= set(FAULT_KINDS)


async def test_the_sandbox_takes_the_switches_of_the_readme() -> None:
    import httpx2

    bodies = re.findall(r"^curl -X POST http://127\.0\.0\.1:8790(/\S+) -d '(.+)'$", "\n".join(blocks("sh")), re.M)
    paths = [path for path in quoted(section("The sandbox")) if path.startswith("/control/")]
    assert bodies
    assert paths
    async with SandboxServer() as sandbox, httpx2.AsyncClient(base_url=sandbox.url) as client:
        for path, body in bodies:
            answer = await client.post(path, json=json.loads(body))
            assert answer.status_code == 200, answer.text
        for path in paths:
            assert (await client.get(path)).status_code in (200, 405), path
        assert (await client.get(f"{RINGBASE_PATH}/api/v1/health")).status_code == 200


def test_every_configuration_file_is_in_the_readme_word_for_word() -> None:
    files = sorted((EXAMPLES / "clients").iterdir())
    shown = [*blocks("json"), *blocks("toml")]

    assert len(files) == 7
    assert [file.name for file in files if file.read_text(encoding="utf-8") not in shown] == []
    assert len(shown) == len(files)


def test_the_python_of_the_readme_is_an_example() -> None:
    [shown] = blocks("python")

    assert shown in (EXAMPLES / "image_from_python.py").read_text(encoding="utf-8")


def test_links_lead_to_files_and_every_example_is_linked() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]

    assert [link for link in links if not (ROOT / link).exists()] == []
    examples = {str(path.relative_to(ROOT)) for path in EXAMPLES.rglob("*") if path.suffix not in ("", ".pyc")}
    assert examples <= set(links)


def test_the_tree_names_what_is_there_and_every_folder_of_the_package() -> None:
    [tree] = re.findall(r"^```text\n(.*?)^```$", section("How the code is laid out"), re.S | re.M)
    parents: list[Path] = []
    named = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], Path(line.split()[0])]
        named.append(Path(*parents))

    assert [str(path) for path in named if not (ROOT / path).exists()] == []
    package = ROOT / "ring_mcp"
    inside = {
        path.relative_to(ROOT) for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert inside - set(named) <= {Path("ring_mcp", name) for name in ("__init__.py", "clock.py", "package_data.py")}


def test_the_picture_is_a_small_jpeg() -> None:
    content = (EXAMPLES / "lighthouse.jpg").read_bytes()

    assert content.startswith(b"\xff\xd8\xff")
    assert len(content) < 60_000


def test_the_wait_that_the_readme_promises_is_the_default() -> None:
    assert f"longer than {Config.model_fields['inline_wait_s'].default:g} seconds" in README
    assert PROGRESS_INTERVAL_S < 60, "an Inspector that hears nothing for 60 s gives up"


def test_nothing_of_one_machine_is_in_the_documents() -> None:
    text = (
        README
        + CHANGELOG
        + "".join(p.read_text() for p in EXAMPLES.rglob("*") if p.suffix in (".py", ".json", ".toml"))
    )

    assert not re.search(r"/(work|root|tmp|mnt|srv)/|pythonhosted|registry\.npmjs|pypi\.org/simple", text)


def test_the_changelog_has_this_version_on_top() -> None:
    headings = re.findall(r"^## \[(.+?)\]", CHANGELOG, re.M)

    assert headings[0] == __version__
