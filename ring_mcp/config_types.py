"""Types of settings: which variables they are read from, what their text may be, how it becomes a value. Pure."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)

from ring_mcp.domain.sentences import say

M = TypeVar("M", bound=BaseModel)

NAME_ALONE = re.compile(r"[A-Za-z0-9_.-]{0,13}=+")
"""``alice=``. A longer text that ends so is the padding of a token."""

_BACKEND_ALIASES = {"ring-filebase": "ringbase", "ring_filebase": "ringbase", "local_storage": "local"}


def whole_path(path: Path) -> Path:
    path = path.expanduser().absolute()
    if not path.is_file():  # a device is none: it would be read without end
        raise ValueError(f"no such file: {path}")
    return path


FilePath = Annotated[Path, AfterValidator(whole_path)]
"""The same file, whichever folder a process of ours stands in."""


def env(name: str, *more: str) -> Any:
    """A field filled from the first of these variables that is set."""
    return Field(validation_alias=AliasChoices(name, *more)) if more else Field(validation_alias=name)


def variables(model: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """The fields of ``model`` that variables fill, each with the names of these, the first that counts first."""
    found = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        if alias is not None:
            found[name] = tuple(map(str, alias.choices)) if isinstance(alias, AliasChoices) else (str(alias),)
    return found


def secret_variables(model: type[BaseModel]) -> Iterator[str]:
    """The variables of ``model`` whose values are secrets."""
    for name, names in variables(model).items():
        if SecretStr in _types_in(model.model_fields[name].annotation):
            yield from names


def _types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from _types_in(inner)


def warn_of_clear_text(addressed: Mapping[str, tuple[str | None, SecretStr | None]]) -> list[str]:
    """A sentence for each address, by its variable, that gets a key over a network unencrypted."""
    return [
        f"{name} begins with http:// and is not on this machine: your key goes there in the clear; use https"
        for name, (url, key) in addressed.items()
        if key is not None and url is not None and is_in_the_clear(url)
    ]


def warn_of_folders(state_dir: Path | None, storage_dir: Path | None, input_dirs: Iterable[Path]) -> list[str]:
    """A sentence for each folder that somebody has named and that cannot be what they mean."""
    own = {"RING_STATE_DIR": state_dir, "LOCAL_STORAGE_DIR": storage_dir}
    told = [
        f"{name} is not a whole path: in each folder that a client starts the server in, it is another one"
        for name, path in own.items()
        if path is not None and not os.path.isabs(os.path.expanduser(path))  # noqa: PTH111, PTH117
    ]
    # Not Path.expanduser: it raises for the home of nobody.
    missing = [path for path in input_dirs if not os.path.isdir(os.path.expanduser(path))]  # noqa: PTH111, PTH112
    return told + [
        f"RING_INPUT_DIRS: there is no folder {path}; several are written with {os.pathsep} between them"
        for path in missing
    ]


def pick_given(
    model: type[BaseModel], sources: Iterable[Mapping[str, str]], *, but_for: Collection[str] = ()
) -> dict[str, str]:
    """For each field the variable that counts, with its text: the first of its own in the first source that has one."""
    given = {}
    for field, names in variables(model).items():
        set_here = ((name, source[name]) for source in sources for name in names if name in source)
        if field not in but_for and (found := next(set_here, None)) is not None:
            # Under the name that it was found by: an error is to name the variable that somebody has set.
            given[found[0]] = found[1]
    return given


def describe_error(error: Any, model: type[BaseModel]) -> str:
    """One pydantic error as "VARIABLE: what is wrong", without the rejected value (it may be a secret)."""
    given = str(error["loc"][0]) if error["loc"] else "configuration"
    name = variables(model).get(given, (given,))[0]
    return f"{name}: {say(error)}"


def lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def backend(value: object) -> object:
    lowered = lower(value)
    return _BACKEND_ALIASES.get(lowered, lowered) if isinstance(lowered, str) else lowered


def plain_url(value: object) -> object:
    """Check that it is an http(s) URL and cut trailing slashes; an AnyHttpUrl would add one.

    A user or a password in it would be printed with it, and take the place of the key.
    """
    url = AnyHttpUrl(str(value))
    if url.username is not None or url.password is not None:
        raise ValueError("must not have a user or a password in it")
    return str(value).strip().rstrip("/")


def is_in_the_clear(url: str) -> bool:
    """Whether what goes to this address goes over a network unencrypted."""
    parts = urlsplit(url.strip())
    if parts.scheme.lower() != "http":
        return False
    host = (parts.hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True  # a name that is no address may lead anywhere


def slashless(value: object) -> object:
    return value.strip().strip("/") if isinstance(value, str) else value


def folders(value: object) -> object:
    return [Path(part) for part in value.split(os.pathsep) if part.strip()] if isinstance(value, str) else value


def split_list(value: object) -> object:
    return [t.strip() for t in value.split(",") if t.strip()] if isinstance(value, str) else value


def header_value(value: object) -> object:
    """A key goes into a header: surrounding blanks are a slip of the paste, anything but ASCII is a mistake."""
    if not isinstance(value, str):
        return value
    if not value.strip().isascii() or not value.strip().isprintable():
        raise ValueError("must be plain ASCII text on one line")
    return value.strip()


Names = Annotated[tuple[str, ...], BeforeValidator(split_list)]
Key = Annotated[SecretStr, BeforeValidator(header_value)]
Url = Annotated[str, BeforeValidator(plain_url)]
Usd = Annotated[Decimal, Field(ge=0, le=1_000_000_000)]
"""Beyond it a figure is a slip, and would be "Infinity" where JSON has floating-point numbers."""


def drop_blank(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Those that say something: a blank one is not set."""
    return {name: value for name, value in variables.items() if value and value.strip()}


def validate_settings(model: type[M], values: Mapping[str, Any], problems: list[str]) -> M | None:
    """``values`` as ``model``; None after adding to ``problems`` what is wrong with them."""
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        # Gathered and not raised: a person corrects all of them in one go.
        problems += [describe_error(error, model) for error in exc.errors()]
        return None
