//! The proxy, put together: from a configuration and bound sockets to the soft stop.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use prometheus_client::registry;
use shared::{
    management::{self, Readiness},
    process::Listeners,
    reload::{Files, Live, Reloads},
    serve::{Connections, Door, DoorMetrics},
    service_manager,
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
    config::{self, CLIENTS, MANAGEMENT},
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

/// What is taken from a changed configuration while running.
const LIVE: Live = Live { tables: &["limits", "rate", "admission"], but: &["limits.chain"] };

/// How long the client door waits for the first copy of the client table and for a main server. Clients wait meanwhile, in
/// the kernel; then they are told what is missing.
const OPEN_ANYWAY: Duration = Duration::from_secs(3);

/// Runs until the soft stop; what was accepted by then is finished by tasks that `shutdown` waits for.
pub async fn run(config: Config, mut listeners: Listeners, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut metrics_registry = registry::Registry::default();
    let door_metrics = DoorMetrics::register(&mut metrics_registry);
    let metrics = Arc::new(Metrics::register(&mut metrics_registry));

    let mut reloads = Reloads::register(&mut metrics_registry)?;
    let files = [DoorTrust::files(&config.tls), Upstreams::files(&config.tls)];
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
    let bundle = ArcSwap::from(bundle);
    let authorizer = Arc::new(Authorizer { registry, crls: lists, bundle, trust_domain });
    let chain = config.limits.chain.clone();
    let of_trust = connections.clone();
    let tls = config.tls.clone();
    let trust = DoorTrust::open(tls.clone(), chain, authorizer.clone(), activity.clone(), of_trust)?;
    let trust = Arc::new(trust);
    read_anew(&mut reloads, files, &trust, &upstreams_seen, &authorizer, tls);
    let sweep = sweep(authorizer.clone(), connections.clone(), shutdown.clone());
    shutdown.spawn("close refused connections", sweep);
    let rates = Arc::new(ClientRates::new(config.rate));
    let refusals = Arc::new(Refusals::new(config.refusals, metrics.clone(), shutdown.clone()));
    let forget = forget(rates.clone(), refusals.clone(), metrics.clone(), shutdown.clone());
    shutdown.spawn("forget who is not limited", forget);
    let admission = Arc::new(Admission::new(config.admission, Instant::now()));
    let edge = Arc::new(Edge {
        authorizer: authorizer.clone(),
        forward,
        message: config.message,
        batch: config.batch,
        batches: Arc::new(Places::new(config.batch.at_once)),
        rates: rates.clone(),
        admission: admission.clone(),
        refusals,
        metrics,
        activity,
        traces: Traces::open(&config.telemetry.otlp, "portcullis-proxy", &mut metrics_registry, &shutdown)?,
    });

    let limits = config.limits.clone();
    let door = Door::new(CLIENTS, trust.tls.clone(), limits, connections, door_metrics, shutdown.clone());
    let door_limits = door.limits();
    reloads.configuration(&config, &LIVE, move |config: &Config| {
        door_limits.replace(config.limits.clone());
        rates.replace(config.rate);
        admission.replace(config.admission, Instant::now());
    });
    let unchanged = reloads.check();
    shutdown.spawn("read changes", reloads.watch(config.tls.reload.0, shutdown.clone()));
    let certificates = own_certificates(&trust, upstreams_seen.clone());
    let certificates = certificates.watched(config.tls.expiry_warning.0, &mut metrics_registry, &shutdown);
    let readiness = readiness(&authorizer, upstreams_seen, trust)
        .check_with("files", unchanged)
        .check_with("certificates", certificates);
    let readiness = Arc::new(readiness);
    let listener = listeners.take(MANAGEMENT)?;
    management::spawn(listener, readiness.clone(), metrics_registry, &shutdown);
    readiness.wait(OPEN_ANYWAY, &shutdown).await;
    shutdown.spawn("client door", door.serve(listeners.take(CLIENTS)?, routes(edge)));
    if !shutdown.is_requested() {
        service_manager::ready();
        info!("ready for clients");
    }
    shutdown.requested().await;
    Ok(())
}

/// What the client door and the way to the main servers show and believe.
fn read_anew(
    reloads: &mut Reloads,
    [of_door, of_way]: [Files; 2],
    trust: &Arc<DoorTrust>,
    upstreams: &Arc<Upstreams>,
    authorizer: &Authorizer,
    tls: config::Tls,
) {
    let (trust, upstreams, lists) = (trust.clone(), upstreams.clone(), authorizer.crls.clone());
    reloads.part("clients", of_door, move || trust.clone().read_anew());
    reloads.part("main_servers", of_way, move || upstreams.clone().read_anew(tls.clone(), lists.clone()));
}

fn own_certificates(trust: &DoorTrust, upstreams: Arc<Upstreams>) -> OwnCertificates {
    let tls = trust.tls.clone();
    OwnCertificates::new()
        .used_for("clients", move || tls.load().ends)
        .used_for("main_servers", move || upstreams.ends())
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
