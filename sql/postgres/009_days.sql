-- What each actor's jobs cost, by the day (UTC) on which they were opened and by model: what a person looks at.
-- Kept by a trigger, as the sums of 003 are; `ring-mcp doctor` compares them with the rows.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 9) THEN RETURN; END IF;

LOCK TABLE media_jobs IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE media_job_days (
    sandbox             BOOLEAN NOT NULL,
    actor_id            TEXT NOT NULL,
    day                 DATE NOT NULL,
    model               TEXT NOT NULL,
    jobs                BIGINT NOT NULL,
    settled_usd_ticks   BIGINT NOT NULL,
    reserved_usd_ticks  BIGINT NOT NULL,
    PRIMARY KEY (sandbox, actor_id, day, model)
) WITH (fillfactor = 50);

-- By its name it fires after media_jobs_count: of several rows every transaction takes its locks in the same order.
CREATE FUNCTION media_jobs_day() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE media_job_days SET
            jobs = jobs - 1,
            settled_usd_ticks = settled_usd_ticks - COALESCE(OLD.settled_usd_ticks, 0),
            reserved_usd_ticks = reserved_usd_ticks
                - CASE WHEN OLD.settled_usd_ticks IS NULL THEN OLD.reserved_usd_ticks ELSE 0 END
            WHERE sandbox = OLD.sandbox AND actor_id = OLD.actor_id
              AND day = (OLD.created_at AT TIME ZONE 'UTC')::date AND model = COALESCE(OLD.plan ->> 'model', '');
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO media_job_days AS sums
            VALUES (NEW.sandbox, NEW.actor_id, (NEW.created_at AT TIME ZONE 'UTC')::date,
                    COALESCE(NEW.plan ->> 'model', ''), 1, COALESCE(NEW.settled_usd_ticks, 0),
                    CASE WHEN NEW.settled_usd_ticks IS NULL THEN NEW.reserved_usd_ticks ELSE 0 END)
            ON CONFLICT (sandbox, actor_id, day, model) DO UPDATE SET
                jobs = sums.jobs + 1,
                settled_usd_ticks = sums.settled_usd_ticks + excluded.settled_usd_ticks,
                reserved_usd_ticks = sums.reserved_usd_ticks + excluded.reserved_usd_ticks;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER media_jobs_day AFTER INSERT OR DELETE ON media_jobs
    FOR EACH ROW EXECUTE FUNCTION media_jobs_day();
CREATE TRIGGER media_jobs_day_update
    AFTER UPDATE OF plan, sandbox, actor_id, created_at, reserved_usd_ticks, settled_usd_ticks ON media_jobs
    FOR EACH ROW
    WHEN (OLD.settled_usd_ticks IS DISTINCT FROM NEW.settled_usd_ticks
          OR OLD.reserved_usd_ticks <> NEW.reserved_usd_ticks
          OR OLD.sandbox <> NEW.sandbox OR OLD.actor_id <> NEW.actor_id OR OLD.created_at <> NEW.created_at
          OR (OLD.plan ->> 'model') IS DISTINCT FROM (NEW.plan ->> 'model'))
    EXECUTE FUNCTION media_jobs_day();

-- Rows from before.
INSERT INTO media_job_days
    SELECT sandbox, actor_id, (created_at AT TIME ZONE 'UTC')::date, COALESCE(plan ->> 'model', ''), COUNT(*),
           COALESCE(SUM(settled_usd_ticks), 0),
           COALESCE(SUM(CASE WHEN settled_usd_ticks IS NULL THEN reserved_usd_ticks ELSE 0 END), 0)
    FROM media_jobs GROUP BY 1, 2, 3, 4;

COMMENT ON TABLE media_job_days IS 'What each actor''s jobs cost, by the day on which they were opened and by model.';

INSERT INTO ring_mcp_migrations (version) VALUES (9);

END $ring_mcp$;
