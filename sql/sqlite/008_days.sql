-- What each actor's jobs cost, by the day (UTC) on which they were opened and by model: what a person looks at.
-- Kept by triggers, as the sums of 003 are; `ring-mcp doctor` compares them with the rows.

CREATE TABLE media_job_days (
    sandbox             INTEGER NOT NULL,
    actor_id            TEXT NOT NULL,
    day                 TEXT NOT NULL,
    model               TEXT NOT NULL,
    jobs                INTEGER NOT NULL,
    settled_usd_ticks   INTEGER NOT NULL,
    reserved_usd_ticks  INTEGER NOT NULL,
    PRIMARY KEY (sandbox, actor_id, day, model)
) WITHOUT ROWID;

CREATE TRIGGER media_jobs_day_insert AFTER INSERT ON media_jobs BEGIN
    INSERT INTO media_job_days
        VALUES (NEW.sandbox, NEW.actor_id, substr(NEW.created_at, 1, 10),
                COALESCE(json_extract(NEW.plan, '$.model'), ''), 1, COALESCE(NEW.settled_usd_ticks, 0),
                CASE WHEN NEW.settled_usd_ticks IS NULL THEN NEW.reserved_usd_ticks ELSE 0 END)
        ON CONFLICT DO UPDATE SET
            jobs = jobs + 1,
            settled_usd_ticks = settled_usd_ticks + excluded.settled_usd_ticks,
            reserved_usd_ticks = reserved_usd_ticks + excluded.reserved_usd_ticks;
END;

CREATE TRIGGER media_jobs_day_delete AFTER DELETE ON media_jobs BEGIN
    UPDATE media_job_days SET
        jobs = jobs - 1,
        settled_usd_ticks = settled_usd_ticks - COALESCE(OLD.settled_usd_ticks, 0),
        reserved_usd_ticks = reserved_usd_ticks
            - CASE WHEN OLD.settled_usd_ticks IS NULL THEN OLD.reserved_usd_ticks ELSE 0 END
        WHERE sandbox = OLD.sandbox AND actor_id = OLD.actor_id AND day = substr(OLD.created_at, 1, 10)
          AND model = COALESCE(json_extract(OLD.plan, '$.model'), '');
END;

CREATE TRIGGER media_jobs_day_update
    AFTER UPDATE OF plan, sandbox, actor_id, created_at, reserved_usd_ticks, settled_usd_ticks ON media_jobs
    WHEN OLD.settled_usd_ticks IS NOT NEW.settled_usd_ticks OR OLD.reserved_usd_ticks <> NEW.reserved_usd_ticks
      OR OLD.sandbox <> NEW.sandbox OR OLD.actor_id <> NEW.actor_id OR OLD.created_at <> NEW.created_at
      OR json_extract(OLD.plan, '$.model') IS NOT json_extract(NEW.plan, '$.model')
BEGIN
    UPDATE media_job_days SET
        jobs = jobs - 1,
        settled_usd_ticks = settled_usd_ticks - COALESCE(OLD.settled_usd_ticks, 0),
        reserved_usd_ticks = reserved_usd_ticks
            - CASE WHEN OLD.settled_usd_ticks IS NULL THEN OLD.reserved_usd_ticks ELSE 0 END
        WHERE sandbox = OLD.sandbox AND actor_id = OLD.actor_id AND day = substr(OLD.created_at, 1, 10)
          AND model = COALESCE(json_extract(OLD.plan, '$.model'), '');
    INSERT INTO media_job_days
        VALUES (NEW.sandbox, NEW.actor_id, substr(NEW.created_at, 1, 10),
                COALESCE(json_extract(NEW.plan, '$.model'), ''), 1, COALESCE(NEW.settled_usd_ticks, 0),
                CASE WHEN NEW.settled_usd_ticks IS NULL THEN NEW.reserved_usd_ticks ELSE 0 END)
        ON CONFLICT DO UPDATE SET
            jobs = jobs + 1,
            settled_usd_ticks = settled_usd_ticks + excluded.settled_usd_ticks,
            reserved_usd_ticks = reserved_usd_ticks + excluded.reserved_usd_ticks;
END;

-- Rows from before.
INSERT INTO media_job_days
    SELECT sandbox, actor_id, substr(created_at, 1, 10), COALESCE(json_extract(plan, '$.model'), ''), COUNT(*),
           COALESCE(SUM(settled_usd_ticks), 0),
           SUM(CASE WHEN settled_usd_ticks IS NULL THEN reserved_usd_ticks ELSE 0 END)
    FROM media_jobs GROUP BY 1, 2, 3, 4;
