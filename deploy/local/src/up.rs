//! `portcullis-local up`: everything on this machine, from nothing, until Ctrl-C.
//!
//! In: a state folder. Out: a running stack, one message sent and delivered, `stack.json`. Refused: a second
//! `up` on the same folder. When a process dies that nobody stopped, everything is stopped and the exit code
//! is 1.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    Client, Interrupt, Process, Stack, StackOptions,
    demonstrate::{self, quoted},
    stack::tail,
};

/// How often the processes are looked after.
const LOOK: Duration = Duration::from_millis(200);

/// The options of `up`.
#[derive(Debug, Args)]
pub(crate) struct UpOptions {
    /// Keep certificates, database, configuration and logs here, and reuse what is there
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Register so many clients: `client_001`, `client_002`, …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=999))]
    clients: u32,
    /// Start so many proxies
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = some)]
    proxies: u32,
    /// Start so many main servers; every proxy and every worker knows all of them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = some)]
    main_servers: u32,
    /// Start so many workers, each with an output file of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = some)]
    workers: u32,
    /// Prefer the documented ports, 8001 to 8003 and 9001 to 9003, where they are free; those of
    /// a second process of a kind are one hundred further
    #[arg(long)]
    documented_ports: bool,
    /// Use this database instead of a private cluster; it is migrated, and its owner's URL is wanted
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

/// How many processes of a kind: a path of a message needs one of each, and a machine has an end.
fn some(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number @ 1..=99) => Ok(number),
        _ => Err("must be 1 to 99".to_owned()),
    }
}

pub(crate) fn up(options: &UpOptions) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            warn(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &UpOptions) -> anyhow::Result<()> {
    let interrupt = Interrupt::on_signals()?;
    let state = &options.state;
    fs::DirBuilder::new()
        .recursive(true)
        // keys and configurations inside are ours alone; the database's own user must get through to its data
        .mode(0o711)
        .create(state)
        .with_context(|| format!("cannot create {}", state.display()))?;
    let _lock = lock(state)?;
    let record = Record(fs::canonicalize(state)?.join("stack.json"));
    record.remove();

    say("starting: database, main server, proxy, worker …");
    let stack = match Stack::start(stack_options(options, &interrupt)?) {
        Err(_) if interrupt.is_asked() => return Ok(()),
        started => started?,
    };
    let clients: Vec<_> = (1..=options.clients)
        .map(|number| stack.client(&format!("client_{number:03}")))
        .collect::<Result<_, _>>()?;
    for client in &clients {
        stack.wait_until_known(client)?;
    }
    stack.write_record(&record.0, &clients)?;
    let first = clients.first().context("at least one client")?;
    let outcome = demonstrate::one_message(&stack, first).and_then(|()| {
        invite(&stack, first, &record.0);
        look_after(&stack, &interrupt)
    });
    record.remove();
    say("\nstopping: proxy, worker, main server, database …");
    let stopped = stack.stop();
    outcome?;
    stopped?;
    say("stopped");
    Ok(())
}

fn stack_options(options: &UpOptions, interrupt: &Interrupt) -> anyhow::Result<StackOptions> {
    let executable = std::env::current_exe().context("cannot find out which executable this is")?;
    let count = |number: u32| number as usize;
    let mut stack = StackOptions::new(executable)
        .kept_in(&options.state)
        .processes(count(options.proxies), count(options.main_servers), count(options.workers))
        .interrupted_by(interrupt.clone());
    if options.documented_ports {
        stack = stack.documented_ports();
    }
    Ok(match &options.database_url {
        Some(url) => stack.database_url(url),
        None => stack,
    })
}

/// Waits for Ctrl-C; a process that ends before is an error.
fn look_after(stack: &Stack, interrupt: &Interrupt) -> anyhow::Result<()> {
    while !interrupt.wait(LOOK) {
        for process in stack.processes() {
            if let Some(status) = process.ended() {
                bail!("{} ended ({status}), though nobody stopped it\n{}", process.name, process.log_tail());
            }
        }
        if let Some(postgres) = stack.postgres().filter(|postgres| !postgres.is_running()) {
            bail!("postgres ended, though nobody stopped it\n{}", tail(postgres.log()));
        }
    }
    Ok(())
}

fn invite(stack: &Stack, client: &Client, record: &Path) {
    let logs: Vec<_> = stack.processes().map(|process: &Process| process.log.display().to_string()).collect();
    say(&format!("\nsend your own:\n\n{}", demonstrate::curl_line(stack, client)));
    say(&format!("\nsee what the worker received:\n\n  tail -f {}", outputs_of(stack)));
    // somebody else's database may have a password, which is not for the screen
    let database = stack.postgres().map_or("\"$DATABASE_URL\"".to_owned(), |_| quoted(&stack.database_url()));
    say(&format!(
        "\nrevoke the client; its next request is answered 403, on open connections too:\n\n  psql {database} -c \
         \"UPDATE clients SET status = 'revoked', revoked_at = now(), revocation_reason = 'try it' WHERE client_id = \
         '{}'\"",
        client.id
    ));
    say(&format!("\neverything else is in {}\nlogs: {}", record.display(), logs.join(" ")));
    say("\nCtrl-C stops everything");
}

fn outputs_of(stack: &Stack) -> String {
    let outputs: Vec<_> =
        stack.workers.iter().map(|worker| quoted(&worker.output.to_string_lossy())).collect();
    outputs.join(" ")
}

/// Held as long as we live; the system lets go of it for us, even after kill -9.
fn lock(state: &Path) -> anyhow::Result<File> {
    let path = state.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => {
            bail!("another portcullis-local runs on {}: stop it, or choose another --state", state.display())
        }
    }
}

/// `stack.json`, which must not outlive the stack.
struct Record(PathBuf);

impl Record {
    fn remove(&self) {
        let _not_there = fs::remove_file(&self.0);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Tells the person at the terminal; if nobody listens any more, so be it.
pub(crate) fn say(text: &str) {
    let _nobody_listens = writeln!(std::io::stdout(), "{text}");
}

/// The same, for what went wrong.
pub(crate) fn warn(text: &str) {
    let _nobody_listens = writeln!(std::io::stderr(), "{text}");
}
