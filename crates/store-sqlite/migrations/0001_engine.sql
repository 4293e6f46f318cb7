-- The engine's tables. Three habits make them fast and are worth knowing before a change:
--
-- 1. Instants are whole microseconds since the epoch. In `jobs` an instant that is not known yet is
--    -9223372036854775808, and `st` is ten more than the state's code (16: available, but held back
--    by its key): both take the same number of bytes for the whole life of a row, so a change of
--    state overwrites the row in place instead of moving it about in its page.
-- 2. `route` stands for project, queue and kind. Routes and queues are numbered from 1 without gaps
--    and never deleted.
-- 3. What few jobs have (policy, results, logs, steps, attempts after the first) is beside the table.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE projects (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
);
INSERT INTO projects (id, name, created_at) VALUES (1, 'default', 0);

CREATE TABLE queues (
    id       INTEGER PRIMARY KEY,
    project  INTEGER NOT NULL,
    name     TEXT NOT NULL,
    settings TEXT,
    tat      INTEGER NOT NULL DEFAULT 0,
    vclock   INTEGER NOT NULL DEFAULT 0,
    UNIQUE (project, name)
);

-- A route and its counters: jobs by state.
CREATE TABLE routes (
    id        INTEGER PRIMARY KEY,
    queue     INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    scheduled INTEGER NOT NULL DEFAULT 0,
    available INTEGER NOT NULL DEFAULT 0,
    running   INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (queue, kind)
);

CREATE TABLE jobs (
    id            INTEGER PRIMARY KEY,
    st            INTEGER NOT NULL,
    route         INTEGER NOT NULL,
    priority      INTEGER NOT NULL,
    flags         INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    raised        INTEGER NOT NULL,
    deaths        INTEGER NOT NULL,
    origin        INTEGER NOT NULL,
    outcome       INTEGER,
    ord           INTEGER NOT NULL,
    run_at        INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    started_at    INTEGER NOT NULL,
    finished_at   INTEGER NOT NULL,
    node          INTEGER NOT NULL,
    expires_at    INTEGER,
    batch         INTEGER,
    schedule      INTEGER,
    scheduled_for INTEGER,
    key           TEXT,
    options       TEXT,
    payload       TEXT NOT NULL
);
CREATE INDEX jobs_ready     ON jobs (route, ord) WHERE st = 11;
CREATE INDEX jobs_running   ON jobs (node) WHERE st = 12;
CREATE INDEX jobs_scheduled ON jobs (run_at) WHERE st = 10;
CREATE INDEX jobs_held      ON jobs (key, ord) WHERE st = 16;
CREATE INDEX jobs_ended     ON jobs (st) WHERE st >= 14 AND st <= 15;
CREATE INDEX jobs_over      ON jobs (route, st, finished_at) WHERE st >= 13 AND st <= 15;
CREATE INDEX jobs_route     ON jobs (route);
CREATE INDEX jobs_batch     ON jobs (batch) WHERE batch IS NOT NULL;
CREATE INDEX jobs_schedule  ON jobs (schedule) WHERE schedule IS NOT NULL;
CREATE INDEX jobs_live      ON jobs (schedule)
    WHERE schedule IS NOT NULL AND origin = 1 AND st NOT IN (13, 14, 15);
CREATE INDEX jobs_times     ON jobs (schedule, scheduled_for)
    WHERE schedule IS NOT NULL AND scheduled_for IS NOT NULL;
CREATE UNIQUE INDEX jobs_fire ON jobs (schedule, scheduled_for, origin)
    WHERE schedule IS NOT NULL AND scheduled_for IS NOT NULL AND origin IN (1, 3);

