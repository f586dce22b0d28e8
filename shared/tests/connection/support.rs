//! The actors: authorities, genuine and forged, and a door to knock at.

use std::{
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use axum::{
    Router,
    body::{Body, to_bytes},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use certs::{Authority, ClientRequest, Host, Issued, Leaf, LeafRequest, ServiceRequest, TrustDomain};
use hyper::body::{Bytes, Frame};
use prometheus_client::registry::Registry;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName},
};
use shared::{
    identity::{Name, Role},
    serve::{BodyFault, Connections, Door, DoorMetrics, Limits, keep_bounds},
    shutdown::Shutdown,
    tls::{
        BundleKind, ChainLimits, ClientVerifier, DoorTls, Gate, Handshake, Identity, TrustBundle, door_tls,
        provider,
    },
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn authority() -> Authority {
    Authority::create(TrustDomain::default()).unwrap()
}

/// An authority of the same names, made in another year perhaps: nobody should believe it.
pub(crate) fn authority_made(years_ago: i64) -> Authority {
    let then = OffsetDateTime::now_utc() - Duration::days(365 * years_ago);
    Authority::create_at(TrustDomain::default(), then).unwrap()
}

pub(crate) fn client_request(authority: &Authority) -> LeafRequest {
    authority.client_leaf(&name("client_001"), &ClientRequest::default())
}

pub(crate) fn expired(request: LeafRequest) -> LeafRequest {
    let now = OffsetDateTime::now_utc();
    LeafRequest { not_before: now - Duration::days(30), not_after: now - Duration::days(1), ..request }
}

pub(crate) fn not_yet_valid(request: LeafRequest) -> LeafRequest {
    let now = OffsetDateTime::now_utc();
    LeafRequest { not_before: now + Duration::days(1), not_after: now + Duration::days(30), ..request }
}

/// A trust bundle of PEM texts.
pub(crate) fn bundle(kind: BundleKind, pems: &[&str]) -> Result<TrustBundle, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.crt");
    std::fs::write(&file, pems.concat()).unwrap();
    TrustBundle::read(&file, kind).map_err(|error| error.to_string())
}

/// A running door of a service, with its authority.
pub(crate) struct OpenDoor {
    pub(crate) authority: Arc<Authority>,
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<Connections>,
    pub(crate) shutdown: Shutdown,
    metrics: Registry,
    tls: Arc<ArcSwap<DoorTls>>,
    handshake: Handshake,
    folder: TempDir,
}

impl OpenDoor {
    pub(crate) async fn open(handshake: Handshake, limits: Limits) -> Self {
        Self::open_of(Arc::new(authority()), handshake, limits).await
    }

