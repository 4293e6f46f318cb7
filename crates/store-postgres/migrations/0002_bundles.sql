-- Leases taken together are kept together. A first attempt of a job without a key, a batch that counts
-- it, a schedule or a cancel has nothing to say but who runs it and since when, and what one claim
-- takes has both in common: so those of one route and one block of 128 numbers share a row. Whatever
-- is to be said of one of them alone moves it to `running` first.
CREATE TABLE bundles (
    block       bigint  NOT NULL,   -- jobs / 128: a job's bundle is found from its number
    first       bigint  NOT NULL,   -- its smallest job when made; a job has one first attempt, so unique for ever
    node        bigint  NOT NULL,
    started_at  bigint  NOT NULL,
    route       integer NOT NULL,
    jobs        bigint[] NOT NULL,
    PRIMARY KEY (block, first)
) WITH (fillfactor = 50);
CREATE INDEX bundles_node ON bundles (node);
ALTER TABLE bundles SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
                         autovacuum_vacuum_cost_delay = 0);

-- Every lease, one a row. Whoever looks for a job asks for its block as well.
CREATE VIEW leases AS
SELECT job, job / 128 AS block, node, started_at, route, attempt, cancel, key_id, batch, schedule FROM running
UNION ALL
SELECT x.job, b.block, b.node, b.started_at, b.route, 1, NULL, NULL, NULL, NULL
FROM bundles b CROSS JOIN LATERAL unnest(b.jobs) x(job);
