"""Fields of what comes from outside: their types, and a schema of them without noise. ``reading`` reads them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ring_mcp.domain.choices import EDGES, LINE_ENDS, QUOTES, strip_edges

MAX_WAIT_S = 3600.0

PROSE = "prose"
"""Marks a type whose text is somebody's own words: "None" may be one of them."""

SEPARATED = "separated"
"""Marks a type that has no comma in it: a list of such may be one text, with commas."""

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d{1,3})?", re.ASCII)
# Of a job's results its name means the first: "asset/1" of it would be another picture than the one that is sent.
_JOB_ADDRESS = re.compile(r"ring:/{0,3}jobs/([^/?#\s]{1,200})(?:/preview|/asset/0)?/?(?:[?#]\S{0,200})?", re.IGNORECASE)
_WHOLE_ID = re.compile(
    r"(?<![^\W_])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![^\W_])(?!/(?!preview|asset/))", re.IGNORECASE
)
_PART_OF_AN_ID = re.compile(r"[0-9a-f]{6,8}(?:-[0-9a-f-]{0,27})?")
_TOO_SHORT_FOR_AN_ID = re.compile(r"[0-9a-f]{1,5}", re.IGNORECASE)
_JOB_SAID = re.compile(
    r"job(?:[ _-]?id)?\s{0,9}[:=\s]\s{0,9}[\"'`]?([0-9a-f][0-9a-f-]{5,35})[\"'`]?"
    r"|(?:https?://[^?#\s]{1,200})?(?:/api/mcp/v1|/gallery)/jobs/([0-9a-f-]{36})(?:/preview)?/?",
    re.IGNORECASE,
)
"""As answers, the terminal, REST and the pages of the gallery name one."""

_SEVERAL_JOBS = "names several jobs: give each by itself, to ring-job-get as the items of jobIds"
_SAID_BEFORE_AN_ID = re.compile(r"^job(?:[ _-]?id)?\s*[:=\s]\s*", re.IGNORECASE)
_TERMINAL_SEQUENCE = re.compile(
    # The long ones have a bound and end with their line, or where another begins: what only begins like one must not
    # take all else along, nor be looked through from each beginning.
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\x9d\n]{0,2000}(?:\x07|\x1b\\|\x9c)|\x1b[@-Z\\-_]"
)
_MOST_CLEANED_CHARS = 100_000
_MOST_NUMBER_CHARS = 100
_MOST_AROUND_AN_ID_CHARS = 1_000
_CONTROL = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")


def sendable(text: str) -> str:
    """``text`` without control sequences of terminals. Raises ValueError for what cannot be stored or sent."""
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    if len(text) > _MOST_CLEANED_CHARS:
        # Only a file's own bytes are so long, in lines perhaps: looking for anything else would take a second.
        if not text.replace("\n", "").replace("\r", "").isprintable():
            raise ValueError(f"has {len(text):,} characters, and not only printable ones")
        return text
    return printable(text)


def printable(text: str) -> str:
    """``text`` without control characters and the sequences that begin with them; lines and tabs stay."""
    if text.isprintable():  # which megabytes of base64 are: twenty times as fast
        return text
    return _CONTROL.sub("", _TERMINAL_SEQUENCE.sub("", LINE_ENDS.sub("\n", text)))


def not_a_bool(value: object) -> object:
    # To Python a bool is a number: ``true`` would be one second, or one dollar.
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic takes a ValueError
    return value


def flag(value: object) -> object:
    """True and false, also as the words. What others take for yes (1, "on") might as well be meant for another place:
    a switch that spends is not guessed."""
    word = value.strip(QUOTES).lower() if isinstance(value, str) else value
    if word in ("true", "false") and isinstance(word, str):
        return word == "true"
    if not isinstance(word, bool):
        raise ValueError("must be true or false")  # noqa: TRY004
    return word


