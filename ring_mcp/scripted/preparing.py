"""What a run would do with each clip of a script: its arguments, its key, and what it starts from. Spends nothing."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ring_mcp.domain.choices import choose
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.rules import provider_of, takers, values
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


class Preparing:
    """``known``: what earlier runs have noted. Every method raises InvalidRequest for what the script cannot mean."""

    def __init__(
        self, request: ScriptRequest, options: RunOptions, maker: Maker, presets: Presets, known: Known
    ) -> None:
        self._request = request
        self._options = options
        self._maker = maker
        self._presets = presets
        self._known = known
        # Over the whole script, whichever clips are named: --clip must not turn a second take into a first one.
        self._takes = self._count_takes()

    def select(self) -> Sequence[Clip]:
        clips, ids = self._request.clips, [clip.id for clip in self._request.clips]
        wanted = {name: choose(name, ids) for name in self._options.clip_ids}
        if unknown := [name for name, found in wanted.items() if found is None]:
            raise InvalidRequest(f"No clips matched {', '.join(unknown)}. Available: {', '.join(ids)}")
        # In the order of the script, which decides what the caps leave room for, and not of the command line.
        selected = [clip for clip in clips if not wanted or clip.id in wanted.values()]
        if self._options.source_url and len(selected) > 1:
            raise InvalidRequest("a source URL is that of one clip: name it with --clip")
        return selected

    def _count_takes(self) -> dict[str, int]:
        """Which take each clip is of its words: in one script the same words twice are two clips."""
        seen: Counter[str] = Counter()
        takes = {}
        for clip in self._request.clips:
            key, _ = self._key(self._compile(clip, None))
            seen[key] += 1
            takes[clip.id] = seen[key]
        return takes

    async def prepare(self, clip: Clip) -> ClipRun:
        known, take, plain = self._known, self._takes[clip.id], self._compile(clip, None)
        words, (plain_key, plain_mode) = words_key(plain), self._key(plain, take=take)
        start = await self._start(clip, plain_key, plain_mode, words) if self._options.remaster else Start()
        arguments = self._compile(clip, start.remaster)
        key, mode = self._key(arguments, source_job_id=start.job_id, take=take)
        attempts = known.of_key(key, clip.id)
        if self._options.force:
            # A key of its own, or the ledger would join the job that is there.
            key, attempts = f"{key}+{uuid.uuid4().hex[:8]}", []
        elif start.remaster == Remaster() and plain_mode in _PRODUCTION:
            # It was made at 720p from the beginning: a remaster of its words alone would buy the same clip again.
            made = [row for row in known.of_key(plain_key, clip.id) if row.get("status") == "done"]
            attempts += [row for row in made if row not in attempts]
            start.warnings.extend(["it is at 720p already; --force makes it again"] if made else [])
        return ClipRun(
            id=clip.id,
            duration_s=clip.duration,
            arguments=arguments,
            key=key,
            mode=mode,
            words=words,
            attempts=attempts,
            status="error" if start.error else "waiting",
            error=start.error,
            warnings=start.warnings,
        )

    async def _start(self, clip: Clip, key: str, mode: str, words: str) -> Start:
        """From which draft a remaster starts: one of this clip, or one that was asked for in the same words."""
        drafts = [*self._known.own(clip.id), *self._known.of_key(key, clip.id)[::-1]]
        if mode in DRAFTS and not drafts and (job_id := await self._maker.find(key)) is not None:
            # The manifest is gone or another one: the ledger still knows the draft by its key.
            drafts = [{"qualityMode": mode, "status": "pending", "jobId": job_id, "wordsKey": words}]
        first = self._presets.video_providers[0]
        provider = self._provider_of(self._compile(clip, None))
        editor = self._presets.editor_of(provider) or self._presets.editor_of(first)
        limit_s = self._presets.video_models[editor].max_edit_input_s if editor else Decimal(0)
        return await remaster_of(clip, drafts, words, self._options.source_url, self._maker, limit_s)

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
        return script_key(arguments, mode, self._provider_of(arguments), source_job_id=source_job_id, take=take), mode


def makes_of(presets: Presets) -> Makes:
    """What scripts may ask for: whatever any model of the registry makes."""
    clips = takers(presets.video_models, lambda model: model.max_duration_s)
    return Makes(
        longest_s=max(clips.values()),
        image_sizes=values(presets.image_models, lambda model: model.resolutions),
        clip_sizes=values(presets.video_models, lambda model: model.resolutions),
    )
