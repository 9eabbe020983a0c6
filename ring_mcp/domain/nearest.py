"""Suggests the name that a wrong name was meant to be: the nearest known one, or the one for a common synonym. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

_ENOUGH = 0.72
"""How alike two names have to be. Below, a hint would lead astray, and the names that are allowed stand beside it."""

_SHORTEST_PART = 4
_MAX_NAME_CHARS = 60

_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "n": (
        "numimages",
        "numberofimages",
        "numoutputs",
        "count",
        "batchsize",
        "samplecount",
        "quantity",
        "imagecount",
        "samples",
        "numsamples",
        "numpictures",
        "howmany",
        "outputcount",
        "batch",
        "variants",
        "variations",
        "numvariations",
    ),
    "aspectRatio": ("ratio", "shape", "orientation", "ar"),
    "resolution": ("imagesize", "videoresolution", "videosize", "definition", "outputresolution"),
    "aspectRatio or resolution": ("size", "width", "height", "dimensions"),
    "imageUrl": (
        "image",
        "firstframe",
        "firstframeurl",
        "startimage",
        "startframe",
        "inputimage",
        "inputimageurl",
        "startimageurl",
        "firstframeimage",
        "initimage",
        "imguri",
        "imgurl",
        "imageuri",
        "photo",
        "promptimage",
        "keyframe",
    ),
    "videoResolution": ("resolution",),
    "referenceImages": (
        "image",
        "images",
        "imageurl",
        "imageurls",
        "inputimage",
        "inputimages",
        "sourceimage",
        "sourceimages",
        "initimage",
        "imguri",
        "imgurl",
        "imageuri",
        "photo",
    ),
    "lastFrameUrl": (
        "endimage",
        "endframe",
        "lastframe",
        "lastimage",
        "tailimage",
        "endimageurl",
        "endframeurl",
        "lastimageurl",
        "tailimageurl",
        "endframeimage",
        "lastframeimage",
        "tailframe",
        "finalframe",
    ),
    "sourceVideoUrl": (
        "video",
        "videourl",
        "videouri",
        "inputvideo",
        "inputvideourl",
        "referencevideo",
        "referencevideourl",
        "initvideo",
    ),
    "duration": (
        "seconds",
        "length",
        "durationseconds",
        "durationsecs",
        "lengthseconds",
        "time",
        "videolength",
        "cliplength",
    ),
    "pipelineRequestId": ("campaign", "campaignid", "pipelineid"),
    "clipId": ("clipname",),
    "provider": ("vendor", "service"),
    "model": ("engine",),
    "refCode": ("trackingid", "tag", "ref"),
    "purpose": ("folder", "directory", "category"),
    "qualityMode": ("mode", "quality", "preset"),
    "extend": ("extendseconds", "extendby"),
    "maxUsd": ("budget", "maxcost", "maxprice", "costlimit", "budgetusd", "maxbudget", "maxspend"),
    "dryRun": ("quote", "simulate", "estimate", "estimateonly", "priceonly", "previewonly", "test"),
    "waitSeconds": ("wait", "timeout", "timeoutseconds", "timeoutms", "waitfor"),
    "prompt": (
        "description",
        "style",
        "negativeprompt",
        "camera",
        "cameramotion",
        "text",
        "caption",
        "query",
        "dialogue",
        "negative",
        "script",
    ),
    "firstFramePrompt": ("imageprompt", "stillprompt", "firstframedescription", "framedescription"),
    "idempotencyKey": ("clientrequestid", "clienttoken", "dedupekey", "requestkey"),
    "thumbnail": ("poster", "cover", "coverimage"),
    "persistToFilebase": ("persist", "save", "store"),
    "state": ("status",),
    "kind": ("type", "mediatype"),
    "limit": ("count", "pagesize", "maxresults", "perpage", "max"),
    "cursor": ("page", "offset", "pagetoken", "nextcursor", "after"),
    "since": ("after", "from", "startdate", "date"),
    "jobIds": ("ids",),
    "jobId": ("id", "job", "requestid", "taskid", "uuid"),
    "request": ("script", "schemaversion", "requestid", "json", "content"),
    "path": ("file", "filename", "filepath"),
    "id": ("name", "clipid", "castid", "title"),
    "line": ("text", "says"),
    "action": ("description", "text"),
    "imagePrompt": ("prompt",),
    "overlays": ("text", "title", "texts", "caption", "words"),
    "text": ("title", "words", "content", "label"),
}
"""By our name: what others call the like. Only where that name is one of those allowed."""


def nearest(wrong: str, names: Iterable[str], within: Mapping[str, Iterable[str]] | None = None) -> str | None:
    """The name that ``wrong`` was probably meant to be; None if none is near enough.

    ``within``: names that would be right one level deeper, by the name of that place: ``video.model``.
    """
    names, wanted = tuple(names), _fold(wrong[:_MAX_NAME_CHARS])
    if not wanted:
        return None
    for name in names:
        if _fold(name) == wanted:
            return name
    for place, inner in (within or {}).items():
        for name in inner:
            if _fold(name) == wanted:
                return f"{place}.{name}"
    for name, others in _ELSEWHERE.items():
        if wanted in others and all(each in names for each in name.split(" or ")):
            return name
    return _alike(wanted, {_fold(name): name for name in names})


def _alike(wanted: str, folded: Mapping[str, str]) -> str | None:
    """By how much of the letters agree; a name that stands in the other as a whole counts as near."""
    parts = [
        each for each in folded if min(len(each), len(wanted)) >= _SHORTEST_PART and (each in wanted or wanted in each)
    ]
    # The longest of what is inside of it: "thumbnail text" is a thumbnail before it is a text.
    if parts:
        return folded[min(parts, key=lambda each: abs(len(each) - len(wanted)))]
    close = difflib.get_close_matches(wanted, folded, n=1, cutoff=_ENOUGH)
    return folded[close[0]] if close else None


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.casefold())
