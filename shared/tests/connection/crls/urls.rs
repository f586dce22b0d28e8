//! Distribution points: asked over TLS that is verified, fetched again only when something is new.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use certs::Authority;
use prometheus_client::registry::Registry;
use shared::{
    config::Span,
    shutdown::Shutdown,
    tls::{
        BundleKind,
        crl::{CrlConfig, RevocationLists, Standing},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::yield_now,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{Scene, revoked};
use crate::support::{authority, bundle, server_config};

const DEADLINE: Duration = Duration::from_secs(30);

/// A server that answers every request with the same bytes, until it is given others.
struct Point {
    url: String,
    answer: Arc<Mutex<Vec<u8>>>,
    requests: Arc<Mutex<Vec<String>>>,
    shutdown: Shutdown,
}

impl Point {
    async fn open(authority: &Authority, answer: Vec<u8>) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(authority)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/clients.crl?x=1", listener.local_addr().unwrap().port());
        let point = Self {
            url,
            answer: Arc::new(Mutex::new(answer)),
            requests: Arc::default(),
            shutdown: Shutdown::new(),
        };
        let (answer, requests) = (point.answer.clone(), point.requests.clone());
        point.shutdown.spawn("distribution point", async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                requests.lock().unwrap().push(String::from_utf8(head).unwrap());
                let answer = answer.lock().unwrap().clone();
                stream.write_all(&answer).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        point
    }

    fn now_answers(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn last_request(&self) -> String {
        self.requests.lock().unwrap().last().unwrap().to_lowercase()
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        self.shutdown.request_hard();
    }
}

fn ok(list: &[u8], etag: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: {etag}\r\n\r\n", list.len());
    [head.as_bytes(), list].concat()
}

/// Lists from this distribution point, whose server is believed under `authority`'s root.
fn lists(scene: &Scene, point: &Point, authority: &Authority, folder: &Path) -> Arc<RevocationLists> {
    let urls_ca = folder.join("ca.crt");
    std::fs::write(&urls_ca, authority.root().certificate_pem()).unwrap();
    let urls = vec![point.url.parse().unwrap()];
    let config = CrlConfig { urls, urls_ca, poll: Span::millis(20), ..CrlConfig::default() };
    let bundle = bundle(BundleKind::AnyAuthority, &[scene.authority.clients().certificate_pem()]).unwrap();
    RevocationLists::open(&config, &bundle, &mut Registry::default(), |_| {}).unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = timeout(DEADLINE, async {
        while !condition() {
            yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

#[tokio::test]
async fn a_list_from_a_distribution_point_counts_and_so_does_the_next() {
    let (scene, folder) = (Scene::new(), tempfile::tempdir().unwrap());
    let publisher = authority();
    let [_, first, _] = scene.authority.crls();
    let next = scene.authority.clients().sign_next_crl(first, [revoked(&scene.leaf)]).unwrap();
    let point = Point::open(&publisher, ok(first.der(), "\"one\"")).await;
    let lists = lists(&scene, &point, &publisher, folder.path());
    lists.load_configured().await.unwrap();
    assert_eq!(lists.judge(&scene.peer), Standing::Clear);
    assert!(point.last_request().starts_with("get /clients.crl?x=1 http/1.1\r\n"));

    point.now_answers(b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec());
    point.shutdown.spawn("lists", lists.clone().watch_configured(point.shutdown.clone()));
    until("asked for news", || point.last_request().contains("if-none-match: \"one\"")).await;
    assert!(lists.readiness().unwrap().contains("number 1,"));

    for (answer, said) in [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(), "answered 404"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec(), "answered 302"),
        (ok(&next.der()[..80], "\"half\""), "is broken"),
        (ok(next.der(), "\"two\"")[..200].to_vec(), "cannot be read"),
    ] {
        point.now_answers(answer);
        until(said, || lists.readiness().unwrap().contains(said)).await;
        assert_eq!(lists.judge(&scene.peer), Standing::Clear, "{said}");
    }
    point.now_answers(ok(next.pem().as_bytes(), "\"two\""));
    until("revoked", || matches!(lists.judge(&scene.peer), Standing::Revoked(_))).await;
}

#[tokio::test]
async fn a_distribution_point_whose_certificate_does_not_verify_is_not_believed() {
    let (scene, folder) = (Scene::new(), tempfile::tempdir().unwrap());
    let point = Point::open(&authority(), ok(scene.authority.crls()[1].der(), "\"one\"")).await;
    let lists = lists(&scene, &point, &authority(), folder.path());
    let refused = lists.load_configured().await.unwrap_err().to_string();
    assert!(refused.contains(&point.url) && refused.contains("invalid peer certificate"), "{refused}");
}
