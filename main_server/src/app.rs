//! Putting the parts together: what `portcullis-server --config FILE` runs.
//!
//! In: a checked configuration, bound sockets. Out: two open doors and the management listener, until the
//! soft stop. Refused, before a door opens: keys, certificates, a cluster or a schema that cannot be used.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use prometheus_client::registry::Registry as MetricsRegistry;
use shared::{
    management::{self, Readiness},
    process::Listeners,
    reload::{Live, Reloads},
    serve::{Connections, Door, DoorMetrics},
    service_manager,
    shutdown::Shutdown,
    tls::{Gate, OwnCertificates, crl::RevocationLists},
    traces::Traces,
};
use tokio::sync::watch;
use tracing::info;

use crate::{
    admission::{Known, gate},
    api::Api,
    config::{Config, MANAGEMENT, PROXY_DOOR, WORKER_DOOR},
    crls,
    database::{self, PoolMetrics},
    prune::prune,
    queue::{Queue, QueueMetrics, reseal::Reseal},
    refusals::{DoorRefusals, RefusalAudit},
    registry::Registry,
    reports::Reports,
    routes,
    seal::Keyring,
    trust::DoorsTrust,
};

/// Without a successful query for so long, `/readyz` says that the database is lost.
const DATABASE_LOST: Duration = Duration::from_secs(5);

/// What is taken from a changed configuration while running.
const LIVE: Live = Live { tables: &["limits"], but: &["limits.chain"] };

