"""Files of open jobs, laid where every machine of a fleet reads them: what came inside an answer, what callers gave.

Whatever is shared lies in the spool of one machine first, and stays there until its job has ended. While the storage is
away that machine alone has it: the others wait, and none of them calls it lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from ring_mcp.domain import Job
from ring_mcp.errors import StorageError
from ring_mcp.jobs.answers import Answer, list_pictures, read_answer_file
from ring_mcp.jobs.shared_names import (
    answer_name,
    find_kept,
    input_name,
    is_input,
    job_of,
    list_shared,
    local_input_name,
)
from ring_mcp.media.identify import hash_file
from ring_mcp.storage.base import SharedFiles

logger = logging.getLogger(__name__)

LAY_DOWN_WITHIN_S = 5.0
"""How long anybody waits for a file to be shared, which goes on beside; or to hear whether one is."""

LEAVE_WITHIN_S = 2.0
"""How long a process that ends still removes files; what stays is removed by a sweep."""

_MAX_BYTES = 1024**3  # written by ourselves: a bound against what somebody else has laid there
_MAX_ANSWER_BYTES = 1024**2


class Sharing:
    """``files``: the place; None where there is one machine, or the storage offers none, and then nothing is shared.

    ``answers_inside``: whether the answer to a job's paid request is the result itself.
    """

    def __init__(
        self,
        files: SharedFiles | None,
        spool: Path,
        *,
        answers_inside: Callable[[Job], bool] = lambda job: False,
        within_s: float = LAY_DOWN_WITHIN_S,
    ) -> None:
        self.files = files
        self._spool = spool
        self._answers_inside = answers_inside
        self._within_s = within_s
        self._laying: dict[str, asyncio.Task[None]] = {}
        self._removing: set[asyncio.Task[None]] = set()

    async def lay_down_answer(self, job_id: str, *, there: Collection[str] = ()) -> None:
        """Share what the spool has of a job's answer, pictures first: whoever reads the answer finds them.

        ``there``: what is shared already. Never raises: what cannot be shared now stays here, and is tried again.
        """
        if self.files is not None:
            await self._lay_down(job_id, self._list_answer(job_id, there))

    async def lay_down_inputs(self, job: Job) -> None:
        """Share pictures that a caller gave along.

        Never raises: the machine that has them can make the request, and what cannot be shared now is owed.
        """
        given = {input_name(job.id, sha256): self._spool / local_input_name(sha256) for sha256 in find_kept(job.plan)}
        if self.files is not None and given:
            await self._lay_down(job.id, await asyncio.to_thread(self._owe, given))

    def _owe(self, given: Mapping[str, Path]) -> dict[str, Path]:
        """A second name for each in the spool, by which it is known, after a restart as well, until it is shared."""
        owed = {}
        for name, path in given.items():
            owed[name] = self._spool / name
            try:
                owed[name].hardlink_to(path)
            except OSError:  # a file system without: then it is shared now or never
                owed[name] = path
        return owed

    def list_owed(self) -> dict[str, dict[str, Path]]:
        """By jobs, the pictures that were given along here and could not be shared yet. Blocking."""
        owed: dict[str, dict[str, Path]] = {}
        for path in self._spool.glob("*-input-*"):
            if (job_id := job_of(path.name)) is not None:
                owed.setdefault(job_id, {})[path.name] = path
        return owed

    async def lay_down_owed(self, job_id: str, owed: Mapping[str, Path]) -> None:
        """Never raises: what still cannot be shared stays owed."""
        await self._lay_down(job_id, owed)

    async def bring(self, name: str, path: Path) -> bool:
        """See that a shared file lies at ``path``. False: it is certainly in neither place. Raises StorageError."""
        if await asyncio.to_thread(path.exists):
            return True
        if self.files is None:
            return False
        with self._open_part() as part:
            if not await self.files.fetch(name, part, _MAX_BYTES):
                return False
            part.replace(path)
        return True

    async def bring_inputs(self, job: Job) -> None:
        """See that the pictures that a caller gave along lie in this spool.

        Raises StorageError while they cannot be had; where nothing is shared, whoever reads them says what is missing.
        """
        if self.files is None:
            return
        for sha256 in find_kept(job.plan):
            path = self._spool / local_input_name(sha256)
            if path.exists():
                continue
            with self._open_part() as part:
                # By another name first: under this one it would be taken for what was given, whatever it is.
                if not await self.bring(input_name(job.id, sha256), part):
                    raise StorageError(_INPUT_ELSEWHERE, billed="no")
                if (await asyncio.to_thread(hash_file, part))[1] != sha256:
                    raise StorageError("a picture that was given along is not what was shared of it", billed="no")
                part.replace(path)

    async def read_answer(self, job_id: str, attempt_token: str | None) -> Answer | None:
        """The answer to this very attempt, if a machine has shared one. Raises StorageError: nobody knows now."""
        found = await self._read_answer(job_id)
        return found[1] if found is not None and found[0] == attempt_token else None

    async def read_any_answer(self, job: Job) -> tuple[str, Answer] | None:
        """The answer to whichever attempt, and that one's token. Nobody shares one that is not the result itself.

        Raises StorageError: nobody knows now.
        """
        if not self._answers_inside(job):
            return None
        try:
            async with asyncio.timeout(self._within_s):
                return await self._read_answer(job.id)
        except TimeoutError as exc:
            raise StorageError(f"the storage has not answered in {self._within_s:g} s", billed="no") from exc

    async def _read_answer(self, job_id: str) -> tuple[str, Answer] | None:
        if self.files is None:
            return None
        with self._open_part() as part:
            if not await self.files.fetch(answer_name(job_id), part, _MAX_ANSWER_BYTES):
                return None
            return await asyncio.to_thread(read_answer_file, part)

    def forget(self, job: Job) -> None:
        """Begin to remove what is shared of a job that has ended."""
        names = list_shared(job, answered_inside=self._answers_inside(job)) if self.files is not None else []
        if not names:
            return
        task = asyncio.create_task(self._remove(job.id, names))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)

    async def finish(self) -> None:
        """Wait until all that was begun to be shared is, or cannot be."""
        while self._laying:
            await asyncio.wait(self._laying.values())

    async def aclose(self) -> None:
        """Let go of what is under way; what is to be removed still has a moment."""
        for laying in self._laying.values():
            laying.cancel()
        if self._removing:
            await asyncio.wait(self._removing, timeout=LEAVE_WITHIN_S)
        for task in (*self._removing, *self._laying.values()):
            task.cancel()
        await asyncio.gather(*self._removing, *self._laying.values(), return_exceptions=True)

    def _list_answer(self, job_id: str, there: Collection[str]) -> dict[str, Path]:
        paths = [*list_pictures(self._spool, job_id).values(), self._spool / answer_name(job_id)]
        return {path.name: path for path in paths if path.name not in there and path.exists()}

    async def _lay_down(self, job_id: str, paths: Mapping[str, Path]) -> None:
        laying = asyncio.create_task(self._share(job_id, paths, self._laying.get(job_id)))
        self._laying[job_id] = laying
        laying.add_done_callback(lambda done: self._let_go(job_id, done))
        await asyncio.wait({laying}, timeout=self._within_s)

    def _let_go(self, job_id: str, done: asyncio.Task[None]) -> None:
        if self._laying.get(job_id) is done:
            del self._laying[job_id]

    async def _share(self, job_id: str, paths: Mapping[str, Path], before: asyncio.Task[None] | None) -> None:
        assert self.files is not None, "asked before"
        if before is not None:
            await asyncio.wait({before})
        for name, path in paths.items():
            try:
                await self.files.share(name, path)
                self._owe_no_more(name)
            except StorageError as exc:
                if path.exists():  # otherwise the job has ended meanwhile
                    logger.warning("job %s: %s lies on this machine alone: %s", job_id, name, exc.message)
                return

    async def _remove(self, job_id: str, names: Collection[str]) -> None:
        assert self.files is not None, "asked before"
        if (laying := self._laying.get(job_id)) is not None:
            # Not before: it would lay down again what has just been removed.
            await asyncio.wait({laying})
        for name in names:
            self._owe_no_more(name)
        try:
            await self.files.remove(names)
        except StorageError as exc:
            logger.warning("job %s has ended, and its shared files cannot be removed: %s", job_id, exc.message)

    def _owe_no_more(self, name: str) -> None:
        if is_input(name):
            with contextlib.suppress(OSError):
                (self._spool / name).unlink()

    @contextlib.contextmanager
    def _open_part(self) -> Iterator[Path]:
        """Where to put a file that is not whole yet; what still lies there at the end is removed.

        Raises StorageError where the spool cannot be written.
        """
        part = self._spool / f"input-{uuid.uuid4().hex}"  # what a kill leaves of it goes with old inputs
        try:
            self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)  # the job may have begun on another machine
            yield part
        except OSError as exc:
            raise StorageError(f"the spool folder {self._spool} cannot be written: {exc.strerror}") from exc
        finally:
            with contextlib.suppress(OSError):
                part.unlink()


_INPUT_ELSEWHERE = "a picture that was given along lies on the machine that was given it, and is not shared yet"
