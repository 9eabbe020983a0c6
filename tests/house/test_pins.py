"""What ``uv run`` installs is what was tested: every package, on every platform, has its version in pyproject.toml."""

from __future__ import annotations

import tomllib
from importlib.metadata import distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.pins import BUILD_PINS, PINS, PROJECT, read_pins, write_pins

TEXT = PROJECT.read_text(encoding="utf-8")


def pins() -> list[Requirement]:
    return [Requirement(pin) for pin in read_pins(TEXT)]


def test_what_is_installed_has_the_version_that_is_pinned() -> None:
    installed = {str(canonicalize_name(found.name)): found.version for found in distributions()}
    here = [pin for pin in pins() if pin.marker is None or pin.marker.evaluate()]

    assert len({pin.name for pin in here}) == len(here)
    assert [pin for pin in here if not pin.specifier.contains(installed[pin.name])] == []


def test_the_resolution_for_every_platform_is_what_is_pinned() -> None:
    lock = PROJECT.with_name("uv.lock")
    if not lock.exists():
        pytest.skip("installed without uv: nothing was resolved for other platforms")
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]

    resolved = {(found["name"], f"=={found['version']}") for found in packages if "registry" in found["source"]}
    assert resolved == {(pin.name, str(pin.specifier)) for pin in pins()}


def test_what_builds_the_wheel_is_pinned() -> None:
    required = {Requirement(line).name for line in tomllib.loads(TEXT)["build-system"]["requires"]}

    assert required <= {Requirement(pin).name for pin in read_pins(TEXT, BUILD_PINS)}


def test_new_pins_take_the_place_of_the_old_and_nothing_else_moves() -> None:
    changed = write_pins(TEXT, PINS, ["one==1", "two==2 ; python_full_version < '3.12'"])

    assert read_pins(changed) == ["one==1", "two==2 ; python_full_version < '3.12'"]
    assert write_pins(changed, PINS, read_pins(TEXT)) == TEXT
    with pytest.raises(ValueError, match="no list"):
        write_pins("[tool.uv]", PINS, [])
