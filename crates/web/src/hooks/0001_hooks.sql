CREATE TABLE hooks_hooks (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    name TEXT NOT NULL,
    token TEXT NOT NULL,
    signature TEXT NOT NULL,
    kind TEXT NOT NULL,
    queue TEXT NOT NULL,
    template TEXT,
    made_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    rotated_at INTEGER
);
CREATE UNIQUE INDEX hooks_hooks_name ON hooks_hooks (project, name);
CREATE UNIQUE INDEX hooks_hooks_token ON hooks_hooks (token);

CREATE TABLE hooks_deliveries (
    id INTEGER PRIMARY KEY,
    hook INTEGER NOT NULL REFERENCES hooks_hooks (id) ON DELETE CASCADE,
    delivery TEXT NOT NULL,
    event TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    job INTEGER,
    at INTEGER NOT NULL
);
CREATE UNIQUE INDEX hooks_deliveries_id ON hooks_deliveries (hook, delivery);
CREATE INDEX hooks_deliveries_at ON hooks_deliveries (hook, at);