def job_id(value: object) -> object:
    """The id in what this server says of a job: ``ring://jobs/ID``, ``/api/mcp/v1/jobs/ID``, ``jobId: ID``, and in what
    others put around it: quotes, a sentence, the object that a list of jobs has of it."""
    if isinstance(value, Mapping):
        value = next((value[name] for name in _JOB_IDS if value.get(name)), value)
    if isinstance(value, list) and len(value) > 1:
        raise ValueError(_SEVERAL_JOBS)
    value = as_name(value)
    if not isinstance(value, str):
        return value
    value = value.strip(EDGES).rstrip("/")
    if (named := job_named(value)) is not None:
        return named
    whole = {found.lower() for found in _WHOLE_ID.findall(value[:_MOST_AROUND_AN_ID_CHARS])}
    if len(whole) == 1:
        return whole.pop()
    if whole:
        raise ValueError(_SEVERAL_JOBS)
    said = _SAID_BEFORE_AN_ID.sub("", value.rsplit("/jobs/", 1)[-1]).strip(EDGES)
    part = said.strip(f"{QUOTES}#.…<>()[]").lower()
    return part if is_part_of_id(part) else said


def job_named(text: str) -> str | None:
    """The id in ``ring://jobs/ID``, in what else names a job where it is said or shown, or in an id alone, whole or its
    beginning; None for any other text."""
    bare = text[:_MOST_AROUND_AN_ID_CHARS].strip(EDGES)
    if (found := _JOB_ADDRESS.fullmatch(bare)) is not None:
        return found[1].lower() if _WHOLE_ID.fullmatch(found[1]) else found[1]
    said = _JOB_SAID.fullmatch(bare)
    named = ((said[1] or said[2]) if said else bare).lower()
    return named if _WHOLE_ID.fullmatch(named) or is_part_of_id(named) else None


def is_part_of_id(text: str) -> bool:
    """Whether it can be the beginning of a job's id, as `ring-mcp jobs list` shows it, and is long enough."""
    return _PART_OF_AN_ID.fullmatch(text) is not None


def say_no_job(text: str) -> str:
    """The error text for an id, or a beginning of one, that no job has."""
    if _TOO_SHORT_FOR_AN_ID.fullmatch(text):
        return f"{text!r} is too short for the beginning of a job's id: six characters of it are needed"
    return f"there is no job {text[:64]!r}"


def as_name(value: object) -> object:
    """A number as its figures (7.0 is 7 to who has no whole ones), and of a list of one that one. A text stays."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value) if isinstance(value, float) and value.is_integer() else value)
    return value


def address(value: object) -> object:
    """The address in an object that has one, as results of ours, other services and MCP have it; else as it is."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and (packed := _unpack(value)) is not None:
        return found if isinstance(found := address(packed), str) else value
    if not isinstance(value, Mapping):
        return value
    # What stands at its top first: an object may tell of its source beside its own address.
    inside = next((each for name in _AROUND if isinstance(each := value.get(name), Mapping)), value)
    value = value if any(isinstance(value.get(name), str) for name in _ADDRESSES) else inside
    inner = next((value[name] for name in _ADDRESSES if value.get(name)), None)
    kind = next((value[name] for name in ("mimeType", "mime_type", "media_type") if value.get(name)), None)
    # The bytes of a resource before an address of another server's own, which nobody here can read.
    content = value.get("data") if inner is None else None if _can_be_read(inner) else value.get("blob")
    if isinstance(content, str) and isinstance(kind, str):
        return f"data:{kind};base64,{content}"
    content = next((value[name] for name in _CONTENTS if isinstance(value.get(name), str)), None)
    if inner is None and content:
        return content if content.startswith("data:") else f"data:;base64,{content}"
    job = next((value[name] for name in _JOB_IDS[:2] if isinstance(value.get(name), str)), None)
    if inner is None and job is not None:
        return f"ring://jobs/{job}"
    return value if inner is None else inner


def _unpack(text: str) -> object:
    """The object or list that is JSON text; None for any other text."""
    if text.lstrip(EDGES)[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text.strip(EDGES))
    except (ValueError, RecursionError):
        return None


def _can_be_read(address: object) -> bool:
    return isinstance(address, str) and re.match(r"\s*(?:https?|file|data|ring):", address, re.IGNORECASE) is not None


_AROUND = (
    "image_url", "imageUrl", "source", "inlineData", "inline_data", "fileData", "file_data", "resource", "image",
    "file",
)  # fmt: skip
"""In what the content blocks of models and of MCP have the object with the address or the bytes."""

