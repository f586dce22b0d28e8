//! The load generator's process.
//!
//! In: a [`Load`] as one line on standard input. Out: [`Event`]s as lines on standard output. One thread, so that
//! it takes little of the processors that the measured processes share; it ends when standard input does.

mod tls;
mod connection;
mod request;
mod meter;
mod pacer;
mod requests;
mod gate;
mod handshakes;
mod revocations;
mod publish;
mod drain;
mod rows;

use std::{
    io::{BufRead as _, Read as _, Write as _},
    thread,
};

use anyhow::Context as _;

use self::meter::Signals;
use crate::load::{Event, Load};

/// Generates one load; `false` if it could not be.
pub(crate) fn generate() -> anyhow::Result<bool> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let load: Load = serde_json::from_str(&line).context("standard input holds no load")?;
    let (let_go, owner) = tokio::sync::oneshot::channel();
    let waits_for_its_end = matches!(load, Load::Idle(_));
    thread::spawn(move || {
        let _until_its_end = std::io::stdin().read_to_end(&mut Vec::new());
        if !waits_for_its_end {
            std::process::exit(1);
        }
        let _gone = let_go.send(());
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = Signals;
    let outcome = runtime.block_on(async {
        match load {
            Load::Requests(load) => requests::run(load, signals).await,
            Load::Handshakes(load) => handshakes::run(load, signals).await,
            Load::Idle(load) => handshakes::hold(load, signals, owner).await,
            Load::Revocations(load) => revocations::run(load, signals).await,
            Load::Publish(load) => publish::run(load, signals).await,
            Load::Drain(load) => drain::run(load, signals).await,
            Load::Rows(load) => rows::run(load, signals).await,
        }
    });
    let succeeded = outcome.is_ok();
    say(&outcome.map_or_else(|error| Event::Failed(format!("{error:#}")), Event::End))?;
    Ok(succeeded)
}

fn say(event: &Event) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(event)?)?;
    Ok(out.flush()?)
}
