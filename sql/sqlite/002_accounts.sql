-- Whose a job is: only a process that holds the account may submit, look at and give up its jobs.
-- A row from before has neither mark: any account of its provider may carry it on.

-- VIRTUAL: SQLite adds no stored column to a table that is there.
ALTER TABLE media_jobs ADD COLUMN provider TEXT GENERATED ALWAYS AS (json_extract(plan, '$.provider')) VIRTUAL;
-- The host of an endpoint of the operator's; null = the provider's own service.
ALTER TABLE media_jobs ADD COLUMN endpoint TEXT;
-- What the provider calls the account, where a free call tells it.
ALTER TABLE media_jobs ADD COLUMN account_id TEXT;
-- Marks the key without being it. Either of the two marks is enough to hold the account.
ALTER TABLE media_jobs ADD COLUMN key_fingerprint TEXT;
ALTER TABLE media_jobs DROP COLUMN attempts;
