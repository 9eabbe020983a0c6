"""The tool registry on the SDK's lowlevel Server: own schemas, own validation, own error texts.

The SDK would send the text of an escaped exception to the client, so none escapes: every failure leaves through
``tools.envelope``.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware

from ring_mcp import __version__
from ring_mcp.clock import SystemClock
from ring_mcp.errors import RingError
from ring_mcp.package_data import data_path
from ring_mcp.server import apps
from ring_mcp.server.asking import InputNeeded, read_asking
from ring_mcp.server.operations import MeasuredOperations, hide_errors
from ring_mcp.server.tasks import Identify, Tasks
from ring_mcp.server.toolbox import Toolbox
from ring_mcp.tools.envelope import failure, internal_error, success
from ring_mcp.tools.reading_aside import is_large, read_aside
from ring_mcp.tools.resources import JOB_TEMPLATE, JSON_TYPE, PRESETS_URI, Content, Resources
from ring_mcp.tools.tool import Caller, Tool, explain_unknown, find_name

if TYPE_CHECKING:
    from ring_mcp.app import App
    from ring_mcp.conductors.cancelling import Cancellation
    from ring_mcp.domain import Job
    from ring_mcp.tools.prompts import Prompt

INSTRUCTIONS = """\
Makes images and video clips on the operator's own provider key and returns permanent URLs. Call ring-health first. \
ring-image-create and ring-video-create cost money; dryRun: true tells the price. When an answer has a jobId and no \
URL, call ring-job-get with it instead of creating again."""

_TOOLS_TTL_MS = 300_000

_MAX_PACKED_CHARS = 4 * 1024 * 1024
"""The longest arguments that are read as JSON text: that takes a few milliseconds."""


class PackedArguments(ServerMiddleware[Any]):
    """Reads the arguments of clients that send JSON text, nothing, or an empty list in place of an object.

    Null in ``_meta`` is "not given", as in arguments: some clients write each field that there is.
    """

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        params = dict(ctx.params or {})
        if isinstance(meta := params.get("_meta"), dict) and None in meta.values():
            params["_meta"] = {name: value for name, value in meta.items() if value is not None}
        given = params.get("arguments") if ctx.method == "tools/call" else None
        if given is not None and not isinstance(given, dict):
            params["arguments"] = _unpack(given)
        return await call_next(replace(ctx, params=params) if params != (ctx.params or {}) else ctx)


def _unpack(given: Any) -> dict[str, Any]:
    if isinstance(given, str) and len(given) <= _MAX_PACKED_CHARS:
        # What cannot be read stays as it is, and is refused below.
        with contextlib.suppress(ValueError, RecursionError):
            given = json.loads(given) if given.strip() else {}
    if isinstance(given, dict):
        return given
    # For the tool's own reader to refuse in its words; a tool without arguments takes any.
    return {"arguments": given} if given is not None and given != [] else {}


def serve_app(app: App, *, identify: Identify, at_once: bool = False) -> Server[dict[str, Any]]:
    """The MCP server over an open App, whose callers are identified by ``identify``.

    ``at_once``: all tools are made and described now, so that the first caller who lists them keeps nobody waiting.
    """
    links = app.config.result_links

    async def cancel(job: Job) -> Cancellation:
        return await app.cancelling.cancel(job, actor_id=job.actor_id)

    tasks = Tasks(app.calls, app.previews, cancel, SystemClock(), identify=identify, links=links)
    return build_server(
        Toolbox(app), app.resources(), app.prompts, identify=identify, links=links, tasks=tasks, at_once=at_once
    )


