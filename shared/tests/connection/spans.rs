//! The way of spans to their collector: over TLS that is verified, bounded, and to its end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use certs::Authority;
use prometheus_client::registry::Registry;
use shared::{
    shutdown::Shutdown,
    traces::{OtlpConfig, SpanKind, Traces},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
};
use tokio_rustls::TlsAcceptor;

use crate::support::{authority, server_config};

const NEVER: Duration = Duration::from_secs(30);

/// Takes whatever is posted, until `shutdown`.
async fn collector(authority: &Authority, shutdown: &Shutdown) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(authority)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    shutdown.spawn("collector", async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    });
    address
}

/// What became of so many spans, once their process has ended: exported, failed, dropped.
async fn export(spans: usize, config: &OtlpConfig) -> [u64; 3] {
    let (mut registry, shutdown) = (Registry::default(), Shutdown::new());
    let traces = Traces::open(config, "test", &mut registry, &shutdown).unwrap();
    // no task runs in between
    (0..spans).for_each(|_| drop(traces.begin("a span", SpanKind::Server, None)));
    drop(traces);
    shutdown.drained(NEVER).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    ["exported", "failed", "dropped"].map(|outcome| {
        let series = format!("portcullis_trace_spans_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    })
}

#[tokio::test]
async fn spans_go_over_tls_to_a_collector_that_is_believed_and_to_no_other() {
    let (own, other, shutdown) = (authority(), authority(), Shutdown::new());
    let address = collector(&own, &shutdown).await;
    let folder = tempfile::tempdir().unwrap();
    for (believed, expected) in [(&own, [600, 0, 0]), (&other, [0, 600, 0])] {
        let ca = folder.path().join("ca.crt");
        std::fs::write(&ca, believed.root().certificate_pem()).unwrap();
        let endpoint = format!("https://localhost:{}/v1/traces", address.port()).parse().ok();
        assert_eq!(export(600, &OtlpConfig { endpoint, ca, ..OtlpConfig::default() }).await, expected);
    }
    shutdown.request_hard();
}

#[tokio::test]
async fn spans_that_find_no_place_are_dropped_and_counted() {
    // bound and never listened on: whoever connects is refused
    let away = TcpSocket::new_v4().unwrap();
    away.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}/v1/traces", away.local_addr().unwrap()).parse().ok();
    assert_eq!(export(5, &OtlpConfig { endpoint, waiting: 2, ..OtlpConfig::default() }).await, [0, 2, 3]);
}
