//! `portcullis-local`: the stack's supervisor, and each of its processes, in one binary.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    local::command::Cli::parse().run()
}
