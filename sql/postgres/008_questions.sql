-- What was asked before it is paid (RING_CONFIRM), and the one use of each yes. A question has an item for each paid
-- request that one yes is for; `job_id` is set in the transaction that opens the job, and never again.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 8) THEN RETURN; END IF;

CREATE TABLE media_job_questions (
    id           TEXT NOT NULL,
    subject      TEXT NOT NULL,
    actor_id     TEXT NOT NULL,
    sandbox      BOOLEAN NOT NULL,
    usd_ticks    BIGINT NOT NULL CHECK (usd_ticks >= 0),
    what         TEXT NOT NULL,
    asked_at     TIMESTAMPTZ NOT NULL,
    expires_at   TIMESTAMPTZ NOT NULL,
    approved_at  TIMESTAMPTZ,
    used_at      TIMESTAMPTZ,
    job_id       TEXT,
    PRIMARY KEY (id, subject),
    CONSTRAINT used_by_a_job CHECK ((used_at IS NULL) = (job_id IS NULL)),
    CONSTRAINT used_when_agreed CHECK (used_at IS NULL OR approved_at IS NOT NULL)
);
CREATE INDEX media_job_questions_subject ON media_job_questions (actor_id, sandbox, subject, asked_at);
CREATE INDEX media_job_questions_open    ON media_job_questions (actor_id, sandbox, asked_at) WHERE approved_at IS NULL;
CREATE INDEX media_job_questions_newest  ON media_job_questions (asked_at) WHERE approved_at IS NULL;
CREATE INDEX media_job_questions_expiry  ON media_job_questions (expires_at);

COMMENT ON TABLE media_job_questions IS 'What was asked before it is paid, and the one job that each yes has opened.';

INSERT INTO ring_mcp_migrations (version) VALUES (8);

END $ring_mcp$;