-- Attempts that are over, except a first one that succeeded: the job's own columns tell that.
CREATE TABLE attempts (
    job         INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    node        INTEGER,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    outcome     INTEGER NOT NULL,
    error       TEXT,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;

-- What there is to say about a job beyond its state: reason, last error, output.
CREATE TABLE results (
    job    INTEGER PRIMARY KEY,
    reason TEXT,
    error  TEXT,
    output TEXT
);

CREATE TABLE steps (
    id     INTEGER PRIMARY KEY,
    job    INTEGER NOT NULL,
    name   TEXT NOT NULL,
    result TEXT NOT NULL,
    at     INTEGER NOT NULL,
    UNIQUE (job, name)
);

CREATE TABLE logs (
    job     INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    level   INTEGER NOT NULL,
    message TEXT NOT NULL,
    fields  TEXT,
    PRIMARY KEY (job, attempt, seq)
) WITHOUT ROWID;

CREATE TABLE progress (
    job     INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL,
    done    INTEGER NOT NULL,
    total   INTEGER,
    note    TEXT
);

-- Running jobs whose end was asked for, so that a heartbeat finds them without a search.
CREATE TABLE cancels (job INTEGER PRIMARY KEY);

-- Who holds a unique key; `until` is absent when it holds for ever.
CREATE TABLE uniques (
    project INTEGER NOT NULL,
    key     TEXT NOT NULL,
    job     INTEGER NOT NULL,
    until   INTEGER,
    PRIMARY KEY (project, key)
) WITHOUT ROWID;
CREATE INDEX uniques_job ON uniques (job);

-- Concurrency keys of a queue.
CREATE TABLE keys (
    queue     INTEGER NOT NULL,
    key       TEXT NOT NULL,
    running   INTEGER NOT NULL DEFAULT 0,
    tat       INTEGER NOT NULL DEFAULT 0,
    put_off   INTEGER NOT NULL DEFAULT 0,
    last_turn INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, key)
) WITHOUT ROWID;

CREATE TABLE batches (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project     INTEGER NOT NULL,
    name        TEXT NOT NULL,
    state       INTEGER NOT NULL,
    sealed      INTEGER NOT NULL,
    total       INTEGER NOT NULL DEFAULT 0,
    succeeded   INTEGER NOT NULL DEFAULT 0,
    partial     INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    cancelled   INTEGER NOT NULL DEFAULT 0,
    parent      INTEGER,
    template    TEXT,
    follow_up   INTEGER,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER
);
CREATE INDEX batches_project ON batches (project);
CREATE INDEX batches_over    ON batches (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX batches_left    ON batches (parent) WHERE sealed = 0 AND parent IS NOT NULL;

CREATE TABLE nodes (
    id           INTEGER PRIMARY KEY,
    info         TEXT NOT NULL,
    joined_at    INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL,
    gone         INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE schedules (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    project          INTEGER NOT NULL,
    name             TEXT NOT NULL,
    spec             TEXT NOT NULL,
    zone             TEXT NOT NULL,
    next_fire        INTEGER,
    after_completion INTEGER,
    fires            INTEGER NOT NULL DEFAULT 0,
    last_fire        INTEGER,
    paused           TEXT,
    version          INTEGER NOT NULL,
    source           TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    UNIQUE (project, name)
);
CREATE INDEX schedules_due ON schedules (next_fire) WHERE next_fire IS NOT NULL;

-- Fires that made no job: runs of the same outcome and reason are one row.
CREATE TABLE ledger (
    id       INTEGER PRIMARY KEY,
    schedule INTEGER NOT NULL,
    first    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    outcome  INTEGER NOT NULL,
    reason   TEXT NOT NULL
);
CREATE INDEX ledger_schedule ON ledger (schedule, last);

-- Attempts by the minute in which they ended; a whole hour is folded into its first minute later.
CREATE TABLE rollups (
    minute   INTEGER NOT NULL,
    route    INTEGER NOT NULL,
    schedule INTEGER NOT NULL,
    outcome  INTEGER NOT NULL,
    bucket   INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    total_us INTEGER NOT NULL,
    PRIMARY KEY (minute, route, schedule, outcome, bucket)
) WITHOUT ROWID;

-- The newest outcomes of a kind (scope 0), queue (1) or schedule (2): nine bytes each.
CREATE TABLE recents (
    project INTEGER NOT NULL,
    scope   INTEGER NOT NULL,
    name    TEXT NOT NULL,
    list    BLOB NOT NULL,
    PRIMARY KEY (project, scope, name)
) WITHOUT ROWID;

CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    project INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    name    TEXT NOT NULL,
    subject TEXT NOT NULL,
    actor   TEXT,
    data    TEXT NOT NULL
);
CREATE INDEX events_project ON events (project);
