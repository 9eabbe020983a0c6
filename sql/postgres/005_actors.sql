-- Who of a team may call: their names, and of each token its hash alone.

DO $ring_mcp$ BEGIN
IF EXISTS (SELECT FROM ring_mcp_migrations WHERE version = 5) THEN RETURN; END IF;

CREATE TABLE ring_mcp_actors (
    name                 TEXT PRIMARY KEY,
    token_sha256         TEXT NOT NULL UNIQUE CHECK (length(token_sha256) = 64),
    may_spend            BOOLEAN NOT NULL,
    per_call_usd_ticks   BIGINT CHECK (per_call_usd_ticks >= 0),
    per_day_usd_ticks    BIGINT CHECK (per_day_usd_ticks >= 0),
    per_month_usd_ticks  BIGINT CHECK (per_month_usd_ticks >= 0),
    created_at           TIMESTAMPTZ NOT NULL,
    revoked_at           TIMESTAMPTZ
);

-- What one of them has spent: a row for each day, and not those of everybody.
CREATE INDEX media_job_costs_of_actor ON media_job_costs (actor_id, sandbox, day);

-- Servers believe what they have read for a moment: they hear of it when it has changed.
CREATE FUNCTION ring_mcp_tell_of_actor() RETURNS trigger AS $$
BEGIN
    PERFORM pg_notify('ring_mcp_actors', '');
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;

CREATE TRIGGER ring_mcp_actors_tell AFTER INSERT OR UPDATE OR DELETE ON ring_mcp_actors FOR EACH STATEMENT
    EXECUTE FUNCTION ring_mcp_tell_of_actor();

COMMENT ON TABLE  ring_mcp_actors IS 'Who may call, beside the tokens of RING_MCP_SERVICE_TOKENS; `ring-mcp tokens` writes it.';
COMMENT ON COLUMN ring_mcp_actors.token_sha256 IS 'SHA-256 of the token, which has 256 bits of chance and is kept nowhere.';

INSERT INTO ring_mcp_migrations (version) VALUES (5);

END $ring_mcp$;
