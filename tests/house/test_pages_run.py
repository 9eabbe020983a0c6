"""What the pages tell a person to type is typed: in a folder that looks like a clone, with a home of its own.

The blocks of a page are run in their order, page beside page. What is not run is listed here, with its reason.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from ring_mcp.app import open_app
from ring_mcp.cli.commands import cli
from ring_mcp.config import load_config
from ring_mcp.domain import ImageRequest
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_XAI_KEY
from tests.house.pages import PAGES, ROOT, Block, all_blocks, page, quoted

NOT_RUN = (
    ("README.md", "uv run ring-mcp demo", "installs; test_readme runs the demo, and these are the tests"),
    ("README.md", "python3 -m venv", "seconds of pip, and nothing of ours"),
    ("docs/clients.md", "npx @modelcontextprotocol/inspector", "needs npm; tests/conformance runs the Inspector"),
    ("docs/http.md", "ring-mcp serve", "serves until it is stopped; tests/http does that"),
    ("docs/sandbox.md", "ring-mcp sandbox", "serves until it is stopped; tests/sandbox does that"),
    ("docs/sandbox.md", "curl -X POST", "needs curl; test_pages_facts posts it, tests/test_examples runs the program"),
    ("docs/deploy.md", "docker compose up", "needs a Docker daemon; tests/release has docker-compose read the file"),
    ("docs/deploy.md", "systemctl enable", "changes the machine; tests/release has systemd verify the unit"),
    ("docs/storage.md", "aws s3api", "needs the AWS command line and a bucket"),
    ("docs/money.md", "jobs adopt", "needs jobs of a key that is here no more; tests/cli/test_adopting does that"),
    ("docs/python.md", "app.images.generate", "is an example; tests/test_examples runs it"),
)
"""Page, what stands in the block, why it is not run. Whoever adds one raises the number below."""

MOST_NOT_RUN = 11

LIMIT_S = 240.0
PLACEHOLDERS = {"CLIENT": "cursor", "URL": "https://ring.example.org", "FILE": "mcp.json"}

BLOCKS = [*all_blocks("sh"), *all_blocks("python")]


def reason_of(block: Block) -> str | None:
    return next((why for name, part, why in NOT_RUN if name == block.page and part in block.text), None)


RUN = [block for block in BLOCKS if reason_of(block) is None]


@dataclass(frozen=True)
class Clone:
    """A working folder with the files of a clone that commands read, a home and a state folder; ``job`` is unknown."""

    page: str
    folder: Path
    job: str

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def kept(self) -> set[str]:
        """The names in the state folder, and in that of the sandbox."""
        return {path.name for path in (*self.state.iterdir(), *self.state.glob("sandbox/*"))}

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        variables = {
            **os.environ,
            "HOME": str(self.folder),
            "RING_STATE_DIR": str(self.state),
            "UV_PROJECT": str(ROOT),
            "UV_NO_SYNC": "1",
            "VIDEO_GEN_POLL_INTERVAL_MS": "50",
            "COLUMNS": "200",
        }
        text = block.text.replace("JOB", self.job)
        command = (
            [sys.executable, "-c", text] if block.language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        )
        if block.language == "python":
            variables["RING_SANDBOX"] = "1"
        return subprocess.run(
            command,
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )


async def an_unknown_job(state: Path) -> str:
    """A ledger in ``state`` with a picture whose answer never came: the id of its job."""
    with SandboxServer() as sandbox:
        sandbox.state.faults.add("drop_after_accept")
        environ = {"XAI_API_BASE_URL": sandbox.xai_base_url, "XAI_API_KEY": DEFAULT_XAI_KEY}
        config = load_config(environ, folder=state, state_dir=state)
        async with open_app(config) as app:
            result = await app.images.generate(ImageRequest(prompt="A red kite"), actor_id=config.actor_id)
    assert result.state == "unknown"
    return str(result.job_id)


@pytest.fixture(scope="session")
def first_state(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A state folder with an unknown job, and the job."""
    state = tmp_path_factory.mktemp("state")
    return state, asyncio.run(an_unknown_job(state))


