"""Names of files in the spool, and of those that machines share. A job's files begin with its id. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

from ring_mcp.domain import Job, Plan, VideoPlan

_JOB_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

OF_A_JOB = re.compile(_JOB_ID)
"""The beginning of the name of every file of a job."""

KEPT = re.compile(r"kept:([0-9a-f]{64})")
"""How a plan refers to a picture that came inline: by its SHA-256."""

_ANSWER = "-answer.json"
_INPUT = re.compile(rf"({_JOB_ID})-input-[0-9a-f]{{32}}")
_OUTPUT = re.compile(rf"({_JOB_ID})-[0-9]{{1,4}}\.inline")


def answer_name(job_id: str) -> str:
    """The file of the answer to a job's paid request."""
    return f"{job_id}{_ANSWER}"


def local_input_name(sha256: str) -> str:
    """The file of an inline picture in the spool of the machine that was given it; one file for one content."""
    return f"input-{sha256}"


def input_name(job_id: str, sha256: str) -> str:
    """The file of an inline picture that machines share for one job; it is removed when that job has ended."""
    return f"{job_id}-input-{sha256[:32]}"  # a part of a storage key has a hundred characters at most


def job_of(name: str) -> str | None:
    """The id of the job whose shared file this is; None for a name that is none of ours."""
    if is_answer(name):
        return name.removesuffix(_ANSWER)
    found = _INPUT.fullmatch(name) or _OUTPUT.fullmatch(name)
    return found[1] if found else None


def is_answer(name: str) -> bool:
    return name.endswith(_ANSWER) and OF_A_JOB.fullmatch(name.removesuffix(_ANSWER)) is not None


def is_input(name: str) -> bool:
    return _INPUT.fullmatch(name) is not None


def output_name(spool_path: str) -> str:
    """The bare name of an output's file; rows of older versions have its whole path on one machine."""
    return PurePath(spool_path).name


def find_kept(plan: Plan) -> list[str]:
    """The hashes of the pictures that came inline with the request, without repeats."""
    given: Iterable[str | None] = plan.reference_images
    if isinstance(plan, VideoPlan):
        given = (*given, plan.image_url, plan.last_frame_url)
    found = (KEPT.fullmatch(each) for each in given if each is not None)
    return list(dict.fromkeys(match[1] for match in found if match is not None))


def list_shared(job: Job, *, answered_inside: bool) -> list[str]:
    """All names under which files of this job may be shared. ``answered_inside``: the provider's answer is the
    result."""
    names = [input_name(job.id, sha256) for sha256 in find_kept(job.plan)]
    names += [output_name(output.spool_path) for output in job.outputs if output.spool_path is not None]
    return [*names, answer_name(job.id)] if answered_inside else names
