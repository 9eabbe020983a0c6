"""Whoever reads an error of a provider, a row or a text, can see which provider it was: no vendor leaves it out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ring_mcp.providers
from ring_mcp import errors
from ring_mcp.providers.vendors import VENDORS

FOLDER = Path(ring_mcp.providers.__file__).parent
ERRORS = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.ProviderError)
}


@pytest.mark.parametrize("folder", [".", *(vendor.name for vendor in VENDORS)])
def test_every_error_of_a_vendor_names_it(folder: str) -> None:
    made = [
        (path.name, call.lineno, {keyword.arg for keyword in call.keywords})
        for path in (FOLDER / folder).glob("*.py")
        if path.name != "guard.py"  # it does not know for whom it looks
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ERRORS
    ]
    assert made
    assert [(name, line) for name, line, given in made if not given & {"provider", None}] == []