def build_server(
    tools: Mapping[str, Tool[Any]],
    resources: Resources,
    prompts: Callable[[], Sequence[Prompt]] = tuple,
    *,
    identify: Identify,
    links: bool,
    tasks: Tasks | None = None,
    at_once: bool = False,
) -> Server[dict[str, Any]]:
    """A server with these tools, resources and prompts. ``identify`` raises Unauthorized for who may use no tool.

    ``prompts`` is called only if a client asks for prompts, which most never do. Anybody may read them.
    """

    @functools.cache  # making the schemas takes 20 ms, a quarter of what this server adds to the SDK's start
    def list_all(*, with_viewer: bool) -> types.ListToolsResult:
        return apps.list_tools([describe_tool(tool) for tool in tools.values()], _TOOLS_TTL_MS, with_viewer=with_viewer)

    for with_viewer in (False, True) if at_once else ():
        list_all(with_viewer=with_viewer)

    async def list_tools(
        ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return list_all(with_viewer=apps.may_show(ctx))

    async def call_tool(
        ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult | dict[str, Any]:
        name = find_name(tools, params.name)
        if name is None:
            raise MCPError(code=types.INVALID_PARAMS, message=explain_unknown("tool", params.name, tools))

        async def progress(percent: float, message: str) -> None:
            await ctx.session.report_progress(percent, 100, message)

        try:
            tool = tools[name]  # which may have to be loaded, and whatever is loaded late may be broken
            # Inside the try: over stdio the caller was not identified before, and a refusal has to become an answer.
            actor_id = await identify(ctx)
            arguments = await read_aside(
                lambda: tool.arguments.parse(params.arguments), is_large=is_large(params.arguments)
            )
            caller = Caller(actor_id=actor_id, progress=progress, asking=read_asking(ctx, params))
            if tasks is None:
                return success(await tool.handler(arguments, caller), links=links)
            made = await tasks.call(ctx, tool, arguments, caller)
            return made if isinstance(made, dict) else success(made, links=links)
        # How the 2026 protocol asks back; the boundary below would call it an internal error.
        except InputNeeded as needed:
            return needed.result
        except RingError as exc:
            return failure(exc, **getattr(exc, "extra", {}))
        except Exception as exc:  # the one error boundary of a tool call
            return internal_error(exc, name)

    async def read_resource(
        ctx: ServerRequestContext[Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        uri = str(params.uri)
        try:
            found = await resources.read(uri, await identify(ctx))
        except RingError as exc:
            # What the 2026 protocol wants for a resource that is not there.
            raise MCPError(code=types.INVALID_PARAMS, message=exc.message, data={"uri": uri}) from exc
        return types.ReadResourceResult(contents=[_content(uri, found)])

    async def list_prompts(
        ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[_describe_prompt(prompt) for prompt in prompts()])

    async def get_prompt(ctx: ServerRequestContext[Any], params: types.GetPromptRequestParams) -> types.GetPromptResult:
        prompt = next((prompt for prompt in prompts() if prompt.name == params.name), None)
        if prompt is None:
            names = [each.name for each in prompts()]
            raise MCPError(code=types.INVALID_PARAMS, message=explain_unknown("prompt", params.name, names))
        try:
            text = prompt.text(params.arguments or {})
        except RingError as exc:
            raise MCPError(code=types.INVALID_PARAMS, message=exc.message) from exc
        message = types.PromptMessage(role="user", content=types.TextContent(type="text", text=text))
        return types.GetPromptResult(description=prompt.description, messages=[message])

    server = Server(
        "ring-mcp",
        version=__version__,
        title="ring-mcp: images and clips on your own key",
        website_url="https://github.com/ring-mcp/ring-mcp",
        icons=[load_icon()],
        instructions=INSTRUCTIONS,
        on_list_tools=hide_errors(list_tools),
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=hide_errors(read_resource),
        on_list_prompts=hide_errors(list_prompts),
        on_get_prompt=hide_errors(get_prompt),
    )
    server.middleware += [MeasuredOperations(tools), PackedArguments()]
    # Not as ``on_call_tool``, whose type leaves no room for a task in place of a result.
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    if tasks is not None:
        tasks.add_to(server)
    return server


async def list_resources(
    ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
) -> types.ListResourcesResult:
    presets = types.Resource(
        uri=PRESETS_URI,
        name="presets",
        title="Models, modes and prices",
        description="Quality modes, models with their limits and life dates, list prices with their dates.",
        mime_type=JSON_TYPE,
    )
    # unknown=False, other than for tools: clients show resources to people, who have no use for a viewer's address.
    return types.ListResourcesResult(resources=[presets, *([apps.VIEWER] if apps.may_show(ctx, unknown=False) else [])])


async def list_templates(
    ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    job = types.ResourceTemplate(
        uri_template=JOB_TEMPLATE,
        name="job",
        title="A job",
        description="Where a job stands and what it made, as the create tool would answer now. Never waits.",
        mime_type=JSON_TYPE,
    )
    shown = apps.TEMPLATES if apps.may_show(ctx, unknown=False) else []
    return types.ListResourceTemplatesResult(resource_templates=[job, *shown])


def _content(uri: str, found: Content) -> types.TextResourceContents | types.BlobResourceContents:
    meta = {"_meta": dict(found.meta)} if found.meta else {}
    if found.blob is None:
        return types.TextResourceContents(uri=uri, mime_type=found.mime_type, text=found.text or "", **meta)
    blob = base64.b64encode(found.blob).decode("ascii")
    return types.BlobResourceContents(uri=uri, mime_type=found.mime_type, blob=blob, **meta)


def load_icon() -> types.Icon:
    """Our icon as a data URI: over stdio there is no server to fetch it from, and clients' pages may not fetch."""
    drawing = base64.b64encode(data_path("icons/ring-mcp.svg").read_bytes()).decode("ascii")
    return types.Icon(src=f"data:image/svg+xml;base64,{drawing}", mime_type="image/svg+xml", sizes=["any"])


def _describe_prompt(prompt: Prompt) -> types.Prompt:
    fields = prompt.arguments.model_fields
    return types.Prompt(
        name=prompt.name,
        title=prompt.title,
        description=prompt.description,
        arguments=[
            types.PromptArgument(name=field.alias or name, description=field.description, required=field.is_required())
            for name, field in fields.items()
        ],
    )


def describe_tool(tool: Tool[Any]) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema(),
        output_schema=tool.output_schema(),
        annotations=tool.annotations,
    )
