"""Files of open jobs where every machine reads them; those of one machine alone are its own until they are shared."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from ring_mcp.domain import Job, Output
from ring_mcp.errors import StorageError
from ring_mcp.jobs.answers import Answers
from ring_mcp.jobs.shared_names import answer_name, input_name, local_input_name
from ring_mcp.jobs.sharing import LAY_DOWN_WITHIN_S, LEAVE_WITHIN_S, Sharing
from ring_mcp.providers.base import Finished
from tests.fake_clock import LIMIT_S, let_pass
from tests.jobs.engine import clip_plan, new_id
from tests.jobs.shared_folder import SharedFolder
from tests.ledger_samples import planned, sample_plan

AWAY = StorageError("the bucket is away")
PICTURE = b"a picture"
SHA256 = hashlib.sha256(PICTURE).hexdigest()


@pytest.fixture
def place(tmp_path: Path) -> SharedFolder:
    return SharedFolder(tmp_path / "shared")


class Machine:
    """A spool of its own, and the place that all share."""

    def __init__(self, spool: Path, place: SharedFolder | None) -> None:
        self.spool = spool
        spool.mkdir()
        self.answers = Answers(spool)
        self.sharing = Sharing(place, spool, answers_inside=lambda job: job.kind == "image", within_s=LIMIT_S)

    def lay(self, name: str, content: bytes = PICTURE) -> None:
        (self.spool / name).write_bytes(content)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.spool.iterdir())


@pytest.fixture
def mine(tmp_path: Path, place: SharedFolder) -> Machine:
    return Machine(tmp_path / "mine", place)


@pytest.fixture
def theirs(tmp_path: Path, place: SharedFolder) -> Machine:
    return Machine(tmp_path / "theirs", place)


def given_job() -> Job:
    return planned(id=new_id(), plan=sample_plan().model_copy(update={"reference_images": (f"kept:{SHA256}",)}))


def answered(machine: Machine, job_id: str, pictures: int = 2) -> Finished:
    names = [f"{job_id}-{index}.inline" for index in range(pictures)]
    for name in names:
        machine.lay(name, name.encode())
    answer = Finished(outputs=tuple(Output(spool_path=name) for name in names))
    machine.answers.write(job_id, "token", answer)
    return answer


async def test_an_answer_is_shared_after_its_pictures(mine: Machine, place: SharedFolder) -> None:
    job_id = new_id()
    answered(mine, job_id)
    mine.lay(f"{new_id()}-0.inline")
    await mine.sharing.lay_down_answer(job_id)
    names = [f"{job_id}-0.inline", f"{job_id}-1.inline", answer_name(job_id)]
    assert place.asked == [("share", name) for name in names]
    assert set(mine.names()) >= set(names), "the machine that has them keeps them"


async def test_what_is_there_already_is_not_shared_again(mine: Machine, place: SharedFolder) -> None:
    job_id = new_id()
    answered(mine, job_id)
    await mine.sharing.lay_down_answer(job_id, there=[f"{job_id}-0.inline"])
    assert place.names() == [f"{job_id}-1.inline", answer_name(job_id)]


async def test_without_its_pictures_no_answer_is_shared(
    mine: Machine, place: SharedFolder, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = new_id()
    answered(mine, job_id)
    place.trouble = AWAY
    await mine.sharing.lay_down_answer(job_id)
    assert place.asked == [("share", f"{job_id}-0.inline")]
    assert f"job {job_id}: {job_id}-0.inline lies on this machine alone: the bucket is away" in caplog.text


async def test_a_file_that_went_with_its_job_is_nobodys_trouble(
    mine: Machine, place: SharedFolder, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = new_id()
    answered(mine, job_id)
    going = asyncio.create_task(mine.sharing.lay_down_answer(job_id))
    await asyncio.sleep(0)
    for path in mine.spool.iterdir():
        path.unlink()
    await going
    assert place.names() == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_another_machine_reads_the_answer_and_its_pictures(mine: Machine, theirs: Machine) -> None:
    job_id = new_id()
    answer = answered(mine, job_id)
    await mine.sharing.lay_down_answer(job_id)
    assert await theirs.sharing.read_answer(job_id, "token") == answer
    assert await theirs.sharing.read_answer(job_id, "another") is None
    assert await theirs.sharing.read_answer(new_id(), "token") is None
    path = theirs.spool / f"{job_id}-1.inline"
    assert await theirs.sharing.bring(path.name, path)
    assert path.read_bytes() == path.name.encode()
    assert theirs.names() == [path.name], "who only reads an answer is not the one who got it"
    assert not theirs.answers.holds(job_id, "token")


async def test_what_lies_here_is_not_asked_for(mine: Machine, place: SharedFolder) -> None:
    mine.lay("a.inline")
    place.trouble = AWAY
    assert await mine.sharing.bring("a.inline", mine.spool / "a.inline")
    assert place.asked == []


async def test_a_given_picture_that_lies_here_is_not_asked_for(mine: Machine, place: SharedFolder) -> None:
    job = given_job()
    mine.lay(local_input_name(SHA256))
    place.trouble = AWAY
    await mine.sharing.bring_inputs(job)
    assert (place.asked, mine.names()) == ([], [local_input_name(SHA256)])


async def test_nobody_knows_while_the_storage_is_away(theirs: Machine, place: SharedFolder) -> None:
    place.trouble = AWAY
    with pytest.raises(StorageError, match="the bucket is away"):
        await theirs.sharing.bring("a.inline", theirs.spool / "a.inline")
    with pytest.raises(StorageError, match="the bucket is away"):
        await theirs.sharing.read_answer(new_id(), "token")
    with pytest.raises(StorageError, match="the bucket is away"):
        await theirs.sharing.bring_inputs(given_job())
    place.trouble = None
    assert not await theirs.sharing.bring("a.inline", theirs.spool / "a.inline")
    assert theirs.names() == []


class HalfWay(SharedFolder):
    """Breaks off in the middle of every file."""

    async def fetch(self, name: str, path: Path, max_bytes: int) -> bool:
        path.write_bytes(self.read(name)[:3])
        raise AWAY


async def test_a_file_that_comes_by_halves_is_not_kept(tmp_path: Path) -> None:
    place = HalfWay(tmp_path / "half")
    place.put("a.inline", PICTURE)
    machine, job = Machine(tmp_path / "here", place), given_job()
    place.put(input_name(job.id, SHA256), PICTURE)
    with pytest.raises(StorageError, match="away"):
        await machine.sharing.bring("a.inline", machine.spool / "a.inline")
    with pytest.raises(StorageError, match="away"):
        await machine.sharing.bring_inputs(job)
    assert machine.names() == []


async def test_a_spool_that_is_gone_is_made_or_told(theirs: Machine, place: SharedFolder) -> None:
    place.put("a.inline", PICTURE)
    theirs.spool.rmdir()
    assert await theirs.sharing.bring("a.inline", theirs.spool / "a.inline")
    assert theirs.spool.stat().st_mode & 0o777 == 0o700, "it is its owner's alone"
    (theirs.spool / "a.inline").unlink()
    theirs.spool.rmdir()
    theirs.spool.write_bytes(b"a file where the folder should be")
    with pytest.raises(StorageError, match=r"the spool folder \S+ cannot be written"):
        await theirs.sharing.bring("a.inline", theirs.spool / "a.inline")


async def test_pictures_given_along_are_shared_for_their_job_alone(
    mine: Machine, theirs: Machine, place: SharedFolder
) -> None:
    first, second = given_job(), given_job()
    mine.lay(local_input_name(SHA256))
    for job in (first, second):
        await mine.sharing.lay_down_inputs(job)
    assert place.names() == sorted([input_name(first.id, SHA256), input_name(second.id, SHA256)])
    mine.sharing.forget(first)
    await mine.sharing.aclose()
    await theirs.sharing.bring_inputs(second)
    assert theirs.names() == [local_input_name(SHA256)]
    assert (theirs.spool / local_input_name(SHA256)).read_bytes() == PICTURE


async def test_what_could_not_be_shared_is_owed_also_after_a_restart(
    mine: Machine, theirs: Machine, place: SharedFolder
) -> None:
    job = given_job()
    mine.lay(local_input_name(SHA256))
    place.trouble = AWAY
    await mine.sharing.lay_down_inputs(job)
    name = input_name(job.id, SHA256)
    after = Sharing(place, mine.spool, within_s=LIMIT_S)
    assert after.list_owed() == {job.id: {name: mine.spool / name}}
    place.trouble = None
    await after.lay_down_owed(job.id, after.list_owed()[job.id])
    assert (place.names(), after.list_owed(), mine.names()) == ([name], {}, [local_input_name(SHA256)])
    await theirs.sharing.bring_inputs(job)


async def test_nothing_is_owed_for_a_job_that_is_not_opened_after_all(mine: Machine, place: SharedFolder) -> None:
    job = given_job()
    mine.lay(local_input_name(SHA256))
    place.trouble = AWAY
    await mine.sharing.lay_down_inputs(job)
    mine.sharing.forget(job)
    await mine.sharing.aclose()
    assert mine.names() == [local_input_name(SHA256)]


async def test_a_picture_that_is_not_shared_yet_is_waited_for(theirs: Machine) -> None:
    with pytest.raises(StorageError, match="lies on the machine that was given it, and is not shared yet") as caught:
        await theirs.sharing.bring_inputs(given_job())
    assert (caught.value.retryable, caught.value.billed) == (True, "no")
    assert theirs.names() == []


async def test_what_is_not_the_picture_that_was_given_is_not_taken(theirs: Machine, place: SharedFolder) -> None:
    job = given_job()
    place.put(input_name(job.id, SHA256), b"another picture")
    with pytest.raises(StorageError, match="is not what was shared of it") as caught:
        await theirs.sharing.bring_inputs(job)
    assert (caught.value.retryable, caught.value.billed) == (True, "no"), "the request was not sent"
    assert theirs.names() == []


class NoThreads(ThreadPoolExecutor):
    def submit(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError("a thread is asked")


async def test_a_plan_without_such_pictures_asks_nobody(mine: Machine, place: SharedFolder) -> None:
    """Nor a thread: most plans have none."""
    asyncio.get_running_loop().set_default_executor(NoThreads())
    clip = planned(kind="video", plan=clip_plan(image_url="https://a.example/a.jpg"))
    await mine.sharing.lay_down_inputs(clip)
    await mine.sharing.bring_inputs(clip)
    mine.sharing.forget(clip)
    await mine.sharing.aclose()
    assert place.asked == []


async def test_all_that_a_job_has_shared_goes_when_it_is_forgotten(mine: Machine, place: SharedFolder) -> None:
    job = given_job()
    another = new_id()
    answered(mine, another)
    await mine.sharing.lay_down_answer(another)
    kept = place.names()
    outputs = answered(mine, job.id).outputs
    mine.lay(local_input_name(SHA256))
    await mine.sharing.lay_down_inputs(job)
    await mine.sharing.lay_down_answer(job.id)
    assert len(place.names()) == len(kept) + 4
    mine.sharing.forget(planned(id=job.id, plan=job.plan, outputs=outputs))
    await mine.sharing.aclose()
    assert place.names() == kept


async def test_what_is_still_being_shared_is_removed_after_it(mine: Machine, place: SharedFolder) -> None:
    job_id = new_id()
    outputs = answered(mine, job_id).outputs
    laying = asyncio.create_task(mine.sharing.lay_down_answer(job_id))
    await asyncio.sleep(0)
    mine.sharing.forget(planned(id=job_id, outputs=outputs))
    await laying
    await mine.sharing.aclose()
    assert place.names() == []


async def test_files_that_cannot_be_removed_are_told_and_left(
    mine: Machine, place: SharedFolder, caplog: pytest.LogCaptureFixture
) -> None:
    job = given_job()
    mine.lay(local_input_name(SHA256))
    await mine.sharing.lay_down_inputs(job)
    place.trouble = AWAY
    mine.sharing.forget(job)
    await mine.sharing.aclose()
    assert f"job {job.id} has ended, and its shared files cannot be removed: the bucket is away" in caplog.text
    assert place.names() == [input_name(job.id, SHA256)]


async def test_a_machine_without_a_state_folder_gets_one(tmp_path: Path, place: SharedFolder) -> None:
    place.put("a.inline", PICTURE)
    spool = tmp_path / "state" / "spool"
    assert await Sharing(place, spool).bring("a.inline", spool / "a.inline")


class Stuck(SharedFolder):
    """Never done with sharing. ``is_left_alone``: whoever waited for it does so no more."""

    is_left_alone = False

    async def share(self, name: str, path: Path) -> None:
        await super().share(name, path)
        try:
            await asyncio.Event().wait()
        finally:
            self.is_left_alone = True


async def test_nobody_waits_for_long_until_a_file_is_shared(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / local_input_name(SHA256)).write_bytes(PICTURE)
    place = Stuck(tmp_path / "stuck")
    sharing = Sharing(place, spool, within_s=0.01)
    async with asyncio.timeout(LIMIT_S):
        await sharing.lay_down_inputs(given_job())
        finishing = asyncio.create_task(sharing.finish())
        await asyncio.sleep(0)
        assert not finishing.done(), "it goes on beside"
        await sharing.aclose()
        assert place.is_left_alone, "nothing of it goes on"
        await finishing


async def test_a_process_that_ends_removes_what_it_was_still_sharing(tmp_path: Path) -> None:
    machine, job = Machine(tmp_path / "here", place := Stuck(tmp_path / "stuck")), given_job()
    machine.lay(local_input_name(SHA256))
    laying = asyncio.create_task(machine.sharing.lay_down_inputs(job))
    async with asyncio.timeout(LIMIT_S):
        while not place.asked:
            await asyncio.sleep(0)
        machine.sharing.forget(job)
        await asyncio.sleep(0)
        await machine.sharing.aclose()
        await laying
    assert place.names() == []


class Slow(SharedFolder):
    """Shares nothing until it may."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.may_go_on = asyncio.Event()

    async def share(self, name: str, path: Path) -> None:
        self.asked.append(("begin", name))
        await self.may_go_on.wait()
        await super().share(name, path)


