//! `list`: every certificate, by the CA's index and by the database, with disagreements marked.

use std::io::Write;

use clap::{Args, ValueEnum};
use serde::Serialize;
use shared::identity::Workload;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Place,
    answer::{BAD, GOOD, WARN, give},
    database,
    holder::argument,
};
use crate::{
    Authority,
    folder::Index,
    register,
    survey::{Status, Surveyed, survey},
};

/// Which certificates.
#[derive(Debug, Args)]
pub(super) struct List {
    #[arg(default_value = "all")]
    which: Which,
    /// Write serial numbers and fingerprints in full
    #[arg(long)]
    wide: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Everything that was ever issued or registered
    All,
    /// What lets its holder in
    Active,
    /// What was revoked, by list or in the database
    Revoked,
    /// What lets its holder in and ends within 30 days
    Expiring,
}

/// What `--json` answers, for each certificate.
#[derive(Serialize)]
struct Row {
    holder: String,
    serial: Option<String>,
    fingerprint: String,
    status: &'static str,
    ends: String,
    days_left: i64,
    disagreement: Option<&'static str>,
}

pub(super) async fn run(place: &Place, list: &List, out: &mut dyn Write) -> anyhow::Result<bool> {
    let authority = Authority::load(&place.dir)?;
    let index = Index::read(&place.dir, &authority)?;
    let rows = match &mut database::connect(place).await? {
        Some(connection) => Some(register::standings(connection).await?),
        None => None,
    };
    let surveyed = survey(&authority, &index, rows.as_deref())?;
    let wanted: Vec<_> = surveyed.iter().filter(|one| list.wants(one)).map(row).collect::<Result<_, _>>()?;
    give(place, out, &wanted, |out| table(&wanted, list.wide, rows.is_some(), out))?;
    Ok(true)
}

impl List {
    fn wants(&self, one: &Surveyed) -> bool {
        match self.which {
            Which::All => true,
            Which::Active => one.status == Status::Active,
            Which::Revoked => one.status == Status::Revoked,
            Which::Expiring => one.status == Status::Active && days_left(one.ends) < 30,
        }
    }
}

pub(super) fn days_left(ends: OffsetDateTime) -> i64 {
    (ends - OffsetDateTime::now_utc()).whole_seconds().div_euclid(86_400)
}

pub(super) fn name(holder: Option<&Workload>) -> String {
    holder.map_or_else(|| "?".to_owned(), argument)
}

fn row(one: &Surveyed) -> anyhow::Result<Row> {
    Ok(Row {
        holder: name(one.holder.as_ref()),
        serial: one.serial.clone(),
        fingerprint: one.fingerprint.to_string(),
        status: one.status.as_str(),
        ends: one.ends.format(&Rfc3339)?,
        days_left: days_left(one.ends),
        disagreement: one.disagreement,
    })
}

fn table(rows: &[Row], wide: bool, asked: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let short =
        |text: &str| if wide { text.to_owned() } else { format!("{}…", &text[..text.len().min(12)]) };
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            [
                row.holder.clone(),
                row.serial.as_deref().map_or_else(|| "-".to_owned(), short),
                short(&row.fingerprint),
                row.status.to_owned(),
                if row.days_left < 0 { "over".to_owned() } else { format!("{} days", row.days_left) },
            ]
        })
        .collect();
    let heads = ["NAME", "SERIAL", "FINGERPRINT", "STATUS", "EXPIRES IN"];
    let widths: [usize; 5] = std::array::from_fn(|column| {
        let longest = cells.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
        longest.max(heads[column].len())
    });
    let line = |cells: &[String; 5]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ")
    };
    writeln!(out, "{}", line(&heads.map(str::to_owned)).trim_end())?;
    for (row, cells) in rows.iter().zip(&cells) {
        let style = match row.status {
            "active" if row.days_left < 30 => WARN,
            "active" => GOOD,
            "renewed" => clap::builder::styling::Style::new(),
            _ => BAD,
        };
        let marked = row.disagreement.map(|text| format!("  ! {text}")).unwrap_or_default();
        let text = format!("{style}{}{style:#}{WARN}{marked}{WARN:#}", line(cells).trim_end());
        writeln!(out, "{text}")?;
    }
    if !asked {
        writeln!(out, "no database was asked; --database-url shows where it disagrees")?;
    }
    Ok(())
}
