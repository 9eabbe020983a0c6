"""Fields of what comes from outside: their types, one sentence for each that is wrong, and a schema without noise."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

MAX_WAIT_S = 3600.0
_MAX_NAME_CHARS = 60


def sendable(text: str) -> str:
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


# Limits stand inside the type: beside a validator pydantic would put them into the schema under names of its own.
Text = Annotated[str, AfterValidator(sendable)]
ShortText = Annotated[str, Field(max_length=200), AfterValidator(sendable)]
Key = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(sendable)]
Whole = Annotated[int, BeforeValidator(not_a_bool)]
WaitSeconds = Annotated[float, Field(ge=0, le=MAX_WAIT_S), BeforeValidator(not_a_bool)]


class Strict(BaseModel):
    """Base of what a person or an agent writes: camelCase and nothing else; unknown fields are refused by name."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


def problems(exc: ValidationError, model: type[BaseModel], noun: str) -> list[str]:
    """One sentence per problem, with its path (``clips[2].scene.camera``); rejected values are not repeated.

    ``noun`` is what a field of ``model`` is called: an unknown one is told the nearest name that is known at its place.
    """
    return [_sentence(error, model, noun) for error in exc.errors()]


def _sentence(error: Any, model: type[BaseModel], noun: str) -> str:
    *above, last = error["loc"] or ("",)
    where = _path(error["loc"])
    match error["type"]:
        case "missing":
            return f"{where} is required"
        case "model_type":
            return f"{where}: must be an object"
        case "extra_forbidden":
            names = [field.alias or name for name, field in _model_at(model, above).model_fields.items()]
            close = difflib.get_close_matches(str(last).replace("_", ""), names, n=1, cutoff=0.6)
            hint = f", did you mean {close[0]}?" if close else ""
            shown = _path([*above, str(last)[:_MAX_NAME_CHARS]])
            return f"unknown {noun} {shown!r}{hint} (allowed: {', '.join(names) or 'none'})"
        case _:
            text = str(error["msg"]).removeprefix("Value error, ")
            return f"{where}: {text}" if where else text


def _path(parts: Iterable[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def _model_at(model: type[BaseModel], path: Iterable[str | int]) -> type[BaseModel]:
    for part in path:
        for name, field in model.model_fields.items():
            if part == (field.alias or name):
                model = _model_in(field.annotation) or model
                break
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside ``Clip``, ``Clip | None`` or ``tuple[Clip, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner)) is not None), None)


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
