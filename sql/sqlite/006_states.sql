-- How many jobs stand in each state, and which of them have waited longest: what an operator looks at all the time.
-- The sums are kept by triggers, in the transaction that changes the job; `ring-mcp doctor` compares them with the rows.

CREATE TABLE media_job_states (
    sandbox  INTEGER NOT NULL,
    state    TEXT NOT NULL,
    jobs     INTEGER NOT NULL,
    PRIMARY KEY (sandbox, state)
) WITHOUT ROWID;

CREATE TRIGGER media_jobs_state_insert AFTER INSERT ON media_jobs BEGIN
    INSERT INTO media_job_states VALUES (NEW.sandbox, NEW.state, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER media_jobs_state_delete AFTER DELETE ON media_jobs BEGIN
    UPDATE media_job_states SET jobs = jobs - 1 WHERE sandbox = OLD.sandbox AND state = OLD.state;
END;

CREATE TRIGGER media_jobs_state_update AFTER UPDATE OF state, sandbox ON media_jobs
    WHEN OLD.state <> NEW.state OR OLD.sandbox <> NEW.sandbox
BEGIN
    UPDATE media_job_states SET jobs = jobs - 1 WHERE sandbox = OLD.sandbox AND state = OLD.state;
    INSERT INTO media_job_states VALUES (NEW.sandbox, NEW.state, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;

-- Rows from before.
INSERT INTO media_job_states SELECT sandbox, state, COUNT(*) FROM media_jobs GROUP BY 1, 2;

-- Jobs whose request was not sent yet, the longest waiting first.
CREATE INDEX media_jobs_waiting ON media_jobs (sandbox, created_at) WHERE state = 'planned';
