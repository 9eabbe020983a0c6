"""Input files of a request: measured, checked, written and encoded. What is wrong is refused before any spend."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import unicodedata
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from ring_mcp.domain import MediaFile, MediaKind, Plan, VideoPlan
from ring_mcp.errors import InvalidRequest, LocalPolicy, ProviderBadReply, ProviderError, StorageError
from ring_mcp.files import open_file
from ring_mcp.jobs.addresses import DATA_FORM, is_inside
from ring_mcp.jobs.shared_names import KEPT
from ring_mcp.media.identify import NotTheMedia, hash_file, identify
from ring_mcp.media.mp4 import read_mp4
from ring_mcp.media.natives import Natives, NoDecoder, Undecodable
from ring_mcp.plans.rules import doubt
from ring_mcp.presets import Model, VideoModel
from ring_mcp.presets_limits import InputBytes

_ESCAPES = re.compile(r"\\[nrt]|\\(?=/)")


_SHELLS = re.compile(r"\\([^\w/\\])")
_MOST_NAMES = 10_000


def find_spelled(path: Path, folders: Collection[Path]) -> Path:
    """The file that ``path`` means, if there is none of that very name and one in its folder that reads the same:
    models write every blank as a plain one, a letter and its accent as one sign, and a shell puts backslashes.

    Only the names in ``folders`` are looked through.
    """
    plain = Path(_SHELLS.sub(r"\1", str(path)))
    for each in (path, plain):
        if os.path.lexists(each):
            return each
    found = []
    if is_inside(plain.parent, folders):
        meant = _as_read(plain.name)
        with contextlib.suppress(OSError), os.scandir(plain.parent) as entries:
            found = [entry.name for entry in islice(entries, _MOST_NAMES) if _as_read(entry.name) == meant]
    return plain.with_name(found[0]) if len(found) == 1 else path


def _as_read(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split())


def refuse_kept(plan: Plan) -> None:
    """Refuse names of kept pictures: they are ours, and from a caller they would reach another caller's input.

    Raises InvalidRequest.
    """
    given = {f"referenceImages[{number}]": reference for number, reference in enumerate(plan.reference_images)}
    if isinstance(plan, VideoPlan):
        given |= {"imageUrl": plan.image_url or "", "lastFrameUrl": plan.last_frame_url or ""}
        given |= {"sourceVideoUrl": plan.source_video_url or ""}
    for field, url in given.items():
        if KEPT.fullmatch(url):
            raise InvalidRequest(
                f"{field} cannot be read: give an http(s) address, or a file in a folder of RING_INPUT_DIRS"
            )


def check_length(plan: VideoPlan, model: VideoModel, duration_s: Decimal) -> None:
    """Raises InvalidRequest for a source clip that is too long, or too short, to be edited or extended."""
    has = f"sourceVideoUrl: the clip has {duration_s:.1f} s and the provider"
    # Frames have a length of their own: a clip of 15 s may measure a few hundredths more.
    measured_s, most_s = round(duration_s, 1), model.max_edit_input_s
    if plan.generation_kind == "edit" and most_s is not None and measured_s > most_s:
        unsure = doubt(model, "max_edit_input_s")
        raise InvalidRequest(f"{has} edits {most_s} s at most{unsure}; leave sourceVideoUrl out to re-generate at 720p")
    least_s, most_s, bound = model.min_extend_input_s or 0, model.max_extend_input_s, "max_extend_input_s"
    if plan.follows is not None and model.max_follow_up_input_s is not None:
        most_s, bound = model.max_follow_up_input_s, "max_follow_up_input_s"
    if plan.generation_kind == "extend" and most_s is not None and not least_s <= measured_s <= most_s:
        unsure = doubt(model, "min_extend_input_s", bound)
        raise InvalidRequest(f"{has} extends clips of {least_s} to {most_s} s{unsure}; give it one of that length")


def check_sum(sizes_bytes: Iterable[int], plan: Plan, model: Model) -> None:
    """Raises InvalidRequest for inputs that together are too large for the one request that carries them."""
    total_bytes, most_bytes = sum(sizes_bytes), model.max_inputs_bytes
    if most_bytes is not None and total_bytes > most_bytes:
        raise InvalidRequest(
            f"the given media have {total_bytes:,} bytes in all; {plan.model} takes {most_bytes:,} in one request"
        )


def write_inline(uri: str, path: Path, field: str, max_bytes: int) -> str:
    """Write the content of a data URI to ``path``; returns its SHA-256. Raises InvalidRequest or StorageError."""
    head, _, payload = uri.partition(",")
    if "base64" not in "".join(head.split()).lower().split(";")[1:]:
        raise InvalidRequest(f"{field}: {DATA_FORM}")
    payload = _plain_base64(payload)
    about_bytes = len(payload) // 4 * 3
    # Before decoding, so that what is far too large is not in memory twice; two bytes may be padding.
    if about_bytes > max_bytes + 2:
        raise InvalidRequest(f"{field} has about {about_bytes:,} bytes; {max_bytes:,} are allowed")
    try:
        # Without ``validate``, other characters are dropped, and the file sent is not the file given.
        content = base64.b64decode(payload, validate=True)
    except ValueError as exc:
        raise InvalidRequest(f"{field}: the data URI is not base64") from exc
    try:
        path.write_bytes(content)
    except OSError as exc:
        raise not_writable(path.parent, exc) from exc
    return hashlib.sha256(content).hexdigest()


def _plain_base64(payload: str) -> str:
    """Base64 with the damage of transport undone: line breaks, also as JSON writes them, percent-encoding, plus signs
    turned to blanks, the URL-safe alphabet, missing padding."""
    # What JSON writes for line breaks and slashes, where a text was packed twice; base64 itself has no backslash.
    payload = _ESCAPES.sub("", unquote(payload)).strip()
    whole = payload.replace(" ", "+") if _has_lost_plus_signs(payload) else "".join(payload.split())
    whole = whole.rstrip("=").replace("-", "+").replace("_", "/")
    return whole + "=" * (-len(whole) % 4)


def _has_lost_plus_signs(payload: str) -> bool:
    """Whether the blanks inside were plus signs (form encoding does that) and not line breaks."""
    if " " not in payload or any(char in payload for char in "\r\n\t"):
        return False
    broken, lost = (_can_be_base64(payload.replace(" ", between)) for between in ("", "+"))
    # Wrapped lines have one width, all but the last; plus signs stand anywhere.
    widths = {len(word) for word in payload.split(" ")[:-1]}
    return lost and (not broken or len(widths) > 1)


def _can_be_base64(text: str) -> bool:
    whole = text.rstrip("=")
    return len(whole) % 4 != 1 and (whole == text or len(text) % 4 == 0)


def new_file(spool: Path) -> Path:
    """A new, unique path in the spool folder, which is created. Raises StorageError."""
    try:
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise not_writable(spool, exc) from exc
    return spool / f"input-{uuid.uuid4().hex}"


@contextlib.contextmanager
def spool_file(spool: Path) -> Iterator[Path]:
    """A path in the spool folder whose file is deleted after the ``with``. Raises StorageError."""
    path = new_file(spool)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def not_writable(spool: Path, exc: OSError) -> StorageError:
    return StorageError(
        f"the spool folder {spool} cannot be written ({exc.strerror}); nothing was spent",
        billed="no",
        next_action="Point RING_STATE_DIR to a writable folder with some space.",
    )


def data_uri(natives: Natives, path: Path, field: str, kind: MediaKind, max_bytes: int) -> str:
    """The file as a data URI. Blocking. Raises InvalidRequest if it is gone or no such media."""
    # Identified anew: the file may have been replaced since it was checked, before the spend.
    media = _identify(natives, path, field, kind, max_bytes)
    try:
        with open_file(path) as file:
            content = file.read(media.size_bytes)
    except OSError as exc:
        raise InvalidRequest(f"{field} cannot be read: {exc.strerror}") from exc
    return f"data:{media.content_type};base64,{base64.b64encode(content).decode()}"


def explain_fetch_error(exc: ProviderError) -> str:
    """Why an address could not be fetched, without naming a provider: the address is the caller's."""
    if exc.http_status is not None:
        return f"its address answers HTTP {exc.http_status}"
    return exc.message if isinstance(exc, ProviderBadReply | LocalPolicy) else "its address cannot be reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of the inputs: length and hash of the source clip, width and height of the first picture."""

    source_s: Decimal | None = None
    source_sha256: str | None = None
    shape_px: tuple[int, int] | None = None


