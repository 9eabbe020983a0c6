"""Whose an xAI key is, in every documented and every broken shape."""

from __future__ import annotations

from typing import Any

import pytest

from ring_mcp.errors import ProviderAuthError, ProviderBadReply, ProviderRejected, ProviderUnavailable, RingError
from ring_mcp.providers.xai.account import XaiTeam, read_team
from tests.providers.provider_samples import InstantClock, plain, reply
from tests.providers.raw_server import RawServer, answering, http

FACTS = {
    "redacted_api_key": "xa...ey",
    "user_id": "u",
    "name": "n",
    "create_time": "2026-01-01T00:00:00Z",
    "modify_time": "2026-01-01T00:00:00Z",
    "modified_by": "u",
    "team_id": "5a0db0c5-7e57-4000-8000-000000000000",
    "acls": [],
    "api_key_id": "k",
    "team_blocked": False,
    "api_key_blocked": False,
    "api_key_disabled": False,
}


async def asked(*answers: bytes) -> tuple[str, list[str]]:
    async with RawServer(answering(*answers)) as server, plain(server.url) as connections:
        team = await XaiTeam(connections, InstantClock()).account_id()
    return team, [f"{seen.method} {seen.path}" for seen in server.requests]


async def test_the_team_of_a_key_is_asked_for_in_one_free_request() -> None:
    assert await asked(http(200, FACTS)) == (FACTS["team_id"], ["GET /api-key"])


@pytest.mark.parametrize("field", [name for name in FACTS if name != "team_id"])
def test_nothing_but_the_team_is_needed(field: str) -> None:
    assert read_team(reply(200, {name: value for name, value in FACTS.items() if name != field})) == FACTS["team_id"]


@pytest.mark.parametrize("team", [None, "", 5, ["team"], "two\nlines", "\x1b[31m", "x" * 201])
def test_what_cannot_be_a_team_is_none(team: Any) -> None:
    with pytest.raises(ProviderBadReply, match="without a team"):
        read_team(reply(200, FACTS | {"team_id": team}))


def test_a_team_may_be_two_hundred_characters_long() -> None:
    assert read_team(reply(200, FACTS | {"team_id": "x" * 200})) == "x" * 200


async def check(body: object) -> None:
    async with RawServer(answering(http(200, body))) as server, plain(server.url) as connections:
        await XaiTeam(connections, InstantClock()).check_key()


@pytest.mark.parametrize("body", [FACTS, FACTS | {"api_key_blocked": "true"}, [], "x"])
async def test_a_key_of_which_nothing_bad_is_said_works(body: object) -> None:
    await check(body)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("team_blocked", "the team of this key is blocked"),
        ("api_key_blocked", "this key is blocked"),
        ("api_key_disabled", "this key is disabled"),
    ],
)
async def test_a_key_that_xai_has_shut_off_does_not_work(flag: str, told: str) -> None:
    with pytest.raises(ProviderAuthError, match=f"^xAI says: {told}$") as caught:
        await check(FACTS | {flag: True})
    assert (caught.value.provider, caught.value.billed) == ("xai", "no")


@pytest.mark.parametrize("body", [b"", b"<html>a proxy's page</html>", b"[]", b'"team"', b"null", b"{}"])
def test_an_answer_that_names_no_team_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(ProviderBadReply, match="without a team") as caught:
        read_team(reply(200, body))
    assert caught.value.provider == "xai"


@pytest.mark.parametrize(
    ("status", "body", "is_a", "asks_again"),
    [
        (400, {"code": "invalid-argument", "error": "Incorrect API key provided: xa***ey."}, ProviderAuthError, False),
        (401, {"code": "unauthenticated", "error": "No credentials provided"}, ProviderAuthError, False),
        (404, {"error": "not found"}, ProviderRejected, False),
        (503, b"<html>Bad gateway</html>", ProviderUnavailable, True),
    ],
)
async def test_a_refusal_says_whether_asking_again_can_help(
    status: int, body: Any, is_a: type[RingError], asks_again: bool
) -> None:
    with pytest.raises(is_a) as refusal:
        await asked(http(status, body))
    assert refusal.value.retryable is asks_again
