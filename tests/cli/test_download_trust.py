"""``--download`` fetches from the public internet and from what the configuration names, and from no private place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ring_mcp.cli.downloads import fetch
from ring_mcp.config import Config, load_config
from ring_mcp.errors import PrivateAddress
from tests.cases.given_media import make_media, served


def config(tmp_path: Path, **variables: str) -> Config:
    return load_config({"HOME": str(tmp_path), "XAI_API_KEY": "xai-key", **variables}, folder=tmp_path)


async def test_an_address_of_this_machine_is_refused_whoever_names_it(tmp_path: Path) -> None:
    """A ledger lies in the output folder, and the folder may be somebody else's work."""
    make_media(tmp_path)
    with served(tmp_path) as address:
        for url in (address, address.replace("127.0.0.1", "localhost")):
            with pytest.raises(PrivateAddress, match="private network"):
                await fetch(f"{url}/clip.mp4", tmp_path / "saved", config(tmp_path))
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("variable", ["RING_API_BASE_URL", "RING_PUBLIC_BASE_URL", "XAI_API_BASE_URL", "RING_SANDBOX"])
async def test_what_the_configuration_names_is_fetched_from(tmp_path: Path, variable: str) -> None:
    make_media(tmp_path)
    with served(tmp_path) as address:
        named = config(tmp_path, **{variable: address})
        for url in (address, address.replace("127.0.0.1", "localhost")):
            await fetch(f"{url}/clip.mp4", tmp_path / "saved", named)
            assert (tmp_path / "saved").read_bytes() == (tmp_path / "clip.mp4").read_bytes()
            (tmp_path / "saved").unlink()
