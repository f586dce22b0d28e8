//! Where deliveries are tested: a PKI and a directory, a worker's delivery while it runs, jobs.

use std::{fs, path::PathBuf};

use certs::{Authority, Host, ServiceRequest, TrustDomain};
use prometheus_client::registry::Registry;
use shared::{
    config::ByteSize,
    identity::{Fingerprint, Role},
    tls::Identity,
    wire::lease::LeasedJob,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use url::Url;
use uuid::Uuid;

use super::{super::*, main_server::MainServer};
use crate::{
    TlsConfig,
    server_api::{Clients, Patience},
    sink::{JsonlOptions, SinkOptions},
};

/// A PKI, and the directory of one worker.
pub(super) struct Place {
    pub(super) directory: TempDir,
    authority: Authority,
}

/// A worker's delivery while it runs.
pub(super) struct Running {
    pub(super) delivery: Delivery,
    task: JoinHandle<()>,
}

impl Place {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(TrustDomain::default()).unwrap();
        authority.save(&directory.path().join("pki")).unwrap();
        Self { directory, authority }
    }

    pub(super) fn pki(&self) -> PathBuf {
        self.directory.path().join("pki")
    }

    pub(super) fn output(&self) -> PathBuf {
        self.directory.path().join("received_messages.jsonl")
    }

    pub(super) fn lines(&self) -> usize {
        fs::read_to_string(self.output()).unwrap().lines().count()
    }

    pub(super) fn identity(&self, role: Role, name: &str) -> Identity {
        let request = ServiceRequest { hosts: Host::loopback(), days: 1 };
        let issued = self.authority.issue_service(role, &name.parse().unwrap(), &request).unwrap();
        let [certificate, key] =
            ["crt", "key"].map(|kind| self.directory.path().join(format!("{name}.{kind}")));
        fs::write(&certificate, issued.leaf.certificate_pem()).unwrap();
        fs::write(&key, issued.leaf.key().pem()).unwrap();
        Identity { certificate, key }
    }

    pub(super) async fn main_server(&self, name: &str) -> MainServer {
        MainServer::open(&self.pki(), &self.identity(Role::MainServer, name)).await
    }

    /// A worker that asks these servers; `change` makes its limits other than the usual ones.
    pub(super) fn deliver(&self, servers: Vec<Url>, change: impl FnOnce(&mut Limits)) -> Running {
        self.deliver_to(self.output(), servers, change)
    }

    pub(super) fn deliver_to(
        &self,
        output: PathBuf,
        servers: Vec<Url>,
        change: impl FnOnce(&mut Limits),
    ) -> Running {
        let Identity { certificate, key } = self.identity(Role::Worker, "worker-1");
        let ca = self.pki().join("services-ca.crt");
        let tls = TlsConfig { certificate, key, ca, ..TlsConfig::default() };
        let patience = Patience {
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(10),
            max_answer: ByteSize::kib(1024),
            retry_min: Duration::from_millis(5),
        };
        let mut limits = Limits {
            queue: "default".parse().unwrap(),
            lease: Duration::from_secs(30),
            wait: Duration::from_secs(20),
            batch: 10,
            batches: 4,
            max_jobs: 40,
            drain: Duration::from_secs(20),
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(50)),
        };
        change(&mut limits);
        let delivery = Delivery {
            api: Arc::new(ServerApi::new(servers, Clients::build(&tls, &patience).unwrap(), &patience)),
            sink: SharedSink::open(SinkOptions::Jsonl(JsonlOptions { output, recent_ids: 100 })).unwrap(),
            metrics: Metrics::register(&mut Registry::default()),
            limits,
            shutdown: Shutdown::new(),
            traces: Traces::default(),
        };
        let task = delivery.shutdown.spawn("delivery", delivery.clone().run());
        Running { delivery, task }
    }
}

impl Running {
    /// A soft stop; ends when everything is settled.
    pub(super) async fn stop(self) -> Metrics {
        self.delivery.shutdown.request();
        self.task.await.unwrap();
        self.delivery.metrics
    }
}

pub(super) fn job(number: u128) -> LeasedJob {
    let at = OffsetDateTime::UNIX_EPOCH;
    LeasedJob {
        job_id: id(number),
        lease_token: Uuid::new_v4(),
        lease_expires_at: at,
        queue: "default".parse().unwrap(),
        attempt: 1,
        message_id: Uuid::from_u128(1_000_000 + number),
        client_id: "client_001".parse().unwrap(),
        cert_fingerprint: Fingerprint::of_der(b"certificate"),
        proxy: "proxy-1".parse().unwrap(),
        request_id: Uuid::nil(),
        traceparent: None,
        sender_number: "+1234567890".to_owned(),
        message_body: "hello".to_owned(),
        metadata: None,
        routing_key: None,
        queued_at: at,
    }
}

pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}
