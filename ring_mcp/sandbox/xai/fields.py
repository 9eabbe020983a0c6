"""Reading a JSON body the way the emulated xAI does: 422 for a missing or mistyped field, 400 for a refused value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ring_mcp.sandbox.xai.replies import BareRefusal, invalid, unprocessable


class Fields:
    """One JSON object. A null is as good as absent; fields that nobody asks for are ignored."""

    def __init__(self, body: dict[str, Any], path: str = "") -> None:
        self._body = body
        self._path = path

    def has(self, name: str) -> bool:
        return self._body.get(name) is not None

    def raw(self, name: str) -> Any:
        return self._body.get(name)

    def text(self, name: str, default: str = "") -> str:
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._refuse_type(name, "a string")
        return value

    def require_text(self, name: str) -> str:
        if not self.has(name):
            raise self._refuse_missing(name)
        return self.text(name)

    def number(self, name: str) -> float:
        """A number that must be there."""
        value = self._body.get(name)
        if value is None:
            raise self._refuse_missing(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._refuse_type(name, "f64")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._refuse_type(name, "a boolean")
        return value

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        value = self._body.get(name)
        if value is None:
            return default
        # JSON's true is an int to Python, and none to the real service.
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._refuse_type(name, "u32")
        return self._within(name, value, low, high)

    def lenient_whole(self, name: str, default: int, low: int, high: int) -> int:
        """As ``whole``, but ``6.0`` and ``"6"`` are numbers as well."""
        value = self._body.get(name)
        if isinstance(value, str) and value.strip().isdigit():
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return Fields({name: value}, self._path).whole(name, default, low, high)

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        value = self.text(name, default)
        # The default may be a word that nobody can ask for, as an empty one.
        if value not in allowed and value != default:
            raise invalid(f"Invalid value for {name}: {value}. Allowed values: {', '.join(allowed)}.")
        return value

    def child(self, name: str) -> Fields | None:
        value = self._body.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._refuse_type(name, f"struct {name}")
        return Fields(value, f"{self._path}{name}.")

    def require_child(self, name: str) -> Fields:
        child = self.child(name)
        if child is None:
            raise self._refuse_missing(name)
        return child

    def children(self, name: str) -> list[Fields]:
        value = self._body.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._refuse_type(name, "a sequence")
        return [Fields({"": each}, f"{self._path}{name}[{i}]").require_child("") for i, each in enumerate(value)]

    def texts(self, name: str) -> list[str]:
        value = self._body.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._refuse_type(name, "a sequence of strings")
        return value

    def _within(self, name: str, value: int, low: int, high: int) -> int:
        if not low <= value <= high:
            raise invalid(f"Invalid value for {name}: {value}. It must be between {low} and {high}.")
        return value

    def _refuse_missing(self, name: str) -> BareRefusal:
        # The real sentence tells where its parser stood; the end of the object is near enough.
        return unprocessable(f"{self._path}missing field `{name}`", len(json.dumps(self._body)))

    def _refuse_type(self, name: str, wanted: str) -> BareRefusal:
        value = self._body[name]
        kinds = {bool: "boolean", int: "integer", float: "floating point", str: "string", list: "sequence", dict: "map"}
        shown = f"{kinds.get(type(value), 'value')} " + (f"`{value}`" if isinstance(value, int | float) else "")
        if isinstance(value, str):
            shown = f"string {json.dumps(value[:40])}"
        text = f"{self._path}{name}: invalid type: {shown.strip()}, expected {wanted}"
        return unprocessable(text, len(json.dumps(self._body)))
