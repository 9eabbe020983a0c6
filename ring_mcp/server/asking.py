"""How a question about spending reaches the person behind an MCP client, in both eras of the protocol.

2025: the server sends ``elicitation/create`` while the call waits. 2026: the call's answer says what is needed, and the
client makes the call again with the reply beside its arguments, where no model writes. A client that declares that it
can ask may still answer by itself, so only "accept" is a yes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server import ServerRequestContext
from pydantic import ValidationError

from ring_mcp.domain.consent import NOBODY, QUESTION_LIFE, Asking, Mark, Reply

ERA = "2026-07-28"
"""The first protocol version with extensions, and in which the answer to a call may ask for input."""

_KEY = "spend"
_NO_FIELDS: dict[str, Any] = {"type": "object", "properties": {}}
_MOST_STATE_CHARS = 64
_BEAT_S = 10.0


class InputNeeded(Exception):
    """Not an error: ``result`` is the answer to the call."""

    def __init__(self, mark: Mark, text: str) -> None:
        super().__init__(mark.question_id)
        self.result = types.InputRequiredResult(input_requests={_KEY: _question(text)}, request_state=str(mark))


def read_asking(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Asking:
    """How the client of this call can be asked, and its answer to an earlier question."""
    if ctx.protocol_version >= ERA:
        return Asking(ask=_need_input if can_be_asked(ctx) else None, answer=_read_answer(params))
    if can_be_asked(ctx) and ctx.session.can_send_request:
        return Asking(ask=lambda _, text: elicit(ctx, text))
    return NOBODY


def can_be_asked(ctx: ServerRequestContext[Any]) -> bool:
    """Whether the client has declared form elicitation; a bare ``elicitation: {}`` means that."""
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


async def elicit(ctx: ServerRequestContext[Any], text: str) -> Reply:
    """Ask while the call waits. A client that fails to answer counts as cancelled."""
    beat = asyncio.create_task(_tell_of_waiting(ctx))
    try:
        async with asyncio.timeout(QUESTION_LIFE.total_seconds()):
            result = await ctx.session.elicit_form(text, _NO_FIELDS, related_request_id=ctx.request_id)
    # So does one whose answer breaks the protocol.
    except (TimeoutError, MCPError, ValidationError):
        return Reply.CANCEL
    finally:
        beat.cancel()
    return Reply(result.action)


async def _tell_of_waiting(ctx: ServerRequestContext[Any]) -> None:
    """Send progress meanwhile: a person takes longer to answer than clients wait in silence."""
    percent = 0.0
    with contextlib.suppress(MCPError):
        while True:
            await asyncio.sleep(_BEAT_S)
            # Each number has to be above the last one, so it rises slowly towards 1.
            percent += (1.0 - percent) / 100  # below the job's own first value
            await ctx.session.report_progress(percent, 100, "waiting for a person's answer")


async def _need_input(mark: Mark, text: str) -> Reply:
    raise InputNeeded(mark, text)


def _read_answer(params: types.CallToolRequestParams) -> tuple[Mark, Reply] | None:
    """The client's answer, which is only a claim: the ledger knows whether this question was put to this caller."""
    state, reply = params.request_state, (params.input_responses or {}).get(_KEY)
    # Bounded before it is used: it is the client's text.
    if state is None or len(state) > _MOST_STATE_CHARS or not isinstance(reply, types.ElicitResult):
        return None
    return Mark.read(state), Reply(reply.action)


def _question(text: str) -> types.ElicitRequest:
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=text, requested_schema=_NO_FIELDS))
