"""A stdio server that passes calls on to another server: Ring's registration with an address, a token and no key.

With a ``ring-mcp serve`` it speaks MCP, so that everything is there that it offers. A gateway of Ring Platform itself
has its own four tools (``clients.ring_tools``). Which of them it is, is asked with the first request of a client.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import mcp_types as types
from mcp import Client, MCPError
from mcp.client.session import ElicitationFnT
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server, ServerRequestContext

from ring_mcp import __version__
from ring_mcp.clients.gateway import GatewayClient
from ring_mcp.clients.gateway_errors import GatewayAway, as_lost_reply
from ring_mcp.clients.ring_tools import RingTools
from ring_mcp.errors import RingError
from ring_mcp.server.asking import ERA, can_be_asked, elicit
from ring_mcp.server.mcp import INSTRUCTIONS, PackedArguments, describe_tool, load_icon
from ring_mcp.tools.envelope import failure, internal_error, success
from ring_mcp.tools.tool import Caller, explain_unknown, find_name

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_EVENT_BYTES = 4 * 1024 * 1024
# If their answers are lost, no money is. Cancelling twice does no harm.
_FREE = frozenset(
    f"ring-{name}" for name in ("health", "whoami", "job-get", "job-list", "job-cancel", "model-list", "spend")
)


class Relay:
    """``client`` returns the gateway's client, or raises what is wrong with it. ``base_url``: for texts."""

    def __init__(self, client: Callable[[], GatewayClient], base_url: str) -> None:
        self._client = client
        self._base_url = base_url
        self._rings = {tool.name: tool for tool in RingTools(client, base_url).tools()}

    def server(self) -> Server[dict[str, Any]]:
        server = Server(
            "ring-mcp",
            version=__version__,
            title=f"ring-mcp, for {self._base_url}",
            instructions=INSTRUCTIONS,
            icons=[load_icon()],
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
            on_list_resources=self.list_resources,
            on_list_resource_templates=self.list_templates,
            on_read_resource=self.read_resource,
            on_list_prompts=self.list_prompts,
            on_get_prompt=self.get_prompt,
        )
        server.middleware.append(PackedArguments())
        return server

    async def list_tools(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """The other server's tools; while it is away, those that every gateway has."""
        try:
            if await self._client().speaks_ring_mcp():
                async with self._session() as session:
                    return await session.list_tools()
        except RingError as exc:
            logger.warning("%s", exc.message)
        return types.ListToolsResult(tools=[describe_tool(tool) for tool in self._rings.values()])

    async def call_tool(
        self, ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        async def progress(percent: float, message: str) -> None:
            await ctx.session.report_progress(percent, 100, message)

        async def pass_on(progress: float, total: float | None, message: str | None) -> None:
            await ctx.session.report_progress(progress, total, message)

        async def ask(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
            return types.ElicitResult(action=(await elicit(ctx, params.message)).value)

        # Declared only if our own client can ask: the other server goes by that.
        asks = can_be_asked(ctx) and (ctx.protocol_version >= ERA or ctx.session.can_send_request)
        try:
            if await self._client().speaks_ring_mcp():
                async with self._session(ask if asks else None) as session:
                    with _lose_replies(self._base_url, spends=params.name not in _FREE):
                        # Our client knows no input_required: the SDK asks through ``ask``, and calls again by itself.
                        if ctx.protocol_version < ERA:
                            return await session.call_tool(params.name, params.arguments, progress_callback=pass_on)
                        # Our client calls again itself: question and state are passed through, and not kept here.
                        return await session.session.call_tool(
                            params.name,
                            params.arguments,
                            progress_callback=pass_on,
                            input_responses=params.input_responses,
                            request_state=params.request_state,
                            allow_input_required=True,
                        )
            name = find_name(self._rings, params.name)
            if name is None:
                raise MCPError(code=types.INVALID_PARAMS, message=explain_unknown("tool", params.name, self._rings))
            tool = self._rings[name]
            # Not for another ring-mcp, which validates itself and may be newer than this one.
            arguments = tool.arguments.parse(params.arguments)
            answer = await tool.handler(arguments, Caller(actor_id="", progress=progress))
            return success(answer, links=False)
        except RingError as exc:
            return failure(exc, **getattr(exc, "extra", {}))
        except MCPError:
            raise
        except Exception as exc:  # the one error boundary of a tool call
            return internal_error(exc, params.name)

    async def list_resources(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        nothing = types.ListResourcesResult(resources=[])
        return await self._ask(lambda session: session.list_resources(), nothing)

    async def list_templates(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        nothing = types.ListResourceTemplatesResult(resource_templates=[])
        return await self._ask(lambda session: session.list_resource_templates(), nothing)

    async def read_resource(
        self, ctx: ServerRequestContext[Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        return await self._ask(lambda session: session.read_resource(params.uri), None)

    async def list_prompts(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        return await self._ask(lambda session: session.list_prompts(), types.ListPromptsResult(prompts=[]))

    async def get_prompt(
        self, ctx: ServerRequestContext[Any], params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        return await self._ask(lambda session: session.get_prompt(params.name, params.arguments), None)

    async def _ask(self, ask: Callable[[Client], Awaitable[T]], otherwise: T | None) -> T:
        """The other server's answer; ``otherwise``: that of a gateway of Ring Platform. Raises MCPError."""
        try:
            if await self._client().speaks_ring_mcp():
                async with self._session() as session:
                    with _lose_replies(self._base_url, spends=False):
                        return await ask(session)
        except RingError as exc:
            raise MCPError(code=types.INTERNAL_ERROR, message=exc.message) from exc
        if otherwise is None:
            raise MCPError(code=types.INVALID_PARAMS, message=f"{self._base_url} is a gateway of Ring Platform")
        return otherwise

    @contextlib.asynccontextmanager
    async def _session(self, ask: ElicitationFnT | None = None) -> AsyncIterator[Client]:
        """A session for one call: none is kept that a restart there could break. ``ask``: if our client can be asked.
        Raises RingError."""
        client = self._client()
        # The other server keeps no sessions, so there is nothing to DELETE.
        transport = streamable_http_client(
            client.mcp_url, http_client=client.http, terminate_on_close=False, max_sse_event_size=_MOST_EVENT_BYTES
        )
        session = Client(transport, elicitation_callback=ask)
        try:
            # By hand, to tell failures apart: before this nothing was asked for, after it something may be paid.
            await session.__aenter__()
        except Exception as exc:  # whatever it is, nothing was asked for yet; the gateway's health explains it better
            await client.health()
            raise GatewayAway(f"{self._base_url} does not answer at /mcp as a ring-mcp server does") from exc
        try:
            yield session
        finally:
            with contextlib.suppress(Exception):  # the answer is here
                await session.__aexit__(None, None, None)


@contextlib.contextmanager
def _lose_replies(base_url: str, *, spends: bool) -> Any:
    """Around a request: if its answer is lost, what became of it is not known. Raises RingError."""
    try:
        yield
    except (RingError, MCPError) as exc:
        if isinstance(exc, MCPError) and exc.error.code == types.CONNECTION_CLOSED:
            raise _lose(base_url, spends=spends) from exc
        raise
    # What the SDK's client raises for a broken connection has no common base: the request has left.
    except Exception as exc:
        raise _lose(base_url, spends=spends) from exc


def _lose(base_url: str, *, spends: bool) -> RingError:
    if not spends:
        return GatewayAway(f"{base_url} did not answer")
    return as_lost_reply(f"{base_url} took the request and did not answer")
