//! The command line: which figures, how often; and, hidden, the processes that a measurement starts.
//!
//! Exit codes: 0, also when goals are missed; 1 when something could not be measured; 64 for a bad command line.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{descriptors, figures, generator, keep, measure, report};

/// Measures Portcullis beside what its users would take instead.
#[derive(Debug, Parser)]
#[command(name = "portcullis-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    process: Option<Process>,
}

/// What to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Only this figure; may be given several times
    #[arg(long = "figure", value_name = "NAME")]
    pub(crate) figures: Vec<String>,
    /// So many runs of ours and of the peer, in turn; 5 unless it is a slow figure, which has 3
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) runs: Option<u32>,
    /// Short runs, and none of the slow figures: shows that everything works, proves nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// Begin no further figure after so many seconds; those left out are reported as not measured
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| text.parse().map(Duration::from_secs))]
    pub(crate) within: Option<Duration>,
    /// Where the JSON goes
    #[arg(long, value_name = "FILE", default_value = "target/bench/latest.json")]
    pub(crate) out: PathBuf,
    /// Say what there is to measure
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Subcommand)]
enum Process {
    /// Read one load from standard input, generate it, write what was seen to standard output
    #[command(hide = true)]
    Generate,
    /// Run a command until standard input ends
    #[command(hide = true)]
    Keep(keep::Command),
}

/// Does what was asked.
#[must_use]
pub fn run() -> ExitCode {
    // the stack starts its processes as this very executable
    let servers = ["proxy", "main-server", "worker"];
    if std::env::args().nth(1).is_some_and(|first| servers.contains(&first.as_str())) {
        descriptors::raise();
        return local::command::Cli::parse().run();
    }
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        // clap's own code for a bad command line is 2; ours is everywhere 64
        let _nobody_listens = error.print();
        std::process::exit(if error.use_stderr() { 64 } else { 0 })
    });
    let outcome = match cli.process {
        Some(Process::Generate) => {
            descriptors::raise();
            generator::generate()
        }
        Some(Process::Keep(command)) => keep::run(&command),
        None if cli.options.list => {
            report::list(&figures::all());
            Ok(true)
        }
        None => measure::measure(&cli.options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::warn(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
