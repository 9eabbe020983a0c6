"""Arguments as people, models and clients write them -> one of our models. The one place for every way in. Pure.

Null and "" are "not given", and so are the words for null of other languages, except in prose. JSON text stands for the
object or list that is due, one string for a list of one. snake_case is another spelling of camelCase; of choices, case,
blanks and separators do not matter. Whatever else is unknown is refused by name. The walk follows the model, so that
depth and work have bounds whatever comes in.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from ring_mcp.domain.choices import EDGES, choose
from ring_mcp.domain.fields import PROSE, SEPARATED, address, as_name
from ring_mcp.domain.nearest import nearest
from ring_mcp.domain.sentences import say
from ring_mcp.errors import InvalidRequest

MAX_ITEMS = 1_000
"""Of one list."""

MAX_NAMES = 200
"""Of one object."""

MAX_VALUES = 50_000
"""Of everything together."""

MAX_PROBLEMS = 20
_MAX_NAME_CHARS = 60

_LINK = re.compile(r"\s*\[[^\]\"]{0,200}\]\(")
"""Markdown, which begins like a list and is text."""

# JSON as chat shows it, and as Python does. Each place of a text is looked at once: megabytes would stop this process.
_FENCED = re.compile(r"\s*```[a-z]{0,10}(.*)```\s*", re.DOTALL)
_PYTHONS_OWN = re.compile(
    r"'((?:[^'\\]|\\.)*)(?:'|\\?\Z)|\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)|\b(True|False|None)\b|,(?=\s*[\]}])", re.DOTALL
)
_AS_JSON = {"True": "true", "False": "false", "None": "null", ",": ""}
_REQUOTED = {"\\'": "'", '"': '\\"'}
_MAX_PYTHON_CHARS = 64 * 1024

_WORDS_FOR_NULL = frozenset({"null", "none", "nil", "undefined"})
"""What models write for null where all arguments have to be there, in the languages that they know best."""

_UNREADABLE = object()
"""In place of a value: no model takes it, so that its place is refused, in the words that stand for it."""

M = TypeVar("M", bound=BaseModel)
Path = tuple[str | int, ...]


def read(
    model: type[M],
    given: Mapping[str, Any],
    noun: str,
    *,
    dropped: Collection[str] = (),
    context: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
    between: str = "; ",
) -> M:
    """``given`` as ``model``. Raises InvalidRequest with a sentence for each problem; rejected values are not repeated.

    ``noun`` is what the texts call a name of ``model``; ``dropped`` are names that mean nothing to it and may stand
    there all the same. ``context`` makes the context of the model's validators from what was read.
    """
    if not model.model_fields:
        return model()
    reading = _Reading(model, noun, dropped)
    data = reading.object(model, given, ())
    problems: list[str] = []
    try:
        value = model.model_validate(data, context=context(data) if context else None)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        # A list whose items are all wrong counts as empty to pydantic, too: to say so would lead astray.
        blamed = {error["loc"][:-1] for error in errors}
        errors = [error for error in errors if error["type"] != "too_short" or error["loc"] not in blamed]
        problems = [reading.sentence(error) for error in errors[:MAX_PROBLEMS]]
        reading.further += max(0, len(errors) - MAX_PROBLEMS)
    problems += reading.problems
    if not problems:
        return value
    further = reading.further + max(0, len(problems) - MAX_PROBLEMS)
    raise InvalidRequest(between.join([*problems[:MAX_PROBLEMS], *([f"… and {further} more"] if further else [])]))


@dataclass(frozen=True, slots=True)
class _Due:
    """What is due at a place: an object (of ours, or any), a list of something, one of some choices, or else a value
    that the model itself looks at. ``marks`` are those of its type."""

    model: type[BaseModel] | None = None
    is_object: bool = False
    item: _Due | None = None
    choices: tuple[str, ...] = ()
    marks: frozenset[str] = frozenset()


class _Reading:
    """One reading. ``problems`` are those that the model does not see, ``told`` our own words for some that it does,
    ``further`` how many are not worded at all."""

    def __init__(self, root: type[BaseModel], noun: str, dropped: Collection[str]) -> None:
        self._root = root
        self._noun = noun
        self._dropped = frozenset(dropped)
        self._values = 0
        self.problems: list[str] = []
        self.told: dict[Path, str] = {}
        self.further = 0

    def object(self, model: type[BaseModel], given: Mapping[str, Any], path: Path) -> dict[str, Any]:
        due = _due_in(model)
        keeps_unknown = model.model_config.get("extra") == "ignore"
        found: dict[str, Any] = {}
        spelled: dict[str, str] = {}
        for key, value in islice(given.items(), MAX_NAMES):
            self._count(1)
            # A name of the model's own first: what it calls by an underscore is not to be renamed.
            name = key if key in due else to_camel(key) if "_" in key else key
            place = due.get(name)
            if _is_not_given(value, place) or (not path and {key, name} & self._dropped):
                continue
            if place is None:
                if not keeps_unknown:
                    self._refuse_name(model, key, path, value)
            elif name in found:
                self._add(f"{_path((*path, name))} is given twice, as {spelled[name]} and as {key}")
            else:
                found[name], spelled[name] = self._value(place, value, (*path, name)), key
        if len(given) > MAX_NAMES and not keeps_unknown:
            self.further += len(given) - MAX_NAMES
            most = f"may have {MAX_NAMES} names at most, got {len(given)}"
            self.problems.insert(0, f"{_path(path) or f'the {self._noun}s'} {most}")
        return found

    def _value(self, due: _Due, value: Any, path: Path) -> Any:
        if due.model is not None or due.is_object:
            value = self._from_json(value, "{", path)
            if due.model and isinstance(value, Mapping):
                return self.object(due.model, value, path)
            if due.model and path not in self.told:
                self.told[path] = f"{_path(path)}: must be an object with {', '.join(_due_in(due.model))}"
            return value
        if due.item is not None:
            return self._list(due.item, value, path)
        if due.choices and isinstance(name := as_name(value), str):
            # What is none of them stays as it is: the model refuses it, and names those that there are.
            return choose(name, due.choices) or value
        return value

    def _list(self, due: _Due, value: Any, path: Path) -> Any:
        value = self._from_json(value, "[", path)
        if due.model is None and isinstance(address(value) if isinstance(value, Mapping) else value, str):
            # Of a blank one nothing is left: an empty list must not become "all". One more than may be tells too many.
            is_several = isinstance(value, str) and SEPARATED in due.marks
            value = re.split(r"[,;\n]", value, maxsplit=MAX_ITEMS) if is_several else [value]
        if not isinstance(value, list | tuple):
            return value
        if len(value) > MAX_ITEMS:
            # Before the items are looked at, and not beside other problems: nothing of such a list is worth reading.
            raise InvalidRequest(f"{_path(path)} may have {MAX_ITEMS} items at most, got {len(value)}")
        self._count(len(value))
        given = [each for each in value if not _is_not_given(each, due)]
        return [self._value(due, each, (*path, number)) for number, each in enumerate(given)]

    def _from_json(self, value: Any, begins: str, path: Path) -> Any:
        """What JSON text says, where it is text and begins as what is due would."""
        if not isinstance(value, str):
            return value
        text = (found[1] if (found := _FENCED.fullmatch(value.strip(EDGES))) else value).strip(EDGES)
        try:
            # Text in JSON whose text is JSON once more: a client has packed what a model had packed already.
            text = json.loads(text) if text.lstrip().startswith(f'"{begins}') else text
            if not isinstance(text, str) or not text.lstrip().startswith(begins) or _LINK.match(text):
                return value
            # RecursionError: text of nothing but brackets nests as deep as it is long.
            return _loads(text)
        except (ValueError, RecursionError):
            self.told[path] = f"{_path(path)}: is text that begins like JSON and is none"
            return _UNREADABLE

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise InvalidRequest(f"more than {MAX_VALUES} values in the {self._noun}s: that is more than can be meant")

    def _add(self, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        else:
            self.further += 1

    def _refuse_name(self, model: type[BaseModel], key: str, path: Path, value: Any) -> None:
        if len(self.problems) >= MAX_PROBLEMS:  # the nearest name costs more than all else here
            self.further += 1
            return
        due = _due_in(model)
        within = {name: _due_in(place.model) for name, place in due.items() if place.model is not None}
        close, hint, packed = nearest(key, due, within), "", _count_names(as_name(value), due)
        if close is not None and packed < 2:
            hint = f", did you mean {close}?"
        elif packed:
            # Somebody packs all arguments into one: what to do is said, not done, for there may be others beside it.
            hint = f": give the {self._noun}s in it by themselves"
        self._add(f"unknown {self._noun} {_path((*path, key[:_MAX_NAME_CHARS]))!r}{hint} (allowed: {', '.join(due)})")

    def sentence(self, error: Any) -> str:
        """One problem that the model has found, with its path: ``clips[2].scene.camera``."""
        path: Path = error["loc"]
        if path in self.told:
            return self.told[path]
        where = _path(path)
        text = f"{where} is required" if error["type"] == "missing" else say(error)
        return f"{where}: {text}" if where and error["type"] != "missing" else text


def _count_names(value: Any, due: Mapping[str, _Due]) -> int:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return sum(f'"{name}"' in value[:_MAX_PYTHON_CHARS] for name in due)
    return sum(name in due for name in islice(value, MAX_NAMES)) if isinstance(value, Mapping) else 0


def _loads(text: str) -> Any:
    """JSON, also as Python shows it: in single quotes, with True and None, and a comma at the end.

    Raises ValueError or RecursionError.
    """
    try:
        return json.loads(text)
    except ValueError:
        if len(text) > _MAX_PYTHON_CHARS:
            raise
        return json.loads(_PYTHONS_OWN.sub(_as_json, text))


def _as_json(found: re.Match[str]) -> str:
    if found[1] is None:
        return _AS_JSON.get(found[0], found[0])
    inner = re.sub(r"\\.|\"", lambda each: _REQUOTED.get(each[0], each[0]), found[1])
    return f'"{inner}"'


def _is_not_given(value: object, due: _Due | None) -> bool:
    """Null, and blank text, unless a list is due: there it is an empty one. Of a list of one that one is looked at."""
    value = as_name(value) if due is not None and due.item is None and isinstance(value, list) else value
    if not isinstance(value, str):
        return value is None
    if due is not None and due.item is not None:
        return False
    word = value.strip(EDGES)[:_MAX_NAME_CHARS].lower()
    return not word or (word in _WORDS_FOR_NULL and due is not None and _may_be_null(due, value))


def _may_be_null(due: _Due, word: str) -> bool:
    return PROSE not in due.marks and choose(word, due.choices) is None


@functools.cache
def _due_in(model: type[BaseModel]) -> Mapping[str, _Due]:
    # pydantic keeps what stands beside a type apart from it, unless another type is around both.
    fields = model.model_fields
    return {field.alias or name: _mark(_due(field.annotation), field.metadata) for name, field in fields.items()}


def _mark(due: _Due, beside: Iterable[object]) -> _Due:
    return replace(due, marks=due.marks | {each for each in beside if isinstance(each, str)})


def _due(annotation: Any) -> _Due:
    origin, inner = get_origin(annotation), get_args(annotation)
    found = _Due()
    if origin is Annotated:
        found = _mark(_due(inner[0]), inner[1:])
    elif origin in (Union, UnionType):
        found = next((due for each in inner if (due := _due(each)) != _Due()), _Due())
    elif origin in (list, tuple):
        found = _Due(item=_due(inner[0]))
    elif origin is dict:
        found = _Due(is_object=True)
    elif origin is Literal:
        found = _Due(choices=tuple(each for each in inner if isinstance(each, str)))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        found = _Due(model=annotation)
    return found


def _path(parts: Iterable[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
