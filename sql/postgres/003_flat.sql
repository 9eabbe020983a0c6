-- What a call, a sweep or a list costs does not grow with the table: sums are kept, and every statement has its index.
-- Sums are kept by triggers, in the transaction that changes the job; `ring-mcp doctor` compares them with the rows.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 3) THEN RETURN; END IF;

-- Writers wait until sums and triggers stand: a job that is opened in between would be in neither.
LOCK TABLE media_jobs IN SHARE ROW EXCLUSIVE MODE;

-- What counts against the caps, by the day (UTC) on which the job was opened.
-- Half of each page is left free: the same few rows are written with every job, and stay where their index finds them.
CREATE TABLE media_job_costs (
    sandbox             BOOLEAN NOT NULL,
    day                 DATE NOT NULL,
    actor_id            TEXT NOT NULL,
    settled_usd_ticks   BIGINT NOT NULL,
    reserved_usd_ticks  BIGINT NOT NULL,
    PRIMARY KEY (sandbox, day, actor_id)
) WITH (fillfactor = 50);

-- How many jobs are under way, and of how many the outcome is unknown.
CREATE TABLE media_job_counts (
    sandbox       BOOLEAN NOT NULL,
    actor_id      TEXT NOT NULL,
    open_jobs     BIGINT NOT NULL,
    unknown_jobs  BIGINT NOT NULL,
    PRIMARY KEY (sandbox, actor_id)
) WITH (fillfactor = 50);

-- What was billed for jobs that tell of the price list, by the day (UTC) on which they ended and the day of that list.
CREATE TABLE media_job_bills (
    sandbox           BOOLEAN NOT NULL,
    day               DATE NOT NULL,
    model             TEXT NOT NULL,
    prices_of         TEXT NOT NULL,
    jobs              BIGINT NOT NULL,
    billed_usd_ticks  BIGINT NOT NULL,
    listed_usd_ticks  BIGINT NOT NULL,
    PRIMARY KEY (sandbox, day, model, prices_of)
) WITH (fillfactor = 50);

