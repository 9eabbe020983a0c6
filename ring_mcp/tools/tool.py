"""What a tool is: a name, strict flat arguments, a declared result, and a function from one to the other."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from ring_mcp.domain.choices import choose
from ring_mcp.domain.consent import NOBODY, Asking
from ring_mcp.domain.fields import Strict, printable, tidy
from ring_mcp.domain.nearest import nearest
from ring_mcp.domain.reading import read
from ring_mcp.tools.brief import ToldBy, describe_data

if TYPE_CHECKING:
    from mcp_types import ToolAnnotations

A = TypeVar("A", bound="Arguments")

Progress = Callable[[float, str], Awaitable[None]]
"""Tell the caller how far it is: percent and a short text."""


ADDED_BY_CLIENTS = frozenset({"toolCallId", "sessionId", "action", "chatInput", "tool", "random_string"})
"""What clients put beside the arguments of a model, whatever a tool's schema says: n8n its own state, others a
placeholder where a tool takes nothing. A closed list: any other name is a mistake that may cost money."""


Notes = Mapping[str, str | None]
"""What the registry of models adds to the description of an argument; None: no model takes it, so it is left out."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The values of an argument; not ``closed``: others are accepted as well."""

    values: tuple[str, ...]
    closed: bool = True


Choices = Mapping[str, Choice]
"""By argument."""


class Arguments(Strict):
    """Base of a tool's arguments."""

    @classmethod
    def parse(cls: type[A], arguments: Mapping[str, Any] | None) -> A:
        """A tool's arguments. Raises InvalidRequest with a sentence per problem, without the rejected values."""
        return read(cls, arguments or {}, "argument", dropped=ADDED_BY_CLIENTS)

    @classmethod
    def input_schema(cls, notes: Notes | None = None, choices: Choices | None = None) -> dict[str, Any]:
        """The arguments' JSON Schema, without references or a combinator at its top: some clients refuse the whole list
        for one."""
        schema = cls.model_json_schema(by_alias=True)
        schema = dict(_shorten_input(tidy(_inline(schema, schema.pop("$defs", {})))))
        arguments = schema["properties"]
        for name, note in (notes or {}).items():
            if note is None:
                # Only untold, not forbidden: who gives it all the same is answered by the plan.
                del arguments[name]
            else:
                arguments[name]["description"] = f"{arguments[name]['description']} {note}".strip()
        for name, choice in (choices or {}).items():
            if name in arguments and choice.values:
                # Clients hold a model to an enum; what may take other values must not be one.
                arguments[name]["enum" if choice.closed else "examples"] = list(choice.values)
        return schema


_TOLD_ON_REFUSAL = frozenset({"minLength", "maxLength", "maxItems", "minItems", "minimum", "maximum", "format"})
"""Limits that no caller meets by accident: the reader holds them, and its refusal tells them."""


def _shorten_input(schema: Any) -> Any:
    """An input schema without the keywords that a refusal explains, and without defaults that go without saying."""
    if isinstance(schema, list):
        return [_shorten_input(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _shorten_input(value) for key, value in schema.items() if key not in _TOLD_ON_REFUSAL}
    if kept.get("default") in (False, []):
        del kept["default"]
    if kept.get("additionalProperties") is True:
        del kept["additionalProperties"]
    return kept


def _inline(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inline(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    if name in definitions:
        # The description beside a reference is this argument's own, and wins over that of the type.
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return {**_inline(definitions[name], definitions), **beside}
    return {key: _inline(value, definitions) for key, value in schema.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The actor that calls, how to report progress to it, and how to ask before something is paid."""

    actor_id: str
    progress: Progress
    asking: Asking = NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a tool returns: ``data`` for programs, ``text`` for the model, small previews to look at."""

    data: dict[str, Any]
    text: str
    previews: tuple[bytes, ...] = ()
    """Small JPEGs."""
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
    choices: Choices = field(default_factory=dict)
    told_by: ToldBy | None = None
    is_long: bool = False
    """Whether a call may take minutes: its arguments have ``wait_seconds``, its answer a ``jobId``."""

    def input_schema(self) -> dict[str, Any]:
        return self.arguments.input_schema(self.notes, self.choices)

    def output_schema(self) -> dict[str, Any]:
        """The envelope, of a failure too: clients on the TypeScript SDK check errors against it as well. What a failure
        has beside ``success`` is not told: its text says it all, and ten tools would say it ten times."""
        data = describe_data(tidy(self.output.model_json_schema(by_alias=True, mode="serialization")), self.told_by)
        return {
            "type": "object",
            "properties": {"success": {"type": "boolean"}, "data": data},
            "required": ["success"],
        }


_MAX_NAME_CHARS = 100


def find_name(names: Iterable[str], wanted: str) -> str | None:
    """The name that is meant, also as clients write it that have no ``-`` in names or put a server's name in front."""
    names = tuple(names)
    if wanted in names:
        return wanted
    bare = re.split(r"__|[.:/]|_(?=ring[_-])", wanted[:_MAX_NAME_CHARS])[-1]
    return choose(bare, names)


def explain_unknown(what: str, wanted: str, names: Iterable[str]) -> str:
    # The name is a stranger's, and goes back to him: bounded.
    names, wanted = list(names), printable(wanted[:_MAX_NAME_CHARS])
    close = nearest(wanted, names)
    return f"Unknown {what}: {wanted}{f'; did you mean {close}?' if close else ''} (there are: {', '.join(names)})"
