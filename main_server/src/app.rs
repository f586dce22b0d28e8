//! Putting the parts together: what `portcullis-server --config FILE` runs.
//!
//! In: a checked configuration, bound sockets. Out: two open doors and the management listener, until the
//! soft stop. Refused, before a door opens: keys, certificates, a cluster or a schema that cannot be used.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use prometheus_client::registry::Registry as MetricsRegistry;
use shared::{
    identity::{Certificate, Name, Role, Workload},
    management::{self, Readiness},
    process::Listeners,
    serve::{Connections, Door, DoorMetrics},
    shutdown::Shutdown,
    tls::{
        BundleKind, ClientVerifier, Gate, Handshake, OwnCertificates, TrustBundle, crl::RevocationLists,
        door_tls,
    },
    traces::Traces,
};
use tokio::sync::watch;
use tracing::{error, info};

use crate::{
    admission::gate,
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
};

/// Without a successful query for so long, `/readyz` says that the database is lost.
const DATABASE_LOST: Duration = Duration::from_secs(5);

/// Runs the main server until the soft stop.
pub async fn run(config: Config, mut listeners: Listeners, shutdown: Shutdown) -> anyhow::Result<()> {
    let keyring = Arc::new(Keyring::load(&config.keyring.file)?);
    info!(keys = ?keyring, "key ring loaded");
    let mut metrics = MetricsRegistry::default();
    keyring.watch(config.keyring.reload.0, &mut metrics, &shutdown);
    let door_metrics = DoorMetrics::register(&mut metrics);
    let (ends, expiry_warning) = (config.tls.identity().ends()?, config.tls.expiry_warning.0);
    let certificates = OwnCertificates::new().used_for("doors", move || ends);
    metrics.register_collector(Box::new(certificates.clone()));
    let watched = certificates.clone().watch(expiry_warning, shutdown.clone());
    shutdown.spawn("watch own certificates", watched);
    let bundle = Arc::new(TrustBundle::read(&config.tls.services_ca, BundleKind::IssuingOnly)?);
    let connections = [Arc::new(Connections::new()), Arc::new(Connections::new())];
    let audit = RefusalAudit::register(&mut metrics);
    let refusals = DoorRefusals::register(&mut metrics, [PROXY_DOOR, WORKER_DOOR], &audit);
    let closed = |name, gate, connections| {
        closed_door(name, &config, &bundle, gate, connections, &door_metrics, &shutdown)
    };
    let ([to_proxies, to_workers], [of_proxies, of_workers]) = (refusals.clone(), connections.clone());
    let proxy_door = closed(PROXY_DOOR, gate(to_proxies), of_proxies)?;
    let worker_door = closed(WORKER_DOOR, gate(to_workers), of_workers)?;
    let lists = RevocationLists::open(&config.crl, &bundle, &mut metrics, move |crls| {
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
    let server = own_name(&config)?;
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
    let proxies = routes::proxy_door(api.clone(), &registry, &lists, of_proxies);
    let workers = routes::worker_door(api, &registry, &lists, of_workers);
    shutdown.spawn(PROXY_DOOR, proxy_door.serve(listeners.take(PROXY_DOOR)?, proxies));
    shutdown.spawn(WORKER_DOOR, worker_door.serve(listeners.take(WORKER_DOOR)?, workers));

    let management = listeners.take(MANAGEMENT)?;
    let readiness = readiness(registry, lists, of_keyring)
        .check_with("certificates", move || certificates.readiness(expiry_warning));
    let until = shutdown.clone();
    shutdown.spawn("management", async move {
        if let Err(error) = management::serve(management, readiness, metrics, until).await {
            error!(%error, "the management listener ended");
        }
    });
    info!("ready");
    shutdown.requested().await;
    Ok(())
}

/// A door that believes the services' issuing CAs, and says nothing to anybody else: strict handshakes.
fn closed_door(
    name: &'static str,
    config: &Config,
    bundle: &Arc<TrustBundle>,
    gate: Gate,
    connections: Arc<Connections>,
    metrics: &DoorMetrics,
    shutdown: &Shutdown,
) -> anyhow::Result<Door> {
    let verifier = ClientVerifier::new(bundle.clone(), Handshake::Strict)
        .with_limits(config.limits.chain.clone())
        .with_gate(gate);
    let tls = door_tls(&config.tls.identity(), verifier)?;
    Ok(Door::new(
        name,
        Arc::new(ArcSwap::from_pointee(tls)),
        config.limits.clone(),
        connections,
        metrics.clone(),
        shutdown.clone(),
    ))
}

/// Which main server this is, by its own certificate.
fn own_name(config: &Config) -> anyhow::Result<Name> {
    let identity = config.tls.identity().load()?;
    let leaf = identity.end_entity_cert().context("tls.certificate")?;
    match Certificate::parse(leaf).context("tls.certificate")?.spiffe.map(|id| id.workload) {
        Some(Workload::Service(Role::MainServer, name)) => Ok(name),
        _ => bail!(
            "tls.certificate is not one of a main server: issue one with `portcullis-certs issue main-server NAME`"
        ),
    }
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
