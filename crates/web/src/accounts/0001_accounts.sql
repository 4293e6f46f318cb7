CREATE TABLE web_users (
    id INTEGER PRIMARY KEY,
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    password TEXT NOT NULL,
    admin INTEGER NOT NULL DEFAULT 0,
    settings TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    disabled_at INTEGER
);
CREATE UNIQUE INDEX web_users_email ON web_users (email);

CREATE TABLE web_members (
    project INTEGER NOT NULL,
    member INTEGER NOT NULL REFERENCES web_users (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    payloads INTEGER NOT NULL DEFAULT 0,
    since INTEGER NOT NULL,
    PRIMARY KEY (project, member)
);
CREATE INDEX web_members_member ON web_members (member);

CREATE TABLE web_sessions (
    token BLOB NOT NULL PRIMARY KEY,
    member INTEGER NOT NULL REFERENCES web_users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    agent TEXT NOT NULL
);
CREATE INDEX web_sessions_member ON web_sessions (member);

CREATE TABLE web_keys (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    name TEXT NOT NULL,
    secret BLOB NOT NULL,
    rights TEXT NOT NULL,
    queues TEXT NOT NULL DEFAULT '',
    made_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at INTEGER,
    revoked_at INTEGER
);
CREATE UNIQUE INDEX web_keys_name ON web_keys (project, name);

CREATE TABLE web_invitations (
    token BLOB NOT NULL PRIMARY KEY,
    project INTEGER NOT NULL,
    email TEXT NOT NULL,
    role TEXT NOT NULL,
    payloads INTEGER NOT NULL DEFAULT 0,
    made_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
);

CREATE TABLE web_tries (
    subject TEXT NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    last_at INTEGER NOT NULL
);

CREATE TABLE web_facts (
    name TEXT NOT NULL PRIMARY KEY,
    fact BLOB NOT NULL
);
