"""The first answers of a session, from a recording of an earlier one, while the server is still being loaded.

Loading the SDK takes forty times as long as starting Python, and a client waits for it. What it asks first is the same
every time, and so is the answer. A recording has such beginnings line by line, as they once went over the wire. The
front answers a line if it and all lines before it are those of a recording, byte for byte except for the id; from the
first other line on, the server answers. The server reads every line from the first one on, and its answers to lines
that are answered already are left out and compared (``takeover``). So the front never needs to understand a message,
and never sees a call of a tool: those are not recorded.

A recording is found by a digest of everything that the answers depend on: see ``_digest``. In any doubt there is no
front. Nothing heavy is imported here, not even ``typing``.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False  # typing's own would load typing
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Exchange = tuple[bytes, bytes, bytes, bytes]
"""A request before and after its id, and its answer likewise; for a notification the line, and three empty texts."""

Conversation = tuple[Exchange, ...]

FORMAT, MAX_RECORDING_BYTES = b"ring-mcp start 1\n", 4 * 1024 * 1024
_MAX_TAKEN_BYTES = 256 * 1024
"""How much is read before the server is there; a client that sends more waits for the server."""

_MAX_FILE_BYTES = 1024 * 1024
_DATA = ("presets.json", "icons/ring-mcp.svg")
_SWITCH_S = 0.0005
"""How long the thread that loads the server keeps the interpreter while this one has something to answer."""

PER_SESSION = tuple(
    "_ PWD OLDPWD SHLVL TERM COLUMNS LINES WINDOWID DISPLAY WAYLAND_ WT_ TMUX STY SSH_ DBUS_ XDG_SESSION XDG_RUNTIME "
    "INVOCATION_ID JOURNAL_STREAM SECURITYSESSIONID CLAUDE CURSOR_ VSCODE_ CODEX_ GEMINI_CLI ELECTRON_ NODE_ npm_ "
    "TRACEPARENT TRACESTATE ITERM KITTY_ WEZTERM_ GHOSTTY_ ALACRITTY_ KONSOLE_ GNOME_TERMINAL VTE_".split()
)
"""Prefixes of variables that terminals and clients set anew each time. All other variables are in the digest."""


class Front:
    """Answers from ``conversations`` on the private duplicates ``wire`` and ``stdin``, until it is stopped."""

    def __init__(self, file: str, arguments: Sequence[str], conversations: Sequence[Conversation]) -> None:
        self.file = file
        """The recording of this configuration, which may not exist yet."""
        self.arguments = arguments
        self.conversations = conversations
        nothing = os.open(os.devnull, os.O_RDONLY)
        self._stopping, self._stop = os.pipe()
        self.wire, self.stdin = os.dup(1), os.dup(0)
        os.dup2(nothing, 0)  # children of this process find nothing to read there,
        os.dup2(2, 1)  # and nothing but the protocol reaches the client, even if an import prints
        os.close(nothing)
        self.heard = bytearray()
        """All that was read; the server reads it again."""
        self.done = 0
        """How many bytes of that are answered."""
        self.answers: list[tuple[bytes, bytes]] = []
        """Ids and the answers that went out."""
        self._step, self._candidates = 0, list(conversations)
        self._ended, self._interval_s = allocate_lock(), sys.getswitchinterval()

    def start(self) -> None:
        """Answer what is there already, and the rest in a thread while the caller goes on."""
        if not self._candidates:
            return
        self._ended.acquire()
        sys.setswitchinterval(_SWITCH_S)
        if self._answer_what_comes(wait_s=0):
            try:
                start_new_thread(self._answer_what_comes, ())
            except RuntimeError:  # no thread can be started: the server answers
                self._ended.release()

    def stop(self) -> None:
        """Stop reading and writing; waits for an answer that is being written. To be called once."""
        os.close(self._stop)  # which wakes the thread that waits for the other end
        with self._ended:
            sys.setswitchinterval(self._interval_s)
        os.close(self._stopping)

    def is_stale(self) -> bool:
        """Whether what the answers depend on has changed since the start."""
        return find_recording(self.arguments, os.environ) != self.file

    def forget(self) -> None:
        """Remove the recording, which differs from what the server says: the next start is an ordinary one."""
        try:
            os.unlink(self.file)
        except OSError:
            return

    def _answer_what_comes(self, wait_s: float | None = None) -> bool:
        """Answer until it is the server's turn: then False. With ``wait_s``, until nothing comes for so long: True."""
        try:
            while ready := select.select([self.stdin, self._stopping], [], [], wait_s)[0]:
                if self._stopping in ready or not self._answer_next():
                    break
            else:
                return True
        except Exception:  # whatever it is: the server answers what is not answered
            pass
        self._ended.release()
        return False

    def _answer_next(self) -> bool:
        """Read once, and answer all of it or nothing. Returns False if it is the server's turn from here on."""
        piece = os.read(self.stdin, 65536)
        self.heard += piece
        end = self.heard.rfind(b"\n") + 1
        if not piece or len(self.heard) > _MAX_TAKEN_BYTES:
            return False
        step, candidates, answers = self._step, self._candidates, list(self.answers)
        for line in bytes(self.heard[self.done : end]).splitlines(keepends=True):
            found = [(each, match) for each in candidates if (match := _match(each, step, line)) is not None]
            if not found:
                return False
            candidates, (identity, answer) = [each for each, _ in found], found[0][1]
            if identity:
                if any(identity == other for other, _ in answers):
                    return False
                answers.append((identity, answer))
            step += 1
        out = b"".join(answer for _, answer in answers[len(self.answers) :])
        # Counted before it is written: if the write fails half-way, the server must not send the same again.
        self._step, self._candidates, self.answers, self.done = step, candidates, answers, max(end, self.done)
        while out:
            out = out[os.write(self.wire, out) :]
        return any(len(each) > step for each in candidates)  # else nothing is left to answer


