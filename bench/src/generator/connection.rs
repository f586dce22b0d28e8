//! One HTTP/1.1 connection over TLS: a request's bytes out, an answer's status and body back.
//!
//! No pipelining; buffers are kept. Refused: answers without a length, which neither side gives here.

use std::{io, net::SocketAddr};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What everything measured calls itself in its certificate.
pub(super) const HOST: &str = "localhost";

#[derive(Debug)]
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

impl Connection {
    /// Connects and does the handshake.
    pub(super) async fn open(address: SocketAddr, tls: &TlsConnector) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        Ok(Self { stream: tls.connect(name, socket).await?, buffer: vec![0; 4096] })
    }

    /// Sends a request and reads its answer to the end.
    pub(super) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let mut filled = 0;
        let head = loop {
            filled = self.read(filled).await?;
            if let Some(head) = Head::parse(&self.buffer[..filled])? {
                break head;
            }
        };
        let end = head.length + head.body;
        while filled < end {
            filled = self.read(filled).await?;
        }
        Ok(Answer { status: head.status, body: &self.buffer[head.length..end] })
    }

    /// Says goodbye, as a client that is done does.
    pub(super) async fn close(mut self) {
        let _peer_was_first = self.stream.shutdown().await;
    }

    async fn read(&mut self, filled: usize) -> io::Result<usize> {
        if filled == self.buffer.len() {
            self.buffer.resize(2 * filled, 0);
        }
        match self.stream.read(&mut self.buffer[filled..]).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            read => Ok(filled + read),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    /// Of the head itself.
    length: usize,
    /// Of the body.
    body: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let status = response.code.unwrap_or_default();
        let header = response.headers.iter().find(|one| one.name.eq_ignore_ascii_case("content-length"));
        let body = header.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
        match body {
            Some(body) => Ok(Some(Self { status, length, body })),
            None => Err(io::Error::other(format!("an answer {status} without content-length"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole_and_refused_without_a_length() {
        let whole = b"HTTP/1.1 202 Accepted\r\ncontent-LENGTH: 12\r\nx: y\r\n\r\n{\"a\"";
        let head = Head::parse(whole).unwrap().unwrap();
        assert_eq!((head.status, head.length, head.body), (202, whole.len() - 4, 12));
        assert!(Head::parse(&whole[..30]).unwrap().is_none());
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
