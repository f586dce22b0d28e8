//! Messages accepted per second, each committed before its 202: beside nginx, which passes requests on and stores
//! nothing, and beside RabbitMQ's confirmed publishes.

use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    load::{Ask, Load, Publish, Requests},
    ours::{BATCH_MESSAGES, rate},
    scene::Scene,
};

#[derive(Debug)]
pub(super) struct Ingest {
    row: Row,
    ask: Ask,
}

const NGINX: &str = "nginx, not durable";
const RABBITMQ: &str = "RabbitMQ, confirmed";

pub(super) const SINGLE_TO_NGINX: Ingest = Ingest {
    row: Row {
        name: "ingest_single",
        what: "durable POST of one message, 64 connections ÷ nginx passing it on",
        unit: "messages/s",
        compare: Compare::OursToPeer,
        goal: Goal::AtLeast(0.7),
        peer: Some(NGINX),
        slow: false,
    },
    ask: Ask::Message,
};

pub(super) const SINGLE_TO_RABBITMQ: Ingest = Ingest {
    row: Row {
        name: "ingest_single_vs_rabbitmq",
        what: "the same ÷ confirmed publishes, 2 connections × 256 in flight",
        peer: Some(RABBITMQ),
        ..SINGLE_TO_NGINX.row
    },
    ask: Ask::Message,
};

pub(super) const BATCH_TO_RABBITMQ: Ingest = Ingest {
    row: Row {
        name: "ingest_batch_vs_rabbitmq",
        what: "durable POST of 100 messages, 8 connections ÷ confirmed publishes",
        goal: Goal::AtLeast(2.5),
        ..SINGLE_TO_RABBITMQ.row
    },
    ask: Ask::Batch(BATCH_MESSAGES),
};

impl Figure for Ingest {
    fn row(&self) -> Row {
        self.row
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        let window = scene.window();
        let ours = scene.ours()?;
        if self.ask != Ask::Message {
            ours.needs_batches()?;
        }
        ours.ingest(self.ask, window)
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        if self.row.peer == Some(NGINX) { through_nginx(scene, self.ask) } else { publish(scene, None) }
            .map(Some)
    }
}

fn through_nginx(scene: &mut Scene, ask: Ask) -> anyhow::Result<Sample> {
    let window = scene.window();
    let (ours, nginx) = scene.nginx()?;
    let load = Requests { target: ours.target_at(nginx.address), ..ours.requests(ask, window)? };
    rate(&Load::Requests(load), nginx.watched())
}

/// Confirmed publishes to a quorum queue; with deliveries too, if so many may be on their way.
pub(super) fn publish(scene: &mut Scene, deliver: Option<u64>) -> anyhow::Result<Sample> {
    let window = scene.window();
    let (ours, rabbitmq) = scene.rabbitmq()?;
    let load = Publish {
        target: ours.target_at(rabbitmq.address),
        queue: "bench".to_owned(),
        connections: 2,
        in_flight: 256,
        deliver,
        window,
    };
    rate(&Load::Publish(load), rabbitmq.watched())
}
