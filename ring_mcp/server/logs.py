"""The server's log on stderr: one line for each record, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from ring_mcp.clock import to_iso

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_OURS = logging.getLogger("ring_mcp")
# These log whole URLs (signed ones are secret) and, if a message cannot be read, prompts.
_QUIET = ("httpx2", "httpcore2", "mcp", "sse_starlette", "uvicorn.error")
# Logs the whole address of a database that it cannot parse, password included; the ledger reports the error anyway.
_SILENT = ("psycopg.pool", "mcp.server.sse")


class JsonLines(logging.Formatter):
    """``time``, ``level``, ``logger``, ``message``; beside them an event's facts, or a traceback (``exception``)."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": to_iso(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr(level: str, style: str) -> None:
    """Log to stderr. ``level``: of our own lines, access lines included; other packages log from WARNING on.
    ``style``: "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else logging.Formatter(TEXT))
    least = logging.getLevelNamesMapping()[level.upper()]
    # Details of other packages only at DEBUG: at INFO they would drown our own lines.
    logging.basicConfig(level=least if least < logging.INFO else max(least, logging.WARNING), handlers=[handler])
    _OURS.setLevel(least)
    for noisy in _QUIET:
        logging.getLogger(noisy).setLevel(max(least, logging.WARNING))
    for silent in _SILENT:
        logging.getLogger(silent).setLevel(logging.CRITICAL)
