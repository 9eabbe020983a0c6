-- The ledger of ring-mcp in PostgreSQL. Never edited after a release.
-- Each file records its version and changes nothing once that is there: `ring-mcp migrate` and `psql -f` get along.
-- generated_images and generated_videos have the shape and indexes that Ring Platform uses, so a clone's own database can serve both;
-- money is bigint ticks of 1e-10 US dollars, so that sums are exact and the two backends share their statements.

CREATE TABLE IF NOT EXISTS ring_mcp_migrations (
    version  INTEGER PRIMARY KEY
);

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 1) THEN RETURN; END IF;

CREATE TABLE IF NOT EXISTS generated_images (
    id          VARCHAR(255) PRIMARY KEY,
    data        JSONB NOT NULL,
    created_at  TIMESTAMPTZ DEFAULT now(),
    updated_at  TIMESTAMPTZ DEFAULT now()
);
CREATE INDEX IF NOT EXISTS idx_generated_images_actor_id   ON generated_images ((data ->> 'actorId'));
CREATE INDEX IF NOT EXISTS idx_generated_images_provider   ON generated_images ((data ->> 'provider'));
CREATE INDEX IF NOT EXISTS idx_generated_images_purpose    ON generated_images ((data ->> 'purpose'));
CREATE INDEX IF NOT EXISTS idx_generated_images_ref_code   ON generated_images ((data ->> 'refCode'));
CREATE INDEX IF NOT EXISTS idx_generated_images_created_at ON generated_images (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_generated_images_data_gin   ON generated_images USING gin (data);

CREATE TABLE IF NOT EXISTS generated_videos (
    id          VARCHAR(255) PRIMARY KEY,
    data        JSONB NOT NULL,
    created_at  TIMESTAMPTZ DEFAULT now(),
    updated_at  TIMESTAMPTZ DEFAULT now()
);
CREATE INDEX IF NOT EXISTS idx_generated_videos_actor_id ON generated_videos ((data ->> 'actorId'));
CREATE INDEX IF NOT EXISTS idx_generated_videos_provider ON generated_videos ((data ->> 'provider'));
CREATE INDEX IF NOT EXISTS idx_generated_videos_purpose ON generated_videos ((data ->> 'purpose'));
CREATE INDEX IF NOT EXISTS idx_generated_videos_ref_code ON generated_videos ((data ->> 'refCode'));
CREATE INDEX IF NOT EXISTS idx_generated_videos_clip_id ON generated_videos ((data ->> 'clipId'));
CREATE INDEX IF NOT EXISTS idx_generated_videos_pipeline_request_id ON generated_videos ((data ->> 'pipelineRequestId'));
CREATE INDEX IF NOT EXISTS idx_generated_videos_quality_mode ON generated_videos ((data ->> 'qualityMode'));
CREATE INDEX IF NOT EXISTS idx_generated_videos_request_id ON generated_videos ((data ->> 'requestId'));
CREATE INDEX IF NOT EXISTS idx_generated_videos_generation_kind ON generated_videos ((data ->> 'generationKind'));
CREATE INDEX IF NOT EXISTS idx_generated_videos_remaster_from_request_id ON generated_videos ((data ->> 'remasterFromRequestId'));
CREATE INDEX IF NOT EXISTS idx_generated_videos_created_at ON generated_videos (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_generated_videos_data_gin ON generated_videos USING gin (data);

CREATE TABLE IF NOT EXISTS media_jobs (
    id                    TEXT PRIMARY KEY,
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
    plan                  JSONB NOT NULL,
    sandbox               BOOLEAN NOT NULL,
    owner                 TEXT,
    attempt_token         TEXT,
    submit_deadline_at    TIMESTAMPTZ,
    provider_request_id   TEXT,
    served_model          TEXT,
    progress              INTEGER NOT NULL CHECK (progress BETWEEN 0 AND 100),
    attempts              INTEGER NOT NULL CHECK (attempts >= 0),
    due_at                TIMESTAMPTZ,
    outputs               JSONB NOT NULL CHECK (jsonb_typeof(outputs) = 'array'),
    assets                JSONB NOT NULL CHECK (jsonb_typeof(assets) = 'array'),
    failure               JSONB,
    warnings              JSONB NOT NULL CHECK (jsonb_typeof(warnings) = 'array'),
    reserved_usd_ticks    BIGINT NOT NULL CHECK (reserved_usd_ticks >= 0),
    billed_usd_ticks      BIGINT CHECK (billed_usd_ticks >= 0),
    settled_usd_ticks     BIGINT CHECK (settled_usd_ticks >= 0),
    created_at            TIMESTAMPTZ NOT NULL,
    updated_at            TIMESTAMPTZ NOT NULL,
    finished_at           TIMESTAMPTZ,
    delivered_at          TIMESTAMPTZ,

    CONSTRAINT finished_iff_terminal
        CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'failed', 'refused', 'expired'))),
    CONSTRAINT settled_iff_terminal
        CHECK ((settled_usd_ticks IS NOT NULL) = (state IN ('done', 'failed', 'refused', 'expired'))),
    CONSTRAINT sent_only_with_a_token
        CHECK (state IN ('planned', 'failed', 'refused') OR (attempt_token IS NOT NULL AND submit_deadline_at IS NOT NULL)),
    CONSTRAINT rendering_has_a_handle
        CHECK (state <> 'rendering' OR provider_request_id IS NOT NULL),
    CONSTRAINT storing_has_outputs
        CHECK (state NOT IN ('storing', 'done') OR jsonb_array_length(outputs) > 0),
    CONSTRAINT done_has_assets
        CHECK (state <> 'done' OR jsonb_array_length(assets) > 0 OR COALESCE(plan ->> 'persist', 'true') = 'false'),
    CONSTRAINT trouble_has_a_reason
        CHECK (state NOT IN ('unknown', 'failed', 'refused', 'expired') OR failure IS NOT NULL),
    CONSTRAINT delivered_only_when_settled
        CHECK (delivered_at IS NULL OR state IN ('unknown', 'done', 'failed', 'refused', 'expired'))
);
-- A key stands for one paid intent; an attempt that is known to have cost nothing frees it for another try.
CREATE UNIQUE INDEX IF NOT EXISTS media_jobs_idempotency_key ON media_jobs (actor_id, idempotency_key, sandbox)
    WHERE idempotency_key IS NOT NULL AND NOT (state IN ('failed', 'refused', 'expired') AND settled_usd_ticks = 0);