async def test_files_of_one_job_are_shared_one_after_another(tmp_path: Path) -> None:
    """The answer comes after its pictures, also where those are still on their way when it comes."""
    place = Slow(tmp_path / "slow")
    machine, job_id = Machine(tmp_path / "here", place), new_id()
    machine.lay(f"{job_id}-0.inline")
    pictures = asyncio.create_task(machine.sharing.lay_down_answer(job_id))
    async with asyncio.timeout(LIMIT_S):
        while not place.asked:
            await asyncio.sleep(0)
        answered(machine, job_id, 1)
        whole = asyncio.create_task(machine.sharing.lay_down_answer(job_id, there=[f"{job_id}-0.inline"]))
        for _ in range(20):
            await asyncio.sleep(0)
        assert place.asked == [("begin", f"{job_id}-0.inline")], "no answer has come yet"
        place.may_go_on.set()
        await asyncio.gather(pictures, whole)
    assert place.names() == sorted([f"{job_id}-0.inline", answer_name(job_id)])


class OneByOne(SharedFolder):
    """Shares as many files as it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.may_take = asyncio.Semaphore(0)

    async def share(self, name: str, path: Path) -> None:
        await self.may_take.acquire()
        await super().share(name, path)


async def test_the_end_of_one_sharing_is_not_that_of_the_next(tmp_path: Path) -> None:
    place = OneByOne(tmp_path / "shared")
    machine, job_id = Machine(tmp_path / "here", place), new_id()
    names = [f"{job_id}-0.inline", f"{job_id}-1.inline"]
    for name in names:
        machine.lay(name)
    first, second = (asyncio.create_task(machine.sharing.lay_down_answer(job_id, there=[there])) for there in names)
    async with asyncio.timeout(LIMIT_S):
        place.may_take.release()
        await first
        finishing = asyncio.create_task(machine.sharing.finish())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not finishing.done()
        place.may_take.release()
        await asyncio.gather(second, finishing)
    assert place.names() == names


async def test_pictures_are_shared_without_an_answer_that_has_not_come(mine: Machine, place: SharedFolder) -> None:
    job_id = new_id()
    mine.lay(f"{job_id}-0.inline")
    await mine.sharing.lay_down_answer(job_id)
    assert place.asked == [("share", f"{job_id}-0.inline")]


async def test_what_is_over_is_kept_in_no_list(mine: Machine, place: SharedFolder) -> None:
    job = given_job()
    mine.lay(local_input_name(SHA256))
    await mine.sharing.lay_down_inputs(job)
    mine.sharing.forget(job)
    async with asyncio.timeout(LIMIT_S):
        while place.names() or mine.sharing._removing:
            await asyncio.sleep(0)
        await mine.sharing.finish()
    assert mine.sharing._laying == {}


async def test_where_files_have_one_name_alone_they_are_shared_all_the_same(mine: Machine, place: SharedFolder) -> None:
    job = given_job()
    mine.lay(local_input_name(SHA256))
    (mine.spool / input_name(job.id, SHA256)).mkdir()  # no second name can be had, as on some file systems
    await mine.sharing.lay_down_inputs(job)
    assert place.read(input_name(job.id, SHA256)) == PICTURE


class Measured(SharedFolder):
    """``limits``: how much each fetch would have taken."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.limits: list[int] = []

    async def fetch(self, name: str, path: Path, max_bytes: int) -> bool:
        self.limits.append(max_bytes)
        return await super().fetch(name, path, max_bytes)


