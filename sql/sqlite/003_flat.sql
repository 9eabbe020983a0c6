-- What a call, a sweep or a list costs does not grow with the table: sums are kept, and every statement has its index.
-- Sums are kept by triggers, in the transaction that changes the job; `ring-mcp doctor` compares them with the rows.

-- What counts against the caps, by the day (UTC) on which the job was opened.
CREATE TABLE media_job_costs (
    sandbox             INTEGER NOT NULL,
    day                 TEXT NOT NULL,
    actor_id            TEXT NOT NULL,
    settled_usd_ticks   INTEGER NOT NULL,
    reserved_usd_ticks  INTEGER NOT NULL,
    PRIMARY KEY (sandbox, day, actor_id)
) WITHOUT ROWID;

-- How many jobs are under way, and of how many the outcome is unknown.
CREATE TABLE media_job_counts (
    sandbox       INTEGER NOT NULL,
    actor_id      TEXT NOT NULL,
    open_jobs     INTEGER NOT NULL,
    unknown_jobs  INTEGER NOT NULL,
    PRIMARY KEY (sandbox, actor_id)
) WITHOUT ROWID;

-- What was billed for jobs that tell of the price list, by the day (UTC) on which they ended and the day of that list.
CREATE TABLE media_job_bills (
    sandbox           INTEGER NOT NULL,
    day               TEXT NOT NULL,
    model             TEXT NOT NULL,
    prices_of         TEXT NOT NULL,
    jobs              INTEGER NOT NULL,
    billed_usd_ticks  INTEGER NOT NULL,
    listed_usd_ticks  INTEGER NOT NULL,
    PRIMARY KEY (sandbox, day, model, prices_of)
) WITHOUT ROWID;

-- The jobs that tell of the list: they made all that was reserved for, at prices of one day.
CREATE VIEW media_jobs_as_listed AS
    SELECT id, sandbox, substr(finished_at, 1, 10) AS day, json_extract(plan, '$.model') AS model,
           json_extract(plan, '$.prices[0].as_of') AS prices_of, billed_usd_ticks,
           reserved_usd_ticks AS listed_usd_ticks
    FROM media_jobs
    WHERE state = 'done' AND billed_usd_ticks IS NOT NULL AND reserved_usd_ticks > 0
      AND CASE kind WHEN 'image' THEN json_array_length(outputs) = json_extract(plan, '$.n')
                    ELSE json_extract(plan, '$.generation_kind') = 'generate' END
      AND json_extract(plan, '$.model') IS NOT NULL AND json_extract(plan, '$.prices[0].as_of') IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM json_each(plan, '$.prices') AS line
                      WHERE json_extract(line.value, '$.as_of') IS NOT json_extract(plan, '$.prices[0].as_of'));

CREATE TRIGGER media_jobs_count_insert AFTER INSERT ON media_jobs BEGIN
    INSERT INTO media_job_costs
        VALUES (NEW.sandbox, substr(NEW.created_at, 1, 10), NEW.actor_id, COALESCE(NEW.settled_usd_ticks, 0),
                CASE WHEN NEW.settled_usd_ticks IS NULL THEN NEW.reserved_usd_ticks ELSE 0 END)
        ON CONFLICT DO UPDATE SET
            settled_usd_ticks = settled_usd_ticks + excluded.settled_usd_ticks,
            reserved_usd_ticks = reserved_usd_ticks + excluded.reserved_usd_ticks;
    INSERT INTO media_job_counts
        VALUES (NEW.sandbox, NEW.actor_id, NEW.state IN ('planned', 'submitting', 'rendering', 'storing'),
                NEW.state = 'unknown')
        ON CONFLICT DO UPDATE SET
            open_jobs = open_jobs + excluded.open_jobs, unknown_jobs = unknown_jobs + excluded.unknown_jobs;
END;

CREATE TRIGGER media_jobs_count_delete AFTER DELETE ON media_jobs BEGIN
    UPDATE media_job_costs SET
        settled_usd_ticks = settled_usd_ticks - COALESCE(OLD.settled_usd_ticks, 0),
        reserved_usd_ticks = reserved_usd_ticks
            - CASE WHEN OLD.settled_usd_ticks IS NULL THEN OLD.reserved_usd_ticks ELSE 0 END
        WHERE sandbox = OLD.sandbox AND day = substr(OLD.created_at, 1, 10) AND actor_id = OLD.actor_id;
    UPDATE media_job_counts SET
        open_jobs = open_jobs - (OLD.state IN ('planned', 'submitting', 'rendering', 'storing')),
        unknown_jobs = unknown_jobs - (OLD.state = 'unknown')
        WHERE sandbox = OLD.sandbox AND actor_id = OLD.actor_id;
END;

