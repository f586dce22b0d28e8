//! `crl --refresh`: revocation lists that are good for another while, in their files and in the database.
//!
//! The files first: whatever interrupts it, the next run sends the lists that lie there, and a list that the
//! database has already changes nothing. A CA whose key is elsewhere keeps its list, and is named.

use std::io::Write;

use anyhow::Context;

use super::{Place, database};
use crate::{Authority, folder::Refreshed, register, statement};

pub(super) async fn run(place: &Place, all: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut authority = Authority::load(&place.dir)?;
    let mut database = database::connect(place).await?;
    let outcomes = authority.refresh_crls(&place.dir, all)?;
    for ((title, outcome), list) in outcomes.into_iter().zip(authority.crls()) {
        let until = list.next_update;
        match outcome {
            Refreshed::NotDue => writeln!(out, "{title}: good until {until}")?,
            Refreshed::Signed => {
                writeln!(out, "{title}: signed anew, number {}, good until {until}", list.number)?;
            }
            Refreshed::KeyAbsent => {
                writeln!(out, "{title}: due, but its key is not here; its list is good until {until}")?;
            }
        }
    }
    if let Some(connection) = &mut database {
        let sent = register::crls(connection, &authority.crls()).await;
        sent.context("the lists are in their files, but the database did not take them; run this again")?;
        writeln!(out, "the revocation lists are in the database")?;
    } else {
        writeln!(out, "\nto put them in force, with psql:\n")?;
        for list in authority.crls() {
            writeln!(out, "{}", statement::publishing(list))?;
        }
    }
    Ok(())
}
