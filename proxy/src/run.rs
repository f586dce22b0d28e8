//! The proxy, put together: from a configuration and bound sockets to the soft stop.

use std::{sync::Arc, time::Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use prometheus_client::registry;
use shared::{
    management::{self, Readiness},
    process::Listeners,
    serve::{Connections, Door, DoorMetrics},
    shutdown::Shutdown,
    tls::{BundleKind, OwnCertificates, TrustBundle, crl::RevocationLists},
    traces::Traces,
};
use tracing::info;
use uuid::Uuid;

use crate::{
    Config,
    activity::Activity,
    api::Places,
    crls::CrlTable,
    edge::{Authorizer, sweep},
    forward::{Forward, MainServers, Upstreams, upstreams},
    limit::{Admission, ClientRates, Refusals, forget},
    metrics::Metrics,
    registry::{ExpiryMetrics, Registry, Sync},
    report::Reporter,
    routes::{Edge, routes},
    trust::DoorTrust,
};

/// Runs until the soft stop; what was accepted by then is finished by tasks that `shutdown` waits for.
pub async fn run(config: Config, mut listeners: Listeners, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut metrics_registry = registry::Registry::default();
    let door_metrics = DoorMetrics::register(&mut metrics_registry);
    let metrics = Arc::new(Metrics::register(&mut metrics_registry));

    let bundle = Arc::new(TrustBundle::read(&config.tls.clients_ca, BundleKind::AnyAuthority)?);
    let services = TrustBundle::read(&config.tls.services_ca, BundleKind::IssuingOnly)?;

    let registry = Arc::new(Registry::new(config.registry.max_staleness.0));
    metrics_registry.register_collector(Box::new(registry.clone().gauges()));
    let connections = Arc::new(Connections::new());
    let sync = Sync::new(&config.registry, registry.clone(), connections.clone())
        .context("registry.database_url")?;
    let (hints, hinted) = (sync.hints(), sync.hints());
    shutdown.spawn("registry sync", sync.run(shutdown.clone()));

    let of_lists = connections.clone();
    // The main servers' CAs too: they are judged by the same lists, and none of these CAs vouches for a client.
    let further = services.authorities();
    let lists =
        RevocationLists::open_beside(&config.crl, &bundle, further, &mut metrics_registry, move |crls| {
            of_lists.close_revoked(crls);
        })
        .context("crl.authorities")?;
    lists.load_configured().await?;
    shutdown.spawn("crl sources", lists.clone().watch_configured(shutdown.clone()));
    let table = CrlTable::new(&config.registry, lists.clone()).context("registry.database_url")?;
    shutdown.spawn("crl table", table.run(hints, shutdown.clone()));

    let main_servers = MainServers::new(lists.clone());
    main_servers.keep_reading(&config.registry, hinted, &shutdown).context("registry.database_url")?;
    let upstreams = upstreams(&config, &main_servers)?;
    shutdown.spawn("drop refused upstreams", upstreams.clone().sweep(shutdown.clone()));
    shutdown.spawn("probe upstreams", upstreams.clone().probe(shutdown.clone()));
    let activity = Arc::new(Activity::register(&mut metrics_registry));
    let reporter = Reporter {
        registry: registry.clone(),
        activity: activity.clone(),
        upstreams: upstreams.clone(),
        instance: Uuid::new_v4(),
    };
    shutdown.spawn("report", reporter.run(shutdown.clone()));
    let expiry = Arc::new(ExpiryMetrics::default());
    metrics_registry.register_collector(Box::new(expiry.clone().collector()));
    shutdown.spawn("count expiry", expiry.run(registry.clone(), shutdown.clone()));
    let upstreams_seen = upstreams.clone();
    let forward = Forward::start(&config.upstream, upstreams, metrics.clone(), &shutdown);
    let trust_domain = config.tls.trust_domain.clone();
    let to_main_servers = config.tls.identity().ends()?;
    let bundle = ArcSwap::from(bundle);
    let authorizer = Arc::new(Authorizer { registry, crls: lists, bundle, trust_domain });
    let chain = config.limits.chain.clone();
    let of_trust = connections.clone();
    let expiry_warning = config.tls.expiry_warning.0;
    let trust = Arc::new(DoorTrust::open(config.tls, chain, authorizer.clone(), activity.clone(), of_trust)?);
    shutdown.spawn("trust files", trust.clone().watch(shutdown.clone()));
    let sweep = sweep(authorizer.clone(), connections.clone(), shutdown.clone());
    shutdown.spawn("close refused connections", sweep);
    let rates = Arc::new(ClientRates::new(config.rate));
    let refusals = Arc::new(Refusals::new(config.refusals, metrics.clone(), shutdown.clone()));
    let forget = forget(rates.clone(), refusals.clone(), metrics.clone(), shutdown.clone());
    shutdown.spawn("forget who is not limited", forget);
    let edge = Arc::new(Edge {
        authorizer: authorizer.clone(),
        forward,
        message: config.message,
        batch: config.batch,
        batches: Arc::new(Places::new(config.batch.at_once)),
        rates,
        admission: Admission::new(config.admission, Instant::now()),
        refusals,
        metrics,
        activity,
        traces: Traces::open(&config.telemetry.otlp, "portcullis-proxy", &mut metrics_registry, &shutdown)?,
    });

    let door =
        Door::new("clients", trust.tls.clone(), config.limits, connections, door_metrics, shutdown.clone());
    let certificates = own_certificates(&trust, to_main_servers);
    metrics_registry.register_collector(Box::new(certificates.clone()));
    let watched = certificates.clone().watch(expiry_warning, shutdown.clone());
    shutdown.spawn("watch own certificates", watched);
    let readiness = readiness(&authorizer, upstreams_seen, trust)
        .check_with("certificates", move || certificates.readiness(expiry_warning));
    shutdown.spawn("client door", door.serve(listeners.take("client door")?, routes(edge)));
    info!("ready for clients");
    management::serve(listeners.take("management")?, readiness, metrics_registry, shutdown).await
}

/// The client door's is read anew when its file changes; what main servers are shown is of the start.
fn own_certificates(trust: &DoorTrust, to_main_servers: i64) -> OwnCertificates {
    let tls = trust.tls.clone();
    OwnCertificates::new()
        .used_for("clients", move || tls.load().ends)
        .used_for("main_servers", move || to_main_servers)
}

fn readiness(authorizer: &Authorizer, upstreams: Arc<Upstreams>, trust: Arc<DoorTrust>) -> Readiness {
    let (registry, lists) = (authorizer.registry.clone(), authorizer.crls.clone());
    Readiness::new()
        .check("registry", move || {
            let clients = registry.len();
            match registry.age() {
                None => Err("not loaded yet: is the database reachable?".into()),
                Some(age) if registry.is_stale() => Err(format!("last read {} s ago", age.as_secs())),
                Some(age) => Ok(format!("{clients} clients, read {} ms ago", age.as_millis())),
            }
        })
        .check_with("crl", move || lists.checked())
        .check("trust", move || Ok(trust.detail()))
        .check("upstream", move || {
            let (answering, all) = (upstreams.answering(), upstreams.len());
            let detail = format!("{answering} of {all} main servers answer");
            if answering > 0 { Ok(detail) } else { Err(detail) }
        })
}
