"""Ask for the price first, and let a cap stop what is too expensive. It runs in the sandbox: no key, no cost.

uv run python examples/quote_before_spending.py
"""
# ruff: noqa: T201

import asyncio
import sys
from decimal import Decimal

from ring_mcp.app import open_app
from ring_mcp.config import load_config
from ring_mcp.domain import ImageRequest
from ring_mcp.errors import CapExceeded

CAP_USD = Decimal("0.10")  # as RING_MAX_USD_PER_CALL=0.10 would set it


async def main() -> int:
    config = load_config(sandbox=True, max_usd_per_call=CAP_USD)
    async with open_app(config) as app:
        for n in (1, 4):
            request = ImageRequest(prompt="Four views of the same chair", resolution="2k", n=n)
            quote = await app.images.quote(request)  # spends nothing, writes nothing
            for line in quote.prices or ():
                print(f"{line.what}: {line.count:g} x ${line.unit_usd}, list price of {line.as_of}")
            print(f"  in all: ${quote.total_usd}")
            for warning in quote.warnings or ():
                print(f"  warning: {warning}")
            try:
                result = await app.images.generate(request, actor_id=config.actor_id)
            except CapExceeded as exc:
                print(f"  refused: {exc.message}")
            else:
                print(f"  made: {result.url}, billed ${result.billed_cost_usd}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
