"""What a tool is: a name, strict flat arguments, a declared result, and a function from one to the other."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from mcp_types import ToolAnnotations
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from ring_mcp.errors import InvalidRequest

A = TypeVar("A", bound="Arguments")

Progress = Callable[[float, str], Awaitable[None]]
"""Tell the caller how far it is: percent and a short text."""


def _sendable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    return text


def not_a_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic takes a ValueError
    return value


Notes = Mapping[str, str | None]
"""What the registry of models adds to the description of an argument; None: no model takes it, so it is left out."""

MAX_WAIT_S = 3600.0

# Limits stand inside the type: beside a validator pydantic would put them into the schema under names of its own.
Text = Annotated[str, AfterValidator(_sendable)]
ShortText = Annotated[str, Field(max_length=200), AfterValidator(_sendable)]
Key = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_sendable)]
Whole = Annotated[int, BeforeValidator(not_a_bool)]
WaitSeconds = Annotated[float, Field(ge=0, le=MAX_WAIT_S), BeforeValidator(not_a_bool)]


class Arguments(BaseModel):
    """Base of a tool's arguments: camelCase on the wire and nothing else; unknown ones are refused by name."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    @classmethod
    def parse(cls: type[A], arguments: Mapping[str, Any] | None) -> A:
        """Raises InvalidRequest with one sentence per problem; rejected values are not repeated."""
        try:
            return cls.model_validate(dict(arguments or {}))
        except ValidationError as exc:
            names = [field.alias or name for name, field in cls.model_fields.items()]
            raise InvalidRequest("; ".join(_sentence(error, names) for error in exc.errors())) from exc

    @classmethod
    def input_schema(cls, notes: Notes | None = None) -> dict[str, Any]:
        """A flat JSON Schema without a combinator at its top: some clients refuse the whole list for one."""
        schema = dict(tidy(cls.model_json_schema(by_alias=True)))
        arguments = schema["properties"]
        for name, note in (notes or {}).items():
            if note is None:
                del arguments[name]
            else:
                arguments[name]["description"] = f"{arguments[name]['description']} {note}".strip()
        return schema


def _sentence(error: Any, names: list[str]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "missing":
            return f"{where} is required"
        case "extra_forbidden":
            close = difflib.get_close_matches(where.replace("_", ""), names, n=1, cutoff=0.6)
            hint = f", did you mean {close[0]}?" if close else ""
            return f"unknown argument {where[:60]!r}{hint} (allowed: {', '.join(names) or 'none'})"
        case _:
            return f"{where}: {str(error['msg']).removeprefix('Value error, ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, and how to tell them how far it is."""

    actor_id: str
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a tool gives back: ``data`` for programs, ``text`` for the model, a small preview for the eye."""

    data: dict[str, Any]
    text: str
    preview_jpeg: bytes | None = None
    links: tuple[tuple[str, str, str], ...] = ()
    """(url, name, content type) of each file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(Generic[A]):
    """A tool as the registry holds it. ``output`` is the model of the ``data`` field."""

    name: str
    title: str
    description: str
    arguments: type[A]
    output: type[BaseModel]
    annotations: ToolAnnotations
    handler: Callable[[A, Caller], Awaitable[Answer]] = field(repr=False)
    notes: Notes = field(default_factory=dict)

    def input_schema(self) -> dict[str, Any]:
        return self.arguments.input_schema(self.notes)

    def output_schema(self) -> dict[str, Any]:
        """The envelope, of a failure too: clients on the TypeScript SDK check errors against it as well."""
        data = tidy(self.output.model_json_schema(by_alias=True, mode="serialization"))
        definitions = data.pop("$defs", None)
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {
                "success": {"type": "boolean"},
                "data": {**data, "description": "What was made; absent when success is false."},
                "error": {"type": "string", "description": "What went wrong; absent when success is true."},
            },
            "required": ["success"],
        }
        return {**schema, "$defs": definitions} if definitions else schema


def tidy(schema: Any) -> Any:
    """A schema without noise: no titles, and "absent" in place of "or null" (unset fields are left out on the wire)."""
    if isinstance(schema, list):
        return [tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: {name: tidy(value) for name, value in item.items()} if key in ("properties", "$defs") else tidy(item)
        for key, item in schema.items()
        if not (key == "title" and isinstance(item, str)) and not (key == "default" and item is None)
    }
    choices = kept.get("anyOf")
    if choices is not None:
        real = [choice for choice in choices if choice != {"type": "null"}]
        if len(real) == 1:
            del kept["anyOf"]
            kept = {**real[0], **kept}
    return kept