async def test_nobody_fills_the_spool_with_what_somebody_has_laid_there(tmp_path: Path) -> None:
    place = Measured(tmp_path / "shared")
    machine, job = Machine(tmp_path / "here", place), given_job()
    assert not await machine.sharing.bring("a.inline", machine.spool / "a.inline")
    assert await machine.sharing.read_any_answer(job) is None
    assert place.limits == [1024**3, 1024**2]


class Mute(SharedFolder):
    """Never answers."""

    async def fetch(self, name: str, path: Path, max_bytes: int) -> bool:
        await asyncio.Event().wait()
        return False


async def test_nobody_waits_for_long_to_hear_of_an_answer(tmp_path: Path) -> None:
    sharing = Sharing(Mute(tmp_path / "mute"), tmp_path / "spool", answers_inside=lambda _: True, within_s=0.01)
    with pytest.raises(StorageError, match=r"the storage has not answered in 0\.01 s"):
        await sharing.read_any_answer(given_job())
    assert list((tmp_path / "spool").iterdir()) == []


class Late(SharedFolder):
    """Never answers, which takes five seconds of the loop's own clock."""

    async def fetch(self, name: str, path: Path, max_bytes: int) -> bool:
        let_pass(LAY_DOWN_WITHIN_S)
        await asyncio.Event().wait()
        return False


