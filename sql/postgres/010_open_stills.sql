-- Stills under way, which the next clip takes whose words are the same if their own clip was broken off meanwhile.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 10) THEN RETURN; END IF;

CREATE INDEX media_jobs_open_stills ON media_jobs (actor_id, sandbox, request_hash, created_at)
    WHERE finished_at IS NULL AND parent_job_id IS NOT NULL;

INSERT INTO ring_mcp_migrations (version) VALUES (10);

END $ring_mcp$;
