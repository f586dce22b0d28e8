//! `client_activity`: who was seen and who was refused; and the refusals in `audit_log`.
//!
//! A certificate that is refused again and again is audited once a minute, and whenever the reason changes.

use std::collections::BTreeMap;

use shared::{identity::Fingerprint, wire::report::SeenCertificate};
use sqlx::{Postgres, Transaction};
use time::OffsetDateTime;

use super::Reported;

/// Adds what was seen to what is known, and audits refusals.
pub(super) async fn write(
    transaction: &mut Transaction<'_, Postgres>,
    batch: &[Reported],
) -> Result<(), sqlx::Error> {
    // By fingerprint: each once, and in one order everywhere, or two main servers could wait for each other.
    let mut by_fingerprint: BTreeMap<Fingerprint, (SeenCertificate, &str)> = BTreeMap::new();
    for one in batch {
        for seen in &one.report.seen {
            by_fingerprint
                .entry(seen.cert_fingerprint)
                .and_modify(|(held, proxy)| {
                    if seen.last_seen_at >= held.last_seen_at {
                        *proxy = one.proxy.as_str();
                    }
                    add(held, seen);
                })
                .or_insert_with(|| (seen.clone(), one.proxy.as_str()));
        }
    }
    if by_fingerprint.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(by_fingerprint.into_values());
    audit(transaction, &columns).await?;
    upsert(transaction, &columns).await
}

fn add(held: &mut SeenCertificate, seen: &SeenCertificate) {
    if seen.last_seen_at >= held.last_seen_at {
        held.client_id = seen.client_id.clone().or(held.client_id.take());
    }
    held.first_seen_at = held.first_seen_at.min(seen.first_seen_at);
    held.last_seen_at = held.last_seen_at.max(seen.last_seen_at);
    held.requests = held.requests.saturating_add(seen.requests);
    held.refusals = held.refusals.saturating_add(seen.refusals);
    held.last_refusal = held.last_refusal.into_iter().chain(seen.last_refusal).max_by_key(|one| one.at);
}

/// One list per column, all of one length.
#[derive(Default)]
struct Columns {
    fingerprints: Vec<String>,
    client_ids: Vec<Option<String>>,
    first: Vec<OffsetDateTime>,
    last: Vec<OffsetDateTime>,
    proxies: Vec<String>,
    requests: Vec<i64>,
    refusals: Vec<i64>,
    refused_at: Vec<Option<OffsetDateTime>>,
    codes: Vec<Option<String>>,
}

impl Columns {
    fn of<'a>(rows: impl Iterator<Item = (SeenCertificate, &'a str)>) -> Self {
        let mut columns = Self::default();
        for (row, proxy) in rows {
            columns.fingerprints.push(row.cert_fingerprint.to_string());
            columns.client_ids.push(row.client_id.map(|name| name.to_string()));
            columns.first.push(row.first_seen_at);
            columns.last.push(row.last_seen_at);
            columns.proxies.push(proxy.to_owned());
            // far below what a sum of many reports could overflow
            columns.requests.push(i64::from(u32::try_from(row.requests).unwrap_or(u32::MAX)));
            columns.refusals.push(i64::from(u32::try_from(row.refusals).unwrap_or(u32::MAX)));
            columns.refused_at.push(row.last_refusal.map(|refusal| refusal.at));
            columns.codes.push(row.last_refusal.map(|refusal| refusal.code.as_str().to_owned()));
        }
        columns
    }
}

async fn audit(transaction: &mut Transaction<'_, Postgres>, columns: &Columns) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- reports.audit
        INSERT INTO audit_log (what, client_id, cert_fingerprint, new)
        SELECT 'refused ' || seen.code, seen.client_id, seen.fingerprint,
               jsonb_build_object('proxy', seen.proxy, 'refused_at', seen.refused_at, 'refusals', seen.refusals)
        FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::text[])
             AS seen (fingerprint, client_id, proxy, refusals, refused_at, code)
        LEFT JOIN client_activity known ON known.cert_fingerprint = seen.fingerprint
        WHERE seen.code IS NOT NULL
          AND (known.audited_at IS NULL OR known.audited_at < now() - interval '1 minute'
               OR known.audited_code IS DISTINCT FROM seen.code)",
        &columns.fingerprints,
        &columns.client_ids as &[Option<String>],
        &columns.proxies,
        &columns.refusals,
        &columns.refused_at as &[Option<OffsetDateTime>],
        &columns.codes as &[Option<String>],
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn upsert(transaction: &mut Transaction<'_, Postgres>, columns: &Columns) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- reports.seen
        INSERT INTO client_activity AS known (cert_fingerprint, client_id, first_seen_at, last_seen_at, last_proxy,
            requests, refusals, last_refusal_at, last_refusal_code, audited_at, audited_code)
        SELECT fingerprint, client_id, first, last, proxy, requests, refusals, refused_at, code,
               CASE WHEN code IS NOT NULL THEN now() END, code
        FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::bigint[],
                    $7::bigint[], $8::timestamptz[], $9::text[])
             AS seen (fingerprint, client_id, first, last, proxy, requests, refusals, refused_at, code)
        ON CONFLICT (cert_fingerprint) DO UPDATE
        SET client_id = coalesce(excluded.client_id, known.client_id),
            first_seen_at = least(known.first_seen_at, excluded.first_seen_at),
            last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at),
            last_proxy = excluded.last_proxy,
            requests = known.requests + excluded.requests,
            refusals = known.refusals + excluded.refusals,
            last_refusal_at = greatest(known.last_refusal_at, excluded.last_refusal_at),
            last_refusal_code = CASE WHEN excluded.last_refusal_at >= coalesce(known.last_refusal_at, '-infinity')
                                     THEN excluded.last_refusal_code ELSE known.last_refusal_code END,
            -- as reports.audit judged it
            audited_at = CASE WHEN excluded.audited_code IS NOT NULL
                               AND (known.audited_at IS NULL OR known.audited_at < now() - interval '1 minute'
                                    OR known.audited_code IS DISTINCT FROM excluded.audited_code)
                              THEN now() ELSE known.audited_at END,
            audited_code = coalesce(excluded.audited_code, known.audited_code)",
        &columns.fingerprints,
        &columns.client_ids as &[Option<String>],
        &columns.first,
        &columns.last,
        &columns.proxies,
        &columns.requests,
        &columns.refusals,
        &columns.refused_at as &[Option<OffsetDateTime>],
        &columns.codes as &[Option<String>],
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
