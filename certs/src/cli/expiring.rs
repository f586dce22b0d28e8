//! `expiring`: what ends soon, by the timetable 60, 30, 14, 7 and 0 days. Exit code 1 tells a monitor to look.

use std::io::Write;

use clap::Args;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Place,
    answer::{BAD, WARN, give, moment},
    database,
    list::{days_left, name},
};
use crate::{
    Authority, Ca,
    folder::Index,
    moment::from_unix,
    register,
    survey::{Status, survey},
};

/// When to answer with exit code 1.
#[derive(Debug, Args)]
pub(super) struct Expiring {
    /// Exit with 1 if a certificate ends within so many days
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    within: u32,
}

/// From how many days on, what it is called, and what to do.
const BANDS: [(i64, &str, &str); 5] = [
    (0, "expired", "its holder is shut out: renew it, or revoke it if it is not needed"),
    (7, "critical", "renew it today"),
    (14, "renew", "renew it, with an --overlap"),
    (30, "warning", "tell its holder"),
    (SHOWN, "notice", "plan the renewal"),
];

/// From how many days on it is shown, or earlier if `--within` asks for that.
const SHOWN: i64 = 60;

/// What `--json` answers, for each certificate.
#[derive(Serialize)]
struct Row {
    holder: String,
    ends: String,
    days_left: i64,
    band: &'static str,
    to_do: &'static str,
}

pub(super) async fn run(place: &Place, expiring: &Expiring, out: &mut dyn Write) -> anyhow::Result<bool> {
    let authority = Authority::load(&place.dir)?;
    let index = Index::read(&place.dir, &authority)?;
    let database = match &mut database::connect(place).await? {
        Some(connection) => Some(register::standings(connection).await?),
        None => None,
    };
    // CAs first: with them ends everything below
    let mut ends: Vec<_> = Ca::ALL
        .into_iter()
        .map(|ca| (ca.to_string(), from_unix(authority.issuer(ca).facts().validity.not_after)))
        .collect();
    for one in survey(&authority, &index, database.as_deref())? {
        if one.current && !matches!(one.status, Status::Revoked | Status::Renewed) {
            ends.push((name(one.holder.as_ref()), one.ends));
        }
    }
    let within = i64::from(expiring.within);
    let mut rows =
        ends.into_iter().filter_map(|(holder, ends)| row(holder, ends, within)).collect::<Vec<_>>();
    rows.sort_by_key(|row| row.days_left);
    let good = !rows.iter().any(|row| row.days_left < within);
    give(place, out, &rows, |out| {
        for row in &rows {
            let style = if row.days_left < 7 { BAD } else { WARN };
            let Row { holder, days_left, band, to_do, .. } = row;
            let left =
                if *days_left < 0 { "is over".to_owned() } else { format!("ends in {days_left} days") };
            writeln!(out, "{style}{band:8}{style:#} {holder} {left}, {}: {to_do}", row.ends)?;
        }
        if rows.is_empty() {
            writeln!(out, "nothing ends within {} days", within.max(SHOWN))?;
        }
        Ok(())
    })?;
    Ok(good)
}

fn row(holder: String, ends: OffsetDateTime, within: i64) -> Option<Row> {
    let days_left = days_left(ends);
    let last = BANDS.last().filter(|_| days_left < within);
    let (_, band, to_do) = *BANDS.iter().find(|(days, ..)| days_left < *days).or(last)?;
    let ends = ends.format(&Rfc3339).unwrap_or_else(|_| moment(ends));
    Some(Row { holder, ends, days_left, band, to_do })
}