def open_front(arguments: Sequence[str]) -> Front | None:
    """The front of a server that a client has started; None if the server has to answer everything itself."""
    try:
        pipes = all(stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) for mode in (os.fstat(0).st_mode, os.fstat(1).st_mode))
        # A write to a non-blocking pipe may stop half-way, and the server could not tell how much is out.
        if sys.platform == "win32" or not pipes or not (os.get_blocking(0) and os.get_blocking(1)):
            return None
        file = find_recording(arguments, os.environ)
        return None if file is None else Front(file, arguments, read_recording(file))
    except Exception:  # whatever it is: if it matters, the server reports it
        return None


def cache_folder(environ: Mapping[str, str]) -> str | None:
    """The user's cache folder as platformdirs has it, which takes longer to load than all of this; None if unknown."""
    home = environ.get("HOME", "")
    own = f"{home}/Library/Caches" if sys.platform == "darwin" else f"{home}/.cache"
    cache = (sys.platform != "darwin" and environ.get("XDG_CACHE_HOME", "").strip()) or own
    return f"{cache}/ring-mcp" if home.startswith("/") and cache.startswith("/") else None


def trust_file(environ: Mapping[str, str]) -> str:
    """The file with the user's trusted folders."""
    if sys.platform == "darwin":
        return f"{environ.get('HOME')}/Library/Application Support/ring-mcp/trusted-folders.json"
    folder = environ.get("XDG_CONFIG_HOME", "").strip() or f"{environ.get('HOME')}/.config"
    return f"{folder}/ring-mcp/trusted-folders.json"


def read_recording(file: str) -> list[Conversation]:
    """The conversations of a file; none if it is missing or damaged. Raises ValueError and OSError (see ``_read``)."""
    content = _read(file, MAX_RECORDING_BYTES, is_own=True) or b""
    checksum, _, body = content[len(FORMAT) :].partition(b"\n")
    if not content.startswith(FORMAT) or checksum != checksum_of(body):
        return []
    found, at = list[list[Exchange]](), 0
    while at < len(body):
        end = body.index(b"\n", at)
        sizes = [int(text) for text in body[at:end].split()]
        at = end + 1
        if not sizes:  # an empty line begins a conversation
            found.append([])
            continue
        one, two, three, four = (sum(sizes[:count]) + at for count in range(1, 5))
        found[-1].append((body[at:one], body[one:two], body[two:three], body[three:four]))
        at = four
    return [tuple(conversation) for conversation in found]


