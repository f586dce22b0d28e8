//! `completions` and `man`: what shells complete, and manual pages, made of the command line itself.

use std::{fs, io::Write, path::PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::CommandLine;

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder for portcullis-certs.1 and a page for each verb
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

pub(super) fn completions(arguments: &Completions, out: &mut dyn Write) -> anyhow::Result<bool> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "portcullis-certs", &mut script);
    out.write_all(&script)?;
    Ok(true)
}

pub(super) fn man(arguments: &Man, out: &mut dyn Write) -> anyhow::Result<bool> {
    let folder = &arguments.out;
    let failed = || format!("cannot write into {}", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(CommandLine::command(), folder).with_context(failed)?;
    writeln!(out, "the manual pages are in {}; try man {0}/portcullis-certs.1", folder.display())?;
    Ok(true)
}
