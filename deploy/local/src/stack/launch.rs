//! Adding processes to a stack: certificate, ports, configuration, start.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, bail};
use private_postgres::ClusterOptions;
use serde_json::Value as Json;

use super::{
    Database, Kind, MainServer, Pki, Ports, Process, Proxy, Stack, StackOptions, Worker,
    configure::{self, Facts},
    database::{PROXY, Place, SERVER},
};

/// How often a process is given other ports because somebody took one in the last moment.
const ATTEMPTS: u32 = 5;

impl Stack {
    /// Everything but the processes.
    pub(super) fn prepare(mut options: StackOptions) -> anyhow::Result<Self> {
        if let (Some(folder), Place::Shared) = (&options.folder, &options.place) {
            options.place = Place::Own(ClusterOptions::kept_in(folder.join("postgres")));
        }
        let database = Database::open(&options.place)?;
        let folder = match &options.folder {
            Some(folder) => folder.clone(),
            None => folder_of_its_own(&database)?,
        };
        for name in ["config", "logs", "run"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        // processes are told whole paths, and so are people who copy them
        let folder = fs::canonicalize(&folder)?;
        let keyring = folder.join("keyring.toml");
        if !keyring.exists() {
            main_server::new_keyring(&keyring)?;
        }
        let pki = Pki::open(folder.join("pki"), &database.owner_url)?;
        if options.folder.is_some() && database.cluster().is_some() {
            pki.retire_unusable()?;
        }
        let ports_file = options.folder.is_some().then(|| folder.join("ports.json"));
        Ok(Self {
            proxies: Vec::new(),
            main_servers: Vec::new(),
            workers: Vec::new(),
            keyring,
            ports: Ports::new(ports_file, options.documented_ports),
            pki,
            database,
            folder,
            options,
            clients: AtomicU32::new(1),
        })
    }

    /// Adds a proxy with TOML over its configuration, and waits until it is ready.
    pub fn add_proxy(&mut self, patch: &str) -> anyhow::Result<&Proxy> {
        self.launch_proxy(patch)?;
        let proxy = self.proxies.last().context("just added")?;
        proxy.process.wait_until_ready()?;
        Ok(proxy)
    }

    /// Adds a main server with TOML over its configuration, and waits until it is ready.
    pub fn add_main_server(&mut self, patch: &str) -> anyhow::Result<&MainServer> {
        self.launch_main_server(patch)?;
        let server = self.main_servers.last().context("just added")?;
        server.process.wait_until_ready()?;
        Ok(server)
    }

    /// Adds a worker with TOML over its configuration, and waits until it is ready.
    pub fn add_worker(&mut self, patch: &str) -> anyhow::Result<&Worker> {
        self.launch_worker(patch)?;
        let worker = self.workers.last().context("just added")?;
        worker.process.wait_until_ready()?;
        Ok(worker)
    }

    pub(super) fn launch_proxy(&mut self, patch: &str) -> anyhow::Result<()> {
        let name = format!("proxy-{}", self.proxies.len() + 1);
        let files = self.pki.service(Kind::Proxy, &name)?;
        let servers: Vec<_> = self.main_servers.iter().map(|server| server.url.clone()).collect();
        let doors = [("clients", 8001), ("management", 9001)];
        let patches = [&self.options.proxy_patch, patch];
        let (process, [clients, _]) =
            self.launch(Kind::Proxy, name, doors, patches, |[clients, management]| {
                let database_url = self.database.url_as(PROXY);
                let facts = Facts { files: &files, pki: &self.pki.folder, database_url, management };
                configure::proxy(&facts, clients, &servers)
            })?;
        self.proxies.push(Proxy { url: url(clients), process });
        Ok(())
    }

    pub(super) fn launch_main_server(&mut self, patch: &str) -> anyhow::Result<()> {
        let name = format!("main-server-{}", self.main_servers.len() + 1);
        let files = self.pki.service(Kind::MainServer, &name)?;
        let doors = [("proxies", 8002), ("workers", 8003), ("management", 9002)];
        let patches = [&self.options.main_server_patch, patch];
        let (process, [proxies, workers, _]) =
            self.launch(Kind::MainServer, name, doors, patches, |[proxies, workers, management]| {
                let database_url = self.database.url_as(SERVER);
                let facts = Facts { files: &files, pki: &self.pki.folder, database_url, management };
                configure::main_server(&facts, proxies, workers, &self.keyring)
            })?;
        self.main_servers.push(MainServer { url: url(proxies), worker_url: url(workers), process });
        Ok(())
    }

    pub(super) fn launch_worker(&mut self, patch: &str) -> anyhow::Result<()> {
        let name = format!("worker-{}", self.workers.len() + 1);
        let files = self.pki.service(Kind::Worker, &name)?;
        let servers: Vec<_> = self.main_servers.iter().map(|server| server.worker_url.clone()).collect();
        let output = self.output_of(&name)?;
        let patches = [&self.options.worker_patch, patch];
        let (process, _) =
            self.launch(Kind::Worker, name, [("management", 9003)], patches, |[management]| {
                let facts =
                    Facts { files: &files, pki: &self.pki.folder, database_url: String::new(), management };
                configure::worker(&facts, &servers, &output)
            })?;
        self.workers.push(Worker { output, cert: files.cert, key: files.key, process });
        Ok(())
    }

    /// Each worker writes its own file, in a folder of its own.
    fn output_of(&self, worker: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(worker);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder.join("received_messages.jsonl"))
    }