-- Not with every write of a row: progress and warnings change no sum.
CREATE TRIGGER media_jobs_count_update
    AFTER UPDATE OF state, sandbox, actor_id, created_at, reserved_usd_ticks, settled_usd_ticks ON media_jobs
    WHEN (OLD.state = 'unknown') <> (NEW.state = 'unknown')
      OR OLD.settled_usd_ticks IS NOT NEW.settled_usd_ticks OR OLD.reserved_usd_ticks <> NEW.reserved_usd_ticks
      OR OLD.sandbox <> NEW.sandbox OR OLD.actor_id <> NEW.actor_id OR OLD.created_at <> NEW.created_at
BEGIN
    UPDATE media_job_costs SET
        settled_usd_ticks = settled_usd_ticks - COALESCE(OLD.settled_usd_ticks, 0),
        reserved_usd_ticks = reserved_usd_ticks
            - CASE WHEN OLD.settled_usd_ticks IS NULL THEN OLD.reserved_usd_ticks ELSE 0 END
        WHERE sandbox = OLD.sandbox AND day = substr(OLD.created_at, 1, 10) AND actor_id = OLD.actor_id;
    UPDATE media_job_counts SET
        open_jobs = open_jobs - (OLD.state IN ('planned', 'submitting', 'rendering', 'storing')),
        unknown_jobs = unknown_jobs - (OLD.state = 'unknown')
        WHERE sandbox = OLD.sandbox AND actor_id = OLD.actor_id;
    INSERT INTO media_job_costs
        VALUES (NEW.sandbox, substr(NEW.created_at, 1, 10), NEW.actor_id, COALESCE(NEW.settled_usd_ticks, 0),
                CASE WHEN NEW.settled_usd_ticks IS NULL THEN NEW.reserved_usd_ticks ELSE 0 END)
        ON CONFLICT DO UPDATE SET
            settled_usd_ticks = settled_usd_ticks + excluded.settled_usd_ticks,
            reserved_usd_ticks = reserved_usd_ticks + excluded.reserved_usd_ticks;
    INSERT INTO media_job_counts
        VALUES (NEW.sandbox, NEW.actor_id, NEW.state IN ('planned', 'submitting', 'rendering', 'storing'),
                NEW.state = 'unknown')
        ON CONFLICT DO UPDATE SET
            open_jobs = open_jobs + excluded.open_jobs, unknown_jobs = unknown_jobs + excluded.unknown_jobs;
END;

CREATE TRIGGER media_jobs_bill_insert AFTER INSERT ON media_jobs WHEN NEW.state = 'done' BEGIN
    INSERT INTO media_job_bills
        SELECT sandbox, day, model, prices_of, 1, billed_usd_ticks, listed_usd_ticks
        FROM media_jobs_as_listed WHERE id = NEW.id
        ON CONFLICT DO UPDATE SET
            jobs = jobs + 1, billed_usd_ticks = billed_usd_ticks + excluded.billed_usd_ticks,
            listed_usd_ticks = listed_usd_ticks + excluded.listed_usd_ticks;
END;

CREATE TRIGGER media_jobs_bill_update AFTER UPDATE OF state ON media_jobs
    WHEN NEW.state = 'done' AND OLD.state <> 'done'
BEGIN
    INSERT INTO media_job_bills
        SELECT sandbox, day, model, prices_of, 1, billed_usd_ticks, listed_usd_ticks
        FROM media_jobs_as_listed WHERE id = NEW.id
        ON CONFLICT DO UPDATE SET
            jobs = jobs + 1, billed_usd_ticks = billed_usd_ticks + excluded.billed_usd_ticks,
            listed_usd_ticks = listed_usd_ticks + excluded.listed_usd_ticks;
END;

-- Rows from before.
INSERT INTO media_job_costs
    SELECT sandbox, substr(created_at, 1, 10), actor_id, COALESCE(SUM(settled_usd_ticks), 0),
           SUM(CASE WHEN settled_usd_ticks IS NULL THEN reserved_usd_ticks ELSE 0 END)
    FROM media_jobs GROUP BY 1, 2, 3;
INSERT INTO media_job_counts
    SELECT sandbox, actor_id, SUM(state IN ('planned', 'submitting', 'rendering', 'storing')), SUM(state = 'unknown')
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
CREATE INDEX media_jobs_newest         ON media_jobs (created_at, id);
CREATE INDEX media_jobs_by_state       ON media_jobs (state, created_at, id);
CREATE INDEX media_jobs_of_actor       ON media_jobs (actor_id, created_at, id);
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

-- Where a picture or a clip that is given by its address came from.
CREATE INDEX media_jobs_image_url        ON generated_images (json_extract(data, '$.url'));
CREATE INDEX media_jobs_image_request_id ON generated_images (json_extract(data, '$.requestId'));
CREATE INDEX media_jobs_video_url        ON generated_videos (json_extract(data, '$.url'));
