//! `proxy_sync_reports`: one row per running proxy.

use std::collections::HashMap;

use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::Reported;

/// Rows of proxies that vanished without a word are kept for so long, for whoever looks for them.
const FORGOTTEN_AFTER_HOURS: i32 = 24;

/// Writes the last report of each proxy.
pub(super) async fn write(
    transaction: &mut Transaction<'_, Postgres>,
    batch: &[Reported],
) -> Result<(), sqlx::Error> {
    let mut last: HashMap<(&str, Uuid), &Reported> = HashMap::new();
    for one in batch {
        last.insert((one.proxy.as_str(), one.report.instance), one);
    }
    let (stopping, mut running): (Vec<_>, Vec<_>) = last.into_values().partition(|one| one.report.stopping);
    // In one order everywhere, or two main servers could wait for each other.
    running.sort_by_key(|one| (one.proxy.as_str(), one.report.instance));
    upsert(transaction, &running).await?;
    let gone: Vec<Uuid> = stopping.iter().map(|one| one.report.instance).collect();
    let names: Vec<String> = stopping.iter().map(|one| one.proxy.to_string()).collect();
    sqlx::query!(
        "-- reports.forget
        DELETE FROM proxy_sync_reports
        WHERE (proxy, instance) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))
           OR reported_at < now() - make_interval(hours => $3)",
        &names,
        &gone,
        FORGOTTEN_AFTER_HOURS,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn upsert(
    transaction: &mut Transaction<'_, Postgres>,
    running: &[&Reported],
) -> Result<(), sqlx::Error> {
    let copies = || running.iter().map(|one| &one.report.copy);
    let proxies: Vec<String> = running.iter().map(|one| one.proxy.to_string()).collect();
    let instances: Vec<Uuid> = running.iter().map(|one| one.report.instance).collect();
    let applied: Vec<Option<String>> = copies().map(|copy| copy.applied.clone()).collect();
    let clients: Vec<i64> = copies().map(|copy| whole(copy.clients)).collect();
    let ages: Vec<Option<f64>> = copies().map(|copy| copy.age_ms.map(seconds)).collect();
    let limits: Vec<f64> = copies().map(|copy| seconds(copy.max_staleness_ms)).collect();
    sqlx::query!(
        "-- reports.copies
        INSERT INTO proxy_sync_reports AS known (proxy, instance, applied, clients, synced_at, max_staleness, reported_at)
        SELECT proxy, instance, applied::pg_snapshot, clients, clock_timestamp() - make_interval(secs => age),
               make_interval(secs => max_staleness), clock_timestamp()
        FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::float8[], $6::float8[])
             AS reported (proxy, instance, applied, clients, age, max_staleness)
        ON CONFLICT (proxy, instance) DO UPDATE
        SET applied = excluded.applied, clients = excluded.clients, synced_at = excluded.synced_at,
            max_staleness = excluded.max_staleness, reported_at = excluded.reported_at
        -- reports may overtake each other on the way to several main servers
        WHERE known.synced_at IS NULL OR excluded.synced_at >= known.synced_at - interval '1 second'",
        &proxies,
        &instances,
        &applied as &[Option<String>],
        &clients,
        &ages as &[Option<f64>],
        &limits,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// At most a year: no number of a proxy's may overflow an interval.
fn seconds(millis: u64) -> f64 {
    std::time::Duration::from_millis(millis.min(31_536_000_000)).as_secs_f64()
}
