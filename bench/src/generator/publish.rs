//! RabbitMQ: publishes with confirms, so many in flight on each connection; and, if asked, deliveries with
//! acknowledgements, counted instead, while few are on their way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions, QueuePurgeOptions,
    },
    tcp::{OwnedIdentity, OwnedTLSConfig},
    types::{AMQPValue, FieldTable},
};
use tokio::task::JoinSet;

use super::{
    connection::HOST,
    meter::{Meter, Signals},
    request::message,
};
use crate::load::{Outcome, Publish, Target};

/// Deliveries that the consumer may hold, and how many it acknowledges at once.
const PREFETCH: u16 = 1000;
const ACKNOWLEDGE: u64 = 50;

/// Published and acknowledged by the consumer.
#[derive(Debug, Default)]
struct Way {
    published: AtomicU64,
    acknowledged: AtomicU64,
}

pub(super) async fn run(load: Publish, signals: Signals) -> anyhow::Result<Outcome> {
    let load = Arc::new(load);
    let meter = Meter::default();
    let way = Arc::new(Way::default());
    let connection = connect(&load.target).await?;
    let channel = connection.create_channel().await?;
    declare(&channel, &load.queue).await?;
    let mut connections = vec![connection];
    let mut tasks = JoinSet::new();
    if load.deliver.is_some() {
        tasks.spawn(consume(channel, load.queue.clone(), meter.clone(), way.clone()));
    }
    for _ in 0..load.connections {
        let connection = connect(&load.target).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        connections.push(connection);
        tasks.spawn(publish(channel, load.clone(), meter.clone(), way.clone()));
    }
    let outcome = tokio::select! {
        outcome = meter.measure(load.window, signals) => outcome?,
        Some(ended) = tasks.join_next() => {
            ended??;
            anyhow::bail!("a publisher or the consumer ended");
        }
    };
    tasks.shutdown().await;
    // what is left is nobody's work in the next run
    let connection = connect(&load.target).await?;
    connection
        .create_channel()
        .await?
        .queue_purge(load.queue.as_str().into(), QueuePurgeOptions::default())
        .await?;
    Ok(outcome)
}

async fn connect(target: &Target) -> anyhow::Result<Connection> {
    let tls = OwnedTLSConfig {
        identity: Some(OwnedIdentity::PKCS8 {
            pem: std::fs::read(&target.cert)?,
            key: std::fs::read(&target.key)?,
        }),
        cert_chain: Some(std::fs::read_to_string(&target.ca)?),
    };
    let uri = format!("amqps://guest:guest@{HOST}:{}/%2f", target.address.port());
    let runtime = lapin::runtime::default_runtime()?;
    Connection::connect_with_config(&uri, ConnectionProperties::default(), tls, runtime)
        .await
        .context("cannot connect to RabbitMQ")
}

/// An empty quorum queue.
async fn declare(channel: &Channel, queue: &str) -> anyhow::Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, arguments).await?;
    channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?;
    Ok(())
}

async fn publish(channel: Channel, load: Arc<Publish>, meter: Meter, way: Arc<Way>) -> anyhow::Result<()> {
    let body = message();
    // 2: persistent
    let properties = BasicProperties::default().with_delivery_mode(2);
    let mut waiting = FuturesUnordered::new();
    loop {
        while waiting.len() < load.in_flight {
            let late = || way.published.load(Relaxed) - way.acknowledged.load(Relaxed);
            if load.deliver.is_some_and(|most| late() >= most) {
                if waiting.is_empty() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    continue;
                }
                break;
            }
            way.published.fetch_add(1, Relaxed);
            let options = BasicPublishOptions::default();
            let sent = Instant::now();
            let (exchange, queue) = ("".into(), load.queue.as_str().into());
            let confirm =
                channel.basic_publish(exchange, queue, options, body.as_bytes(), properties.clone()).await?;
            waiting.push(async move { (confirm.await, sent) });
        }
        if let Some((confirmation, sent)) = waiting.next().await {
            ensure!(matches!(confirmation?, Confirmation::Ack(_)), "a publish was not confirmed");
            let counted = u64::from(load.deliver.is_none());
            meter.done(counted, sent.elapsed());
        }
    }
}

async fn consume(channel: Channel, queue: String, meter: Meter, way: Arc<Way>) -> anyhow::Result<()> {
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer =
        channel.basic_consume(queue.as_str().into(), "bench".into(), options, FieldTable::default()).await?;
    let mut unacknowledged = 0;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        unacknowledged += 1;
        if unacknowledged == ACKNOWLEDGE {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
            meter.done(ACKNOWLEDGE, Duration::ZERO);
            way.acknowledged.fetch_add(ACKNOWLEDGE, Relaxed);
            unacknowledged = 0;
        }
    }
    anyhow::bail!("the consumer was cancelled")
}
