"""What a caller gives along: looked at before any spend, and turned into what a provider can read."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import ImagePlan, ImageRequest, MediaFile, VideoPlan, VideoRequest
from ring_mcp.errors import InvalidRequest, ProviderBadReply, ProviderUnavailable, StorageError
from ring_mcp.jobs.input_files import Measured
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.media.identify import hash_file
from ring_mcp.presets import load_presets
from ring_mcp.processes import open_decoders
from ring_mcp.providers.base import Downloaded, Inputs
from ring_mcp.storage.base import Address
from ring_mcp.storage.local import LocalStorage
from tests.cases.given_media import make_clip
from tests.fake_clock import let_pass
from tests.jobs.engine import SIZES, Engine, clip_plan
from tests.jobs.scripted_provider import jpeg
from tests.ledger_samples import sample_asset, sample_plan
from tests.media_bytes import mp4

PUBLIC = "https://pictures.example/a.jpg"
PRIVATE = "https://10.0.0.1/a.jpg"
OURS = "https://storage.example/a.jpg"
FILE_ID = "file_0123"
INLINE = "data:image/jpeg;base64," + base64.b64encode(jpeg()).decode()
PRESETS = load_presets()
MAX_IMAGE_BYTES, MAX_VIDEO_BYTES = SIZES["xai"].image, SIZES["xai"].video
EDITOR, PAINTER = PRESETS.video_models["grok-imagine-video"], PRESETS.image_models["grok-imagine-image-2.0"]


class Outside:
    """What lies at addresses, and who may be asked: the guarded connections of the product. ``asked``: in order."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {PUBLIC: jpeg()}
        self.asked: list[tuple[str, int]] = []
        self.trouble: OSError | None = None

    async def fetch(self, url: str, path: Path, max_bytes: int) -> Downloaded:
        await self.check_address(url)
        self.asked.append((url, max_bytes))
        if self.trouble is not None:
            raise self.trouble
        if url not in self.files:
            raise ProviderUnavailable("it does not answer")
        path.write_bytes(self.files[url])
        size_bytes, sha256 = hash_file(path)
        return Downloaded(size_bytes=size_bytes, sha256=sha256)

    async def check_address(self, url: str) -> None:
        if "//10." in url:
            raise ProviderBadReply("it is on a private network")


class PrivateStorage(LocalStorage):
    """A folder whose files have addresses that only it can read: signed for others, or out of their reach."""

    def __init__(self, root: Path, *, signs: bool = True) -> None:
        super().__init__(root)
        self.files: dict[str, bytes] = {OURS: jpeg("navy")}
        self._signs = signs
        self.trouble: StorageError | None = None

    def strip_signature(self, url: str) -> str:
        return url.partition("?signed")[0]

    async def address(self, url: str, key: str | None = None) -> Address:
        if self.trouble is not None:
            raise self.trouble
        if url not in self.files:
            return Address(url)
        return Address(f"{url}?signed" if self._signs else "https://10.1.1.1/a.jpg")

    async def fetch(self, url: str, path: Path, max_bytes: int) -> bool:
        if self.trouble is not None:
            raise self.trouble
        if url not in self.files:
            return False
        path.write_bytes(self.files[url])
        return True


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that the operator allows, with a picture, a clip and a text."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a picture.jpg").write_bytes(jpeg())
    (tmp_path / "given" / "clip.mp4").write_bytes(mp4())
    (tmp_path / "given" / "notes.txt").write_text("no picture")
    return tmp_path / "given"


def inputs_of(
    tmp_path: Path, outside: Outside, storage: LocalStorage | None = None, *, callers_are_here: bool = True
) -> MediaInputs:
    return MediaInputs(
        storage or LocalStorage(tmp_path / "files"),
        fetch=outside.fetch,
        check_address=outside.check_address,
        decoder=open_decoders().given,
        sizes=SIZES,
        folders=[tmp_path / "given"],
        spool=tmp_path / "spool",
        callers_are_here=callers_are_here,
    )


