"""Decoders in processes of their own: what breaks one, or is too much for it, is a fact about one file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest

from ring_mcp.media.clip import ClipFacts
from ring_mcp.media.decoding import Decoder
from ring_mcp.media.limits import MAX_CPU_S, MAX_MEMORY_BYTES
from ring_mcp.media.natives import InThisProcess, Natives, NoDecoder, Undecodable
from ring_mcp.media.pictures import TooManyPixels
from ring_mcp.processes import _start_decoder, open_decoders
from tests.cases.given_media import jpeg, make_media
from tests.fake_clock import LIMIT_S
from tests.media.stand_ins import DIES, HANGS, standing_in, start
from tests.one_now import one_now

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there the server decodes itself")


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    fresh = Decoder(_start_decoder)
    yield fresh
    fresh.close()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    return tmp_path / "a.jpg"


def measure(natives: Natives, path: Path, container: str = "JPEG", is_whole: bool = True) -> tuple[int, int] | None:
    return natives.measure_picture(path, container, is_whole=is_whole)


def measure_clip(natives: Natives, path: Path) -> ClipFacts:
    return natives.measure_clip(path)


def bomb(side_px: int, claimed_px: int | None = None) -> bytes:
    """A PNG of a few hundred kilobytes without its end mark, so that it has to be decoded to be believed."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *[claimed_px or side_px] * 2, 8, 6, 0, 0, 0))
    lines = zlib.compress(b"\0" * (side_px * 4 + 1) * side_px, 9)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", lines)


