CREATE TABLE secrets_values (
    project INTEGER NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    sealed TEXT NOT NULL,
    set_by TEXT NOT NULL,
    set_at INTEGER NOT NULL,
    used_at INTEGER,
    PRIMARY KEY (project, name)
);