async def test_unless_told_otherwise_a_storage_has_five_seconds(tmp_path: Path) -> None:
    sharing = Sharing(Late(tmp_path / "late"), tmp_path / "spool", answers_inside=lambda _: True)
    with pytest.raises(StorageError, match="the storage has not answered in 5 s") as caught:
        await sharing.read_any_answer(given_job())
    assert caught.value.billed == "no"


class NeverGone(SharedFolder):
    """Never done with removing."""

    async def remove(self, names: Collection[str]) -> None:
        self.asked.append(("remove", "begun"))
        let_pass(LEAVE_WITHIN_S)
        await asyncio.Event().wait()


async def test_a_process_that_ends_waits_two_seconds_for_what_goes(tmp_path: Path) -> None:
    place = NeverGone(tmp_path / "shared")
    machine = Machine(tmp_path / "here", place)
    machine.sharing.forget(given_job())
    async with asyncio.timeout(LIMIT_S):
        await machine.sharing.aclose()
    assert place.asked == [("remove", "begun")]
    assert LEAVE_WITHIN_S == 2.0, "whoever stops a server waits for it; a sweep removes what stays"


async def test_on_one_machine_nothing_is_shared(tmp_path: Path) -> None:
    alone = Machine(tmp_path / "alone", None)
    job = given_job()
    answered(alone, job.id)
    alone.lay(local_input_name(SHA256))
    before = alone.names()
    await alone.sharing.lay_down_answer(job.id)
    await alone.sharing.lay_down_inputs(job)
    await alone.sharing.bring_inputs(job)
    alone.sharing.forget(job)
    assert await alone.sharing.read_answer(job.id, "token") is None
    assert await alone.sharing.read_any_answer(job) is None
    assert alone.sharing.list_owed() == {}
    assert not await alone.sharing.bring("a.inline", alone.spool / "a.inline")
    await alone.sharing.aclose()
    assert alone.names() == before
