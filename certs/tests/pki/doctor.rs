//! What `doctor` says of everything that goes wrong before a proxy answers, judged with real files, real sockets and
//! `openssl s_server`. One test for each row of the troubleshooting lists that it replaces; what only a proxy can
//! say is tested with the whole stack.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod alerts;
mod connections;
mod own_certificate;
mod own_files;
mod server;

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use certs::{Authority, Leaf, TrustDomain};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::support::{Answer, Pki, answer, command_line};
use server::Server;

/// A client with its files, and what it asks the doctor.
struct Patient {
    pki: Pki,
    url: String,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    cacerts: Vec<PathBuf>,
    more: Vec<String>,
}

impl Patient {
    /// A client whose files are all good; its URL leads nowhere yet.
    fn healthy() -> Self {
        let pki = Pki::nowhere();
        // old enough to have issued what has expired
        let then = OffsetDateTime::now_utc() - Duration::days(365);
        Authority::create_at(TrustDomain::default(), then).unwrap().save(&pki.dir()).unwrap();
        pki.issue_client("client_001");
        let file = |name: &str| PathBuf::from(pki.at(name));
        Self {
            url: "https://127.0.0.1:1".to_owned(),
            cert: Some(file("clients/client_001/client_001.crt")),
            key: Some(file("clients/client_001/client_001.key")),
            cacerts: vec![file("ca.crt")],
            more: Vec::new(),
            pki,
        }
    }

    /// Another question about the same files.
    fn like(patient: &Self) -> Self {
        // Their folder stays with the first.
        Self {
            pki: Pki::nowhere(),
            url: patient.url.clone(),
            cert: patient.cert.clone(),
            key: patient.key.clone(),
            cacerts: patient.cacerts.clone(),
            more: patient.more.clone(),
        }
    }

    /// Shows another certificate with its own key.
    fn showing(mut self, leaf: &Leaf) -> Self {
        self.cert = Some(self.write("shown.crt", leaf.certificate_pem()));
        self.key = Some(self.write("shown.key", leaf.key().pem()));
        self
    }

    /// Calls this server.
    fn calling(mut self, server: &Server) -> Self {
        self.url = format!("https://localhost:{}", server.port());
        self
    }

    /// Adds options.
    fn with(mut self, options: &[&str]) -> Self {
        self.more.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// Writes a file beside the others, for its owner only.
    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.pki.dir().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn command(&self) -> Command {
        let mut command = command_line();
        command.args(["doctor", &self.url, "--timeout", "20s"]).args(&self.more);
        let files = [("--cert", &self.cert), ("--key", &self.key)];
        for (option, file) in files.into_iter().filter_map(|(option, file)| Some((option, file.as_ref()?))) {
            command.arg(option).arg(file);
        }
        for file in &self.cacerts {
            command.arg("--cacert").arg(file);
        }
        command
    }

    /// What the doctor says.
    fn diagnosis(&self) -> Diagnosis {
        let mut command = self.command();
        command.arg("--json");
        Diagnosis::of(answer(command))
    }

    /// The same, asked by a user who is not root.
    fn diagnosis_of_nobody(&self) -> Diagnosis {
        let mut command = self.command();
        command.arg("--json").current_dir("/");
        if is_root() {
            // `nobody` of every Linux
            command.uid(65534).gid(65534);
        }
        Diagnosis::of(answer(command))
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// What the doctor said.
struct Diagnosis {
    answer: Answer,
    report: Value,
}

impl Diagnosis {
    fn of(answer: Answer) -> Self {
        let report = serde_json::from_str(&answer.out).unwrap_or_else(|_| panic!("no JSON: {answer:?}"));
        Self { answer, report }
    }

    /// The first finding of a check.
    fn finding(&self, check: &str) -> &Value {
        let findings = self.report["checks"].as_array().unwrap();
        findings.iter().find(|finding| finding["check"] == check).unwrap()
    }

    fn outcome(&self, check: &str) -> &str {
        self.finding(check)["outcome"].as_str().unwrap()
    }

    fn text(&self, check: &str) -> &str {
        self.finding(check)["text"].as_str().unwrap()
    }

    /// The first check that failed, which is the one to begin with.
    fn first_failure(&self) -> &str {
        let findings = self.report["checks"].as_array().unwrap();
        let failed = findings.iter().find(|finding| finding["outcome"] == "fail");
        failed.map_or("none", |finding| finding["check"].as_str().unwrap())
    }

    /// This check is the first that failed, says all this, and what to do.
    #[track_caller]
    fn assert_fails(&self, check: &str, words: &[&str]) {
        assert_eq!(self.first_failure(), check, "{}", self.answer.out);
        assert_eq!(self.answer.code, Some(1));
        let finding = self.finding(check);
        let said = format!("{} {}", finding["text"].as_str().unwrap(), finding["do"].as_str().unwrap());
        for word in words {
            assert!(said.contains(word), "{word:?} is not in {said:?}");
        }
    }
}

/// The first line of a text that begins so, for reports to people.
fn line<'a>(text: &'a str, begin: &str) -> &'a str {
    text.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no {begin:?} in:\n{text}"))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
