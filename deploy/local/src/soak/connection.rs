//! A lean HTTPS client: one connection that is kept, one request at a time, and nothing that is not needed.
//!
//! In: a client's files, a URL, bodies. Out: statuses and bodies. It blocks, with a deadline. An error leaves the
//! connection unusable, and the outcome of what was asked unknown.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

use crate::Client;

/// Longer than a proxy takes for any answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any answer here is.
const LONGEST: usize = 4 * 1024 * 1024;

/// How a client connects.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    config: Arc<ClientConfig>,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) replayed: bool,
    pub(super) body: Vec<u8>,
}

impl Connector {
    /// Shows the client's certificate and believes its root.
    pub(super) fn of(client: &Client) -> anyhow::Result<Self> {
        let of = |file: &std::path::Path| format!("cannot use {}", file.display());
        let chain = CertificateDer::pem_file_iter(&client.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| of(&client.cert))?;
        let key = PrivateKeyDer::from_pem_file(&client.key).with_context(|| of(&client.key))?;
        let root = CertificateDer::from_pem_file(&client.ca).with_context(|| of(&client.ca))?;
        let mut roots = RootCertStore::empty();
        roots.add(root)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a client from outside: it believes the root alone, as curl does"
        )]
        let config = ClientConfig::builder_with_provider(shared::tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { config: Arc::new(config) })
    }

    /// Connects to `https://localhost:PORT`.
    pub(super) fn connect(&self, url: &str) -> io::Result<Connection> {
        let port =
            url.rsplit(':').next().and_then(|port| port.parse().ok()).ok_or(io::ErrorKind::InvalidInput)?;
        let socket = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let connection = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        Ok(Connection { stream: BufReader::new(StreamOwned::new(connection, socket)) })
    }
}

impl Connection {
    /// POSTs JSON, with further header lines, each ending in CRLF.
    pub(super) fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> io::Result<Reply> {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\
             Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let stream = self.stream.get_mut();
        stream.write_all(&request)?;
        stream.flush()?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let first = self.line()?;
        let status = first.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not an answer: {first:?}")))?;
        let (mut length, mut replayed) = (0, false);
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                _ if line.is_empty() => break,
                Some(("content-length", bytes)) => length = bytes.parse().unwrap_or(usize::MAX),
                Some(("idempotency-replayed", _)) => replayed = true,
                _ => {}
            }
        }
        if length > LONGEST {
            return Err(io::Error::other(format!("an answer of {length} bytes")));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Reply { status, replayed, body })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_ascii_lowercase())
    }
}