def size_px(media: MediaFile) -> tuple[int, int] | None:
    return (media.width_px, media.height_px) if media.width_px and media.height_px else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """What a model takes: types of pictures, codecs of MP4 files (``unsure_codecs``: a note if nobody has confirmed
    them), and how large each may be."""

    model: str
    sizes: InputBytes
    image_types: tuple[str, ...] = ()
    video_codecs: tuple[str, ...] = ()
    unsure_codecs: str = ""

    @classmethod
    def of(cls, name: str, model: Model, sizes: InputBytes) -> Takes:
        codecs = model.video_codecs if isinstance(model, VideoModel) else ()
        unsure = doubt(model, "video_codecs")
        return cls(model=name, sizes=sizes, image_types=model.image_types, video_codecs=codecs, unsure_codecs=unsure)

    @property
    def pictures(self) -> str:
        return f"{self.model} takes {_either(_NAMES.get(each, each) for each in self.image_types)}"

    @property
    def clips(self) -> str:
        codecs = _either(_NAMES.get(each, each) for each in self.video_codecs)
        return f"{self.model} takes MP4 with {codecs}{self.unsure_codecs}"


_NAMES = {
    "image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WebP", "image/gif": "GIF", "image/heic": "HEIC",
    "h264": "H.264", "h265": "H.265", "av1": "AV1", "vp9": "VP9", "vp8": "VP8",
    "video/quicktime": "QuickTime", "video/webm": "WebM",
}  # fmt: skip


