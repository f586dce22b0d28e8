//! A TLS client for what curl cannot tell or do: which alert it was, whether a session was resumed, one
//! connection held open.
//!
//! In: a certificate and a URL. Out: connections, answers, alerts. It blocks, with a deadline.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::Arc,
};

use local::Client;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use super::DEADLINE;

/// Both versions of TLS that are spoken here.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// How somebody else's client shows this one's certificate, agreeing on one protocol.
pub(crate) fn client_config(client: &Client, protocol: &[u8]) -> ClientConfig {
    ClientConfig::clone(&Caller::of(client, &TLS13).speaking(protocol).config)
}

/// A client that speaks HTTP/1.1 over one version of TLS, and resumes sessions where it may.
pub(crate) struct Caller {
    config: Arc<ClientConfig>,
}

/// An open connection.
pub(crate) struct Call {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Caller {
    /// Shows this client's certificate.
    pub(crate) fn of(client: &Client, version: &'static SupportedProtocolVersion) -> Self {
        let chain = CertificateDer::pem_file_iter(&client.cert).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&client.key).unwrap();
        Self::new(&client.ca, version, Some((chain, key)))
    }

    /// Shows no certificate.
    pub(crate) fn without_certificate(ca: &Path, version: &'static SupportedProtocolVersion) -> Self {
        Self::new(ca, version, None)
    }

    #[expect(clippy::disallowed_methods, reason = "the test stands outside and may connect as it likes")]
    fn new(
        ca: &Path,
        version: &'static SupportedProtocolVersion,
        shown: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(shared::tls::provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        };
        Self { config: Arc::new(config) }
    }

    /// The same, agreeing on this protocol (RFC 7301).
    pub(crate) fn speaking(self, protocol: &[u8]) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        Self { config: Arc::new(config) }
    }

    /// Connects to `https://localhost:PORT`, the handshake completed. Sessions of earlier calls are resumed.
    pub(crate) fn connect(&self, url: &str) -> io::Result<Call> {
        let socket = TcpStream::connect(url.strip_prefix("https://").unwrap())?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Call { stream: BufReader::new(stream) })
    }

    /// Connects, asks, and answers the alert that this met. In TLS 1.3 it comes with the first read.
    pub(crate) fn alert(&self, url: &str) -> Result<AlertDescription, String> {
        let error = match self.connect(url).and_then(|mut call| call.get("/health")) {
            Ok((status, body)) => return Err(format!("answered {status}: {body}")),
            Err(error) => error,
        };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => Ok(*alert),
            _ => Err(format!("no alert: {error:?}")),
        }
    }
}

impl Call {
    /// Full or resumed.
    pub(crate) fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.stream.get_ref().conn.handshake_kind()
    }

    /// The server's certificate, DER.
    pub(crate) fn server_certificate(&self) -> Vec<u8> {
        self.stream.get_ref().conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// GETs a path and reads the whole answer: status and body. The connection stays open.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        self.answer()
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Reads so many bytes.
    pub(crate) fn read(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut read = vec![0; bytes];
        self.stream.read_exact(&mut read)?;
        Ok(read)
    }

    /// Reads one answer, whatever interim ones come before it.
    pub(crate) fn answer(&mut self) -> io::Result<(u16, String)> {
        let (mut status, mut length) = (0, 0);
        while status < 200 {
            (status, length) = self.head()?;
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body).unwrap()))
    }

    fn head(&mut self) -> io::Result<(u16, usize)> {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.") {
                status = rest[2..5].parse().unwrap();
            } else if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap();
            } else if line.is_empty() {
                return Ok((status, length));
            }
        }
    }

    /// Waits until the other end closes the connection; answers what it still sent.
    pub(crate) fn read_to_close(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        match self.stream.read_to_string(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(rest),
        }
    }
}
