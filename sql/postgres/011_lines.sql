-- Until when a job was last seen to wait in line for the provider's rate: whoever takes it over knows that it was not forgotten.
-- Written now and then by the process that has the job, whose other writes leave this column and are not disturbed by it.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 11) THEN RETURN; END IF;

ALTER TABLE media_jobs ADD COLUMN in_line_at TIMESTAMPTZ;
COMMENT ON COLUMN media_jobs.in_line_at IS 'Until when it was last seen to wait in line for the provider''s rate.';

INSERT INTO ring_mcp_migrations (version) VALUES (11);

END $ring_mcp$;
