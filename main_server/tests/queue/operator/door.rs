//! The shipped binary with its doors open, and those who knock at the workers': with `curl` and certificates of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use certs::{Authority, Host, ServiceRequest, TrustDomain, folder::folder_of, register};
use serde_json::Value;
use shared::identity::Role;
use sqlx::{Connection as _, PgConnection};

use crate::{
    rotation::server::Server,
    stack::{as_server, eventually, name},
};

/// A main server as a process of its own, beside a queue on the same database.
pub(crate) struct Door {
    pub(crate) queue: Server,
    pub(crate) url: String,
    authority: Authority,
    folder: tempfile::TempDir,
    address: String,
    process: Child,
    /// When it closes, the process stops.
    life: ChildStdin,
}

/// Somebody with a certificate.
pub(crate) struct Caller {
    folder: PathBuf,
    name: &'static str,
    base: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Door {
    pub(crate) async fn open() -> Self {
        let (queue, database) = Server::new().await;
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(TrustDomain::default()).unwrap();
        let pki = folder.path().join("pki");
        authority.save(&pki).unwrap();
        let mut connection = PgConnection::connect(&database).await.unwrap();
        register::crls(&mut connection, &authority.crls()).await.unwrap();
        let request = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
        authority.issue_service(Role::MainServer, &name("main-1"), &request).unwrap().save(&pki).unwrap();

        let own = pki.join("services/main-server/main-1");
        let config = format!(
            "[listen]\nproxy_door = '127.0.0.1:0'\nworker_door = '127.0.0.1:0'\nmanagement = '127.0.0.1:0'\n\
             [tls]\ncertificate = '{own}/main-1.crt'\nkey = '{own}/main-1.key'\nservices_ca = '{pki}/services-ca.crt'\n\
             [database]\nurl = '{}'\n[crl]\nauthorities = '{pki}/ca.crt'\n[keyring]\nfile = '{}'\n",
            as_server(&database),
            queue.file.display(),
            own = own.display(),
            pki = pki.display(),
        );
        let (file, bound) = (folder.path().join("main_server.toml"), folder.path().join("bound.json"));
        fs::write(&file, config).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis-server"))
            .args([
                Path::new("--config"),
                &file,
                Path::new("--bound"),
                &bound,
                Path::new("--stop-with-stdin"),
            ])
            .stdin(Stdio::piped())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let life = process.stdin.take().unwrap();
        eventually(|| async { bound.exists() }).await;
        let bound: Value = serde_json::from_slice(&fs::read(&bound).unwrap()).unwrap();
        let port = bound["worker_door"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        let address = format!("https://localhost:{port}");
        Self { queue, url: database, authority, folder, address, process, life }
    }

    /// A service with a certificate that is registered, and that the server knows of.
    pub(crate) async fn service(&self, role: Role, id: &'static str) -> Caller {
        let pki = self.folder.path().join("pki");
        let issued = self.authority.issue_service(role, &name(id), &ServiceRequest::default()).unwrap();
        issued.save(&pki).unwrap();
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        register::issued(&mut connection, &issued).await.unwrap();
        let caller = Caller { folder: folder_of(&pki, &issued.holder), name: id, base: self.address.clone() };
        let known = || async {
            let answer = caller.get("/");
            answer.status != 0 && answer.code() != "certificate_unknown"
        };
        eventually(known).await;
        caller
    }

    pub(crate) async fn end(mut self) {
        drop(self.life);
        assert!(self.process.wait().unwrap().success());
        self.queue.end().await;
    }
}

impl Caller {
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call(path, &[])
    }

    pub(crate) fn post(&self, path: &str, json: &str) -> Answer {
        self.call(path, &["--header", "Content-Type: application/json", "--data-binary", json])
    }

    fn call(&self, path: &str, options: &[&str]) -> Answer {
        let file = |end: &str| self.folder.join(format!("{}.{end}", self.name));
        let output = Command::new("curl")
            // -q first: no ~/.curlrc. Nothing on this machine is reached through somebody's proxy.
            .args(["-q", "--noproxy", "*", "--silent", "--show-error", "--max-time", "20", "--include"])
            .arg("--cacert")
            .arg(self.folder.join("ca.crt"))
            .arg("--cert")
            .arg(file("crt"))
            .arg("--key")
            .arg(file("key"))
            .args(options)
            .arg(format!("{}{path}", self.base))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or_default();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}