-- The jobs that tell of the list: they made all that was reserved for, at prices of one day. Nothing in it can fail.
CREATE VIEW media_jobs_as_listed AS
    SELECT id, sandbox, (finished_at AT TIME ZONE 'UTC')::date AS day, plan ->> 'model' AS model,
           plan #>> '{prices,0,as_of}' AS prices_of, billed_usd_ticks, reserved_usd_ticks AS listed_usd_ticks
    FROM media_jobs
    WHERE state = 'done' AND billed_usd_ticks IS NOT NULL AND reserved_usd_ticks > 0
      AND CASE kind WHEN 'image' THEN jsonb_array_length(outputs)::text = plan ->> 'n'
                    ELSE plan ->> 'generation_kind' = 'generate' END
      AND plan ->> 'model' IS NOT NULL AND plan #>> '{prices,0,as_of}' IS NOT NULL
      AND NOT jsonb_path_exists(plan, '$.prices[*].as_of ? (@ != $first)',
                                jsonb_build_object('first', plan #> '{prices,0,as_of}'));

-- With the search path of now: a session that looks elsewhere must not lose its sums.
CREATE FUNCTION media_jobs_count() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.sandbox = NEW.sandbox AND OLD.actor_id = NEW.actor_id
       AND OLD.created_at = NEW.created_at
    THEN
        UPDATE media_job_costs SET
            settled_usd_ticks = settled_usd_ticks + COALESCE(NEW.settled_usd_ticks, 0)
                                                  - COALESCE(OLD.settled_usd_ticks, 0),
            reserved_usd_ticks = reserved_usd_ticks
                + CASE WHEN NEW.settled_usd_ticks IS NULL THEN NEW.reserved_usd_ticks ELSE 0 END
                - CASE WHEN OLD.settled_usd_ticks IS NULL THEN OLD.reserved_usd_ticks ELSE 0 END
            WHERE sandbox = NEW.sandbox AND day = (NEW.created_at AT TIME ZONE 'UTC')::date
              AND actor_id = NEW.actor_id;
        UPDATE media_job_counts SET
            open_jobs = open_jobs + (NEW.state IN ('planned', 'submitting', 'rendering', 'storing'))::int
                                  - (OLD.state IN ('planned', 'submitting', 'rendering', 'storing'))::int,
            unknown_jobs = unknown_jobs + (NEW.state = 'unknown')::int - (OLD.state = 'unknown')::int
            WHERE sandbox = NEW.sandbox AND actor_id = NEW.actor_id;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        UPDATE media_job_costs SET
            settled_usd_ticks = settled_usd_ticks - COALESCE(OLD.settled_usd_ticks, 0),
            reserved_usd_ticks = reserved_usd_ticks
                - CASE WHEN OLD.settled_usd_ticks IS NULL THEN OLD.reserved_usd_ticks ELSE 0 END
            WHERE sandbox = OLD.sandbox AND day = (OLD.created_at AT TIME ZONE 'UTC')::date
              AND actor_id = OLD.actor_id;
        UPDATE media_job_counts SET
            open_jobs = open_jobs - (OLD.state IN ('planned', 'submitting', 'rendering', 'storing'))::int,
            unknown_jobs = unknown_jobs - (OLD.state = 'unknown')::int
            WHERE sandbox = OLD.sandbox AND actor_id = OLD.actor_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO media_job_costs AS sums
            VALUES (NEW.sandbox, (NEW.created_at AT TIME ZONE 'UTC')::date, NEW.actor_id,
                    COALESCE(NEW.settled_usd_ticks, 0),
                    CASE WHEN NEW.settled_usd_ticks IS NULL THEN NEW.reserved_usd_ticks ELSE 0 END)
            ON CONFLICT (sandbox, day, actor_id) DO UPDATE SET
                settled_usd_ticks = sums.settled_usd_ticks + excluded.settled_usd_ticks,
                reserved_usd_ticks = sums.reserved_usd_ticks + excluded.reserved_usd_ticks;
        INSERT INTO media_job_counts AS sums
            VALUES (NEW.sandbox, NEW.actor_id,
                    (NEW.state IN ('planned', 'submitting', 'rendering', 'storing'))::int,
                    (NEW.state = 'unknown')::int)
            ON CONFLICT (sandbox, actor_id) DO UPDATE SET
                open_jobs = sums.open_jobs + excluded.open_jobs,
                unknown_jobs = sums.unknown_jobs + excluded.unknown_jobs;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER media_jobs_count AFTER INSERT OR DELETE ON media_jobs
    FOR EACH ROW EXECUTE FUNCTION media_jobs_count();
-- Not with every write of a row: progress and warnings change no sum.
CREATE TRIGGER media_jobs_count_update
    AFTER UPDATE OF state, sandbox, actor_id, created_at, reserved_usd_ticks, settled_usd_ticks ON media_jobs
    FOR EACH ROW
    WHEN ((OLD.state = 'unknown') <> (NEW.state = 'unknown')
          OR OLD.settled_usd_ticks IS DISTINCT FROM NEW.settled_usd_ticks
          OR OLD.reserved_usd_ticks <> NEW.reserved_usd_ticks
          OR OLD.sandbox <> NEW.sandbox OR OLD.actor_id <> NEW.actor_id OR OLD.created_at <> NEW.created_at)
    EXECUTE FUNCTION media_jobs_count();

CREATE FUNCTION media_jobs_count_bill() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO media_job_bills AS sums
        SELECT sandbox, day, model, prices_of, 1, billed_usd_ticks, listed_usd_ticks
        FROM media_jobs_as_listed WHERE id = NEW.id
        ON CONFLICT (sandbox, day, model, prices_of) DO UPDATE SET
            jobs = sums.jobs + 1,
            billed_usd_ticks = sums.billed_usd_ticks + excluded.billed_usd_ticks,
            listed_usd_ticks = sums.listed_usd_ticks + excluded.listed_usd_ticks;
    RETURN NULL;
END $$;

CREATE TRIGGER media_jobs_count_bill AFTER INSERT ON media_jobs
    FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION media_jobs_count_bill();
CREATE TRIGGER media_jobs_count_bill_update AFTER UPDATE OF state ON media_jobs
    FOR EACH ROW WHEN (NEW.state = 'done' AND OLD.state <> 'done') EXECUTE FUNCTION media_jobs_count_bill();

-- Rows from before.
INSERT INTO media_job_costs
    SELECT sandbox, (created_at AT TIME ZONE 'UTC')::date, actor_id, COALESCE(SUM(settled_usd_ticks), 0),
           SUM(CASE WHEN settled_usd_ticks IS NULL THEN reserved_usd_ticks ELSE 0 END)
    FROM media_jobs GROUP BY 1, 2, 3;
INSERT INTO media_job_counts
    SELECT sandbox, actor_id, COUNT(*) FILTER (WHERE state IN ('planned', 'submitting', 'rendering', 'storing')),
           COUNT(*) FILTER (WHERE state = 'unknown')
    FROM media_jobs GROUP BY 1, 2;
INSERT INTO media_job_bills
    SELECT sandbox, day, model, prices_of, COUNT(*), SUM(billed_usd_ticks), SUM(listed_usd_ticks)
    FROM media_jobs_as_listed GROUP BY 1, 2, 3, 4;

DROP INDEX media_jobs_request_hash;
DROP INDEX media_jobs_created_at;
DROP INDEX media_jobs_ref_code;
DROP INDEX media_jobs_clip;
DROP INDEX media_jobs_spend;
DROP INDEX media_jobs_open;

-- Lists, newest first: of everybody, and of one actor.
-- Each list has its own way to write the same instant: the planner would read an index of another list in its order,
-- and throw away what does not fit, believing that what fits is spread evenly over time.
CREATE INDEX media_jobs_newest         ON media_jobs ((created_at AT TIME ZONE 'GMT'), id);
CREATE INDEX media_jobs_by_state       ON media_jobs (state, (created_at AT TIME ZONE 'Etc/UTC'), id);
CREATE INDEX media_jobs_of_actor       ON media_jobs (actor_id, (created_at AT TIME ZONE 'UTC'), id);
CREATE INDEX media_jobs_of_actor_state ON media_jobs (actor_id, state, created_at, id);
CREATE INDEX media_jobs_of_actor_kind  ON media_jobs (actor_id, kind, created_at, id);
CREATE INDEX media_jobs_of_clip        ON media_jobs (actor_id, clip_id, created_at, id) WHERE clip_id IS NOT NULL;
CREATE INDEX media_jobs_of_pipeline    ON media_jobs (actor_id, pipeline_request_id, created_at, id)
    WHERE pipeline_request_id IS NOT NULL;
CREATE INDEX media_jobs_of_ref         ON media_jobs (actor_id, ref_code, created_at, id) WHERE ref_code IS NOT NULL;

-- What an identical request joins: a job that nobody has been told of, or one of unknown outcome.
CREATE INDEX media_jobs_untold ON media_jobs (actor_id, sandbox, request_hash, created_at)
    WHERE delivered_at IS NULL AND idempotency_key IS NULL
      AND NOT (state IN ('failed', 'refused', 'expired') AND settled_usd_ticks = 0);
CREATE INDEX media_jobs_unknown ON media_jobs (actor_id, sandbox, request_hash, created_at) WHERE state = 'unknown';
-- Stills that may lack their clip.
CREATE INDEX media_jobs_stills ON media_jobs (actor_id, sandbox, request_hash, created_at)
    WHERE state = 'done' AND parent_job_id IS NOT NULL;
-- Whose jobs are under way, and when they are due.
CREATE INDEX media_jobs_open ON media_jobs (owner, due_at, id) WHERE finished_at IS NULL;

-- Where a picture or a clip that is given by its address came from. An address may be longer than a row of a B-tree.
CREATE INDEX media_jobs_image_url        ON generated_images USING hash ((data ->> 'url'));
CREATE INDEX media_jobs_image_request_id ON generated_images USING hash ((data ->> 'requestId'));
CREATE INDEX media_jobs_video_url        ON generated_videos USING hash ((data ->> 'url'));

COMMENT ON TABLE media_job_costs  IS 'Sums over media_jobs by the day on which they were opened, kept by triggers: what counts against the caps.';
COMMENT ON TABLE media_job_counts IS 'Jobs under way and of unknown outcome, kept by triggers.';
COMMENT ON TABLE media_job_bills  IS 'What was billed for jobs that tell of the price list, kept by triggers.';

INSERT INTO ring_mcp_migrations (version) VALUES (3);

END $ring_mcp$;
