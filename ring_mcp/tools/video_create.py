"""ring-video-create: arguments -> VideoRequest -> VideoConductor -> answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ring_mcp.conductors.results import GenerateVideoResult
from ring_mcp.conductors.video import VideoConductor
from ring_mcp.domain import VideoRequest
from ring_mcp.tools.job_answers import Previews, answer, report
from ring_mcp.tools.paid import DryRun, IdempotencyKey, Wait, paid
from ring_mcp.tools.tool import Answer, Arguments, Caller, ShortText, Text, Tool, Whole

DESCRIPTION = """\
Makes a video clip of 1 to 15 seconds from a prompt, optionally from a first frame, on the operator's own provider \
key, stores it, and returns a permanent URL. It costs money ($0.03 to $0.14 a second; dryRun: true tells the price \
without spending).

A clip usually takes one to five minutes, longer than this call waits: the answer then has state and jobId. Call \
ring-job-get with that jobId until the clip is there; do not call this tool again for the same clip. An identical call \
while one is under way joins it and pays nothing.

qualityMode: draft (480p from text, the default), draft_i2v (480p from an image), production (720p from text), \
production_i2v (720p from an image). draft with imageUrl or firstFramePrompt becomes draft_i2v by itself. \
remaster: true makes the clip again at 720p; with sourceVideoUrl it edits that clip (8.7 seconds at most). \
provider google: 3 to 10 seconds, 16:9 or 9:16, 360p for the drafts, no edit of a clip.

Example: {"prompt": "ACTION: the boat turns into the wind. CAMERA: slow dolly in.", "duration": 6}"""

QualityModeName = Literal["draft", "draft_i2v", "production", "production_i2v"]


class VideoCreateArguments(Arguments):
    prompt: Text = Field(description="Motion, camera, ACTION and DIALOGUE blocks; sent unchanged. Required.")
    provider: Text | None = Field(None, description="Who makes it: xai (default) or google.", examples=["xai"])
    quality_mode: QualityModeName | None = Field(None, description="Default: draft.")
    duration: Whole | None = Field(None, description="Whole seconds, 1 to 15; 3 to 10 on Google. Default: 6.")
    aspect_ratio: Text | None = Field(
        None, description="16:9 (default), 9:16, 1:1, 4:3, 3:4, 3:2 or 2:3; on Google the first two.", examples=["16:9"]
    )
    resolution: Text | None = Field(
        None, description="480p (360p on Google), 720p or 1080p in place of the mode's own."
    )
    model: Text | None = Field(None, description="The provider's model id in place of the mode's own.")
    image_url: Text | None = Field(
        None, description="First frame: an http(s) URL, or a file URL that ring-image-create returned (up to 10 MiB)."
    )
    first_frame_prompt: Text | None = Field(
        None, description="Make the first frame from this prompt first (a paid image). Not used if imageUrl is given."
    )
    image_provider: Text | None = Field(None, description="Who makes the first frame: xai or google. Default: xai.")
    image_model: Text | None = Field(None, description="The first frame's model.")
    image_resolution: Text | None = Field(
        None, description="The first frame's size: 1k or 2k. Default: 2k on xAI, 1k on Google."
    )
    source_video_url: Text | None = Field(None, description="With remaster: the clip to edit.")
    remaster_from_video_url: Text | None = Field(None, description="Another name of sourceVideoUrl, which wins.")
    remaster: bool = Field(False, description="true: make it at 720p; with sourceVideoUrl: edit that clip.")
    remaster_from_request_id: ShortText | None = Field(
        None, description="The requestId of the draft, kept in the audit row."
    )
    clip_id: ShortText | None = Field(None, description="Your id of this clip, kept in the audit row.")
    pipeline_request_id: ShortText | None = Field(None, description="Your id of the campaign, kept in the audit row.")
    purpose: Text | None = Field(None, description="What it is for, one word; becomes a folder of the storage path.")
    ref_code: ShortText | None = Field(None, description="Your own tracking id, kept in the audit row.")
    persist_to_filebase: bool = Field(
        True, description="false: no copy and no audit row; the answer has the provider's address, which expires."
    )
    dry_run: DryRun = False
    idempotency_key: IdempotencyKey = None
    wait_seconds: Wait = None

    def request(self) -> VideoRequest:
        return VideoRequest(
            prompt=self.prompt,
            provider=self.provider,
            quality_mode=self.quality_mode,
            duration_s=self.duration,
            aspect_ratio=self.aspect_ratio,
            resolution=self.resolution,
            model=self.model,
            image_url=self.image_url,
            first_frame_prompt=self.first_frame_prompt,
            image_provider=self.image_provider,
            image_model=self.image_model,
            image_resolution=self.image_resolution,
            source_video_url=self.source_video_url or self.remaster_from_video_url,
            remaster=self.remaster,
            remaster_from_request_id=self.remaster_from_request_id,
            clip_id=self.clip_id,
            pipeline_request_id=self.pipeline_request_id,
            purpose=self.purpose,
            ref_code=self.ref_code,
            persist=self.persist_to_filebase,
            idempotency_key=self.idempotency_key,
        )


def video_create_tool(videos: VideoConductor, previews: Previews, inline_wait_s: float) -> Tool[VideoCreateArguments]:
    async def handle(arguments: VideoCreateArguments, caller: Caller) -> Answer:
        if arguments.dry_run:
            return answer(await videos.quote(arguments.request()), previews)
        result = await videos.generate(
            arguments.request(),
            actor_id=caller.actor_id,
            wait_s=inline_wait_s if arguments.wait_seconds is None else arguments.wait_seconds,
            on_progress=report(caller.progress),
        )
        return answer(result, previews)

    return Tool(
        name="ring-video-create",
        title="Create a video clip",
        description=DESCRIPTION,
        arguments=VideoCreateArguments,
        output=GenerateVideoResult,
        annotations=paid("Create a video clip"),
        handler=handle,
    )
