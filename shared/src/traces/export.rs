//! From finished spans to the collector.
//!
//! In: spans, from wherever they end, into a bounded queue. Out: batches of them, a second after the first of each at
//! the latest. Refused: spans that find no place; those of a batch that the collector does not take. Both are counted,
//! and a collector that is away is told of once, and once when it is back.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter as _, SpanProcessor},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::{sync::mpsc, time::timeout};
use tracing::{info, warn};

/// Spans of one export.
const BATCH: usize = 512;
/// How long the first of them waits for others.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What became of spans.
#[derive(Debug, Clone, Default)]
pub(super) struct TraceMetrics(Family<Outcome, Counter>);

impl TraceMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for outcome in ["exported", "failed", "dropped"] {
            metrics.count(outcome, 0);
        }
        registry.register("portcullis_trace_spans", "Spans, by what became of them", metrics.0.clone());
        metrics
    }

    fn count(&self, outcome: &'static str, spans: usize) {
        self.0.get_or_create(&Outcome { outcome }).inc_by(spans as u64);
    }
}

/// Puts spans into the queue when they end, whoever ends them.
#[derive(Debug)]
pub(super) struct Handing {
    spans: mpsc::Sender<SpanData>,
    metrics: TraceMetrics,
}

impl Handing {
    pub(super) fn new(spans: mpsc::Sender<SpanData>, metrics: TraceMetrics) -> Self {
        Self { spans, metrics }
    }
}

impl SpanProcessor for Handing {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.metrics.count("dropped", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Exports until nobody can end a span any more.
pub(super) async fn export(
    mut spans: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    metrics: TraceMetrics,
) {
    let (mut batch, mut failing) = (Vec::new(), false);
    while spans.recv_many(&mut batch, BATCH).await > 0 {
        let others = async {
            loop {
                let room = BATCH - batch.len();
                // of no room, none are taken
                if spans.recv_many(&mut batch, room).await == 0 {
                    return;
                }
            }
        };
        // Late or complete, it leaves.
        let _late = timeout(EVERY, others).await;
        let count = batch.len();
        match exporter.export(std::mem::take(&mut batch)).await {
            Ok(()) => {
                metrics.count("exported", count);
                if std::mem::take(&mut failing) {
                    info!("spans are exported again");
                }
            }
            Err(error) => {
                metrics.count("failed", count);
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "spans cannot be exported (telemetry.otlp.endpoint); they are dropped");
                }
            }
        }
    }
}