_ADDRESSES = (
    "url", "uri", "fileUri", "file_uri", "image_url", "imageUrl", "file_id", "fileId", "path", "localPath", "image",
    "src", "gcsUri",
)  # fmt: skip

_CONTENTS = ("b64_json", "bytesBase64Encoded", "imageBytes", "base64")
_JOB_IDS = ("jobId", "job_id", "id")


def number_in(*units: str, before: tuple[str, ...] = (), due: str) -> Callable[[object], object]:
    """Takes ``6s`` and ``6 seconds`` for 6, where these are its units; a number or anything else is left as it is.

    ``before`` are those that stand before it, too. ``due`` says what a text has to be that is none: of what Python
    takes for a number besides, ``1_0`` is a slip rather than ten.
    """

    def bare(value: object) -> object:
        if isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        if not isinstance(value, str):
            return not_a_bool(value)
        # NFKC: keyboards of other scripts have wide figures of their own. No number is long.
        plain = unicodedata.normalize("NFKC", value) if len(value) <= _MOST_NUMBER_CHARS else value
        text = plain.strip(QUOTES).lower()
        unit = next((unit for unit in units if text.endswith(unit)), "")
        text = text.removesuffix(unit).strip()
        sign = next((unit for unit in before if text.startswith(unit)), "")
        text = text.removeprefix(sign).strip()
        if not _NUMBER.fullmatch(text):
            raise ValueError(due)
        return text

    return bare


plain = number_in(due="must be a whole number")
pieces = number_in("images", "image", "pictures", "picture", due="must be a whole number")
# The longer ones first: of "6 seconds" an "s" alone would leave "6 second".
seconds = number_in("seconds", "second", "secs", "sec", "s", due="must be a number of seconds, such as 6 or 6s")
_DOLLARS_DUE = "must be a number of US dollars, such as 0.5"
dollars = number_in("us$", "usd", "dollars", "dollar", "$", before=("us$", "usd", "$"), due=_DOLLARS_DUE)

# Limits stand inside the type: beside a validator pydantic would put them into the schema under names of its own.
Text = Annotated[str, AfterValidator(sendable)]
Name = Annotated[str, BeforeValidator(as_name), AfterValidator(sendable)]
"""Of a choice, or of something that is known by it."""

Address = Annotated[str, BeforeValidator(address), AfterValidator(sendable)]
ShortText = Annotated[
    str, Field(max_length=200), BeforeValidator(as_name), AfterValidator(sendable), AfterValidator(strip_edges)
]
Words = Annotated[str, Field(min_length=1, max_length=10_000), AfterValidator(sendable), PROSE]
Key = Annotated[ShortText, Field(min_length=1)]
JobId = Annotated[str, Field(max_length=200), BeforeValidator(job_id), AfterValidator(sendable), SEPARATED]
Flag = Annotated[bool, BeforeValidator(flag)]
Whole = Annotated[int, BeforeValidator(plain)]
Pieces = Annotated[int, BeforeValidator(pieces)]
WholeSeconds = Annotated[int, BeforeValidator(seconds)]
WaitSeconds = Annotated[float, Field(ge=0, le=MAX_WAIT_S), BeforeValidator(seconds)]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(dollars)]


def require_spelling(pattern: str, due: str) -> tuple[object, ...]:
    """As ``pattern`` in a schema, and as ``due`` in a refusal: who writes a script reads no patterns."""

    def check(text: str) -> str:
        if re.search(pattern.replace("$", r"\Z"), text) is None:
            raise ValueError(due)
        return text

    return Field(json_schema_extra={"pattern": pattern}), AfterValidator(check)


def as_decimal(amount: float | None) -> Decimal | None:
    """The amount exactly as it was written: 0.07 is seven cents."""
    return None if amount is None else Decimal(str(amount))


class Strict(BaseModel):
    """Base of what a person or an agent writes: camelCase and nothing else; unknown fields are refused by name."""

    # Deferred: a start uses few models, and nobody should wait for the validators of all.
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, defer_build=True)


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
