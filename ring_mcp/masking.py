"""Keys and tokens, kept out of what others say: a service that echoes one may spell it in its own way. Pure.

Text is masked after it has been decoded, and there in every spelling that another decoding would undo: escapes of JSON
(also of JSON in JSON), of addresses and of HTML.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

STARS = "***"
_LEAST_CHARS = 8
"""Anything shorter is no key, and stands in too much that is none."""

_LOOKED_AT_CHARS = 16_384
"""Of a text with escapes: more of it is never shown."""

_ESCAPES = ("\\", "%", "&")
_MOST_SLASHES = 31
"""Before one character: JSON in JSON in JSON in JSON in JSON. Unbounded, each of them would be looked at from each."""


class Masking:
    """Puts stars in the place of ``secrets`` and of their parts between dots."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        whole = [secret.strip() for secret in secrets]
        # A service may quote one part of a key with dots, as the key's id.
        parts = {part for secret in whole for part in (secret, *secret.split(".")) if len(part) >= _LEAST_CHARS}
        # The longest first: a part that is masked before the whole would leave the rest of it to be read.
        self._secrets = sorted(parts, key=len, reverse=True)

    # Made for the first text that has an escape in it, which few have: compiling it is slow.
    @functools.cached_property
    def _spelled(self) -> re.Pattern[str]:
        return re.compile("|".join("".join(map(_spellings, secret)) for secret in self._secrets))

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, STARS)
        if self._secrets and any(sign in text for sign in _ESCAPES):
            head = text[:_LOOKED_AT_CHARS]
            return self._spelled.sub(STARS, head) + text[_LOOKED_AT_CHARS:]
        return text

    def value(self, value: Any) -> Any:
        """A value of JSON, names of objects included. Raises RecursionError for one that is nested too deeply."""
        if not self._secrets:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, dict):
            return {self.text(name): self.value(each) for name, each in value.items()}
        return value


NOTHING = Masking()


def _spellings(char: str) -> str:
    """One character, plain or escaped. A letter may be escaped as well, though nobody has to."""
    number = f"{ord(char):02x}"
    return (
        rf"(?:\\{{0,{_MOST_SLASHES}}}{re.escape(char)}|(?i:\\{{1,{_MOST_SLASHES}}}(?:u00|x){number}"
        rf"|%(?:25)*{number}|&(?:amp;)*#0*{ord(char)};?"
        rf"|&(?:amp;)*#x0*{number};?))"
    )
