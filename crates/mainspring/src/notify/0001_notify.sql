CREATE TABLE notify_channels (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,                   -- email, resend, slack, discord, webhook
    settings TEXT NOT NULL,               -- JSON, by kind, without secrets
    sealed BLOB,                          -- its secrets, sealed with the installation's key
    timing TEXT NOT NULL,                 -- JSON: quiet hours, digest, grouping
    enabled INTEGER NOT NULL DEFAULT 1,
    stopped TEXT,                         -- why nothing is sent any more (410 Gone); NULL while it is
    failing INTEGER NOT NULL DEFAULT 0,   -- deliveries that failed since the last one that did not
    last_error TEXT,
    last_failed INTEGER,
    last_sent INTEGER,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    UNIQUE (project, name)
);

CREATE TABLE notify_notices (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,             -- made of project, key, state and instant: told once
    project INTEGER NOT NULL,
    key TEXT NOT NULL,
    severity TEXT NOT NULL,
    state TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    facts TEXT NOT NULL,                  -- JSON: [[name, value], …]
    path TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX notify_notices_project ON notify_notices (project, id);

CREATE TABLE notify_deliveries (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,             -- the idempotency key: of the notice and the channel
    project INTEGER NOT NULL,
    notice TEXT NOT NULL,
    channel INTEGER NOT NULL,
    channel_name TEXT NOT NULL,           -- kept, for when the channel is gone
    channel_kind TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued', -- queued, sent, failed, unknown
    held_until INTEGER,                   -- quiet hours, digest or grouping
    job INTEGER,                          -- known once its job has begun
    tries INTEGER NOT NULL DEFAULT 0,
    open INTEGER NOT NULL DEFAULT 0,      -- 1 while a try has begun whose end is not known
    carried_by TEXT,                      -- the delivery whose message had this one in it
    receipt TEXT,                         -- what the service answered
    error TEXT,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    sent INTEGER
);
CREATE INDEX notify_deliveries_project ON notify_deliveries (project, id);
CREATE INDEX notify_deliveries_open ON notify_deliveries (channel, id) WHERE state = 'queued';
CREATE INDEX notify_deliveries_notice ON notify_deliveries (notice);

CREATE TABLE notify_reads (
    account INTEGER NOT NULL,
    notice INTEGER NOT NULL,
    PRIMARY KEY (account, notice)
);
CREATE TABLE notify_seen (
    account INTEGER NOT NULL,
    project INTEGER NOT NULL,
    upto INTEGER NOT NULL,                -- every notice up to this number counts as read
    PRIMARY KEY (account, project)
);
CREATE TABLE notify_preferences (
    account INTEGER NOT NULL,
    project INTEGER NOT NULL,
    event TEXT NOT NULL,
    place TEXT NOT NULL,                  -- in_app, or the number of a channel
    wanted INTEGER NOT NULL,
    PRIMARY KEY (account, project, event, place)
);
