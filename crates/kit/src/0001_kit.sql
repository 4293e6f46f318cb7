CREATE TABLE kit_subjects (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    pack TEXT NOT NULL,
    kind TEXT NOT NULL,                   -- repository, company, brand, …
    key TEXT NOT NULL,                    -- the natural key: owner/name, a domain
    name TEXT NOT NULL,
    state TEXT NOT NULL,                  -- active, paused, gone
    rank INTEGER NOT NULL DEFAULT 0,      -- how much it matters: higher is served first
    data TEXT NOT NULL,                   -- JSON
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    UNIQUE (project, pack, kind, key)
);

CREATE TABLE kit_sources (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    pack TEXT NOT NULL,
    subject INTEGER NOT NULL REFERENCES kit_subjects (id) ON DELETE CASCADE,
    section TEXT NOT NULL,                -- what of the subject it brings: issues, website, feed
    connector TEXT NOT NULL,              -- who fetches it: github, rss
    config TEXT NOT NULL,                 -- JSON
    cursor TEXT,                          -- JSON: how far it was read
    state TEXT NOT NULL,                  -- active, backoff, gone, paused
    failures INTEGER NOT NULL DEFAULT 0,  -- in a row
    last_error TEXT,
    last_try INTEGER,
    last_success INTEGER,
    created INTEGER NOT NULL,
    UNIQUE (subject, section)
);
CREATE INDEX kit_sources_project ON kit_sources (project, pack, id);

CREATE TABLE kit_items (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL REFERENCES kit_sources (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,                   -- commit, issue, posting
    external TEXT NOT NULL,               -- the source's own name for it
    at INTEGER NOT NULL,                  -- when it happened, by the source
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    changed INTEGER NOT NULL,             -- when its content was last seen to differ
    closed INTEGER,                       -- since when it is over or gone
    hash TEXT NOT NULL,                   -- of data
    data TEXT NOT NULL,                   -- canonical JSON
    UNIQUE (source, kind, external)
);
CREATE INDEX kit_items_at ON kit_items (source, kind, at);

CREATE TABLE kit_metrics (
    subject INTEGER NOT NULL REFERENCES kit_subjects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (subject, name, at)
);

CREATE TABLE kit_scores (
    id INTEGER PRIMARY KEY,
    subject INTEGER NOT NULL REFERENCES kit_subjects (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    inputs TEXT NOT NULL,                 -- hash of what it was computed from
    link TEXT NOT NULL,                   -- identity, logistic
    raw REAL NOT NULL,
    value REAL NOT NULL,                  -- 0 to 100: link(raw)
    coverage REAL NOT NULL,               -- 0 to 1: how much of what it wants to know was there
    parts TEXT NOT NULL,                  -- JSON: [{name, value, note}], they sum to raw
    at INTEGER NOT NULL
);
CREATE INDEX kit_scores_latest ON kit_scores (subject, model, at);

CREATE TABLE kit_signals (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    pack TEXT NOT NULL,
    subject INTEGER REFERENCES kit_subjects (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    evidence TEXT NOT NULL,               -- JSON: numbers of items
    requires_action INTEGER NOT NULL,
    expires INTEGER,
    state TEXT NOT NULL,                  -- open, acted, dismissed, expired
    open_key TEXT,                        -- NULL once it is not open: told once while it is
    seen INTEGER NOT NULL,                -- how often it was raised while open
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    closed_by TEXT,
    UNIQUE (project, pack, open_key)
);
CREATE INDEX kit_signals_project ON kit_signals (project, pack, id);

CREATE TABLE kit_reports (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    pack TEXT NOT NULL,
    kind TEXT NOT NULL,
    period TEXT NOT NULL,                 -- what it is about: 2026-W47
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    html TEXT NOT NULL,
    data TEXT NOT NULL,                   -- JSON: the figures it was made of
    created INTEGER NOT NULL,
    UNIQUE (project, pack, kind, period)
);

CREATE TABLE kit_deliveries (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    pack TEXT NOT NULL,
    key TEXT NOT NULL,                    -- the idempotency key
    channel TEXT NOT NULL,                -- where to: devto, mastodon, email
    payload TEXT NOT NULL,                -- JSON
    state TEXT NOT NULL,                  -- queued, sending, sent, failed, unknown
    tries INTEGER NOT NULL DEFAULT 0,
    remote TEXT,                          -- the receiver's own name for it
    url TEXT,
    error TEXT,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    sent INTEGER,
    UNIQUE (project, pack, key)
);
CREATE INDEX kit_deliveries_state ON kit_deliveries (project, pack, state, id);

CREATE TABLE kit_usage (
    project INTEGER NOT NULL,
    pack TEXT NOT NULL,
    service TEXT NOT NULL,                -- a connector, or a connector and its model
    day TEXT NOT NULL,                    -- UTC, 2026-11-22
    calls INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    micros INTEGER NOT NULL,              -- money, in millionths of a US dollar
    unpriced INTEGER NOT NULL,            -- calls whose price nobody knows
    PRIMARY KEY (project, pack, service, day)
);

CREATE TABLE kit_budgets (
    project INTEGER NOT NULL,
    pack TEXT NOT NULL,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,                   -- calls, tokens, micros
    period TEXT NOT NULL,                 -- day, month
    most INTEGER NOT NULL,
    PRIMARY KEY (project, pack, name)
);
CREATE TABLE kit_spent (
    project INTEGER NOT NULL,
    pack TEXT NOT NULL,
    name TEXT NOT NULL,
    period TEXT NOT NULL,                 -- 2026-11-22 or 2026-11
    spent INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    PRIMARY KEY (project, pack, name, period)
);
CREATE TABLE kit_reserved (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    pack TEXT NOT NULL,
    name TEXT NOT NULL,
    period TEXT NOT NULL,
    amount INTEGER NOT NULL,
    until INTEGER NOT NULL
);
CREATE INDEX kit_reserved_until ON kit_reserved (project, pack, until);

CREATE TABLE kit_cache (
    project INTEGER NOT NULL,
    pack TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,                  -- JSON
    stored INTEGER NOT NULL,
    fresh_until INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    PRIMARY KEY (project, pack, key)
);
CREATE INDEX kit_cache_keep ON kit_cache (keep_until);