def is_gone(pid: int) -> bool:
    """Whether the process is no more, or nothing but a status that somebody still has to ask for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_decoder_starts_without_what_only_servers_need() -> None:
    heavy = "pydantic", "httpx2", "mcp", "PIL", "av"
    asked = f"import sys, ring_mcp.media.decoder; print(*(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.split() == []


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not is_gone(pid):
            await asyncio.sleep(0.01)


async def test_the_process_stays_for_the_next_file(decoder: Decoder, picture: Path) -> None:
    assert decoder.pid is None
    assert await decoder.run(measure, picture) == (64, 48)
    first = decoder.pid
    assert await decoder.run(measure, picture) == (64, 48)
    assert first is not None
    assert decoder.pid == first != os.getpid()


async def test_a_warm_decoder_is_there_before_it_is_asked(decoder: Decoder, picture: Path) -> None:
    decoder.warm()
    await decoder.run(lambda natives: None)
    warm = decoder.pid
    assert warm is not None
    await decoder.run(measure, picture)
    assert decoder.pid == warm


async def test_the_process_says_what_this_one_would(tmp_path: Path) -> None:
    make_media(tmp_path)
    decoder, here = open_decoders().given, InThisProcess()
    for path in sorted(tmp_path.iterdir()):
        for container in ("JPEG", "PNG", "WebP", "GIF"):
            expected = here.measure_picture(path, container, is_whole=False)
            assert await decoder.run(measure, path, container, False) == expected
        assert await decoder.run(measure_clip, path) == here.measure_clip(path)


async def test_a_file_that_is_not_there_is_an_os_error(decoder: Decoder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await decoder.run(measure, tmp_path / "gone")
    assert caught.value.strerror == "No such file or directory"


async def test_too_many_pixels_are_told_as_such(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bomb(100, 9000))
    with pytest.raises(TooManyPixels):
        await decoder.run(measure, tmp_path / "large", "PNG")


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps this limit")
async def test_a_memory_bomb_is_a_fact_about_its_file(decoder: Decoder, tmp_path: Path, picture: Path) -> None:
    (tmp_path / "bomb").write_bytes(bomb(8900))
    assert (tmp_path / "bomb").stat().st_size < 1_000_000
    with pytest.raises(Undecodable, match=rf"more than {MAX_MEMORY_BYTES // 1024**2} MB of memory"):
        await decoder.run(measure, tmp_path / "bomb", "PNG", False)
    assert await decoder.run(measure, picture) == (64, 48)


async def test_one_that_hangs_is_ended_at_its_limit(picture: Path) -> None:
    with standing_in(HANGS, max_wall_s=0.5) as decoder:
        with pytest.raises(Undecodable, match=r"decoding it takes longer than 0\.5 s"):
            await decoder.run(measure, picture)
        assert decoder.pid is None


async def test_one_that_uses_up_its_processor_time_is_told_so(picture: Path) -> None:
    spin = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 9)); wire.recv(999)\nwhile True: pass"
    with standing_in(spin) as decoder, pytest.raises(Undecodable, match=f"more than {MAX_CPU_S} s of processor time"):
        await decoder.run(measure, picture)


@pytest.mark.parametrize(
    "death",
    [
        DIES, "wire.recv(999); os.kill(os.getpid(), signal.SIGSEGV)", "wire.recv(999); os._exit(3)",
        "wire.recv(999); os._exit(0)", "wire.recv(999); wire.sendall(b'half'); os._exit(3)",
        r"wire.recv(999); wire.sendall(b'no json\n'); time.sleep(600)",
        r"""wire.recv(999); wire.sendall(b'{"answer": [0, 9000000000]}\n'); time.sleep(600)""",
        r"""wire.recv(999); wire.sendall(b'{"answer": "NaN"}\n'); time.sleep(600)""",
        r"""wire.recv(999); wire.sendall(b'{}\n'); time.sleep(600)""",
        r"wire.recv(999); wire.sendall(b'[1]\n'); time.sleep(600)",
        "wire.recv(999); wire.sendall(b'x' * 10_000_000); time.sleep(600)",
    ],
)  # fmt: skip
async def test_whatever_a_decoder_dies_of_is_its_files_fault(picture: Path, death: str) -> None:
    with standing_in(death) as decoder:
        with pytest.raises(Undecodable, match="decoder"):
            await decoder.run(measure, picture)
        assert decoder.pid is None


async def test_one_that_left_for_want_of_work_is_replaced_unnoticed(tmp_path: Path, picture: Path) -> None:
    starts: list[int] = []

    def start_once_badly(theirs: socket.socket) -> subprocess.Popen[bytes]:
        starts.append(1)
        return start("wire.recv(999); os._exit(0)")(theirs) if len(starts) == 1 else _start_decoder(theirs)

    decoder = Decoder(start_once_badly)
    assert await decoder.run(measure, picture) == (64, 48)
    assert len(starts) == 2
    decoder.close()


async def test_a_machine_that_can_start_none_says_so(picture: Path) -> None:
    def refuse(theirs: socket.socket) -> subprocess.Popen[bytes]:
        raise OSError(12, "Cannot allocate memory")

    with pytest.raises(NoDecoder, match=r"no decoder can be started on this machine \(Cannot allocate memory\)"):
        await Decoder(refuse).run(measure, picture)


async def test_a_caller_that_leaves_ends_the_process_under_it(picture: Path) -> None:
    with standing_in(HANGS) as decoder:
        call = asyncio.create_task(decoder.run(measure, picture))
        async with asyncio.timeout(LIMIT_S):
            while decoder.pid is None:
                await asyncio.sleep(0.01)
        pid = decoder.pid
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until_gone(pid)
        assert decoder.pid is None


async def test_a_caller_that_leaves_the_queue_disturbs_nobody(picture: Path) -> None:
    with standing_in(
        r"wire.recv(999); time.sleep(0.3); wire.sendall(b'{\"answer\": [1, 2]}\n'); wire.recv(9)"
    ) as decoder:
        working = asyncio.create_task(decoder.run(measure, picture))
        waiting = asyncio.create_task(decoder.run(measure, picture))
        await asyncio.sleep(0)
        waiting.cancel()
        assert await working == (1, 2)
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_strangers_files_keep_no_result_waiting(picture: Path) -> None:
    with standing_in(HANGS) as given:
        stuck = asyncio.create_task(given.run(measure, picture))
        async with asyncio.timeout(LIMIT_S):
            assert await open_decoders().results.run(measure, picture) == (64, 48)
        stuck.cancel()


BUSY = "d._thread.submit(d._worker.measure_picture, Path('bomb'), 'PNG', is_whole=False)"


@contextlib.asynccontextmanager
async def server_with_decoder(folder: Path, work: str, **variables: str) -> AsyncIterator[tuple[int, int]]:
    """Another process with a decoder that is doing this; the ids of both. It is killed at the end."""
    code = (
        "import sys, threading\nfrom pathlib import Path\nfrom ring_mcp.processes import open_decoders\n"
        f"d = open_decoders().results; d._thread.submit(d._worker.ensure).result(); print(d.pid, flush=True)\n{work}\n"
        "sys.stdin.read()\n"
    )
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-P", "-c", code],
        cwd=folder,
        env={**os.environ, **variables},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield process.pid, int(await asyncio.wait_for(process.stdout.readline(), LIMIT_S))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "work", one_now(["", "d._thread.submit(d._worker.measure_picture, Path('bomb'), 'PNG', is_whole=False)"])
)
async def test_a_decoder_dies_with_its_server(tmp_path: Path, work: str) -> None:
    (tmp_path / "bomb").write_bytes(bomb(6000))
    async with server_with_decoder(tmp_path, work) as (server, pid):
        assert not is_gone(pid)
        os.kill(server, signal.SIGKILL)
        await until_gone(pid)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
async def test_a_decoder_knows_no_key_and_no_setting(tmp_path: Path) -> None:
    secrets = {"XAI_API_KEY": "secret-1", "DATABASE_URL": "postgres://secret-2", "RINGBASE_API_TOKEN": "secret-3"}
    async with server_with_decoder(tmp_path, "", **secrets) as (_, pid):
        async with asyncio.timeout(LIMIT_S):
            while b"PATH=" not in Path(f"/proc/{pid}/environ").read_bytes():  # it is only just being started
                await asyncio.sleep(0.01)
        seen = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        assert b"ring_mcp.media.decoder" in seen
        assert b"secret-" not in seen


@pytest.mark.skipif(sys.platform != "linux", reason="reads the limits as Linux shows them")
async def test_a_decoder_has_its_limits_before_its_first_file(decoder: Decoder, picture: Path) -> None:
    await decoder.run(measure, picture)
    shown = Path(f"/proc/{decoder.pid}/limits").read_text()
    told = {line[:26].strip(): line[26:].split()[:2] for line in shown.splitlines()}
    assert told["Max address space"] == [str(MAX_MEMORY_BYTES)] * 2
    assert told["Max core file size"] == ["0", "0"]
    assert 0 < int(told["Max cpu time"][0]) <= MAX_CPU_S + 5
    assert Path(f"/proc/{decoder.pid}/oom_score_adj").read_text().strip() == "1000"


async def test_a_module_in_the_working_folder_is_not_run(tmp_path: Path) -> None:
    for name in ("PIL", "ring_mcp", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("open('ran', 'w').close(); raise SystemExit(3)")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    work = "print(d._worker.measure_picture(Path('a.jpg'), 'JPEG', is_whole=True), flush=True)"
    async with server_with_decoder(tmp_path, work) as (_, pid):
        assert not is_gone(pid)
    assert not (tmp_path / "ran").exists()


async def test_mutated_files_are_told_alike_by_both(tmp_path: Path) -> None:
    """A fixed hundred of damages to each kind: the process says what this one would, and lives."""
    make_media(tmp_path)
    decoder, here, chance = open_decoders().given, InThisProcess(), Random(20261128)
    for name, container in (("plain.jpg", "JPEG"), ("plain.png", "PNG"), ("plain.webp", "WebP"), ("anim.gif", "GIF")):
        whole = (tmp_path / name).read_bytes()
        for _ in range(100):
            content = bytearray(whole)
            for _ in range(chance.randint(1, 8)):
                content[chance.randrange(min(len(content), 400))] = chance.randrange(256)
            (tmp_path / "changed").write_bytes(content)
            is_whole = chance.random() < 0.5
            try:
                expected: object = here.measure_picture(tmp_path / "changed", container, is_whole=is_whole)
            except TooManyPixels as exc:
                expected = type(exc)
            try:
                told: object = await decoder.run(measure, tmp_path / "changed", container, is_whole)
            except (TooManyPixels, Undecodable) as exc:
                told = type(exc)
            assert told in (expected, Undecodable)


def test_decoding_stops_within_the_time_of_a_test(picture: Path) -> None:
    """Whoever waits in a thread for a process that is ended from another is let go at once."""
    decoder = Decoder(start(HANGS))
    turn = decoder._thread.submit(measure, decoder._natives, picture)
    deadline_s = time.monotonic() + LIMIT_S
    while decoder.pid is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    decoder.close()
    with pytest.raises(Undecodable):
        turn.result(LIMIT_S)
