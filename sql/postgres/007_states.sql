-- How many jobs stand in each state, and which of them have waited longest: what an operator looks at all the time.
-- The sums are kept by triggers, in the transaction that changes the job; `ring-mcp doctor` compares them with the rows.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 7) THEN RETURN; END IF;

LOCK TABLE media_jobs IN SHARE ROW EXCLUSIVE MODE;

-- Each sum is kept in sixteen parts, by the connection that writes: of many processes that move jobs at once few wait
-- for each other's commit. A part may be negative.
CREATE TABLE media_job_states (
    sandbox  BOOLEAN NOT NULL,
    state    TEXT NOT NULL,
    part     SMALLINT NOT NULL,
    jobs     BIGINT NOT NULL,
    PRIMARY KEY (sandbox, state, part)
) WITH (fillfactor = 50);

-- A transaction takes its parts in the order of their key, and so never waits for one that waits for it.
CREATE FUNCTION media_jobs_count_states() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO media_job_states AS sums
        SELECT moved.sandbox, moved.state, mod(pg_backend_pid(), 16), SUM(moved.jobs)
        FROM (SELECT OLD.sandbox, OLD.state, -1 AS jobs WHERE TG_OP <> 'INSERT'
              UNION ALL SELECT NEW.sandbox, NEW.state, 1 WHERE TG_OP <> 'DELETE') AS moved
        GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (sandbox, state, part) DO UPDATE SET jobs = sums.jobs + excluded.jobs;
    RETURN NULL;
END $$;

CREATE TRIGGER media_jobs_state_count AFTER INSERT OR DELETE ON media_jobs
    FOR EACH ROW EXECUTE FUNCTION media_jobs_count_states();
CREATE TRIGGER media_jobs_state_count_update AFTER UPDATE OF state, sandbox ON media_jobs FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.sandbox <> NEW.sandbox)
    EXECUTE FUNCTION media_jobs_count_states();

-- Rows from before.
INSERT INTO media_job_states SELECT sandbox, state, 0, COUNT(*) FROM media_jobs GROUP BY 1, 2;

-- Jobs whose request was not sent yet, the longest waiting first.
CREATE INDEX media_jobs_waiting ON media_jobs (sandbox, created_at) WHERE state = 'planned';

COMMENT ON TABLE media_job_states IS 'Jobs by state, kept by triggers; the parts of a sum add up.';

INSERT INTO ring_mcp_migrations (version) VALUES (7);

END $ring_mcp$;
