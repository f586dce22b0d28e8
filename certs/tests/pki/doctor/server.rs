//! Servers of every kind but Portcullis: `openssl s_server`, and bare sockets that speak wrongly.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use certs::{Host, Leaf, LeafRequest, ServiceRequest};
use shared::identity::Role;
use tempfile::TempDir;

use super::Patient;
use crate::support::name;

/// A server on a free port; an `openssl` is killed when this is dropped.
pub(super) struct Server {
    port: u16,
    openssl: Option<Child>,
    _folder: Option<TempDir>,
}

/// Its certificate, its key, and what it answers, before it is started.
pub(super) struct Prepared {
    folder: TempDir,
    options: Vec<String>,
}

impl Prepared {
    /// A server that the patient's authority issued a certificate to, for localhost.
    pub(super) fn of(patient: &Patient) -> Self {
        Self::with_leaf(&leaf_of(patient, |request| request))
    }

    /// A server that shows this certificate.
    pub(super) fn with_leaf(leaf: &Leaf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("server.crt"), leaf.certificate_pem()).unwrap();
        fs::write(folder.path().join("server.key"), leaf.key().pem()).unwrap();
        Self { folder, options: Vec::new() }
    }

    /// Options of `s_server`.
    pub(super) fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// Asks for client certificates and believes those of this file.
    pub(super) fn asking(self, ca: &str) -> Self {
        self.with(&["-CAfile", ca, "-partial_chain", "-Verify", "3", "-verify_return_error"])
    }

    /// Answers `whoami` with this head and body, byte for byte.
    pub(super) fn answering(self, answer: &str) -> Self {
        let api = self.folder.path().join("api/v1");
        fs::create_dir_all(&api).unwrap();
        fs::write(api.join("whoami"), answer.replace('\n', "\r\n")).unwrap();
        self
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Starts it, and returns when it listens: it says where.
    pub(super) fn start(self) -> Server {
        let mut command = Command::new("openssl");
        command.args([
            "s_server",
            "-accept",
            "127.0.0.1:0",
            "-HTTP",
            "-cert",
            "server.crt",
            "-key",
            "server.key",
        ]);
        command.args(["-cert_chain", "server.crt"]).args(&self.options).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(
                said.read_line(&mut line).unwrap(),
                0,
                "openssl s_server does not listen: {:?}",
                self.options
            );
            if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
                break address.rsplit(':').next().unwrap().parse().unwrap();
            }
        };
        // nobody reads on, and its pipe must not fill up
        thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Server { port, openssl: Some(child), _folder: Some(self.folder) }
    }
}

impl Server {
    /// A bare socket: each connection is given to `serve`, one after the other, until the test ends.
    pub(super) fn bare(serve: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || listener.incoming().flatten().for_each(serve));
        Self { port, openssl: None, _folder: None }
    }

    /// Answers the greeting with an alert and nothing else.
    pub(super) fn alerting(number: u8) -> Self {
        Self::bare(move |mut socket| {
            let _ = socket.read(&mut [0; 4096]);
            // a record of type 21, TLS 1.2, two bytes: fatal, and the number
            let _ = socket.write_all(&[21, 3, 3, 0, 2, 2, number]);
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(openssl) = &mut self.openssl {
            openssl.kill().unwrap();
            openssl.wait().unwrap();
        }
    }
}

/// A server's certificate of the patient's authority, changed before it is signed.
pub(super) fn leaf_of(patient: &Patient, change: impl Fn(LeafRequest) -> LeafRequest) -> Leaf {
    let authority = patient.pki.authority();
    let request = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
    let request = authority.service_leaf(Role::Proxy, &name("proxy-1"), &request);
    authority.services().sign(&change(request)).unwrap()
}