    /// Starts a process whose configuration depends on its ports, until it has ports that nobody else took.
    fn launch<const N: usize>(
        &self,
        kind: Kind,
        name: String,
        doors: [(&str, u16); N],
        patches: [&str; 2],
        configuration: impl Fn([SocketAddr; N]) -> Json,
    ) -> anyhow::Result<(Process, [SocketAddr; N])> {
        let file = |folder: &str, ending: &str| self.folder.join(folder).join(format!("{name}.{ending}"));
        let mut process = Process {
            kind,
            config: file("config", "toml"),
            log: file("logs", "log"),
            bound: file("run", "json"),
            executable: self.options.executable.clone(),
            management: (Ipv4Addr::LOCALHOST, 0).into(),
            interrupt: self.options.interrupt.clone(),
            running: Mutex::new(None),
            name,
        };
        for attempt in 0..ATTEMPTS {
            let mut addresses = [(Ipv4Addr::LOCALHOST, 0).into(); N];
            for (address, (door, documented)) in addresses.iter_mut().zip(doors) {
                // the first of its kind has the documented ports, the second is one hundred further
                let documented = documented + 100 * number_of(&process.name).saturating_sub(1);
                let port = self.ports.choose(&format!("{}/{door}", process.name), documented, attempt)?;
                *address = (Ipv4Addr::LOCALHOST, port).into();
                if door == "management" {
                    process.management = *address;
                }
            }
            configure::write(&process.config, &configuration(addresses), patches)?;
            process.spawn()?;
            if process.wait_until_bound()? {
                return Ok((process, addresses));
            }
            let status = process.ended();
            process.kill()?;
            // 64 is a configuration that other ports do not mend
            if attempt + 1 == ATTEMPTS || status.is_some_and(|status| status.code() == Some(64)) {
                let status = status.map(|status| status.to_string()).unwrap_or_default();
                bail!("{} did not start ({status})\n{}", process.name, process.log_tail());
            }
        }
        bail!("{} found no ports", process.name)
    }
}

/// `proxy-2` → 2.
fn number_of(name: &str) -> u16 {
    name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(1)
}

fn url(address: SocketAddr) -> String {
    format!("https://localhost:{}", address.port())
}

/// A new folder inside the cluster's own, which goes when this process goes, however that comes about.
fn folder_of_its_own(database: &Database) -> anyhow::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let cluster = database.cluster().context("a stack over somebody else's database needs a folder")?;
    let name = format!("stack-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let parent: &Path = cluster.throw_away_folder().context("a stack on a kept cluster needs a folder")?;
    let folder = parent.join(name);
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}
