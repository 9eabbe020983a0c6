"""Options and arguments that are read as the tools read theirs: ``30s``, ``$1.50``, ``ring://jobs/ID``, ``--size``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ring_mcp.domain.choices import choose
from ring_mcp.domain.fields import MAX_WAIT_S, job_id, seconds
from ring_mcp.domain.nearest import nearest


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


class HintingCommand(click.Command):
    """A command whose options are a tool's arguments: an unknown one is told what the tool tells of an unknown name.

    Click knows letters alone, and takes ``--size`` for ``--seed``.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as exc:
            from pydantic.alias_generators import to_camel

            typed = [param.opts[0] for param in self.params if isinstance(param, click.Option)]
            options = {to_camel(option.strip("-").replace("-", "_")): option for option in typed}
            found = nearest(exc.option_name, options)
            if found is None:
                raise
            hint = " or ".join(options[name] for name in found.split(" or "))
            raise click.NoSuchOption(exc.option_name, f"{exc.message} Did you mean {hint}?", ctx=ctx) from None


JOB_ID = Spelled(job_id, click.STRING)
WAIT = Spelled(seconds, click.FloatRange(0, MAX_WAIT_S))
