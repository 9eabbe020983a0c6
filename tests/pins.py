"""The versions that ``uv run`` installs. ``uv run python -m tests.pins`` takes the newest that the ranges allow.

A lock file would name download hosts, and ranges alone install next year what nobody has tried. So every package of the
resolution, for every platform and interpreter, stands with its version in ``[tool.uv]`` of pyproject.toml, where uv
reads it as a constraint; what the build needs stands there, too. With ``--keep`` nothing moves: new dependencies gain
a pin, and what nothing needs any more loses its own.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
PINS, BUILD_PINS = "constraint-dependencies", "build-constraint-dependencies"


def read_pins(text: str, name: str = PINS) -> list[str]:
    """The pins of one list, as they stand in the text of a pyproject.toml."""
    return [str(pin) for pin in tomllib.loads(text)["tool"]["uv"][name]]


def write_pins(text: str, name: str, pins: list[str]) -> str:
    """The text with other pins in that list, one on a line."""
    lines = "".join(f'  "{pin}",\n' for pin in pins)
    text, found = re.subn(rf"^{name} = \[\n.*?^\]$", lambda _: f"{name} = [\n{lines}]", text, flags=re.S | re.M)
    if found != 1:
        raise ValueError(f"pyproject.toml has no list {name} of one pin a line")
    return text


def resolve(text: str) -> list[str]:
    """Every package that extras and groups come to, on any platform, as ``name==version ; marker``."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, PROJECT.name).write_text(text, encoding="utf-8")
        return _uv(folder, "export", "--all-extras", "--all-groups", "--no-emit-project", "--no-hashes")


def resolve_build(text: str) -> list[str]:
    """The same for what builds the wheel."""
    project = tomllib.loads(text)
    oldest = project["project"]["requires-python"].removeprefix(">=")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "constraints.txt").write_text("\n".join(read_pins(text, BUILD_PINS)), encoding="utf-8")
        Path(folder, "build.txt").write_text("\n".join(project["build-system"]["requires"]), encoding="utf-8")
        where = ["--universal", "--python-version", oldest, "--constraints", "constraints.txt"]
        return _uv(folder, "pip", "compile", "build.txt", *where)


def _uv(folder: str, *command: str) -> list[str]:
    uv = os.environ.get("UV", "uv")  # set by `uv run`
    done = subprocess.run(
        [uv, *command, "--no-header", "--no-annotate", "--quiet"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.pins", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="add and remove pins, but move none")
    keep = parser.parse_args().keep
    text = PROJECT.read_text(encoding="utf-8")
    before = {*read_pins(text), *read_pins(text, BUILD_PINS)}
    if not keep:
        text = write_pins(write_pins(text, PINS, []), BUILD_PINS, [])
    text = write_pins(write_pins(text, PINS, resolve(text)), BUILD_PINS, resolve_build(text))
    PROJECT.write_text(text, encoding="utf-8")
    after = {*read_pins(text), *read_pins(text, BUILD_PINS)}
    for sign, pin in sorted(
        [("-", pin) for pin in before - after] + [("+", pin) for pin in after - before], key=lambda p: p[1]
    ):
        print(sign, pin)
    print(f"{len(after)} pins, {len(after - before)} of them new")


if __name__ == "__main__":
    main()
