//! A curl that asks again and again on one connection, as long as it is let.
//!
//! In: a curl and a path. Out: for each request its status, and how many connections it had to open.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Stdio},
};

use local::{Curl, eventually};
use tempfile::TempDir;

use super::DEADLINE;

/// A running curl; it is killed when this is dropped.
pub(crate) struct Repeater {
    process: Child,
    results: PathBuf,
    _folder: TempDir,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// 0 if there was no answer.
    pub(crate) status: u16,
    /// Connections opened for it: 0 if an earlier one served.
    pub(crate) connections: u32,
    /// `1.1` or `2`.
    pub(crate) version: String,
}

impl Repeater {
    /// Begins to GET `url` up to 20 times a second.
    pub(crate) fn start(curl: &Curl, url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("results");
        let process = curl
            .command(&format!("{url}?[1-100000]"))
            .args(["--rate", "20/s", "--output"])
            .arg(folder.path().join("body"))
            // standard error is not buffered
            .args([
                "--no-show-error",
                "--write-out",
                "%{stderr}%{http_code} %{num_connects} %{http_version}\n",
            ])
            .stderr(File::create(&results).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, results, _folder: folder }
    }

    /// All results so far, in order.
    pub(crate) fn results(&self) -> Vec<Repeated> {
        let text = std::fs::read_to_string(&self.results).unwrap();
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        lines
            .map(|line| {
                let mut words = line.split(' ');
                let mut word = || words.next().unwrap_or_else(|| panic!("not a result: {line:?}"));
                Repeated {
                    status: word().parse().unwrap(),
                    connections: word().parse().unwrap(),
                    version: word().to_owned(),
                }
            })
            .collect()
    }

    /// Waits for one more result than there are now, begun after this call, that satisfies `condition`.
    pub(crate) fn wait_for(&self, condition: impl Fn(&Repeated) -> bool) -> Repeated {
        // the request that runs now may have begun before
        let before = self.results().len() + 1;
        let found = eventually(DEADLINE, || self.results().into_iter().skip(before).find(&condition));
        found.unwrap_or_else(|| panic!("not seen in {:?}", self.results()))
    }
}

impl Drop for Repeater {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
