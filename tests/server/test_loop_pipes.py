"""stdin and stdout on the event loop."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ring_mcp.server.bounded_lines import BoundedLines
from ring_mcp.server.loop_pipes import LoopLines, LoopWriter, can_wait_for

LIMIT_S = 60.0

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:  # the test has closed it
            continue


def feed(writing: int, content: bytes, piece_bytes: int) -> threading.Thread:
    """Write from a thread, as another process would, and close."""

    def write() -> None:
        left = memoryview(content)
        while left:
            left = left[os.write(writing, left[:piece_bytes]) :]
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


async def lines_of(reading: int, **bounds: int) -> list[str]:
    async with asyncio.timeout(LIMIT_S):
        return [line async for line in LoopLines(reading, **bounds)]


@pytest.mark.parametrize("piece_bytes", [1, 7, 100_000])
@pytest.mark.parametrize(
    "content",
    [b"", b"one", b"one\n", b"one\ntwo\r\n\nthree", "zw\u00f6lf\n\U0001f600".encode(), b"\xff\n" + b"x" * 5000],
)
async def test_lines_are_those_that_a_thread_would_read(pipe: Pipe, content: bytes, piece_bytes: int) -> None:
    thread = feed(pipe[1], content, piece_bytes)
    expected = [line async for line in BoundedLines(io.BytesIO(content))]
    assert await lines_of(pipe[0]) == expected
    thread.join(LIMIT_S)


@pytest.mark.parametrize("piece_bytes", [1000, 60_000, 1_000_000])
@pytest.mark.parametrize(("unit", "bounds"), [(b"x", {"max_bytes": 90_000}), (b"1,", {"max_values": 1000})])
async def test_a_line_out_of_bounds_is_cut_as_a_thread_cuts_it(
    pipe: Pipe, unit: bytes, bounds: dict[str, int], piece_bytes: int
) -> None:
    content = b'{"id": 1, "list": [' + unit * 100_000 + b"]}\n" + b"next\n"
    thread = feed(pipe[1], content, piece_bytes)
    told = await lines_of(pipe[0], **bounds)
    assert told == [line async for line in BoundedLines(io.BytesIO(content), **bounds)]
    assert (told[1], len(told[0]) < 40_000) == ("next\n", True)
    thread.join(LIMIT_S)


@pytest.mark.parametrize("is_a_socket", [False, True])
async def test_what_nobody_reads_yet_keeps_nothing_else_waiting(pipe: Pipe, is_a_socket: bool) -> None:
    one, other = socket.socketpair()
    reading, writing = (one.fileno(), other.fileno()) if is_a_socket else pipe
    text = "\u00e9" * 1_000_000
    sending = asyncio.create_task(LoopWriter(writing).write(text))
    for _ in range(100):  # the loop goes on
        await asyncio.sleep(0)
    assert not sending.done()
    got = b""
    while len(got) < 2_000_000:
        got += await asyncio.wait_for(asyncio.to_thread(os.read, reading, 65_536), LIMIT_S)
    await asyncio.wait_for(sending, LIMIT_S)
    assert got.decode() == text
    one.close()
    other.close()


async def test_whoever_writes_hears_that_nobody_reads_any_more(pipe: Pipe) -> None:
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        await asyncio.wait_for(LoopWriter(pipe[1]).write("x"), LIMIT_S)


async def test_one_that_waits_can_be_cancelled(pipe: Pipe) -> None:
    reading = asyncio.create_task(lines_of(pipe[0]))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    os.write(pipe[1], b"later\n")
    os.close(pipe[1])
    assert await lines_of(pipe[0]) == ["later\n"]


async def test_a_pipe_can_be_waited_for_and_a_file_cannot(pipe: Pipe, tmp_path: Path) -> None:
    assert can_wait_for(pipe[0])
    with (tmp_path / "file").open("wb") as file:
        assert not can_wait_for(file.fileno())
    assert not can_wait_for(10_000)


async def test_neither_end_is_made_non_blocking(pipe: Pipe) -> None:
    feed(pipe[1], b"", 1).join(LIMIT_S)
    await lines_of(pipe[0])
    assert os.get_blocking(pipe[0])
