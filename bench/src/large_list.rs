//! A second proxy of our stack, with a revocation list of a million entries as a file; the first one has the stack's
//! own, which is empty. Its next lists are signed beforehand, so that only their coming is measured.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{load::Target, ours::Ours};

const ENTRIES: u32 = 1_000_000;

/// The proxy and its list.
#[derive(Debug)]
pub(crate) struct LargeList {
    folder: TempDir,
    /// The proxy's place in the stack.
    proxy: usize,
    /// How far the newest list's number is ahead of the stack's own.
    number: u64,
}

impl LargeList {
    /// Signs a list and starts the proxy with it.
    pub(crate) fn start(ours: &mut Ours) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("portcullis-bench-").tempdir()?;
        let proxy = ours.stack.proxies.len();
        let mut list = Self { folder, proxy, number: 0 };
        for signed in list.sign(ours, 1)? {
            fs::rename(signed, list.file())?;
        }
        ours.stack.add_proxy(&format!("[crl]\nfiles = ['{}']", list.file().display()))?;
        Ok(list)
    }

    /// Where clients of the proxy connect.
    pub(crate) fn target(&self, ours: &Ours) -> anyhow::Result<Target> {
        ours.target(self.proxy)
    }

    /// The file that the proxy reads.
    pub(crate) fn file(&self) -> PathBuf {
        self.path("clients.crl")
    }

    /// How many lists the proxy has put in force.
    pub(crate) fn in_force(&self, ours: &Ours) -> anyhow::Result<u64> {
        let proxy = ours.stack.proxies.get(self.proxy).context("no such proxy")?;
        let (_, metrics) = proxy.process.get("/metrics")?;
        let loads = metrics.lines().filter(|line| line.starts_with("portcullis_crl_loads_total{"));
        Ok(loads.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// Signs the next lists, each in a file beside the one that the proxy reads.
    pub(crate) fn sign(&mut self, ours: &Ours, lists: u64) -> anyhow::Result<Vec<PathBuf>> {
        let first = self.number + 1;
        self.number += lists;
        let sign = |number| {
            let file = self.path(&format!("{number}.signed"));
            fs::write(&file, ours.stack.sign_large_list(ENTRIES, number)?)?;
            Ok(file)
        };
        (first..=self.number).map(sign).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        let folder: &Path = self.folder.path();
        folder.join(name)
    }
}