def check_scripts(clone: Clone, said: str) -> None:
    [table] = page("scripts").blocks("text")
    assert table.text in said
    saved = {path.name for path in (clone.folder / "output" / "files").iterdir()}
    assert {"01_dough-production_edit.mp4", "04_door-production_edit.mp4"} <= saved, "the walk ends with both"
    rows = json.loads((clone.folder / "output" / "manifest.json").read_text(encoding="utf-8"))["clips"]
    assert {row["status"] for row in rows} == {"done"}
    for example, is_saved in (("scripted-dialogue", True), ("scripted-montage", False), ("xai-video-jobs", True)):
        clips = json.loads((ROOT / "examples" / f"{example}.json").read_text(encoding="utf-8"))["clips"]
        made = [row for row in rows if row["id"] in {clip["id"] for clip in clips}]
        assert {row["id"] for row in made} == {clip["id"] for clip in clips}
        for row in made if is_saved else ():
            assert Path(row["localPath"]).name == f"{row['id']}-{row['qualityMode']}.mp4"
            assert Path(row["localPath"]).read_bytes()[4:8] == b"ftyp"


def check_money(clone: Clone, said: str) -> None:
    assert f"{clone.job} is settled: $0.00 counts" in said


def check_command_line(clone: Clone, said: str) -> None:
    assert {"ledger.db", "spool", "previews", "locks", "sandbox", "files"} <= clone.kept


MORE_OF: dict[str, Callable[[Clone, str], None]] = {
    "docs/scripts.md": check_scripts,
    "docs/money.md": check_money,
    "docs/command-line.md": check_command_line,
}
"""What more is true once all of a page was typed, by its stdout and its folder."""


@dataclass(frozen=True)
class Walk:
    """All that is run of a page, typed in its order; what came of each block."""

    clone: Clone
    done: Mapping[Block, subprocess.CompletedProcess[str]]


# A page is one test: it is one walk, and no worker takes it a second time for the sake of a block. Not bounded as a
# test is: each of its blocks has its own limit. README is typed in every run.
@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name == "README.md" else pytest.mark.long)
        for name in sorted({block.page for block in RUN})
    ]
)
def walk(request: pytest.FixtureRequest, first_state: tuple[Path, str], tmp_path: Path) -> Walk:
    state, job = first_state
    shutil.copytree(state, tmp_path / "state")
    for shared in ("examples", "presets.json"):
        (tmp_path / shared).symlink_to(ROOT / shared)
    clone = Clone(request.param, tmp_path, job)
    return Walk(clone, {block: clone.run(block) for block in RUN if block.page == clone.page})


def test_a_page_can_be_typed_as_it_stands(walk: Walk) -> None:
    clone, done = walk.clone, walk.done
    failed = {str(block): told.stdout + told.stderr for block, told in done.items() if told.returncode != 0}
    assert failed == {}
    if clone.page in MORE_OF:
        MORE_OF[clone.page](clone, "".join(told.stdout for told in done.values()))
    listed = {name.rstrip("/") for row in page("storage").tables("in the folder") for name in quoted(row[0])}
    assert clone.kept <= listed


def test_what_is_looked_at_more_closely_is_a_page_that_is_run() -> None:
    assert set(MORE_OF) <= {block.page for block in RUN}


def test_what_is_not_run_is_listed_and_does_not_grow() -> None:
    matches = [[block for block in BLOCKS if block.page == name and part in block.text] for name, part, _ in NOT_RUN]

    assert [len(found) for found in matches] == [1] * len(NOT_RUN)
    assert all(why for _, _, why in NOT_RUN)
    assert len(NOT_RUN) <= MOST_NOT_RUN


def spelled_out(text: str) -> Iterator[str]:
    """The commands of ring-mcp in a text, without what stands before them."""
    for line in text.splitlines():
        found = re.search(r"(?:^|uv run |uv run --no-dev |&& )(ring-mcp .+)$", line.partition("  #")[0].strip())
        if found and "ring-mcp ring-mcp" not in found[1]:
            yield found[1]


def commands() -> list[str]:
    """Those of the prose, and those of blocks that are not run, each once."""
    texts = [command for each in PAGES for command in quoted(each.prose)]
    texts += [block.text for block in BLOCKS if block.language == "sh" and reason_of(block)]
    return sorted({command for text in texts for command in spelled_out(text)})


@pytest.mark.parametrize("command", commands())
def test_a_command_that_is_only_named_is_spelled_right(command: str) -> None:
    arguments = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)[1:]]
    if arguments == ["--sandbox"]:
        return
    with cli.make_context("ring-mcp", [], resilient_parsing=True) as context:
        group: click.Command = cli
        while isinstance(group, click.Group) and arguments and not arguments[0].startswith("-"):
            _, found, arguments = group.resolve_command(context, arguments)
            assert found is not None
            group = found
        try:
            group.make_context(command, list(arguments), parent=context)
        except click.MissingParameter:
            pass  # it is named without what it is asked to do
        except click.exceptions.Exit:
            pass  # --help
