"""Where presets.json, sql/ and icons/ lie: beside the package in a clone, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_INSIDE_WHEEL = Path(__file__).parent / "_data"
_IN_CLONE = Path(__file__).parent.parent


def data_path(name: str) -> Path:
    """The path of a data file or folder that is shipped with the product."""
    # Inside first: beside an installed package, a folder of that name is somebody else's.
    inside = _INSIDE_WHEEL / name
    return inside if inside.exists() else _IN_CLONE / name
