-- First attempts of jobs with a concurrency key share rows as the others do, in bundles of their own that
-- name the key of each job, in the same order. They hold half as many, so that a row stays on its page.
ALTER TABLE bundles ADD COLUMN keys bigint[];

CREATE OR REPLACE VIEW leases AS
SELECT job, job / 128 AS block, node, started_at, route, attempt, cancel, key_id, batch, schedule FROM running
UNION ALL
SELECT x.job, b.block, b.node, b.started_at, b.route, 1, NULL, x.key_id, NULL, NULL
FROM bundles b CROSS JOIN LATERAL unnest(b.jobs, b.keys) x(job, key_id);
