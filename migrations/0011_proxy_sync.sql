-- `proxy_sync` is what operators read: how current each proxy is. What proxies report is in a table behind it.
-- Why: the view had the longer name of the two, and is the one that people type.
-- Old code does not tolerate it: stop main servers of the version before, then migrate.

DROP VIEW proxy_sync_status;
ALTER TABLE proxy_sync RENAME TO proxy_sync_reports;
ALTER INDEX proxy_sync_pkey RENAME TO proxy_sync_reports_pkey;
REVOKE ALL ON proxy_sync_reports FROM portcullis_operator;

-- current: it reports, and its copy is at most a few seconds old.   behind: it reports, its copy is older.
-- loading: it admits nobody yet.   silent: no report for some seconds; by what it said last, it may still admit.
-- gone: silent for longer than its copy may last; it does not count.
CREATE VIEW proxy_sync AS
    SELECT proxy, instance,
           CASE WHEN reported_at < now() - greatest(max_staleness, interval '10 seconds') THEN 'gone'
                WHEN reported_at < now() - interval '5 seconds' THEN 'silent'
                WHEN applied IS NULL THEN 'loading'
                WHEN synced_at < now() - interval '5 seconds' THEN 'behind'
                ELSE 'current' END AS state,
           clients, now() - synced_at AS age, applied, synced_at AS last_sync, reported_at, max_staleness
    FROM proxy_sync_reports;
ALTER VIEW proxy_sync OWNER TO portcullis_owner;
GRANT SELECT ON proxy_sync TO portcullis_operator;
