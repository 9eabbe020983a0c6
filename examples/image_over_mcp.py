"""An MCP client: starts ring-mcp over stdio, as an agent does, and asks for two pictures. Sandbox: no key, no cost.

uv run python examples/image_over_mcp.py

With RING_SANDBOX=http://127.0.0.1:PORT it uses a sandbox that runs already (`ring-mcp sandbox`), faults included.
"""
# ruff: noqa: T201

import asyncio
import os
import sys
from typing import Any

from mcp import Client, StdioServerParameters
from mcp_types import TextContent

# A client hands its servers a few variables only, so what they need is named here.
ENVIRONMENT = {**os.environ, "RING_SANDBOX": os.environ.get("RING_SANDBOX", "1")}
SERVER = StdioServerParameters(command=sys.executable, args=["-m", "ring_mcp"], env=ENVIRONMENT)


async def show_progress(progress: float, total: float | None, message: str | None) -> None:
    print(f"  {progress:3.0f} % {message}")


async def main() -> int:
    async with Client(SERVER) as client:
        await call(client, "ring-health", {})
        answer = await call(client, "ring-image-create", {"prompt": "Paper boats", "n": 2, "purpose": "example"})
        while answer["success"] and "url" not in answer["data"]:  # takes longer than waitSeconds
            answer = await call(client, "ring-job-get", {"jobId": answer["data"]["jobId"]})
    if not answer["success"]:
        print(f"{answer['code']} (billed: {answer['billed']}): {answer['nextAction']}")
        return 1
    data = answer["data"]
    print(f"{len(data['images'])} images, estimated ${data['estimatedCostUsd']}, billed ${data['billedCostUsd']}")
    return 0


async def call(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The structured answer: {success: true, data}, or {success: false, error, code, billed, retryable, nextAction}."""
    print(tool, arguments)
    reply = await client.call_tool(tool, arguments, progress_callback=show_progress)
    for block in reply.content:
        if isinstance(block, TextContent):  # what a model reads; the other block is a small preview
            print(block.text)
    return dict(reply.structured_content or {})


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
