-- What may be asked of each provider account, by all processes together, and how long each model usually takes.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 6) THEN RETURN; END IF;

-- A token bucket for each account, model and kind of request; times are seconds since 1970, by this database's clock.
-- Unlogged: it is written for every request, and what it holds is old after a minute; a crash may empty it.
CREATE UNLOGGED TABLE provider_rates (
    sandbox       BOOLEAN NOT NULL,
    account       TEXT NOT NULL,
    model         TEXT NOT NULL,
    asking        TEXT NOT NULL CHECK (asking IN ('submit', 'look')),
    asked_at      DOUBLE PRECISION NOT NULL,
    start_at      DOUBLE PRECISION NOT NULL,
    second_at     DOUBLE PRECISION NOT NULL,
    minute_at     DOUBLE PRECISION NOT NULL,
    paused_until  DOUBLE PRECISION NOT NULL,
    slowed        DOUBLE PRECISION NOT NULL CHECK (slowed >= 1),
    slowed_at     DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (sandbox, account, model, asking)
) WITH (fillfactor = 20);

-- This one is logged: it takes days to learn again.
CREATE TABLE model_durations (
    sandbox    BOOLEAN NOT NULL,
    model      TEXT NOT NULL,
    quarter_s  DOUBLE PRECISION NOT NULL,
    half_s     DOUBLE PRECISION NOT NULL,
    most_s     DOUBLE PRECISION NOT NULL,
    jobs       INTEGER NOT NULL,
    PRIMARY KEY (sandbox, model)
) WITH (fillfactor = 50);

COMMENT ON TABLE provider_rates  IS 'When each provider account may be asked next, kept by ring-mcp; may be emptied at any time.';
COMMENT ON TABLE model_durations IS 'Seconds from the accepted request to the end, below which a quarter, half and three quarters of the jobs stay.';

INSERT INTO ring_mcp_migrations (version) VALUES (6);

END $ring_mcp$;
