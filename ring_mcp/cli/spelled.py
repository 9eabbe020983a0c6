"""Types of options and arguments that are read as the tools read theirs: ``30s``, ``$1.50``, ``ring://jobs/ID``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ring_mcp.domain.choices import choose
from ring_mcp.domain.fields import MAX_WAIT_S, job_id, seconds


class Spelled(click.ParamType):  # type: ignore[type-arg]  # generic in its newest version alone
    """``plain`` removes what may be around a value, ``inner`` validates the rest."""

    def __init__(self, plain: Callable[[object], object], inner: Any) -> None:
        self.name = inner.name
        self._plain = plain
        self._inner = inner

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not value.strip():
            if isinstance(param, click.Argument):
                self.fail("it may not be empty", param, ctx)
            return None  # as good as not given
        try:
            plain = self._plain(value)
        except ValueError as exc:
            self.fail(f"{value!r} {exc}", param, ctx)
        return self._inner.convert(plain, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        found: str | None = self._inner.get_metavar(param, ctx)
        return found


def one_of(*values: str) -> Spelled:
    """A choice, however it is spelled."""
    return Spelled(lambda value: choose(str(value), values) or value, click.Choice(values))


JOB_ID = Spelled(job_id, click.STRING)
WAIT = Spelled(seconds, click.FloatRange(0, MAX_WAIT_S))
