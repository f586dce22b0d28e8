//! Puts the worker together: in, its configuration, its management socket and the stop signal; it ends when
//! everything leased is settled. Refused at start: certificate files and output files that cannot be used.

use std::sync::Arc;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use shared::{
    management::{self, Checked, Readiness},
    process::Listeners,
    reload::{Files, Live, Reloads},
    service_manager,
    shutdown::Shutdown,
    tls::OwnCertificates,
    traces::Traces,
};
use tokio::task::spawn_blocking;
use tracing::info;

use crate::{
    backoff::Backoff,
    config::Config,
    deliver::{Delivery, Limits},
    metrics::Metrics,
    server_api::{Clients, Patience, ServerApi},
    sink::SharedSink,
};

/// Runs a worker until the soft stop.
pub async fn run(config: Config, mut listeners: Listeners, shutdown: Shutdown) -> anyhow::Result<()> {
    let patience = Patience::from(&config.server);
    let files = Clients::files(&config.tls);
    let clients = Clients::build(&config.tls, &patience)?;
    let servers = config.server.urls.iter().map(|url| url.0.clone()).collect();
    let api = Arc::new(ServerApi::new(servers, clients, &patience));
    let sink = SharedSink::open(config.sink.options())?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let traces = Traces::open(&config.telemetry.otlp, "portcullis-worker", &mut registry, &shutdown)?;
    let of_api = api.clone();
    let certificates = OwnCertificates::new().used_for("main_servers", move || of_api.certificate_ends());
    let certificates = certificates.watched(config.tls.expiry_warning.0, &mut registry, &shutdown);

    let files = keep_reading(&config, files, &api, patience, &mut registry, &shutdown)?;
    let readiness =
        readiness(&config, &api, &sink).check_with("files", files).check_with("certificates", certificates);
    let readiness = Arc::new(readiness);
    management::spawn(listeners.take("management")?, readiness.clone(), registry, &shutdown);
    service_manager::ready_when(readiness, &shutdown);
    info!(servers = ?config.server.urls, queue = config.delivery.queue, output = %config.sink.options(), "delivering");
    let limits = limits(&config)?;
    Delivery { api, sink, metrics, limits, shutdown, traces }.run().await;
    Ok(())
}

/// Takes changed certificates and another log level while running.
fn keep_reading(
    config: &Config,
    files: Files,
    api: &Arc<ServerApi>,
    patience: Patience,
    registry: &mut Registry,
    shutdown: &Shutdown,
) -> anyhow::Result<impl Fn() -> Checked + use<>> {
    let mut reloads = Reloads::register(registry)?;
    let (api, tls) = (api.clone(), config.tls.clone());
    reloads.part("main_servers", files, move || {
        let (api, tls) = (api.clone(), tls.clone());
        async move {
            let read = spawn_blocking(move || {
                tls.identity().check_dates()?;
                Clients::build(&tls, &patience)
            });
            let clients = read.await??;
            api.change_to(clients);
            Ok(())
        }
    });
    reloads.configuration(config, &Live { tables: &[], but: &[] }, |_| {});
    let check = reloads.check();
    shutdown.spawn("read changes", reloads.watch(config.tls.reload.0, shutdown.clone()));
    Ok(check)
}

fn readiness(config: &Config, api: &Arc<ServerApi>, sink: &SharedSink) -> Readiness {
    // An idle worker hears from the server once per wait; a busy one each time it renews.
    let silence = 2 * (config.delivery.wait.0.max(config.delivery.lease.0) + config.server.request_timeout.0);
    let (api, sink) = (Arc::clone(api), sink.clone());
    let output = config.sink.options().to_string();
    Readiness::new().check("main_server", move || api.reachable(silence)).check("sink", move || {
        match sink.trouble() {
            Some(trouble) => Err(trouble),
            None => Ok(format!("writes to {output}")),
        }
    })
}

fn limits(config: &Config) -> anyhow::Result<Limits> {
    let delivery = &config.delivery;
    Ok(Limits {
        queue: delivery.queue.parse().context("delivery.queue")?,
        lease: delivery.lease.0,
        wait: delivery.wait.0,
        batch: delivery.batch,
        batches: delivery.batches,
        max_jobs: delivery.max_jobs,
        drain: delivery.drain.0,
        backoff: Backoff::new(config.server.retry_min.0, config.server.retry_max.0),
    })
}