@pytest.fixture
def inputs(tmp_path: Path, outside: Outside) -> MediaInputs:
    return inputs_of(tmp_path, outside)


def picture_plan(*references: str) -> ImagePlan:
    return sample_plan().model_copy(update={"reference_images": references})


def spooled(tmp_path: Path) -> list[str]:
    spool = tmp_path / "spool"
    return sorted(path.name for path in spool.iterdir()) if spool.exists() else []


async def checked(inputs: MediaInputs, plan: ImagePlan | VideoPlan) -> Measured:
    return await inputs.check(plan, PAINTER if isinstance(plan, ImagePlan) else EDITOR)


async def refused(inputs: MediaInputs, plan: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        await checked(inputs, plan)
    return caught.value.message


# Before any spend


async def test_a_plan_without_inputs_asks_nobody(inputs: MediaInputs, outside: Outside, tmp_path: Path) -> None:
    assert await checked(inputs, sample_plan()) == Measured()
    assert await checked(inputs, clip_plan()) == Measured()
    assert (outside.asked, spooled(tmp_path)) == ([], [])


@pytest.mark.parametrize("reference", [PUBLIC, INLINE, FILE_ID, "given"])
async def test_every_way_to_give_a_picture_is_looked_at_and_leaves_nothing(
    inputs: MediaInputs, folder: Path, tmp_path: Path, reference: str
) -> None:
    reference = str(folder / "a picture.jpg") if reference == "given" else reference
    a_picture = await checked(inputs, picture_plan(reference))
    a_frame = await checked(inputs, clip_plan(image_url=reference, last_frame_url=reference))
    size_px = (a_picture.shape_px is None, a_frame.shape_px is None)
    assert size_px == ((reference == FILE_ID),) * 2  # of what lies with the provider nothing is known
    assert spooled(tmp_path) == []


async def test_a_picture_at_an_address_is_fetched_once_within_bounds(inputs: MediaInputs, outside: Outside) -> None:
    await checked(inputs, clip_plan(image_url=PUBLIC))
    assert outside.asked == [(PUBLIC, MAX_IMAGE_BYTES)]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("https://gone.example/a.jpg", "cannot be used: its address cannot be reached"),
        ("ftp://example.com/a.jpg", "must be an http(s) address, or a file in a folder of RING_INPUT_DIRS"),
        ("a.jpg", "must be an http(s) address"),
        ("~nobody-of-this-name/a.jpg", "must be an http(s) address"),
        ("/tmp/a\0b.jpg", "must be an http(s) address"),
        ("https://", "must be an http(s) address"),
        ("/etc/hostname", "is a file outside the folders of RING_INPUT_DIRS, so it is not read"),
        ("file:///etc/hostname", "is a file outside the folders"),
        ("data:text/plain,x", "a data URI has the form"),
        (f"kept:{'0' * 64}", "cannot be read: give an http(s) address"),
    ],
)
async def test_what_cannot_be_read_is_told_with_the_place_where_it_stands(
    inputs: MediaInputs, wrong: str, text: str
) -> None:
    assert text in (told := await refused(inputs, picture_plan(PUBLIC, wrong)))
    assert told.startswith("referenceImages[1]")
    last = await refused(inputs, clip_plan(image_url=PUBLIC, last_frame_url=wrong))
    assert last.startswith("lastFrameUrl")
    assert (await refused(inputs, clip_plan(image_url=wrong))).startswith("imageUrl")
    edit = clip_plan(generation_kind="edit", source_video_url=wrong)
    assert (await refused(inputs, edit)).startswith("sourceVideoUrl")


async def test_what_is_no_picture_is_told_with_what_it_is(
    inputs: MediaInputs, outside: Outside, folder: Path, tmp_path: Path
) -> None:
    outside.files[PUBLIC] = b"<html>sorry</html>"
    assert "imageUrl cannot be used" in (told := await refused(inputs, clip_plan(image_url=PUBLIC)))
    assert "HTML" in told
    assert "text" in await refused(inputs, picture_plan(str(folder / "notes.txt")))
    inline = "data:image/png;base64," + base64.b64encode(b"no picture").decode()
    assert "text" in await refused(inputs, picture_plan(inline))
    assert spooled(tmp_path) == []


