//! `portcullis-worker --config FILE [--check-config]`.

use std::process::ExitCode;

use clap::Parser;
use shared::process::{StartOptions, start};

/// Leases jobs from a main server and delivers their messages
#[derive(Debug, Parser)]
#[command(name = "portcullis-worker", version)]
struct Arguments {
    #[command(flatten)]
    start: StartOptions,
}

fn main() -> ExitCode {
    start(&Arguments::parse().start, worker::run)
}
