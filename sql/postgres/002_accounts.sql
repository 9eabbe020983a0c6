-- Whose a job is: only a process that holds the account may submit, look at and give up its jobs.
-- A row from before has neither mark: any account of its provider may carry it on.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 2) THEN RETURN; END IF;

ALTER TABLE media_jobs
    ADD COLUMN IF NOT EXISTS provider         TEXT GENERATED ALWAYS AS (plan ->> 'provider') STORED,
    ADD COLUMN IF NOT EXISTS endpoint         TEXT,
    ADD COLUMN IF NOT EXISTS account_id       TEXT,
    ADD COLUMN IF NOT EXISTS key_fingerprint  TEXT,
    DROP COLUMN IF EXISTS attempts;

COMMENT ON COLUMN media_jobs.endpoint IS 'The host of an endpoint of the operator''s; null = the provider''s own service.';
COMMENT ON COLUMN media_jobs.account_id IS 'What the provider calls the account, where a free call tells it.';
COMMENT ON COLUMN media_jobs.key_fingerprint IS 'Marks the key without being it. Either of the two marks is enough to hold the account.';

INSERT INTO ring_mcp_migrations (version) VALUES (2);

END $ring_mcp$;
