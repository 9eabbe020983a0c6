"""One picture from Python, without MCP: the conductor behind the tool. It runs in the sandbox: no key, no cost.

uv run python examples/image_from_python.py
"""
# ruff: noqa: T201

import asyncio
import sys

from ring_mcp.app import open_app
from ring_mcp.config import load_config
from ring_mcp.domain import ImageRequest


async def main() -> int:
    config = load_config(sandbox=True)  # plain load_config() takes your key, and the picture costs money
    request = ImageRequest(prompt="A red kite over a harbour", aspect_ratio="16:9", purpose="example")
    async with open_app(config) as app:
        result = await app.images.generate(request, actor_id=config.actor_id)
    if not result.success:
        print(result.error, file=sys.stderr)
        return 1
    for image in result.images:
        print(f"{image.url}  {image.width} x {image.height} px, {image.size:,} bytes, record {image.record_id}")
    print(f"estimated ${result.estimated_cost_usd}, billed ${result.billed_cost_usd}, job {result.job_id}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
