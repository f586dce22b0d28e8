//! Spans of what happens to a message, exported over OTLP where `[telemetry.otlp]` names a collector, else not made at
//! all.
//!
//! In: W3C trace contexts that travel with requests and messages, and what each process did when. Out: spans, in
//! batches, by HTTP. Refused: spans that find no place in a bounded queue; they are counted. Nothing here holds up a
//! request, and no span has a body, a number or a key.
//!
//! Spans are made by hand, not of `tracing`'s: those are there for logs, and would cost every request something while
//! nobody exports them.

mod context;
mod collector;
mod export;

use std::{borrow::Cow, path::PathBuf, time::SystemTime};

use opentelemetry::{
    Context, Value,
    trace::{Link, Span as _, SpanBuilder, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider, SpanExporter as _},
};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::sync::mpsc;
use url::Url;
use uuid::Uuid;

pub use context::TraceParent;
pub use opentelemetry::{KeyValue, trace::SpanKind};

use self::{
    collector::Collector,
    export::{Handing, TraceMetrics, export},
};
use crate::{
    config::{Source, Span},
    shutdown::Shutdown,
};

/// The table `[telemetry]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Where spans go.
    pub otlp: OtlpConfig,
}

/// The table `[telemetry.otlp]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// Where a collector takes OTLP over HTTP, with the path; without one, no span is made.
    pub endpoint: Option<Url>,
    /// PEM: the CAs whose certificate is believed at an `https://` endpoint.
    pub ca: PathBuf,
    /// Of the traces that begin here, the part that is recorded. Of those that began elsewhere, their beginning decides.
    pub ratio: f64,
    /// How long one export may take.
    pub timeout: Span,
    /// Spans that may wait for their export; further ones are dropped, and counted.
    pub waiting: usize,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            ca: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
            ratio: 1.0,
            // a process that stops waits for its last one, for 10 s at most
            timeout: Span::seconds(5),
            waiting: 8192,
        }
    }
}

impl TelemetryConfig {
    /// Resolves its path against the configuration file and records its faults.
    pub fn check(&mut self, source: &mut Source) {
        let otlp = &mut self.otlp;
        otlp.ca = source.resolve(&otlp.ca);
        if let Some(endpoint) = &otlp.endpoint
            && (!matches!(endpoint.scheme(), "http" | "https")
                || endpoint.host_str().is_none()
                || !endpoint.username().is_empty()
                || endpoint.password().is_some())
        {
            // what is configured here is shown and logged; and nobody is told the password
            let text = "must be such as \"http://localhost:4318/v1/traces\", without a user or a password";
            source.fault("telemetry.otlp.endpoint", text);
        }
        if !(0.0..=1.0).contains(&otlp.ratio) {
            source.fault("telemetry.otlp.ratio", "must lie between 0.0 and 1.0");
        }
        if otlp.timeout.0.is_zero() {
            source.fault("telemetry.otlp.timeout", "must be longer than 0s");
        }
        if !(1..=1_000_000).contains(&otlp.waiting) {
            source
                .fault("telemetry.otlp.waiting", "must lie between 1 and 1000000; a span takes about 1 KiB");
        }
    }
}

/// Where spans are made: nowhere, unless a collector is configured. Clones are of the same; when the last one is gone,
/// what waits is exported and the exporting ends.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<SdkTracer>);

/// A span that is going on; it ends when it is dropped.
#[derive(Debug)]
pub struct TraceSpan(opentelemetry_sdk::trace::Span);

/// What a span of something that is over says beside its times.
#[derive(Debug)]
pub struct Done {
    /// What it was, such as `queue.submit`.
    pub name: Cow<'static, str>,
    /// On whose behalf.
    pub kind: SpanKind,
    /// The span that caused it.
    pub parent: TraceParent,
    /// Whether the cause is another process's that did not wait for it, and so is linked to.
    pub linked: bool,
    /// When it began; it ends now.
    pub began: SystemTime,
    /// Ids and outcomes.
    pub attributes: Vec<KeyValue>,
}

impl Traces {
    /// Begins to export what a process of this name records, if it is told where.
    pub fn open(
        config: &OtlpConfig,
        service: &'static str,
        registry: &mut Registry,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let Some(endpoint) = &config.endpoint else { return Ok(Self::default()) };
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::of(endpoint, config)?)
            .with_endpoint(endpoint.as_str())
            .with_timeout(config.timeout.0)
            .build()?;
        let attributes = [
            KeyValue::new("service.name", service),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
        ];
        let resource = Resource::builder_empty().with_attributes(attributes).build();
        exporter.set_resource(&resource);
        let metrics = TraceMetrics::register(registry);
        let (sender, spans) = mpsc::channel(config.waiting);
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.ratio))))
            .with_span_processor(Handing::new(sender, metrics.clone()))
            .with_resource(resource)
            .build();
        shutdown.spawn_for_peer(export(spans, exporter, metrics));
        Ok(Self(Some(provider.tracer("portcullis"))))
    }

    /// Whether spans are made at all.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span under its cause, or a trace of its own without one. None while nothing is exported.
    #[must_use]
    pub fn begin(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: Option<TraceParent>,
    ) -> Option<TraceSpan> {
        let tracer = self.0.as_ref()?;
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        Some(TraceSpan(tracer.build_with_context(builder, &under(parent))))
    }

    /// Records what is over, if its trace is recorded.
    pub fn record(&self, done: Done) {
        let Some(tracer) = self.0.as_ref().filter(|_| done.parent.is_recorded()) else { return };
        let builder = SpanBuilder::from_name(done.name)
            .with_kind(done.kind)
            .with_start_time(done.began)
            .with_attributes(done.attributes);
        let links = done.linked.then(|| Link::with_context(done.parent.to_remote()));
        let builder = builder.with_links(links.into_iter().collect());
        drop(tracer.build_with_context(builder, &under(Some(done.parent))));
    }
}

impl TraceSpan {
    /// Itself as the cause of others.
    #[must_use]
    pub fn context(&self) -> TraceParent {
        TraceParent::of(self.0.span_context())
    }

    /// Says something of it: an id or an outcome.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if self.0.is_recording() {
            self.0.set_attribute(KeyValue::new(key, value));
        }
    }

    /// It went wrong, through no fault of the caller's.
    pub fn failed(&mut self, why: &'static str) {
        self.0.set_status(Status::error(why));
    }
}

fn under(parent: Option<TraceParent>) -> Context {
    let none = Context::new();
    parent.map_or(none.clone(), |parent| none.with_remote_span_context(parent.to_remote()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_holds_a_password_is_refused_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        for (endpoint, good) in [
            ("http://localhost:4318/v1/traces", true),
            ("https://user:secret@collector.example/v1/traces", false),
            ("https://secret@collector.example/v1/traces", false),
            ("ftp://secret/v1/traces", false),
        ] {
            std::fs::write(&file, format!("[telemetry.otlp]\nendpoint = '{endpoint}'")).unwrap();
            let mut source = Source::read(&file).unwrap();
            let mut telemetry: TelemetryConfig = source.section("telemetry");
            telemetry.check(&mut source);
            let told = source.finish().map_or_else(|faults| faults.to_string(), |()| String::new());
            assert_eq!(told.is_empty(), good, "{endpoint}: {told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }
}