def picture(natives: Natives, path: Path, field: str, takes: Takes) -> MediaFile:
    """Identify a picture for a model. Blocking. Raises InvalidRequest for what the model does not take."""
    media = _identify(natives, path, field, "image", takes.sizes.image, takes.pictures)
    if media.content_type not in takes.image_types:
        raise InvalidRequest(
            f"{field} is a {_NAMES.get(media.content_type, media.content_type)} file; {takes.pictures}"
        )
    return media


def clip(natives: Natives, path: Path, field: str, takes: Takes) -> MediaFile:
    """Identify a clip for a model, with its length if that is known. Blocking. Raises InvalidRequest."""
    media = _identify(natives, path, field, "video", takes.sizes.video, takes.clips)
    if media.content_type != "video/mp4":
        raise InvalidRequest(f"{field} is a {_NAMES.get(media.content_type, media.content_type)} file; {takes.clips}")
    facts = read_mp4(path)
    if facts.codec is None:
        raise InvalidRequest(f"{field} is an MP4 file without pictures; {takes.clips}")
    if facts.codec not in takes.video_codecs:
        raise InvalidRequest(f"{field} is an MP4 file with {_NAMES.get(facts.codec, facts.codec)}; {takes.clips}")
    return replace(media, duration_s=media.duration_s or facts.duration_s)


def _identify(natives: Natives, path: Path, field: str, kind: MediaKind, max_bytes: int, takes: str = "") -> MediaFile:
    takes = takes and f"; {takes}"
    try:
        size_bytes = path.stat().st_size
        if size_bytes > max_bytes:
            raise InvalidRequest(f"{field} has {size_bytes:,} bytes; {max_bytes:,} are allowed")
        size_bytes, sha256 = hash_file(path)
        return identify(path, natives, size_bytes=size_bytes, sha256=sha256, expected=kind)
    except OSError as exc:
        raise InvalidRequest(f"{field} cannot be read: {exc.strerror}") from exc
    except NotTheMedia as exc:
        raise InvalidRequest(f"{field} cannot be used: it is {exc.found}{takes}") from exc
    except NoDecoder as exc:
        raise StorageError(
            f"{field} could not be checked: {exc}; nothing was spent", billed="no", next_action=_NO_DECODER
        ) from exc
    except Undecodable as exc:
        raise InvalidRequest(f"{field} cannot be used: {exc}{takes}") from exc


_NO_DECODER = "Free some memory on the machine of the server, or raise its limit of processes, and call again."


def _either(names: Iterable[str]) -> str:
    """``JPEG, PNG or WebP``."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
