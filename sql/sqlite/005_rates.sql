-- What may be asked of each provider account, and how long each model usually takes.

-- A token bucket for each account, model and kind of request; times are seconds since 1970.
CREATE TABLE provider_rates (
    sandbox       INTEGER NOT NULL,
    account       TEXT NOT NULL,
    model         TEXT NOT NULL,
    asking        TEXT NOT NULL CHECK (asking IN ('submit', 'look')),
    asked_at      REAL NOT NULL,
    start_at      REAL NOT NULL,
    second_at     REAL NOT NULL,
    minute_at     REAL NOT NULL,
    paused_until  REAL NOT NULL,
    slowed        REAL NOT NULL CHECK (slowed >= 1),
    slowed_at     REAL NOT NULL,
    PRIMARY KEY (sandbox, account, model, asking)
) WITHOUT ROWID;

-- Seconds from the accepted request to the end, below which a quarter, half and three quarters of the jobs stay.
CREATE TABLE model_durations (
    sandbox    INTEGER NOT NULL,
    model      TEXT NOT NULL,
    quarter_s  REAL NOT NULL,
    half_s     REAL NOT NULL,
    most_s     REAL NOT NULL,
    jobs       INTEGER NOT NULL,
    PRIMARY KEY (sandbox, model)
) WITHOUT ROWID;
