"""A token that stands in an example file is everybody's: no server that a network reaches starts with one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from ring_mcp.errors import ConfigError
from ring_mcp.server.auth import check_tokens
from ring_mcp.server.metrics import check_metrics_token

EXAMPLE = Path(__file__).parents[2] / "examples" / "deploy" / "ring-mcp.env.example"


def example(variable: str) -> SecretStr:
    found = re.search(rf"^{variable}=(.+)$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return SecretStr(found[1])


def test_placeholders_of_the_example_are_refused_by_name() -> None:
    good = SecretStr("ann=" + 32 * "a")
    check_tokens([good], "0.0.0.0")
    for tokens in ([example("RING_MCP_SERVICE_TOKENS")], [good, example("RING_MCP_SERVICE_TOKENS")]):
        with pytest.raises(ConfigError, match=r"RING_MCP_SERVICE_TOKENS: still has the placeholder"):
            check_tokens(tokens, "0.0.0.0")
    with pytest.raises(ConfigError, match=r"RING_METRICS_TOKEN: still has the placeholder"):
        check_metrics_token(example("RING_METRICS_TOKEN"), "0.0.0.0")