async def test_a_file_may_be_named_as_people_and_as_programs_do(inputs: MediaInputs, folder: Path) -> None:
    for name in (str(folder / "a picture.jpg"), (folder / "a picture.jpg").as_uri()):
        await checked(inputs, clip_plan(image_url=name))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("10.15\u202fPM.jpg", "10.15 PM.jpg"),
        ("a\u00a0 b.jpg", "a b.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("a picture.jpg", "a\\ picture.jpg"),
        ("(1) it's.jpg", "\\(1\\)\\ it\\'s.jpg"),
        ("c\u202fd [1].jpg", "c\\ d\\ \\[1\\].jpg"),
    ],
)
async def test_a_file_is_found_by_a_name_that_reads_the_same(
    inputs: MediaInputs, folder: Path, name: str, written: str
) -> None:
    (folder / "with blank").mkdir()
    for place in (folder, folder / "with blank"):
        (place / name).write_bytes(jpeg())
    await checked(inputs, clip_plan(image_url=str(folder / written)))
    await checked(inputs, clip_plan(image_url=f"{folder}/with\\ blank/{written}"))
    await checked(inputs, clip_plan(image_url=(folder / written).as_uri()))


async def test_of_two_files_that_read_the_same_none_is_guessed(inputs: MediaInputs, folder: Path) -> None:
    for name in ("a\u202fb.jpg", "a\u00a0b.jpg"):
        (folder / name).write_bytes(jpeg())
    assert "cannot be read: No such file" in await refused(inputs, clip_plan(image_url=str(folder / "a b.jpg")))


async def test_a_name_that_reads_the_same_leads_out_of_no_folder(
    inputs: MediaInputs, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "a\u202fb.jpg").write_bytes(jpeg())
    (folder / "c\u202fd.jpg").symlink_to(tmp_path / "a\u202fb.jpg")
    for path in (tmp_path / "a b.jpg", folder / "c d.jpg", folder / ".." / "a b.jpg"):
        assert "outside the folders" in await refused(inputs, clip_plan(image_url=str(path)))


async def test_a_link_that_leads_out_of_the_folder_is_not_followed(inputs: MediaInputs, folder: Path) -> None:
    (folder / "way-out").symlink_to("/etc/hostname")
    assert "outside the folders" in await refused(inputs, clip_plan(image_url=str(folder / "way-out")))