def checksum_of(body: bytes) -> bytes:
    return _blake2b(body).hexdigest().encode()


def _match(conversation: Conversation, step: int, line: bytes) -> tuple[bytes, bytes] | None:
    """The id and the answer, both empty for a notification, if ``line`` is what comes next."""
    if step >= len(conversation):
        return None
    before, after, start, rest = conversation[step]
    if not start:
        return (b"", b"") if line == before else None
    identity = line[len(before) : len(line) - len(after)]
    fits = line.startswith(before) and line.endswith(after) and is_plain(identity)
    return (identity, start + identity + rest) if fits else None


def is_plain(identity: bytes) -> bool:
    """Whether JSON has only one way to write this id, so that it comes back as it was sent."""
    if identity[:1] == b'"':
        word = identity[1:-1]
        return identity[-1:] == b'"' and len(word) < 100 and word.translate(None, b"-_.:/").isalnum()
    return identity.isdigit() and len(identity) < 16 and (identity[:1] != b"0" or identity == b"0")


def find_recording(arguments: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The file of this configuration's recording; None if there can be none. Raises OSError."""
    folder = cache_folder(environ)
    digest = _digest(arguments, environ) if folder else None
    return f"{folder}/starts/{digest}" if digest else None


def _digest(arguments: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """A digest of switches, environment, .env.local, presets and icon, our code, installed packages, and interpreter.

    None if the answers may depend on something that cannot be seen from here. Raises OSError.
    """
    digest = _blake2b(digest_size=20)
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env_file = environ.get("RING_ENV_FILE", "").strip() or ".env.local"
    own = _read(env_file)
    overlay = environ.get("RING_PRESETS_FILE", "").strip()
    if overlay.startswith("~") or (own is not None and b"PRESETS" in own):
        return None
    trusted = None if own is None else _read(trust_file(environ))
    facts: Iterable[object] = (
        *(
            FORMAT,
            sorted(arguments),
            os.getcwd(),
            os.getuid(),
            sys.version,
            sys.executable,
            sys.path,
            sys.flags,
            folder,
        ),
        sorted((name, text) for name, text in environ.items() if not name.startswith(PER_SESSION)),
        *(own, trusted, _read(overlay) if overlay else None),
        *(_read(f"{place}/{name}") for place in (folder + "/_data", folder + "/..") for name in _DATA),
        [_look_up(entry, os.path.dirname(folder)) for entry in sys.path],
        list(list_code(folder)),
    )
    for fact in facts:
        digest.update(repr(fact).encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def list_code(folder: str) -> Iterable[tuple[str, int, int]]:
    """Each module with its time and size, by which Python itself decides whether to compile one anew."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.name.endswith(".py"):
                facts = entry.stat()
                yield entry.name, facts.st_mtime_ns, facts.st_size
            elif entry.is_dir() and not entry.name.startswith(("_", ".")):
                yield entry.name, 0, 0
                yield from list_code(entry.path)


def _look_up(path: str, own: str) -> object:
    """What tells whether the packages in a folder have changed: its time, since each version has a name of its own.

    A folder that people work in, such as ``own`` of a clone, changes all the time: there it is the list of names.
    """
    try:
        if path in ("", os.getcwd(), own):
            return sorted(name for name in os.listdir(path or ".") if not name.startswith("."))
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _read(path: str, most_bytes: int = _MAX_FILE_BYTES, *, is_own: bool = False) -> bytes | None:
    """A file's content, None without one. Raises OSError if it is too large, not regular, or (``is_own``) not ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a named pipe would wait for ever
    except FileNotFoundError:
        return None
    try:
        facts = os.fstat(descriptor)
        is_safe = not is_own or (facts.st_uid == os.getuid() and not facts.st_mode & 0o022)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size >= most_bytes or not is_safe:
            raise OSError(path)
        return os.read(descriptor, most_bytes)
    finally:
        os.close(descriptor)


try:  # hashlib takes two milliseconds to load OpenSSL
    from _blake2 import blake2b as _blake2b
except ImportError:
    from hashlib import blake2b as _blake2b
