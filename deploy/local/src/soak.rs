//! Everything broken, again and again, while clients send: does the product keep its promises?
//!
//! In: a [`Plan`]. Out: a [`Summary`]. A stack of two proxies, two main servers and two workers over a Postgres of its
//! own; clients that send through both proxies; faults in an order that the seed repeats; then everything is compared:
//! what was acknowledged, what is stored, what the workers wrote.
//!
//! ```text
//! clients ─▶ proxies ─▶ relays ─▶ main servers ─▶ workers ─▶ check ─▶ summary
//!               ▲          ▲           ▲             ▲
//!               └──────────┴── faults ─┴─ Postgres ──┘
//! ```
//!
//! The seed repeats the faults and their order, not the moments: those are the machine's.

mod random;
mod connection;
mod clients;
mod faults;
mod check;
mod summary;

use std::{
    iter,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use private_postgres::{ClusterOptions, psql};

use self::{
    clients::{Clients, Way},
    faults::Faults,
    random::Random,
};
pub use self::{faults::Fault, summary::Summary};
use crate::{Client, Interrupt, Relay, Stack, StackOptions, eventually, up::say};

/// How long the leases of the workers last: short, so that what a killed worker held soon comes again.
const LEASE: Duration = Duration::from_secs(3);
/// How long the clients may take to get on after something was mended.
const RECOVERY: Duration = Duration::from_mins(2);
/// How long the workers may take for what is left when the clients have ended.
const LAST_DELIVERY: Duration = Duration::from_mins(3);
/// Messages of a client that sends batches.
const BATCH: usize = 20;
/// Cases that are shown of each kind of harm.
const SOME: usize = 5;

/// What to do, and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `portcullis-local`, which starts each process as itself.
    pub executable: PathBuf,
    /// Repeats the faults.
    pub seed: u64,
    /// At least so long …
    pub time: Duration,
    /// … and until so many messages were acknowledged …
    pub messages: u64,
    /// … and every kind of fault was done so often.
    pub rounds: u64,
    /// So many clients of each way of sending: single messages with keys, batches with keys, single messages without.
    pub clients: [usize; 3],
}

impl Plan {
    /// A minute, 20,000 messages, every fault three times.
    #[must_use]
    pub fn new(executable: impl Into<PathBuf>) -> Self {
        let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            executable: executable.into(),
            seed: u64::from(seed.subsec_nanos()),
            time: Duration::from_mins(1),
            messages: 20_000,
            rounds: 3,
            clients: [8, 4, 4],
        }
    }
}

/// Runs the plan to its end, or until the interrupt. An error means that it could not be judged.
pub fn soak(plan: &Plan, interrupt: &Interrupt) -> anyhow::Result<Summary> {
    say(&format!("seed {}", plan.seed));
    let (stack, relays) = start(plan, interrupt)?;
    check::audit(&stack)?;
    let clients = register(plan, &stack)?;
    let urls: Vec<_> = stack.proxies.iter().map(|proxy| proxy.url.clone()).collect();
    let began = Instant::now();
    let clients = Clients::start(&clients, &urls, plan.seed)?;
    let mut faults = Faults::new(&stack, &relays, LEASE, interrupt, Random::new(plan.seed));
    break_things(plan, &clients, &mut faults, interrupt)?;
    let done = std::mem::take(&mut faults.done);
    let histories = clients.stop()?;
    say(&format!("{:>4} s  the clients have ended", began.elapsed().as_secs()));
    let mut left = None;
    let finished = eventually(LAST_DELIVERY, || {
        left = check::unfinished(&stack);
        (left == Some(0)).then_some(())
    });
    if finished.is_none() {
        say(&format!("{left:?} jobs are not finished after {LAST_DELIVERY:?}"));
    }
    say(&format!("{:>4} s  the workers have what there was", began.elapsed().as_secs()));
    let findings = check::check(&stack, &histories)?;
    Ok(Summary { seed: plan.seed, took: began.elapsed(), findings, faults: done })
}

/// Faults until the plan is fulfilled; after each, the clients have to get on.
fn break_things(
    plan: &Plan,
    clients: &Clients,
    faults: &mut Faults<'_>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut random = Random::new(!plan.seed);
    let wait_for = |more: u64, what: &dyn Fn() -> String| {
        let enough = clients.acknowledged() + more;
        let came =
            eventually(RECOVERY, || (clients.acknowledged() >= enough || interrupt.is_asked()).then_some(()));
        came.with_context(|| {
            format!(
                "{} of {enough} messages are acknowledged {RECOVERY:?} after {}",
                clients.acknowledged(),
                what()
            )
        })
    };
    wait_for(10, &|| "the start".to_owned())?;
    loop {
        ensure!(!interrupt.is_asked(), "interrupted");
        let enough = began.elapsed() >= plan.time && clients.acknowledged() >= plan.messages;
        if enough && faults.each_was_done(plan.rounds) {
            return Ok(());
        }
        let struck = faults.strike()?;
        let names: Vec<_> = struck.iter().map(ToString::to_string).collect();
        say(&format!(
            "{:>4} s  {:>6} acknowledged  {}",
            began.elapsed().as_secs(),
            clients.acknowledged(),
            names.join(", ")
        ));
        wait_for(20 + random.below(200) as u64, &|| names.join(", "))?;
    }
}

/// Two of each, and a relay on each way from a proxy to a main server.
fn start(plan: &Plan, interrupt: &Interrupt) -> anyhow::Result<(Stack, Vec<Relay>)> {
    let options = StackOptions::new(&plan.executable)
        .own_cluster(ClusterOptions::throw_away())
        .processes(0, 2, 2)
        .worker_config(&format!("[delivery]\nlease = '{}s'\nwait = '5s'", LEASE.as_secs()))
        .interrupted_by(interrupt.clone());
    let mut stack = Stack::start(options)?;
    // A message that is on its way when everything dies is not at fault for it.
    let rules = "UPDATE queues SET max_attempts = 1000, backoff_base_seconds = 0.1, backoff_max_seconds = 1";
    psql(stack.owner_url(), rules)?;
    let mut relays = Vec::new();
    for _ in 0..2 {
        let own =
            stack.main_servers.iter().map(|server| Relay::to(&server.url)).collect::<Result<Vec<_>, _>>()?;
        let urls: Vec<_> = own.iter().map(Relay::url).collect();
        stack.add_proxy(&format!("[upstream]\nservers = {urls:?}"))?;
        relays.extend(own);
    }
    Ok((stack, relays))
}

fn register(plan: &Plan, stack: &Stack) -> anyhow::Result<Vec<(Client, Way)>> {
    let ways = [(true, 1), (true, BATCH), (false, 1)].map(|(keyed, batch)| Way { keyed, batch });
    let ways = ways.into_iter().zip(plan.clients).flat_map(|(way, count)| iter::repeat_n(way, count));
    let clients =
        ways.enumerate().map(|(number, way)| Ok((stack.client(&format!("soak_{number:03}"))?, way)));
    let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
    let Some((last, _)) = clients.last() else { bail!("a soak without clients") };
    stack.wait_until_known(last)?;
    Ok(clients)
}