    /// A door whose certificate, for the same names as any other's here, is of this authority.
    pub(crate) async fn open_of(authority: Arc<Authority>, handshake: Handshake, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_files(&authority, folder.path());
        let chain = limits.chain.clone();
        let read = read_files(&authority, folder.path(), handshake, chain);
        let tls = Arc::new(ArcSwap::from_pointee(read));
        let shutdown = Shutdown::new();
        let connections = Arc::new(Connections::new());
        let mut metrics = Registry::default();
        let door = Door::new(
            "test",
            tls.clone(),
            limits,
            connections.clone(),
            DoorMetrics::register(&mut metrics),
            shutdown.clone(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/refuse", post(|| async { (axum::http::StatusCode::FORBIDDEN, "no") }))
            .route("/read", post(read_whole))
            .route("/large", get(|| async { vec![b'x'; 32 << 20] }))
            .route("/panic", get(panics))
            .route("/pieces", get(|| async { Body::new(Pieces(20)) }))
            .layer(from_fn(keep_bounds));
        shutdown.spawn("door", door.serve(listener, router));
        Self { authority, address, connections, shutdown, metrics, tls, handshake, folder }
    }

    /// Reads the same files again, as a running service does on SIGHUP.
    pub(crate) fn reload(&self) {
        let chain = ChainLimits::default();
        let tls = read_files(&self.authority, self.folder.path(), self.handshake, chain);
        self.tls.store(Arc::new(tls));
    }

    /// Strict from now on, and asks this gate.
    pub(crate) fn guard(&self, gate: Gate) {
        let clients =
            bundle(BundleKind::AnyAuthority, &[self.authority.clients().certificate_pem()]).unwrap();
        let verifier = ClientVerifier::new(Arc::new(clients), Handshake::Strict).with_gate(gate);
        self.tls.store(Arc::new(door_tls(&identity_in(self.folder.path()), verifier).unwrap()));
    }

    /// How often this bound was reached.
    pub(crate) fn reached(&self, limit: &str) -> u64 {
        self.counted(&format!("portcullis_limits_reached_total{{door=\"test\",limit=\"{limit}\"}}"))
    }

    /// How many handshakes failed for this reason.
    pub(crate) fn failed(&self, reason: &str) -> u64 {
        self.sum(&format!("portcullis_handshake_failures_total{{door=\"test\",reason=\"{reason}\","))
    }

    /// A series, by its name and all its labels; 0 if it is not there.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.sum(&format!("{name} "))
    }

    /// All series that begin so.
    fn sum(&self, series: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let values = text.lines().filter(|line| line.starts_with(series));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    pub(crate) fn client(&self) -> Issued {
        self.authority.issue_client(&name("client_001"), &ClientRequest::default()).unwrap()
    }

    pub(crate) async fn knock(&self, leaf: &Leaf, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let config = Arc::new(client_config(&self.authority, leaf, alpn, rustls::ALL_VERSIONS));
        self.knock_with(config).await
    }

    pub(crate) async fn knock_with(
        &self,
        config: Arc<ClientConfig>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), socket).await
    }
}

/// Reads a body to its end, as every handler does.
async fn read_whole(body: Body) -> Response {
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes.len().to_string().into_response(),
        Err(error) => BodyFault::problem(&error).into_response(),
    }
}

/// What a defect of ours would do.
async fn panics() -> &'static str {
    panic!("a handler that panics, as the test asks for")
}

/// So many pieces of 1 KiB, one after the other.
struct Pieces(u8);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))))
    }
}

fn identity_in(folder: &Path) -> Identity {
    Identity { certificate: folder.join("p.crt"), key: folder.join("p.key") }
}

fn write_files(authority: &Authority, folder: &Path) {
    let request = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
    let issued = authority.issue_service(Role::Proxy, &name("proxy-1"), &request).unwrap();
    let files = identity_in(folder);
    std::fs::write(files.certificate, issued.leaf.certificate_pem()).unwrap();
    std::fs::write(files.key, issued.leaf.key().pem()).unwrap();
}

fn read_files(authority: &Authority, folder: &Path, handshake: Handshake, chain: ChainLimits) -> DoorTls {
    let clients = bundle(BundleKind::AnyAuthority, &[authority.clients().certificate_pem()]).unwrap();
    let verifier = ClientVerifier::new(Arc::new(clients), handshake).with_limits(chain);
    door_tls(&identity_in(folder), verifier).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the test stands outside and may connect as it likes")]
pub(crate) fn client_config(
    authority: &Authority,
    leaf: &Leaf,
    alpn: &[u8],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root(authority)).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(leaf.chain().to_vec(), leaf.key().der().unwrap())
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

fn root(authority: &Authority) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(authority.root().certificate_pem().as_bytes()).unwrap()
}

/// A server that asks nobody for a certificate.
#[expect(clippy::disallowed_methods, reason = "the test stands outside and may serve as it likes")]
pub(crate) fn server_config(authority: &Authority) -> ServerConfig {
    let request = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
    let leaf = authority.issue_service(Role::MainServer, &name("publisher"), &request).unwrap().leaf;
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain().to_vec(), leaf.key().der().unwrap())
        .unwrap()
}
