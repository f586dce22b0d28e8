//! Our side: a stack on a cluster of its own, and the loads that speak to it.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use local::{ClusterOptions, Stack, StackOptions, psql};
use toml::{Table, Value};

use crate::{
    figure::{NotYet, Sample},
    load::{Ask, Gate, Load, Pace, Requests, Target, Window, generate},
    processor::{Watched, per_thousand},
};

/// Connections that send single messages, and that send batches.
pub(crate) const SINGLE: usize = 64;
pub(crate) const BATCH: usize = 8;
/// Messages in a batch.
pub(crate) const BATCH_MESSAGES: usize = 100;
/// All load comes from one address with one certificate; the proxy's defaults for either are below what some figures
/// need.
const CONNECTIONS: i64 = 20_000;

/// A stack with one of each; the worker is started when it is wanted.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) stack: Stack,
    client: local::Client,
}

impl Ours {
    /// Starts one; TOML is laid over the proxy's configuration.
    pub(crate) fn start(proxy_config: &str) -> anyhow::Result<Self> {
        // what every guide to Postgres says of a machine of this size; fsync and commits as they are
        let cluster = ClusterOptions::throw_away()
            .setting("shared_buffers", "512MB")
            .setting("max_wal_size", "4GB")
            .setting("wal_compression", "off");
        let executable = std::env::current_exe().context("cannot find out which executable this is")?;
        let options = StackOptions::new(executable)
            .own_cluster(cluster)
            .proxy_config(&with_connections(proxy_config)?)
            .worker_config("[delivery]\nbatch = 500\nmax_jobs = 2000");
        let stack = Stack::start(options)?;
        stack.workers.iter().try_for_each(|worker| worker.process.stop())?;
        let client = stack.client("bench")?;
        stack.wait_until_known(&client)?;
        Ok(Self { stack, client })
    }

    /// Where the clients of a proxy connect, the first being 0, as the bench's own client.
    pub(crate) fn target(&self, proxy: usize) -> anyhow::Result<Target> {
        let url = &self.stack.proxies.get(proxy).context("no such proxy")?.url;
        Ok(Target { address: address(url)?, ..self.client_files(&self.client) })
    }

    /// The same for somebody else's port, such as nginx's.
    pub(crate) fn target_at(&self, address: SocketAddr) -> Target {
        Target { address, ..self.client_files(&self.client) }
    }

    /// The worker door, as the worker.
    pub(crate) fn worker_door(&self) -> anyhow::Result<Target> {
        let server = self.stack.main_servers.first().context("no main server")?;
        let worker = self.stack.workers.first().context("no worker")?;
        let (cert, key) = (worker.cert.clone(), worker.key.clone());
        Ok(Target { address: address(&server.worker_url)?, ca: self.client.ca.clone(), cert, key })
    }

    /// Another registered client, at the first proxy.
    pub(crate) fn another_client(&self, id: &str) -> anyhow::Result<Target> {
        let client = self.stack.client(id)?;
        Ok(Target { address: self.target(0)?.address, ..self.client_files(&client) })
    }

    #[expect(clippy::unused_self, reason = "files of this stack")]
    fn client_files(&self, client: &local::Client) -> Target {
        let files: [&PathBuf; 3] = [&client.ca, &client.cert, &client.key];
        let [ca, cert, key] = files.map(Clone::clone);
        Target { address: ([127, 0, 0, 1], 0).into(), ca, cert, key }
    }

