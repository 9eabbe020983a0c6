"""What the adapters of a vendor share: readiness, the judgement of a paid answer, and whose connections they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ring_mcp.errors import ProviderAuthError, ProviderError
from ring_mcp.providers.base import Inputs
from ring_mcp.providers.google.images import GoogleImages
from ring_mcp.providers.google.videos import GoogleVideos
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.xai.images import XaiImages
from ring_mcp.providers.xai.videos import XaiVideos
from tests.providers.provider_samples import LIMIT_S, InstantClock, image_plan, plain, reply
from tests.providers.raw_server import RawServer, answering, http
from tests.providers.test_xai_videos import video_plan

Adapter = XaiImages | GoogleImages

VARIABLES = {"xai": "XAI_API_KEY", "google": "GOOGLE_GENAI_API_KEY"}


def adapter(name: str, connections: ProviderHttp, *, has_key: bool = True) -> Adapter:
    if name == "xai":
        return XaiImages(connections, has_key=has_key, clock=InstantClock())
    return GoogleImages(connections, has_key=has_key, token_prices={}, clock=InstantClock())


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with RawServer(answering(http(200, b"here"))) as running:
        yield running


@pytest.mark.parametrize("name", VARIABLES)
async def test_without_a_key_the_missing_variable_is_named_and_nobody_asked(name: str, server: RawServer) -> None:
    async with plain(server.url) as connections:
        with pytest.raises(ProviderAuthError, match=f"^{VARIABLES[name]} is not configured") as told:
            adapter(name, connections, has_key=False).check_ready()
        adapter(name, connections).check_ready()
    assert told.value.provider == name
    assert server.requests == []


MAKERS: dict[str, Callable[[ProviderHttp], XaiImages | XaiVideos | GoogleImages | GoogleVideos]] = {
    "xAI, images": lambda http: XaiImages(http, has_key=False, clock=InstantClock()),
    "xAI, videos": lambda http: XaiVideos(http, has_key=False, clock=InstantClock()),
    "Google, images": lambda http: GoogleImages(http, has_key=False, token_prices={}, clock=InstantClock()),
    "Google, videos": lambda http: GoogleVideos(http, has_key=False, token_prices={}, clock=InstantClock()),
}


@pytest.mark.parametrize("name", MAKERS)
async def test_without_a_key_nothing_is_sent(name: str, server: RawServer, tmp_path: Path) -> None:
    plan = image_plan() if name.endswith("images") else video_plan()
    async with plain(server.url) as connections:
        with pytest.raises(ProviderAuthError, match="is not configured"):
            await MAKERS[name](connections).submit(plan, Inputs(), spool=tmp_path / "job", deadline_s=LIMIT_S)
    assert server.requests == []


def test_who_reads_addresses_and_who_answers_with_the_result() -> None:
    makers = (XaiImages, XaiVideos, GoogleImages, GoogleVideos)
    assert [maker.fetches_inputs for maker in makers] == [True, True, False, False]
    assert [maker.answers_with_result for maker in makers] == [False, False, True, False]


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_an_answer_that_says_yes_is_no_error(name: str, status: int, server: RawServer) -> None:
    async with plain(server.url) as connections:
        adapter(name, connections)._judge(reply(status))


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize(("status", "billed"), [(199, "unknown"), (300, "unknown"), (401, "no"), (429, "no")])
async def test_any_other_answer_is_an_error_of_that_vendor(
    name: str, status: int, billed: str, server: RawServer
) -> None:
    async with plain(server.url) as connections:
        with pytest.raises(ProviderError) as told:
            adapter(name, connections)._judge(
                reply(status, {"error": {"message": "no", "code": status, "status": "X"}})
            )
    assert (told.value.provider, told.value.billed) == (name, billed)


@pytest.mark.parametrize("name", VARIABLES)
async def test_connections_outlive_the_adapter_that_used_them(name: str, server: RawServer) -> None:
    async with plain(server.url) as connections:
        await adapter(name, connections).aclose()
        assert (await connections.get("models")).body == b"here"
