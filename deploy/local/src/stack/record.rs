//! `stack.json`: what runs where, for scripts. It is there while everything is ready, and only then.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Client, Stack};

impl Stack {
    /// Writes the file in one step, so that who sees it sees all of it.
    pub fn write_record(&self, file: &Path, clients: &[Client]) -> anyhow::Result<()> {
        let temporary = file.with_extension("json.new");
        let text = serde_json::to_string_pretty(&self.record(clients))?;
        fs::write(&temporary, text + "\n")
            .and_then(|()| fs::rename(&temporary, file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    fn record(&self, clients: &[Client]) -> Value {
        let proxies: Vec<_> = self
            .proxies
            .iter()
            .map(|proxy| {
                let process = &proxy.process;
                json!({ "url": proxy.url, "management": process.management(), "pid": process.pid() })
            })
            .collect();
        let main_servers: Vec<_> = self
            .main_servers
            .iter()
            .map(|server| {
                let process = &server.process;
                json!({
                    "url": server.url, "worker_url": server.worker_url,
                    "management": process.management(), "pid": process.pid(),
                })
            })
            .collect();
        let workers: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let process = &worker.process;
                json!({
                    "cert": worker.cert, "key": worker.key, "output": worker.output,
                    "management": process.management(), "pid": process.pid(),
                })
            })
            .collect();
        let clients: Vec<_> = clients
            .iter()
            .map(|client| json!({ "id": client.id, "cert": client.cert, "key": client.key }))
            .collect();
        json!({
            "proxy": proxies.first(),
            "main_server": main_servers.first(),
            "worker": workers.first(),
            "pids": {
                "proxy": pids(&proxies),
                "main_server": pids(&main_servers),
                "worker": pids(&workers),
                "postgres": self.database.cluster().and_then(private_postgres::Cluster::pid),
            },
            "proxies": proxies,
            "main_servers": main_servers,
            "workers": workers,
            "database_url": self.database_url(),
            "ca": self.pki.root(),
            "pki": self.pki(),
            "client": clients.first(),
            "clients": clients,
        })
    }
}

/// One number for one process, a list for several.
fn pids(processes: &[Value]) -> Value {
    match processes {
        [one] => one["pid"].clone(),
        several => several.iter().map(|process| process["pid"].clone()).collect(),
    }
}
