-- The ledger of ring-mcp in SQLite. Applied once, in one transaction, and never edited after a release.
-- Times are UTC text of one fixed width, so that they sort; money is integer ticks of 1e-10 US dollars, so that sums are exact.

CREATE TABLE generated_images (
    id          TEXT NOT NULL PRIMARY KEY,
    data        TEXT NOT NULL CHECK (json_valid(data)),
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL
);
CREATE INDEX idx_generated_images_actor_id   ON generated_images (json_extract(data, '$.actorId'));
CREATE INDEX idx_generated_images_provider   ON generated_images (json_extract(data, '$.provider'));
CREATE INDEX idx_generated_images_purpose    ON generated_images (json_extract(data, '$.purpose'));
CREATE INDEX idx_generated_images_ref_code   ON generated_images (json_extract(data, '$.refCode'));
CREATE INDEX idx_generated_images_created_at ON generated_images (created_at DESC);

CREATE TABLE generated_videos (
    id          TEXT NOT NULL PRIMARY KEY,
    data        TEXT NOT NULL CHECK (json_valid(data)),
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL
);
CREATE INDEX idx_generated_videos_actor_id ON generated_videos (json_extract(data, '$.actorId'));
CREATE INDEX idx_generated_videos_provider ON generated_videos (json_extract(data, '$.provider'));
CREATE INDEX idx_generated_videos_purpose ON generated_videos (json_extract(data, '$.purpose'));
CREATE INDEX idx_generated_videos_ref_code ON generated_videos (json_extract(data, '$.refCode'));
CREATE INDEX idx_generated_videos_clip_id ON generated_videos (json_extract(data, '$.clipId'));
CREATE INDEX idx_generated_videos_pipeline_request_id ON generated_videos (json_extract(data, '$.pipelineRequestId'));
CREATE INDEX idx_generated_videos_quality_mode ON generated_videos (json_extract(data, '$.qualityMode'));
CREATE INDEX idx_generated_videos_request_id ON generated_videos (json_extract(data, '$.requestId'));
CREATE INDEX idx_generated_videos_generation_kind ON generated_videos (json_extract(data, '$.generationKind'));
CREATE INDEX idx_generated_videos_remaster_from_request_id ON generated_videos (json_extract(data, '$.remasterFromRequestId'));
CREATE INDEX idx_generated_videos_created_at ON generated_videos (created_at DESC);

CREATE TABLE media_jobs (
    id                    TEXT NOT NULL PRIMARY KEY,
    kind                  TEXT NOT NULL CHECK (kind IN ('image', 'video')),
    state                 TEXT NOT NULL CHECK (state IN ('planned', 'submitting', 'rendering', 'storing', 'unknown',
                                                         'done', 'failed', 'refused', 'expired')),
    version               INTEGER NOT NULL CHECK (version >= 1),
    actor_id              TEXT NOT NULL,
    request_hash          TEXT NOT NULL,
    idempotency_key       TEXT,
    parent_job_id         TEXT,
    ref_code              TEXT,
    clip_id               TEXT,
    pipeline_request_id   TEXT,
    plan                  TEXT NOT NULL CHECK (json_valid(plan)),
    sandbox               INTEGER NOT NULL CHECK (sandbox IN (0, 1)),
    owner                 TEXT,
    attempt_token         TEXT,
    submit_deadline_at    TEXT,
    provider_request_id   TEXT,
    served_model          TEXT,
    progress              INTEGER NOT NULL CHECK (progress BETWEEN 0 AND 100),
    attempts              INTEGER NOT NULL CHECK (attempts >= 0),
    due_at                TEXT,
    outputs               TEXT NOT NULL CHECK (json_type(outputs) = 'array'),
    assets                TEXT NOT NULL CHECK (json_type(assets) = 'array'),
    failure               TEXT CHECK (failure IS NULL OR json_valid(failure)),
    warnings              TEXT NOT NULL CHECK (json_type(warnings) = 'array'),
    reserved_usd_ticks    INTEGER NOT NULL CHECK (reserved_usd_ticks >= 0),
    billed_usd_ticks      INTEGER CHECK (billed_usd_ticks >= 0),
    settled_usd_ticks     INTEGER CHECK (settled_usd_ticks >= 0),
    created_at            TEXT NOT NULL,
    updated_at            TEXT NOT NULL,
    finished_at           TEXT,
    delivered_at          TEXT,

    CONSTRAINT finished_iff_terminal
        CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'failed', 'refused', 'expired'))),
    CONSTRAINT settled_iff_terminal
        CHECK ((settled_usd_ticks IS NOT NULL) = (state IN ('done', 'failed', 'refused', 'expired'))),
    CONSTRAINT sent_only_with_a_token
        CHECK (state IN ('planned', 'failed', 'refused') OR (attempt_token IS NOT NULL AND submit_deadline_at IS NOT NULL)),
    CONSTRAINT rendering_has_a_handle
        CHECK (state <> 'rendering' OR provider_request_id IS NOT NULL),
    CONSTRAINT storing_has_outputs
        CHECK (state NOT IN ('storing', 'done') OR json_array_length(outputs) > 0),
    CONSTRAINT done_has_assets
        CHECK (state <> 'done' OR json_array_length(assets) > 0 OR COALESCE(json_extract(plan, '$.persist'), 1) = 0),
    CONSTRAINT trouble_has_a_reason
        CHECK (state NOT IN ('unknown', 'failed', 'refused', 'expired') OR failure IS NOT NULL),
    CONSTRAINT delivered_only_when_settled
        CHECK (delivered_at IS NULL OR state IN ('unknown', 'done', 'failed', 'refused', 'expired'))
);
-- A key stands for one paid intent; an attempt that is known to have cost nothing frees it for another try.
CREATE UNIQUE INDEX media_jobs_idempotency_key ON media_jobs (actor_id, idempotency_key, sandbox)
    WHERE idempotency_key IS NOT NULL AND NOT (state IN ('failed', 'refused', 'expired') AND settled_usd_ticks = 0);
CREATE INDEX media_jobs_request_hash ON media_jobs (actor_id, request_hash, created_at DESC);
CREATE INDEX media_jobs_created_at   ON media_jobs (created_at DESC);
CREATE INDEX media_jobs_ref_code     ON media_jobs (ref_code);
CREATE INDEX media_jobs_clip         ON media_jobs (pipeline_request_id, clip_id);
CREATE INDEX media_jobs_spend        ON media_jobs (sandbox, created_at, state, settled_usd_ticks, reserved_usd_ticks);
CREATE INDEX media_jobs_open         ON media_jobs (state, due_at)
    WHERE state IN ('planned', 'submitting', 'rendering', 'storing', 'unknown');
