//! The way to a collector: one POST per batch, over HTTP/1.1, with TLS or without.
//!
//! In: a request that the OTLP library has made. Out: the answer. Refused: an answer that does not come in time, or
//! does not end. Each goes over a connection of its own: there is one in a second at most.

use std::{io, path::Path, pin::Pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use http::{HeaderValue, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

use super::OtlpConfig;
use crate::tls::plain_client_config;

/// An answer says how many spans were refused, and why.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Where the collector is.
#[derive(Debug)]
pub(super) struct Collector {
    host: String,
    port: u16,
    /// Of the header `Host`.
    authority: HeaderValue,
    target: Uri,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    patience: Duration,
}

impl Collector {
    pub(super) fn of(endpoint: &Url, config: &OtlpConfig) -> anyhow::Result<Self> {
        let wrong = || format!("telemetry.otlp.endpoint: {endpoint} cannot be used");
        let host = endpoint.host_str().with_context(wrong)?.trim_matches(['[', ']']).to_owned();
        let tls = match endpoint.scheme() {
            "https" => Some(tls(&host, &config.ca).with_context(wrong)?),
            _ => None,
        };
        let authority = &endpoint[url::Position::BeforeHost..url::Position::AfterPort];
        Ok(Self {
            host,
            port: endpoint.port_or_known_default().with_context(wrong)?,
            authority: authority.parse().with_context(wrong)?,
            target: endpoint[url::Position::BeforePath..url::Position::AfterQuery]
                .parse()
                .with_context(wrong)?,
            tls,
            patience: config.timeout.0,
        })
    }

    async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        *request.uri_mut() = self.target.clone();
        request.headers_mut().insert(header::HOST, self.authority.clone());
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            Some((config, name)) => {
                let stream = TlsConnector::from(config.clone()).connect(name.clone(), socket).await?;
                exchange(stream, request).await
            }
            None => exchange(socket, request).await,
        }
    }
}

impl HttpClient for Collector {
    fn send_bytes<'a, 'async_trait>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
            timeout(self.patience, self.send(request)).await.map_err(late)?
        })
    }
}

fn tls(host: &str, ca: &Path) -> anyhow::Result<(Arc<ClientConfig>, ServerName<'static>)> {
    Ok((plain_client_config(ca)?, ServerName::try_from(host)?.to_owned()))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The connection's end is seen by whoever waits for the answer on it.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let exchange = async {
        let response = sender.send_request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    tokio::select! {
        answer = exchange => answer,
        () = driven => Err("the connection ended".into()),
    }
}
