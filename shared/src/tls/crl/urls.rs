//! `https://` distribution points as a source of lists.
//!
//! In: the addresses of `crl.urls`, asked every `crl.poll`. Out: what they answer, if it is new (`ETag`), offered
//! to the [`RevocationLists`]. Refused: servers whose certificate does not verify, redirects, endless answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

use super::{CrlConfig, CrlFault, RevocationLists, files::Unusable, source::Origin};
use crate::{
    shutdown::Shutdown,
    tls::{TlsFileError, plain_client_config},
};

/// A list of a million entries has 40 MB.
const LONGEST: usize = 256 << 20;
/// From the connection to the end of the answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// How distribution points are asked, and what they answered last.
#[derive(Debug)]
pub(super) struct Urls {
    tls: TlsConfig,
    etags: BTreeMap<Url, String>,
}

type TlsConfig = Option<Arc<ClientConfig>>;

/// A list, and the `ETag` it came with.
struct Answer {
    list: Vec<u8>,
    etag: Option<String>,
}

impl Urls {
    pub(super) fn open(config: &CrlConfig) -> Result<Self, TlsFileError> {
        let tls = if config.urls.is_empty() { None } else { Some(plain_client_config(&config.urls_ca)?) };
        Ok(Self { tls, etags: BTreeMap::new() })
    }

    /// Has every list sent again.
    pub(super) fn forget(&mut self) {
        self.etags.clear();
    }
}

impl RevocationLists {
    /// Asks them every `crl.poll`, and on SIGHUP, until the soft stop.
    pub(super) async fn poll_urls(self: &Arc<Self>, shutdown: &Shutdown) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        while !self.config().urls.is_empty() {
            tokio::select! {
                () = tokio::time::sleep(self.config().poll.0) => {}
                _ = hangup.recv() => {}
                () = shutdown.requested() => return,
            }
            tokio::select! {
                _ = self.ask_urls() => {}
                () = shutdown.requested() => return,
            }
        }
    }

    /// Asks every distribution point once; answers those that cannot be used.
    pub(super) async fn ask_urls(self: &Arc<Self>) -> Vec<Unusable> {
        let mut urls = self.urls.lock().await;
        let mut unusable = Vec::new();
        let Some(tls) = urls.tls.clone() else { return unusable };
        for url in &self.config().urls {
            let origin = Origin::Url(url.clone());
            let known = urls.etags.get(url).map(String::as_str);
            let outcome = match timeout(PATIENCE, fetch(tls.clone(), url, known)).await {
                Ok(Ok(Some(answer))) => {
                    let outcome = self.offer(origin.clone(), answer.list).await;
                    // Only a good list need not be fetched again.
                    match answer.etag.filter(|_| outcome.is_ok()) {
                        Some(etag) => urls.etags.insert(url.clone(), etag),
                        None => urls.etags.remove(url),
                    };
                    outcome
                }
                Ok(Ok(None)) => Ok(()),
                Ok(Err(fault)) => self.note(origin.clone(), fault),
                Err(_) => self.note(origin.clone(), unreadable(format!("no answer within {PATIENCE:?}"))),
            };
            unusable.extend(outcome.err().map(|fault| Unusable { origin, fault }));
        }
        unusable
    }

    fn note(&self, origin: Origin, fault: CrlFault) -> Result<(), CrlFault> {
        let outcome = Err(fault);
        self.record(origin, &outcome);
        outcome
    }
}

/// GETs a list; none if it is the one with this `ETag`.
async fn fetch(tls: Arc<ClientConfig>, url: &Url, etag: Option<&str>) -> Result<Option<Answer>, CrlFault> {
    let host = url.host_str().ok_or(unreadable("no host"))?;
    let port = url.port_or_known_default().unwrap_or(443);
    let name = ServerName::try_from(host.trim_matches(['[', ']'])).map_err(unreadable)?.to_owned();
    let address = (host.trim_matches(['[', ']']), port);
    let socket = TcpStream::connect(address).await.map_err(unreadable)?;
    let stream = TlsConnector::from(tls).connect(name, socket).await.map_err(unreadable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreadable)?;
    // The connection's end is seen by whoever waits for the answer on it.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let path = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let request =
        Request::get(path).header(header::HOST, &url[url::Position::BeforeHost..url::Position::AfterPort]);
    let request = match etag {
        Some(etag) => request.header(header::IF_NONE_MATCH, etag),
        None => request,
    };
    let request = request.body(Empty::<Bytes>::new()).map_err(unreadable)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(unreadable)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return Ok(None),
            status => return Err(unreadable(format!("answered {status}"))),
        }
        let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
        let etag = etag.map(str::to_owned);
        let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(unreadable)?;
        Ok(Some(Answer { list: body.to_bytes().into(), etag }))
    };
    tokio::select! {
        answer = exchange => answer,
        () = driven => Err(unreadable("the connection ended")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "so that map_err can name it")]
fn unreadable(text: impl ToString) -> CrlFault {
    CrlFault::Unreadable(text.to_string())
}
