"""A stand-in for the model behind Claude Code: it calls one tool when it reads a word, and remembers what it was told.

It speaks as much of the Messages API as an interactive session needs, so that the real client runs without an account.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

WORD = "GO"
_CALL = "toolu_ring"


class StandInModel:
    """Calls ``tool`` with ``arguments``, once, when the person says WORD and the tool is there; else it says "done"."""

    def __init__(self, tool: str, arguments: Mapping[str, Any]) -> None:
        self._tool = tool
        self._arguments = dict(arguments)
        self._lock = threading.Lock()
        self._heard: list[list[Any]] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self._send({})

            def do_GET(self) -> None:
                self._send({"data": []})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if "count_tokens" in self.path:
                    self._send({"input_tokens": 10})
                elif body.get("stream"):
                    self._stream(model.answer(body))
                else:
                    self._send(model.answer(body))

            def _send(self, told: Mapping[str, Any]) -> None:
                content = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _stream(self, message: Mapping[str, Any]) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                for name, data in events_of(message):
                    self.wfile.write(f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode())
                self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        messages, tools = body.get("messages", []), [tool.get("name", "") for tool in body.get("tools", [])]
        with self._lock:
            self._heard.append(messages)
        told, name = json.dumps(messages), next((each for each in tools if each.endswith(self._tool)), None)
        if name is not None and WORD in told and _CALL not in told:
            block = {"type": "tool_use", "id": _CALL, "name": name, "input": self._arguments}
            return message_of(block, "tool_use")
        return message_of({"type": "text", "text": "done"}, "end_turn")

    @property
    def tool_result(self) -> str | None:
        """What came back of the call, as JSON; None: nothing yet."""
        with self._lock:
            heard = list(self._heard)
        for messages in heard:
            for message in messages:
                blocks = message["content"] if isinstance(message["content"], list) else []
                for block in blocks:
                    if block.get("type") == "tool_result" and block.get("tool_use_id") == _CALL:
                        return json.dumps(block["content"])
        return None

    def find_told(self, *words: str) -> str | None:
        """The last message of a request that has all of these words, as JSON."""
        with self._lock:
            last = [json.dumps(messages[-1]) for messages in self._heard if messages]
        return next((each for each in last if all(word in each for word in words)), None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def message_of(block: Mapping[str, Any], stop: str) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5}
    facts = {"id": "msg_1", "type": "message", "role": "assistant", "model": "stand-in", "stop_sequence": None}
    return {**facts, "content": [dict(block)], "stop_reason": stop, "usage": usage}


def events_of(message: Mapping[str, Any]) -> Sequence[tuple[str, dict[str, Any]]]:
    """A message as it is streamed."""
    [block] = message["content"]
    if block["type"] == "text":
        empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    return [
        ("message_start", {"message": {**message, "content": [], "stop_reason": None}}),
        ("content_block_start", {"index": 0, "content_block": empty}),
        ("content_block_delta", {"index": 0, "delta": delta}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": ending, "usage": message["usage"]}),
        ("message_stop", {}),
    ]
