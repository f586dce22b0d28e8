//! The command line: `up`, and each process of the stack as a command of its own.
//!
//! The processes run the same `run` as the shipped binaries, so `up` needs no other executable than itself,
//! and there are no stale ones.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::process::{StartOptions, start};

use crate::up::{UpOptions, up};

/// Portcullis on one machine.
#[derive(Debug, Parser)]
#[command(name = "portcullis-local", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything, send one message, show it delivered; Ctrl-C stops all of it
    Up(UpOptions),
    /// Run a proxy, as portcullis-proxy does
    Proxy(StartOptions),
    /// Run a main server, as portcullis-server does
    MainServer(StartOptions),
    /// Run a worker, as portcullis-worker does
    Worker(StartOptions),
}

impl Cli {
    /// Does what was asked; 64 is a bad configuration, 1 a failure.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Up(options) => up(&options),
            Command::Proxy(options) => start(&options, proxy::run),
            Command::MainServer(options) => start(&options, main_server::run),
            Command::Worker(options) => start(&options, worker::run),
        }
    }
}
