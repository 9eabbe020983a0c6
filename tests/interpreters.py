"""The tests over every Python that this machine has: ``uv run python -m tests.interpreters [arguments of pytest]``.

Tried are the versions that pyproject.toml names; nothing is downloaded but packages, and each has an environment of its
own in a temporary folder, so that the clone's stays as it is. Ends with 1 if the tests fail on any of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = os.environ.get("UV", "uv")  # set by `uv run`


def supported() -> list[str]:
    """The versions that the package says it runs on, such as 3.11."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return re.findall(r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.M)


def find(version: str) -> str | None:
    """The path of this machine's interpreter of a version. Pyenv's own commands hide all versions but one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [*map(str, sorted(pyenv.glob(f"versions/{version}.*/bin"))), os.environ["PATH"]]
    done = subprocess.run(
        [UV, "python", "find", "--system", "--no-python-downloads", version],
        env={**os.environ, "PATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def run_tests(interpreter: str, arguments: list[str]) -> int:
    """Pytest's status with this interpreter; a `uv run` inside of a test gets the same environment."""
    with tempfile.TemporaryDirectory(prefix="ring-python-") as folder:
        environment = {**os.environ, "UV_PYTHON": interpreter, "UV_PROJECT_ENVIRONMENT": folder}
        environment.pop("VIRTUAL_ENV", None)
        return subprocess.run([UV, "run", "pytest", *arguments], cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    told = []
    for version in supported():
        interpreter = find(version)
        if interpreter is None:
            told.append(f"{version}  not on this machine")
            continue
        print(f"Python {version}: {interpreter}", flush=True)
        began = time.monotonic()
        status = run_tests(interpreter, sys.argv[1:])
        told.append(f"{version}  {'passed' if status == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s")
    print("\n".join(told))
    return int(any("FAILED" in line for line in told))


if __name__ == "__main__":
    sys.exit(main())
