"""What a run would do with each clip of a script: its arguments, its key, and what it starts from. Spends nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from ring_mcp.domain.choices import Spellings
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.rules import model_named, provider_of, takers, values
from ring_mcp.plans.video import resolve_effective_quality_mode
from ring_mcp.presets import Presets
from ring_mcp.scripted.base import Maker, RunOptions
from ring_mcp.scripted.clips import ClipRun, manifest_mode, script_key, words_key
from ring_mcp.scripted.compiler import Remaster, compile_clip
from ring_mcp.scripted.drafts import DRAFTS, Start, remaster_of
from ring_mcp.scripted.known import Known
from ring_mcp.scripted.makes import Makes
from ring_mcp.scripted.rows import row_mode
from ring_mcp.scripted.schema import Clip, ScriptRequest

_PRODUCTION = ("production", "production_i2v")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a clip asks for where nothing is remastered: what names its words and its job. ``take``: which one it is of
    these words, for in one script the same words twice are two clips."""

    words: str
    key: str
    mode: str
    take: int


class Preparing:
    """``known``: what earlier runs have noted. Every method raises InvalidRequest for what the script cannot mean.

    A script unfolds into much more than it is, and to write all of it out takes a while: whoever serves others makes
    one of these beside the loop.
    """

    def __init__(
        self, request: ScriptRequest, options: RunOptions, maker: Maker, presets: Presets, known: Known
    ) -> None:
        self._request = request
        self._options = options
        self._maker = maker
        self._presets = presets
        self._known = known
        # Over the whole script, whichever clips are named: --clip must not turn a second take into a first one.
        self._asked = self._read_clips()

    def select(self) -> Sequence[Clip]:
        clips, ids = self._request.clips, [clip.id for clip in self._request.clips]
        spellings = Spellings(ids)
        wanted = {name: spellings.choose(name) for name in self._options.clip_ids}
        if unknown := [name for name, found in wanted.items() if found is None]:
            raise InvalidRequest(f"No clips matched {', '.join(unknown)}. Available: {', '.join(ids)}")
        # In the order of the script, which decides what the caps leave room for, and not of the command line.
        selected = [clip for clip in clips if not wanted or clip.id in wanted.values()]
        if self._options.source_url and len(selected) > 1:
            raise InvalidRequest("a source URL is that of one clip: name it with --clip")
        return selected

    def _read_clips(self) -> dict[str, _Asked]:
        """By the clip's id. The texts are not kept: together they may be many times the script."""
        seen: Counter[str] = Counter()
        asked = {}
        for clip in self._request.clips:
            plain = self._compile(clip, None)
            key, mode = self._key(plain)
            seen[key] += 1
            take = seen[key]
            key = key if take == 1 else self._key(plain, take=take)[0]
            asked[clip.id] = _Asked(words_key(plain), key, mode, take)
        return asked

    async def prepare(self, clip: Clip) -> ClipRun:
        known, asked = self._known, self._asked[clip.id]
        start = await self._start(clip, asked) if self._options.remaster else Start()
        arguments, key, mode = await asyncio.to_thread(self._ask, clip, start, asked.take)
        attempts = known.of_key(key, clip.id)
        if self._options.force:
            # A key of its own, or the ledger would join the job that is there.
            key, attempts = f"{key}+{uuid.uuid4().hex[:8]}", []
        elif start.remaster == Remaster() and asked.mode in _PRODUCTION:
            # It was made at 720p from the beginning: a remaster of its words alone would buy the same clip again.
            made = [row for row in known.of_key(asked.key, clip.id) if row.get("status") == "done"]
            attempts += [row for row in made if row not in attempts]
            start.warnings.extend(["it is at 720p already; --force makes it again"] if made else [])
        return ClipRun(
            id=clip.id,
            duration_s=clip.duration,
            arguments=arguments,
            key=key,
            mode=mode,
            words=asked.words,
            attempts=attempts,
            status="error" if start.error else "waiting",
            error=start.error,
            warnings=start.warnings,
        )

    def _ask(self, clip: Clip, start: Start, take: int) -> tuple[dict[str, Any], str, str]:
        """The arguments, what names their job, and the mode as the manifest has it."""
        arguments = self._compile(clip, start.remaster)
        return arguments, *self._key(arguments, source_job_id=start.job_id, take=take)

    async def _start(self, clip: Clip, asked: _Asked) -> Start:
        """From which draft a remaster starts: one of this clip, or one that was asked for in the same words."""
        drafts = [*self._known.own(clip.id), *self._known.of_key(asked.key, clip.id)[::-1]]
        if asked.mode in DRAFTS and not drafts and (job_id := await self._maker.find(asked.key)) is not None:
            # The manifest is gone or another one: the ledger still knows the draft by its key.
            drafts = [{"qualityMode": asked.mode, "status": "pending", "jobId": job_id, "wordsKey": asked.words}]
        first = self._presets.video_providers[0]
        provider = self._provider_of(self._compile(clip, None))
        editor = self._presets.editor_of(provider) or self._presets.editor_of(first)
        limit_s = self._presets.video_models[editor].max_edit_input_s if editor else Decimal(0)
        return await remaster_of(clip, drafts, asked.words, self._options.source_url, self._maker, limit_s)

    def list_replaced(self, clip: ClipRun) -> list[ClipRun]:
        """The jobs of earlier words of a clip that are not known to have ended."""
        return [
            ClipRun(
                id=clip.id,
                duration_s=int(row.get("duration") or clip.duration_s),
                arguments={},
                key=str(row["idempotencyKey"]),
                mode=row_mode(row),
                words=str(row.get("wordsKey") or ""),
                attempts=[row],
                superseded_at=str(row.get("attemptAt") or "0"),  # before any other begin
            )
            for row in self._known.list_replaced(clip.id, clip.mode, clip.key, clip.words)
            # By identity: what this run goes on with was not replaced by it.
            if not any(attempt is row for attempt in clip.attempts)
        ]

    def _compile(self, clip: Clip, remaster: Remaster | None) -> dict[str, Any]:
        """With the clip's own provider as the editor of its draft, if that one edits clips."""
        persist = {"persistToFilebase": self._options.persist}
        plain = compile_clip(self._request, clip)
        if remaster is None:
            return plain | persist
        provider = self._provider_of(plain)
        edits = provider != self._presets.video_providers[0] and self._presets.editor_of(provider) is not None
        made_by = replace(remaster, editor=provider if edits else None)
        return compile_clip(self._request, clip, remaster=made_by) | persist

    def _provider_of(self, arguments: Mapping[str, Any]) -> str:
        own = provider_of(arguments.get("model"), self._presets.video_models)
        return str(arguments.get("provider") or own or self._presets.video_providers[0])

    def _key(self, arguments: dict[str, Any], *, source_job_id: str | None = None, take: int = 1) -> tuple[str, str]:
        """The clip's key, and its mode as the manifest has it."""
        mode, kind = resolve_effective_quality_mode(
            str(arguments["qualityMode"]),
            has_image="imageUrl" in arguments or "firstFramePrompt" in arguments,
            remaster=arguments.get("remaster", False),
            has_source="sourceVideoUrl" in arguments,
        )
        mode = manifest_mode(mode, kind)
        # In the registry's spelling: written otherwise it is the same clip, and is not paid again.
        asked = dict(arguments)
        for name, models in (("model", self._presets.video_models), ("imageModel", self._presets.image_models)):
            if name in asked:
                asked[name] = model_named(asked[name], models) or asked[name]
        return script_key(asked, mode, self._provider_of(arguments), source_job_id=source_job_id, take=take), mode


def makes_of(presets: Presets) -> Makes:
    """What scripts may ask for: whatever any model of the registry makes."""
    clips = takers(presets.video_models, lambda model: model.max_duration_s)
    return Makes(
        longest_s=max(clips.values()),
        image_sizes=values(presets.image_models, lambda model: model.resolutions),
        clip_sizes=values(presets.video_models, lambda model: model.resolutions),
    )
