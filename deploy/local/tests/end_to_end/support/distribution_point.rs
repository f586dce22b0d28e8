//! A web server that publishes one revocation list over HTTPS.
//!
//! In: a list, replaced at any time. Out: that list, to whoever asks for anything.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use certs::{Host, ServiceRequest};
use local::Stack;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use shared::identity::Role;

use super::{DEADLINE, holder::new_name};

/// The server; it stops when this is dropped.
pub(crate) struct DistributionPoint {
    port: u16,
    list: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl DistributionPoint {
    /// Publishes this list, with a certificate that leads to the stack's root.
    pub(crate) fn open(stack: &Stack, list: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (list, stop) = (Arc::new(Mutex::new(list)), Arc::new(AtomicBool::new(false)));
        let (config, published, stopped) = (Arc::new(config(stack)), list.clone(), stop.clone());
        let serving = thread::spawn(move || {
            for socket in listener.incoming() {
                if stopped.load(Relaxed) {
                    return;
                }
                let socket = socket.unwrap();
                socket.set_read_timeout(Some(DEADLINE)).unwrap();
                let connection = ServerConnection::new(config.clone()).unwrap();
                let mut stream = BufReader::new(StreamOwned::new(connection, socket));
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|length| length > 2) {
                    line.clear();
                }
                let list = published.lock().unwrap().clone();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{list}", list.len());
                // A proxy that is being stopped does not wait for it.
                let _ = stream.get_mut().write_all(answer.as_bytes());
                let stream = stream.get_mut();
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { port, list, stop, serving: Some(serving) }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/clients.crl", self.port)
    }

    pub(crate) fn publish(&self, list: &str) {
        list.clone_into(&mut self.list.lock().unwrap());
    }
}

impl Drop for DistributionPoint {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // wakes the thread, which then sees that it is to stop
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test stands outside and may serve as it likes")]
fn config(stack: &Stack) -> ServerConfig {
    let request = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
    let leaf = stack.authority().issue_service(Role::MainServer, &new_name(), &request).unwrap().leaf;
    ServerConfig::builder_with_provider(shared::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain().to_vec(), leaf.key().der().unwrap())
        .unwrap()
}
