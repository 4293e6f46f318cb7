DROP TABLE web_invitations;
CREATE TABLE web_invitations (
    id INTEGER PRIMARY KEY,
    token BLOB NOT NULL,
    project INTEGER NOT NULL,
    email TEXT,
    role TEXT NOT NULL,
    payloads INTEGER NOT NULL DEFAULT 0,
    made_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX web_invitations_token ON web_invitations (token);
CREATE INDEX web_invitations_project ON web_invitations (project);

CREATE TABLE web_projects (
    project INTEGER NOT NULL,
    title TEXT,
    archived_at INTEGER,
    PRIMARY KEY (project)
);
