"""What the official conformance suite asks a server for, on top of ring-mcp's own tools and resources.

Names, texts and flows are those that the suite's scenarios describe. What is not a fixture is ring-mcp's own answer.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server import Server, ServerRequestContext

from ring_mcp.sandbox.server import SandboxServer
from tests.conformance.task_fixtures import NAMES as TASK_TOOLS
from tests.conformance.task_fixtures import TaskFixtures

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000000301010"
        "0c9fe92ef0000000049454e44ae426082"
    )
).decode()
WAV = base64.b64encode(
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0"
).decode()
TEMPLATE_START, TEMPLATE_END = "test://template/", "/data"
STATIC_TEXT = "This is the content of the static text resource."

Context = ServerRequestContext[Any]
Result = types.CallToolResult | types.InputRequiredResult
Fixture = Callable[[Context, types.CallToolRequestParams], Awaitable[Result]]

_STATE_KEY = secrets.token_bytes(32)

JSON_SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def text(value: str) -> types.TextContent:
    return types.TextContent(type="text", text=value)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str, content: str, mime_type: str = "text/plain") -> types.EmbeddedResource:
    resource = types.TextResourceContents(uri=uri, mime_type=mime_type, text=content)
    return types.EmbeddedResource(type="resource", resource=resource)


def done(*content: Any, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=list(content), is_error=is_error)


def ask_form(message: str, **properties: Any) -> types.ElicitRequest:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def ask_model(question: str) -> types.CreateMessageRequest:
    messages = [types.SamplingMessage(role="user", content=text(question))]
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=messages, max_tokens=100))


def ask_roots() -> types.ListRootsRequest:
    return types.ListRootsRequest()


def sealed(state: str) -> str:
    return f"{state}.{hmac.new(_STATE_KEY, state.encode(), hashlib.sha256).hexdigest()}"


def opened(seal: str | None) -> str | None:
    """The state behind a seal. Raises MCPError if somebody else made it."""
    if seal is None:
        return None
    state = seal.partition(".")[0]
    if not hmac.compare_digest(seal.encode(), sealed(state).encode()):
        raise MCPError(code=types.INVALID_PARAMS, message="requestState is not one that this server gave")
    return state


def accepted(params: Any, key: str, field: str) -> Any:
    """What the person filled in; None if the form is missing, declined, or has another shape."""
    response = (params.input_responses or {}).get(key)
    content = getattr(response, "content", None)
    return content.get(field) if isinstance(content, Mapping) else None


def ask(state: str | None = None, **requests: Any) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=requests, request_state=None if state is None else sealed(state))


async def with_logging(ctx: Context, params: types.CallToolRequestParams) -> Result:
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.session.send_log_message("info", line, related_request_id=ctx.request_id)
        await asyncio.sleep(0.05)
    return done(text("logged"))


async def with_progress(ctx: Context, params: types.CallToolRequestParams) -> Result:
    for percent in (0, 50, 100):
        await ctx.session.report_progress(percent, 100)
        await asyncio.sleep(0.05)
    return done(text("progressed"))


async def missing_capability(ctx: Context, params: types.CallToolRequestParams) -> Result:
    declared = ctx.session.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="this tool needs sampling",
            data={"requiredCapabilities": {"sampling": {}}},
        )
    return done(text("sampling is declared"))


async def asks_name(ctx: Context, params: types.CallToolRequestParams) -> Result:
    name = accepted(params, "user_name", "name")
    if isinstance(name, str):
        return done(text(f"Hello, {name}!"))
    return ask(user_name=ask_form("What is your name?", name={"type": "string"}))


async def asks_model(ctx: Context, params: types.CallToolRequestParams) -> Result:
    answer = (params.input_responses or {}).get("capital_question")
    if answer is None:
        return ask(capital_question=ask_model("What is the capital of France?"))
    return done(text(str(getattr(getattr(answer, "content", None), "text", answer))))


async def asks_roots(ctx: Context, params: types.CallToolRequestParams) -> Result:
    answer = (params.input_responses or {}).get("client_roots")
    if answer is None:
        return ask(client_roots=ask_roots())
    return done(text(", ".join(str(root.uri) for root in getattr(answer, "roots", []))))


async def keeps_state(ctx: Context, params: types.CallToolRequestParams) -> Result:
    if opened(params.request_state) == "confirming" and accepted(params, "confirm", "ok") is not None:
        return done(text("state-ok"))
    return ask("confirming", confirm=ask_form("Please confirm", ok={"type": "boolean"}))


async def asks_three_things(ctx: Context, params: types.CallToolRequestParams) -> Result:
    wanted = {
        "user_name": ask_form("What is your name?", name={"type": "string"}),
        "greeting": ask_model("Generate a greeting"),
        "client_roots": ask_roots(),
    }
    if opened(params.request_state) == "three" and set(wanted) <= set(params.input_responses or {}):
        return done(text("all three are here"))
    return ask("three", **wanted)


async def asks_twice(ctx: Context, params: types.CallToolRequestParams) -> Result:
    state = opened(params.request_state)
    if state == "step2" and (color := accepted(params, "step2", "color")):
        return done(text(f"the color is {color}"))
    if state == "step1" and accepted(params, "step1", "name"):
        return ask("step2", step2=ask_form("Step 2: What is your favorite color?", color={"type": "string"}))
    return ask("step1", step1=ask_form("Step 1: What is your name?", name={"type": "string"}))


async def asks_what_the_client_can(ctx: Context, params: types.CallToolRequestParams) -> Result:
    declared = ctx.session.client_capabilities
    wanted: dict[str, Any] = {}
    if declared is not None and declared.sampling is not None:
        wanted["question"] = ask_model("Generate a greeting")
    if declared is not None and declared.elicitation is not None:
        wanted["form"] = ask_form("What is your name?", name={"type": "string"})
    return done(text("answered")) if params.input_responses or not wanted else ask(**wanted)


def always(
    *content: Any, is_error: bool = False
) -> Callable[[Context, types.CallToolRequestParams], Awaitable[Result]]:
    async def answer(ctx: Context, params: types.CallToolRequestParams) -> Result:
        return done(*content, is_error=is_error)

    return answer


TOOLS: dict[str, Fixture] = {
    "test_simple_text": always(text("This is a simple text response for testing.")),
    "test_image_content": always(image()),
    "test_audio_content": always(types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")),
    "test_embedded_resource": always(embedded("test://embedded-resource", "This is an embedded resource content.")),
    "test_multiple_content_types": always(
        text("Multiple content types test:"),
        image(),
        embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ),
    "test_error_handling": always(text("This tool intentionally returns an error for testing"), is_error=True),
    "test_tool_with_logging": with_logging,
    "test_logging_tool": with_logging,
    "test_tool_with_progress": with_progress,
    "test_custom_headers": always(text("the headers match")),
    "json_schema_2020_12_tool": always(text("valid")),
    "test_missing_capability": missing_capability,
    "test_input_required_result_elicitation": asks_name,
    "test_streaming_elicitation": asks_name,
    "test_input_required_result_sampling": asks_model,
    "test_input_required_result_list_roots": asks_roots,
    "test_input_required_result_request_state": keeps_state,
    "test_input_required_result_tampered_state": keeps_state,
    "test_input_required_result_multiple_inputs": asks_three_things,
    "test_input_required_result_multi_round": asks_twice,
    "test_input_required_result_capabilities": asks_what_the_client_can,
}

SCHEMAS: dict[str, dict[str, Any]] = {
    "json_schema_2020_12_tool": JSON_SCHEMA_2020_12,
    "test_custom_headers": {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        "required": ["region"],
    },
}

RESOURCES = {
    "test://static-text": types.TextResourceContents(
        uri="test://static-text", mime_type="text/plain", text=STATIC_TEXT
    ),
    "test://static-binary": types.BlobResourceContents(uri="test://static-binary", mime_type="image/png", blob=PNG),
}


def _prompt(*content: Any) -> types.GetPromptResult:
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=each) for each in content])


def _argument(name: str) -> types.PromptArgument:
    return types.PromptArgument(name=name, description=f"the argument {name}", required=True)


PROMPTS = [
    types.Prompt(name="test_simple_prompt", description="A prompt without arguments"),
    types.Prompt(
        name="test_prompt_with_arguments",
        description="A prompt with two arguments",
        arguments=[_argument("arg1"), _argument("arg2")],
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource",
        description="A prompt with a resource",
        arguments=[_argument("resourceUri")],
    ),
    types.Prompt(name="test_prompt_with_image", description="A prompt with a picture"),
    types.Prompt(name="test_input_required_result_prompt", description="A prompt that asks back"),
]


async def list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=PROMPTS)


async def get_prompt(
    ctx: Context, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            return _prompt(text("This is a simple prompt for testing."))
        case "test_prompt_with_arguments":
            words = f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'"
            return _prompt(text(words))
        case "test_prompt_with_embedded_resource":
            resource = embedded(given.get("resourceUri", ""), "Embedded resource content for testing.")
            return _prompt(resource, text("Please process the embedded resource above."))
        case "test_prompt_with_image":
            return _prompt(image(), text("Please analyze the image above."))
        case "test_input_required_result_prompt":
            context = accepted(params, "user_context", "context")
            if isinstance(context, str):
                return _prompt(text(f"With the context {context}"))
            return ask(user_context=ask_form("What context should the prompt use?", context={"type": "string"}))
    raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown prompt: {params.name[:100]}")


async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    words = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=words, total=len(words), has_more=False))


async def set_level(ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


def add_fixtures(server: Server[dict[str, Any]], sandbox: SandboxServer) -> None:
    """Put the fixtures before the server's own answers."""
    own = {
        method: entry.handler
        for method in ("tools/list", "tools/call", "resources/list", "resources/templates/list", "resources/read")
        if (entry := server.get_request_handler(method)) is not None
    }
    task_tools = TaskFixtures(own["tools/call"], sandbox)
    task_tools.add_to(server)

    async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        listed = await own["tools/list"](ctx, params)
        assert isinstance(listed, types.ListToolsResult)
        more = [
            types.Tool(name=name, description=f"fixture {name}", input_schema=SCHEMAS.get(name, {"type": "object"}))
            for name in (*TOOLS, *TASK_TOOLS)
        ]
        return listed.model_copy(update={"tools": [*listed.tools, *more]})

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> Any:
        if params.name in TASK_TOOLS:
            return await task_tools.call(ctx, params)
        fixture = TOOLS.get(params.name)
        return await (own["tools/call"] if fixture is None else fixture)(ctx, params)

    async def list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        listed = await own["resources/list"](ctx, params)
        assert isinstance(listed, types.ListResourcesResult)
        more = [
            types.Resource(uri=uri, name=uri, description="a fixture", mime_type=content.mime_type)
            for uri, content in RESOURCES.items()
        ]
        return listed.model_copy(update={"resources": [*listed.resources, *more]})

    async def list_templates(
        ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        listed = await own["resources/templates/list"](ctx, params)
        assert isinstance(listed, types.ListResourceTemplatesResult)
        template = types.ResourceTemplate(
            uri_template=f"{TEMPLATE_START}{{id}}{TEMPLATE_END}", name="template", mime_type="application/json"
        )
        return listed.model_copy(update={"resource_templates": [*listed.resource_templates, template]})

    async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> Any:
        uri = str(params.uri)
        if uri in RESOURCES:
            return types.ReadResourceResult(contents=[RESOURCES[uri]])
        if uri.startswith(TEMPLATE_START) and uri.endswith(TEMPLATE_END):
            number = uri.removeprefix(TEMPLATE_START).removesuffix(TEMPLATE_END)
            words = f'{{"id":"{number}","templateTest":true,"data":"Data for ID: {number}"}}'
            content = types.TextResourceContents(uri=uri, mime_type="application/json", text=words)
            return types.ReadResourceResult(contents=[content])
        return await own["resources/read"](ctx, params)

    server.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    server.add_request_handler("resources/list", types.PaginatedRequestParams, list_resources)
    server.add_request_handler("resources/templates/list", types.PaginatedRequestParams, list_templates)
    server.add_request_handler("resources/read", types.ReadResourceRequestParams, read_resource)
    server.add_request_handler("prompts/list", types.PaginatedRequestParams, list_prompts)
    server.add_request_handler("prompts/get", types.GetPromptRequestParams, get_prompt)
    server.add_request_handler("completion/complete", types.CompleteRequestParams, complete)
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)
