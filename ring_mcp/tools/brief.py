"""Leaves out of an answer what a model would never use and what the answer says twice. Pure.

REST and the command line return everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNREAD = frozenset({"sha256"})
"""Fields of a file that no model uses; each costs 40 tokens."""


def is_told_by_url(url: str) -> bool:
    """Whether the address is the path itself."""
    return url.startswith("file:")


def brief_data(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` of a job with briefer files."""
    brief = {name: value for name, value in data.items() if name not in _find_repeated(data)}
    for name in {"video", "firstFrame", "thumbnail"} & data.keys():
        brief[name] = _brief_file(data[name])
    if "images" in data:
        brief["images"] = [_brief_file(image) for image in data["images"]]
    return brief


def _find_repeated(data: Mapping[str, Any]) -> set[str]:
    """Names of fields that repeat another field: where a picture's pixels are given, its ratio and resolution."""
    told = {"servedModel"} if data.get("servedModel") == data["model"] else set()
    images = data.get("images")
    if images and all(image.get("width") for image in images):
        told |= {"aspectRatio", "resolution"}
    return told


def _brief_file(file: dict[str, Any]) -> dict[str, Any]:
    unread = UNREAD | ({"localPath"} if is_told_by_url(file["url"]) else set())
    # A model expects "none" or "not looked at" anyway: only "present" is worth its tokens.
    unread |= {"contentCredentials"} if file.get("contentCredentials") != "present" else set()
    return {name: value for name, value in file.items() if name not in unread}


@dataclass(frozen=True, slots=True)
class ToldBy:
    """Fields of ``data`` that another tool's schema describes, and the sentence that refers to it."""

    fields: frozenset[str]
    words: str
    kinds: tuple[tuple[str, str], ...] = ()
    """The kinds of objects that it describes, each with the field where it does."""


def describe_data(schema: Mapping[str, Any], told_by: ToldBy | None = None) -> dict[str, Any]:
    """A short JSON Schema of ``data`` for the list of tools.

    Each field has its type. The fields of an object in it are only named, with their descriptions, in the object's
    description, and so are fields of ``data`` itself that have no description: a third of the tokens. ``error`` is
    left out: it is beside ``data``, never in it.
    """
    told, elsewhere = _Told(schema.get("$defs", {}), told_by), {"error"} | (told_by.fields if told_by else set())
    fields = {name: told.field(name, field) for name, field in schema["properties"].items() if name not in elsewhere}
    plain = [name for name, field in fields.items() if field.keys() == {"type"} and field["type"] not in _NESTED]
    words = " ".join(filter(None, (f"{', '.join(plain)}." if plain else "", told_by.words if told_by else "")))
    rest = {name: field for name, field in fields.items() if name not in plain}
    return {"type": "object", **({"description": words} if words else {}), **({"properties": rest} if rest else {})}


_NESTED = ("object", "array")


class _Told:
    """Describes each kind of object at the first field that has it; later fields refer to that one."""

    def __init__(self, definitions: Mapping[str, Any], told_by: ToldBy | None) -> None:
        self._definitions = definitions
        self._first: dict[str, str] = {f"#/$defs/{kind}": where for kind, where in (told_by.kinds if told_by else ())}

    def field(self, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        if "$ref" in schema:
            return {"type": "object", "description": self._fields(name, schema["$ref"])}
        # An answer leaves out what it does not have, so no reader ever meets a default.
        kept = {key: value for key, value in schema.items() if key != "default"}
        if kept.get("additionalProperties") == {"type": "number"}:  # amounts by name, as the name of the field says
            del kept["additionalProperties"]
        if "$ref" in kept.get("items", {}):
            kept["items"] = {"type": "object", "description": self._fields(name, kept["items"]["$ref"])}
        elif kept.get("items", {}).get("additionalProperties") is True:
            kept["items"] = {"type": "object"}
        return kept

    def _fields(self, name: str, reference: str) -> str:
        # Set before the fields are described, so that an object within its own kind refers to it and does not recurse.
        first = self._first.setdefault(reference, name)
        if first != name:
            return f"As {first}."
        fields = self._definitions[reference.rsplit("/", 1)[-1]]["properties"]
        return ", ".join(_say_field(each, of) for each, of in fields.items() if each not in UNREAD)


def _say_field(name: str, schema: Mapping[str, Any]) -> str:
    note = schema.get("description") or " | ".join(schema.get("enum", ()))
    return f"{name} ({note.rstrip('.')})" if note else name
