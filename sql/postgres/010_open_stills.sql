-- Stills under way, which the next clip takes whose words are the same if their own clip was broken off meanwhile.

CREATE INDEX media_jobs_open_stills ON media_jobs (actor_id, sandbox, request_hash, created_at)
    WHERE finished_at IS NULL AND parent_job_id IS NOT NULL;

INSERT INTO ring_mcp_migrations (version) VALUES (10);
