CREATE TABLE alerts_rules (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,                   -- JSON: what people set
    enabled INTEGER NOT NULL DEFAULT 1,
    snoozed_until INTEGER,                -- nobody is told before
    state TEXT NOT NULL,                  -- JSON: what the judge remembers
    version INTEGER NOT NULL DEFAULT 1,   -- rises when a person changes the rule
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    changed_by TEXT NOT NULL,
    UNIQUE (project, name)
);

CREATE TABLE alerts_alerts (
    uid TEXT NOT NULL UNIQUE,             -- of rule, subject and look: the same look makes it once
    project INTEGER NOT NULL,
    rule INTEGER NOT NULL,
    rule_name TEXT NOT NULL,              -- kept, for when the rule is gone
    subject TEXT NOT NULL,                -- whom it is about; empty when it stands for all
    severity TEXT NOT NULL,
    title TEXT NOT NULL,
    breached TEXT NOT NULL,               -- JSON: [[subject, value], …] when it fired
    fired_at INTEGER NOT NULL,
    ended_at INTEGER,
    ended_why TEXT,
    snoozed_until INTEGER,
    acked_at INTEGER,
    acked_by TEXT
);
CREATE UNIQUE INDEX alerts_alerts_open ON alerts_alerts (rule, subject) WHERE ended_at IS NULL;
CREATE INDEX alerts_alerts_project ON alerts_alerts (project, fired_at, uid);

CREATE TABLE alerts_log (
    id INTEGER PRIMARY KEY,
    alert TEXT NOT NULL,
    project INTEGER NOT NULL,
    at INTEGER NOT NULL,
    what TEXT NOT NULL,                   -- fired, recovered, acknowledged, snoozed, woke, closed
    actor TEXT,
    note TEXT
);
CREATE INDEX alerts_log_alert ON alerts_log (alert, id);

CREATE TABLE alerts_looks (
    project INTEGER NOT NULL UNIQUE,
    look INTEGER NOT NULL,                -- the last minute that was judged, since the epoch
    after INTEGER NOT NULL DEFAULT 0,     -- rules up to this number are judged for the next one already
    cursor INTEGER NOT NULL               -- the last event that was looked at
);

CREATE TABLE alerts_now (
    project INTEGER NOT NULL,
    series TEXT NOT NULL,
    at INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (project, series)
);
CREATE TABLE alerts_points (
    project INTEGER NOT NULL,
    series TEXT NOT NULL,
    at INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (project, series, at)
);
CREATE INDEX alerts_points_at ON alerts_points (at);

CREATE TABLE alerts_heartbeats (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    name TEXT NOT NULL,
    token TEXT NOT NULL UNIQUE,
    period INTEGER NOT NULL,              -- microseconds
    grace INTEGER NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    last_ping INTEGER,
    last_failed INTEGER NOT NULL DEFAULT 0,
    pings INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    UNIQUE (project, name)
);
