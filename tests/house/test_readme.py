"""README: short enough to be read, its first two commands, what the demo prints, and what PyPI would show of it."""

from __future__ import annotations

import email
import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from ring_mcp import __version__
from ring_mcp.config import Config
from ring_mcp.jobs.watch import PROGRESS_INTERVAL_S
from tests.house.pages import EXAMPLES, README, ROOT
from tests.pictures import make_pictures

MAX_BYTES = 12_000
PROMISED = ("pip install uv && uv run ring-mcp demo", "pip install uv && uv run pytest")
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.text.encode()) < MAX_BYTES


def test_the_two_first_commands_are_there() -> None:
    shown = "\n".join(block.text for block in README.blocks("sh"))

    assert all(command in shown for command in PROMISED)
    assert all(command.partition(" && ")[2] in (ROOT / ".ci" / "run").read_text() for command in PROMISED)


@pytest.mark.long
def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    variables = {"RING_STATE_DIR": str(tmp_path), "RING_ENV_FILE": "", "COLUMNS": "250"}
    done = subprocess.run(
        ["uv", "run", "--no-sync", "ring-mcp", "demo"],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    shown = next(block.text for block in README.blocks("text") if block.text.startswith("SANDBOX"))

    assert done.returncode == 0, done.stdout + done.stderr
    printed = {shape(line) for line in done.stdout.splitlines()}
    assert [line for line in shown.splitlines() if line.strip() not in ("", "...") and shape(line) not in printed] == []


def shape(line: str) -> str:
    """A line without what differs from run to run: ids, paths, dates, numbers."""
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", line)
    line = re.sub(r"(file://)?/\S+", "PATH", line)
    return re.sub(r"\d[\d.,]*", "N", line).strip()


def test_pypi_would_show_the_readme_with_links_that_lead_somewhere(tmp_path: Path) -> None:
    subprocess.run(
        ["uv", "build", "--wheel", "--quiet", "--out-dir", str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        [name] = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_string(packed.read(name).decode())
    urls = dict(entry.split(", ", 1) for entry in metadata.get_all("Project-URL", []))
    home, shown = urls["Source"], str(metadata.get_payload())

    assert metadata["Description-Content-Type"].startswith("text/markdown")
    assert [target for _, target in LINK.findall(shown)] == [
        f"{home}/{'raw' if image else 'blob'}/main/{target}" for image, target in LINK.findall(README.text)
    ]
    assert LINK.sub("", shown).strip() == LINK.sub("", README.text).strip()


@pytest.mark.long
def test_the_pictures_are_small_and_what_their_command_makes(tmp_path: Path) -> None:
    make_pictures(tmp_path)

    shown = sorted(path.name for path in EXAMPLES.glob("*.jpg"))
    assert shown == sorted(path.name for path in tmp_path.iterdir())
    for name in shown:
        assert (EXAMPLES / name).stat().st_size < 100_000
        with Image.open(EXAMPLES / name) as kept, Image.open(tmp_path / name) as made:
            assert kept.size == made.size
            # Not to the byte: decoders and encoders of other machines may round another way.
            assert max(ImageStat.Stat(ImageChops.difference(kept, made)).mean) < 3


def test_the_wait_that_the_readme_promises_is_the_default() -> None:
    assert f"longer than {Config.model_fields['inline_wait_s'].default:g} seconds" in README.text
    assert PROGRESS_INTERVAL_S < 60, "an Inspector that hears nothing for 60 s gives up"


def test_the_changelog_has_this_version_on_top() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)

    assert headings[0] == __version__
