-- PgQueuer carries the jobs: its tables come beside these with `ring-mcp migrate`, and the leases of old go.
-- One row for each account that ever had a job here: a process reads in it which entrypoints it may register.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 4) THEN RETURN; END IF;

CREATE TABLE media_job_accounts (
    entrypoint       TEXT PRIMARY KEY,
    sandbox          BOOLEAN NOT NULL,
    provider         TEXT NOT NULL,
    endpoint         TEXT,
    account_id       TEXT,
    key_fingerprint  TEXT
);

DROP TABLE media_job_owners;

-- Open rows in the order of their ids: the reconciler reads them page by page.
CREATE INDEX media_jobs_open_ids ON media_jobs (id) WHERE finished_at IS NULL;

-- Whoever waits for a job hears of it in whatever process he waits; and whoever drives it, that another one has it.
CREATE FUNCTION ring_mcp_tell_of_job() RETURNS trigger AS $$
BEGIN
    PERFORM pg_notify('ring_mcp_jobs', NEW.id || ' ' || COALESCE(NEW.owner, ''));
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;

CREATE TRIGGER media_jobs_tell AFTER UPDATE ON media_jobs FOR EACH ROW
    WHEN ((OLD.state, OLD.progress, OLD.owner, OLD.due_at, OLD.failure)
          IS DISTINCT FROM (NEW.state, NEW.progress, NEW.owner, NEW.due_at, NEW.failure))
    EXECUTE FUNCTION ring_mcp_tell_of_job();

CREATE FUNCTION ring_mcp_tell_of_account() RETURNS trigger AS $$
BEGIN
    PERFORM pg_notify('ring_mcp_accounts', '');
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;

CREATE TRIGGER media_job_accounts_tell AFTER INSERT OR UPDATE ON media_job_accounts FOR EACH ROW
    EXECUTE FUNCTION ring_mcp_tell_of_account();

COMMENT ON TABLE  media_job_accounts IS 'Which PgQueuer entrypoint stands for which provider account.';
COMMENT ON COLUMN media_jobs.owner IS 'The process that last had the job; on PostgreSQL its queue manager id. Whether it lives, the task''s heartbeat says.';

INSERT INTO ring_mcp_migrations (version) VALUES (4);

END $ring_mcp$;
