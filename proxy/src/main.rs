//! `portcullis-proxy`: see `proxy` (the library) for what it does.

use std::process::ExitCode;

use clap::Parser;
use shared::process::StartOptions;

/// The edge of Portcullis: client mTLS in, batches to the main servers out.
#[derive(Parser)]
#[command(name = "portcullis-proxy", version)]
struct Arguments {
    #[command(flatten)]
    start: StartOptions,
}

fn main() -> ExitCode {
    shared::process::start::<proxy::Config, _>(&Arguments::parse().start, proxy::run)
}
