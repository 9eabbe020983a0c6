-- What a person has approved and no call has used: found however often the client has asked again since.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 12) THEN RETURN; END IF;

CREATE INDEX media_job_questions_approved ON media_job_questions (actor_id, sandbox, subject, asked_at)
    WHERE approved_at IS NOT NULL AND used_at IS NULL;

INSERT INTO ring_mcp_migrations (version) VALUES (12);

END $ring_mcp$;
