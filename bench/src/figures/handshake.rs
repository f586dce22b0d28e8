//! What a new connection costs the edge: a full handshake with a client certificate, and one request.

use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{self, Load, Target, Window},
    ours::rate,
    processor::Watched,
    scene::Scene,
};

/// At once.
pub(super) const CONNECTIONS: usize = 16;

#[derive(Debug)]
pub(super) struct Handshake;

impl Figure for Handshake {
    fn row(&self) -> Row {
        Row {
            name: "handshake_cpu_vs_nginx",
            what: "processor time of the edge per full mTLS handshake and GET /health, nginx ÷ ours",
            unit: "µs/connection",
            compare: Compare::PeerToOurs,
            goal: Goal::AtLeast(2.0),
            peer: Some("nginx"),
            slow: false,
        }
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        let window = scene.window();
        let ours = scene.ours()?;
        cost(handshakes(ours.target(0)?, window, ours.watched())?, "proxy")
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        let window = scene.window();
        let (ours, nginx) = scene.nginx()?;
        let target = ours.target_at(nginx.address);
        cost(handshakes(target, window, nginx.watched())?, "nginx").map(Some)
    }
}

/// New connections per second.
pub(super) fn handshakes(target: Target, window: Window, watched: Vec<Watched>) -> anyhow::Result<Sample> {
    let load = load::Handshakes { target, connections: CONNECTIONS, window };
    rate(&Load::Handshakes(load), watched)
}

/// Turns a rate into what one costs the edge.
fn cost(sample: Sample, edge: &str) -> anyhow::Result<Sample> {
    let seconds = sample.cpu_seconds_per_1000.get(edge).copied();
    let seconds = anyhow::Context::context(seconds, "the edge's processor time is missing")?;
    let rate = sample.value;
    Ok(Sample { value: seconds * 1000.0, ..sample }.with("connections_per_second", rate))
}
