"""Lines for a narrow terminal. Addresses are never broken, so that they can be copied."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from ring_mcp.domain import DRIVEN, usd
from ring_mcp.domain.caps import WINDOW_WORDS

_LABEL_CHARS = 12
SANDBOX_MONEY = "SANDBOX: test media, and the sandbox's money: nobody pays it"
# What terminals obey or cannot show: control characters, separators of lines, marks of direction, half characters.
_NOT_SHOWN = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_STATUS_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def safe(text: object) -> str:
    """One line without control characters, whatever an agent or a server wrote."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(str(text).split()))


def safe_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(map(safe, text.splitlines()))


def print_json(value: object, *, indent: int | None = None) -> None:
    """One JSON value on stdout. What JSON leaves bare of that which a terminal obeys is escaped: to programs it is the
    same, and an agent or a server wrote it."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    click.echo(_NOT_SHOWN.sub(lambda found: json.dumps(found[0])[1:-1], text))


def print_lines(lines: Iterable[str], *, err: bool = False) -> None:
    for line in lines:
        click.echo(line, err=err)


def paragraph(lead: str, text: object, *, under: int | None = None) -> list[str]:
    """Words wrapped to the terminal, below each other after ``lead``; a long word (a URL) stays in one piece."""
    # Narrower, the labels would leave words no room.
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.wrap(
        safe(text),
        width,
        initial_indent=lead,
        subsequent_indent=" " * (len(lead) if under is None else under),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [lead.rstrip()]


def field(label: str, value: object) -> list[str]:
    return paragraph(_lead(label), value, under=_LABEL_CHARS)


def whole(label: str, value: object) -> str:
    """A line that is not wrapped at all: an address, an id."""
    return _lead(label) + safe(value)


def _lead(label: str) -> str:
    return f"  {label:<{_LABEL_CHARS - 3}} "


def dollars(amount: object) -> str:
    return usd(Decimal(str(amount)))


def tell_count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def files_of(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The pictures or the clip of a result, the main one first."""
    return [*data.get("images", ()), *([data["video"]] if data.get("video") else [])]


def result_lines(data: Mapping[str, Any]) -> list[str]:
    """The ``data`` of a create tool or of ring-job-get."""
    lines = []
    if data.get("sandbox"):
        lines.append(SANDBOX_MONEY)
    if data.get("dryRun"):
        return lines + _quote_lines(data)
    images = data.get("images", [])
    for number, image in enumerate(images, start=1):
        lines += [f"picture {number} of {len(images)}" if len(images) > 1 else "picture", *_file_lines(image)]
    if data.get("video"):
        lines += ["clip", *_file_lines(data["video"])]
    if data.get("firstFrame"):
        lines += ["first frame", *_file_lines(data["firstFrame"])]
    if data.get("thumbnail"):
        lines += ["thumbnail", *_file_lines(data["thumbnail"])]
    if data.get("state") in DRIVEN:
        progress = f", {data['progress']}%" if data.get("progress") else ""
        lines.append(safe(f"still under way: {data['state']}{progress}"))
    return lines + _facts(data)


def _file_lines(file: Mapping[str, Any]) -> list[str]:
    url = str(file.get("url") or "-")
    lines = [whole("url", url)]
    # A server elsewhere names paths of its own machine: only what is here is shown.
    if file.get("localPath") and not url.startswith("file:") and Path(file["localPath"]).is_file():
        lines.append(whole("file", file["localPath"]))
    facts = [f"{file['width']} x {file['height']} px"] if file.get("width") else []
    facts += [f"{file['duration']:g} s"] if file.get("duration") else []
    facts += [f"{file['size']:,} bytes"] if file.get("size") else []
    facts += [str(file["contentType"])] if file.get("contentType") else []
    lines += field("is", ", ".join(facts)) if facts else []
    if file.get("recordId"):
        lines.append(whole("record", file["recordId"]))
    return lines


def _facts(data: Mapping[str, Any]) -> list[str]:
    lines = []
    made = [data.get("servedModel") or data.get("model"), data.get("qualityMode"), data.get("resolution")]
    if any(made):
        lines += field("model", ", ".join(str(fact) for fact in made if fact))
    billed, estimated = data.get("billedCostUsd"), data.get("estimatedCostUsd")
    costs = [f"billed {dollars(billed)}"] if billed is not None else []
    if estimated is not None:
        # A clip's is Ring's figure, which knows no resolution: the quote does.
        by = " by the mode's rate" if billed not in (None, estimated) and data.get("qualityMode") else ""
        costs.append(f"estimated {dollars(estimated)}{by}")
    if costs:
        lines += field("cost", ", ".join(costs))
    if data.get("jobId"):
        lines.append(whole("job", data["jobId"]))
    if data.get("joined"):
        lines += field("note", "an identical request was there already: this is its result, and nothing new was paid")
    for warning in data.get("warnings", ()):
        lines += field("warning", warning)
    return lines


def _quote_lines(data: Mapping[str, Any]) -> list[str]:
    lines = ["DRY RUN: nothing was made and nothing was spent", *field("costs", dollars(data.get("totalUsd", 0)))]
    for price in data.get("prices", ()):
        sum_ = f"{price['count']:g} x {dollars(price['unitUsd'])}: {price['what']} (list price of {price['asOf']})"
        lines += field("price", sum_)
    facts = [data.get(key) for key in ("model", "qualityMode", "generationKind", "aspectRatio", "resolution")]
    facts += [f"{data['duration']} s"] if data.get("duration") else []
    lines += field("model", ", ".join(str(fact) for fact in facts if fact))
    lines += cap_lines(data.get("capLeftUsd"))
    for warning in data.get("warnings", ()):
        lines += field("warning", warning)
    return lines


def cap_lines(left: Mapping[str, Any] | None) -> list[str]:
    told = [f"{dollars(amount)} {WINDOW_WORDS.get(key, key)}" for key, amount in (left or {}).items()]
    return [line for each in told for line in field("cap left", each)]


def health_lines(data: Mapping[str, Any]) -> list[str]:
    """A line for each check, with its fix below."""
    checks = data.get("checks", ())
    names = max((len(str(check.get("name"))) for check in checks), default=0)
    lines = []
    for check in checks:
        status = safe(check.get("status"))
        first, *more = paragraph(f"{status:<8} {safe(check.get('name')):<{names}}  ", check.get("detail") or "")
        lines += [click.style(first[:8], fg=_STATUS_COLOURS.get(status)) + first[8:], *more]
        if check.get("fix"):
            lines += paragraph("         fix: ", check["fix"], under=14)
    service = f"{data.get('service')}, ring-mcp {data.get('serverVersion')}"
    lines.append(safe(f"status: {data.get('status')} ({service})"))
    return [*lines, *cap_lines(data.get("capLeftUsd"))]
