"""``ring-mcp presets check``: is the registry of models valid, and does it agree with the providers?"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ring_mcp.cli.show import dollars, print_json, print_lines, safe

if TYPE_CHECKING:
    from ring_mcp.conductors.model_check import Comparison, Difference
    from ring_mcp.presets import Presets

SAME, DIFFERENT, NOT_ASKED = 0, 1, 2


@click.command()
@click.option("--live", is_flag=True, help="Ask every provider whose key is configured; it costs nothing.")
@click.option("--against", metavar="FILE", help="Compare with a price map in the format of the package litellm.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check(live: bool, against: str | None, as_json: bool) -> None:
    """Check presets.json, with the file of RING_PRESETS_FILE; compare it with what providers or others list.

    Exit status: 0 it is right, 1 it differs from a list (models that only a price map has are shown and no difference),
    2 it is broken, or a provider or file could not be read.
    """
    from ring_mcp.config import load_config
    from ring_mcp.presets import load_presets

    if live and against is not None:
        raise click.UsageError("--live and --against are two comparisons: one at a time")
    presets, today = load_presets(overlay=load_config().presets_file), datetime.now(UTC).date()
    if against is not None:
        _tell_against(presets, Path(against), today, as_json)
        return
    if not live:
        _tell_file(presets, today, as_json)
        return
    compared = asyncio.run(_compare(presets, today))
    if as_json:
        print_json(_facts(compared))
    else:
        _print(compared)
    # Before the differences: a list that could not be read says nothing, and must not look like agreement.
    if compared.failures or not compared.asked:
        sys.exit(NOT_ASKED)
    sys.exit(DIFFERENT if compared.differences else SAME)


def _tell_against(presets: Presets, path: Path, today: date, as_json: bool) -> None:
    from ring_mcp.cli.show import safe_lines
    from ring_mcp.conductors.model_check import Comparison
    from ring_mcp.conductors.price_map import MAX_MAP_BYTES, compare_with_map, read_map
    from ring_mcp.errors import InvalidRequest
    from ring_mcp.scripted.reading import read_limited

    try:
        listed = read_map(read_limited(path, "the price map", MAX_MAP_BYTES))
    except InvalidRequest as exc:  # not the status of a difference, which whoever runs this every week acts on
        click.echo(f"error: {safe_lines(exc.message)}", err=True)
        sys.exit(NOT_ASKED)
    found = compare_with_map(presets, listed, today)
    compared = Comparison(asked=(path.name,), differences=tuple(found), failures={})
    if as_json:
        print_json(_facts(compared))
    else:
        _print(compared)
    # A price map has the models of everybody; that presets.json lacks some of them is no fault of it.
    sys.exit(DIFFERENT if any(each.what != "new" for each in found) else SAME)


def _tell_file(presets: Presets, today: date, as_json: bool) -> None:
    models = [*presets.image_models.values(), *presets.video_models.values()]
    served = sum(not model.is_retired(today) for model in models)
    if as_json:
        print_json({"valid": True, "updated": str(presets.updated), "models": len(models), "served": served})
    else:
        click.echo(
            f"presets.json of {presets.updated} is valid: {served} models served, {len(models) - served} retired"
        )


async def _compare(presets: Presets, today: date) -> Comparison:
    from ring_mcp.backends import open_model_lists
    from ring_mcp.conductors.model_check import compare
    from ring_mcp.config import load_config

    async with open_model_lists(load_config()) as lists:
        return await compare(presets, lists, today)


def _facts(compared: Comparison) -> dict[str, object]:
    differences = [
        {
            "provider": each.provider,
            "kind": each.kind,
            "model": each.model,
            "what": each.what,
            "of": each.of or None,
            "registryUsd": None if each.registry is None else float(each.registry),
            "listedUsd": None if each.listed is None else float(each.listed),
            "registrySays": each.registry_says or None,
            "listedSays": each.listed_says or None,
        }
        for each in compared.differences
    ]
    return {
        "asked": compared.asked,
        "failures": compared.failures,
        "differences": [{key: value for key, value in each.items() if value is not None} for each in differences],
    }


def _print(compared: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    from ring_mcp.config_types import variables
    from ring_mcp.providers.vendors import VENDORS

    if compared.differences:
        table = Table("provider", "model", "what", "registry", "listed", box=None, pad_edge=False)
        for each in compared.differences:
            what = f"{each.what} {each.of}".strip()
            table.add_row(each.provider, safe(each.model), safe(what), *_both(each))
        Console(highlight=False, markup=False).print(table)
    if compared.asked and not compared.differences:
        lists = "lists" if len(compared.asked) == 1 else "list"
        click.echo(f"presets.json has what {' and '.join(compared.asked)} {lists} (prices as far as they are listed)")
    print_lines([f"{safe(name)} could not be asked: {safe(why)}" for name, why in compared.failures.items()], err=True)
    if not compared.asked and not compared.failures:
        keys = ", ".join(variables(vendor.settings)["key"][0] for vendor in VENDORS if vendor.models is not None)
        click.echo(f"no provider could be asked: no key is configured ({keys})", err=True)


def _both(found: Difference) -> tuple[str, str]:
    """What the registry and the list say of it."""
    if found.registry_says or found.listed_says:
        return safe(found.registry_says), safe(found.listed_says)
    return _usd(found.registry), _usd(found.listed)


def _usd(amount: Decimal | None) -> str:
    return "" if amount is None else dollars(amount)
