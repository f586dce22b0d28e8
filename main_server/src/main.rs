//! `portcullis-server`: serves, applies migrations, makes a key ring.

use std::process::ExitCode;

use clap::Parser;
use main_server::{Config, cli, run};
use shared::process::{StartOptions, start};

/// Portcullis main server: stores messages durably and leases them to workers.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct CommandLine {
    #[command(flatten)]
    serve: Option<StartOptions>,
    #[command(subcommand)]
    verb: Option<cli::Verb>,
}

fn main() -> ExitCode {
    match CommandLine::parse() {
        CommandLine { verb: Some(verb), .. } => verb.run(),
        CommandLine { serve: Some(options), .. } => start::<Config, _>(&options, run),
        CommandLine { .. } => ExitCode::from(64),
    }
}
