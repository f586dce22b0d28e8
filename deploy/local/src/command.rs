//! The command line: `up`, and each process of the stack as a command of its own.
//!
//! The processes run the same `run` as the shipped binaries, so `up` needs no other executable than itself,
//! and there are no stale ones.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use shared::process::{StartOptions, start};

use crate::{
    Interrupt,
    soak::{Plan, soak},
    up::{UpOptions, say, up, warn},
};

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
    /// Break everything again and again while clients send; exit 1 if anything was lost, made up or doubled
    Soak(SoakOptions),
    /// Run a proxy, as portcullis-proxy does
    Proxy(StartOptions),
    /// Run a main server, as portcullis-server does
    MainServer(StartOptions),
    /// Run a worker, as portcullis-worker does
    Worker(StartOptions),
}

#[derive(Debug, Args)]
struct SoakOptions {
    /// At least so long
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// And until so many messages are acknowledged
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    messages: u64,
    /// Repeat the faults of an earlier run in their order
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Cli {
    /// Does what was asked; 64 is a bad configuration, 1 a failure.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Up(options) => up(&options),
            Command::Soak(options) => options.run(),
            Command::Proxy(options) => start(&options, proxy::run),
            Command::MainServer(options) => start(&options, main_server::run),
            Command::Worker(options) => start(&options, worker::run),
        }
    }
}

impl SoakOptions {
    fn run(&self) -> ExitCode {
        let outcome = std::env::current_exe().map_err(Into::into).and_then(|executable| {
            let mut plan = Plan::new(executable);
            plan.time = Duration::from_secs(self.seconds);
            plan.messages = self.messages;
            plan.seed = self.seed.unwrap_or(plan.seed);
            soak(&plan, &Interrupt::on_signals()?)
        });
        match outcome {
            Ok(summary) => {
                say(&summary.to_string());
                if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => {
                warn(&format!("error: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }
}