    /// All processes that run, with the database.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let label = |name: &str| {
            name.trim_end_matches(|letter: char| letter == '-' || letter.is_ascii_digit()).to_owned()
        };
        let processes = self
            .stack
            .processes()
            .filter_map(|process| process.pid().map(|pid| Watched::new(&label(&process.name), pid)));
        let postgres = self.stack.postgres().and_then(local::Cluster::pid);
        processes.chain(postgres.map(|pid| Watched::new("postgres", pid))).collect()
    }

    /// Empties the queue, so that runs do not stand on the shoulders of those before them.
    pub(crate) fn reset(&self) -> anyhow::Result<()> {
        let wanted = "('messages', 'jobs', 'job_groups', 'job_attempts', 'idempotency_keys')";
        let listed = format!(
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables \
             WHERE schemaname = 'public' AND tablename IN {wanted}"
        );
        let tables = psql(self.stack.owner_url(), &listed)?;
        psql(self.stack.owner_url(), &format!("TRUNCATE {}", tables.trim()))?;
        psql(self.stack.owner_url(), "CHECKPOINT")?;
        Ok(())
    }

    /// Refuses what needs batches, as long as there are none.
    pub(crate) fn needs_batches(&self) -> anyhow::Result<()> {
        let answer = local::Curl::of(&self.client)
            .post(&format!("{}/api/v1/messages/batch", self.stack.url()), "[]")?;
        if matches!(answer.status, 404 | 405) {
            return Err(NotYet("not measured: needs POST /api/v1/messages/batch".to_owned()).into());
        }
        Ok(())
    }

    /// The usual load of a kind: single messages on 64 connections, batches on 8.
    pub(crate) fn requests(&self, ask: Ask, window: Window) -> anyhow::Result<Requests> {
        Ok(Requests {
            target: self.target(0)?,
            connections: if matches!(ask, Ask::Batch(_)) { BATCH } else { SINGLE },
            ask,
            pace: Pace::Closed,
            window,
            refusal: None,
            gate: None,
            messages: None,
        })
    }

    /// Messages accepted per second, each durable.
    pub(crate) fn ingest(&self, ask: Ask, window: Window) -> anyhow::Result<Sample> {
        self.reset()?;
        let load = Load::Requests(self.requests(ask, window)?);
        let sample = rate(&load, self.watched())?;
        // cleaning up behind this run is not the peer's work
        self.reset()?;
        Ok(sample)
    }

    /// Stores so many messages, by the fastest way there is.
    pub(crate) fn fill(&self, messages: u64) -> anyhow::Result<()> {
        let ask = self.needs_batches().map_or(Ask::Message, |()| Ask::Batch(BATCH_MESSAGES));
        let mut load = self.requests(ask, Window::default())?;
        load.messages = Some(messages);
        generate(&Load::Requests(load), Vec::new())?;
        Ok(())
    }

    /// Messages submitted in batches, leased, written to the worker's file and completed, per second, with few on
    /// their way.
    pub(crate) fn end_to_end(&self, window: Window) -> anyhow::Result<Sample> {
        self.needs_batches()?;
        self.reset()?;
        let worker = self.stack.workers.first().context("no worker")?;
        let _none_yet = std::fs::remove_file(&worker.output);
        worker.process.start()?;
        let management = worker.process.management();
        let gate = Gate {
            management: management.trim_start_matches("http://").parse()?,
            counter: "portcullis_worker_delivered_total".to_owned(),
            most: IN_HAND,
        };
        let ask = Ask::Batch(BATCH_MESSAGES);
        let load = Requests { gate: Some(gate), ..self.requests(ask, window)? };
        let sample = rate(&Load::Requests(load), self.watched());
        worker.process.stop()?;
        self.reset()?;
        sample
    }
}

/// Messages on their way from sender to worker, at most, on both sides: the queue is near empty.
pub(crate) const IN_HAND: u64 = 5000;

/// Generates a load; what it counts per second, with what that cost.
pub(crate) fn rate(load: &Load, watched: Vec<Watched>) -> anyhow::Result<Sample> {
    let (outcome, spent) = generate(load, watched)?;
    let cpu_seconds_per_1000 = per_thousand(spent, outcome.counted());
    let mut sample = Sample { value: outcome.rate(), cpu_seconds_per_1000, ..Sample::default() };
    if matches!(load, Load::Requests(Requests { refusal: Some(_), .. })) {
        sample = sample.with("refused_per_second", outcome.refused_rate());
    }
    Ok(match outcome.latency {
        Some(latency) => sample.with("p50_ms", latency.p50).with("p99_ms", latency.p99),
        None => sample,
    })
}

/// A proxy's configuration that admits our many connections, unless it says itself how many.
fn with_connections(proxy_config: &str) -> anyhow::Result<String> {
    let mut config: Table = proxy_config.parse().context("a figure's configuration is no TOML")?;
    let limits = config.entry("limits").or_insert_with(|| Value::Table(Table::new()));
    let limits = limits.as_table_mut().context("limits is a table")?;
    for key in ["connections_per_ip", "connections_per_client"] {
        limits.entry(key).or_insert(Value::Integer(CONNECTIONS));
    }
    Ok(config.to_string())
}

fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
    Ok(([127, 0, 0, 1], port.with_context(|| format!("no port in {url}"))?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_s_own_limits_stay_beside_ours() {
        let both =
            with_connections("[limits]\nidle = \"5s\"\nconnections_per_ip = 7\n[admission]\nburst = 1");
        let both: Table = both.unwrap_or_default().parse().unwrap_or_default();
        let of = |key: &str| both["limits"].get(key).and_then(Value::as_integer);
        assert_eq!((of("connections_per_ip"), of("connections_per_client")), (Some(7), Some(CONNECTIONS)));
        assert_eq!(both["limits"]["idle"].as_str(), Some("5s"));
        assert_eq!(both["admission"]["burst"].as_integer(), Some(1));
    }
}
