//! Which ports the processes listen on.
//!
//! In: what was used last time, and whether the documented ports are wanted. Out: ports of this machine that
//! nobody listens on. They lie below the range from which the system takes ports for outgoing connections
//! (Linux: 32768 and up), so that a process that was killed finds its port free when it starts again.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use anyhow::Context as _;

const LOWEST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// The ports of one stack, by the name of process and door.
#[derive(Debug)]
pub(super) struct Ports {
    /// Where they are remembered between starts.
    file: Option<PathBuf>,
    /// Whether to try the documented ports.
    documented: bool,
    used: Mutex<BTreeMap<String, u16>>,
}

impl Ports {
    pub(super) fn new(file: Option<PathBuf>, documented: bool) -> Self {
        let remembered = file.as_deref().and_then(read).unwrap_or_default();
        Self { file, documented, used: Mutex::new(remembered) }
    }

    /// A port for a door: the one it had, else the documented one, else any; on a second `attempt` only any.
    pub(super) fn choose(&self, door: &str, documented: u16, attempt: u32) -> anyhow::Result<u16> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = used.get(door).copied().or(self.documented.then_some(documented));
        let port = match wanted {
            Some(port) if attempt == 0 && is_free(port) => port,
            _ => any_free()?,
        };
        used.insert(door.to_owned(), port);
        Ok(port)
    }

    /// Writes them down for the next start.
    pub(super) fn remember(&self) -> anyhow::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::write(file, serde_json::to_vec(&*used)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

fn read(file: &Path) -> Option<BTreeMap<String, u16>> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// No two calls in one process answer the same port, and other processes begin elsewhere.
fn any_free() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // far apart for neighbouring process ids
    let start = std::process::id().wrapping_mul(6_007) % u32::from(COUNT);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from((start + step) % u32::from(COUNT)).unwrap_or_default();
        if is_free(LOWEST + offset) {
            return Ok(LOWEST + offset);
        }
    }
    anyhow::bail!("no free port between {LOWEST} and {}", LOWEST + COUNT)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
