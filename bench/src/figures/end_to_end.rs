//! From the sender to the end of the delivery, with the queue near empty.

use super::ingest::publish;
use crate::{
    figure::{Compare, Figure, Goal, Row, Sample},
    ours::IN_HAND,
    scene::Scene,
};

#[derive(Debug)]
pub(super) struct EndToEnd;

impl Figure for EndToEnd {
    fn row(&self) -> Row {
        Row {
            name: "end_to_end_vs_rabbitmq",
            what: "submit (batches of 100), lease, write to a file, complete ÷ publish, deliver, ack",
            unit: "messages/s",
            compare: Compare::OursToPeer,
            goal: Goal::AtLeast(1.2),
            peer: Some("RabbitMQ, confirmed and acknowledged"),
            slow: false,
        }
    }

    fn ours(&mut self, scene: &mut Scene) -> anyhow::Result<Sample> {
        let window = scene.window();
        scene.ours()?.end_to_end(window)
    }

    fn peer(&mut self, scene: &mut Scene) -> anyhow::Result<Option<Sample>> {
        publish(scene, Some(IN_HAND)).map(Some)
    }
}
