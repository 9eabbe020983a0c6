"""What a server says, without what means nothing here; and why one says nothing. Pure."""

from __future__ import annotations

import os
from typing import Any


def without_paths(value: Any) -> Any:
    """An answer without ``localPath``: a path over there means nothing here, or another file."""
    if isinstance(value, dict):
        return {name: without_paths(each) for name, each in value.items() if name != "localPath"}
    return [without_paths(each) for each in value] if isinstance(value, list) else value


def reason(exc: Exception) -> str:
    """The system's own word for it, which hides at the bottom of the chain, on one line."""
    cause: BaseException = exc
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    text = str(cause) or str(exc) or type(exc).__name__
    if isinstance(cause, OSError) and cause.errno is not None:
        # Errors of name look-ups are negative numbers, for which strerror knows no words.
        text = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror or text
    return " ".join(text.split())
