"""A backend that no contract suite runs over is caught here, and so is a vendor's name outside its own folder."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ring_mcp.domain import MediaKind
from ring_mcp.providers.base import Vendor
from ring_mcp.providers.vendors import VENDORS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ring_mcp"

SEAMS = {
    "storage": ("Storage", "test_storage.py"),
    "ledger": ("Ledger", "test_ledger.py"),
    "jobs/queue": ("JobQueue", "test_queue.py"),
}
"""By folder: the contract in its base.py, and the suite that runs over every backend."""

SUITES_OF_VENDORS: Mapping[MediaKind, str] = {"image": "test_image_provider.py", "video": "test_video_provider.py"}

WITHOUT_BACKENDS = {"scripted"}
"""What a script needs is done by ``clients``: the same commands are tested in their own process and remotely."""

Suites = Mapping[str, set[str]]
"""By file: the ids of the parameters that its tests run with."""


COLLECT = ("-o", "addopts=", "-p", "no:schemathesis", "--collect-only", "-q", "tests/contracts")


@pytest.fixture(scope="module")
def suites() -> Suites:
    """What pytest itself would run."""
    found: dict[str, set[str]] = {}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *COLLECT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    for file, ids in re.findall(r"^tests/contracts/(\w+\.py)::\w+\[(.+)\]$", done.stdout, re.M):
        found.setdefault(file, set()).update(ids.split("-"))
    assert found, done.stdout + done.stderr
    return found


def backends(folder: Path, contract: str) -> list[str]:
    """The modules of a seam that have a class with every method of the contract, its own or inherited here."""
    classes: dict[str, tuple[str, ast.ClassDef]] = {}
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = (path.stem, node)

    def bases(name: str) -> list[str]:
        return [base.id for base in classes[name][1].bases if isinstance(base, ast.Name) and base.id in classes]

    def methods(name: str) -> set[str]:
        own = {n.name for n in classes[name][1].body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        return own.union(*(methods(base) for base in bases(name)))

    built_upon = {base for name in classes for base in bases(name)}
    return [
        module
        for name, (module, _) in classes.items()
        if module != "base" and name not in built_upon and methods(name) >= methods(contract)
    ]


def untested(folder: Path, seam: str, suites: Suites) -> list[str]:
    """Backends that the suite of their seam does not run over. One alone, with nobody to agree with, may have none."""
    contract, suite = SEAMS[seam]
    found = backends(folder, contract)
    needed = suite in suites or len(found) > 1
    return [name for name in found if name not in suites.get(suite, ())] if needed else []


def untested_vendors(vendors: Sequence[Vendor], suites: Suites) -> list[tuple[MediaKind, str]]:
    return [
        (kind, vendor.name)
        for vendor in vendors
        for kind in vendor.makers
        if vendor.name not in suites[SUITES_OF_VENDORS[kind]]
    ]


def test_every_seam_is_known_here() -> None:
    seams = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("base.py")}
    assert seams == {*SEAMS, "providers"} | WITHOUT_BACKENDS


@pytest.mark.parametrize("seam", SEAMS)
def test_every_backend_is_run_over_by_the_suite_of_its_seam(seam: str, suites: Suites) -> None:
    assert backends(PACKAGE / seam, SEAMS[seam][0])
    assert untested(PACKAGE / seam, seam, suites) == []


def test_every_vendor_is_run_over_by_the_suite_of_what_it_makes(suites: Suites) -> None:
    assert untested_vendors(VENDORS, suites) == []


PLANTED = {
    "storage": """class FtpStorage(OpenUrls):
    def local_path(self, url): ...
    async def put(self, key, media, metadata): ...
    async def ping(self): ...
    async def aclose(self): ...
""",
    "ledger": """class MongoLedger(TransactionalLedger):
    async def start(self): ...
    async def aclose(self): ...
    async def claim_one(self, holder, job_id): ...
""",
    "jobs/queue": """class RedisQueue:
    async def start(self, *, take_over): ...
    async def aclose(self): ...
    def enqueue(self, job): ...
    async def adopt(self, job): ...
""",
}


@pytest.mark.parametrize("seam", SEAMS)
def test_a_new_backend_without_a_suite_is_seen(seam: str, suites: Suites, tmp_path: Path) -> None:
    folder = tmp_path / "seam"
    shutil.copytree(PACKAGE / seam, folder)
    (folder / "planted.py").write_text(PLANTED[seam])
    assert "planted" in untested(folder, seam, suites)


def test_a_new_vendor_without_a_suite_is_seen(suites: Suites) -> None:
    planted = replace(VENDORS[0], name="acme")
    assert untested_vendors([*VENDORS, planted], suites) == [("image", "acme"), ("video", "acme")]


def strangers(package: Path) -> set[str]:
    """Modules outside of a vendor's folders that name one: its name, its title or one of its variables."""
    words = {re.escape(word) for vendor in VENDORS for word in (vendor.name, vendor.title)}
    named = re.compile(rf"(?i)(?<![a-z])({'|'.join(words)})(?![a-z])")
    own = [f"providers/{vendor.name}/" for vendor in VENDORS]
    found = set()
    for path in package.rglob("*.py"):
        where = path.relative_to(package).as_posix()
        if not where.startswith(("sandbox/", *own)) and named.search(path.read_text()):
            found.add(where)
    return found


def acquaintances(package: Path) -> set[str]:
    """Modules in one vendor's folder that import from another's."""
    found = set()
    for path in package.glob("providers/*/*.py"):
        imported = re.findall(r"ring_mcp\.providers\.(\w+)\.", path.read_text())
        if set(imported) - {path.parent.name}:
            found.add(path.relative_to(package).as_posix())
    return found


def test_vendors_do_not_know_each_other(tmp_path: Path) -> None:
    assert acquaintances(PACKAGE) == set()
    (tmp_path / "providers" / "acme").mkdir(parents=True)
    (tmp_path / "providers" / "acme" / "videos.py").write_text("from ring_mcp.providers.xai.replies import usd_of\n")
    assert acquaintances(tmp_path) == {"providers/acme/videos.py"}


def test_no_shared_module_names_a_vendor() -> None:
    """But for the list, and for Ring's legacy command, which is for one of them by its definition."""
    assert strangers(PACKAGE) == {"providers/vendors.py", "cli/direct.py"}


def test_a_name_in_a_shared_module_is_seen(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "plans" / "planted.py").write_text('if provider == "google": ...\n')
    (tmp_path / "jobs" / "planted.py").write_text("# XAI_API_KEY is read elsewhere\n")
    assert strangers(tmp_path) >= {"plans/planted.py", "jobs/planted.py"}
