//! `rotate-keys`: another key for what is new; how far that is; taking out a key that is of no use any more.
//!
//! In: a key ring file, and for `--status` and `--retire` the database. Out: the file, changed as a whole. Refused:
//! taking out a key that seals something, or that a running server seals under.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use shared::identity::Name;
use sqlx::{Connection as _, PgConnection};

use super::{Target, block_on};
use crate::{
    queue::reseal::{KeyUse, key_use, rings_of_servers, walk_progress},
    seal::{KeyNames, add_key, key_names, remove_key},
};

/// A server that was not heard of for so long does not seal anything, in seconds; they report every 10.
const SILENT: f64 = 120.0;

/// The options of `rotate-keys`.
#[derive(Debug, Args)]
pub struct RotateKeys {
    /// The key ring
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Change nothing; say which keys there are, what they seal, and which servers have them
    #[arg(long, conflicts_with = "retire")]
    status: bool,
    /// Take this key out, if nothing is sealed under it
    #[arg(long, value_name = "KEY")]
    retire: Option<Name>,
    #[command(flatten)]
    database: Target,
}

#[expect(clippy::print_stdout, reason = "a command-line verb tells its user")]
impl RotateKeys {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match (&self.retire, self.status) {
            (Some(key), _) => {
                let key = key.clone();
                block_on(self.retire(key))
            }
            (None, true) => block_on(self.show()),
            (None, false) => {
                let key = add_key(&self.file)?;
                println!("{key} is the current key of {} now; the earlier ones stay", self.file.display());
                println!("copy the file to every other main server; running ones notice. Back it up.");
                Ok(())
            }
        }
    }

    async fn show(self) -> anyhow::Result<()> {
        let KeyNames { current, all } = key_names(&self.file)?;
        let mut database = connect(self.database).await?;
        for key in &all {
            let KeyUse { messages, errors } = key_use(&mut database, key.as_str()).await?;
            let note = match (*key == current, messages + errors) {
                (true, _) => ", current",
                (false, 0) => ", seals nothing any more",
                (false, _) => "",
            };
            println!("key {key}: {messages} messages, {errors} errors{note}");
        }
        match walk_progress(&mut database).await? {
            None => println!("sealing anew: never needed yet"),
            Some(walk) => match walk.ended_at {
                Some(ended_at) => println!("sealing anew: under {}, all done at {ended_at}", walk.key_id),
                None => println!("sealing anew: under {}, done up to message {}", walk.key_id, walk.after),
            },
        }
        for ring in rings_of_servers(&mut database).await? {
            let (server, keys) = (ring.server, ring.key_ids.join(", "));
            println!(
                "main server {server}: seals under {}, has {keys}, {:.0} s ago",
                ring.current_key, ring.age_seconds
            );
        }
        database.close().await.context("the database broke off")
    }

    async fn retire(self, key: Name) -> anyhow::Result<()> {
        let KeyNames { current, all } = key_names(&self.file)?;
        if current != key && all.contains(&key) {
            let mut database = connect(self.database).await?;
            // First who may still seal under it, then what is sealed: in the other order something could come in between.
            for ring in rings_of_servers(&mut database).await? {
                if ring.age_seconds < SILENT && ring.current_key == key.as_str() {
                    bail!(
                        "main server {} seals under {key}: give it the new key ring first ({:.0} s ago)",
                        ring.server,
                        ring.age_seconds
                    );
                }
            }
            let KeyUse { messages, errors } = key_use(&mut database, key.as_str()).await?;
            if messages + errors > 0 {
                bail!(
                    "{key} seals {messages} messages and {errors} errors: without it they could not be read. \
                     The main servers seal them anew, see --status"
                );
            }
            database.close().await.context("the database broke off")?;
        }
        remove_key(&self.file, &key)?;
        println!(
            "{key} is not in {} any more; copy the file to every other main server",
            self.file.display()
        );
        println!(
            "keep a copy of {key} for as long as there are backups of the database in which it seals something"
        );
        Ok(())
    }
}

async fn connect(target: Target) -> anyhow::Result<PgConnection> {
    PgConnection::connect(target.url()?.expose()).await.context("cannot connect to the database")
}
