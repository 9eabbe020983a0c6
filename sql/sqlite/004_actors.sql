-- Who of a team may call: their names, and of each token its hash alone.

CREATE TABLE ring_mcp_actors (
    name                 TEXT PRIMARY KEY,
    token_sha256         TEXT NOT NULL UNIQUE CHECK (length(token_sha256) = 64),
    may_spend            INTEGER NOT NULL CHECK (may_spend IN (0, 1)),
    per_call_usd_ticks   INTEGER CHECK (per_call_usd_ticks >= 0),
    per_day_usd_ticks    INTEGER CHECK (per_day_usd_ticks >= 0),
    per_month_usd_ticks  INTEGER CHECK (per_month_usd_ticks >= 0),
    created_at           TEXT NOT NULL,
    revoked_at           TEXT
) WITHOUT ROWID;

-- What one of them has spent: a row for each day, and not those of everybody.
CREATE INDEX media_job_costs_of_actor ON media_job_costs (actor_id, sandbox, day);
