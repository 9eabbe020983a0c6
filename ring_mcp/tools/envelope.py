"""Turns an Answer or an error into what an MCP client receives. Only here is decided what a failure may say."""

from __future__ import annotations

import base64
import json
import logging
import re
import uuid
from collections.abc import Mapping
from typing import Any

from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent

from ring_mcp.domain.fields import printable
from ring_mcp.errors import RingError
from ring_mcp.tools.tool import Answer

logger = logging.getLogger(__name__)

_MAX_TEXT_CHARS = 20_000
_MAX_ERROR_CHARS = 4_000
"""An error may repeat what was asked, and that may be a megabyte."""

_BILLED = {"no": "Nothing was billed.", "yes": "It was billed.", "unknown": "Whether it was billed is not known."}
_SAYS_NOTHING = re.compile(r"\bnothing was (?:billed|spent)\b", re.IGNORECASE)


def success(answer: Answer, *, links: bool) -> CallToolResult:
    """Text first (the only block that every client passes on), then previews, then links if those are switched on."""
    content: list[ContentBlock] = [TextContent(type="text", text=_show(answer.text))]
    for preview in answer.previews:
        content.append(ImageContent(type="image", data=base64.b64encode(preview).decode(), mime_type="image/jpeg"))
    # Off unless the operator wants them: some clients refuse an answer that has a block of this kind.
    if links:
        content += [ResourceLink(type="resource_link", uri=u, name=n, mime_type=t) for u, n, t in answer.links]
    return CallToolResult(content=content, structured_content={"success": True, "data": answer.data})


def failure_facts(exc: RingError, extra: Mapping[str, Any]) -> dict[str, Any]:
    """A RingError for programs, the same over MCP and REST."""
    error = exc.message if len(exc.message) <= _MAX_ERROR_CHARS else exc.message[:_MAX_ERROR_CHARS] + " …"
    facts: dict[str, Any] = {
        "success": False,
        "error": error,
        "code": exc.code,
        "billed": exc.billed,
        "retryable": exc.retryable,
        "nextAction": exc.next_action,
    }
    if exc.job_id is not None:
        facts["jobId"] = exc.job_id
    return facts | {key: value for key, value in extra.items() if value}


def failure_text(exc: RingError, extra: Mapping[str, Any]) -> str:
    """A RingError for models: what happened, whether it was billed, what to do next."""
    facts = failure_facts(exc, extra)
    # Once: many refusals say of themselves that nothing was spent.
    is_said = exc.billed == "no" and any(map(_SAYS_NOTHING.search, (facts["error"], exc.next_action)))
    billed = "" if is_said else _BILLED[exc.billed]
    lines = [facts["error"], f"[{exc.code}] {billed}".strip(), exc.next_action]
    if exc.job_id is not None:
        lines.append(f"jobId: {exc.job_id}")
    lines += [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in extra.items() if value]
    return "\n".join(line for line in lines if line)


def failure(exc: RingError, **extra: Any) -> CallToolResult:
    """A RingError as the result of a call."""
    text = TextContent(type="text", text=_show(failure_text(exc, extra)))
    return CallToolResult(content=[text], structured_content=failure_facts(exc, extra), is_error=True)


def _show(text: str) -> str:
    """Text that a client can print: of bounded length, without control characters for its terminal."""
    # Cut first: what looks for control characters should not have to read a megabyte.
    return printable(text[:_MAX_TEXT_CHARS])


def internal_error(exc: BaseException, tool: str) -> CallToolResult:
    """Any other exception: its text stays in the log, under an id that the caller is given."""
    incident = log_internal(exc, tool)
    # "unknown", for it may have come up after the paid request had left.
    hidden = RingError(f"internal error, request {incident}", billed="unknown")
    # No class of its own in the tree: nobody should raise this, or catch it by name.
    hidden.code = "internal"
    hidden.next_action = "Look for this id in the server's log (stderr); `ring-mcp jobs list` shows what was started."
    return failure(hidden)


def log_internal(exc: BaseException, where: str) -> str:
    """Write the traceback to the log. Returns the id to find it by, which is all that a client gets."""
    incident = uuid.uuid4().hex[:12]
    logger.error("internal error %s in %s", incident, where, exc_info=exc)
    return incident