CREATE INDEX IF NOT EXISTS media_jobs_request_hash ON media_jobs (actor_id, request_hash, created_at DESC);
CREATE INDEX IF NOT EXISTS media_jobs_created_at   ON media_jobs (created_at DESC);
CREATE INDEX IF NOT EXISTS media_jobs_ref_code     ON media_jobs (ref_code);
CREATE INDEX IF NOT EXISTS media_jobs_clip         ON media_jobs (pipeline_request_id, clip_id);
CREATE INDEX IF NOT EXISTS media_jobs_spend        ON media_jobs (sandbox, created_at, state, settled_usd_ticks, reserved_usd_ticks);
CREATE INDEX IF NOT EXISTS media_jobs_open         ON media_jobs (state, due_at)
    WHERE state IN ('planned', 'submitting', 'rendering', 'storing', 'unknown');

-- One row per server process. Its jobs may be taken over when the lease has run out or the row is gone.
CREATE TABLE IF NOT EXISTS media_job_owners (
    id                TEXT PRIMARY KEY,
    lease_expires_at  TIMESTAMPTZ NOT NULL
);

COMMENT ON TABLE  media_jobs IS 'One row per paid attempt; the row is the durable handle of the job.';
COMMENT ON COLUMN media_jobs.version IS 'Rises with every write: the fencing token. A write with an older version is refused.';
COMMENT ON COLUMN media_jobs.due_at IS 'When the next step may be taken; null = parked until somebody asks.';
COMMENT ON COLUMN media_jobs.reserved_usd_ticks IS 'Counts against the caps until settled. 1 USD = 10000000000 ticks.';
COMMENT ON COLUMN media_jobs.billed_usd_ticks IS 'What the provider said it billed, if it said anything.';
COMMENT ON COLUMN media_jobs.settled_usd_ticks IS 'What the job cost in the end: billed, else list price, else 0 when known not billed.';

INSERT INTO ring_mcp_migrations (version) VALUES (1);

END $ring_mcp$;
