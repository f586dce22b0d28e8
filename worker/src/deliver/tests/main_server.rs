//! A main server that follows a script, behind a real door: it leases what it is given, writes down what it is
//! asked, and can refuse everything or report leases as lost.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{Json, Router, extract::State, response::IntoResponse, response::Response, routing::post};
use shared::{
    serve::{Connections, Door, DoorMetrics, Limits},
    shutdown::Shutdown,
    tls::{BundleKind, ClientVerifier, Handshake, Identity, TrustBundle, door_tls},
    wire::{
        Code, Problem,
        complete::CompleteRequest,
        fail::{FailRequest, FailedJob},
        lease::{JobOutcome, JobResult, JobResults, LeaseRequest, LeaseResponse, LeasedJob},
        renew::RenewRequest,
    },
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use url::Url;
use uuid::Uuid;

/// Long enough for a loaded machine; a test that is right never waits for it.
const DEADLINE: Duration = Duration::from_secs(20);

/// What the server does, and what it was asked.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) ready: VecDeque<LeasedJob>,
    pub(super) refuses: bool,
    pub(super) lost: HashSet<Uuid>,
    /// Lease requests that wait for a job at this moment.
    pub(super) polls: usize,
    pub(super) leases: Vec<LeaseRequest>,
    pub(super) renewed: Vec<Vec<Uuid>>,
    pub(super) completed: Vec<Uuid>,
    pub(super) failed: Vec<FailedJob>,
    pub(super) refusals: usize,
}

type Scripted = watch::Sender<Script>;

/// A scripted main server and its address.
pub(super) struct MainServer {
    script: Scripted,
    address: SocketAddr,
    shutdown: Shutdown,
}

impl MainServer {
    /// Opens its door on a free port, with the identity and for the services under `pki`.
    pub(super) async fn open(pki: &Path, identity: &Identity) -> Self {
        Self::open_at(SocketAddr::from(([127, 0, 0, 1], 0)), pki, identity).await
    }

    pub(super) async fn open_at(address: SocketAddr, pki: &Path, identity: &Identity) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let bundle = TrustBundle::read(&pki.join("services-ca.crt"), BundleKind::IssuingOnly).unwrap();
        let tls = door_tls(identity, ClientVerifier::new(Arc::new(bundle), Handshake::Strict)).unwrap();
        let (script, shutdown) = (Scripted::default(), Shutdown::new());
        let router = Router::new()
            .route("/api/v1/jobs/lease", post(lease))
            .route("/api/v1/jobs/renew", post(renew))
            .route("/api/v1/jobs/complete", post(complete))
            .route("/api/v1/jobs/fail", post(fail))
            .with_state(script.clone());
        let door = Door::new(
            "worker",
            Arc::new(ArcSwap::from_pointee(tls)),
            Limits::default(),
            Arc::new(Connections::new()),
            DoorMetrics::register(&mut prometheus_client::registry::Registry::default()),
            shutdown.clone(),
        );
        shutdown.spawn("scripted main server", door.serve(listener, router));
        Self { script, address, shutdown }
    }

    pub(super) fn url(&self) -> Url {
        format!("https://localhost:{}", self.address.port()).parse().unwrap()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes jobs ready, or changes what the server does.
    pub(super) fn now(&self, change: impl FnOnce(&mut Script)) {
        self.script.send_modify(change);
    }

    /// Waits until the script has come to this.
    pub(super) async fn until(&self, what: &str, condition: impl FnMut(&Script) -> bool) {
        let mut script = self.script.subscribe();
        let met = timeout(DEADLINE, script.wait_for(condition)).await.is_ok();
        assert!(met, "not in time: {what}; {:?}", self.script.borrow());
    }

    pub(super) fn look<T>(&self, at: impl FnOnce(&Script) -> T) -> T {
        at(&self.script.borrow())
    }

    /// Closes the door and drops its connections.
    pub(super) async fn close(&self) {
        self.shutdown.drained(Duration::ZERO).await;
    }
}

/// Notes a request, or refuses it; a refused one has no effect.
fn note(script: &Scripted, noted: impl FnOnce(&mut Script)) -> Result<(), Problem> {
    let mut refused = false;
    script.send_modify(|script| {
        refused = script.refuses;
        if refused { script.refusals += 1 } else { noted(script) }
    });
    if refused { Err(Problem::new(Code::UpstreamUnavailable, "the script says so")) } else { Ok(()) }
}

/// Counts a lease request while it waits, also when its worker hangs up.
struct Poll(Scripted);

impl Poll {
    fn begin(script: &Scripted) -> Self {
        script.send_modify(|script| script.polls += 1);
        Self(script.clone())
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.0.send_modify(|script| script.polls -= 1);
    }
}

async fn lease(
    State(script): State<Scripted>,
    Json(request): Json<LeaseRequest>,
) -> Result<Json<LeaseResponse>, Problem> {
    note(&script, |script| script.leases.push(request.clone()))?;
    let _poll = Poll::begin(&script);
    let mut changes = script.subscribe();
    let wait = Duration::from_secs(request.wait_seconds.into());
    let _ = timeout(wait, changes.wait_for(|script| !script.ready.is_empty())).await;
    drop(changes);
    let mut jobs = Vec::new();
    script.send_modify(|script| {
        let count = script.ready.len().min(request.max as usize);
        jobs = script.ready.drain(..count).collect();
    });
    Ok(Json(LeaseResponse { jobs }))
}

async fn renew(State(script): State<Scripted>, Json(request): Json<RenewRequest>) -> Response {
    let jobs: Vec<_> = request.jobs.iter().map(|job| job.job_id).collect();
    answer(&script, &jobs, |script| script.renewed.push(jobs.clone()))
}

async fn complete(State(script): State<Scripted>, Json(request): Json<CompleteRequest>) -> Response {
    let jobs: Vec<_> = request.jobs.iter().map(|job| job.job_id).collect();
    answer(&script, &jobs, |script| script.completed.extend(&jobs))
}

async fn fail(State(script): State<Scripted>, Json(request): Json<FailRequest>) -> Response {
    let jobs: Vec<_> = request.jobs.iter().map(|job| job.job_id).collect();
    answer(&script, &jobs, |script| script.failed.extend(request.jobs))
}

fn answer(script: &Scripted, jobs: &[Uuid], noted: impl FnOnce(&mut Script)) -> Response {
    if let Err(problem) = note(script, noted) {
        return problem.into_response();
    }
    let lost = &script.borrow().lost;
    let outcome = |job| if lost.contains(job) { JobOutcome::LeaseLost } else { JobOutcome::Ok };
    let results = jobs.iter().map(|job| JobResult { job_id: *job, outcome: outcome(job) }).collect();
    Json(JobResults { results }).into_response()
}
