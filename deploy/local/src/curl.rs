//! The `curl` binary as an actor: what every user of Portcullis has.
//!
//! In: certificates and a request. Out: exit code, status, headers and body, judged by the caller.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context as _;

use crate::Client;

/// A way to call `curl`: with which certificate, believing whom.
#[derive(Debug, Clone, Default)]
pub struct Curl {
    arguments: Vec<String>,
}

/// What `curl` brought back.
#[derive(Debug)]
pub struct Answer {
    /// 0 if there was an HTTP answer; else curl(1) "EXIT CODES", such as 56 for an alert.
    pub exit_code: i32,
    /// The HTTP status; 0 if there was none.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What curl wrote to standard error.
    pub errors: String,
}

impl Curl {
    /// Believes servers under this root, and shows no certificate.
    #[must_use]
    pub fn believing(ca: &Path) -> Self {
        Self::default().with("--cacert", &ca.to_string_lossy())
    }

    /// Calls as this client.
    #[must_use]
    pub fn of(client: &Client) -> Self {
        Self::believing(&client.ca).with_certificate(&client.cert, &client.key)
    }

    /// Shows this certificate.
    #[must_use]
    pub fn with_certificate(self, cert: &Path, key: &Path) -> Self {
        self.with("--cert", &cert.to_string_lossy()).with("--key", &key.to_string_lossy())
    }

    /// Adds a header.
    #[must_use]
    pub fn header(self, name_and_value: &str) -> Self {
        self.with("--header", name_and_value)
    }

    /// Adds any option of curl's that takes a value.
    #[must_use]
    pub fn with(mut self, option: &str, value: &str) -> Self {
        self.arguments.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// Adds any option of curl's that takes none.
    #[must_use]
    pub fn flag(mut self, option: &str) -> Self {
        self.arguments.push(option.to_owned());
        self
    }

    /// GET.
    pub fn get(&self, url: &str) -> anyhow::Result<Answer> {
        self.call(url, None)
    }

    /// POST with `Content-Type: application/json`.
    pub fn post(&self, url: &str, json: impl AsRef<[u8]>) -> anyhow::Result<Answer> {
        self.clone().header("Content-Type: application/json").call(url, Some(json.as_ref()))
    }

    /// POST with whatever headers were given.
    pub fn post_plain(&self, url: &str, body: impl AsRef<[u8]>) -> anyhow::Result<Answer> {
        self.call(url, Some(body.as_ref()))
    }

    /// The bare command for this URL, to be run in another way than to one answer.
    #[must_use]
    pub fn command(&self, url: &str) -> Command {
        let mut command = Command::new("curl");
        // -q first: no ~/.curlrc. Nothing on this machine is reached through somebody's proxy.
        command.args(["-q", "--noproxy", "*", "--silent", "--show-error", "--max-time", "60"]);
        command.args(&self.arguments).arg(url).stdin(Stdio::null());
        command
    }

    fn call(&self, url: &str, body: Option<&[u8]>) -> anyhow::Result<Answer> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| -> PathBuf { folder.path().join(name) };
        let mut command = self.command(url);
        command.args(["--write-out", "%{http_code}"]);
        command.arg("--dump-header").arg(file("headers")).arg("--output").arg(file("body"));
        if let Some(body) = body {
            fs::write(file("request"), body)?;
            command.arg("--data-binary").arg(format!("@{}", file("request").display()));
        }
        let output = command.output().context("cannot run curl: apt-get install -y curl")?;
        let headers = fs::read(file("headers")).unwrap_or_default();
        Ok(Answer {
            exit_code: output.status.code().unwrap_or(-1),
            status: String::from_utf8_lossy(&output.stdout).parse().unwrap_or(0),
            headers: last_head(&String::from_utf8_lossy(&headers)),
            body: fs::read(file("body")).unwrap_or_default(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Answer {
    /// The first header of that name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON in {self:?}"))
    }

    /// The `code` of a problem+json answer, empty if there is none.
    #[must_use]
    pub fn code(&self) -> String {
        self.json().ok().and_then(|body| Some(body["code"].as_str()?.to_owned())).unwrap_or_default()
    }
}

/// The headers of the last response: interim ones (100 Continue) stand before it.
fn last_head(text: &str) -> Vec<(String, String)> {
    let normal = text.replace("\r\n", "\n");
    let head = normal.trim_end().rsplit("\n\n").next().unwrap_or_default();
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_those_of_the_final_response() {
        let head = "HTTP/1.1 100 Continue\r\nx: 1\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Type: a/b\r\n\r\n";
        assert_eq!(last_head(head), [("content-type".to_owned(), "a/b".to_owned())]);
    }
}
