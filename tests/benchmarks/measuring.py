"""Figures and how they are printed; the sandbox and the servers that are measured, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.server.wire import environment

RING = [sys.executable, "-m", "ring_mcp"]
BARE = [sys.executable, str(Path(__file__).with_name("bare_stdio.py"))]

LIMIT_S = 600.0

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "benchmark", "version": "1"},
}


class Series:
    """Measurements of one thing, in milliseconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values_ms: list[float] = []

    def measure(self, work: Callable[[], Any]) -> None:
        started = time.perf_counter()
        work()
        self.values_ms.append((time.perf_counter() - started) * 1000)

    @property
    def median_ms(self) -> float:
        return statistics.median(self.values_ms)

    def line(self) -> str:
        low, *_, high = statistics.quantiles(self.values_ms, n=10) if len(self.values_ms) > 1 else self.values_ms * 2
        return f"  {self.name:<46}{self.median_ms:9.1f} ms   (10 % below {low:.1f}, 10 % above {high:.1f})"


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def show(series: Sequence[Series]) -> None:
    for each in series:
        print(each.line(), flush=True)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ring-benchmark-") as path:
        yield Path(path)


@contextlib.contextmanager
def sandbox() -> Iterator[str]:
    """The address of a sandbox in a process of its own that paints each size once and waits for nothing."""
    with folder() as home:
        process = subprocess.Popen(
            [*RING, "sandbox", "--port", "0"], env=environment(home), cwd=home, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            said = iter(process.stdout.readline, "")
            url = next(found[1] for line in said if (found := re.search(r"RING_SANDBOX=(\S+)", line)))
            httpx2.post(f"{url}/control/settings", json={"show_prompt": False}, trust_env=False).raise_for_status()
            yield url
        finally:
            process.terminate()
            process.communicate(timeout=10)


class Pipe:
    """A server on stdio, asked one thing at a time by the thread that measures: nothing else is in the figures."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self._last_id = 0
        self.process = subprocess.Popen(
            command, env=dict(env), cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._limit = threading.Timer(LIMIT_S, self.process.kill)  # a server that hangs must not hang its benchmark
        self._limit.start()

    def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return self.request_all([(method, params)])[0]

    def request_all(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
        """The results of requests that are sent one after another before any answer is read."""
        numbers = range(self._last_id + 1, self._last_id + 1 + len(requests))
        self._last_id = numbers[-1]
        for number, (method, params) in zip(numbers, requests, strict=True):
            self._send({"id": number, "method": method, "params": dict(params)})
        found: dict[int, dict[str, Any]] = {}
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") in numbers:
                found[message["id"]] = dict(message["result"])
            if len(found) == len(numbers):
                return [found[number] for number in numbers]
        raise RuntimeError("the server has left")

    def notify(self, method: str) -> None:
        self._send({"method": method})

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def initialize(self) -> None:
        self.request("initialize", INITIALIZE)
        self.notify("notifications/initialized")

    def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        result = self.request("tools/call", {"name": tool, "arguments": dict(arguments)})
        if result.get("isError"):
            raise RuntimeError(result["content"][0]["text"])
        return result

    def cpu_ms(self) -> float:
        """Processor time of all its threads so far; 0 where the system does not say."""
        files = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in files) / 1e6

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._limit.cancel()
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process.stdout.close()


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    output = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return int(output) / 1024