async def test_a_loop_of_links_is_no_file(inputs: MediaInputs, folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    assert "must be an http(s) address, or a file" in await refused(inputs, clip_plan(image_url=str(folder / "loop")))


async def test_all_that_goes_along_is_held_to_one_request(inputs: MediaInputs, outside: Outside, folder: Path) -> None:
    size_bytes = len(jpeg())
    small = PAINTER.model_copy(update={"max_inputs_bytes": 2 * size_bytes})
    await inputs.check(picture_plan(PUBLIC, INLINE), small)
    with pytest.raises(InvalidRequest, match=f"^the given media have {3 * size_bytes:,} bytes in all"):
        await inputs.check(picture_plan(PUBLIC, INLINE, PUBLIC), small)
    make_clip(folder / "three.mp4", "libx264", 3)
    edit = clip_plan(generation_kind="edit", source_video_url=str(folder / "three.mp4"))
    with pytest.raises(InvalidRequest, match=r"^the given media have [\d,]+ bytes in all"):
        await inputs.check(edit, EDITOR.model_copy(update={"max_inputs_bytes": 100}))


async def test_a_clip_that_follows_another_need_not_be_given(inputs: MediaInputs, outside: Outside) -> None:
    """Its provider has the source still."""
    extend = clip_plan(generation_kind="extend", follows="request-1")
    assert await checked(inputs, extend) == Measured()
    assert outside.asked == []


async def test_a_picture_that_is_too_large_is_told_with_both_sizes(inputs: MediaInputs, folder: Path) -> None:
    (folder / "large.jpg").write_bytes(jpeg() + b"\0" * MAX_IMAGE_BYTES)
    told = await refused(inputs, clip_plan(image_url=str(folder / "large.jpg")))
    assert told.endswith("bytes; 10,485,760 are allowed")


async def test_a_spool_that_cannot_be_written_is_told_before_any_spend(inputs: MediaInputs, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    for plan in (clip_plan(image_url=PUBLIC), picture_plan(INLINE)):
        with pytest.raises(StorageError, match="nothing was spent"):
            await checked(inputs, plan)


async def test_a_disk_that_fills_while_media_come_is_told_before_any_spend(
    inputs: MediaInputs, outside: Outside, tmp_path: Path
) -> None:
    outside.trouble = OSError(28, "No space left on device")
    edit = clip_plan(generation_kind="edit", source_video_url="https://clips.example/a.mp4")
    for plan in (clip_plan(image_url=PUBLIC), edit):
        with pytest.raises(StorageError, match=r"cannot be written \(No space left on device\); nothing was spent"):
            await checked(inputs, plan)
    assert spooled(tmp_path) == []


async def test_a_source_clip_here_is_measured_and_held_to_the_models_limits(
    inputs: MediaInputs, folder: Path, tmp_path: Path
) -> None:
    make_clip(folder / "three.mp4", "libx264", 3)
    make_clip(folder / "ten.mp4", "libx264", 10)
    edit = clip_plan(generation_kind="edit", source_video_url=str(folder / "three.mp4"))
    sha256 = hashlib.sha256((folder / "three.mp4").read_bytes()).hexdigest()
    assert await checked(inputs, edit) == Measured(source_s=Decimal(3), source_sha256=sha256)
    long = clip_plan(generation_kind="edit", source_video_url=str(folder / "ten.mp4"))
    assert "the clip has 10.0 s and the provider edits 8.7 s" in await refused(inputs, long)
    picture = clip_plan(generation_kind="edit", source_video_url=str(folder / "a picture.jpg"))
    assert (await refused(inputs, picture)).startswith("sourceVideoUrl cannot be used: it is a JPEG file")
    assert "without pictures" in await refused(
        inputs, clip_plan(generation_kind="edit", source_video_url=str(folder / "clip.mp4"))
    )
    assert spooled(tmp_path) == []


async def test_a_source_clip_elsewhere_is_fetched_to_be_looked_at(
    inputs: MediaInputs, outside: Outside, folder: Path, tmp_path: Path
) -> None:
    url = "https://clips.example/a.mp4"
    make_clip(folder / "three.mp4", "libx264", 3)
    outside.files[url] = (folder / "three.mp4").read_bytes()
    public = clip_plan(generation_kind="edit", source_video_url=url)
    assert (await checked(inputs, public)).source_s == Decimal(3)
    outside.files[url] = jpeg()
    assert "it is a JPEG file; " in await refused(inputs, public)
    assert outside.asked == [(url, MAX_VIDEO_BYTES)] * 2
    assert spooled(tmp_path) == []


async def test_a_source_clip_on_a_private_network_is_not_fetched(inputs: MediaInputs, outside: Outside) -> None:
    private = clip_plan(generation_kind="edit", source_video_url="https://10.0.0.1/a.mp4")
    assert await refused(inputs, private) == "sourceVideoUrl cannot be used: it is on a private network"
    assert outside.asked == []


async def test_a_file_id_is_refused_where_its_maker_has_none(inputs: MediaInputs, outside: Outside) -> None:
    of_xai = picture_plan(PUBLIC, FILE_ID)
    await checked(inputs, of_xai)
    told = await refused(inputs, of_xai.model_copy(update={"provider": "google", "model": "omni"}))
    assert told == "referenceImages[1] is a file id, and omni takes none: give the picture's address"
    assert [url for url, _ in outside.asked] == [PUBLIC, PUBLIC]


async def test_what_takes_too_long_to_come_is_told(tmp_path: Path, outside: Outside) -> None:
    async def never(url: str, path: Path, max_bytes: int) -> Downloaded:
        await asyncio.Event().wait()
        raise AssertionError

    slow = MediaInputs(
        LocalStorage(tmp_path / "files"),
        fetch=never,
        check_address=outside.check_address,
        decoder=open_decoders().given,
        sizes=SIZES,
        folders=[],
        spool=tmp_path / "spool",
        fetch_limit_s=0.05,
    )
    told = await refused(slow, clip_plan(image_url=PUBLIC))
    assert told == "imageUrl cannot be used: it was not there after 0.05 s"
    assert spooled(tmp_path) == []


async def test_a_minute_is_all_that_an_address_has(tmp_path: Path, outside: Outside) -> None:
    asked = asyncio.Event()

    async def never(url: str, path: Path, max_bytes: int) -> Downloaded:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    slow = inputs_of(tmp_path, outside)
    slow._fetch = never
    checking = asyncio.create_task(refused(slow, clip_plan(image_url=PUBLIC)))
    await asked.wait()
    for passing_s, is_over in ((50, False), (11, True)):
        let_pass(passing_s)
        for _ in range(20):
            await asyncio.sleep(0)
        assert checking.done() == is_over
    assert await checking == "imageUrl cannot be used: it was not there after 60 s"


def test_callers_are_here_unless_said_otherwise(engine: Engine) -> None:
    path = engine.storage._root / "generated" / "a.jpg"
    engine.inputs.refuse_foreign_paths(ImageRequest(prompt="x", reference_images=(str(path),)))


async def test_a_source_that_is_only_recorded_is_not_looked_at(inputs: MediaInputs) -> None:
    assert (await checked(inputs, clip_plan(source_video_url="https://10.0.0.1/a.mp4"))).source_s is None


# What is kept


async def test_a_picture_that_came_inline_is_kept_under_its_hash(inputs: MediaInputs, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(jpeg()).hexdigest()
    plan = await inputs.keep(picture_plan(PUBLIC, INLINE, FILE_ID))
    assert plan.reference_images == (PUBLIC, f"kept:{sha256}", FILE_ID)
    assert spooled(tmp_path) == [f"input-{sha256}"]
    clip = await inputs.keep(clip_plan(image_url=PUBLIC, last_frame_url=INLINE))
    assert isinstance(clip, VideoPlan)
    assert (clip.image_url, clip.last_frame_url) == (PUBLIC, f"kept:{sha256}")
    framed = await inputs.keep(clip_plan(image_url=INLINE))
    assert isinstance(framed, VideoPlan)
    assert framed.image_url == f"kept:{sha256}"
    assert await inputs.keep(clip_plan()) == clip_plan()


async def test_addresses_of_ones_own_lose_their_signature_and_others_stay(tmp_path: Path, outside: Outside) -> None:
    inputs = inputs_of(tmp_path, outside, PrivateStorage(tmp_path / "files"))
    picture = ImageRequest(prompt="x", reference_images=(f"{OURS}?signed", PUBLIC))
    assert inputs.unsign(picture).reference_images == (OURS, PUBLIC)
    asked = VideoRequest(
        prompt="x", image_url=f"{OURS}?signed", last_frame_url=PUBLIC, source_video_url=f"{OURS}?signed=2"
    )
    plain = replace(asked, image_url=OURS, source_video_url=OURS)
    assert inputs.unsign(asked) == plain
    assert inputs.unsign(VideoRequest(prompt="x")) == VideoRequest(prompt="x")


# What a provider is given


def test_a_stranger_names_no_path_in_our_storage(tmp_path: Path, outside: Outside, folder: Path) -> None:
    stored = tmp_path / "files" / "generated" / "of-somebody.jpg"
    stored.parent.mkdir(parents=True)
    stored.write_bytes(jpeg())
    here, strangers = (inputs_of(tmp_path, outside, callers_are_here=are_here) for are_here in (True, False))
    for address in (str(stored), stored.as_uri()):
        for request, field in (
            (ImageRequest(prompt="x", reference_images=(PUBLIC, address)), r"referenceImages\[1\]"),
            (VideoRequest(prompt="x", image_url=address), "imageUrl"),
            (VideoRequest(prompt="x", source_video_url=address), "sourceVideoUrl"),
        ):
            here.refuse_foreign_paths(request)
            with pytest.raises(InvalidRequest, match=f"^{field} is a file outside the folders of RING_INPUT_DIRS"):
                strangers.refuse_foreign_paths(request)
    allowed = (str(folder / "a picture.jpg"), PUBLIC, INLINE, FILE_ID)
    strangers.refuse_foreign_paths(ImageRequest(prompt="x", reference_images=allowed))


@pytest.mark.parametrize("address", [PUBLIC, "http://pictures.example/a.jpg"])
async def test_a_public_address_goes_out_unread(inputs: MediaInputs, outside: Outside, address: str) -> None:
    assert await inputs.for_provider(clip_plan(image_url=address)) == Inputs(image_url=address)
    assert outside.asked == []


async def test_a_public_address_goes_out_as_it_is(inputs: MediaInputs, outside: Outside) -> None:
    given = await inputs.for_provider(clip_plan(image_url=PUBLIC, last_frame_url=FILE_ID))
    assert given == Inputs(image_url=PUBLIC, last_frame_url=FILE_ID)
    assert await inputs.for_provider(picture_plan(PUBLIC, FILE_ID)) == Inputs(reference_images=(PUBLIC, FILE_ID))
    assert outside.asked == []


async def test_a_provider_that_reads_no_addresses_gets_bytes_and_file_ids(inputs: MediaInputs) -> None:
    given = await inputs.for_provider(clip_plan(image_url=PUBLIC, last_frame_url=FILE_ID), as_bytes=True)
    assert given == Inputs(image_url=INLINE, last_frame_url=FILE_ID)
    assert await inputs.for_provider(picture_plan(PUBLIC), as_bytes=True) == Inputs(reference_images=(INLINE,))


async def test_a_file_of_this_machine_goes_out_as_bytes(inputs: MediaInputs, folder: Path, tmp_path: Path) -> None:
    given = await inputs.for_provider(clip_plan(image_url=str(folder / "a picture.jpg")))
    assert given.image_url == INLINE
    assert spooled(tmp_path) == []


async def test_a_picture_that_was_kept_goes_out_as_bytes_and_stays(inputs: MediaInputs, tmp_path: Path) -> None:
    plan = await inputs.keep(picture_plan(INLINE))
    for _ in range(2):
        assert (await inputs.for_provider(plan)).reference_images == (INLINE,)
    assert len(spooled(tmp_path)) == 1


async def test_an_address_on_a_private_network_is_left_to_the_provider(inputs: MediaInputs) -> None:
    assert (await inputs.for_provider(clip_plan(image_url=PRIVATE))).image_url == PRIVATE


async def test_a_file_of_our_own_storage_is_signed_for_the_provider(tmp_path: Path, outside: Outside) -> None:
    inputs = inputs_of(tmp_path, outside, PrivateStorage(tmp_path / "files"))
    assert (await inputs.for_provider(clip_plan(image_url=OURS))).image_url == f"{OURS}?signed"


async def test_an_own_file_that_nobody_else_reaches_goes_out_as_bytes(tmp_path: Path, outside: Outside) -> None:
    inputs = inputs_of(tmp_path, outside, PrivateStorage(tmp_path / "files", signs=False))
    sent = (await inputs.for_provider(clip_plan(image_url=OURS))).image_url or ""
    assert base64.b64decode(sent.partition(",")[2]) == jpeg("navy")
    assert spooled(tmp_path) == []
    assert outside.asked == []


@pytest.mark.parametrize("as_bytes", [False, True])
async def test_a_storage_that_is_away_says_which_input_it_is(tmp_path: Path, outside: Outside, as_bytes: bool) -> None:
    storage = PrivateStorage(tmp_path / "files")
    storage.trouble = StorageError("the bucket is away")
    inputs = inputs_of(tmp_path, outside, storage)
    with pytest.raises(InvalidRequest, match=r"^imageUrl cannot be used: the bucket is away$") as caught:
        await inputs.for_provider(clip_plan(image_url=OURS), as_bytes=as_bytes)
    assert caught.value.__cause__ is storage.trouble


async def test_a_made_still_is_the_first_frame_unless_an_image_was_given(inputs: MediaInputs) -> None:
    made = sample_asset().model_copy(update={"url": "https://stills.example/s.jpg"})
    assert (await inputs.for_provider(clip_plan(made_frame=made))).image_url == made.url
    assert (await inputs.for_provider(clip_plan(made_frame=made, image_url=PUBLIC))).image_url == PUBLIC
    assert await inputs.for_provider(clip_plan()) == Inputs()


async def test_a_source_clip_is_all_that_an_edit_is_given(inputs: MediaInputs, folder: Path) -> None:
    source = "https://clips.example/a.mp4"
    edit = clip_plan(generation_kind="edit", source_video_url=source, image_url=PUBLIC)
    assert await inputs.for_provider(edit) == Inputs(video_url=source)
    here = clip_plan(generation_kind="extend", source_video_url=str(folder / "clip.mp4"))
    sent = (await inputs.for_provider(here)).video_url or ""
    assert sent.startswith("data:video/mp4;base64,")
    assert MAX_VIDEO_BYTES > MAX_IMAGE_BYTES


async def test_an_input_that_is_gone_by_then_is_told(inputs: MediaInputs, folder: Path) -> None:
    (folder / "a picture.jpg").unlink()
    with pytest.raises(InvalidRequest, match=r"^imageUrl cannot be read: No such file"):
        await inputs.for_provider(clip_plan(image_url=str(folder / "a picture.jpg")))


# A picture for a thumbnail


async def test_a_picture_for_drawing_lies_here_or_is_fetched(tmp_path: Path, outside: Outside, folder: Path) -> None:
    inputs = inputs_of(tmp_path, outside, PrivateStorage(tmp_path / "files"))
    place = tmp_path / "frame"
    here = folder / "a picture.jpg"
    assert await inputs.fetch_stored(str(here), place, MAX_IMAGE_BYTES) == here
    assert not place.exists()
    assert await inputs.fetch_stored(OURS, place, MAX_IMAGE_BYTES) == place
    assert (place.read_bytes(), outside.asked) == (jpeg("navy"), [])
    assert await inputs.fetch_stored(PUBLIC, place, MAX_IMAGE_BYTES) == place
    assert (place.read_bytes(), outside.asked) == (jpeg(), [(PUBLIC, MAX_IMAGE_BYTES)])


async def test_a_picture_for_drawing_that_cannot_be_had_is_told(tmp_path: Path, outside: Outside) -> None:
    storage = PrivateStorage(tmp_path / "files")
    inputs = inputs_of(tmp_path, outside, storage)
    with pytest.raises(InvalidRequest, match=r"^its address cannot be reached$"):
        await inputs.fetch_stored("https://gone.example/a.jpg", tmp_path / "frame", MAX_IMAGE_BYTES)
    storage.trouble = StorageError("the bucket is away")
    with pytest.raises(InvalidRequest, match=r"^the bucket is away$"):
        await inputs.fetch_stored(OURS, tmp_path / "frame", MAX_IMAGE_BYTES)


async def test_a_file_of_local_storage_is_found_by_its_own_address(tmp_path: Path, outside: Outside) -> None:
    storage = LocalStorage(tmp_path / "files")
    source = tmp_path / "picture"
    source.write_bytes(jpeg())
    size_bytes, sha256 = hash_file(source)
    media = MediaFile(path=source, size_bytes=size_bytes, sha256=sha256, content_type="image/jpeg", extension="jpg")
    stored = await storage.put("generated/image/1-0-abc.jpg", media, {})
    inputs = inputs_of(tmp_path, outside, storage)
    for name in (stored.url, str(tmp_path / "files" / "generated" / "image" / "1-0-abc.jpg")):
        await checked(inputs, clip_plan(image_url=name))
    assert (await inputs.for_provider(clip_plan(image_url=stored.url))).image_url == INLINE
