"""How a missing extra is installed from where this program is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ring_mcp.extras import find_uvx_source, install_line

ROOT = Path(__file__).parents[1]
BY_UV = "home = /usr/bin\nuv = 0.13.9\n"


def environment(prefix: Path, *files: str, config: str = BY_UV) -> Path:
    prefix.mkdir(parents=True)
    (prefix / "pyvenv.cfg").write_text(config, encoding="utf-8")
    for name in files:
        (prefix / name).touch()
    return prefix


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (("uv-receipt.toml",), f"uv tool install --force '{ROOT}[video]'"),
        (("pipx_metadata.json",), f"pipx install --force '{ROOT}[video]'"),
    ],
)
def test_a_tool_is_installed_anew_with_it(tmp_path: Path, files: tuple[str, ...], line: str) -> None:
    assert install_line("video", environment(tmp_path / "tool", *files)) == line


def test_a_clone_is_synced_with_it() -> None:
    assert install_line("video", ROOT / ".venv").endswith(f"--project {ROOT} --extra video")


def test_an_environment_of_ones_own_is_added_to(tmp_path: Path) -> None:
    line = install_line("video", environment(tmp_path / "venv"))
    assert line.endswith(f" '{ROOT}[video]'")
    assert sys.executable in line


def test_an_environment_of_uvx_is_never_added_to(tmp_path: Path) -> None:
    """It lies in uv's cache, under a name that the next call need not have."""
    passing = environment(tmp_path / "cache" / "archive-v0" / "x")
    assert find_uvx_source(passing) is None
    (tmp_path / "cache" / "CACHEDIR.TAG").touch()
    assert install_line("video", passing) == f"uvx --from '{ROOT}[video]' ring-mcp"
    assert find_uvx_source(passing) == str(ROOT)


def test_an_environment_that_uv_made_is_no_cache_for_that(tmp_path: Path) -> None:
    """uv marks every one of its environments, so that backups leave them out."""
    assert find_uvx_source(environment(tmp_path / "venv", "CACHEDIR.TAG")) is None
