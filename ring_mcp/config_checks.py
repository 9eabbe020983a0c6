"""What can be wrong with a setting, as sentences that name its variable and never repeat its value. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ring_mcp.config import Config

_UNEXPANDED = re.compile(r"\$\{[^{}]*\}|\$[A-Za-z_][A-Za-z0-9_]*")
"""``${NAME:-}``, ``${env:NAME}``, ``$NAME``: the words of a client's file, not their value."""


def list_unknown_guards(names: Iterable[str], known: Collection[str]) -> list[str]:
    """A mistyped cap would be no cap at all, so an unknown RING_MAX_USD or RING_CONFIRM name is an error."""
    caps = [name for name in names if name.startswith(("RING_MAX_USD", "RING_CONFIRM")) and name not in known]
    return [
        # cutoff=0: however far off, the nearest name is a better hint than none.
        f"{name}: unknown variable; did you mean {difflib.get_close_matches(name, known, n=1, cutoff=0)[0]}?"
        for name in caps
    ]


def take_unexpanded(
    source: MutableMapping[str, str], names: Collection[str], keys: Collection[str], problems: list[str]
) -> list[str]:
    """Take the providers' ``keys`` out that nobody has expanded, and say which. Any other such setting is a problem:
    without it the server would work, and in another place or without a cap."""
    # The whole text or nothing: a password may well have a $ in it.
    found = sorted(name for name in names if _UNEXPANDED.fullmatch(source[name].strip()))
    problems += [f"{name}: {explain_unexpanded()}" for name in found if name not in keys]
    taken = [name for name in found if name in keys]
    for name in taken:
        del source[name]
    return taken


def first_of_each(problems: Iterable[str]) -> list[str]:
    """One sentence for each variable: what else is wrong with it follows from what was noticed first."""
    return list({problem.partition(":")[0]: problem for problem in reversed(list(problems))}.values())[::-1]


def explain_unexpanded() -> str:
    return "has the form ${NAME}, which this client does not expand; write the value itself there, or leave it out"


def list_missing_partners(config: Config) -> list[str]:
    # In sandbox mode ring-filebase is played, at an address of the sandbox's own. A bucket never is: test media lie in
    # the configured one, in a folder of theirs.
    if config.file_backend == "ringbase" and not config.sandbox:
        needed = {"RINGBASE_API_URL": config.ringbase_api_url, "RINGBASE_API_TOKEN": config.ringbase_api_token}
        return [f"{name}: is needed with FILE_BACKEND=ringbase" for name, value in needed.items() if value is None]
    if config.file_backend == "s3" and config.s3_bucket is None:
        return ["RING_S3_BUCKET: is needed with FILE_BACKEND=s3"]
    return []


def wants_export(config: Config) -> bool:
    """Whether what is done here is to be told by OTLP."""
    return config.otel_endpoint is not None and config.otel_disabled.strip().lower() != "true"