/// Runs the main server until the soft stop.
pub async fn run(config: Config, mut listeners: Listeners, shutdown: Shutdown) -> anyhow::Result<()> {
    let keyring = Arc::new(Keyring::load(&config.keyring.file)?);
    info!(keys = ?keyring, "key ring loaded");
    let mut metrics = MetricsRegistry::default();
    keyring.watch(config.keyring.reload.0, &mut metrics, &shutdown);
    let door_metrics = DoorMetrics::register(&mut metrics);
    let mut reloads = Reloads::register(&mut metrics)?;
    let files = DoorsTrust::files(&config.tls);
    let mut trust = DoorsTrust::open(config.tls.clone(), config.limits.chain.clone())?;
    let connections = [Arc::new(Connections::new()), Arc::new(Connections::new())];
    let audit = RefusalAudit::register(&mut metrics);
    let refusals = DoorRefusals::register(&mut metrics, [PROXY_DOOR, WORKER_DOOR], &audit);
    let mut closed = |name, gate: Gate, connections: Arc<Connections>| {
        let tls = trust.add_door(gate, connections.clone())?.tls;
        let (metrics, shutdown) = (door_metrics.clone(), shutdown.clone());
        anyhow::Ok((Door::new(name, tls.clone(), config.limits.clone(), connections, metrics, shutdown), tls))
    };
    let ([to_proxies, to_workers], [of_proxies, of_workers]) = (refusals.clone(), connections.clone());
    let (proxy_door, tls) = closed(PROXY_DOOR, gate(to_proxies), of_proxies)?;
    let (worker_door, _) = closed(WORKER_DOOR, gate(to_workers), of_workers)?;
    let certificates = OwnCertificates::new().used_for("doors", move || tls.load().ends);
    let certificates = certificates.watched(config.tls.expiry_warning.0, &mut metrics, &shutdown);
    let lists = RevocationLists::open(&config.crl, &trust.bundle.load(), &mut metrics, move |crls| {
        for door in &connections {
            door.close_revoked(crls);
        }
    })
    .context("crl.authorities")?;
    lists.load_configured().await?;
    shutdown.spawn("crl sources", lists.clone().watch_configured(shutdown.clone()));

    let database = database::open(&config.database).await?;

    metrics.register_collector(Box::new(PoolMetrics::of(database.queue.clone())));
    let queue_metrics = QueueMetrics::register(&mut metrics);

    // A statement waits for a connection, then runs; a database that exceeds both is not there.
    let deadline = config.database.acquire_timeout.0 + config.database.statement_timeout.0;
    let every = config.registry.poll.0;
    let hints = watch::Sender::new(());
    let hinted = hints.subscribe();
    crls::open(database.registry.clone(), lists.clone(), every, deadline, hinted, &shutdown).await;
    let reports_pool = database.registry.clone();
    shutdown.spawn("prune", prune(database.registry.clone(), deadline, shutdown.clone()));
    shutdown.spawn("refusals", audit.write(database.registry.clone(), deadline, shutdown.clone()));
    let registry = Registry::open(database.registry, &config.registry, deadline, hints, &shutdown).await?;
    metrics.register_collector(Box::new(registry.clone().gauges()));
    let of_keyring = keyring.clone();
    let per_second = config.keyring.reseal_per_second;
    let trust = Arc::new(trust);
    let server = trust.name.clone();
    Reseal::new(database.queue.clone(), keyring.clone(), server, per_second, deadline, &mut metrics)
        .start(&shutdown);
    let queue = Queue::open(database.queue, keyring, &config.queue, deadline, queue_metrics, &shutdown);
    let api = Arc::new(Api {
        queue,
        reports: Reports::open(reports_pool, deadline, &shutdown),
        limits: config.queue.clone(),
        requests: config.requests.clone(),
        shutdown: shutdown.clone(),
        traces: Traces::open(&config.telemetry.otlp, "portcullis-server", &mut metrics, &shutdown)?,
    });

    let [of_proxies, of_workers] = refusals;
    let known = Known { registry: registry.clone(), lists: lists.clone(), bundle: trust.bundle.clone() };
    let proxies = routes::proxy_door(api.clone(), &known, of_proxies);
    let workers = routes::worker_door(api, &known, of_workers);
    let (of_doors, of_lists) = (trust.clone(), lists.clone());
    reloads.part("doors", files, move || of_doors.clone().read_anew(of_lists.clone()));
    let door_limits = [proxy_door.limits(), worker_door.limits()];
    reloads.configuration(&config, &LIVE, move |config: &Config| {
        for door in &door_limits {
            door.replace(config.limits.clone());
        }
    });
    let files = reloads.check();
    shutdown.spawn("read changes", reloads.watch(config.tls.reload.0, shutdown.clone()));
    shutdown.spawn(PROXY_DOOR, proxy_door.serve(listeners.take("proxy_door")?, proxies));
    shutdown.spawn(WORKER_DOOR, worker_door.serve(listeners.take("worker_door")?, workers));

    let believed = move || Ok(format!("{} CAs believed", trust.bundle.load().authorities().len()));
    let readiness = readiness(registry, lists, of_keyring)
        .check("trust", believed)
        .check_with("files", files)
        .check_with("certificates", certificates);
    let readiness = Arc::new(readiness);
    management::spawn(listeners.take(MANAGEMENT)?, readiness.clone(), metrics, &shutdown);
    service_manager::ready_when(readiness, &shutdown);
    info!("ready");
    shutdown.requested().await;
    Ok(())
}

/// What `/readyz` asks, all of it from memory: the registry reads the database twice a second anyway.
fn readiness(registry: Arc<Registry>, lists: Arc<RevocationLists>, keyring: Arc<Keyring>) -> Readiness {
    let of_database = registry.clone();
    Readiness::new()
        .check("database", move || {
            let age = of_database.age();
            let text = format!("answered {} ms ago", age.as_millis());
            if age <= DATABASE_LOST { Ok(text) } else { Err(text) }
        })
        .check("registry", move || match registry.current() {
            Some(services) => {
                Ok(format!("{} services, read {} ms ago", services.len(), registry.age().as_millis()))
            }
            None => Err(format!("too old to decide by: read {} s ago", registry.age().as_secs())),
        })
        .check_with("crl", move || lists.checked())
        .check("keyring", move || Ok(keyring.detail()))
        .check("migrations", || Ok("all applied at start".to_owned()))
}
