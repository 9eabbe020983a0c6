"""What a model is spared of an answer: what it would never use, and what its answer says already. Pure.

Programs that want everything have it over REST and on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNREAD = frozenset({"sha256"})
"""Fields of a file that no model reads: 40 tokens each."""


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
    """Fields whose fact another one tells as well: of a picture its pixels."""
    told = {"servedModel"} if data.get("servedModel") == data["model"] else set()
    images = data.get("images")
    if images and all(image.get("width") for image in images):
        told |= {"aspectRatio", "resolution"}
    return told


def _brief_file(file: dict[str, Any]) -> dict[str, Any]:
    unread = UNREAD | ({"localPath"} if is_told_by_url(file["url"]) else set())
    # "none" and "not looked at" are what a model expects anyhow: only that there are some is worth its tokens.
    unread |= {"contentCredentials"} if file.get("contentCredentials") != "present" else set()
    return {name: value for name, value in file.items() if name not in unread}


@dataclass(frozen=True, slots=True)
class ToldBy:
    """Fields of ``data`` that another tool's schema describes, and words that say so."""

    fields: frozenset[str]
    words: str
    kinds: tuple[tuple[str, str], ...] = ()
    """Kinds of objects that it describes, and in which field."""


def describe_data(schema: Mapping[str, Any], told_by: ToldBy | None = None) -> dict[str, Any]:
    """The JSON Schema of ``data`` for a list of tools: each field with its type, and the objects in it in words.

    Their fields are told by name, with what there is to say of each: a third of the tokens, and nothing that a reader
    needs is gone; and so are those of ``data`` itself whose name says it all. ``error`` stands beside ``data``, never
    in it.
    """
    told, elsewhere = _Told(schema.get("$defs", {}), told_by), {"error"} | (told_by.fields if told_by else set())
    fields = {name: told.field(name, field) for name, field in schema["properties"].items() if name not in elsewhere}
    plain = [name for name, field in fields.items() if field.keys() == {"type"} and field["type"] not in _NESTED]
    words = " ".join(filter(None, (f"{', '.join(plain)}." if plain else "", told_by.words if told_by else "")))
    rest = {name: field for name, field in fields.items() if name not in plain}
    return {"type": "object", **({"description": words} if words else {}), **({"properties": rest} if rest else {})}


_NESTED = ("object", "array")


class _Told:
    """``first`` is where each kind of object stands for the first time."""

    def __init__(self, definitions: Mapping[str, Any], told_by: ToldBy | None) -> None:
        self._definitions = definitions
        self._first: dict[str, str] = {f"#/$defs/{kind}": where for kind, where in (told_by.kinds if told_by else ())}

    def field(self, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        if "$ref" in schema:
            return {"type": "object", "description": self._fields(name, schema["$ref"])}
        # A field of an answer that is not there is left out of it, so that its default is nothing a reader would meet.
        kept = {key: value for key, value in schema.items() if key != "default"}
        if kept.get("additionalProperties") == {"type": "number"}:  # amounts by name, as the name of the field says
            del kept["additionalProperties"]
        if "$ref" in kept.get("items", {}):
            kept["items"] = {"type": "object", "description": self._fields(name, kept["items"]["$ref"])}
        elif kept.get("items", {}).get("additionalProperties") is True:
            kept["items"] = {"type": "object"}
        return kept

    def _fields(self, name: str, reference: str) -> str:
        # Before the fields are told: the second place of the same kind points to the first.
        first = self._first.setdefault(reference, name)
        if first != name:
            return f"As {first}."
        fields = self._definitions[reference.rsplit("/", 1)[-1]]["properties"]
        return ", ".join(_say_field(each, of) for each, of in fields.items() if each not in UNREAD)


def _say_field(name: str, schema: Mapping[str, Any]) -> str:
    note = schema.get("description") or " | ".join(schema.get("enum", ()))
    return f"{name} ({note.rstrip('.')})" if note else name
